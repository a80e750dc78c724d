//! Groups, as they are shown.

use std::time::Duration;

use embermq_protocol::{time, v1};

use crate::cli::{Console, Failure, Output};
use crate::config::show_duration;

pub(super) fn print_row(
    group: &v1::Group,
    output: Output,
    console: &mut Console,
) -> Result<(), Failure> {
    if output == Output::Json {
        return Ok(console.json(group)?);
    }
    console.line(format!(
        "{:<32} {:<24} {:<9} {}",
        group.topic,
        group.group,
        ordering(group.settings.as_ref()),
        standing(group),
    ))?;
    Ok(())
}

pub(super) fn print(
    group: &v1::Group,
    output: Output,
    console: &mut Console,
) -> Result<(), Failure> {
    if output == Output::Json {
        return Ok(console.json(group)?);
    }
    let settings = group.settings.clone().unwrap_or_default();
    console.line(format!("group         {} of {}", group.group, group.topic))?;
    if let Some(time) = group.create_time {
        console.line(format!("created       {time}"))?;
    }
    console.line(format!("ordering      {}", ordering(Some(&settings))))?;
    console.line(format!("lease         {}", span(settings.lease)))?;
    console.line(format!("attempts      {}", settings.max_attempts.unwrap_or_default()))?;
    if let Some(backoff) = &settings.backoff {
        console.line(format!(
            "backoff       {} times {} up to {}{}",
            span(backoff.initial),
            backoff.multiplier.unwrap_or(2.0),
            span(backoff.max),
            if backoff.jitter == Some(false) { "" } else { ", with jitter" },
        ))?;
    }
    console.line(format!("in flight     up to {}", settings.max_in_flight.unwrap_or_default()))?;
    console.line(format!("dead letters  {}", settings.dead_letter_topic()))?;
    if !settings.filter().is_empty() {
        console.line(format!("filter        {}", settings.filter()))?;
    }
    console.line(format!("standing      {}", standing(group)))?;
    for partition in &group.partitions {
        console.line(format!(
            "  {:>4}  next {}, {} open from {} on, lag {}",
            partition.partition,
            partition.next_offset,
            partition.open,
            partition.first_open_offset,
            partition.lag_records,
        ))?;
    }
    Ok(())
}

pub(super) fn print_sought(
    partitions: &[v1::SoughtPartition],
    output: Output,
    console: &mut Console,
) -> Result<(), Failure> {
    for sought in partitions {
        if output == Output::Json {
            console.json(sought)?;
            continue;
        }
        console.line(format!(
            "{:>6}  from {} to {}: {} read again, {} skipped, {} leases lost",
            sought.partition,
            sought.from_offset,
            sought.to_offset,
            sought.read_again,
            sought.skipped,
            sought.leases_lost,
        ))?;
    }
    Ok(())
}

/// How it is doing, in one line.
fn standing(group: &v1::Group) -> String {
    let mut text = format!("lag {}", group.lag_records);
    if group.lag_records > 0 && group.lag.is_some() {
        text.push_str(&format!(" ({} old)", span(group.lag)));
    }
    let counts = [
        (group.in_flight, "in flight"),
        (group.waiting, "waiting"),
        (group.held, "held"),
        (group.dead, "dead"),
        (group.scheduled, "scheduled"),
    ];
    for (count, what) in counts.into_iter().filter(|(count, _)| *count > 0) {
        text.push_str(&format!(", {count} {what}"));
    }
    text
}

fn ordering(settings: Option<&v1::GroupSettings>) -> &'static str {
    match settings.map(v1::GroupSettings::ordering) {
        Some(v1::Ordering::Key) => "key",
        Some(v1::Ordering::Partition) => "partition",
        Some(v1::Ordering::None | v1::Ordering::Unspecified) | None => "none",
    }
}

fn span(span: Option<time::Duration>) -> String {
    let span = span.and_then(|span| Duration::try_from(span).ok());
    span.map_or_else(|| "?".to_owned(), show_duration)
}
