//! `embermq produce`: sends records through the batching client and says how many arrived.
//!
//! Reading, sending and reporting run at the same time: a thread reads the input, the producer batches what is
//! waiting, and deliveries are reported in order. Each is bounded, so any amount can be piped through.

mod input;
mod refusal;

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use embermq_protocol::client::{
    ClientError, Delivery, KeyVersion, PendingDelivery, Producer, TopicClient, When,
};
use embermq_protocol::{TopicName, time};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::Instant;

use self::input::{Input, InputError, Source, Stamp};
use self::refusal::of_line;
use super::key::key_version;
use super::remote::{block_on, client};
use super::{Console, Exit, Failure, Global, Output};
use crate::config::parse_duration;

/// Records that are read ahead of the producer.
const READ_AHEAD: usize = 1_024;
/// Records that are sent and not reported yet.
const UNREPORTED_MAX: usize = 65_536;

#[derive(Debug, Args)]
pub(super) struct Produce {
    /// The topic
    topic: TopicName,
    /// The record; - or nothing: each line of standard input; @FILE: each line of a file
    #[arg(value_name = "DATA|-|@FILE", conflicts_with = "file")]
    data: Option<String>,
    /// Send a whole file as one record
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Each line is a JSON record: {"key":..,"value":..,"headers":{..}}
    #[arg(long, conflicts_with = "file")]
    ndjson: bool,
    /// The key of every record that has none
    #[arg(short, long, value_name = "KEY")]
    key: Option<String>,
    /// A header for every record that does not have it; may be repeated
    #[arg(short = 'H', long = "header", value_name = "NAME=VALUE", value_parser = header)]
    headers: Vec<(String, String)>,
    /// The header content-type
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,
    /// Send everything to this partition instead of choosing by key
    #[arg(long, value_name = "N")]
    partition: Option<u32>,
    /// Let the records appear so long from now: 30s, 1h30m, 7d
    #[arg(long, value_name = "SPAN", value_parser = parse_duration, conflicts_with = "deliver_at")]
    delay: Option<Duration>,
    /// Let the records appear at this time: 2026-11-22T10:00:00Z
    #[arg(long, value_name = "TIME", value_parser = moment)]
    deliver_at: Option<time::Timestamp>,
    /// Send DATA so many times; n in curly braces, in data and key, becomes the number of the record, from 0
    #[arg(long, value_name = "N", requires = "data", conflicts_with = "ndjson")]
    count: Option<u64>,
    /// Only if the latest record of the key has this offset, or `none`: there is none. All records must have the same key
    #[arg(
        long, value_name = "OFFSET|none", value_parser = key_version, conflicts_with_all = ["delay", "deliver_at"]
    )]
    if_key_version: Option<KeyVersion>,
}

/// Records that one request takes.
const REQUEST_RECORDS: usize = 10_000;

fn header(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write a header as NAME=VALUE".to_owned()),
    }
}

fn moment(text: &str) -> Result<time::Timestamp, String> {
    text.parse().map_err(|_| "write a time as RFC 3339, such as 2026-11-22T10:00:00Z".to_owned())
}

impl Produce {
    pub(super) fn run(self, global: &Global, console: &mut Console) -> Result<(), Failure> {
        let (source, stamp) = (self.source()?, self.stamp());
        let topic = client(global)?.topic(self.topic.as_str())?;
        let began = Instant::now();
        let mut report =
            Report { topic: &self.topic, is_read: global.output == Output::Json, sent: 0 };
        let outcome = match self.if_key_version {
            Some(version) => {
                block_on(self.send_if(version, &topic, (&source, &stamp), &mut report, console))
            }
            None => block_on(self.send(&topic, source, stamp, &mut report, console)),
        };
        let outcome = outcome.and_then(|sent| sent);
        // What did arrive is worth knowing most when something went wrong.
        let written = report.written(console.flush());
        console.remark(rate(report.sent, began.elapsed()));
        outcome.and(written)
    }

    fn source(&self) -> Result<Source, Failure> {
        let lines = matches!(&self.data, Some(data) if data == "-" || data.starts_with('@'));
        if self.count.is_some() && lines {
            return Err(Failure::usage("--count repeats a record that is given as DATA"));
        }
        Ok(match (&self.file, self.data.as_deref()) {
            (Some(file), _) => Source::Whole(file.clone()),
            (None, None | Some("-")) => Source::Stdin,
            (None, Some(data)) => match (data.strip_prefix('@'), self.count) {
                (Some(file), _) => Source::Lines(file.into()),
                (None, Some(count)) => Source::Template(data.to_owned(), count),
                (None, None) => Source::Text(data.to_owned()),
            },
        })
    }

    fn when(&self) -> Option<When> {
        self.deliver_at.map(When::At).or(self.delay.map(When::After))
    }

    fn stamp(&self) -> Stamp {
        let content_type =
            self.content_type.iter().map(|kind| ("content-type".to_owned(), kind.clone()));
        Stamp { key: self.key.clone(), headers: content_type.chain(self.headers.clone()).collect() }
    }

    /// Sends everything in one request, which has an effect only if the key has this version.
    async fn send_if(
        &self,
        version: KeyVersion,
        topic: &TopicClient,
        (source, stamp): (&Source, &Stamp),
        report: &mut Report<'_>,
        console: &mut Console,
    ) -> Result<(), Failure> {
        let mut records = Vec::new();
        input::read(source, self.ndjson, stamp, &mut |input| {
            records.push(input.record);
            records.len() <= REQUEST_RECORDS
        })?;
        if records.len() > REQUEST_RECORDS {
            return Err(Failure::usage(format!(
                "--if-key-version sends one request, which takes at most {REQUEST_RECORDS} records"
            )));
        }
        for delivery in topic.produce_if(version, self.partition, &records).await? {
            report.arrived(&delivery, console)?;
        }
        Ok(())
    }

    async fn send(
        &self,
        topic: &TopicClient,
        source: Source,
        stamp: Stamp,
        report: &mut Report<'_>,
        console: &mut Console,
    ) -> Result<(), Failure> {
        let (records, mut inputs) = mpsc::channel(READ_AHEAD);
        let (ndjson, when) = (self.ndjson, self.when());
        // A plain thread: one that waits for a terminal must not keep the process from ending.
        std::thread::spawn(move || {
            let read = input::read(&source, ndjson, &stamp, &mut |input| {
                records.blocking_send(Ok(input)).is_ok()
            });
            if let Err(error) = read {
                // Nobody listens any more when sending failed: then that is what is reported.
                drop(records.blocking_send(Err(error)));
            }
        });

        let (pending, mut deliveries) = mpsc::channel(UNREPORTED_MAX);
        let sending = async move {
            let mut producers =
                Producers { topic, partition: self.partition, when, open: BTreeMap::new() };
            while let Some(input) = inputs.recv().await {
                let input = input?;
                let line = input.line;
                let delivery = producers.enqueue(input).await;
                let delivery = delivery.map_err(|error| of_line(line, error))?;
                if pending.send((line, delivery)).await.is_err() {
                    break;
                }
            }
            Ok::<_, Failure>(())
        };
        let reporting = async {
            while let Some((line, delivery)) = deliveries.recv().await {
                let delivery = delivery.await.map_err(|error| of_line(line, error))?;
                report.arrived(&delivery, console)?;
                if deliveries.is_empty() {
                    report.written(console.flush())?;
                }
            }
            Ok::<_, Failure>(())
        };
        tokio::pin!(sending, reporting);
        tokio::select! {
            // A failed delivery ends everything at once; a failed input only when what came before it is reported.
            reported = &mut reporting => reported,
            sent = &mut sending => reporting.await.and(sent),
        }
    }
}

/// One producer for each partition that records ask for.
struct Producers<'a> {
    topic: &'a TopicClient,
    partition: Option<u32>,
    when: Option<When>,
    open: BTreeMap<Option<u32>, Producer>,
}

impl Producers<'_> {
    async fn enqueue(&mut self, input: Input) -> Result<PendingDelivery, ClientError> {
        let partition = self.partition.or(input.partition);
        let producer = self.open.entry(partition).or_insert_with(|| {
            let builder = self.topic.producer().record_bytes(usize::MAX);
            let builder = match self.when {
                Some(when) => builder.deliver(when),
                None => builder,
            };
            match partition {
                Some(partition) => builder.partition(partition).build(),
                None => builder.build(),
            }
        });
        producer.enqueue(input.record).await
    }
}

/// What is said about each delivery.
struct Report<'a> {
    topic: &'a TopicName,
    /// Somebody wants to know of each.
    is_read: bool,
    sent: u64,
}

impl Report<'_> {
    fn arrived(&mut self, delivery: &Delivery, console: &mut Console) -> Result<(), Failure> {
        self.sent += 1;
        if self.is_read {
            let (topic, partition) = (self.topic.as_str(), delivery.partition);
            let written = console.json(&match &delivery.scheduled {
                None => {
                    json!({ "topic": topic, "partition": partition, "offset": delivery.offset })
                }
                Some(later) => json!({
                    "topic": topic,
                    "partition": partition,
                    "schedule": later.schedule,
                    "deliver_at": later.deliver_at.to_string(),
                }),
            });
            self.written(written)?;
        }
        Ok(())
    }

    /// Sending goes on when the reader of the report goes away: it is about records, which are what counts.
    fn written(&mut self, written: std::io::Result<()>) -> Result<(), Failure> {
        match written.map_err(Failure::from) {
            Err(Failure::OutputClosed) => {
                self.is_read = false;
                Ok(())
            }
            other => other,
        }
    }
}

impl From<InputError> for Failure {
    fn from(error: InputError) -> Self {
        match error {
            InputError::Io { ref source, .. } if source.kind() == ErrorKind::NotFound => {
                Self::new(Exit::NotFound, error)
            }
            InputError::Io { .. } => Self::unavailable(error),
            InputError::Line { .. } | InputError::TooLarge { .. } => Self::usage(error),
        }
    }
}

fn rate(sent: u64, took: Duration) -> String {
    let records = if sent == 1 { "record" } else { "records" };
    let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX).max(1);
    let per_second = sent.saturating_mul(1_000) / ms;
    format!("{sent} {records} in {ms} ms, {per_second} a second")
}
