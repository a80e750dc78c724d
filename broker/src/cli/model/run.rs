//! `embermq model run`: inputs in, answer out, and the time that took.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use embermq_inference::{DType, Network, Tensor, Value};
use serde_json::json;

use super::{Console, Dims, Exit, Failure, Global, On, input, one_line, open, payload};
use crate::cli::Output;
use crate::clock::{Clock as _, SystemClock};

/// Elements of an output that are printed for people.
const SHOWN_MAX: usize = 16;

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// A model file, or a folder with a `model.onnx`
    model: PathBuf,
    /// For a bundle (a folder with a `model.toml`) payloads: files, text, or - for standard input. Else a value for each
    /// input, as `NAME=VALUE` or in order: a file (.pb, .npy, .json, or raw elements), JSON itself, or - for standard input
    /// (JSON, .npy, or raw elements)
    #[arg(value_name = "INPUT", allow_negative_numbers = true)]
    inputs: Vec<String>,
    #[command(flatten)]
    dims: Dims,
    #[command(flatten)]
    on: On,
    /// Take tensors for a bundle too, and print tensors
    #[arg(long)]
    tensors: bool,
}

impl Run {
    pub(super) fn run(self, global: &Global, console: &mut Console) -> Result<(), Failure> {
        if payload::is_bundle(&self.model) && !self.tensors {
            if !self.dims.is_empty() {
                let what = "--dim does nothing for a bundle, whose model.toml says the sizes; --tensors takes tensors instead of payloads";
                return Err(Failure::usage(what));
            }
            return payload::answer(&self.model, &self.inputs, &self.on.device(), global, console);
        }
        let clock = SystemClock::default();
        let network = open(&self.model, &self.on.device())?;
        let loaded = clock.elapsed();
        self.dims.check(&network)?;
        let inputs = input::values(&network, &self.inputs, &self.dims.sizes(None))?;
        let began = clock.elapsed();
        let outputs = network.run(inputs);
        let took = clock.elapsed().saturating_sub(began);
        let outputs =
            outputs.map_err(|error| Failure::new(Exit::Damage, one_line(&error.to_string())))?;
        match global.output {
            Output::Json => return Ok(console.json(&as_json(&network, &outputs, took))?),
            Output::Raw => {
                return outputs.iter().try_for_each(|output| raw(output, console));
            }
            Output::Text => {}
        }
        for (port, output) in network.outputs().iter().zip(&outputs) {
            console.line(one_line(&format!("{}  {}", port.name, summary(output))))?;
        }
        console.remark(format!("loaded in {}, run in {}", span(loaded), span(took)));
        Ok(())
    }
}

/// The elements of a tensor, little-endian; of sequences and the like those of all that they hold.
fn raw(value: &Value, console: &mut Console) -> Result<(), Failure> {
    match value {
        Value::Tensor(tensor) if tensor.dtype() == DType::String => {
            Err(Failure::usage("texts have no raw form; -o json prints them"))
        }
        Value::Tensor(tensor) => Ok(console.bytes(tensor.raw())?),
        Value::Sequence(values) => values.iter().try_for_each(|value| raw(value, console)),
        Value::Optional(inner) => inner.iter().try_for_each(|value| raw(value, console)),
        other => {
            let what = format!("a {} has no raw form; -o json prints it", other.kind());
            Err(Failure::usage(what))
        }
    }
}

/// A span that people can compare at a glance.
pub(super) fn span(span: Duration) -> String {
    let seconds = span.as_secs_f64();
    if seconds >= 1.0 {
        format!("{seconds:.2} s")
    } else if seconds >= 1e-3 {
        format!("{:.2} ms", seconds * 1e3)
    } else {
        format!("{:.1} µs", seconds * 1e6)
    }
}

fn summary(value: &Value) -> String {
    match value {
        Value::Tensor(tensor) => tensor_summary(tensor),
        Value::Sequence(values) => {
            let members: Vec<String> = values.iter().take(SHOWN_MAX).map(summary).collect();
            format!("sequence of {}: {}", values.len(), members.join("; "))
        }
        Value::Map(pair) => format!("map {} to {}", tensor_summary(&pair.0), summary(&pair.1)),
        Value::Optional(None) => "nothing".to_owned(),
        Value::Optional(Some(inner)) => summary(inner),
        other => other.kind().to_owned(),
    }
}

fn tensor_summary(tensor: &Tensor) -> String {
    let head = format!("{} {:?}", tensor.dtype(), tensor.shape());
    if tensor.len() <= SHOWN_MAX {
        return format!("{head} {}", tensor.to_json());
    }
    let first: Vec<String> =
        tensor.json_elements(SHOWN_MAX).iter().map(ToString::to_string).collect();
    format!("{head} {} … and {} more", first.join(" "), tensor.len() - SHOWN_MAX)
}

fn as_json(network: &Network, outputs: &[Value], took: Duration) -> serde_json::Value {
    let output =
        |(port, value): (&embermq_inference::Port, &Value)| (port.name.clone(), value_json(value));
    let outputs: serde_json::Map<String, serde_json::Value> =
        network.outputs().iter().zip(outputs).map(output).collect();
    json!({ "outputs": outputs, "seconds": took.as_secs_f64() })
}

fn value_json(value: &Value) -> serde_json::Value {
    match value {
        Value::Tensor(tensor) => json!({
            "type": tensor.dtype().name(),
            "shape": tensor.shape(),
            "data": tensor.to_json(),
        }),
        Value::Sequence(values) => values.iter().map(value_json).collect(),
        Value::Map(pair) => {
            json!({ "keys": pair.0.to_json(), "values": value_json(&pair.1) })
        }
        Value::Optional(Some(inner)) => value_json(inner),
        _ => serde_json::Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_fitting_units() {
        assert_eq!(span(Duration::from_micros(12)), "12.0 µs");
        assert_eq!(span(Duration::from_millis(12)), "12.00 ms");
        assert_eq!(span(Duration::from_secs(12)), "12.00 s");
    }
}
