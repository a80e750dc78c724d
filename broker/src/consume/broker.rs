//! What a program can ask of groups.

use std::sync::Arc;
use std::time::Duration;

use embermq_protocol::limits::{LEASE_RECORDS_MAX, LEASE_WAIT_MAX};
use embermq_protocol::names::{GroupName, TopicName};
use embermq_storage::entropy::OsEntropy;
use embermq_storage::{Entropy as _, Offset, Timestamp};

use super::desk::Desk;
use super::leasing::Taker;
use super::settling::dead_letter_topic;
use super::{
    GroupEdit, GroupInfo, GroupPartitionInfo, GroupSettings, Lease, LeaseRequest, Settled,
    Settlement, Sought, Verdict, read_batch, settled,
};
use crate::broker::Broker;
use crate::commit::Commit;
use crate::error::CommitError;
use crate::group::SeekPreview;
use crate::read::From;
use crate::state::{Ending, Endings, GroupRequest, Made, NewGroup};
use crate::topic::{PartitionId, Topic, TopicSettings};

/// Letters that are written in one commit, in bytes; the last one may have more.
pub(super) const LETTER_BYTES: u64 = 4 << 20;

impl Broker {
    /// Creates a group, or makes sure that it is there with these settings. True when it was created now; only then `start`
    /// is looked at.
    ///
    /// # Errors
    /// [`CommitError::TopicNotFound`], [`CommitError::GroupExists`] with other settings, [`CommitError::Invalid`] settings, or
    /// what can befall any commit.
    pub async fn create_group(
        &self,
        topic: &TopicName,
        group: &GroupName,
        settings: GroupSettings,
        start: From,
    ) -> Result<(GroupInfo, bool), CommitError> {
        let found = self.known_topic(topic)?;
        settings.dead_letter_topic(topic, group)?;
        let settings = settings.to_core()?;
        let mut starts = Vec::with_capacity(found.partitions.len());
        for number in 0..found.partitions.len() {
            let number = PartitionId(u32::try_from(number).unwrap_or(u32::MAX));
            starts.push(self.place(&found, number, start).await?);
        }
        let new = NewGroup {
            topic: topic.clone(),
            name: group.clone(),
            settings,
            starts,
            secret: OsEntropy.next_u64(),
        };
        let made = self.ask_group(GroupRequest::Create(Box::new(new))).await?;
        Ok((self.group(topic, group).await?, matches!(made, Made::Group(_, true))))
    }

    /// Changes the settings of a group; what the edit leaves open stays.
    ///
    /// # Errors
    /// [`CommitError::GroupNotFound`], [`CommitError::Invalid`] settings, or what can befall any commit.
    pub async fn edit_group(
        &self,
        topic: &TopicName,
        group: &GroupName,
        edit: GroupEdit,
    ) -> Result<GroupInfo, CommitError> {
        let desk = self.desk(topic, group)?;
        let settings = edit.on(GroupSettings::of_core(desk.state().group.settings()));
        settings.dead_letter_topic(topic, group)?;
        let settings = settings.to_core()?;
        self.ask_group(GroupRequest::Edit { group: desk.id, settings }).await?;
        self.group(topic, group).await
    }

    /// Deletes a group: it forgets what was read. Its dead letters stay.
    ///
    /// # Errors
    /// [`CommitError::GroupNotFound`], or what can befall any commit.
    pub async fn delete_group(
        &self,
        topic: &TopicName,
        group: &GroupName,
    ) -> Result<(), CommitError> {
        let desk = self.desk(topic, group)?;
        self.ask_group(GroupRequest::Delete { group: desk.id }).await.map(|_| ())
    }

    /// How a group is doing.
    ///
    /// # Errors
    /// [`CommitError::TopicNotFound`], [`CommitError::GroupNotFound`].
    pub async fn group(
        &self,
        topic: &TopicName,
        group: &GroupName,
    ) -> Result<GroupInfo, CommitError> {
        let desk = self.desk(topic, group)?;
        let topic = self.known_topic(topic)?;
        Ok(self.info(&desk, &topic).await)
    }

    /// The groups of a topic, or all, by topic and name.
    ///
    /// # Errors
    /// [`CommitError::TopicNotFound`].
    pub async fn groups(&self, topic: Option<&TopicName>) -> Result<Vec<GroupInfo>, CommitError> {
        if let Some(topic) = topic {
            self.known_topic(topic)?;
        }
        let mut groups = Vec::new();
        for desk in self.desks().all() {
            if topic.is_none_or(|topic| *topic == desk.topic)
                && let Some(topic) = self.topic(&desk.topic)
            {
                groups.push(self.info(&desk, &topic).await);
            }
        }
        Ok(groups)
    }

    /// Takes records of a group, and waits for some where there are none. An empty answer: there were none in time.
    ///
    /// # Errors
    /// [`CommitError::TopicNotFound`], [`CommitError::Invalid`] wishes, or what can befall any commit.
    pub async fn lease(&self, request: LeaseRequest) -> Result<Vec<Lease>, CommitError> {
        if !(1..=LEASE_RECORDS_MAX).contains(&request.records_max) {
            return Err(CommitError::Invalid {
                detail: format!(
                    "{} records were asked for; a lease takes 1 to {LEASE_RECORDS_MAX}",
                    request.records_max
                ),
            });
        }
        let lease = request.lease.unwrap_or(Duration::from_secs(30));
        if !(Duration::from_secs(1)..=Duration::from_secs(12 * 3_600)).contains(&lease) {
            return Err(CommitError::Invalid {
                detail: format!("a lease of {lease:?} was asked for; it can be 1 s to 12 h"),
            });
        }
        self.known_topic(&request.topic)?;
        let desk = match self.desks().get(&request.topic, &request.group) {
            Some(desk) => desk,
            None => {
                let settings = GroupSettings::default();
                match self.create_group(&request.topic, &request.group, settings, From::Start).await
                {
                    // Somebody else made it, with settings of his own.
                    Ok(_) | Err(CommitError::GroupExists { .. }) => {}
                    Err(error) => return Err(error),
                }
                self.desk(&request.topic, &request.group)?
            }
        };
        Taker::new(self, desk, &request).take(request.wait.min(LEASE_WAIT_MAX)).await
    }

    /// Settles leases of a group, each on its own: a result for each, in order.
    ///
    /// # Errors
    /// When none was settled. Of one: [`CommitError::InvalidLeaseToken`] or [`CommitError::LeaseLost`].
    pub async fn settle(
        &self,
        topic: &TopicName,
        group: &GroupName,
        settlements: Vec<Settlement>,
    ) -> Result<Vec<Result<Settled, CommitError>>, CommitError> {
        let desk = self.desk(topic, group)?;
        let settlements: Arc<[Settlement]> = settlements.into();
        let mut results = Vec::with_capacity(settlements.len());
        while results.len() < settlements.len() {
            let (broker, desk, all, from) =
                (self.clone(), Arc::clone(&desk), Arc::clone(&settlements), results.len());
            let may_read = all[from..].iter().any(Settlement::may_kill);
            let prepare = move || broker.prepare_some(&desk, &all, from);
            let prepared = if may_read { on_blocking_thread(prepare).await? } else { prepare() };
            results.extend(self.settle_some(prepared).await?);
        }
        Ok(results)
    }

    /// Prepares settlements from `from` on, until their letters are a good piece of work.
    fn prepare_some(
        &self,
        desk: &Arc<Desk>,
        settlements: &[Settlement],
        from: usize,
    ) -> Vec<Result<Ending, CommitError>> {
        let mut prepared = Vec::new();
        let mut bytes = 0;
        for (index, settlement) in settlements.iter().enumerate().skip(from) {
            let ending = self
                .claimed(&settlement.token, Some(desk), index)
                .and_then(|(desk, lease)| self.ending(&desk, lease, &settlement.verdict));
            bytes += ending.as_ref().map_or(0, Ending::letter_bytes);
            prepared.push(ending);
            if bytes > LETTER_BYTES {
                break;
            }
        }
        prepared
    }

    pub(super) async fn settle_some(
        &self,
        prepared: Vec<Result<Ending, CommitError>>,
    ) -> Result<Vec<Result<Settled, CommitError>>, CommitError> {
        let mut results: Vec<Option<Result<Settled, CommitError>>> =
            Vec::with_capacity(prepared.len());
        let mut endings = Endings::default();
        for one in prepared {
            match one {
                Ok(ending) => {
                    endings.items.push(ending);
                    results.push(None);
                }
                Err(error) => results.push(Some(Err(error))),
            }
        }
        self.ensure_letter_topics(&endings).await?;
        let mut ended = Vec::new().into_iter();
        if !endings.items.is_empty() {
            let count = endings.items.len();
            ended = match self.ask_group(GroupRequest::Settle { endings }).await {
                Ok(Made::Ended(outcomes, letters)) => settled(&outcomes, letters.into_iter()),
                Ok(_) => Vec::new(),
                // The group was deleted meanwhile: so it is with each of its leases.
                Err(lost @ CommitError::LeaseLost { .. }) => vec![Err(lost); count],
                Err(error) => return Err(error),
            }
            .into_iter();
        }
        let lost = || Err(CommitError::ShuttingDown);
        let result = |(index, known): (usize, Option<Result<Settled, CommitError>>)| {
            let result = known.unwrap_or_else(|| ended.next().unwrap_or_else(lost));
            result.map_err(|error| error.of(index))
        };
        Ok(results.into_iter().enumerate().map(result).collect())
    }

    /// Reads on from elsewhere, in one partition or in all. A dry run only says what it would do.
    ///
    /// # Errors
    /// [`CommitError::GroupNotFound`], [`CommitError::PartitionNotFound`], or what can befall any commit.
    pub async fn seek_group(
        &self,
        topic: &TopicName,
        group: &GroupName,
        partition: Option<PartitionId>,
        to: From,
        dry_run: bool,
    ) -> Result<Vec<Sought>, CommitError> {
        let desk = self.desk(topic, group)?;
        let topic = self.known_topic(topic)?;
        let count = u32::try_from(topic.partitions.len()).unwrap_or(u32::MAX);
        let numbers = match partition {
            Some(number) if number.0 >= count => {
                let topic = topic.name.clone();
                return Err(CommitError::PartitionNotFound {
                    topic,
                    partition: number,
                    partitions: count,
                });
            }
            Some(number) => number.0..number.0 + 1,
            None => 0..count,
        };
        let mut places = Vec::new();
        for number in numbers.map(PartitionId) {
            places.push((number, self.place(&topic, number, to).await?));
        }
        let sought = |preview: SeekPreview| Sought {
            partition: preview.partition,
            from: preview.from,
            to: preview.to,
            read_again: preview.read_again,
            skipped: preview.skipped,
            leases_lost: preview.leases_lost,
        };
        if dry_run {
            let state = desk.state();
            let preview = |(number, to): (PartitionId, Offset)| {
                let partition = topic.partitions.get(number.0 as usize)?;
                let (start, end) = (partition.start(), partition.end());
                state.group.preview_seek(number, to.max(start).min(end), end)
            };
            return Ok(places.into_iter().filter_map(preview).map(sought).collect());
        }
        match self.ask_group(GroupRequest::Seek { group: desk.id, to: places }).await? {
            Made::Sought(previews) => Ok(previews.into_iter().map(sought).collect()),
            _ => Ok(Vec::new()),
        }
    }

    /// Commits appends and settlements together; called by [`Broker::commit`].
    pub(crate) async fn endings_for(&self, commit: &Commit) -> Result<Endings, CommitError> {
        let settlements = commit.settlements.clone();
        let endings = if settlements.iter().any(Settlement::may_kill) {
            let broker = self.clone();
            on_blocking_thread(move || broker.endings_of(&settlements)).await??
        } else {
            self.endings_of(&settlements)?
        };
        self.ensure_letter_topics(&endings).await?;
        Ok(endings)
    }

    pub(super) fn desk(
        &self,
        topic: &TopicName,
        group: &GroupName,
    ) -> Result<Arc<Desk>, CommitError> {
        self.known_topic(topic)?;
        self.desks().get(topic, group).ok_or_else(|| CommitError::GroupNotFound {
            topic: topic.clone(),
            group: group.clone(),
        })
    }

    pub(super) fn known_topic(&self, topic: &TopicName) -> Result<Arc<Topic>, CommitError> {
        self.topic(topic).ok_or_else(|| CommitError::TopicNotFound { topic: topic.clone() })
    }

    pub(super) async fn ask_group(&self, request: GroupRequest) -> Result<Made, CommitError> {
        self.submit_group(request)?.await.unwrap_or(Err(CommitError::ShuttingDown))
    }

    async fn place(
        &self,
        topic: &Topic,
        number: PartitionId,
        from: From,
    ) -> Result<Offset, CommitError> {
        let Some(partition) = topic.partitions.get(number.0 as usize) else {
            return Ok(Offset(0));
        };
        match from {
            From::Start => Ok(partition.start()),
            From::End => Ok(partition.end()),
            // What is out of range is brought within it by the committer.
            From::Offset(offset) => Ok(offset),
            From::Time(time) => {
                let partition = Arc::clone(partition);
                let found = on_blocking_thread(move || partition.reader.offset_at(time)).await?;
                found.map_err(|error| CommitError::Invalid {
                    detail: format!("the place cannot be found: {error}"),
                })
            }
        }
    }

    async fn ensure_letter_topics(&self, endings: &Endings) -> Result<(), CommitError> {
        for letter in endings.items.iter().filter_map(|ending| ending.letter.as_ref()) {
            self.ensure_dead_letter_topic(&letter.topic).await?;
        }
        Ok(())
    }

    pub(super) async fn ensure_dead_letter_topic(
        &self,
        topic: &TopicName,
    ) -> Result<(), CommitError> {
        if self.topic(topic).is_none() {
            is_there(self.create_topic(topic, letter_settings()).await)?;
        }
        Ok(())
    }

    /// The same for a thread that may block.
    pub(crate) fn ensure_letter_topics_blocking(
        &self,
        endings: &Endings,
    ) -> Result<(), CommitError> {
        let mut letters = endings.items.iter().filter_map(|ending| ending.letter.as_ref());
        letters.try_for_each(|letter| self.ensure_dead_letter_topic_blocking(&letter.topic))
    }

    /// The same for one topic and a thread that may block.
    pub(super) fn ensure_dead_letter_topic_blocking(
        &self,
        topic: &TopicName,
    ) -> Result<(), CommitError> {
        if self.topic(topic).is_none() {
            is_there(self.create_topic_blocking(topic, letter_settings()))?;
        }
        Ok(())
    }

    async fn info(&self, desk: &Arc<Desk>, topic: &Arc<Topic>) -> GroupInfo {
        let state = desk.state();
        let now = self.group_time();
        let figures = state.group.figures(now);
        let partitions: Vec<GroupPartitionInfo> = state
            .group
            .partition_figures()
            .zip(&topic.partitions)
            .map(|(figures, partition)| GroupPartitionInfo {
                partition: figures.partition,
                next: figures.next,
                first_open: figures.first_not_done,
                open: figures.open,
                lag_records: figures.behind(partition.end()),
            })
            .collect();
        let settings = GroupSettings::of_core(state.group.settings());
        GroupInfo {
            topic: desk.topic.clone(),
            group: desk.name.clone(),
            // The name was checked when it was set.
            dead_letter_topic: dead_letter_topic(desk, &state)
                .unwrap_or_else(|_| desk.topic.clone()),
            settings,
            created: state.created,
            lag_records: partitions.iter().map(|partition| partition.lag_records).sum(),
            lag: self.oldest(topic, &partitions, now).await,
            in_flight: figures.in_flight,
            waiting: figures.waiting + figures.ready,
            held: figures.held,
            dead: state.letters.count(),
            scheduled: self.schedule_counts(topic).unwrap_or_default().pending_records,
            partitions,
        }
    }

    /// The age of the oldest record that is not done.
    async fn oldest(
        &self,
        topic: &Arc<Topic>,
        partitions: &[GroupPartitionInfo],
        now: Timestamp,
    ) -> Option<Duration> {
        let behind: Vec<(usize, Offset)> = partitions
            .iter()
            .filter(|partition| partition.lag_records > 0)
            .map(|partition| (partition.partition.0 as usize, partition.first_open))
            .collect();
        if behind.is_empty() {
            return None;
        }
        let topic = Arc::clone(topic);
        let oldest = on_blocking_thread(move || {
            let times = behind.iter().filter_map(|(number, offset)| {
                let partition = topic.partitions.get(*number)?;
                let from = (*offset).max(partition.start());
                Some(read_batch(partition, from).ok()?.front()?.append_time_us)
            });
            times.min()
        });
        let oldest = oldest.await.ok().flatten()?;
        Some(Duration::from_micros(u64::try_from(now.0.saturating_sub(oldest)).unwrap_or(0)))
    }
}

impl CommitError {
    /// The same for the settlement with this index of a larger call.
    fn of(self, at: usize) -> Self {
        match self {
            Self::InvalidLeaseToken { detail, .. } => Self::InvalidLeaseToken { index: at, detail },
            Self::LeaseLost { detail, .. } => Self::LeaseLost { index: at, detail },
            Self::GroupChanged { .. } => Self::GroupChanged { index: at },
            other => other,
        }
    }
}

impl Verdict {
    /// Acknowledges a lease.
    #[must_use]
    pub fn ack(token: impl Into<String>) -> Settlement {
        Settlement { token: token.into(), verdict: Self::Ack }
    }
}

impl Settlement {
    /// Whether the record may become a dead letter by it, so that it has to be read.
    const fn may_kill(&self) -> bool {
        matches!(self.verdict, Verdict::Nack { .. } | Verdict::Reject { .. })
    }
}

/// Somebody may have made it meanwhile, with settings of his own.
fn is_there<T>(created: Result<T, CommitError>) -> Result<(), CommitError> {
    match created {
        Ok(_) | Err(CommitError::TopicExists { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// A dead-letter topic keeps what it gets, whatever its size.
fn letter_settings() -> TopicSettings {
    TopicSettings {
        retention_age: None,
        record_bytes_max: embermq_protocol::limits::RECORD_BYTES_CEILING,
        ..TopicSettings::default()
    }
}

pub(super) async fn on_blocking_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, CommitError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| CommitError::ShuttingDown)
}
