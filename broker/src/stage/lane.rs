//! One lane of a stage: lease, process, commit, again.
//!
//! There is a lane more than there are instances, so that a batch is leased while others are processed.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;

use super::output::{commit_of, is_tombstone};
use super::pointing::Asked;
use super::processor::Output;
use super::running::Inner;
use super::status::Counters;
use super::suspects::Parted;
use super::takeover::Installed;
use crate::attempt::FailedAttempt;
use crate::consume::{Gathering, Lease, LeaseRequest, Settled, Settlement, Verdict};
use crate::error::CommitError;
use crate::panicked::message_of;
use crate::read::From;
use crate::record::Record;
use crate::stage::instances::{Failure, Outcome, Room, TOO_LARGE};

/// How long one question for records waits; then it is looked whether the stage goes on.
const LEASE_WAIT: Duration = Duration::from_secs(10);
/// What is in the way when all threads were given up.
const STUCK: &str = "too many calls of the model never returned; nothing is lost. Restart the broker, or give the stage another model \
                     (PUT /v1/stages/{stage})";
/// When it is tried again after something that does not mend itself at once.
const RETRY: Duration = Duration::from_secs(1);

/// A lane ends when its stage does, and rests from then on. One that panics begins anew.
pub(super) async fn run(stage: Arc<Inner>, number: u32) {
    while let Err(panic) = AssertUnwindSafe(work_on(&stage, number)).catch_unwind().await {
        begin_anew(&stage, number, &message_of(&*panic)).await;
    }
    stage.counters.rest();
}

/// What a lane held that panicked is offered again, for each an attempt that failed, and processed apart: one of them may have been the cause.
async fn begin_anew(stage: &Inner, number: u32, message: &str) {
    let settings = &stage.settings;
    let (input, name, member) = (&settings.input, &settings.name, settings.member(number));
    let error = format!("panic: the stage panicked beside its model: {message}");
    tracing::error!(stage = %name, lane = number, %error, "a lane of a stage begins anew");
    stage.hindered(Some(error.clone()));
    match stage.broker.end_leases_of(input, name, &[member], &error).await {
        Ok(places) => stage.suspects.add(places),
        // They end by themselves.
        Err(error) => {
            tracing::warn!(stage = %name, %error, "leases of a lane that panicked could not be ended");
        }
    }
    pause(stage).await;
}

async fn work_on(stage: &Inner, number: u32) {
    let mut signal = stage.signal.subscribe();
    loop {
        let now = *signal.borrow_and_update();
        if now.stopping || stage.broker.is_shutting_down() {
            return;
        }
        if now.paused {
            stage.counters.rest();
            let changed = signal.changed().await;
            stage.counters.wake();
            if changed.is_err() {
                return;
            }
            continue;
        }
        if stage.instances.is_stuck() {
            stage.hindered(Some(STUCK.to_owned()));
            pause(stage).await;
            continue;
        }
        let sorted = stage.installed.load().processor.length().is_some();
        let least = stage.settings.lease_records(sorted);
        let asked = stage.pace.records(least, stage.settings.lane_records_max());
        let leased = tokio::select! {
            leased = lease(stage, number, asked) => leased,
            _ = signal.changed() => continue,
        };
        match leased {
            Ok(leases) if leases.is_empty() => stage.hindered(None),
            Ok(leases) => {
                let Parted { now, later } = stage.suspects.part(leases);
                if !later.is_empty() {
                    release(stage, &tokens_of(&later)).await;
                }
                let places: Vec<_> = now.iter().map(|l| (l.partition, l.offset)).collect();
                work(stage, now, asked).await;
                stage.suspects.clear(&places);
            }
            Err(CommitError::ShuttingDown) => return,
            Err(error) => {
                stage.hindered(Some(format!("no records can be leased: {error}")));
                pause(stage).await;
            }
        }
    }
}

async fn pause(stage: &Inner) {
    let mut signal = stage.signal.subscribe();
    signal.mark_unchanged();
    tokio::time::timeout(RETRY, signal.changed()).await.ok();
}

async fn lease(stage: &Inner, number: u32, records_max: u32) -> Result<Vec<Lease>, CommitError> {
    let settings = &stage.settings;
    let (input, name) = (&settings.input, &settings.name);
    // A lease would make a group that was deleted, with settings that are not the stage's.
    if !stage.broker.has_group(input, name) {
        stage.broker.ensure_group(input, name, settings.group(), From::Start).await?;
    }
    let member = settings.member(number);
    if !settings.queue_delay_max.is_zero() {
        let gathering = Gathering {
            topic: &settings.input,
            group: &settings.name,
            member: &member,
            records: u64::from(settings.batch_size_max),
            delay: settings.queue_delay_max,
        };
        let limit = LEASE_WAIT + settings.queue_delay_max;
        match tokio::time::timeout(limit, stage.broker.gather(gathering)).await {
            Ok(gathered) => gathered?,
            Err(_) => return Ok(Vec::new()),
        }
    }
    let request = LeaseRequest {
        member,
        records_max,
        wait: LEASE_WAIT,
        lease: Some(settings.lease()),
        ..LeaseRequest::new(&settings.input, &settings.name)
    };
    stage.broker.lease(request).await
}

fn tokens_of(leases: &[Lease]) -> Vec<String> {
    leases.iter().map(|lease| lease.token.clone()).collect()
}

/// Processes and commits a batch, and keeps its leases meanwhile.
async fn work(stage: &Inner, leases: Vec<Lease>, asked: u32) {
    let tokens = tokens_of(&leases);
    let done = async {
        let installed = stage.installed.load_full();
        let asking = leases.iter().map(|lease| &lease.record).filter(|r| !is_tombstone(r));
        let batch: Arc<[Record]> = asking.cloned().collect();
        let meter = stage.counters.meters.of(installed.processor.identity());
        meter.begun(&leases, stage.broker.now());
        let began = stage.broker.elapsed();
        let bounds = (stage.settings.batch_size_max as usize, stage.settings.batch_bytes_max);
        let room = room(stage);
        let outcomes = match batch.len() {
            0 => Some(Vec::new()),
            _ => stage.instances.process(&installed.processor, &batch, bounds, &room).await,
        };
        match outcomes {
            Some(outcomes) => {
                let took = stage.broker.elapsed().saturating_sub(began);
                meter.batch_seconds.observe_duration(took);
                stage.pace.took((asked, leases.len()), took);
                let ended = with_tombstones(leases, outcomes);
                commit(stage, &installed, ended).await;
            }
            None => release(stage, &tokens).await,
        }
    };
    tokio::pin!(done);
    let every = stage.settings.lease() / 3;
    loop {
        tokio::select! {
            () = &mut done => return,
            () = tokio::time::sleep(every) => extend(stage, &tokens).await,
        }
    }
}

/// Leases with their outcomes, in order: those that ask for an answer were asked for one.
fn with_tombstones(leases: Vec<Lease>, outcomes: Vec<Outcome>) -> Vec<(Lease, Outcome)> {
    let mut outcomes = outcomes.into_iter();
    let ended = leases.into_iter().map(|lease| {
        let outcome = if is_tombstone(&lease.record) {
            Ok(Output::of_tombstone())
        } else {
            outcomes.next().unwrap_or(Err(Failure::NotTried))
        };
        (lease, outcome)
    });
    ended.collect()
}

/// What the output topic takes; of one that is gone the commit says so.
fn room(stage: &Inner) -> Option<Arc<Room>> {
    let output = stage.broker.topic(&stage.settings.output)?;
    let (topic, record_bytes_max) = (output.name.clone(), output.settings.record_bytes_max);
    Some(Arc::new(Room { topic, record_bytes_max }))
}

async fn settle(stage: &Inner, tokens: &[String], verdict: &Verdict) {
    let settlement = |token: &String| Settlement { token: token.clone(), verdict: verdict.clone() };
    let all = tokens.iter().map(settlement).collect();
    let (input, name) = (&stage.settings.input, &stage.settings.name);
    // A lease that is not ours any more is found out by the commit; others end by themselves.
    if let Err(error) = stage.broker.settle(input, name, all).await {
        tracing::warn!(stage = %name, %error, "leases of a stage could not be settled");
    }
}

async fn extend(stage: &Inner, tokens: &[String]) {
    settle(stage, tokens, &Verdict::Extend { by: stage.settings.lease() }).await;
}

/// Not tried: no attempt is counted.
async fn release(stage: &Inner, tokens: &[String]) {
    settle(stage, tokens, &Verdict::Release).await;
}

/// Commits a batch, until it is committed or is not ours any more.
async fn commit(stage: &Inner, by: &Installed, ended: Vec<(Lease, Outcome)>) {
    let mut waiting = vec![ended];
    while let Some(mut ended) = waiting.pop() {
        while !ended.is_empty() {
            match try_commit(stage, by, &ended).await {
                Ok((settlements, settled)) => {
                    count(&stage.counters, &settlements);
                    note(stage, by.processor.identity(), &ended, (&settlements, &settled));
                    stage.hindered(None);
                    break;
                }
                // Another attempt of that record is under way; what came of this one counts for nothing.
                Err(
                    CommitError::LeaseLost { index, .. }
                    | CommitError::InvalidLeaseToken { index, .. },
                ) if index < ended.len() => {
                    drop(ended.remove(index));
                }
                Err(CommitError::TooLarge { .. }) if ended.len() > 1 => {
                    // In order: the first half is taken next.
                    let rest = ended.split_off(ended.len() / 2);
                    waiting.push(rest);
                }
                Err(error @ CommitError::TooLarge { .. }) if !is_too_large(&ended[0].1) => {
                    let fault = super::Fault {
                        retryable: false,
                        code: TOO_LARGE.to_owned(),
                        message: error.to_string(),
                    };
                    ended[0].1 = Err(Failure::Fault(fault));
                }
                Err(CommitError::ShuttingDown | CommitError::GroupGone) => return,
                Err(error) => {
                    stage.hindered(Some(format!("a batch cannot be committed: {error}")));
                    if stage.signal.borrow().stopping {
                        // It was answered for nothing; it is nobody's failure.
                        let left = waiting.iter().rev().chain([&ended]);
                        let left: Vec<String> =
                            left.flatten().map(|(l, _)| l.token.clone()).collect();
                        release(stage, &left).await;
                        return;
                    }
                    pause(stage).await;
                }
            }
        }
    }
}

/// Not even the commit of its dead letter was taken.
fn is_too_large(outcome: &Outcome) -> bool {
    matches!(outcome, Err(Failure::Fault(fault)) if fault.code == TOO_LARGE)
}

async fn try_commit(
    stage: &Inner,
    by: &Installed,
    ended: &[(Lease, Outcome)],
) -> Result<(Vec<Settlement>, Vec<Settled>), CommitError> {
    let (broker, settings) = (&stage.broker, &stage.settings);
    let not_found = || CommitError::TopicNotFound { topic: settings.output.clone() };
    let output = broker.topic(&settings.output).ok_or_else(not_found)?;
    // With its input its group went, and whatever is settled in it.
    let input = broker.topic(&settings.input).ok_or(CommitError::GroupGone)?;
    let identity = by.processor.identity();
    let topics = (input.id, &*output);
    let mut planned =
        commit_of(settings, identity, topics, ended, |topic, key| broker.partition_for(topic, key));
    let asked = Asked::of(broker, settings);
    asked.point(settings, ended, &mut planned).await?;
    let settlements = planned.commit.settlements.clone();
    let begun = stage.takeovers.begin(by, ended);
    // Behind the outputs, which are found by their place.
    planned.commit.appends.extend(stage.notes_of(&begun));
    match broker.commit(planned.commit).await {
        Ok(committed) => {
            asked.tell(ended, &planned.outputs, &committed);
            Ok((settlements, committed.settled))
        }
        Err(error) => {
            stage.takeovers.undo(begun);
            Err(error)
        }
    }
}

/// Counts for the model that made it, and keeps what failed last.
fn note(
    stage: &Inner,
    identity: &super::Identity,
    ended: &[(Lease, Outcome)],
    (settlements, settled): (&[Settlement], &[Settled]),
) {
    let counters = &stage.counters;
    counters.meters.of(identity).committed(settlements, settled);
    let dead = settled.iter().filter(|settled| matches!(settled, Settled::Dead { .. })).count();
    Counters::add(&counters.dead, dead);
    let error = |settlement: &Settlement| match &settlement.verdict {
        Verdict::Nack { error, .. } => Some(error.clone()),
        Verdict::Reject { reason } => Some(reason.clone()),
        Verdict::Ack | Verdict::Extend { .. } | Verdict::Release => None,
    };
    let failures = ended.iter().zip(settlements).rev();
    let mut last =
        failures.filter_map(|((lease, _), settlement)| Some((lease, error(settlement)?)));
    if let Some((lease, error)) = last.next() {
        *counters.last_failure.lock() = Some(FailedAttempt {
            time: stage.broker.now(),
            partition: lease.partition,
            offset: lease.offset,
            attempt: lease.attempt,
            error,
        });
    }
}

fn count(counters: &Counters, settled: &[Settlement]) {
    let count =
        |wanted: fn(&Verdict) -> bool| settled.iter().filter(|s| wanted(&s.verdict)).count();
    Counters::add(&counters.batches, 1);
    Counters::add(&counters.succeeded, count(|verdict| *verdict == Verdict::Ack));
    Counters::add(&counters.failed, count(|verdict| matches!(verdict, Verdict::Nack { .. })));
    Counters::add(&counters.rejected, count(|verdict| matches!(verdict, Verdict::Reject { .. })));
}
