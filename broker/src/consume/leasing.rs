//! Taking records: wait for one's turn, look at what is due and what is new, ask the committer, deliver.
//!
//! One caller of a group at a time looks; the others wait in the order in which they came. Whoever looks and finds nothing
//! goes on waiting in front, so that nobody is overtaken. With order by partition every caller looks for itself, since
//! what one may not have another may.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use embermq_protocol::batch::StoredRecord;
use embermq_storage::segment::ReadError as SegmentReadError;
use embermq_storage::{Offset, Timestamp};
use tokio::time::Sleep;

use super::ahead::{Ahead, Stretch};
use super::desk::Desk;
use super::lease::{Lease, LeaseRequest};
use super::{read_record, token};
use crate::broker::Broker;
use crate::error::CommitError;
use crate::group::{
    Candidate, Examined, KeyHash, Lease as Grant, LeaseRef, MemberId, Members, Ordering, Wish,
};
use crate::record::Record;
use crate::state::{Endings, GroupRequest, GroupState, Made};
use crate::topic::{Partition, PartitionId, Topic};

/// Bytes that are read beyond a cursor at a time.
const READ_BYTES: u64 = 256 << 10;

/// A lease answer ends behind the record that makes it longer than this.
const LEASE_BYTES: usize = 8 << 20;

/// A record that says which group alone it is for: it was redriven after its origin was gone.
pub(super) const ONLY_FOR: &str = "x-redrive-group";

/// One caller that takes records.
pub(super) struct Taker {
    pub(super) broker: Broker,
    pub(super) desk: Arc<Desk>,
    pub(super) topic: Arc<Topic>,
    pub(super) wish: Wish,
}

impl Taker {
    pub(super) fn new(
        broker: &Broker,
        desk: Arc<Desk>,
        topic: Arc<Topic>,
        request: &LeaseRequest,
    ) -> Self {
        let member = if request.member.is_empty() {
            MemberId::NONE
        } else {
            MemberId(hash(request.member.as_bytes()))
        };
        let lease_us =
            request.lease.map(|lease| u64::try_from(lease.as_micros()).unwrap_or(u64::MAX));
        let wish = Wish { member, records_max: request.records_max as usize, lease_us };
        Self { broker: broker.clone(), desk, topic, wish }
    }

    /// Takes records; an empty answer when there were none within `wait`.
    pub(super) async fn take(self, wait: Duration) -> Result<Vec<Lease>, CommitError> {
        let by_partition = self.desk.state().group.settings().ordering == Ordering::Partition;
        let mut patience = Box::pin(tokio::time::sleep(wait));
        if by_partition {
            return self.look_until(None, &mut patience).await;
        }
        let desk = Arc::clone(&self.desk);
        let turn = tokio::select! {
            biased;
            turn = desk.turn.lock() => turn,
            () = &mut patience => return Ok(Vec::new()),
        };
        self.look_until(Some(turn), &mut patience).await
    }

    async fn look_until(
        &self,
        mut turn: Option<tokio::sync::MutexGuard<'_, Ahead>>,
        patience: &mut Pin<Box<Sleep>>,
    ) -> Result<Vec<Lease>, CommitError> {
        loop {
            // From here on no wake-up is missed.
            let mut changed = std::pin::pin!(self.desk.changed.notified());
            let mut grown = std::pin::pin!(self.topic.grown.notified());
            changed.as_mut().enable();
            grown.as_mut().enable();
            if self.desk.is_gone() {
                let (topic, group) = (self.desk.topic.clone(), self.desk.name.clone());
                return Err(CommitError::GroupNotFound { topic, group });
            }
            if self.broker.is_shutting_down() {
                return Err(CommitError::ShuttingDown);
            }
            let look = match &mut turn {
                Some(turn) => self.look(turn).await?,
                None => self.look(&mut *self.desk.turn.lock().await).await?,
            };
            match look {
                Look::Leases(leases) => return Ok(leases),
                Look::Again => continue,
                Look::Nothing => {}
            }
            if patience.is_elapsed() {
                return Ok(Vec::new());
            }
            tokio::select! {
                () = &mut changed => {}
                () = &mut grown => {}
                () = self.until_due() => {}
                () = &mut *patience => return Ok(Vec::new()),
            }
        }
    }

    /// Sleeps until something may be due although nothing happens.
    async fn until_due(&self) {
        let now = self.broker.now();
        let state = self.desk.state();
        let due = state.group.next_due(now);
        let absence = (state.group.settings().ordering == Ordering::Partition)
            .then(|| self.desk.members.lock().next_absence(state.group.settings().lease_us, now))
            .flatten();
        match [due, absence].into_iter().flatten().min() {
            // A little late rather than a little early, which would be in vain.
            Some(Timestamp(due)) => {
                let micros = u64::try_from(due.saturating_sub(now.0)).unwrap_or(0);
                tokio::time::sleep(Duration::from_micros(micros) + Duration::from_millis(1)).await;
            }
            None => std::future::pending().await,
        }
    }

    /// Looks once.
    async fn look(&self, ahead: &mut Ahead) -> Result<Look, CommitError> {
        let state = self.desk.state();
        let now = self.broker.now();
        let members = self.ask(&state, now);
        let room = state.group.room(self.wish.records_max, now);
        if room == 0 {
            return Ok(Look::Nothing);
        }
        let examined = self.examine(&state, ahead, &members, room, now).await?;
        let fresh = !examined.is_empty();
        if !fresh && !state.group.has_deliverable(now) {
            ahead.clear();
            return Ok(Look::Nothing);
        }
        let grants = self.ask_for(examined, members).await?;
        if grants.is_empty() {
            // What was passed over has moved the cursor; otherwise nothing has changed.
            return Ok(if fresh { Look::Again } else { Look::Nothing });
        }
        let leases = self.deliver(&state, ahead, grants).await?;
        Ok(if leases.is_empty() { Look::Again } else { Look::Leases(leases) })
    }

    /// Notes who asks. With order by partition the members as they are now.
    fn ask(&self, state: &GroupState, now: Timestamp) -> Members {
        let settings = state.group.settings();
        if settings.ordering != Ordering::Partition {
            return Members::default();
        }
        let mut members = self.desk.members.lock();
        members.asked(self.wish.member, settings.lease_us, now);
        members.clone()
    }

    /// Reads beyond the cursors, as far as records are wanted.
    async fn examine(
        &self,
        state: &GroupState,
        ahead: &mut Ahead,
        members: &Members,
        room: usize,
        now: Timestamp,
    ) -> Result<Vec<Examined>, CommitError> {
        let filter = self.desk.filter();
        let by_key = state.group.settings().ordering == Ordering::Key;
        let partitions = u32::try_from(self.topic.partitions.len()).unwrap_or(u32::MAX).max(1);
        let first = self.desk.first.fetch_add(1, std::sync::atomic::Ordering::Relaxed) % partitions;
        let (mut wanted, mut bytes) = (room, 0);
        let mut examined = Vec::new();
        for number in (first..partitions).chain(0..first) {
            let number = PartitionId(number);
            let (Some(next), Some(partition)) =
                (state.group.next(number), self.topic.partitions.get(number.0 as usize))
            else {
                continue;
            };
            let end = partition.end();
            if wanted == 0 {
                break;
            }
            if next >= end || !state.group.takes_fresh(number, self.wish.member, members, now) {
                continue;
            }
            let stretch = ahead.stretch(number, next);
            if stretch.records.is_empty() {
                read_on(partition, stretch).await?;
            }
            let mut candidates = Vec::new();
            let mut end = stretch.end;
            for record in &stretch.records {
                if candidates.len() == wanted || bytes > LEASE_BYTES {
                    end = Offset(record.offset);
                    break;
                }
                if self.is_for_us(&record.record)
                    && filter.as_ref().as_ref().is_none_or(|filter| filter.passes(&record.record))
                {
                    let key = record.record.key.as_deref().filter(|_| by_key);
                    let key = key.map_or(KeyHash::NONE, key_hash);
                    candidates.push(Candidate { offset: Offset(record.offset), key });
                    bytes += record_bytes(&record.record);
                }
            }
            if end > next {
                wanted -= candidates.len();
                examined.push(Examined { partition: number, from: next, candidates, end });
            }
        }
        Ok(examined)
    }

    fn is_for_us(&self, record: &Record) -> bool {
        record
            .header_value(ONLY_FOR)
            .is_none_or(|group| group == self.desk.name.as_str().as_bytes())
    }

    /// Asks the committer. What it grants is given back when the caller has gone away meanwhile.
    async fn ask_for(
        &self,
        examined: Vec<Examined>,
        members: Members,
    ) -> Result<Vec<Grant>, CommitError> {
        let group = self.desk.id;
        let request = GroupRequest::Grant { group, wish: self.wish, examined, members };
        let answered = self.broker.submit_group(request)?;
        let mut unclaimed = Unclaimed { taker: self, answered: Some(answered) };
        match unclaimed.wait().await? {
            Made::Leases(leases) => Ok(leases),
            _ => Ok(Vec::new()),
        }
    }

    /// The leases with their records. One whose record is gone is left to lapse.
    async fn deliver(
        &self,
        state: &GroupState,
        ahead: &mut Ahead,
        grants: Vec<Grant>,
    ) -> Result<Vec<Lease>, CommitError> {
        let mut leases = Vec::with_capacity(grants.len());
        let mut bytes = 0;
        for (index, grant) in grants.iter().enumerate() {
            if bytes > LEASE_BYTES {
                self.give_back(grants.get(index..).unwrap_or_default());
                break;
            }
            let place = grant.place;
            let stored = match ahead.take(place.partition, place.offset) {
                Some(stored) => Some(stored),
                None => self.read_again(place.partition, place.offset).await,
            };
            let Some(stored) = stored else { continue };
            bytes += record_bytes(&stored.record);
            let lease = LeaseRef { place, attempt: grant.attempt, epoch: grant.epoch };
            leases.push(Lease {
                token: token::token(self.desk.id, state.secret, &lease),
                partition: place.partition,
                offset: place.offset,
                attempt: grant.attempt,
                deadline: grant.deadline,
                first_leased: grant.first_granted,
                append_time: Timestamp(stored.append_time_us),
                record: stored.record,
            });
        }
        Ok(leases)
    }

    async fn read_again(&self, number: PartitionId, offset: Offset) -> Option<StoredRecord> {
        let partition = self.topic.partitions.get(number.0 as usize)?;
        let found = if partition.reader.is_hot(offset) {
            read_record(partition, offset)
        } else {
            let partition = Arc::clone(partition);
            tokio::task::spawn_blocking(move || read_record(&partition, offset)).await.ok()?
        };
        if found.is_none() {
            tracing::warn!(topic = %self.topic.name, partition = number.0, %offset, "a leased record cannot be read");
        }
        found
    }

    /// Gives leases back that nobody will settle.
    fn give_back(&self, grants: &[Grant]) {
        let endings = Endings {
            items: grants.iter().map(|grant| super::released(self.desk.id, grant)).collect(),
            all_or_nothing: false,
        };
        // If it cannot be said, they lapse.
        self.broker.submit_group(GroupRequest::Settle { endings }).ok();
    }
}

/// What came of a look.
enum Look {
    Leases(Vec<Lease>),
    Nothing,
    /// Something has moved.
    Again,
}

/// A grant on its way to a caller that may go away.
struct Unclaimed<'a> {
    taker: &'a Taker,
    answered: Option<GroupAnswered>,
}

type GroupAnswered = tokio::sync::oneshot::Receiver<Result<Made, CommitError>>;

impl Unclaimed<'_> {
    async fn wait(&mut self) -> Result<Made, CommitError> {
        let Some(answered) = &mut self.answered else { return Ok(Made::Nothing) };
        let made = answered.await.unwrap_or(Err(CommitError::ShuttingDown));
        self.answered = None;
        made
    }
}

impl Drop for Unclaimed<'_> {
    fn drop(&mut self) {
        let Some(mut answered) = self.answered.take() else { return };
        match answered.try_recv() {
            Ok(Ok(Made::Leases(leases))) => self.taker.give_back(&leases),
            Ok(_) => {}
            // Not decided yet: it is waited for elsewhere.
            Err(_) => {
                let taker = Taker {
                    broker: self.taker.broker.clone(),
                    desk: Arc::clone(&self.taker.desk),
                    topic: Arc::clone(&self.taker.topic),
                    wish: self.taker.wish,
                };
                if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                    runtime.spawn(async move {
                        if let Ok(Ok(Made::Leases(leases))) = answered.await {
                            taker.give_back(&leases);
                        }
                    });
                }
            }
        }
    }
}

async fn read_on(partition: &Arc<Partition>, stretch: &mut Stretch) -> Result<(), CommitError> {
    let from = stretch.end;
    let slice = if partition.reader.is_hot(from) {
        partition.reader.read(from, READ_BYTES)
    } else {
        let theirs = Arc::clone(partition);
        let read = move || theirs.reader.read(from, READ_BYTES);
        tokio::task::spawn_blocking(read).await.map_err(|_| CommitError::ShuttingDown)?
    };
    match slice {
        Ok(slice) => stretch.extend(&slice),
        // Never silently: `verify` and readers say it too. But the group must go on.
        Err(
            error @ (SegmentReadError::Damaged { next, .. }
            | SegmentReadError::Missing { next, .. }),
        ) => {
            tracing::error!(%error, "a group passes over records that are damaged or missing");
            stretch.pass(next);
        }
        Err(SegmentReadError::OutOfRange { start, .. }) => stretch.pass(start),
        Err(error) => {
            return Err(CommitError::Invalid { detail: format!("reading failed: {error}") });
        }
    }
    Ok(())
}

fn record_bytes(record: &Record) -> usize {
    let headers = record.headers.iter().map(|header| header.name.len() + header.value.len());
    record.key.as_ref().map_or(0, bytes::Bytes::len)
        + record.value.as_ref().map_or(0, bytes::Bytes::len)
        + headers.sum::<usize>()
}

/// Two keys of one hash take turns as if they were one.
pub(super) fn key_hash(key: &[u8]) -> KeyHash {
    KeyHash(hash(key).max(1))
}

/// Of keys and members: the same in every process, as it is logged.
fn hash(bytes: &[u8]) -> u64 {
    use std::hash::Hasher as _;
    let mut hasher = siphasher::sip::SipHasher24::new_with_keys(0, 0);
    hasher.write(bytes);
    hasher.finish()
}
