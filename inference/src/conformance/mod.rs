//! Folders in the layout of ONNX's test data: `model.onnx` and `test_data_set_*/{input,output}_*.pb`.
//!
//! [`run_folder`] gives the verdict on one. A model that asks for what is not implemented is `unsupported`, never a failure and never
//! a pass.

mod compare;
mod data;

use std::path::{Path, PathBuf};

pub use compare::{Difference, Tolerance};

use crate::device::Device;
use crate::error::{LoadError, RunError};
use crate::limits::Limits;
use crate::network::Network;
use crate::value::Value;

/// What came of a folder.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// All outputs of all data sets are as expected. The worst difference seen.
    Passed(Difference),
    /// An output is another one.
    Wrong {
        /// `data set/output`.
        place: String,
        /// What is different.
        what: String,
        /// How far apart they are, where that can be said.
        difference: Difference,
    },
    /// The model is valid and asks for what is not implemented.
    Unsupported(String),
    /// It could not be loaded or run, or the data could not be read.
    Failed(String),
}

impl Verdict {
    /// `ok`, `wrong`, `unsupported` or `error`.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Passed(_) => "ok",
            Self::Wrong { .. } => "wrong",
            Self::Unsupported(_) => "unsupported",
            Self::Failed(_) => "error",
        }
    }
}

/// Runs every data set of a folder and compares the outputs. A panic of ours is a `Failed` too.
#[must_use]
pub fn run_folder(folder: &Path, tolerance: Tolerance, limits: &Limits) -> Verdict {
    run_folder_on(folder, tolerance, limits, &Device::cpu())
}

/// As [`run_folder`], on a device.
#[must_use]
pub fn run_folder_on(
    folder: &Path,
    tolerance: Tolerance,
    limits: &Limits,
    device: &Device,
) -> Verdict {
    let run = std::panic::AssertUnwindSafe(|| try_folder(folder, tolerance, limits, device));
    match std::panic::catch_unwind(run) {
        Ok(Ok(verdict) | Err(verdict)) => verdict,
        Err(_) => Verdict::Failed("panicked while loading".to_owned()),
    }
}

fn try_folder(
    folder: &Path,
    tolerance: Tolerance,
    limits: &Limits,
    device: &Device,
) -> Result<Verdict, Verdict> {
    let model = folder.join("model.onnx");
    let network = Network::open_on(&model, limits, device).map_err(of_load)?;
    let failed = |what: data::DataError| Verdict::Failed(what.to_string());
    let sets =
        data_sets(folder).map_err(|e| Verdict::Failed(format!("{}: {e}", folder.display())))?;
    if sets.is_empty() {
        return Err(Verdict::Failed("there is no test_data_set_* folder".to_owned()));
    }
    let exactness = exactness_of(&network);
    let mut worst = Difference::default();
    for set in sets {
        let inputs = data::read_values(&set, "input", network.inputs()).map_err(failed)?;
        let expected = data::read_values(&set, "output", network.outputs()).map_err(failed)?;
        let outputs = network.run(inputs).map_err(of_run)?;
        let set_name = set.file_name().unwrap_or_default().to_string_lossy().into_owned();
        for ((port, output), expected) in network.outputs().iter().zip(&outputs).zip(&expected) {
            let place = || format!("{set_name}/{}", port.name);
            match compare::values(output, expected, (exactness, tolerance)) {
                Ok(difference) => worst = worst.or(difference),
                Err((what, difference)) => {
                    return Ok(Verdict::Wrong { place: place(), what, difference });
                }
            }
        }
        if outputs.len() != expected.len() {
            let what = format!("{} outputs, expected {}", outputs.len(), expected.len());
            return Ok(Verdict::Wrong { place: set_name, what, difference: Difference::default() });
        }
    }
    Ok(Verdict::Passed(worst))
}

/// Operators whose outputs are drawn at random.
const RANDOM: [&str; 6] = [
    "Bernoulli",
    "Multinomial",
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
];

fn exactness_of(network: &Network) -> compare::Exactness {
    let operators = network.operators();
    if RANDOM.iter().any(|random| operators.contains_key(*random)) {
        compare::Exactness::Form
    } else if operators.contains_key("ImageDecoder") {
        compare::Exactness::Pixels
    } else {
        compare::Exactness::Elements
    }
}

fn data_sets(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut sets = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("test_data_set_") && path.is_dir() {
            sets.push(path);
        }
    }
    sets.sort();
    Ok(sets)
}

fn of_load(error: LoadError) -> Verdict {
    let text = error.to_string();
    if error.is_unsupported() { Verdict::Unsupported(text) } else { Verdict::Failed(text) }
}

fn of_run(error: RunError) -> Verdict {
    let text = error.to_string();
    if error.is_unsupported() { Verdict::Unsupported(text) } else { Verdict::Failed(text) }
}

/// Reads a tensor of a `.pb` file.
///
/// # Errors
/// What is wrong with it, as text.
pub fn read_tensor_file(path: &Path) -> Result<Value, String> {
    data::read_tensor_file(path).map_err(|error| error.to_string())
}
