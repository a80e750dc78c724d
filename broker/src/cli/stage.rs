//! `embermq stage list | show | create | pause | resume | delete`.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use embermq_protocol::client::Client;
use embermq_protocol::{GroupName, TopicName};
use serde_json::{Value, json};

use super::overrides::{Override, parse_override, section_of};
use super::remote::{block_on, client};
use super::{Console, Failure, Global, Output};
use crate::config::{parse_bytes, parse_duration, show_duration};

#[derive(Debug, Subcommand)]
pub(super) enum StageVerb {
    /// List the stages and how they are doing
    #[command(visible_alias = "ls")]
    List,
    /// Show a stage: what it is told, how it is doing, and which model answers from which record on
    Show(Named),
    /// Attach a model to a topic; of a stage that is there, change how
    Create(Box<Create>),
    /// Let a stage take nothing more; what it has begun is finished
    Pause(Named),
    /// Let it go on
    Resume(Named),
    /// Remove a stage; its group stays, so that one of the same name goes on there
    #[command(visible_alias = "rm")]
    Delete(Named),
}

#[derive(Debug, Args)]
pub(super) struct Named {
    /// The stage
    stage: GroupName,
}

#[derive(Debug, Args)]
pub(super) struct Create {
    /// The stage, which is also the name of its group on the input topic
    stage: GroupName,
    /// The topic that it reads
    #[arg(long, value_name = "TOPIC")]
    input: TopicName,
    /// name@version or name@alias; a name alone means its alias champion, else its latest version
    #[arg(long, value_name = "MODEL")]
    model: String,
    /// The topic that its outputs go to
    #[arg(long, value_name = "TOPIC")]
    out: TopicName,
    /// In which order outputs appear [default: partition]
    #[arg(long, value_enum, value_name = "KIND")]
    ordering: Option<OrderingFlag>,
    /// Records that are processed together, at most [default: 8]
    #[arg(long, value_name = "N")]
    max_batch_size: Option<u32>,
    /// Bytes that are processed together, at most [default: 64MiB]
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    max_batch_bytes: Option<u64>,
    /// How long a record waits for others to fill its batch, at most [default: 0s]
    #[arg(long, value_name = "SPAN", value_parser = parse_duration)]
    max_queue_delay: Option<Duration>,
    /// Threads that process [default: one for each core but one]
    #[arg(long, value_name = "N")]
    instances: Option<u32>,
    /// How long one call may take [default: 30s]
    #[arg(long = "call-timeout", value_name = "SPAN", value_parser = parse_duration)]
    call_timeout: Option<Duration>,
    /// A record that failed so often goes to the dead-letter topic [default: 5]
    #[arg(long, value_name = "N")]
    max_attempts: Option<u32>,
    /// How long a record waits after its first failure [default: 1s]
    #[arg(long, value_name = "SPAN", value_parser = parse_duration)]
    backoff_initial: Option<Duration>,
    /// The longest that a record waits after a failure [default: 60s]
    #[arg(long, value_name = "SPAN", value_parser = parse_duration)]
    backoff_max: Option<Duration>,
    /// How much longer it waits from one failure to the next [default: 2]
    #[arg(long, value_name = "FACTOR")]
    backoff_multiplier: Option<f64>,
    /// Wait the whole of it, instead of a random part
    #[arg(long)]
    backoff_no_jitter: bool,
    /// Where dead letters go [default: <input>.<stage>.dlq]
    #[arg(long, value_name = "TOPIC")]
    dead_letter_topic: Option<TopicName>,
    /// Only records whose key and headers pass: 'content-type ^= "image/"'
    #[arg(long, value_name = "FILTER")]
    filter: Option<String>,
    /// What becomes of an answer with NaN or infinity in it [default: dlq]
    #[arg(long, value_enum, value_name = "WHAT")]
    on_nonfinite: Option<NonfiniteFlag>,
    /// Where an output has the answer; headers: its payload, content type and headers are those of the input [default: payload]
    #[arg(long, value_enum, value_name = "WHERE")]
    answer: Option<AnswerFlag>,
    /// A key of the model's model.toml that is to be another, as often as need be: post.top_k=1, 'pre.mean=[0.5, 0.5, 0.5]'; post.threshold=null
    /// takes it away
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = parse_override)]
    overrides: Vec<Override>,
    /// Its outputs may come back to it
    #[arg(long)]
    loops: bool,
    /// Begin paused
    #[arg(long)]
    paused: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum OrderingFlag {
    None,
    Key,
    Partition,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum NonfiniteFlag {
    Dlq,
    Pass,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum AnswerFlag {
    Payload,
    Headers,
}

impl StageVerb {
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
            Self::List => {
                let stages = client.stages().await?;
                if stages.is_empty() {
                    console.remark("no stages; `embermq stage create` attaches a model to a topic");
                }
                stages.iter().try_for_each(|stage| print_row(stage, output, console))
            }
            Self::Show(Named { stage }) => {
                print(&client.stage(stage.as_str()).await?, output, console)
            }
            Self::Create(create) => {
                let made = client.put_stage(create.stage.as_str(), &create.config()).await?;
                print(&made, output, console)
            }
            Self::Pause(Named { stage }) => {
                print(&client.pause_stage(stage.as_str()).await?, output, console)
            }
            Self::Resume(Named { stage }) => {
                print(&client.resume_stage(stage.as_str()).await?, output, console)
            }
            Self::Delete(Named { stage }) => {
                client.delete_stage(stage.as_str()).await?;
                console.remark(format!("deleted {stage}; its group stays"));
                Ok(())
            }
        }
    }
}

impl Create {
    /// What was said; what was not has its default on the broker.
    fn config(&self) -> Value {
        let ordering = self.ordering.map(|ordering| match ordering {
            OrderingFlag::None => "none",
            OrderingFlag::Key => "key",
            OrderingFlag::Partition => "partition",
        });
        let on_nonfinite = self.on_nonfinite.map(|what| match what {
            NonfiniteFlag::Dlq => "dlq",
            NonfiniteFlag::Pass => "pass",
        });
        let answer = self.answer.map(|place| match place {
            AnswerFlag::Payload => "payload",
            AnswerFlag::Headers => "headers",
        });
        let mut config = json!({
            "input": self.input.as_str(),
            "model": self.model,
            "output": self.out.as_str(),
            "ordering": ordering,
            "max_batch_size": self.max_batch_size,
            "max_batch_bytes": self.max_batch_bytes,
            "max_queue_delay": self.max_queue_delay.map(show_duration),
            "instances": self.instances,
            "timeout": self.call_timeout.map(show_duration),
            "max_attempts": self.max_attempts,
            "backoff": self.backoff(),
            "dead_letter_topic": self.dead_letter_topic.as_ref().map(TopicName::as_str),
            "filter": self.filter,
            "on_nonfinite": on_nonfinite,
            "answer": answer,
            "pre": section_of(&self.overrides, "pre"),
            "post": section_of(&self.overrides, "post"),
            "loops": self.loops,
            "paused": self.paused,
        });
        retain_said(&mut config);
        config
    }

    fn backoff(&self) -> Option<Value> {
        let mut backoff = json!({
            "initial": self.backoff_initial.map(show_duration),
            "max": self.backoff_max.map(show_duration),
            "multiplier": self.backoff_multiplier,
            "jitter": self.backoff_no_jitter.then_some(false),
        });
        retain_said(&mut backoff);
        backoff.as_object().is_some_and(|said| !said.is_empty()).then_some(backoff)
    }
}

fn retain_said(config: &mut Value) {
    if let Some(all) = config.as_object_mut() {
        all.retain(|_, value| !value.is_null());
    }
}

/// What comes from the broker, without anything that moves a cursor.
fn text(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    text.chars()
        .flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] })
        .collect()
}

fn state(stage: &Value) -> String {
    let status = &stage["status"];
    match &status["reason"] {
        Value::Null if status["state"] == "paused" && status["at_rest"] == false => {
            "paused, finishing what it had begun".to_owned()
        }
        Value::Null => text(&status["state"]),
        reason => format!("{}: {}", text(&status["state"]), text(reason)),
    }
}

fn print_row(stage: &Value, output: Output, console: &mut Console) -> Result<(), Failure> {
    if output == Output::Json {
        return Ok(console.json(stage)?);
    }
    let model = match &stage["status"]["model"] {
        Value::Null => &stage["model"],
        model => model,
    };
    let flow = format!("{} -> {}", text(&stage["input"]), text(&stage["output"]));
    let name = text(&stage["stage"]);
    Ok(console.line(format!("{name:<24} {flow:<40} {:<24} {}", text(model), state(stage)))?)
}

fn print(stage: &Value, output: Output, console: &mut Console) -> Result<(), Failure> {
    if output == Output::Json {
        return Ok(console.json(stage)?);
    }
    console.line(format!("stage         {}", text(&stage["stage"])))?;
    console.line(format!("state         {}", state(stage)))?;
    for (name, value) in stage.as_object().into_iter().flatten() {
        if name != "stage" && name != "status" {
            console.line(format!("{:<13} {}", name.replace('_', " "), text(value)))?;
        }
    }
    print_status(&stage["status"], console)
}

fn print_status(status: &Value, console: &mut Console) -> Result<(), Failure> {
    // Of its group, which may have them whether it runs or not.
    if let Some(records) = status["lag"]["records"].as_u64() {
        let seconds = status["lag"]["seconds"].as_f64().unwrap_or_default();
        console.line(format!("lag           {records} records, the oldest {seconds:.1} s old"))?;
    }
    if let Some(open) = status["dead_letters_open"].as_u64() {
        console.line(format!("dead letters  {open} open"))?;
    }
    let Some(batches) = status["batches"].as_u64() else { return Ok(()) };
    console.line(format!("runs          {}", text(&status["model"])))?;
    if let Some(why) = status.get("cannot_follow") {
        console.line(format!("cannot follow {}", text(why)))?;
    }
    console.line(format!(
        "done          {} in {batches} batches, {} failed attempts, {} rejected, {} threads lost",
        status["succeeded"], status["failed"], status["rejected"], status["threads_lost"]
    ))?;
    if let Some(failure) = status.get("last_failure") {
        console.line(format!(
            "last failure  {} {}/{} attempt {}: {}",
            text(&failure["time"]),
            failure["partition"],
            failure["offset"],
            failure["attempt"],
            text(&failure["error"])
        ))?;
    }
    for takeover in status["takeovers"].as_array().into_iter().flatten() {
        console.line(format!(
            "  {:>4}  {} from offset {} on",
            takeover["partition"],
            text(&takeover["model"]),
            takeover["offset"]
        ))?;
    }
    Ok(())
}
