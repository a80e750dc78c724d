//! RNN, GRU, LSTM: <https://onnx.ai/onnx/operators/onnx__LSTM.html>
//!
//! Where the specification leaves it open, this does as ONNX Runtime does: `clip` bounds what goes into the gates, not the cell's
//! state before its activation; sequences of length 0 end in zeros.

mod activation;
mod cell;
mod layer;
mod operands;

use activation::Activation;
use cell::Cell;

use super::precision::{is_half, narrowed, widened};
use crate::dtype::for_dtype;
use crate::error::OpError;
use crate::ops::{BuildError, Inputs, NodeSpec, Operator};
use crate::run::Context;
use crate::value::Value;

/// One direction of a layer.
#[derive(Debug)]
struct Direction {
    reverse: bool,
    activations: Vec<Activation>,
}

/// A recurrent layer.
#[derive(Debug)]
struct Recurrent {
    cell: Cell,
    directions: Vec<Direction>,
    clip: Option<f32>,
    hidden: Option<usize>,
    /// The batch is the outermost axis, not the steps.
    batch_first: bool,
    /// Whether the output of every step is wanted.
    wants_steps: bool,
}

pub(super) fn build(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    if spec.version() < 7 && spec.int("output_sequence", 0)? == 0 && spec.wants_output(0) {
        return Err(BuildError::unsupported("outputs of steps without output_sequence"));
    }
    let cell = match spec.op() {
        "RNN" => Cell::Rnn,
        "GRU" => Cell::Gru { linear_before_reset: spec.flag("linear_before_reset", false)? },
        _ => Cell::Lstm { input_forget: spec.flag("input_forget", false)? },
    };
    let reverses: &[bool] = match spec.text("direction", "forward")?.to_ascii_lowercase().as_str() {
        "forward" => &[false],
        "reverse" => &[true],
        "bidirectional" => &[false, true],
        other => return Err(BuildError::invalid(format!("direction is {other:?}"))),
    };
    let activations = activation::read(spec, cell, reverses.len())?;
    let directions = reverses
        .iter()
        .zip(activations)
        .map(|(reverse, activations)| Direction { reverse: *reverse, activations })
        .collect();
    let clip = spec.float_opt("clip")?.filter(|clip| *clip != 0.0);
    if clip.is_some_and(|clip| !clip.is_finite() || clip < 0.0) {
        return Err(BuildError::invalid(format!("clip is {clip:?}, it should be positive")));
    }
    let hidden = spec
        .int_opt("hidden_size")?
        .map(|size| {
            usize::try_from(size).map_err(|_| BuildError::invalid(format!("hidden_size is {size}")))
        })
        .transpose()?;
    let batch_first = match spec.int("layout", 0)? {
        0 => false,
        1 => true,
        other => return Err(BuildError::invalid(format!("layout is {other}, it is 0 or 1"))),
    };
    let wants_steps = spec.wants_output(0);
    Ok(Box::new(Recurrent { cell, directions, clip, hidden, batch_first, wants_steps }))
}

impl Operator for Recurrent {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let dtype = inputs.tensor(0)?.dtype();
        for_dtype!(dtype, T in [f32, f64], {
            self.compute::<T>(&inputs, context)
        }, else {
            if is_half(dtype) {
                let outputs = self.compute::<f32>(&widened(&inputs)?, context)?;
                return outputs.into_iter().map(|output| narrowed(output, dtype)).collect();
            }
            Err(OpError::Type { expected: "a float type", found: dtype })
        })
    }
}
