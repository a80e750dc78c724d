//! The threads that process, and what is done when one does not come back.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use embermq_protocol::names::TopicName;
use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use super::processor::{Fault, Output, Processor};
use crate::background::give_way;
use crate::given_up::{Cancel, Interest};
use crate::panicked::message_of;
use crate::record::Record;

/// Threads that were given up and have not come back, before no more are started in their place. A record that hangs costs one at each
/// attempt, and one for the batch that it was found in.
const LOST_MAX: usize = 16;

/// Calls that a turn makes of each instance, however many parts it has: enough that none is idle while another is late.
const CALLS: usize = 4;

/// The fault of a record whose output does not fit: into its topic, or into a commit.
pub(super) const TOO_LARGE: &str = "too_large";

/// What came of one record.
pub(super) type Outcome = Result<Output, Failure>;

/// Why there is no output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// It was tried, and failed.
    Fault(Fault),
    /// It was not tried: all threads were given up.
    NotTried,
}

/// Threads that process batches, one each at a time.
#[derive(Debug)]
pub(super) struct Instances {
    shared: Arc<Shared>,
    timeout: Duration,
    stage: String,
    /// Calls that were given up.
    abandoned: AtomicU64,
}

#[derive(Debug)]
struct Shared {
    work: Mutex<Work>,
    changed: Condvar,
    /// Threads that there are to be.
    count: usize,
}

#[derive(Debug, Default)]
struct Work {
    queue: VecDeque<Call>,
    /// Threads that are there and not given up.
    threads: usize,
    /// Threads that were given up and have not come back.
    lost: usize,
    closed: bool,
}

/// A part of a batch to be processed.
#[derive(Debug)]
struct Call {
    processor: Arc<dyn Processor>,
    batch: Arc<[Record]>,
    part: Range<usize>,
    bounds: Bounds,
    room: Rooms,
    began: oneshot::Sender<()>,
    answer: oneshot::Sender<Result<Vec<Outcome>, BatchFault>>,
    fate: Arc<Mutex<Fate>>,
    /// Set when nobody waits any more.
    cancel: Cancel,
    /// Parts that are done.
    done: Arc<AtomicU64>,
}

/// Records and bytes that are processed at a time, at most.
type Bounds = (usize, u64);

/// What the output topic takes of one record.
#[derive(Clone, Debug)]
pub(super) struct Room {
    pub(super) topic: TopicName,
    pub(super) record_bytes_max: u32,
}

/// What came of all of a turn is held until it is committed: no answer of it may be larger than its topic takes anyway.
type Rooms = Option<Arc<Room>>;

/// Whose move it is: the thread's that processes, or that of who waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Running,
    /// The answer is on its way.
    Done,
    GivenUp,
}

/// A batch failed as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
enum BatchFault {
    Panicked(String),
    TimedOut,
    WrongCount { expected: usize, found: usize },
    NoThreads,
    Closed,
}

impl Instances {
    /// Starts `count` threads.
    pub(super) fn start(stage: &str, count: usize, timeout: Duration) -> io::Result<Self> {
        let shared = Arc::new(Shared { work: Mutex::default(), changed: Condvar::new(), count });
        let abandoned = AtomicU64::new(0);
        let instances = Self { shared, timeout, stage: stage.to_owned(), abandoned };
        for _ in 0..count {
            instances.spawn()?;
        }
        Ok(instances)
    }

    fn spawn(&self) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let thread = std::thread::Builder::new().name(format!("stage-{}", self.stage));
        self.shared.work.lock().threads += 1;
        match thread.spawn(move || {
            give_way();
            serve(&shared);
        }) {
            Ok(_) => Ok(()),
            Err(error) => {
                self.shared.work.lock().threads -= 1;
                Err(error)
            }
        }
    }

    /// Threads that were given up and have not come back.
    pub(super) fn lost(&self) -> usize {
        self.shared.work.lock().lost
    }

    /// Whether all threads were given up: nothing can be processed until one of them comes back.
    pub(super) fn is_stuck(&self) -> bool {
        let work = self.shared.work.lock();
        work.threads == 0 && !work.closed
    }

    /// Calls that were given up since they were started.
    pub(super) fn abandoned(&self) -> u64 {
        self.abandoned.load(Ordering::Relaxed)
    }

    /// Processes records, `size` and `bytes` at most at a time, on as many threads as there are. One outcome for each record, in order;
    /// `None`: the stage is being closed.
    pub(super) async fn process(
        &self,
        processor: &Arc<dyn Processor>,
        batch: &Arc<[Record]>,
        bounds: Bounds,
        room: &Rooms,
    ) -> Option<Vec<Outcome>> {
        let Some(length) = processor.length() else {
            return self.process_in_turn(processor, batch, bounds, room).await;
        };
        let mut order: Vec<usize> = (0..batch.len()).collect();
        order.sort_by_key(|at| length(&batch[*at]));
        let sorted: Arc<[Record]> = order.iter().map(|at| batch[*at].clone()).collect();
        let outcomes = self.process_in_turn(processor, &sorted, bounds, room).await?;
        let mut placed: Vec<(usize, Outcome)> = order.into_iter().zip(outcomes).collect();
        placed.sort_by_key(|(at, _)| *at);
        Some(placed.into_iter().map(|(_, outcome)| outcome).collect())
    }

    /// Processes records as they stand.
    async fn process_in_turn(
        &self,
        processor: &Arc<dyn Processor>,
        batch: &Arc<[Record]>,
        bounds: Bounds,
        room: &Rooms,
    ) -> Option<Vec<Outcome>> {
        let parts = shares(batch, bounds, self.shared.count);
        let calls = parts.into_iter();
        let calls = calls.map(|part| self.process_part(processor, batch, part, bounds, room));
        let outcomes = futures::future::join_all(calls).await;
        let mut all = Vec::with_capacity(batch.len());
        for part in outcomes {
            all.extend(part?);
        }
        Some(all)
    }

    /// Processes a part; one that fails as a whole is halved until the culprits are found. One that hangs is taken apart at once: each
    /// further try that hangs costs a thread.
    async fn process_part(
        &self,
        processor: &Arc<dyn Processor>,
        batch: &Arc<[Record]>,
        part: Range<usize>,
        bounds: Bounds,
        room: &Rooms,
    ) -> Option<Vec<Outcome>> {
        let mut outcomes = Vec::with_capacity(part.len());
        let mut waiting = vec![part];
        while let Some(part) = waiting.pop() {
            match self.call(processor, batch, part.clone(), bounds, room).await {
                Ok(some) => outcomes.extend(some),
                Err(BatchFault::Closed) => return None,
                Err(BatchFault::NoThreads) => {
                    outcomes.extend(part.map(|_| Err(Failure::NotTried)));
                }
                Err(fault) if part.len() == 1 => {
                    outcomes.push(Err(Failure::Fault(fault.of_one(self.timeout))));
                }
                Err(BatchFault::TimedOut) => {
                    waiting.extend(part.rev().map(|at| at..at + 1));
                }
                Err(_) => {
                    let middle = part.start + part.len() / 2;
                    waiting.push(middle..part.end);
                    waiting.push(part.start..middle);
                }
            }
        }
        Some(outcomes)
    }

    async fn call(
        &self,
        processor: &Arc<dyn Processor>,
        batch: &Arc<[Record]>,
        part: Range<usize>,
        bounds: Bounds,
        room: &Rooms,
    ) -> Result<Vec<Outcome>, BatchFault> {
        let (began, begins) = oneshot::channel();
        let (answer, mut answered) = oneshot::channel();
        let (fate, done) = (Arc::new(Mutex::new(Fate::Running)), Arc::new(AtomicU64::new(0)));
        let interest = Interest::default();
        let call = Call {
            processor: Arc::clone(processor),
            batch: Arc::clone(batch),
            part,
            bounds,
            room: room.clone(),
            began,
            answer,
            fate: Arc::clone(&fate),
            cancel: interest.mark(),
            done: Arc::clone(&done),
        };
        {
            let mut work = self.shared.work.lock();
            if work.closed {
                return Err(BatchFault::Closed);
            }
            if work.threads == 0 {
                return Err(BatchFault::NoThreads);
            }
            work.queue.push_back(call);
        }
        self.shared.changed.notify_one();
        if begins.await.is_err() {
            return Err(BatchFault::Closed);
        }
        let mut seen = 0;
        loop {
            let answer = tokio::time::timeout(self.timeout, &mut answered).await;
            // What may take so long is one part.
            let now = done.load(Ordering::Relaxed);
            match answer {
                Ok(answer) => return answer.unwrap_or(Err(BatchFault::Closed)),
                Err(_) if now > seen => seen = now,
                Err(_) if self.give_up(&fate) => return Err(BatchFault::TimedOut),
                Err(_) => return answered.await.unwrap_or(Err(BatchFault::Closed)),
            }
        }
    }

    /// Its thread does not come back; another one takes its place, unless too many were lost already. False: it came back this very moment.
    fn give_up(&self, fate: &Mutex<Fate>) -> bool {
        let replace = {
            // Held until it is counted: the thread may come back at any time, and counts back.
            let mut fate = fate.lock();
            if *fate == Fate::Done {
                return false;
            }
            *fate = Fate::GivenUp;
            self.abandoned.fetch_add(1, Ordering::Relaxed);
            let mut work = self.shared.work.lock();
            work.threads -= 1;
            work.lost += 1;
            work.lost <= LOST_MAX
        };
        tracing::error!(stage = %self.stage, timeout = ?self.timeout, "a call did not return in time; its thread is given up");
        if replace && let Err(error) = self.spawn() {
            tracing::error!(stage = %self.stage, %error, "no thread could be started in its place");
        }
        self.fail_queue_without_threads();
        true
    }

    /// Whoever waits for a thread shall not wait for ever.
    fn fail_queue_without_threads(&self) {
        let mut work = self.shared.work.lock();
        if work.threads > 0 {
            return;
        }
        for call in std::mem::take(&mut work.queue) {
            call.began.send(()).ok();
            call.answer.send(Err(BatchFault::NoThreads)).ok();
        }
    }

    /// Lets no more be processed. Threads that are at work end when they are done.
    pub(super) fn close(&self) {
        let mut work = self.shared.work.lock();
        work.closed = true;
        work.queue.clear();
        self.shared.changed.notify_all();
    }
}

impl Drop for Instances {
    fn drop(&mut self) {
        self.close();
    }
}

impl BatchFault {
    fn of_one(&self, timeout: Duration) -> Fault {
        let (code, message) = match self {
            Self::Panicked(message) => ("panic", format!("the model panicked: {message}")),
            Self::TimedOut => ("timeout", format!("the model did not answer within {timeout:?}")),
            Self::WrongCount { expected, found } => {
                ("internal", format!("the model gave {found} answers to {expected} records"))
            }
            Self::NoThreads | Self::Closed => ("closed", "the stage was closed".to_owned()),
        };
        Fault { retryable: true, code: code.to_owned(), message }
    }
}

/// Consecutive parts of at most `size` records and `bytes` bytes; a record alone may have more.
fn parts(batch: &[Record], (size, bytes): Bounds) -> Vec<Range<usize>> {
    let mut parts: Vec<Range<usize>> = Vec::new();
    let mut filled = 0;
    for (at, record) in batch.iter().enumerate() {
        let weight = record.value.as_ref().map_or(0, |value| value.len() as u64);
        match parts.last_mut() {
            Some(part) if part.len() < size && filled + weight <= bytes => {
                part.end = at + 1;
                filled += weight;
            }
            _ => {
                parts.push(at..at + 1);
                filled = weight;
            }
        }
    }
    parts
}

/// What each call has. Where a turn has more records than keep the instances busy (see [`pace`](super::pace)), their parts take next to no time,
/// and handing each over would take longer: so a call has several, one after the other.
fn shares(batch: &[Record], bounds: Bounds, instances: usize) -> Vec<Range<usize>> {
    let (parts, calls) = (parts(batch, bounds), instances.max(1) * CALLS);
    if batch.len() <= bounds.0.saturating_mul(calls) {
        return parts;
    }
    let each = parts.len().div_ceil(calls);
    parts.chunks(each).map(|some| some[0].start..some[some.len() - 1].end).collect()
}

/// Processes the records of a call, part by part.
fn process(
    processor: &dyn Processor,
    records: &[Record],
    bounds: Bounds,
    room: Option<&Room>,
    (done, cancel): (&AtomicU64, &Cancel),
) -> Result<Vec<Outcome>, BatchFault> {
    let mut outcomes = Vec::with_capacity(records.len());
    for part in parts(records, bounds) {
        if cancel.is_cancelled() {
            return Err(BatchFault::TimedOut);
        }
        let expected = part.len();
        let some = processor.process(&records[part]);
        if some.len() != expected {
            return Err(BatchFault::WrongCount { expected, found: some.len() });
        }
        outcomes.extend(some.into_iter().map(|outcome| outcome_of(outcome, expected, room)));
        done.fetch_add(1, Ordering::Relaxed);
    }
    Ok(outcomes)
}

fn serve(shared: &Shared) {
    loop {
        let mut work = shared.work.lock();
        let call = loop {
            if work.closed {
                work.threads -= 1;
                return;
            }
            match work.queue.pop_front() {
                Some(call) => break call,
                None => shared.changed.wait(&mut work),
            }
        };
        drop(work);
        let Call { processor, batch, part, bounds, room, began, answer, fate, cancel, done } = call;
        began.send(()).ok();
        let (records, room) = (&batch[part], room.as_deref());
        let work =
            || cancel.watch(|| process(&*processor, records, bounds, room, (&done, &cancel)));
        let result = catch_unwind(AssertUnwindSafe(work))
            .unwrap_or_else(|panic| Err(BatchFault::Panicked(message_of(&*panic))));
        let given_up = {
            let mut fate = fate.lock();
            let given_up = *fate == Fate::GivenUp;
            if !given_up {
                *fate = Fate::Done;
            }
            given_up
        };
        if given_up {
            let mut work = shared.work.lock();
            work.lost -= 1;
            if work.threads >= shared.count {
                return;
            }
            // Nobody took its place: it goes on.
            work.threads += 1;
            continue;
        }
        answer.send(result).ok();
    }
}

/// What came of a record in a call of so many.
fn outcome_of(processed: Result<Output, Fault>, call: usize, room: Option<&Room>) -> Outcome {
    let output = processed.map_err(Failure::Fault)?;
    if let Some(room) = room
        && output.value.len() as u64 > u64::from(room.record_bytes_max)
    {
        let (bytes, Room { topic, record_bytes_max }) = (output.value.len(), room);
        let message = format!(
            "the output has {bytes} bytes without its headers, topic {topic} takes {record_bytes_max} a record (record_bytes_max)"
        );
        let code = TOO_LARGE.to_owned();
        return Err(Failure::Fault(Fault { retryable: false, code, message }));
    }
    Ok(Output { batch_size: output.batch_size.or(Some(call)), ..output })
}

#[cfg(test)]
mod tests;
