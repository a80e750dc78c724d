//! Records that are worked on one after the other, and those that wait for it.

use std::{
    any::Any,
    collections::{BTreeMap, VecDeque},
    panic::AssertUnwindSafe,
    time::Duration,
};

use futures::FutureExt as _;
use tokio::{sync::watch, time::Instant};

use super::{
    Failed, Handler, Outputs, Trouble, WorkReport,
    keeper::{Keeper, Kept},
    outcome::Verdict,
    trouble::Listener,
};
use crate::{
    client::{ClientError, GroupClient, Leased, RetryPolicy, SettleError, Settled, lease},
    names::TopicName,
    v1::Settlement,
};

/// Leases that are worked on one after the other.
#[derive(Debug)]
pub(super) struct Lane {
    leases: VecDeque<Leased>,
    kept: Kept,
}

/// What a lane needs to run.
pub(super) struct Station {
    pub(super) group: GroupClient,
    pub(super) handler: Handler,
    pub(super) out: Option<TopicName>,
    pub(super) extension: Duration,
    pub(super) stopped: watch::Receiver<bool>,
    pub(super) listener: Listener,
}

/// Lanes that were not started.
#[derive(Debug, Default)]
pub(super) struct Lanes(VecDeque<Lane>);

impl Lanes {
    /// Takes leases just taken: with `ordered` one lane for each partition, otherwise one for each.
    pub(super) fn add(&mut self, leases: Vec<Leased>, ordered: bool, lease: Duration) {
        let mut of_partition: BTreeMap<u32, VecDeque<Leased>> = BTreeMap::new();
        for leased in leases {
            if ordered {
                of_partition.entry(leased.partition).or_default().push_back(leased);
            } else {
                self.0.push_back(Lane::new(VecDeque::from([leased]), lease));
            }
        }
        self.0.extend(of_partition.into_values().map(|leases| Lane::new(leases, lease)));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn next(&mut self) -> Option<Lane> {
        self.0.pop_front()
    }

    pub(super) fn kept(&mut self) -> impl Iterator<Item = &mut Kept> {
        self.0.iter_mut().map(|lane| &mut lane.kept)
    }

    /// Gives all of them back.
    pub(super) async fn release(&mut self, group: &GroupClient) -> WorkReport {
        let leases: Vec<Leased> = self.0.drain(..).flat_map(|lane| lane.leases).collect();
        release(group, &leases).await
    }
}

async fn release<'a>(
    group: &GroupClient,
    leases: impl IntoIterator<Item = &'a Leased>,
) -> WorkReport {
    let settlements: Vec<Settlement> =
        leases.into_iter().map(|leased| leased.settlement(lease::release())).collect();
    let mut report = WorkReport::default();
    if !settlements.is_empty() {
        for result in group.settle(settlements).await {
            let released = if result.is_ok() { &mut report.released } else { &mut report.lost };
            *released += 1;
        }
    }
    report
}

impl Lane {
    fn new(leases: VecDeque<Leased>, lease: Duration) -> Self {
        let tokens = leases.iter().map(|lease| lease.token.clone()).collect();
        Self { leases, kept: Kept::new(tokens, lease) }
    }

    /// Works on one after the other, until one has to come before the others again, or the worker stops.
    pub(super) async fn run(mut self, station: Station) -> WorkReport {
        let mut report = WorkReport::default();
        let mut keeper = Keeper::new(station.group.clone(), station.extension);
        while let Some(leased) = self.leases.front() {
            if *station.stopped.borrow() {
                break;
            }
            let mut attend = std::pin::pin!(station.attend(leased.clone()));
            let (done, goes_on) = loop {
                let kept = std::iter::once(&mut self.kept);
                tokio::select! {
                    done = &mut attend => break done,
                    () = keeper.extend_next(kept) => {}
                }
            };
            report += done;
            self.leases.pop_front();
            self.kept.settled_first();
            if !goes_on {
                break;
            }
        }
        report += release(&station.group, &self.leases).await;
        report
    }
}

impl Station {
    /// Handles one record and settles it. Says also whether the next one of the lane may follow.
    async fn attend(&self, leased: Leased) -> (WorkReport, bool) {
        let handler = std::sync::Arc::clone(&self.handler);
        let given = leased.clone();
        let handled = AssertUnwindSafe(async move { handler(given).await }).catch_unwind().await;
        let outcome = handled.unwrap_or_else(|panic| {
            Err(Failed::retry(format!("the handler panicked: {}", words_of(&*panic))))
        });
        let (verdict, settled) = self.settle(&leased, outcome).await;
        let mut report = WorkReport::default();
        let (count, goes_on) = match settled {
            Ok(Settled::Acked) => (&mut report.acked, true),
            Ok(Settled::Dead { .. }) => (&mut report.dead, true),
            // Most likely by this call.
            Err(SettleError::AlreadySettled { answer_lost: true, .. }) => match verdict {
                None => (&mut report.acked, true),
                Some(_) => (&mut report.dead, true),
            },
            Ok(_) if verdict == Some(Verdict::Release) => (&mut report.released, false),
            Ok(_) => (&mut report.retried, false),
            Err(_) => (&mut report.lost, false),
        };
        *count += 1;
        (report, goes_on)
    }

    /// Settles it, and says how. What the broker refuses for the moment is tried again for as long as the lease is kept,
    /// so that what was done is not done once more. When the worker stops, the record is given back instead.
    async fn settle(
        &self,
        leased: &Leased,
        outcome: Result<Outputs, Failed>,
    ) -> (Option<Verdict>, Result<Settled, SettleError>) {
        let verdict = outcome.as_ref().err().map(|failed| failed.verdict);
        let policy = self.group.client.retry;
        let mut tries = RetryPolicy { give_up_after: Duration::MAX, ..policy }.start();
        let mut heard_at = Instant::now();
        let mut is_first = true;
        let mut settled = self.try_to_settle(leased, &outcome).await;
        while let Err(SettleError::Call(error)) = &settled
            && error.retryable()
        {
            if *self.stopped.borrow() {
                return (Some(Verdict::Release), leased.release().await);
            }
            if matches!(error, ClientError::Problem(_)) {
                heard_at = Instant::now();
            } else if heard_at.elapsed() >= self.extension {
                // Who does not answer does not extend either.
                break;
            }
            let error = error.clone();
            if std::mem::take(&mut is_first) {
                let Leased { topic, partition, offset, .. } = leased.clone();
                let error = error.clone();
                self.listener.tell(Trouble::Unsettled { topic, partition, offset, error });
            }
            let again = async {
                tries.wait_after(error).await.map_err(SettleError::Call)?;
                self.try_to_settle(leased, &outcome).await
            };
            settled = tokio::select! {
                biased;
                () = self.stopping() => continue,
                settled = again => settled,
            };
        }
        if !is_first && let Err(SettleError::AlreadySettled { answer_lost, .. }) = &mut settled {
            // An earlier try may have gone through.
            *answer_lost = true;
        }
        (verdict, settled)
    }

    async fn stopping(&self) {
        let mut stopped = self.stopped.clone();
        // Without a sender the worker is gone, and so is this.
        let _stopped = stopped.wait_for(|stopped| *stopped).await;
    }

    async fn try_to_settle(
        &self,
        leased: &Leased,
        outcome: &Result<Outputs, Failed>,
    ) -> Result<Settled, SettleError> {
        match outcome.clone() {
            Ok(outputs) => self.ack(leased, outputs).await,
            Err(failed) => fail(leased, failed).await,
        }
    }

    /// Acks, in one commit with the outputs when there are any. Outputs that can never be appended make it a failure.
    async fn ack(&self, leased: &Leased, outputs: Outputs) -> Result<Settled, SettleError> {
        if outputs.records.is_empty() {
            return leased.ack().await;
        }
        let mut commit = leased.commit();
        for (topic, record) in outputs.records {
            let Some(topic) = topic.or_else(|| self.out.as_ref().map(ToString::to_string)) else {
                let error = "the handler returned a record, but the worker has no out topic";
                return fail(leased, Failed::retry(error)).await;
            };
            commit = commit.append(topic, record);
        }
        match commit.ack().await {
            Ok(_) => Ok(Settled::Acked),
            Err(SettleError::Call(error)) if !error.retryable() => {
                fail(leased, Failed::retry(format!("its outputs were refused: {error}"))).await
            }
            Err(error) => Err(error),
        }
    }
}

async fn fail(leased: &Leased, failed: Failed) -> Result<Settled, SettleError> {
    let Failed { verdict, error } = failed;
    match verdict {
        Verdict::Retry(delay) => leased.nack(delay, error).await,
        Verdict::Reject => leased.reject(error).await,
        Verdict::Release => leased.release().await,
    }
}

/// What a panic says.
fn words_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a word")
}
