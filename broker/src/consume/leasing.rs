//! Taking records: wait for one's turn, look at what is due and what is new, ask the committer, deliver.
//!
//! One caller of a group at a time looks; the others wait in the order in which they came. Whoever looks and finds nothing
//! goes on waiting in front, so that nobody is overtaken. Whoever finds something asks for it and lets the next one look, behind
//! what it asked for, while the committer decides. With order by partition every caller looks for itself, since
//! what one may not have another may.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::time::Duration;

use embermq_protocol::batch::StoredRecord;
use embermq_storage::segment::ReadError as SegmentReadError;
use embermq_storage::{Offset, Timestamp};
use tokio::sync::oneshot;
use tokio::time::Sleep;

use super::ahead::{Ahead, Stretch};
use super::dead_letter::ONLY_FOR;
use super::desk::Desk;
use super::lease::{Lease, LeaseRequest};
use crate::broker::Broker;
use crate::error::CommitError;
use crate::group::{
    Candidate, Examined, KeyHash, Lease as Grant, MemberId, Members, Ordering, Place, Wish,
};
use crate::record::Record;
use crate::state::{GroupRequest, GroupState, Made, Moved};
use crate::topic::{Partition, PartitionId, Topic};

/// Bytes that are read beyond a cursor at a time.
const READ_BYTES: u64 = 256 << 10;

/// So many times, at most, while more records are wanted and there: a grant costs more than a read.
const READS_MAX: usize = 8;

/// A lease answer ends behind the record that makes it longer than this.
pub(super) const LEASE_BYTES: usize = 8 << 20;

/// Candidates of one partition in one look, most of which may have to wait for others of their key.
const CANDIDATES_MAX: usize = 2_000;

/// How often a caller without patience looks while the group moves over records that are not for it.
const LOOKS: u32 = 64;

/// How long a caller whose patience is over waits for its turn, while the one before it is being served.
const GRACE: Duration = Duration::from_millis(100);

/// One caller that takes records.
#[derive(Clone)]
pub(super) struct Taker {
    pub(super) broker: Broker,
    pub(super) desk: Arc<Desk>,
    pub(super) wish: Wish,
}

impl Taker {
    pub(super) fn new(broker: &Broker, desk: Arc<Desk>, request: &LeaseRequest) -> Self {
        let member = member_id(&request.member);
        let lease_us =
            request.lease.map(|lease| u64::try_from(lease.as_micros()).unwrap_or(u64::MAX));
        let wish = Wish { member, records_max: request.records_max as usize, lease_us };
        Self { broker: broker.clone(), desk, wish }
    }

    /// Takes records; an empty answer when there were none within `wait`.
    pub(super) async fn take(self, wait: Duration) -> Result<Vec<Lease>, CommitError> {
        let by_partition = self.desk.state().group.settings().ordering == Ordering::Partition;
        let mut patience = Box::pin(tokio::time::sleep(wait));
        if by_partition {
            return self.look_until(None, &mut patience).await;
        }
        match self.turn_within(&mut patience).await {
            Some(turn) => self.look_until(Some(turn), &mut patience).await,
            None => Ok(Vec::new()),
        }
    }

    /// A turn; none when the caller's patience is over and there is nothing to be had.
    async fn turn_within(&self, patience: &mut Pin<Box<Sleep>>) -> Option<Turn<'_>> {
        if self.desk.state().group.settings().ordering == Ordering::Partition {
            // Nobody keeps it while it waits.
            return Some(self.desk.turn.lock().await);
        }
        let mut turn = std::pin::pin!(self.desk.turn.lock());
        tokio::select! {
            biased;
            turn = &mut turn => Some(turn),
            () = patience => {
                // Whoever is in front waits as well: there is nothing. Otherwise it is being served, and next is next.
                if self.desk.waits.load(Relaxed) {
                    return None;
                }
                tokio::time::timeout(GRACE, turn).await.ok()
            }
        }
    }

    /// A turn, once more: behind those who wait for theirs.
    async fn next_turn<'a>(
        &'a self,
        turn: Option<Turn<'a>>,
        patience: &mut Pin<Box<Sleep>>,
    ) -> Option<Turn<'a>> {
        let mut turn = match turn {
            Some(turn) => turn,
            None => self.turn_within(patience).await?,
        };
        // In this order: whoever ends short says so before it ends.
        let nobody_asks = self.desk.asking.load(Acquire) == 0;
        if self.desk.fell_short.swap(false, Relaxed) {
            turn.clear();
        } else if nobody_asks {
            turn.forget_promises();
        }
        Some(turn)
    }

    /// The topic as it is now: it may have got partitions.
    pub(super) fn topic(&self) -> Option<Arc<Topic>> {
        self.broker.topic(&self.desk.topic)
    }

    async fn look_until(
        &self,
        mut turn: Option<Turn<'_>>,
        patience: &mut Pin<Box<Sleep>>,
    ) -> Result<Vec<Lease>, CommitError> {
        let mut looks = 0_u32;
        let in_front = turn.is_some();
        loop {
            let Some(topic) = self.topic() else {
                return Err(CommitError::TopicNotFound { topic: self.desk.topic.clone() });
            };
            // From here on no wake-up is missed.
            let mut changed = std::pin::pin!(self.desk.changed.notified());
            let mut grown = std::pin::pin!(topic.grown.notified());
            let mut fell_short = std::pin::pin!(self.desk.in_front.notified());
            changed.as_mut().enable();
            grown.as_mut().enable();
            fell_short.as_mut().enable();
            if self.desk.is_gone() {
                let (topic, group) = (self.desk.topic.clone(), self.desk.name.clone());
                return Err(CommitError::GroupNotFound { topic, group });
            }
            if self.broker.is_shutting_down() {
                return Err(CommitError::ShuttingDown);
            }
            let Some(mine) = self.next_turn(turn.take(), patience).await else {
                return Ok(Vec::new());
            };
            let (look, kept) = self.look(&topic, mine).await?;
            // With order by partition nobody keeps others from looking.
            turn = kept.filter(|_| in_front);
            looks += 1;
            // Whether it has elapsed it does not know before it is waited for.
            let is_over = patience.deadline() <= tokio::time::Instant::now();
            match look {
                Look::Leases(leases) => return Ok(leases),
                // How far the group has come is kept, so the next caller goes on from there.
                Look::Again if is_over && looks >= LOOKS => return Ok(Vec::new()),
                Look::Again => continue,
                Look::Nothing if is_over => return Ok(Vec::new()),
                Look::Nothing => {}
            }
            let waiting = Waiting::of(&self.desk, turn.is_some());
            tokio::select! {
                () = &mut changed => {}
                () = &mut grown => {}
                () = &mut fell_short, if turn.is_some() => {}
                () = self.until_due() => {}
                () = &mut *patience => return Ok(Vec::new()),
            }
            drop(waiting);
        }
    }

    /// Sleeps until something may be due although nothing happens.
    async fn until_due(&self) {
        let now = self.broker.group_time();
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

    /// Looks once. Who finds nothing to ask for keeps the turn; who asks lets others look while the committer decides.
    async fn look<'a>(
        &'a self,
        topic: &Topic,
        mut turn: Turn<'a>,
    ) -> Result<(Look, Option<Turn<'a>>), CommitError> {
        let state = self.desk.state();
        let now = self.broker.group_time();
        let members = self.ask(&state, now);
        let room = state.group.room(self.wish.records_max, now);
        if room == 0 {
            return Ok((Look::Nothing, Some(turn)));
        }
        let asking = Asking { state: &state, topic, members: &members, room, now };
        let promised = Promised::to(&self.desk);
        let (examined, read) = self.examine(&asking, &mut turn).await?;
        if examined.is_empty() && !state.group.has_deliverable(now) {
            promised.ends(End::Kept);
            return Ok((Look::Nothing, Some(turn)));
        }
        let fresh = !examined.is_empty();
        let behind_others = examined
            .iter()
            .any(|stretch| state.group.next(stretch.partition) != Some(stretch.from));
        let mut unclaimed = self.ask_for(examined, members, promised)?;
        // The committer decides in the order in which it was asked, so the next one may ask behind this.
        let by_partition = state.group.settings().ordering == Ordering::Partition;
        let turn = by_partition.then_some(turn);
        let moved = unclaimed.wait().await?;
        drop(turn);
        if unclaimed.grants.is_empty() {
            // Asked for behind what others did not get all of: the next look begins at the cursor.
            let again = fresh && (moved != Moved::Nothing || behind_others);
            return Ok((if again { Look::Again } else { Look::Nothing }, None));
        }
        let leases = self.deliver(&state, read, &unclaimed.grants).await;
        unclaimed.grants.clear();
        Ok((if leases.is_empty() { Look::Again } else { Look::Leases(leases) }, None))
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
        asking: &Asking<'_>,
        ahead: &mut Ahead,
    ) -> Result<(Vec<Examined>, Read), CommitError> {
        let Asking { state, topic, members, room, now } = *asking;
        let group = &state.group;
        let filter = self.desk.filter();
        let by_key = group.settings().ordering == Ordering::Key;
        let partitions = u32::try_from(topic.partitions.len()).unwrap_or(u32::MAX).max(1);
        let first = self.desk.first.fetch_add(1, Relaxed) % partitions;
        let (mut wanted, mut bytes) = (room, 0);
        // Records that have to wait for another of their key are looked at, and do not count, while there is room to hold them.
        let (mut keys, mut held_room) = (BTreeSet::new(), group.held_room());
        let (mut examined, mut read) = (Vec::new(), Read::new());
        for number in (first..partitions).chain(0..first) {
            if wanted == 0 || bytes > LEASE_BYTES {
                break;
            }
            let number = PartitionId(number);
            let (Some(next), Some(partition)) =
                (group.next(number), topic.partitions.get(number.0 as usize))
            else {
                continue;
            };
            if next >= partition.end() || !group.takes_fresh(number, self.wish.member, members, now)
            {
                continue;
            }
            let cursor = next;
            let stretch = ahead.stretch(number, cursor);
            let next = stretch.from;
            if next >= partition.end() {
                continue;
            }
            for _ in 0..READS_MAX {
                let enough = stretch.records.len() >= wanted || stretch.bytes() > LEASE_BYTES;
                if enough || stretch.end >= partition.end() {
                    break;
                }
                self.read_on(topic, partition, stretch).await?;
            }
            let mut candidates = Vec::new();
            let mut end = stretch.end;
            for record in &stretch.records {
                if wanted == 0 || bytes > LEASE_BYTES || candidates.len() == CANDIDATES_MAX {
                    end = Offset(record.offset);
                    break;
                }
                if self.is_for_us(&record.record)
                    && filter.as_ref().as_ref().is_none_or(|filter| filter.passes(&record.record))
                {
                    let key = record.record.key.as_deref().filter(|_| by_key);
                    let key = key.map_or(KeyHash::NONE, key_hash);
                    if key == KeyHash::NONE || (!group.is_key_taken(key) && keys.insert(key)) {
                        wanted -= 1;
                        bytes += record_bytes(&record.record);
                    } else if held_room == 0 {
                        end = Offset(record.offset);
                        break;
                    } else {
                        held_room -= 1;
                    }
                    candidates.push(Candidate { offset: Offset(record.offset), key });
                }
            }
            if end > next {
                let records = stretch.promise(cursor, end).into_iter();
                let place = |offset| Place { partition: number, offset: Offset(offset) };
                read.extend(records.map(|record| (place(record.offset), record)));
                examined.push(Examined { partition: number, from: next, candidates, end });
            }
        }
        Ok((examined, read))
    }

    async fn read_on(
        &self,
        topic: &Topic,
        partition: &Arc<Partition>,
        stretch: &mut Stretch,
    ) -> Result<(), CommitError> {
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
                tracing::error!(
                    topic = %self.desk.topic, group = %self.desk.name, %error,
                    "a group passes over records that are damaged or missing"
                );
                let passed = next.0.saturating_sub(from.0);
                topic.counters.records_passed_over.fetch_add(passed, Relaxed);
                stretch.pass(next);
            }
            Err(SegmentReadError::OutOfRange { start, .. }) => stretch.pass(start),
            Err(error) => return Err(CommitError::unreadable(&error)),
        }
        Ok(())
    }

    fn is_for_us(&self, record: &Record) -> bool {
        let only = record.header_value(ONLY_FOR).and_then(|only| std::str::from_utf8(only).ok());
        // A copy of the record in another topic is for everybody.
        let of_topic = only.and_then(|only| only.split_once('/'));
        of_topic.is_none_or(|(topic, group)| {
            topic != self.desk.topic.as_str() || group == self.desk.name.as_str()
        })
    }

    /// Asks the committer. What it grants is given back when the caller goes away before it has it.
    fn ask_for(
        &self,
        examined: Vec<Examined>,
        members: Members,
        promised: Promised,
    ) -> Result<Unclaimed<'_>, CommitError> {
        let group = self.desk.id;
        let request = GroupRequest::Grant { group, wish: self.wish, examined, members };
        let answered = Some((self.broker.submit_grant(request)?, promised));
        Ok(Unclaimed { taker: self, answered, grants: Vec::new() })
    }
}

/// The turn of one caller, with what was read for all of them.
type Turn<'a> = tokio::sync::MutexGuard<'a, Ahead>;

/// Records that were read for one caller.
pub(super) type Read = BTreeMap<Place, StoredRecord>;

/// What came of a look.
enum Look {
    Leases(Vec<Lease>),
    Nothing,
    /// Something has moved.
    Again,
}

/// What one look goes by.
struct Asking<'a> {
    state: &'a GroupState,
    topic: &'a Topic,
    members: &'a Members,
    room: usize,
    now: Timestamp,
}

/// Records are promised to a caller, until the committer has moved the group's cursors over all of them. A promise that
/// ends in another way (an error, a caller that went away, a grant of less) has fallen short: others may have seen nothing behind it, and
/// wait.
struct Promised {
    desk: Arc<Desk>,
    end: End,
}

/// How a promise ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Kept,
    /// Whoever it was made to looks again at once, and so for all who wait behind it; whoever waits in front has to look.
    Short,
    /// Those who wait have to look.
    Broken,
}

impl Promised {
    fn to(desk: &Arc<Desk>) -> Self {
        desk.asking.fetch_add(1, Relaxed);
        Self { desk: Arc::clone(desk), end: End::Broken }
    }

    fn ends(mut self, end: End) {
        self.end = end;
    }
}

impl Drop for Promised {
    fn drop(&mut self) {
        if self.end != End::Kept {
            self.desk.fell_short.store(true, Relaxed);
        }
        self.desk.asking.fetch_sub(1, Release);
        match self.end {
            End::Kept => {}
            End::Short => self.desk.in_front.notify_waiters(),
            End::Broken => self.desk.changed.notify_waiters(),
        }
    }
}

/// While this lives, whoever has the turn waits.
struct Waiting<'a>(Option<&'a Desk>);

impl<'a> Waiting<'a> {
    fn of(desk: &'a Desk, in_front: bool) -> Self {
        let desk = in_front.then_some(desk);
        if let Some(desk) = desk {
            desk.waits.store(true, Relaxed);
        }
        Self(desk)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(desk) = self.0 {
            desk.waits.store(false, Relaxed);
        }
    }
}

/// A grant on its way to a caller that may go away.
struct Unclaimed<'a> {
    taker: &'a Taker,
    /// While it is being decided.
    answered: Option<(oneshot::Receiver<Result<Made, CommitError>>, Promised)>,
    /// Until they are delivered.
    grants: Vec<Grant>,
}

impl Unclaimed<'_> {
    /// Waits for the decision; says how far cursors have moved.
    async fn wait(&mut self) -> Result<Moved, CommitError> {
        let Some((answered, _)) = &mut self.answered else { return Ok(Moved::Nothing) };
        let made = answered.await.unwrap_or(Err(CommitError::ShuttingDown));
        let promised = self.answered.take().map(|(_, promised)| promised);
        let moved = match made {
            Ok(Made::Leases(grants, moved)) => {
                self.grants = grants;
                Ok(moved)
            }
            Ok(_) => Ok(Moved::Nothing),
            Err(error) => Err(error),
        };
        let end = match moved {
            Ok(Moved::All) => End::Kept,
            Ok(_) if self.grants.is_empty() => End::Short,
            _ => End::Broken,
        };
        if let Some(promised) = promised {
            promised.ends(end);
        }
        moved
    }
}

impl Drop for Unclaimed<'_> {
    fn drop(&mut self) {
        if !self.grants.is_empty() {
            self.taker.give_back(&self.grants);
        }
        let Some((answered, promised)) = self.answered.take() else { return };
        let taker = self.taker.clone();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Ok(Ok(Made::Leases(grants, moved))) = answered.await {
                    if moved == Moved::All {
                        promised.ends(End::Kept);
                    }
                    taker.give_back(&grants);
                }
            });
        }
    }
}

pub(super) fn record_bytes(record: &Record) -> usize {
    let headers = record.headers.iter().map(|header| header.name.len() + header.value.len());
    record.key.as_ref().map_or(0, bytes::Bytes::len)
        + record.value.as_ref().map_or(0, bytes::Bytes::len)
        + headers.sum::<usize>()
}

/// Two keys of one hash take turns as if they were one.
pub(super) fn key_hash(key: &[u8]) -> KeyHash {
    KeyHash(hash(key).max(1))
}

/// What a member is known by.
pub(super) fn member_id(name: &str) -> MemberId {
    if name.is_empty() { MemberId::NONE } else { MemberId(hash(name.as_bytes())) }
}

/// Of keys and members: the same in every process, as it is logged.
fn hash(bytes: &[u8]) -> u64 {
    use std::hash::Hasher as _;
    let mut hasher = siphasher::sip::SipHasher24::new_with_keys(0, 0);
    hasher.write(bytes);
    hasher.finish()
}
