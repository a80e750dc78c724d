//! Webhooks. Series are as many as there are webhooks and outcomes; they end with the webhook.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::page::Page;
use crate::{GroupInfo, Outcome, WebhookCounters, WebhookState, WebhookView};

pub(super) fn by_webhook(
    page: &mut Page<'_>,
    webhooks: &[(WebhookView, Arc<WebhookCounters>)],
    groups: &[GroupInfo],
) -> fmt::Result {
    let label = |view: &WebhookView| [("webhook", view.name.to_string())];
    let attempts = webhooks.iter().flat_map(|(view, counters)| {
        Outcome::ALL.into_iter().map(|outcome| {
            let labels =
                [("webhook", view.name.to_string()), ("outcome", outcome.as_str().to_owned())];
            (labels, counters.attempts(outcome))
        })
    });
    page.counters("webhook_attempts", "Attempts to post a record, by what came of them", attempts)?;
    page.histograms(
        "webhook_attempt_duration_seconds",
        "From an attempt's begin to the end of the answer",
        webhooks.iter().map(|(view, counters)| (label(view), &counters.seconds)),
    )?;
    page.counters(
        "webhook_dead_letters",
        "Records that went to the dead-letter topic",
        webhooks.iter().map(|(view, counters)| (label(view), counters.dead.load(Relaxed))),
    )?;
    let disabled = |view: &WebhookView| {
        let state = view.status.as_ref().map(|status| &status.state);
        u64::from(matches!(state, Some(WebhookState::Disabled { .. })))
    };
    page.gauges(
        "webhook_disabled",
        "1 when the receiver said that it is gone, and nothing is posted",
        webhooks.iter().map(|(view, _)| (label(view), disabled(view))),
    )?;
    let lags: Vec<_> = webhooks
        .iter()
        .filter_map(|(view, _)| {
            let of = |group: &&GroupInfo| {
                group.group == view.group && group.topic.as_str() == view.config.topic
            };
            Some((label(view), groups.iter().find(of)?))
        })
        .collect();
    super::lags(page, "webhook", &lags)
}
