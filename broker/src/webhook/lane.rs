//! One lane of a webhook: lease a record, post it, settle it, again. There are as many lanes as posts may be under way.
//!
//! The effect lies outside the broker, so it comes first, and the settlement behind it: a record is posted again when the broker dies
//! in between, with the same id.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use embermq_storage::Entropy as _;
use embermq_storage::entropy::OsEntropy;
use futures::FutureExt as _;

use super::event::{self, Origin};
use super::outcome::{Outcome, text, wished_pause};
use super::running::Inner;
use crate::attempt::FailedAttempt;
use crate::consume::{Lease, LeaseRequest, Settled, Settlement, Verdict};
use crate::error::CommitError;
use crate::panicked::message_of;

/// How long one question for records waits; then it is looked whether the webhook goes on.
const LEASE_WAIT: Duration = Duration::from_secs(10);
/// When it is tried again after something that does not mend itself at once.
const RETRY: Duration = Duration::from_secs(1);
/// What an attempt that is under way may still take when the webhook is stopped.
const GRACE: Duration = Duration::from_secs(5);

/// A lane ends when its webhook does. One that panics begins anew.
pub(super) async fn run(hook: Arc<Inner>, number: u32) {
    while let Err(panic) = AssertUnwindSafe(work_on(&hook, number)).catch_unwind().await {
        begin_anew(&hook, number, &message_of(&*panic)).await;
    }
}

/// The record that a lane held that panicked is posted again, behind an attempt that failed.
async fn begin_anew(hook: &Inner, number: u32, message: &str) {
    let settings = &hook.settings;
    let error = format!("panic: the webhook panicked: {message}");
    tracing::error!(webhook = %settings.name, lane = number, %error, "a lane of a webhook begins anew");
    hook.hindered(Some(error.clone()));
    let members = [member(hook, number)];
    let ended = hook.broker.end_leases_of(&settings.topic, &settings.group, &members, &error);
    // They end by themselves.
    if let Err(error) = ended.await {
        tracing::warn!(webhook = %settings.name, %error, "leases of a lane that panicked could not be ended");
    }
    pause(hook).await;
}

/// What a lane is called in its group.
fn member(hook: &Inner, number: u32) -> String {
    format!("{}#{number}", hook.settings.group)
}

async fn work_on(hook: &Inner, number: u32) {
    let mut signal = hook.signal.subscribe();
    loop {
        let now = *signal.borrow_and_update();
        if now.stopping || hook.broker.is_shutting_down() {
            return;
        }
        if now.paused || now.disabled {
            if signal.changed().await.is_err() {
                return;
            }
            continue;
        }
        if let Some(left) = hook.held() {
            tokio::time::timeout(left, signal.changed()).await.ok();
            continue;
        }
        let leased = tokio::select! {
            leased = lease(hook, number) => leased,
            _ = signal.changed() => continue,
        };
        match leased {
            Ok(leases) => {
                hook.hindered(None);
                for lease in leases {
                    // It may have been told to be quiet while this lane waited.
                    match hook.held() {
                        Some(_) => settle(hook, &lease, &Verdict::Release).await,
                        None => deliver(hook, &lease).await,
                    }
                }
            }
            Err(CommitError::ShuttingDown) => return,
            Err(error) => {
                hook.hindered(Some(format!("no records can be leased: {error}")));
                pause(hook).await;
            }
        }
    }
}

async fn pause(hook: &Inner) {
    let mut signal = hook.signal.subscribe();
    signal.mark_unchanged();
    tokio::time::timeout(RETRY, signal.changed()).await.ok();
}

/// Ready when the webhook was told to stop and what is under way had its time.
async fn out_of_time(hook: &Inner) {
    let mut signal = hook.signal.subscribe();
    // It fails when nobody can say so any more, which is the same.
    signal.wait_for(|signal| signal.stopping).await.ok();
    tokio::time::sleep(GRACE).await;
}

async fn lease(hook: &Inner, number: u32) -> Result<Vec<Lease>, CommitError> {
    let settings = &hook.settings;
    if !hook.broker.has_group(&settings.topic, &settings.group) {
        hook.ensure_group().await?;
    }
    let request = LeaseRequest {
        member: member(hook, number),
        wait: LEASE_WAIT,
        lease: Some(settings.lease()),
        ..LeaseRequest::new(&settings.topic, &settings.group)
    };
    hook.broker.lease(request).await
}

async fn deliver(hook: &Inner, lease: &Lease) {
    let verdict = tokio::select! {
        verdict = attempt(hook, lease) => verdict,
        () = out_of_time(hook) => Verdict::Release,
    };
    settle(hook, lease, &verdict).await;
}

/// Posts a record. What becomes of it.
async fn attempt(hook: &Inner, lease: &Lease) -> Verdict {
    let settings = &hook.settings;
    let Some(topic) = hook.broker.topic(&settings.topic) else { return Verdict::Release };
    let origin = Origin { webhook: &settings.name, topic: &settings.topic, topic_id: topic.id };
    let message = match event::message(&origin, lease, &settings.headers, settings.body_bytes_max) {
        Ok(message) => message,
        Err(unsendable) => {
            let reason = unsendable.to_string();
            note(hook, lease, Outcome::Unsendable, &reason);
            return Verdict::Reject { reason };
        }
    };
    let (began, now) = (hook.broker.elapsed(), hook.broker.now());
    let secrets = hook.secrets.at(now);
    let seconds = now.0.div_euclid(1_000_000);
    let attempt =
        hook.post.send(&settings.target, &message, &secrets, seconds, settings.timeout).await;
    let ended = hook.broker.elapsed();
    hook.counters.took(ended.saturating_sub(began));
    let outcome = Outcome::of(&attempt);
    if outcome == Outcome::Delivered {
        hook.counters.attempted(outcome);
        hook.counters.delivered(hook.broker.now());
        hook.brake.lock().succeeded();
        return Verdict::Ack;
    }
    let error = text(&attempt);
    note(hook, lease, outcome, &error);
    if outcome == Outcome::Gone {
        hook.disable(error);
        return Verdict::Release;
    }
    let wished = wished_pause(&attempt);
    hook.brake.lock().failed(ended, wished);
    let delay = settings.schedule.delay(lease.attempt, wished, OsEntropy.next_u64());
    Verdict::Nack { delay: Some(delay), error }
}

fn note(hook: &Inner, lease: &Lease, outcome: Outcome, error: &str) {
    hook.counters.attempted(outcome);
    hook.counters.failed(FailedAttempt {
        time: hook.broker.now(),
        partition: lease.partition,
        offset: lease.offset,
        attempt: lease.attempt,
        error: error.to_owned(),
    });
}

/// Settles a record, until it is settled or is not ours any more.
async fn settle(hook: &Inner, lease: &Lease, verdict: &Verdict) {
    let settings = &hook.settings;
    loop {
        let settlement = Settlement { token: lease.token.clone(), verdict: verdict.clone() };
        let settled = hook.broker.settle(&settings.topic, &settings.group, vec![settlement]).await;
        let error = match settled.map(|mut results| results.pop()) {
            Ok(Some(Ok(settled))) => {
                if matches!(settled, Settled::Dead { .. }) {
                    hook.counters.dead.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                }
                return;
            }
            Ok(None) | Err(CommitError::ShuttingDown) => return,
            Ok(Some(Err(error))) | Err(error) => error,
        };
        if !error.retryable() {
            // The lease lapsed, or the group is gone: the record is posted again, or nobody waits for it.
            tracing::warn!(webhook = %settings.name, offset = lease.offset.0, %error, "a record that was posted could not be settled");
            return;
        }
        hook.hindered(Some(format!("a record cannot be settled: {error}")));
        if hook.signal.borrow().stopping {
            return;
        }
        pause(hook).await;
    }
}
