//! `embermq model check`: can it be run, what stands against it, and what would it take. Exit 1: it cannot, or does not answer what its bundle
//! knows.

use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Duration;

use clap::Args;
use embermq_inference::{
    BundleProblem, ByteCount, Description, Fill, GoldenMismatch, InferError, Limits, LoadError,
    Model, ModelOptions, Network, OpenError, Problem, RunError, Sizes, Value, made_up,
};
use serde_json::json;

use super::{
    Console, Dims, Exit, Failure, Global, at_least_one, info, model_file, not_loaded, not_opened,
    one_line, payload, port_line,
};
use crate::cli::Output;
use crate::config::{parse_duration, show_duration};

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// A model file, or a folder with a `model.onnx`
    model: PathBuf,
    #[command(flatten)]
    dims: Dims,
    /// Size of first axes that the model leaves open, for the estimate of memory [default: 1]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    batch: Option<usize>,
    /// Do not run it once with made-up inputs to see whether it runs and how much memory that takes
    #[arg(long)]
    no_run: bool,
    /// How long that run may take: a graph with loops can compute for ever
    #[arg(long, value_name = "SPAN", default_value = "1m", value_parser = parse_duration)]
    time_max: Duration,
}

/// What was found.
struct Finding {
    about: Description,
    loaded: Result<Network, Vec<Problem>>,
    /// What is wrong in the manifest.
    manifest: Vec<BundleProblem>,
    trial: Trial,
    golden: Golden,
    /// Rows of the trial run.
    batch: usize,
}

/// What came of a run with made-up inputs.
enum Trial {
    /// Bytes between operators.
    Took(u64),
    /// It was not run, or what it took is not known.
    Unknown(String),
    Failed {
        what: String,
        unsupported: bool,
    },
}

/// Answers that the bundle knows.
#[derive(Default)]
struct Golden {
    known: usize,
    /// Those that the model does not give. `None`: it was not asked.
    wrong: Option<Vec<GoldenMismatch>>,
}

impl Check {
    pub(super) fn run(self, global: &Global, console: &mut Console) -> Result<(), Failure> {
        let finding = self.find()?;
        if global.output == Output::Json {
            console.json(&as_json(&finding))?;
        } else {
            print(&finding, console)?;
        }
        if finding.is_ok() { Ok(()) } else { Err(Failure::Silent(Exit::Damage)) }
    }

    fn find(&self) -> Result<Finding, Failure> {
        let (path, limits) = (model_file(&self.model), Limits::default());
        let about = Description::read(&path, &limits).map_err(|error| not_loaded(&error))?;
        let mut manifest = Vec::new();
        let mut model = None;
        // What a manifest says has to go with the graph. Without one a model takes tensors, sequences too.
        let carried = about.metadata.iter().any(|(key, _)| key == "model.toml");
        let opened = if payload::is_bundle(&self.model) || carried {
            let opened = Model::open(&self.model, &ModelOptions::default());
            opened.map(|opened| model.insert(opened).network().clone())
        } else {
            Network::open(&path, &limits).map_err(OpenError::from)
        };
        let loaded = match opened {
            Ok(network) => Ok(network),
            Err(OpenError::Load(LoadError::Problems(problems))) => Err(problems),
            Err(OpenError::Problems(problems)) => {
                manifest = problems;
                match Network::open(&path, &limits) {
                    Ok(network) => Ok(network),
                    Err(LoadError::Problems(problems)) => Err(problems),
                    Err(other) => return Err(not_loaded(&other)),
                }
            }
            Err(other) => return Err(not_opened(&other)),
        };
        let mut batch = self.batch.unwrap_or(1);
        if let Ok(network) = &loaded {
            self.dims.check(network)?;
            batch = self.dims.rows(network, self.batch)?;
        }
        let trial = match &loaded {
            Ok(network) if !self.no_run => self.trial(network, model.as_ref(), batch),
            _ => Trial::Unknown("it was not run".to_owned()),
        };
        let golden = match &model {
            // What did not end once would not end again.
            Some(model) => {
                Golden::of(model, !self.no_run && !matches!(trial, Trial::Failed { .. }))
            }
            None => Golden::default(),
        };
        Ok(Finding { about, loaded, manifest, trial, golden, batch })
    }

    /// Runs it on a thread that is left behind when it takes too long: nothing can interrupt an operator.
    fn trial(&self, network: &Network, model: Option<&Model>, batch: usize) -> Trial {
        let (network, sizes) = (network.clone(), self.dims.sizes(Some(batch)));
        let model = model.cloned();
        let (sender, receiver) = mpsc::channel();
        let thread = std::thread::Builder::new().name("model-check".to_owned());
        let started = thread.spawn(move || {
            let trial = trial_run(&network, model.as_ref(), &sizes);
            // Whoever has stopped waiting wants no result.
            let _ = sender.send(trial.with_answer(model.as_ref()));
        });
        if let Err(error) = started {
            return Trial::Unknown(format!("no thread can be started: {error}"));
        }
        receiver.recv_timeout(self.time_max).unwrap_or_else(|_| Trial::Failed {
            what: format!(
                "it did not end within {}; --time-max waits longer",
                show_duration(self.time_max)
            ),
            unsupported: false,
        })
    }
}

fn trial_run(network: &Network, model: Option<&Model>, sizes: &Sizes) -> Trial {
    let limits = Limits::default();
    let run = |fill: Fill| {
        let inputs = network.inputs().iter().map(|port| made_up(port, sizes, fill, &limits));
        let inputs = inputs.collect::<Result<Vec<Value>, _>>().map_err(|e| e.to_string())?;
        Ok(network.run_measured(inputs).map(|(_, bytes)| bytes))
    };
    let error = match run(Fill::Zeros) {
        Ok(Ok(bytes)) => return Trial::Took(bytes),
        Ok(Err(error)) => error,
        Err(why) => return Trial::Unknown(why),
    };
    // A length or a scale of zero is more than some models can do.
    if let Ok(Ok(bytes)) = run(Fill::Random(1)) {
        return Trial::Took(bytes);
    }
    // A manifest may say sizes that the file leaves open; a broker runs those first, too.
    if model.is_some_and(warms_up) {
        return Trial::Unknown("it runs with the sizes that its model.toml says".to_owned());
    }
    Trial::failed(&error)
}

impl Golden {
    fn of(model: &Model, asked: bool) -> Self {
        let wrong = asked.then(|| model.check_golden().err().unwrap_or_default());
        Self { known: model.golden_count(), wrong }
    }

    fn wrong(&self) -> &[GoldenMismatch] {
        self.wrong.as_deref().unwrap_or_default()
    }
}

fn warms_up(model: &Model) -> bool {
    model.warm_up().is_ok_and(|warm_up| !warm_up.runs.is_empty())
}

impl Trial {
    /// What a manifest takes the outputs for is wrong, however well the network runs.
    fn with_answer(self, model: Option<&Model>) -> Self {
        match model.map(Model::try_answer) {
            Some(Err(error @ InferError::Manifest { .. }))
                if !matches!(self, Self::Failed { .. }) =>
            {
                Self::Failed { what: format!("model.toml: {error}"), unsupported: false }
            }
            _ => self,
        }
    }

    fn failed(error: &RunError) -> Self {
        Self::Failed { what: error.to_string(), unsupported: error.is_unsupported() }
    }
}

impl Finding {
    fn is_ok(&self) -> bool {
        self.problems().is_empty()
    }

    /// Everything that stands against it, and whether it is only that something is not implemented.
    fn problems(&self) -> Vec<(String, bool)> {
        let graph = self.loaded.as_ref().err().into_iter().flatten();
        let mut all: Vec<(String, bool)> =
            graph.map(|problem| (problem.to_string(), problem.is_unsupported())).collect();
        all.extend(self.manifest.iter().map(|problem| (problem.to_string(), false)));
        if let Trial::Failed { what, unsupported } = &self.trial {
            all.push((format!("a run with made-up inputs failed: {what}"), *unsupported));
        }
        all.extend(self.golden.wrong().iter().map(|mismatch| (mismatch.to_string(), false)));
        all
    }

    /// Whether weights of eight bits take the fourfold as floats.
    fn is_dequantised(&self, kept: u64) -> bool {
        let quantised = |name: &String| {
            name.contains("uantize") || name.starts_with("QLinear") || name == "Cast"
        };
        self.about.operators.keys().any(quantised) && kept / 2 > self.about.weight_bytes
    }
}

fn print(finding: &Finding, console: &mut Console) -> Result<(), Failure> {
    let about = &finding.about;
    let problems = finding.problems();
    match &finding.loaded {
        Ok(network) if problems.is_empty() => {
            let steps = network.step_count();
            console.line(format!("verdict     it can be run, in {steps} steps"))?;
        }
        Ok(network) if problems.len() == finding.golden.wrong().len() => {
            let steps = network.step_count();
            console.line(format!(
                "verdict     it runs, in {steps} steps, and does not answer what is known"
            ))?;
        }
        Ok(network) if finding.manifest.is_empty() => {
            let steps = network.step_count();
            console.line(format!("verdict     it loads, in {steps} steps, but did not run"))?;
        }
        _ => {
            let count = match problems.len() {
                1 => "1 problem".to_owned(),
                many => format!("{many} problems"),
            };
            console.line(format!("verdict     it cannot be run: {count}"))?;
        }
    }
    for (problem, _) in &problems {
        console.line(one_line(&format!("  {problem}")))?;
    }
    if matches!(finding.trial, Trial::Failed { .. }) {
        console.remark(
            "if it takes other sizes, --dim and --batch say so; --no-run leaves the run out",
        );
    }
    print_golden(&finding.golden, console)?;
    console.line("operators")?;
    for (name, entry) in &about.operators {
        let remark = match (entry.is_function, entry.is_known) {
            (true, _) => "  a function of the model",
            (false, true) => "",
            (false, false) => "  NOT SUPPORTED",
        };
        console.line(one_line(&format!("  {name:<40} {:>6}{remark}", entry.nodes)))?;
    }
    for (title, ports) in [("inputs", &about.inputs), ("outputs", &about.outputs)] {
        console.line(title)?;
        for port in ports {
            console.line(format!("  {}", port_line(port)))?;
        }
    }
    let weights = ByteCount(about.weight_bytes);
    console.line(format!("weights     {} tensors, {weights}", about.weights))?;
    let Ok(network) = &finding.loaded else { return Ok(()) };
    let kept = network.weight_bytes() as u64;
    let of = if finding.is_dequantised(kept) {
        "weights and constants, those of 8 bits as floats of 32"
    } else {
        "weights and constants"
    };
    let why = match &finding.trial {
        Trial::Took(live) => {
            let (total, kept, live) =
                (ByteCount(kept.saturating_add(*live)), ByteCount(kept), ByteCount(*live));
            let batch = finding.batch;
            console.line(format!(
                "memory      about {total}: {kept} of {of}, and {live} for each run of batch {batch}"
            ))?;
            return Ok(());
        }
        Trial::Unknown(why) => why,
        Trial::Failed { .. } => "it failed",
    };
    let (kept, why) = (ByteCount(kept), one_line(why));
    console.line(format!("memory      {kept} of {of}; what a run takes is not known: {why}"))?;
    Ok(())
}

fn print_golden(golden: &Golden, console: &mut Console) -> Result<(), Failure> {
    let known = golden.known;
    let line = match (known, &golden.wrong) {
        (0, _) => return Ok(()),
        (1, None) => "1 known answer, not asked for".to_owned(),
        (_, None) => format!("{known} known answers, not asked for"),
        (1, Some(wrong)) if wrong.is_empty() => "1 answer is the one that is known".to_owned(),
        (_, Some(wrong)) if wrong.is_empty() => format!("{known} answers are those that are known"),
        (_, Some(wrong)) => format!("{} of {known} known answers are others", wrong.len()),
    };
    Ok(console.line(format!("golden      {line}"))?)
}

fn as_json(finding: &Finding) -> serde_json::Value {
    let mut json = info::as_json(&finding.about);
    let problem =
        |(what, unsupported): (String, bool)| json!({ "what": what, "unsupported": unsupported });
    json["ok"] = finding.is_ok().into();
    json["problems"] = finding.problems().into_iter().map(problem).collect();
    let unknown = finding.about.operators.iter();
    let unknown = unknown.filter(|(_, entry)| !entry.is_known && !entry.is_function);
    json["unsupported_operators"] = unknown.map(|(name, _)| name.as_str()).collect();
    if let Ok(network) = &finding.loaded {
        json["steps"] = network.step_count().into();
        json["constant_bytes"] = network.weight_bytes().into();
    }
    json["golden"] = finding.golden.known.into();
    let taken = if let Trial::Took(bytes) = finding.trial { Some(bytes) } else { None };
    json["run_bytes"] = taken.into();
    json
}
