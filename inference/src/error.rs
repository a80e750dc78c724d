//! What can be wrong with a model file, and what can go wrong when a model runs.

use std::fmt;
use std::path::PathBuf;

use crate::byte_count::ByteCount;
use crate::dtype::DType;

/// Why an operator did not run. It says nothing of which node it was; [`RunError`] does.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpError {
    /// An operand has an element type that the operator does not take.
    #[error("expected {expected}, found {found}")]
    Type {
        /// What it takes.
        expected: &'static str,
        /// What it got.
        found: DType,
    },
    /// An operand is no tensor where one is wanted, and so on.
    #[error("expected {expected}, found {found}")]
    Kind {
        /// What it takes.
        expected: &'static str,
        /// What it got.
        found: &'static str,
    },
    /// Shapes or sizes that do not go together, an index or axis that is out of range.
    #[error("{0}")]
    Shape(String),
    /// An operand that is not optional was left out.
    #[error("input {0} is missing")]
    Missing(usize),
    /// Valid ONNX that is not implemented here.
    #[error("not supported: {0}")]
    Unsupported(String),
    /// More memory would be needed than a run may use.
    #[error("needs {}, the limit for a run is {}", ByteCount(*.needed_bytes), ByteCount(*.limit_bytes))]
    Memory {
        /// Bytes that were asked for; saturated.
        needed_bytes: u64,
        /// `Limits::run_bytes_max` for one tensor, `Limits::live_bytes_max` for all together.
        limit_bytes: u64,
    },
    /// The device failed: its memory is full, or it is gone. The same run may succeed later.
    #[error("the device failed: {what}")]
    Device {
        /// What its driver said.
        what: String,
    },
    /// A node of a subgraph failed.
    #[error(transparent)]
    Inner(Box<RunError>),
}

impl OpError {
    pub(crate) fn shape(what: impl Into<String>) -> Self {
        Self::Shape(what.into())
    }

    pub(crate) fn unsupported(what: impl Into<String>) -> Self {
        Self::Unsupported(what.into())
    }

    /// `report`: a driver's, whose lines say everything that came of the failure before the failure itself.
    pub(crate) fn device(report: &str) -> Self {
        let says_something = |line: &&str| {
            let beginnings = ["skipped ", "Caused by", "No backtrace", "Asked at"];
            !line.is_empty() && !beginnings.iter().any(|beginning| line.starts_with(beginning))
        };
        let lines: Vec<&str> = report.lines().map(str::trim).filter(says_something).collect();
        let what = if lines.is_empty() { report.to_owned() } else { lines.join(": ") };
        Self::Device { what }
    }
}

/// Why a run of a graph failed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// An operator failed.
    #[error("{op} ({node}): {source}")]
    Op {
        /// The operator's name.
        op: String,
        /// The node's name, or that of its first output.
        node: String,
        /// What went wrong.
        source: OpError,
    },
    /// An operator panicked. Nothing of the run is left; the graph can be run again.
    #[error("{op} ({node}) panicked: {message}")]
    Panicked {
        /// The operator's name.
        op: String,
        /// The node's name, or that of its first output.
        node: String,
        /// What the panic said.
        message: String,
    },
    /// Nobody waits for it any more: see [`Cancel`](crate::Cancel).
    #[error("the run was given up before its end")]
    Cancelled,
    /// The graph was called with another number of inputs than it has.
    #[error("the graph has {expected} inputs, {found} were given")]
    Inputs {
        /// Inputs of the graph.
        expected: usize,
        /// Inputs that were given.
        found: usize,
    },
    /// An input is of another kind, type or shape than the graph says.
    #[error("input {name:?}: {source}")]
    Input {
        /// The input's name.
        name: String,
        /// What is wrong with it.
        source: OpError,
    },
}

impl RunError {
    /// Whether the same run may succeed later. A panic may have come of the inputs, or of the process.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Panicked { .. }
            | Self::Cancelled
            | Self::Op { source: OpError::Device { .. }, .. } => true,
            Self::Op { source: OpError::Inner(inner), .. } => inner.is_retryable(),
            _ => false,
        }
    }

    /// Whether nobody waited for the run any more.
    #[must_use]
    pub const fn is_cancelled(&self) -> bool {
        match self {
            Self::Cancelled => true,
            Self::Op { source: OpError::Inner(inner), .. } => inner.is_cancelled(),
            _ => false,
        }
    }

    /// Whether the graph asked for something that is valid but not implemented.
    #[must_use]
    pub const fn is_unsupported(&self) -> bool {
        match self {
            Self::Op { source: OpError::Unsupported(_), .. } => true,
            Self::Op { source: OpError::Inner(inner), .. } => inner.is_unsupported(),
            _ => false,
        }
    }
}

/// One thing that is wrong with a model.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Problem {
    /// No operator of that name is implemented.
    UnsupportedOperator {
        /// Domain and name, `ai.onnx.ml.TreeEnsemble` say; the default domain is left out.
        op: String,
        /// The version of its operator set.
        version: i64,
        /// The node's name, or that of its first output.
        node: String,
    },
    /// The operator is implemented, what this node wants of it is not.
    UnsupportedUse {
        /// The operator's name.
        op: String,
        /// The node's name, or that of its first output.
        node: String,
        /// What is not implemented.
        what: String,
    },
    /// An operator set that is newer than those known here.
    UnsupportedVersion {
        /// Empty for the default domain.
        domain: String,
        /// What the model asks for.
        version: i64,
        /// The newest that is known.
        newest: i64,
    },
    /// An input or output has an element type that nothing here computes with.
    UnsupportedType {
        /// The value's name.
        value: String,
        /// The type: `complex64`, say.
        found: String,
    },
    /// The node contradicts the specification.
    InvalidNode {
        /// The operator's name.
        op: String,
        /// The node's name, or that of its first output.
        node: String,
        /// What is wrong.
        what: String,
    },
    /// The graph as such is wrong: a cycle, a value that nobody makes, two of one name.
    InvalidGraph {
        /// What is wrong.
        what: String,
    },
    /// An initializer or a tensor attribute is wrong: its type, its length, where its data lies.
    InvalidTensor {
        /// Its name.
        tensor: String,
        /// What is wrong.
        what: String,
    },
    /// The model is larger than it may be.
    Limit {
        /// What is too large.
        what: String,
    },
}

impl Problem {
    /// Whether the model is valid and only asks for what is not implemented.
    #[must_use]
    pub const fn is_unsupported(&self) -> bool {
        matches!(
            self,
            Self::UnsupportedOperator { .. }
                | Self::UnsupportedUse { .. }
                | Self::UnsupportedVersion { .. }
                | Self::UnsupportedType { .. }
        )
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnsupportedOperator { op, version, node } => {
                write!(f, "operator {op} (opset {version}) of node {node:?} is not supported")
            }
            Self::UnsupportedUse { op, node, what } => {
                write!(f, "{op} of node {node:?}: not supported: {what}")
            }
            Self::UnsupportedVersion { domain, version, newest } => {
                let of = if domain.is_empty() { String::new() } else { format!(" of {domain}") };
                write!(
                    f,
                    "operator set {version}{of} is newer than {newest}, the newest that is known here; export the model for {newest} or below"
                )
            }
            Self::UnsupportedType { value, found } => {
                write!(f, "value {value:?}: elements of type {found} are not supported")
            }
            Self::InvalidNode { op, node, what } => write!(f, "{op} of node {node:?}: {what}"),
            Self::InvalidGraph { what } | Self::Limit { what } => f.write_str(what),
            Self::InvalidTensor { tensor, what } => write!(f, "tensor {tensor:?}: {what}"),
        }
    }
}

/// Why a model was not loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The file could not be read.
    #[error("cannot read {}: {source}", file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is no ONNX file.
    #[error("{} is no ONNX model: {what}", file.display())]
    NotOnnx {
        /// The file.
        file: PathBuf,
        /// What the decoder said.
        what: String,
    },
    /// The device that the model shall run on is not there.
    #[error(transparent)]
    Device(#[from] crate::device::DeviceError),
    /// The model has problems: all of them.
    #[error("{}", list(.0))]
    Problems(Vec<Problem>),
}

impl LoadError {
    /// Whether the model is valid and only asks for what is not implemented.
    #[must_use]
    pub fn is_unsupported(&self) -> bool {
        match self {
            Self::Problems(problems) => problems.iter().all(Problem::is_unsupported),
            _ => false,
        }
    }
}

/// Problems of one model that are collected; nobody reads more.
pub(crate) const PROBLEMS_MAX: usize = 10_000;

/// Bytes of a problem's text in a message; names in a file can have any length.
const TEXT_BYTES_MAX: usize = 1000;

/// Problems shown in one message; whoever wants them all has them as a list.
const PROBLEMS_SHOWN: usize = 20;

fn list(problems: &[Problem]) -> String {
    let text_of = |problem: &Problem| {
        let mut text = problem.to_string();
        if text.len() > TEXT_BYTES_MAX {
            text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
            text.push('…');
        }
        text
    };
    let mut text = match problems {
        [one] => return text_of(one),
        many => format!("{} problems", many.len()),
    };
    for problem in problems.iter().take(PROBLEMS_SHOWN) {
        text.push_str("; ");
        text.push_str(&text_of(problem));
    }
    if problems.len() > PROBLEMS_SHOWN {
        text.push_str("; and so on");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_of_a_device_is_cut_down_to_what_happened() {
        let report = "Several failures at once\nCaused by:\n  The bytes were never written\n  skipped `Kernel`: no memory\nCaused by:\n  can't allocate buffer of size: 150994944\nNo backtrace available\nAsked at:\nNo backtrace available";
        let error = RunError::Op {
            op: "Softmax".to_owned(),
            node: "n21".to_owned(),
            source: OpError::device(report),
        };
        assert_eq!(
            error.to_string(),
            "Softmax (n21): the device failed: Several failures at once: The bytes were never written: can't allocate buffer of size: 150994944"
        );
        assert!(error.is_retryable() && !error.is_unsupported());
    }
}
