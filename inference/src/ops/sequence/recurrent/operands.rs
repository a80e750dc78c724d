//! The operands of a recurrent layer, checked against each other.

use super::Recurrent;
use crate::error::OpError;
use crate::ops::Inputs;
use crate::ops::sequence::product::Real;
use crate::run::Context;
use crate::tensor::Tensor;

/// Sizes of a layer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub(super) steps: usize,
    pub(super) batch: usize,
    pub(super) input: usize,
    pub(super) hidden: usize,
}

/// The operands. Slices are empty where an operand was left out.
#[derive(Debug)]
pub(super) struct Operands<'a, T> {
    pub(super) sizes: Sizes,
    pub(super) x: &'a [T],
    pub(super) weights: &'a [T],
    pub(super) recurrence: &'a [T],
    pub(super) bias: &'a [T],
    pub(super) initial_hidden: &'a [T],
    pub(super) initial_cell: &'a [T],
    pub(super) peepholes: &'a [T],
    /// Steps of each sequence of the batch.
    pub(super) lengths: Vec<usize>,
}

/// An operand that must have a shape, if it is there.
fn shaped<'a, T: Real>(
    tensor: Option<&'a Tensor>,
    name: &str,
    shape: &[usize],
) -> Result<&'a [T], OpError> {
    let Some(tensor) = tensor else { return Ok(&[]) };
    if tensor.shape() != shape {
        return Err(OpError::shape(format!(
            "{name} is {:?}, it should be {shape:?}",
            tensor.shape()
        )));
    }
    tensor.as_slice()
}

impl Recurrent {
    pub(super) fn operands<'a, T: Real>(
        &self,
        inputs: &'a Inputs,
        context: &Context<'_>,
    ) -> Result<Operands<'a, T>, OpError> {
        let x = inputs.tensor(0)?;
        let (steps, batch, input) = match (x.shape(), self.batch_first) {
            ([batch, steps, input], true) | ([steps, batch, input], false) => {
                (*steps, *batch, *input)
            }
            (other, _) => {
                return Err(OpError::shape(format!("X is {other:?}, it should have 3 axes")));
            }
        };
        let recurrence = inputs.tensor(2)?;
        let Some(hidden) = recurrence.shape().get(2).copied() else {
            return Err(OpError::shape(format!("R is {:?}", recurrence.shape())));
        };
        if self.hidden.is_some_and(|declared| declared != hidden) {
            return Err(OpError::shape(format!(
                "hidden_size is {:?}, the weights are for {hidden}",
                self.hidden
            )));
        }
        let directions = self.directions.len();
        let rows = hidden
            .checked_mul(self.cell.gates())
            .filter(|rows| *rows < usize::MAX / 4)
            .ok_or_else(|| OpError::shape(format!("a hidden size of {hidden}")))?;
        let state = if self.batch_first {
            [batch, directions, hidden]
        } else {
            [directions, batch, hidden]
        };
        // There may be many sequences of nothing.
        context.claim(&[batch], size_of::<usize>())?;
        let lengths = match inputs.optional(4)? {
            None => vec![steps; batch],
            Some(lengths) => lengths_of(lengths, steps, batch)?,
        };
        // Only an LSTM has cells and peepholes.
        let of_cell =
            |at: usize| if self.cell.has_state() { inputs.optional(at) } else { Ok(None) };
        Ok(Operands {
            sizes: Sizes { steps, batch, input, hidden },
            x: x.as_slice()?,
            weights: shaped(Some(inputs.tensor(1)?), "W", &[directions, rows, input])?,
            recurrence: shaped(Some(recurrence), "R", &[directions, rows, hidden])?,
            bias: shaped(inputs.optional(3)?, "B", &[directions, 2 * rows])?,
            initial_hidden: shaped(inputs.optional(5)?, "initial_h", &state)?,
            initial_cell: shaped(of_cell(6)?, "initial_c", &state)?,
            peepholes: shaped(of_cell(7)?, "P", &[directions, 3 * hidden])?,
            lengths,
        })
    }
}

fn lengths_of(tensor: &Tensor, steps: usize, batch: usize) -> Result<Vec<usize>, OpError> {
    let lengths = tensor.to_i64s()?;
    if lengths.len() != batch {
        return Err(OpError::shape(format!(
            "sequence_lens has {} lengths for a batch of {batch}",
            lengths.len()
        )));
    }
    let within = |length: i64| {
        usize::try_from(length).ok().filter(|length| *length <= steps).ok_or_else(|| {
            OpError::shape(format!("a sequence has the length {length}, there are {steps} steps"))
        })
    };
    lengths.into_iter().map(within).collect()
}
