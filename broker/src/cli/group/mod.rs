//! `embermq group list | show | create | edit | seek | delete`.

mod print;
mod settings;

use clap::{Args, Subcommand};
use embermq_protocol::client::{Client, Seek};
use embermq_protocol::v1::SoughtPartition;
use embermq_protocol::{GroupName, TopicName};

use self::print::{print, print_row, print_sought};
use self::settings::{Ordered, Settings};
use super::from::From;
use super::remote::{block_on, client};
use super::{Console, Failure, Global, Output};
use crate::clock::{Clock, SystemClock};

#[derive(Debug, Subcommand)]
pub(super) enum GroupVerb {
    /// List the groups of a topic, or of all topics
    #[command(visible_alias = "ls")]
    List(List),
    /// Show a group: its settings, its lag and its partitions
    Show(Named),
    /// Create a group; does nothing when it exists with the same settings
    Create(Create),
    /// Change settings of a group; what is not named stays as it is
    Edit(Edit),
    /// Read on from elsewhere
    Seek(SeekTo),
    /// Delete a group; it forgets what was read, its dead letters stay
    #[command(visible_alias = "rm")]
    Delete(Named),
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// Only the groups of this topic
    topic: Option<TopicName>,
}

/// A group, as typed.
#[derive(Debug, Args)]
pub(super) struct Named {
    /// The topic
    pub(super) topic: TopicName,
    /// The group
    pub(super) group: GroupName,
}

#[derive(Debug, Args)]
pub(super) struct Create {
    #[command(flatten)]
    named: Named,
    #[command(flatten)]
    ordered: Ordered,
    #[command(flatten)]
    settings: Settings,
    /// Where a new group begins: start, end, an offset, a time, or so long ago (-1h)
    #[arg(
        long,
        value_name = "start|end|OFFSET|TIME|-1h",
        default_value = "start",
        allow_hyphen_values = true
    )]
    start: From,
}

#[derive(Debug, Args)]
pub(super) struct Edit {
    #[command(flatten)]
    named: Named,
    #[command(flatten)]
    settings: Settings,
}

#[derive(Debug, Args)]
pub(super) struct SeekTo {
    #[command(flatten)]
    named: Named,
    /// Where to: start, end, an offset (not behind the end), a time, or so long ago (-1h)
    #[arg(long, value_name = "start|end|OFFSET|TIME|-1h", allow_hyphen_values = true)]
    to: From,
    /// Only this partition
    #[arg(short, long, value_name = "N")]
    partition: Option<u32>,
    /// Only say what it would do
    #[arg(long)]
    dry_run: bool,
}

impl Named {
    /// The group, for calls.
    pub(super) fn of(
        &self,
        client: &Client,
    ) -> Result<embermq_protocol::client::GroupClient, Failure> {
        Ok(client.topic(self.topic.as_str())?.group(self.group.as_str())?)
    }
}

impl GroupVerb {
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
            Self::List(list) => list.run(client, output, console).await,
            Self::Show(named) => print(&named.of(client)?.get().await?, output, console),
            Self::Create(create) => {
                let mut settings = create.settings.of_new();
                settings.set_ordering(create.ordered.ordering());
                let start = create.start.for_client(SystemClock::default().now().0);
                let answer = create.named.of(client)?.create(settings, start).await?;
                if !answer.created {
                    console.remark("it was there already, with the same settings");
                }
                print(&answer.group.unwrap_or_default(), output, console)
            }
            Self::Edit(edit) => {
                let group = edit.named.of(client)?;
                let now = group.get().await?.settings.unwrap_or_default();
                print(&group.update(edit.settings.on(&now)).await?, output, console)
            }
            Self::Seek(seek) => seek.run(client, output, console).await,
            Self::Delete(named) => {
                named.of(client)?.delete().await?;
                console.remark(format!("deleted {} of {}", named.group, named.topic));
                Ok(())
            }
        }
    }
}

impl List {
    async fn run(
        self,
        client: &Client,
        output: Output,
        console: &mut Console,
    ) -> Result<(), Failure> {
        let groups = match &self.topic {
            Some(topic) => client.topic(topic.as_str())?.groups().await?,
            None => client.groups().await?,
        };
        for group in &groups {
            print_row(group, output, console)?;
        }
        if groups.is_empty() {
            console
                .remark("no groups; `embermq work` makes one, and so does `embermq group create`");
        }
        Ok(())
    }
}

impl SeekTo {
    async fn run(
        self,
        client: &Client,
        output: Output,
        console: &mut Console,
    ) -> Result<(), Failure> {
        let group = self.named.of(client)?;
        let seek = Seek {
            partition: self.partition,
            to: self.to.for_client(SystemClock::default().now().0),
            dry_run: self.dry_run,
        };
        if let From::Offset(offset) = self.to {
            let would = group.seek(Seek { dry_run: true, ..seek }).await?;
            self.refuse_behind_end(offset, &would)?;
        }
        let partitions = group.seek(seek).await?;
        print_sought(&partitions, output, console)?;
        if self.dry_run {
            console.remark("nothing was changed: leave out --dry-run to do it");
        }
        Ok(())
    }

    /// The server takes an offset behind the end for the end. That skips all there is, which a mistyped number does not mean.
    fn refuse_behind_end(&self, offset: u64, would: &[SoughtPartition]) -> Result<(), Failure> {
        let Some(short) = would.iter().find(|sought| sought.to_offset < offset) else {
            return Ok(());
        };
        let Named { topic, group } = &self.named;
        let SoughtPartition { partition, from_offset, to_offset: end, .. } = short;
        let one = if would.len() > 1 { ", --partition moves one partition" } else { "" };
        Err(Failure::usage(format!(
            "offset {offset} is behind the end of {topic}/{partition}, which is {end}: group {group} was left where it is, at {from_offset} there; \
             --to end skips everything{one}"
        )))
    }
}
