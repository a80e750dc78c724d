//! `embermq dlq list | show | redrive | drop`.
//!
//! Dead letters are records of an ordinary topic, which also keeps those that were redriven or dropped. Only the group knows
//! which are still open: `list` and `show` ask it. `show` with an offset shows any letter, and says when it is not open.

mod letter;
mod rate;

use std::collections::BTreeSet;

use clap::{Args, Subcommand};
use embermq_protocol::Code;
use embermq_protocol::batch::StoredRecord;
use embermq_protocol::client::{
    Client, ClientError, ConsumedRecord, DeadLetterOptions, FetchOptions, From, GroupClient,
    Redrive,
};
use embermq_protocol::limits::DEAD_LETTERS_PAGE_MAX;
use serde_json::json;
use tokio::time::Instant;

use self::letter::{Letter, Standing};
use self::rate::Rate;
use super::group::Named;
use super::remote::{block_on, client};
use super::{Console, Exit, Failure, Global, Output};

/// Dead letters that `list` prints when nothing else is said.
const LISTED: u32 = 100;

#[derive(Debug, Subcommand)]
pub(super) enum DlqVerb {
    /// List the open dead letters of a group: offset, time, origin, attempts, reason, error
    #[command(visible_alias = "ls")]
    List(Chosen),
    /// Show dead letters whole: what failed, why, and the record; by offset also those that are not open
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

/// What was printed of what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Printed {
    None,
    All,
    UpToLimit,
}

/// How letters are printed.
struct Printer<'a> {
    /// All of a letter, or a row.
    whole: bool,
    output: Output,
    console: &'a mut Console,
}

impl Printer<'_> {
    fn print(&mut self, letter: &Letter) -> Result<(), Failure> {
        if self.output == Output::Json {
            return letter.print_json(self.console);
        }
        if self.whole { letter.print(self.console) } else { letter.print_row(self.console) }
    }
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
            Self::List(chosen) => {
                chosen.print(client, &mut Printer { whole: false, output, console }).await
            }
            Self::Show(chosen) => {
                chosen.print(client, &mut Printer { whole: true, output, console }).await
            }
            Self::Redrive(drive) => drive.run(client, output, console, false).await,
            Self::Drop(drive) => drive.run(client, output, console, true).await,
        }
    }
}

impl Chosen {
    async fn print(&self, client: &Client, printer: &mut Printer<'_>) -> Result<(), Failure> {
        let group = self.named.of(client)?;
        let printed = if self.offsets.is_empty() {
            self.print_open(&group, printer).await?
        } else {
            self.print_these(client, &group, printer).await?
        };
        printer.console.flush()?;
        let dead = group.get().await?.dead;
        printer.console.remark(match printed {
            Printed::None => {
                format!("no dead letters of this kind; the group has {dead} that are open")
            }
            Printed::All => {
                format!("{dead} of the group's dead letters are open: neither redriven nor dropped")
            }
            Printed::UpToLimit => format!(
                "there may be more, which --limit shows; the group has {dead} that are open"
            ),
        });
        Ok(())
    }

    /// Those that are open, up to the limit.
    async fn print_open(
        &self,
        group: &GroupClient,
        printer: &mut Printer<'_>,
    ) -> Result<Printed, Failure> {
        let limit = self.limit.unwrap_or(LISTED);
        let mut options =
            DeadLetterOptions { contains: self.contains.clone(), ..DeadLetterOptions::default() };
        let mut left = limit;
        while left > 0 {
            options.limit = left.min(DEAD_LETTERS_PAGE_MAX);
            let page = group.dead_letters(options.clone()).await?;
            for found in page.letters {
                printer.print(&Letter::new(&page.topic, found, Standing::Open))?;
                left = left.saturating_sub(1);
            }
            options.after = page.next_after;
            if options.after.is_none() {
                return Ok(if left == limit { Printed::None } else { Printed::All });
            }
            // What was found is shown while the search goes on.
            printer.console.flush()?;
        }
        Ok(Printed::UpToLimit)
    }

    /// Those of the offsets that were named.
    async fn print_these(
        &self,
        client: &Client,
        group: &GroupClient,
        printer: &mut Printer<'_>,
    ) -> Result<Printed, Failure> {
        let mut printed = Printed::None;
        let mut left = self.limit.unwrap_or(u32::MAX);
        for offset in self.offsets.iter().copied() {
            let letter = self.letter(client, group, offset).await?;
            if !letter.says(&self.contains) {
                continue;
            }
            if left == 0 {
                return Ok(Printed::UpToLimit);
            }
            if letter.is_open() || printer.whole {
                printer.print(&letter)?;
                left -= 1;
                printed = Printed::All;
            }
            if let Some(why) = letter.why_not_open() {
                printer.console.remark(format!("dead letter {offset} is not open: {why}"));
            }
        }
        Ok(printed)
    }

    /// The letter of an offset, whether it is open or not.
    async fn letter(
        &self,
        client: &Client,
        group: &GroupClient,
        offset: u64,
    ) -> Result<Letter, Failure> {
        let options = DeadLetterOptions {
            after: offset.checked_sub(1),
            limit: 1,
            ..DeadLetterOptions::default()
        };
        let page = group.dead_letters(options).await?;
        if let Some(found) = page.letters.into_iter().find(|found| found.offset == offset) {
            return Ok(Letter::new(&page.topic, found, Standing::Open));
        }
        let nothing = || {
            let topic = &page.topic;
            Failure::new(
                Exit::NotFound,
                format!("there is no dead letter {offset}: topic {topic} has no such record"),
            )
        };
        let options =
            FetchOptions { from: From::Offset(offset), max_records: 1, ..FetchOptions::default() };
        let fetched = match client.topic(&page.topic)?.fetch(options).await {
            // Made when it is first needed.
            Err(error) if error.code() == Some(Code::TopicNotFound) => return Err(nothing()),
            fetched => fetched?,
        };
        for stored in fetched.records(offset) {
            let StoredRecord { offset: at, append_time_us, record } =
                stored.map_err(ClientError::from)?;
            if at == offset {
                let found = ConsumedRecord { partition: 0, offset, append_time_us, record };
                let (topic, group) = (self.named.topic.as_str(), self.named.group.as_str());
                let letter = Letter::new(&page.topic, found, Standing::Settled);
                return Ok(letter.unless_of_another(topic, group));
            }
        }
        Err(nothing())
    }

    /// What to say when some of the offsets that were named are no open dead letters.
    fn not_matched(&self, matched: u64) -> Option<String> {
        let named = self.offsets.iter().collect::<BTreeSet<_>>().len();
        let missing = (named as u64).checked_sub(matched).filter(|missing| *missing > 0)?;
        let text = if self.contains.is_empty() { "" } else { " with this text" };
        let Named { topic, group } = &self.named;
        Some(format!(
            "{missing} of {named} offsets are no open dead letters{text}: `embermq dlq show {topic} {group} OFFSET` says more about one"
        ))
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
        if let Some(remark) = self.chosen.not_matched(matched) {
            console.remark(remark);
        }
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
