//! Keeping leases alive: extended when half of them is over, for as long as they are not settled.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

use crate::{
    client::{GroupClient, lease},
    v1::Settlement,
};

/// Leases that end together.
#[derive(Debug)]
pub(super) struct Kept {
    /// In the order in which they are settled.
    tokens: VecDeque<String>,
    /// When half of them is over.
    due: Instant,
}

impl Kept {
    /// Leases that were taken just now.
    pub(super) fn new(tokens: VecDeque<String>, lease: Duration) -> Self {
        Self { tokens, due: Instant::now() + lease / 2 }
    }

    /// The first one was settled.
    pub(super) fn settled_first(&mut self) {
        self.tokens.pop_front();
    }
}

/// Waits for the first of these to be due, and extends it with all that are due by then.
///
/// Whatever the broker answers, the next time is half a lease later: a lease that is lost is noticed when it is settled,
/// and one that could not be extended for the moment has half of its time left. May be dropped at any time.
pub(super) async fn extend_next<'a>(
    group: &GroupClient,
    extension: Duration,
    kept: impl Iterator<Item = &'a mut Kept>,
) {
    let mut kept: Vec<&mut Kept> = kept.collect();
    let Some(first) = kept.iter().map(|kept| kept.due).min() else { return };
    tokio::time::sleep_until(first).await;
    let now = Instant::now();
    kept.retain(|kept| kept.due <= now);
    let settlements = kept
        .iter()
        .flat_map(|kept| &kept.tokens)
        .map(|token| Settlement { lease: token.clone(), decision: Some(lease::extend(extension)) })
        .collect();
    // See above.
    let _ignored = group.settle(settlements).await;
    for kept in kept {
        kept.due = now + extension / 2;
    }
}
