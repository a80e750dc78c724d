//! `embermq key get | history | list`: records by their keys.

use std::str::FromStr;

use clap::{Args, Subcommand};
use embermq_protocol::client::{
    AsOf, ClientError, ConsumedRecord, KeyClient, KeyListOptions, KeyVersion, TopicClient,
};
use embermq_protocol::time::Timestamp;
use embermq_protocol::{Code, Problem, TopicName};

use super::from::From;
use super::remote::{block_on, client};
use super::{Console, Exit, Failure, Global, Output};
use crate::clock::{Clock, SystemClock};
use crate::http::json::{Place, Style, write_record};

/// How much of a value a row shows.
const ROW_CHARS: usize = 100;

#[derive(Debug, Subcommand)]
pub(super) enum KeyVerb {
    /// Print the latest record of a key
    Get(Named),
    /// List all records of a key, newest first: partition, offset, time, value
    History(History),
    /// List the live keys of a topic with their latest records: partition, offset, key, value
    #[command(visible_alias = "ls")]
    List(List),
}

#[derive(Debug, Args)]
pub(super) struct Named {
    /// The topic
    topic: TopicName,
    /// The key
    key: String,
    /// As it was at an offset, at a time, or so long ago (-1h)
    #[arg(long, value_name = "OFFSET|TIME|-1h", allow_hyphen_values = true)]
    as_of: Option<Moment>,
    /// Only this partition
    #[arg(short, long, value_name = "N")]
    partition: Option<u32>,
}

#[derive(Debug, Args)]
pub(super) struct History {
    #[command(flatten)]
    named: Named,
    /// At most so many
    #[arg(short = 'n', long = "max", value_name = "N", default_value_t = 100)]
    max: usize,
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// The topic
    topic: TopicName,
    /// Only keys that begin so
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    prefix: String,
    /// Only this partition
    #[arg(short, long, value_name = "N")]
    partition: Option<u32>,
    /// Stop after so many keys
    #[arg(short = 'n', long = "max", value_name = "N")]
    max: Option<u64>,
}

/// A moment of the past, as typed.
#[derive(Clone, Copy, Debug)]
struct Moment(From);

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(From::Start | From::End) | Err(_) => Err(
                "write an offset, a time such as 2026-11-22T10:00:00Z, or a span back such as -1h"
                    .to_owned(),
            ),
            Ok(from) => Ok(Self(from)),
        }
    }
}

impl Moment {
    fn as_of(self) -> Option<AsOf> {
        use embermq_protocol::client::From as Place;
        match self.0.for_client(SystemClock::default().now().0) {
            Place::Offset(offset) => Some(AsOf::Offset(offset)),
            Place::TimeUs(us) => Some(AsOf::TimeUs(us)),
            Place::Start | Place::End => None,
        }
    }
}

/// What `produce --if-key-version` takes.
pub(super) fn key_version(text: &str) -> Result<KeyVersion, String> {
    match text {
        "none" => Ok(KeyVersion::Absent),
        offset => offset
            .parse()
            .map(KeyVersion::Offset)
            .map_err(|_| "write the offset of the latest record of the key, or none".to_owned()),
    }
}

impl KeyVerb {
    /// Whether it can print bare values.
    pub(super) const fn writes_raw(&self) -> bool {
        matches!(self, Self::Get(_))
    }

    pub(super) fn run(self, global: &Global, console: &mut Console) -> Result<(), Failure> {
        let client = client(global)?;
        let name = match &self {
            Self::Get(named) | Self::History(History { named, .. }) => &named.topic,
            Self::List(list) => &list.topic,
        };
        let topic = client.topic(name.as_str())?;
        let printer = Printer { topic: name.clone(), output: global.output, console };
        block_on(self.run_with(&topic, printer))?
    }

    async fn run_with(self, topic: &TopicClient, mut printer: Printer<'_>) -> Result<(), Failure> {
        match self {
            Self::Get(named) => match named.of(topic).latest().await {
                Err(ClientError::Problem(problem))
                    if problem.known_code() == Some(Code::KeyNotFound) =>
                {
                    Err(named.nothing(&problem))
                }
                found => printer.value(&found?),
            },
            Self::History(History { named, max }) => {
                let records = named.of(topic).history(max).await?;
                if records.is_empty() && max > 0 {
                    return Err(named.no_history());
                }
                records.iter().try_for_each(|found| printer.row(found, false))
            }
            Self::List(list) => list.print(topic, &mut printer).await,
        }
    }
}

impl Named {
    fn of(&self, topic: &TopicClient) -> KeyClient {
        let mut key = topic.key(self.key.clone());
        if let Some(partition) = self.partition {
            key = key.in_partition(partition);
        }
        match self.as_of.and_then(Moment::as_of) {
            Some(as_of) => key.as_of(as_of),
            None => key,
        }
    }

    /// No record to show. What the key had is worth a look if it had something.
    fn nothing(&self, problem: &Problem) -> Failure {
        let Self { topic, key, .. } = self;
        let hint = if self.as_of.is_some() || problem.details.contains_key("tombstone_offset") {
            format!("`embermq key history {topic} {key:?}` shows what it had")
        } else {
            format!("`embermq key list {topic}` shows which keys there are")
        };
        Failure::new(Exit::NotFound, format!("{}; {hint}", problem.detail))
    }

    fn no_history(&self) -> Failure {
        let Self { topic, key, .. } = self;
        let then = if self.as_of.is_some() { " then" } else { "" };
        Failure::new(
            Exit::NotFound,
            format!(
                "topic {topic} has no record of key {key:?}{then}; `embermq key list {topic}` shows which keys there are"
            ),
        )
    }
}

impl List {
    async fn print(&self, topic: &TopicClient, printer: &mut Printer<'_>) -> Result<(), Failure> {
        let mut left = self.max.unwrap_or(u64::MAX);
        let mut options = KeyListOptions {
            partition: self.partition,
            prefix: self.prefix.clone().into(),
            limit: u32::try_from(left.min(1_000)).unwrap_or(1_000),
            ..KeyListOptions::default()
        };
        while left > 0 {
            let page = topic.list_keys(options.clone()).await?;
            for found in page.records {
                if left > 0 {
                    printer.row(&found, true)?;
                    left -= 1;
                }
            }
            printer.console.flush()?;
            if page.after.is_empty() {
                break;
            }
            options.after = page.after;
        }
        Ok(())
    }
}

struct Printer<'a> {
    topic: TopicName,
    output: Output,
    console: &'a mut Console,
}

impl Printer<'_> {
    fn value(&mut self, found: &ConsumedRecord) -> Result<(), Failure> {
        let value = found.record.value.as_deref();
        match (self.output, value) {
            (Output::Json, _) => self.json(found),
            (Output::Raw, value) => Ok(self.console.bytes(value.unwrap_or_default())?),
            (Output::Text, None) => Ok(self.console.line("(no value)")?),
            (Output::Text, Some(value)) => match std::str::from_utf8(value) {
                Ok(text) => Ok(self.console.line(text)?),
                Err(_) => {
                    let bytes = value.len();
                    let note = format!("({bytes} bytes, not text; use -o raw or -o json)");
                    Ok(self.console.line(note)?)
                }
            },
        }
    }

    fn row(&mut self, found: &ConsumedRecord, with_key: bool) -> Result<(), Failure> {
        if self.output == Output::Json {
            return self.json(found);
        }
        let shown = |bytes: &[u8]| -> String {
            let text = String::from_utf8_lossy(bytes);
            text.chars().take(ROW_CHARS).flat_map(char::escape_debug).collect()
        };
        let what = if with_key {
            shown(found.record.key.as_deref().unwrap_or_default())
        } else {
            Timestamp::from_micros(found.append_time_us).to_string()
        };
        let value = found.record.value.as_deref().map_or_else(|| "(no value)".to_owned(), shown);
        let (partition, offset) = (found.partition, found.offset);
        Ok(self.console.line(format!("{partition:>4} {offset:>12}  {what}  {value}"))?)
    }

    fn json(&mut self, found: &ConsumedRecord) -> Result<(), Failure> {
        let place = Place {
            topic: self.topic.as_str(),
            partition: found.partition,
            offset: found.offset,
            append_time: embermq_storage::Timestamp(found.append_time_us),
        };
        let mut line = Vec::new();
        let style = Style { one_line: true, ..Style::default() };
        write_record(&mut line, place, &found.record, style).map_err(|error| {
            Failure::unavailable(format!("cannot write a record as JSON: {error}"))
        })?;
        line.push(b'\n');
        Ok(self.console.bytes(&line)?)
    }
}
