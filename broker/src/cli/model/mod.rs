//! `embermq model check | run | test | bench | info`: models in ONNX files, without a broker. `model push | list | alias | delete`: models of one.

mod bench;
mod check;
mod expectations;
mod info;
mod input;
mod job;
mod judged;
mod manifest;
mod packed;
mod payload;
mod profile;
mod registered;
mod run;
mod sizes;
mod test;

use std::path::Path;

use clap::{Args, Subcommand};
use embermq_inference::{Device, LoadError, Network, OpenError, Port};
use manifest::model_file;
use sizes::{Dims, at_least_one, up_to};

use super::{Console, Exit, Failure, Global};

#[derive(Debug, Subcommand)]
pub(super) enum ModelVerb {
    /// Say whether a model can be run here, everything that stands against it, and what it would take
    Check(check::Check),
    /// Run a model on inputs and print the answer
    Run(run::Run),
    /// Run folders of test data in ONNX's layout, and bundles that know answers, and compare
    Test(test::Test),
    /// Measure latency and throughput
    Bench(bench::Bench),
    /// Print what a model file says of itself
    Info(info::Info),
    /// Register a model with a broker: an .onnx file, or a folder with a model.toml
    Push(registered::Push),
    /// List the models of a broker, their versions and aliases
    #[command(visible_alias = "ls")]
    List(registered::List),
    /// Let an alias of a model mean a version; stages that follow it change over
    Alias(registered::AliasTo),
    /// Delete a version that no stage uses and no alias means
    #[command(visible_alias = "rm")]
    Delete(registered::Delete),
}

impl ModelVerb {
    /// Whether `-o raw` means something to it.
    pub(super) const fn writes_raw(&self) -> bool {
        matches!(self, Self::Run(_))
    }

    pub(super) fn run(self, global: &Global, console: &mut Console) -> Result<(), Failure> {
        match self {
            Self::Check(check) => check.run(global, console),
            Self::Run(run) => run.run(global, console),
            Self::Test(test) => test.run(global, console),
            Self::Bench(bench) => bench.run(global, console),
            Self::Info(info) => info.run(global, console),
            Self::Push(push) => push.run(global, console),
            Self::List(list) => list.run(global, console),
            Self::Alias(alias) => alias.run(global, console),
            Self::Delete(delete) => delete.run(global, console),
        }
    }
}

/// Where a model runs.
#[derive(Args, Clone, Debug)]
struct On {
    /// The device: cpu, flex, wgpu, vulkan, metal, cuda or cuda:1, as far as this build has it
    #[arg(long, value_name = "NAME", default_value = "cpu", value_parser = Device::parse)]
    device: Device,
    /// On a device: operators whose operands have at most this many elements, all on the CPU, stay there
    #[arg(long, value_name = "N")]
    host_elements_max: Option<usize>,
}

impl On {
    fn device(&self) -> Device {
        let device = self.device.clone();
        match self.host_elements_max {
            Some(elements) => device.with_host_elements_max(elements),
            None => device,
        }
    }
}

/// A model that does not load is a failed check; a file that is not there cannot be used at all.
fn not_loaded(error: &LoadError) -> Failure {
    let exit = match error {
        LoadError::Io { .. } | LoadError::Device(_) => Exit::Unavailable,
        _ => Exit::Damage,
    };
    Failure::new(exit, one_line(&error.to_string()))
}

/// As [`not_loaded`], for a model with what belongs to it: a line for each problem.
fn not_opened(error: &OpenError) -> Failure {
    match error {
        OpenError::Load(error) => not_loaded(error),
        OpenError::Problems(problems) => {
            let lines: Vec<String> =
                problems.iter().map(|problem| one_line(&problem.to_string())).collect();
            Failure::new(Exit::Damage, lines.join("\n"))
        }
        other => Failure::unavailable(one_line(&other.to_string())),
    }
}

fn open(path: &Path, device: &Device) -> Result<Network, Failure> {
    let limits = embermq_inference::Limits::default();
    Network::open_on(&model_file(path), &limits, device).map_err(|error| not_loaded(&error))
}

/// Text that stems from a file: what could move a terminal's cursor is shown, not done.
fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            line.extend(character.escape_default());
        } else {
            line.push(character);
        }
    }
    line
}

fn port_line(port: &Port) -> String {
    one_line(&format!("{:<24} {}", port.name, port.value_type))
}

fn port_json(port: &Port) -> serde_json::Value {
    serde_json::json!({ "name": port.name, "type": port.value_type.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_from_files_cannot_move_the_cursor() {
        assert_eq!(one_line("a\u{1b}[2J\nb"), "a\\u{1b}[2J\\nb");
        assert_eq!(one_line("Größe"), "Größe");
    }
}
