//! Those who lease: with patience or without, until they are served or have gone away.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use embermq_storage::disk::sim::SeededEntropy;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{group, topic};
use crate::broker::Broker;
use crate::consume::leasing::member_id;
use crate::consume::{Gathering, Lease, LeaseRequest, Settlement, Verdict, read_record};
use crate::error::CommitError;
use crate::group::MemberId;

/// Nobody's call takes so much longer than it wanted to wait.
const LATE: Duration = Duration::from_secs(20);

/// How callers behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mood {
    /// They leave, fail, and forget.
    Wild,
    /// Whoever waits goes on, and nobody asks anew.
    Calm,
    /// They work.
    Good,
}

/// What happened in a run.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Figures {
    pub(super) delivered: u64,
    pub(super) left: u64,
    pub(super) refused: u64,
}

/// Somebody who waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiter {
    pub(super) member: MemberId,
    /// For so many records, at most.
    #[expect(dead_code, reason = "said when he waits in vain")]
    pub(super) records_max: u32,
}

#[derive(Debug, Default)]
struct Ledger {
    waiting: BTreeMap<u64, Waiter>,
    figures: Figures,
}

/// All callers.
pub(super) struct Crowd {
    broker: Broker,
    ledger: Arc<Mutex<Ledger>>,
    mood: watch::Sender<Mood>,
    tasks: Mutex<JoinSet<()>>,
    joined: u64,
    stays: bool,
}

impl Crowd {
    /// `stays`: nobody gives up in the middle.
    pub(super) fn of(broker: &Broker, stays: bool) -> Self {
        Self {
            broker: broker.clone(),
            ledger: Arc::default(),
            mood: watch::Sender::new(Mood::Wild),
            tasks: Mutex::default(),
            joined: 0,
            stays,
        }
    }

    /// One more, who behaves by this seed.
    pub(super) fn joined_by(&mut self, seed: u64) {
        self.joined += 1;
        let taker = Taking {
            broker: self.broker.clone(),
            ledger: Arc::clone(&self.ledger),
            mood: self.mood.subscribe(),
            random: SeededEntropy::new(seed),
            number: self.joined,
            stays: self.stays,
        };
        self.tasks.lock().spawn(taker.live());
    }

    /// Does something at the same time; it may be refused.
    pub(super) fn beside(
        &self,
        work: impl Future<Output = Result<(), CommitError>> + Send + 'static,
    ) {
        self.tasks.lock().spawn(async move {
            match work.await {
                Ok(()) => {}
                Err(error) => assert!(is_expected(&error), "{error}"),
            }
        });
    }

    pub(super) fn mood(&mut self, mood: Mood) {
        self.mood.send_replace(mood);
        // Whoever failed fails the run.
        let mut tasks = self.tasks.lock();
        while let Some(ended) = tasks.try_join_next() {
            ended.unwrap();
        }
    }

    /// Those who wait, with patience left.
    pub(super) fn waiting(&self) -> Vec<Waiter> {
        self.ledger.lock().waiting.values().copied().collect()
    }

    /// Everybody goes home.
    pub(super) fn leave(&mut self) -> Figures {
        self.mood(Mood::Good);
        self.tasks.lock().abort_all();
        self.ledger.lock().figures
    }
}

/// What others do, and a full disk, make possible.
fn is_expected(error: &CommitError) -> bool {
    matches!(
        error,
        CommitError::StorageFull { .. }
            | CommitError::GroupNotFound { .. }
            | CommitError::GroupGone
            | CommitError::GroupChanged { .. }
            | CommitError::LeaseLost { .. }
            | CommitError::InvalidLeaseToken { .. }
    )
}

struct Taking {
    broker: Broker,
    ledger: Arc<Mutex<Ledger>>,
    mood: watch::Receiver<Mood>,
    random: SeededEntropy,
    number: u64,
    stays: bool,
}

/// Counted as one who waits until this is dropped.
struct Counted(Arc<Mutex<Ledger>>, u64);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.lock().waiting.remove(&self.1);
    }
}

impl Taking {
    async fn live(mut self) {
        loop {
            if self.mood.wait_for(|mood| *mood != Mood::Calm).await.is_err() {
                return;
            }
            self.take_once().await;
            let rest = Duration::from_micros(100 + self.random.below(5_000));
            tokio::time::sleep(rest).await;
        }
    }

    fn is_good(&self) -> bool {
        *self.mood.borrow() == Mood::Good
    }

    fn wish(&mut self) -> LeaseRequest {
        let waits = [Duration::ZERO, Duration::from_millis(3), Duration::from_secs(30)];
        LeaseRequest {
            member: format!("member {}", self.number),
            records_max: [1, 1, 2, 5, 100][usize::try_from(self.random.below(5)).unwrap()],
            wait: waits[usize::try_from(self.random.below(3)).unwrap()],
            ..LeaseRequest::new(&topic(), &group())
        }
    }

    async fn take_once(&mut self) {
        let wish = self.wish();
        let patient = wish.wait > Duration::from_secs(1);
        let waiter = Waiter { member: member_id(&wish.member), records_max: wish.records_max };
        if self.random.one_in(8) {
            self.gather(&wish.member).await;
        }
        let counted = patient.then(|| {
            self.ledger.lock().waiting.insert(self.number, waiter);
            Counted(Arc::clone(&self.ledger), self.number)
        });
        let (began, patience) = (tokio::time::Instant::now(), wish.wait);
        let moments =
            (!self.stays && !self.is_good() && self.random.one_in(5)).then(|| self.random.below(6));
        let broker = self.broker.clone();
        let leased = tokio::select! {
            biased;
            leased = broker.lease(wish) => leased,
            () = moments_of(moments) => {
                self.ledger.lock().figures.left += 1;
                return;
            }
        };
        drop(counted);
        // The committer may be at work for long, but nobody waits as long as somebody else may.
        let late = began.elapsed().saturating_sub(patience);
        assert!(late < LATE, "who had {patience:?} of patience waited {late:?} longer");
        match leased {
            Ok(leases) => self.work(leases).await,
            Err(error) => {
                assert!(is_expected(&error), "{error}");
                self.ledger.lock().figures.refused += 1;
            }
        }
    }

    /// As a stage does before it leases.
    async fn gather(&self, member: &str) {
        let (topic, group) = (topic(), group());
        let delay = Duration::from_millis(2);
        let gathering = Gathering { topic: &topic, group: &group, member, records: 3, delay };
        let gathered = self.broker.gather(gathering);
        if let Ok(Err(error)) = tokio::time::timeout(Duration::from_millis(50), gathered).await {
            assert!(is_expected(&error), "{error}");
        }
    }

    async fn work(&mut self, leases: Vec<Lease>) {
        let mut settlements = Vec::new();
        for lease in leases {
            self.ledger.lock().figures.delivered += 1;
            self.is_right(&lease);
            settlements.extend(self.verdict(lease));
        }
        if !self.is_good() && self.random.one_in(4) {
            let micros = self.random.below(30_000);
            tokio::time::sleep(Duration::from_micros(micros)).await;
        }
        match self.broker.settle(&topic(), &group(), settlements).await {
            Ok(results) => {
                let mut failed = results.into_iter().filter_map(Result::err);
                assert!(failed.all(|error| is_expected(&error)));
            }
            // The leases lapse.
            Err(error) => assert!(is_expected(&error), "{error}"),
        }
    }

    fn is_right(&self, lease: &Lease) {
        let there = self.broker.topic(&topic()).unwrap();
        let partition = &there.partitions[lease.partition.0 as usize];
        let stored = read_record(partition, lease.offset).unwrap().unwrap();
        assert_eq!(stored.record, lease.record, "{lease:?}");
    }

    /// None: it is forgotten.
    fn verdict(&mut self, lease: Lease) -> Option<Settlement> {
        let token = lease.token;
        if self.is_good() {
            return Some(Verdict::ack(token));
        }
        let verdict = match self.random.below(20) {
            0..12 => Verdict::Ack,
            12..14 => Verdict::Nack { delay: None, error: "failed".to_owned() },
            14 => Verdict::Nack { delay: Some(Duration::ZERO), error: String::new() },
            15 => Verdict::Reject { reason: "never".to_owned() },
            16 => Verdict::Release,
            17 => Verdict::Extend { by: Duration::from_secs(2) },
            _ => return None,
        };
        Some(Settlement { token, verdict })
    }
}

/// So many moments in which others have a turn; for ever.
async fn moments_of(moments: Option<u64>) {
    let Some(moments) = moments else { return std::future::pending().await };
    for _ in 0..moments {
        tokio::task::yield_now().await;
    }
}
