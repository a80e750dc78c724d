//! `embermq dlq list | show | redrive | drop`.
//!
//! Dead letters are records of an ordinary topic, so `list` and `show` read that topic. It also holds those that were
//! redriven or dropped; only the group knows which those are, and tells how many are left.

mod letter;
mod rate;

use clap::{Args, Subcommand};
use embermq_protocol::Code;
use embermq_protocol::client::{Client, ClientError, FetchOptions, From, GroupClient, Redrive};
use embermq_protocol::v1::Group;
use serde_json::json;
use tokio::time::Instant;

use self::letter::Letter;
use self::rate::Rate;
use super::group::Named;
use super::remote::{block_on, client};
use super::{Console, Failure, Global, Output};

/// Dead letters that `list` prints when nothing else is said.
const LISTED: u32 = 100;

#[derive(Debug, Subcommand)]
pub(super) enum DlqVerb {
    /// List the dead letters of a group: offset, time, origin, attempts, reason, error
    #[command(visible_alias = "ls")]
    List(Chosen),
    /// Show dead letters whole: what failed, why, and the record
    Show(Chosen),
    /// Offer dead letters to the group once more, with their attempts at zero
    Redrive(Drive),
    /// Take dead letters off the list; the records stay in the dead-letter topic
    Drop(Drive),
}

/// Which dead letters.
#[derive(Debug, Args)]
pub(super) struct Chosen {
    #[command(flatten)]
    named: Named,
    /// Only these, by their offsets in the dead-letter topic
    #[arg(value_name = "OFFSET")]
    offsets: Vec<u64>,
    /// Only those whose reason or error holds this text
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    contains: String,
    /// At most so many [default: 100 for list and show, all for redrive and drop]
    #[arg(long, value_name = "N")]
    limit: Option<u32>,
}

#[derive(Debug, Args)]
pub(super) struct Drive {
    #[command(flatten)]
    chosen: Chosen,
    /// Not faster than this, such as 10/s or 600/m [default: at once]
    #[arg(long, value_name = "N/s")]
    rate: Option<Rate>,
    /// Only say what it would do
    #[arg(long)]
    dry_run: bool,
}

impl DlqVerb {
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
            Self::List(chosen) => chosen.print(client, output, console, Letter::print_row).await,
            Self::Show(chosen) => chosen.print(client, output, console, Letter::print).await,
            Self::Redrive(drive) => drive.run(client, output, console, false).await,
            Self::Drop(drive) => drive.run(client, output, console, true).await,
        }
    }
}

impl Chosen {
    async fn print(
        &self,
        client: &Client,
        output: Output,
        console: &mut Console,
        print: fn(&Letter, Output, &mut Console) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let group = self.named.of(client)?.get().await?;
        let mut left = self.limit.unwrap_or(LISTED);
        let mut printed = 0;
        let more = self
            .each(client, &group, &mut |letter| {
                if left == 0 {
                    return Ok(false);
                }
                left -= 1;
                printed += 1;
                print(&letter, output, console)?;
                Ok(true)
            })
            .await?;
        console.flush()?;
        let dead = group.dead;
        console.remark(if printed == 0 {
            format!("no dead letters of this kind; the group has {dead}")
        } else if more {
            format!("and more: --limit shows them; {dead} are neither redriven nor dropped")
        } else {
            format!("{dead} of the group's dead letters are neither redriven nor dropped")
        });
        Ok(())
    }

    /// Gives the dead letters that fit to `take`, in order of partition and offset, until it says stop by returning false.
    /// True: it did.
    async fn each(
        &self,
        client: &Client,
        group: &Group,
        take: &mut (dyn FnMut(Letter) -> Result<bool, Failure> + Send),
    ) -> Result<bool, Failure> {
        let settings = group.settings.clone().unwrap_or_default();
        let topic = client.topic(settings.dead_letter_topic())?;
        let info = match client.get_topic(topic.name().as_str()).await {
            // Made when it is first needed.
            Err(error) if error.code() == Some(Code::TopicNotFound) => return Ok(false),
            info => info?,
        };
        for partition in info.partitions.iter().map(|info| info.partition) {
            let mut options = FetchOptions { partition, ..FetchOptions::default() };
            loop {
                let fetched = topic.fetch(options).await?;
                let first = match options.from {
                    From::Offset(offset) => offset,
                    From::Start | From::End | From::TimeUs(_) => fetched.start_offset,
                };
                for stored in fetched.records(first) {
                    let stored = stored.map_err(ClientError::from)?;
                    let letter = Letter::new(topic.name(), partition, stored);
                    if self.fits(&letter) && !take(letter)? {
                        return Ok(true);
                    }
                }
                if fetched.next_offset >= fetched.end_offset {
                    break;
                }
                options.from = From::Offset(fetched.next_offset);
            }
        }
        Ok(false)
    }

    /// As the broker chooses for a redrive.
    fn fits(&self, letter: &Letter) -> bool {
        letter.is_of(self.named.topic.as_str(), self.named.group.as_str())
            && (self.offsets.is_empty() || self.offsets.contains(&letter.offset()))
            && letter.says(&self.contains)
    }

    /// The request for at most so many of them.
    fn redrive(&self, max_records: Option<u32>, drop: bool) -> Redrive {
        Redrive {
            offsets: self.offsets.clone(),
            contains: self.contains.clone(),
            max_records,
            dry_run: false,
            drop,
        }
    }
}

impl Drive {
    async fn run(
        self,
        client: &Client,
        output: Output,
        console: &mut Console,
        drop: bool,
    ) -> Result<(), Failure> {
        let group = self.chosen.named.of(client)?;
        let limit = self.chosen.limit;
        let all = Redrive { dry_run: true, ..self.chosen.redrive(None, drop) };
        let matched = group.redrive(all).await?.matched;
        let wanted = limit.map_or(matched, |limit| matched.min(limit.into()));
        let done = if self.dry_run {
            0
        } else {
            match self.rate {
                None => group.redrive(self.chosen.redrive(limit, drop)).await?.done,
                Some(rate) => self.paced(&group, rate, wanted, drop).await?,
            }
        };
        if output == Output::Json {
            console.json(&json!({ "matched": matched, "done": done, "dry_run": self.dry_run }))?;
            return Ok(());
        }
        let verb = if drop { "dropped" } else { "offered once more" };
        console.line(if self.dry_run {
            format!("{wanted} of {matched} dead letters would be {verb}")
        } else {
            format!("{done} of {matched} dead letters {verb}")
        })?;
        Ok(())
    }

    /// In steps. What fails again meanwhile becomes a new dead letter; `wanted` was counted before, so that this ends.
    async fn paced(
        &self,
        group: &GroupClient,
        rate: Rate,
        wanted: u64,
        drop: bool,
    ) -> Result<u64, Failure> {
        let (mut done, mut next) = (0, Instant::now());
        while done < wanted {
            tokio::time::sleep_until(next).await;
            let step = rate.step().min(u32::try_from(wanted - done).unwrap_or(u32::MAX));
            let answer = group.redrive(self.chosen.redrive(Some(step), drop)).await?;
            if answer.done == 0 {
                // Somebody else took the rest.
                break;
            }
            done += answer.done;
            // Never faster than asked for, however long the calls take.
            next = Instant::now() + rate.pause_after(answer.done);
        }
        Ok(done)
    }
}
