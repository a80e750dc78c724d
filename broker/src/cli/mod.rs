//! The command line: one file per verb.
//!
//! Results go to standard output, everything else (errors, progress, log lines) to standard error, so that output can
//! be piped. `-o json` is the form for programs. Exit codes follow sysexits: see `Exit`. A reader that goes
//! away (`embermq consume … | head`) ends the command quietly.

mod config;
mod console;
mod consume;
#[cfg(feature = "inference")]
mod demo;
mod dlq;
mod failure;
mod from;
mod group;
mod key;
mod logging;
#[cfg(feature = "inference")]
mod model;
mod open_files;
mod overrides;
mod produce;
mod remote;
mod schedule;
mod serve;
mod signals;
mod stage;
mod topic;
mod verify;
mod version;
mod work;

use std::process::ExitCode;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

use self::console::Console;
pub(crate) use self::failure::{Exit, Failure};
use crate::config::parse_duration;

/// EmberMQ: a durable message broker in one binary.
#[derive(Debug, Parser)]
#[command(name = "embermq", version, propagate_version = true, after_help = AFTER_HELP)]
struct Arguments {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    verb: Verb,
}

const AFTER_HELP: &str = "\
First steps:
  embermq serve
  embermq topic create hello --partitions 4
  embermq produce hello 'first record'
  embermq consume hello
  embermq work hello --group readers -- cat

Exit codes: 0 done, 1 damage found or a check failed, 64 wrong usage, 65 conflict (another writer was first, a name is taken),
66 not found, 69 unavailable, 75 try again, 77 not allowed.";

/// What every verb understands.
#[derive(Args, Clone, Debug)]
pub(crate) struct Global {
    /// The server that client verbs talk to
    #[arg(
        long,
        global = true,
        env = "EMBERMQ_URL",
        default_value = "http://127.0.0.1:7400",
        value_name = "URL"
    )]
    pub(crate) url: String,
    /// How long client verbs keep trying when the server cannot be reached or asks to wait [default: 5s]; if given, also how long
    /// each try waits for an answer, at most 30s, and that beside what the server is asked to wait itself
    #[arg(long, global = true, value_name = "SPAN", value_parser = parse_duration)]
    pub(crate) timeout: Option<Duration>,
    /// How results are written
    #[arg(short, long, global = true, value_enum, default_value_t, value_name = "FORM")]
    pub(crate) output: Output,
    /// More log lines; twice for even more
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Only errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// No colours (also with the variable NO_COLOR)
    #[arg(long, global = true)]
    pub(crate) no_color: bool,
}

/// How results are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people
    #[default]
    Text,
    /// For programs: one JSON value a line
    Json,
    /// Only the values, byte for byte (consume, key get, model run)
    Raw,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run the broker
    Serve(serve::Serve),
    /// Run the broker to try things out; --demo shows a model at work
    Dev(serve::Dev),
    /// Create, show, change and delete topics
    #[command(subcommand)]
    Topic(topic::TopicVerb),
    /// Send records
    Produce(produce::Produce),
    /// List, show and cancel records that are to appear later
    #[command(subcommand)]
    Schedule(schedule::ScheduleVerb),
    /// Read records
    Consume(consume::Consume),
    /// Run a command for each record of a group
    Work(work::Work),
    /// Create, show, change, seek and delete groups
    #[command(subcommand)]
    Group(group::GroupVerb),
    /// Read records by their keys
    #[command(subcommand)]
    Key(key::KeyVerb),
    /// Look at dead letters, and offer them once more
    #[command(subcommand)]
    Dlq(dlq::DlqVerb),
    /// Attach models to topics, and look after that
    #[command(subcommand)]
    Stage(stage::StageVerb),
    /// Look at, run, test and measure models in ONNX files; give them to a broker
    #[cfg(feature = "inference")]
    #[command(subcommand)]
    Model(model::ModelVerb),
    /// Check every byte of a data folder
    Verify(verify::Verify),
    /// Show or check the configuration
    #[command(subcommand)]
    Config(config::ConfigVerb),
    /// Show the version and what this binary was built for
    Version,
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version come as errors too; when even printing fails there is nobody to tell.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage.into() } else { ExitCode::SUCCESS };
        }
    };
    let mut console = Console::new(&arguments.global);
    let outcome = run(arguments, &mut console).and_then(|()| Ok(console.flush()?));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            console.failed(&failure);
            failure.exit_code()
        }
    }
}

fn run(arguments: Arguments, console: &mut Console) -> Result<(), Failure> {
    let Arguments { global, verb } = arguments;
    if global.output == Output::Raw && !verb.writes_raw() {
        return Err(Failure::usage(
            "-o raw only fits `consume`, `key get` and `model run`; use -o text or -o json",
        ));
    }
    match verb {
        Verb::Serve(serve) => serve.run(&global, console),
        Verb::Dev(dev) => dev.run(&global, console),
        Verb::Topic(verb) => verb.run(&global, console),
        Verb::Produce(produce) => produce.run(&global, console),
        Verb::Schedule(verb) => verb.run(&global, console),
        Verb::Consume(consume) => consume.run(&global, console),
        Verb::Work(work) => work.run(&global, console),
        Verb::Group(verb) => verb.run(&global, console),
        Verb::Dlq(verb) => verb.run(&global, console),
        Verb::Key(verb) => verb.run(&global, console),
        Verb::Stage(verb) => verb.run(&global, console),
        #[cfg(feature = "inference")]
        Verb::Model(verb) => verb.run(&global, console),
        Verb::Verify(verify) => verify.run(&global, console),
        Verb::Config(verb) => verb.run(&global, console),
        Verb::Version => version::run(&global, console),
    }
}

impl Verb {
    const fn writes_raw(&self) -> bool {
        match self {
            Self::Consume(_) => true,
            Self::Key(verb) => verb.writes_raw(),
            #[cfg(feature = "inference")]
            Self::Model(verb) => verb.writes_raw(),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}
