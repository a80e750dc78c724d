//! `embermq topic create | list | show | edit | delete`.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use embermq_protocol::TopicName;
use embermq_protocol::client::Client;
use embermq_protocol::v1;

use super::remote::{block_on, client};
use super::{Console, Failure, Global, Output};
use crate::config::{parse_bytes, parse_duration, show_bytes, show_duration};

#[derive(Debug, Subcommand)]
pub(super) enum TopicVerb {
    /// Create a topic; does nothing when it exists with the same settings
    Create(Create),
    /// List the topics
    #[command(visible_alias = "ls")]
    List(List),
    /// Show a topic, its settings and its partitions
    Show(Named),
    /// Change settings of a topic; what is not named stays as it is
    Edit(Create),
    /// Delete a topic with all its records
    #[command(visible_alias = "rm")]
    Delete(Named),
}

#[derive(Debug, Args)]
pub(super) struct Named {
    /// The topic
    topic: TopicName,
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// Only topics whose names start so
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    prefix: String,
}

#[derive(Debug, Args)]
pub(super) struct Create {
    /// The topic: 1 to 249 of A-Z a-z 0-9 . _ -
    topic: TopicName,
    /// How many partitions; may grow, never shrink [default: 1]
    #[arg(long, value_name = "N")]
    partitions: Option<u32>,
    /// Delete records older than this, or `none` [default: 7d]
    #[arg(long, value_name = "7d|none", value_parser = optional_span)]
    retention: Option<Bound<Duration>>,
    /// Delete the oldest records of a partition that is larger than this, or `none` [default: none]
    #[arg(long, value_name = "1GiB|none", value_parser = optional_bytes)]
    retention_bytes: Option<Bound<u64>>,
    /// Keep the latest record of each key instead of deleting by age or size; takes no --retention and no --retention-bytes
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    compact: Option<bool>,
    /// How long a tombstone stays readable in a compacted topic [default: 1d]
    #[arg(long, value_name = "1d", value_parser = parse_duration)]
    tombstone_retention: Option<Duration>,
    /// What an acknowledgement means [default: fsync]
    #[arg(long, value_enum, value_name = "KIND")]
    durability: Option<DurabilityFlag>,
    /// The largest record [default: 8MiB]
    #[arg(long, value_name = "SIZE", value_parser = record_bytes)]
    record_bytes_max: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum DurabilityFlag {
    /// On the device: survives power loss
    Fsync,
    /// In the operating system's memory: survives a crash of the process
    Os,
}

/// A bound, or explicitly none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bound<T> {
    None,
    At(T),
}

impl<T: Copy> Bound<T> {
    const fn value(self) -> Option<T> {
        match self {
            Self::None => None,
            Self::At(value) => Some(value),
        }
    }
}

fn optional_span(text: &str) -> Result<Bound<Duration>, String> {
    if text == "none" { Ok(Bound::None) } else { parse_duration(text).map(Bound::At) }
}

fn optional_bytes(text: &str) -> Result<Bound<u64>, String> {
    if text == "none" { Ok(Bound::None) } else { parse_bytes(text).map(Bound::At) }
}

fn record_bytes(text: &str) -> Result<u32, String> {
    u32::try_from(parse_bytes(text)?).map_err(|_| "a record has at most 64 MiB".to_owned())
}

impl TopicVerb {
    pub(super) fn run(self, global: &Global, console: &mut Console) -> Result<(), Failure> {
        let client = client(global)?;
        block_on(self.run_with(&client, global.output, console))?
    }

    async fn run_with(
        self,
        client: &Client,
        output: Output,
        console: &mut Console,
    ) -> Result<(), Failure> {
        match self {
            Self::Create(create) => {
                let settings = create.settings(v1::Retention::default);
                let answer = client.create_topic(create.topic.as_str(), settings).await?;
                if !answer.created {
                    console.remark("it was there already, with the same settings");
                }
                print(&answer.topic.unwrap_or_default(), output, console)
            }
            Self::List(list) => {
                let mut any = false;
                for topic in client.list_topics(&list.prefix).await? {
                    any = true;
                    print_row(&topic, output, console)?;
                }
                if !any {
                    console.remark("no topics; create one with `embermq topic create NAME`");
                }
                Ok(())
            }
            Self::Show(named) => {
                print(&client.get_topic(named.topic.as_str()).await?, output, console)
            }
            Self::Edit(edit) => {
                // Retention is replaced as a whole: what was not named is taken from what is there.
                let now = client.get_topic(edit.topic.as_str()).await?.settings.unwrap_or_default();
                let settings = edit.settings(|| now.retention.unwrap_or_default());
                print(&client.update_topic(edit.topic.as_str(), settings).await?, output, console)
            }
            Self::Delete(named) => {
                client.delete_topic(named.topic.as_str()).await?;
                console.remark(format!("deleted {}", named.topic));
                Ok(())
            }
        }
    }
}

impl Create {
    /// The settings that were named. `retention` is what holds for the half of it that was not.
    fn settings(&self, retention: impl FnOnce() -> v1::Retention) -> v1::TopicSettings {
        let retention = (self.retention.is_some() || self.retention_bytes.is_some()).then(|| {
            let mut new = retention();
            if let Some(age) = self.retention {
                new.age = age.value().map(Into::into);
            }
            if let Some(bytes) = self.retention_bytes {
                new.bytes = bytes.value();
            }
            new
        });
        let durability = self.durability.map_or(v1::Durability::Unspecified, |flag| match flag {
            DurabilityFlag::Fsync => v1::Durability::Fsync,
            DurabilityFlag::Os => v1::Durability::Os,
        });
        v1::TopicSettings {
            partitions: self.partitions,
            retention,
            compact: self.compact,
            tombstone_retention: self.tombstone_retention.map(Into::into),
            durability: durability.into(),
            record_bytes_max: self.record_bytes_max,
        }
    }
}

fn print_row(topic: &v1::Topic, output: Output, console: &mut Console) -> Result<(), Failure> {
    if output == Output::Json {
        return Ok(console.json(topic)?);
    }
    let settings = topic.settings.unwrap_or_default();
    console.line(format!(
        "{:<32} {:>4} {:<10} {}",
        topic.name,
        settings.partitions.unwrap_or_default(),
        durability_name(&settings),
        kept(&settings),
    ))?;
    Ok(())
}

fn print(topic: &v1::Topic, output: Output, console: &mut Console) -> Result<(), Failure> {
    if output == Output::Json {
        return Ok(console.json(topic)?);
    }
    let settings = topic.settings.unwrap_or_default();
    console.line(format!("topic       {}", topic.name))?;
    if let Some(time) = topic.create_time {
        console.line(format!("created     {time}"))?;
    }
    console.line(format!("durability  {}", durability_name(&settings)))?;
    console.line(format!("kept        {}", kept(&settings)))?;
    console.line(format!(
        "records     up to {}",
        show_bytes(settings.record_bytes_max.unwrap_or_default().into())
    ))?;
    console.line(format!("partitions  {}", settings.partitions.unwrap_or_default()))?;
    for partition in &topic.partitions {
        console.line(format!(
            "  {:>4}  offsets {} to {}, {}",
            partition.partition,
            partition.start_offset,
            partition.end_offset,
            show_bytes(partition.bytes)
        ))?;
    }
    Ok(())
}

fn durability_name(settings: &v1::TopicSettings) -> &'static str {
    match settings.durability() {
        v1::Durability::Os => "os",
        v1::Durability::Fsync | v1::Durability::Unspecified => "fsync",
    }
}

fn kept(settings: &v1::TopicSettings) -> String {
    if settings.compact == Some(true) {
        return "the latest record of each key".to_owned();
    }
    let retention = settings.retention.unwrap_or_default();
    let age = retention.age.and_then(|age| Duration::try_from(age).ok());
    match (age, retention.bytes) {
        (None, None) => "for ever".to_owned(),
        (Some(age), None) => show_duration(age),
        (None, Some(bytes)) => format!("{} per partition", show_bytes(bytes)),
        (Some(age), Some(bytes)) => {
            format!("{}, at most {} per partition", show_duration(age), show_bytes(bytes))
        }
    }
}
