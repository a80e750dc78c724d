//! Keeping leases alive: extended when half of them is over, for as long as they are not settled.

use std::{collections::VecDeque, time::Duration};

use futures::future::{BoxFuture, FutureExt as _};
use tokio::time::{Instant, sleep_until, timeout};

use crate::{
    client::{GroupClient, RetryPolicy, SettleError, Settled, lease},
    limits::LEASE_MIN,
    v1::Settlement,
};

/// Leases that end together.
#[derive(Debug)]
pub(super) struct Kept {
    /// In the order in which they are settled.
    tokens: VecDeque<String>,
    /// When to extend them: half of them is over, or it failed before.
    due: Instant,
    /// They end soon after. Until then we wait at most when the broker asks us to.
    latest: Instant,
}

impl Kept {
    /// Leases that were taken just now.
    pub(super) fn new(tokens: VecDeque<String>, lease: Duration) -> Self {
        let now = Instant::now();
        let mut kept = Self { tokens, due: now, latest: now };
        kept.extended(now, lease);
        kept
    }

    /// The first one was settled.
    pub(super) fn settled_first(&mut self) {
        self.tokens.pop_front();
    }

    fn extended(&mut self, at: Instant, lease: Duration) {
        self.due = at + lease / 2;
        self.latest = at + lease / 10 * 9;
    }

    fn not_extended(&mut self, now: Instant, wait: Duration, lease: Duration) {
        self.due = (now + wait).min(self.latest).max(now + lease / 20);
    }
}

/// Extends leases. The request under way outlives what waits for it, so that nothing else delays it by being busy.
pub(super) struct Keeper {
    /// Makes one try: when the next one is due is known here.
    group: GroupClient,
    extension: Duration,
    under_way: Option<BoxFuture<'static, Answer>>,
}

/// What became of a request.
struct Answer {
    asked_at: Instant,
    /// It failed; how long the broker wants us to wait.
    failed: Option<Duration>,
}

impl Keeper {
    pub(super) fn new(mut group: GroupClient, extension: Duration) -> Self {
        group.client.retry = RetryPolicy::never();
        Self { group, extension, under_way: None }
    }

    /// Waits for the first of these to be due, and extends it with all that are due by then. May be dropped at any time.
    ///
    /// A lease that is lost is noticed when it is settled. What fails otherwise is tried again as long as the leases last.
    pub(super) async fn extend_next<'a>(&mut self, kept: impl Iterator<Item = &'a mut Kept>) {
        let kept: Vec<&mut Kept> = kept.collect();
        let under_way = match &mut self.under_way {
            Some(under_way) => under_way,
            none => {
                let Some(first) = kept.iter().map(|kept| kept.due).min() else { return };
                sleep_until(first).await;
                let now = Instant::now();
                let due = kept.iter().filter(|kept| kept.due <= now);
                let tokens = due.flat_map(|kept| &kept.tokens).cloned().collect();
                none.insert(extend(self.group.clone(), self.extension, tokens, now).boxed())
            }
        };
        let Answer { asked_at, failed } = under_way.await;
        self.under_way = None;
        // Those that came or were extended meanwhile are due later.
        for kept in kept.into_iter().filter(|kept| kept.due <= asked_at) {
            match failed {
                None => kept.extended(asked_at, self.extension),
                Some(wait) => kept.not_extended(Instant::now(), wait, self.extension),
            }
        }
    }
}

async fn extend(
    group: GroupClient,
    extension: Duration,
    tokens: Vec<String>,
    asked_at: Instant,
) -> Answer {
    let settlements = tokens
        .into_iter()
        .map(|lease| Settlement { lease, decision: Some(lease::extend(extension)) })
        .collect();
    // What is not answered must leave time for another try.
    let longest = extension.max(LEASE_MIN) / 4;
    let failed = match timeout(longest, group.settle(settlements)).await {
        Ok(results) => results.iter().filter_map(wait_asked_for).max(),
        Err(_no_answer) => Some(Duration::ZERO),
    };
    Answer { asked_at, failed }
}

/// How long to wait before another try, if that can help.
fn wait_asked_for(result: &Result<Settled, SettleError>) -> Option<Duration> {
    match result {
        Err(SettleError::Call(error)) => Some(error.retry_after().unwrap_or_default()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Client;

    const LEASE: Duration = Duration::from_secs(30);

    #[tokio::test(start_paused = true)]
    async fn an_extension_that_fails_is_tried_again_while_the_lease_lasts() {
        // Nobody listens there.
        let client = Client::new("http://127.0.0.1:1").unwrap();
        let group = client.topic("jobs").unwrap().group("workers").unwrap();
        let mut keeper = Keeper::new(group, LEASE);
        let ends = Instant::now() + LEASE;
        let mut kept = Kept::new(VecDeque::from(["token".to_owned()]), LEASE);
        keeper.extend_next(std::iter::once(&mut kept)).await;
        assert!(kept.due < ends, "{:?} left", ends - kept.due);
    }

    #[tokio::test(start_paused = true)]
    async fn the_broker_may_ask_to_wait_but_not_until_the_lease_ends() {
        let began = Instant::now();
        let mut kept = Kept::new(VecDeque::new(), LEASE);
        let mut due = |seconds, wait| {
            let now = began + Duration::from_secs(seconds);
            kept.not_extended(now, Duration::from_secs(wait), LEASE);
            (kept.due - began).as_secs_f64()
        };
        assert_eq!((due(15, 0), due(15, 5), due(15, 60)), (16.5, 20.0, 27.0));
        assert_eq!(due(40, 0), 41.5, "after that it is lost, but tried in peace");
    }

    #[tokio::test]
    async fn a_request_under_way_outlives_what_waits_for_it() {
        let client = Client::new("http://127.0.0.1:1").unwrap();
        let group = client.topic("jobs").unwrap().group("workers").unwrap();
        let mut keeper = Keeper::new(group, LEASE);
        let (answer, answered) = tokio::sync::oneshot::channel();
        let asked_at = Instant::now() + LEASE;
        let request = async move {
            answered.await.unwrap();
            Answer { asked_at, failed: None }
        };
        keeper.under_way = Some(request.boxed());
        let mut kept = Kept::new(VecDeque::new(), LEASE);
        let waits = keeper.extend_next(std::iter::once(&mut kept));
        assert!(waits.now_or_never().is_none());
        answer.send(()).unwrap();
        keeper.extend_next(std::iter::once(&mut kept)).await;
        assert_eq!(kept.due, asked_at + LEASE / 2);
    }
}
