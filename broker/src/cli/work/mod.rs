//! `embermq work`: runs a command for each record of a group.
//!
//! The first SIGTERM or SIGINT stops leasing and lets running commands finish; the second one kills them and gives their
//! records back; the third one ends the process as it is, and the leases end by themselves.

mod aside;
mod command;
mod tail;

use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use embermq_protocol::client::WorkReport;
use embermq_protocol::{GroupName, TopicName};
use serde_json::json;
use tokio::sync::watch;

use self::aside::Aside;
use self::command::{Job, Stage};
use super::remote::{block_on, client};
use super::signals::{Signals, end_at_once};
use super::{Console, Exit, Failure, Global, Output};
use crate::config::parse_duration;

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Work {
    /// The topic
    topic: TopicName,
    /// The group; made with default settings when there is none
    #[arg(short, long, value_name = "GROUP")]
    group: GroupName,
    /// Append what the command prints to this topic, in the same commit as the ack; nothing when it prints nothing
    #[arg(long, value_name = "TOPIC")]
    out: Option<TopicName>,
    /// How many commands run at a time
    #[arg(short, long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    jobs: u16,
    /// How long a record is ours; extended while the command runs [default: as the group says]
    #[arg(long, value_name = "SPAN", value_parser = parse_duration)]
    lease: Option<Duration>,
    /// How many records to lease at once; those that cannot run yet wait here [default: as many as can run]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    batch: Option<u16>,
    /// Who we are; with ordering by partition a partition stays with its member
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    member: String,
    /// Stop when the queue is empty: nothing is left but what others are working on
    #[arg(long)]
    once: bool,
    /// The command and its arguments, behind --
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

const AFTER_HELP: &str = "\
The command gets the value on standard input, and in its environment EMBERMQ_TOPIC,
EMBERMQ_PARTITION, EMBERMQ_OFFSET, EMBERMQ_ATTEMPT and, when there is a key, EMBERMQ_KEY; not
a key with a zero byte, or one that is too large for an environment (128 KiB on Linux).

  exit 0    done
  exit 75   try it again later, as the group's backoff says
  others    the same, and the end of its standard error is kept as the reason

Its standard error is passed on; parts are left out when nobody reads ours for a second.
What it leaves running in the background is not waited for.

After its last attempt a record is a dead letter: see `embermq dlq`.

  embermq work photos --group thumbnails --out thumbnails -j 4 -- convert - -resize 128 jpg:-";

impl Work {
    pub(super) fn run(self, global: &Global, console: &mut Console) -> Result<(), Failure> {
        let (stage, stages) = watch::channel(Stage::Working);
        let (aside, written) = Aside::to(std::io::stderr());
        let outcome = block_on(self.work(global, aside, stage, stages)).and_then(|worked| worked);
        // Who did not read so far would only keep us here.
        let is_read = written.in_time();
        let (report, stage) = match outcome {
            Err(Failure::Told { exit, .. }) if !is_read => return Err(Failure::Silent(exit)),
            outcome => outcome?,
        };
        if global.output == Output::Json {
            let WorkReport { acked, retried, dead, released, lost } = report;
            let row = json!({
                "acked": acked, "retried": retried, "dead": dead, "released": released, "lost": lost,
            });
            console.json(&row)?;
        } else if is_read {
            console.remark(report.to_string());
        }
        // 75: nothing is wrong, it only was not ended in order.
        if stage == Stage::Killing { Err(Failure::Silent(Exit::Temporary)) } else { Ok(()) }
    }

    async fn work(
        self,
        global: &Global,
        aside: Aside,
        stage: watch::Sender<Stage>,
        stages: watch::Receiver<Stage>,
    ) -> Result<(WorkReport, Stage), Failure> {
        let mut signals = Signals::listen()?;
        let group = client(global)?.topic(self.topic.as_str())?.group(self.group.as_str())?;
        let mut worker = group.worker().concurrency(self.jobs.into()).member(self.member);
        if let Some(batch) = self.batch {
            worker = worker.batch(batch.into());
        }
        if let Some(lease) = self.lease {
            worker = worker.lease(lease);
        }
        if let Some(out) = &self.out {
            worker = worker.out(out.as_str())?;
        }
        if self.once {
            worker = worker.until_empty();
        }
        if !global.quiet {
            let aside = aside.clone();
            worker = worker.on_trouble(move |trouble| aside.tell(&trouble.to_string()));
        }

        let (broken, mut breaks) = watch::channel(None);
        let job = Arc::new(Job {
            command: self.command,
            wants_output: self.out.is_some(),
            stages: stages.clone(),
            broken,
            aside: aside.clone(),
            quiet: global.quiet,
        });
        let shutdown = {
            let (mut breaks, quiet) = (breaks.clone(), global.quiet);
            async move {
                tokio::select! {
                    _name = signals.next() => {}
                    // The job lives as long as this does.
                    _broken = breaks.wait_for(Option::is_some) => {}
                }
                stage.send_replace(Stage::Stopping);
                if !quiet && breaks.borrow().is_none() {
                    aside.tell(
                        "stopping: running commands finish first; a second signal kills them",
                    );
                }
                tokio::spawn(async move {
                    signals.next().await;
                    stage.send_replace(Stage::Killing);
                    signals.next().await;
                    end_at_once();
                });
            }
        };
        let handler = move |lease| {
            let job = Arc::clone(&job);
            async move { job.run(lease).await }
        };
        let report = worker.run(handler, shutdown).await?;
        if let Some(reason) = breaks.borrow_and_update().clone() {
            return Err(Failure::usage(reason));
        }
        let stage = *stages.borrow();
        Ok((report, stage))
    }
}
