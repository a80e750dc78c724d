//! A whole recurrent layer: what comes from the input is computed for all steps at once, then the steps run.

use super::cell::{Cell, Step};
use super::operands::Operands;
use super::{Direction, Recurrent};
use crate::error::OpError;
use crate::ops::Inputs;
use crate::ops::sequence::product::{Real, add_products};
use crate::run::Context;
use crate::tensor::Tensor;
use crate::value::Value;

/// The outputs while they are filled.
#[derive(Debug)]
struct Outputs<T> {
    /// Empty when nobody wants it.
    steps: Vec<T>,
    hidden: Vec<T>,
    state: Vec<T>,
}

impl Recurrent {
    pub(super) fn compute<T: Real>(
        &self,
        inputs: &Inputs,
        context: &Context<'_>,
    ) -> Result<Vec<Value>, OpError> {
        let operands = self.operands::<T>(inputs, context)?;
        let sizes = operands.sizes;
        let directions = self.directions.len();
        let (all, last) = if self.batch_first {
            (
                vec![sizes.batch, sizes.steps, directions, sizes.hidden],
                vec![sizes.batch, directions, sizes.hidden],
            )
        } else {
            (
                vec![sizes.steps, directions, sizes.batch, sizes.hidden],
                vec![directions, sizes.batch, sizes.hidden],
            )
        };
        let of_steps = context.claim(&all, size_of::<T>())?;
        let of_last = context.claim(&last, size_of::<T>())?;
        let gates = [sizes.steps, sizes.batch, self.cell.gates(), sizes.hidden];
        context.claim(&gates, size_of::<T>())?;
        context.claim(&[sizes.steps, sizes.batch, sizes.input], size_of::<T>())?;
        let mut outputs = Outputs {
            steps: vec![T::ZERO; if self.wants_steps { of_steps } else { 0 }],
            hidden: vec![T::ZERO; of_last],
            state: vec![T::ZERO; if self.cell.has_state() { of_last } else { 0 }],
        };
        if of_last > 0 {
            for (number, direction) in self.directions.iter().enumerate() {
                self.direction(number, direction, &operands, &mut outputs);
            }
        }
        if !self.wants_steps {
            // Nobody reads it; an empty tensor stands in its place.
            outputs.steps = Vec::new();
        }
        let steps_shape = if self.wants_steps { all } else { vec![0] };
        let mut values = vec![
            Tensor::new(steps_shape, outputs.steps).into(),
            Tensor::new(last.clone(), outputs.hidden).into(),
        ];
        if self.cell.has_state() {
            values.push(Tensor::new(last, outputs.state).into());
        }
        Ok(values)
    }

    fn direction<T: Real>(
        &self,
        number: usize,
        direction: &Direction,
        operands: &Operands<'_, T>,
        outputs: &mut Outputs<T>,
    ) {
        let sizes = operands.sizes;
        let rows = self.cell.gates() * sizes.hidden;
        let bias = part(operands.bias, number, 2 * rows);
        let mut gates = self.gates_of_input(number, direction, operands);
        let keeps_reset_bias = matches!(self.cell, Cell::Gru { linear_before_reset: true });
        let zeros = vec![T::ZERO; sizes.hidden];
        let reset_bias = match bias.get(rows + 2 * sizes.hidden..) {
            Some(reset_bias) if keeps_reset_bias && !bias.is_empty() => reset_bias,
            _ => zeros.as_slice(),
        };
        let mut step = Step {
            cell: self.cell,
            hidden: sizes.hidden,
            activations: &direction.activations,
            clip: self.clip,
            recurrence: part(operands.recurrence, number, rows * sizes.hidden),
            reset_bias,
            peepholes: part(operands.peepholes, number, 3 * sizes.hidden),
            scratch: vec![T::ZERO; sizes.batch * sizes.hidden],
        };
        let mut hidden = self.initial(operands.initial_hidden, number, operands);
        let mut state = self.initial(operands.initial_cell, number, operands);
        let per_step = sizes.batch * rows;
        for (at, gates) in gates.chunks_exact_mut(per_step).enumerate() {
            step.run(gates, &mut hidden, &mut state);
            for (sequence, length) in operands.lengths.iter().enumerate() {
                if at >= *length {
                    continue;
                }
                let place = if direction.reverse { length - 1 - at } else { at };
                let row = sequence * sizes.hidden..(sequence + 1) * sizes.hidden;
                if self.wants_steps {
                    let to = self.step_place(place, number, sequence, operands) * sizes.hidden;
                    outputs.steps[to..to + sizes.hidden].copy_from_slice(&hidden[row.clone()]);
                }
                if at + 1 == *length {
                    let to = self.last_place(number, sequence, operands) * sizes.hidden;
                    outputs.hidden[to..to + sizes.hidden].copy_from_slice(&hidden[row.clone()]);
                    if self.cell.has_state() {
                        outputs.state[to..to + sizes.hidden].copy_from_slice(&state[row]);
                    }
                }
            }
        }
    }

    /// What the input gives to the gates of every step, in the order in which the steps run, biases included.
    fn gates_of_input<T: Real>(
        &self,
        number: usize,
        direction: &Direction,
        operands: &Operands<'_, T>,
    ) -> Vec<T> {
        let sizes = operands.sizes;
        let rows = self.cell.gates() * sizes.hidden;
        let bias = part(operands.bias, number, 2 * rows);
        let (of_input, of_hidden) = bias.split_at(bias.len() / 2);
        let linear = matches!(self.cell, Cell::Gru { linear_before_reset: true });
        let total: Vec<T> = of_input
            .iter()
            .zip(of_hidden)
            .enumerate()
            .map(|(at, (a, b))| if linear && at >= 2 * sizes.hidden { *a } else { *a + *b })
            .collect();
        let mut gates = vec![T::ZERO; sizes.steps * sizes.batch * rows];
        if !total.is_empty() {
            gates.chunks_exact_mut(rows).for_each(|row| row.copy_from_slice(&total));
        }
        let weights = part(operands.weights, number, rows * sizes.input);
        if direction.reverse || self.batch_first {
            let mut ordered = vec![T::ZERO; operands.x.len()];
            let mut row = 0;
            for at in 0..sizes.steps {
                for (sequence, length) in operands.lengths.iter().enumerate() {
                    // Behind its end a sequence may run on anything: it goes nowhere.
                    let step = if direction.reverse && at < *length { length - 1 - at } else { at };
                    let from = match self.batch_first {
                        true => sequence * sizes.steps + step,
                        false => step * sizes.batch + sequence,
                    } * sizes.input;
                    ordered[row..row + sizes.input]
                        .copy_from_slice(&operands.x[from..from + sizes.input]);
                    row += sizes.input;
                }
            }
            add_products(&ordered, weights, sizes.input, &mut gates);
        } else {
            add_products(operands.x, weights, sizes.input, &mut gates);
        }
        gates
    }

    /// The first state of one direction, sequence by sequence.
    fn initial<T: Real>(&self, tensor: &[T], number: usize, operands: &Operands<'_, T>) -> Vec<T> {
        let sizes = operands.sizes;
        let mut initial = vec![T::ZERO; sizes.batch * sizes.hidden];
        if !tensor.is_empty() {
            for (sequence, row) in initial.chunks_exact_mut(sizes.hidden).enumerate() {
                let from = self.last_place(number, sequence, operands) * sizes.hidden;
                row.copy_from_slice(&tensor[from..from + sizes.hidden]);
            }
        }
        initial
    }

    /// The row of a step's output.
    const fn step_place<T>(
        &self,
        step: usize,
        number: usize,
        sequence: usize,
        operands: &Operands<'_, T>,
    ) -> usize {
        let (directions, sizes) = (self.directions.len(), operands.sizes);
        if self.batch_first {
            (sequence * sizes.steps + step) * directions + number
        } else {
            (step * directions + number) * sizes.batch + sequence
        }
    }

    /// The row of a first or last state.
    const fn last_place<T>(
        &self,
        number: usize,
        sequence: usize,
        operands: &Operands<'_, T>,
    ) -> usize {
        if self.batch_first {
            sequence * self.directions.len() + number
        } else {
            number * operands.sizes.batch + sequence
        }
    }
}

/// What belongs to one direction; empty where the operand was left out.
fn part<T>(elements: &[T], number: usize, length: usize) -> &[T] {
    elements.get(number * length..(number + 1) * length).unwrap_or_default()
}
