//! `embermq schedule list | show | cancel`: records that are to appear later.

use clap::{Args, Subcommand};
use embermq_protocol::TopicName;
use embermq_protocol::client::Client;
use embermq_protocol::v1;

use super::remote::{block_on, client};
use super::{Console, Failure, Global, Output};

#[derive(Debug, Subcommand)]
pub(super) enum ScheduleVerb {
    /// List what is scheduled for a topic, in the order of its delivery
    #[command(visible_alias = "ls")]
    List(List),
    /// Show something that is scheduled, with its records
    Show(Show),
    /// Cancel: what is scheduled will not appear
    #[command(visible_alias = "rm")]
    Cancel(Cancel),
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// The topic
    topic: TopicName,
    /// At most so many
    #[arg(short, long, value_name = "N")]
    limit: Option<u64>,
}

#[derive(Debug, Args)]
pub(super) struct Show {
    /// The topic
    topic: TopicName,
    /// Which one, as `produce` and `schedule list` name it
    schedule: String,
}

#[derive(Debug, Args)]
pub(super) struct Cancel {
    /// The topic
    topic: TopicName,
    /// Which ones
    #[arg(required = true)]
    schedules: Vec<String>,
}

impl ScheduleVerb {
    pub(super) fn run(self, global: &Global, console: &mut Console) -> Result<(), Failure> {
        let client = client(global)?;
        let output = global.output;
        match self {
            Self::List(list) => block_on(list.run(&client, output, console))?,
            Self::Show(show) => block_on(show.run(&client, output, console))?,
            Self::Cancel(cancel) => block_on(cancel.run(&client, console))?,
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
        let topic = client.topic(self.topic.as_str())?;
        let (mut after, mut left) = (String::new(), self.limit.unwrap_or(u64::MAX));
        let mut any = false;
        while left > 0 {
            let limit = u32::try_from(left.min(1_000)).unwrap_or(1_000);
            let page = topic.schedules(&after, limit).await?;
            left -= page.schedules.len() as u64;
            for schedule in &page.schedules {
                any = true;
                if output == Output::Json {
                    console.json(schedule)?;
                } else {
                    console.line(row(schedule))?;
                }
            }
            if page.next_after.is_empty() {
                break;
            }
            after = page.next_after;
        }
        if !any {
            console.remark("nothing is scheduled; `embermq produce --delay` does that");
        }
        Ok(())
    }
}

impl Show {
    async fn run(
        self,
        client: &Client,
        output: Output,
        console: &mut Console,
    ) -> Result<(), Failure> {
        let found = client.topic(self.topic.as_str())?.schedule(&self.schedule).await?;
        if output == Output::Json {
            return Ok(console.json(&found)?);
        }
        console.line(row(&found))?;
        for record in &found.records {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let key = record.key.as_deref().map(|key| format!("{}: ", text(key)));
            let value = record.value.as_deref().map_or_else(|| "(no value)".to_owned(), text);
            console.line(format!("  {}{value}", key.unwrap_or_default()))?;
        }
        Ok(())
    }
}

impl Cancel {
    async fn run(self, client: &Client, console: &mut Console) -> Result<(), Failure> {
        let topic = client.topic(self.topic.as_str())?;
        for schedule in &self.schedules {
            topic.cancel_schedule(schedule).await?;
            console.remark(format!("cancelled {schedule} of {}", self.topic));
        }
        Ok(())
    }
}

fn row(schedule: &v1::Schedule) -> String {
    let at = schedule.deliver_at.map(|at| at.to_string()).unwrap_or_default();
    let records = if schedule.count == 1 { "record" } else { "records" };
    format!(
        "{:<28} {at:<28} partition {:<5} {} {records}",
        schedule.schedule, schedule.partition, schedule.count
    )
}
