//! `embermq model info`: what a file says of itself. Nothing is loaded, so it works for models that cannot be run too.

use std::path::PathBuf;

use clap::Args;
use embermq_inference::{ByteCount, Description, Limits};
use serde_json::json;

use super::{
    Console, Failure, Global, manifest, model_file, not_loaded, one_line, port_json, port_line,
};
use crate::cli::Output;

#[derive(Debug, Args)]
pub(crate) struct Info {
    /// A model file, or a folder with a `model.onnx`
    model: PathBuf,
}

impl Info {
    pub(super) fn run(self, global: &Global, console: &mut Console) -> Result<(), Failure> {
        let path = model_file(&self.model);
        let about = Description::read(&path, &Limits::default());
        let about = about.map_err(|error| not_loaded(&error))?;
        let manifest = manifest::read(&self.model, &about.metadata);
        if global.output == Output::Json {
            let mut json = as_json(&about);
            if let Ok(Some(manifest)) = &manifest {
                json["manifest"] = json!(manifest);
            }
            return Ok(console.json(&json)?);
        }
        let mut field = |name: &str, text: &str| {
            if text.is_empty() {
                return Ok(());
            }
            console.line(format!("{name:<10}  {}", one_line(text)))
        };
        field("file", &format!("{}, {}", path.display(), ByteCount(about.file_bytes)))?;
        field("graph", &about.graph)?;
        field("made by", format!("{} {}", about.producer.0, about.producer.1).trim())?;
        field("version", &about.model_version.to_string())?;
        let opsets: Vec<String> = about.opsets.iter().map(opset).collect();
        field("format", &format!("IR version {}, opsets {}", about.ir_version, opsets.join(", ")))?;
        let nodes: usize = about.operators.values().map(|entry| entry.nodes).sum();
        let kinds = about.operators.len();
        field("operators", &format!("{nodes} nodes of {kinds} kinds"))?;
        let weights = ByteCount(about.weight_bytes);
        field("weights", &format!("{} tensors, {weights}", about.weights))?;
        field("says", &about.doc)?;
        match &manifest {
            Ok(None) => {}
            Ok(Some(manifest)) => {
                console.line("model.toml")?;
                for (title, text) in manifest::lines(manifest) {
                    console.line(format!("  {title:<10}{text}"))?;
                }
            }
            Err(what) => {
                console.line(format!("model.toml  it cannot be read: {}", one_line(what)))?;
            }
        }
        for (title, ports) in [("inputs", &about.inputs), ("outputs", &about.outputs)] {
            console.line(title)?;
            for port in ports {
                console.line(format!("  {}", port_line(port)))?;
            }
        }
        if about.metadata.iter().any(|(key, _)| key != "model.toml") {
            console.line("metadata")?;
        }
        for (key, value) in about.metadata.iter().filter(|(key, _)| key != "model.toml") {
            console.line(one_line(&format!("  {key:<24} {value}")))?;
        }
        Ok(())
    }
}

fn opset((domain, version): (&String, &i64)) -> String {
    if domain.is_empty() { version.to_string() } else { format!("{domain} {version}") }
}

/// Also what `check` and `test` print of a model for programs.
pub(super) fn as_json(about: &Description) -> serde_json::Value {
    let operators: serde_json::Map<String, serde_json::Value> =
        about.operators.iter().map(|(name, entry)| (name.clone(), entry.nodes.into())).collect();
    let metadata: serde_json::Map<String, serde_json::Value> =
        about.metadata.iter().map(|(key, value)| (key.clone(), value.clone().into())).collect();
    json!({
        "file_bytes": about.file_bytes,
        "graph": about.graph,
        "producer": about.producer.0,
        "producer_version": about.producer.1,
        "model_version": about.model_version,
        "ir_version": about.ir_version,
        "opsets": about.opsets,
        "operators": operators,
        "weights": about.weights,
        "weight_bytes": about.weight_bytes,
        "doc": about.doc,
        "inputs": about.inputs.iter().map(port_json).collect::<Vec<_>>(),
        "outputs": about.outputs.iter().map(port_json).collect::<Vec<_>>(),
        "metadata": metadata,
    })
}
