//! `embermq model check`: can it be run, what stands against it, and what would it take. Exit 1: it cannot.

use std::path::PathBuf;

use clap::Args;
use embermq_inference::{Description, Fill, Limits, LoadError, Network, Problem, Value, made_up};
use serde_json::json;

use super::{
    Console, Dims, Exit, Failure, Global, info, model_file, not_loaded, one_line, port_line,
};
use crate::cli::Output;
use crate::config::show_bytes;

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// A model file, or a folder with a `model.onnx`
    model: PathBuf,
    #[command(flatten)]
    dims: Dims,
    /// Size of first axes that the model leaves open, for the estimate of memory
    #[arg(long, value_name = "N", default_value_t = 1)]
    batch: usize,
    /// Do not run it once with zeros to see how much memory that takes
    #[arg(long)]
    no_run: bool,
}

/// What was found.
struct Finding {
    about: Description,
    loaded: Result<Network, Vec<Problem>>,
    /// Bytes between operators in one run; or why that is not known.
    live_bytes: Result<u64, String>,
}

impl Check {
    pub(super) fn run(self, global: &Global, console: &mut Console) -> Result<(), Failure> {
        let finding = self.find()?;
        if global.output == Output::Json {
            console.json(&as_json(&finding))?;
        } else {
            print(&finding, self.batch, console)?;
        }
        if finding.loaded.is_ok() { Ok(()) } else { Err(Failure::Silent(Exit::Damage)) }
    }

    fn find(&self) -> Result<Finding, Failure> {
        let (path, limits) = (model_file(&self.model), Limits::default());
        let about = Description::read(&path, &limits).map_err(|error| not_loaded(&error))?;
        let loaded = match Network::open(&path, &limits) {
            Ok(network) => Ok(network),
            Err(LoadError::Problems(problems)) => Err(problems),
            Err(other) => return Err(not_loaded(&other)),
        };
        let live_bytes = match &loaded {
            Err(_) => Err("it was not run".to_owned()),
            Ok(_) if self.no_run => Err("it was not run".to_owned()),
            Ok(network) => self.measure(network, &limits),
        };
        Ok(Finding { about, loaded, live_bytes })
    }

    fn measure(&self, network: &Network, limits: &Limits) -> Result<u64, String> {
        let sizes = self.dims.sizes(Some(self.batch));
        let inputs = network.inputs().iter().map(|port| made_up(port, &sizes, Fill::Zeros, limits));
        let inputs = inputs.collect::<Result<Vec<Value>, _>>().map_err(|e| e.to_string())?;
        let (_, bytes) = network.run_measured(inputs).map_err(|error| error.to_string())?;
        Ok(bytes)
    }
}

fn print(finding: &Finding, batch: usize, console: &mut Console) -> Result<(), Failure> {
    let about = &finding.about;
    match &finding.loaded {
        Ok(network) => {
            let steps = network.step_count();
            console.line(format!("verdict     it can be run, in {steps} steps"))?;
        }
        Err(problems) => {
            console.line(format!("verdict     it cannot be run: {}", counted(problems)))?;
            for problem in problems {
                console.line(one_line(&format!("  {problem}")))?;
            }
        }
    }
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
    let weights = show_bytes(about.weight_bytes);
    console.line(format!("weights     {} tensors, {weights}", about.weights))?;
    let Ok(network) = &finding.loaded else { return Ok(()) };
    let kept = network.weight_bytes() as u64;
    match &finding.live_bytes {
        Ok(live) => {
            let (total, kept, live) =
                (show_bytes(kept.saturating_add(*live)), show_bytes(kept), show_bytes(*live));
            console.line(format!(
                "memory      about {total}: {kept} of weights and constants, and {live} for each run of batch {batch}"
            ))?;
        }
        Err(why) => {
            let (kept, why) = (show_bytes(kept), one_line(why));
            console.line(format!(
                "memory      {kept} of weights and constants; what a run takes is not known: {why}"
            ))?;
        }
    }
    Ok(())
}

fn counted(problems: &[Problem]) -> String {
    match problems.len() {
        1 => "1 problem".to_owned(),
        many => format!("{many} problems"),
    }
}

fn as_json(finding: &Finding) -> serde_json::Value {
    let mut json = info::as_json(&finding.about);
    let problems = finding.loaded.as_ref().err();
    let problem = |problem: &Problem| json!({ "what": problem.to_string(), "unsupported": problem.is_unsupported() });
    json["ok"] = problems.is_none().into();
    json["problems"] = problems.into_iter().flatten().map(problem).collect();
    let unknown = finding.about.operators.iter();
    let unknown = unknown.filter(|(_, entry)| !entry.is_known && !entry.is_function);
    json["unsupported_operators"] = unknown.map(|(name, _)| name.as_str()).collect();
    if let Ok(network) = &finding.loaded {
        json["steps"] = network.step_count().into();
        json["constant_bytes"] = network.weight_bytes().into();
    }
    json["run_bytes"] = finding.live_bytes.as_ref().ok().copied().into();
    json
}
