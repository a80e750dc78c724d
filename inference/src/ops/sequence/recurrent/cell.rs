//! What one step of a recurrent layer does with its gates.

use super::activation::Activation;
use crate::ops::sequence::product::{Real, add_products};

#[derive(Clone, Copy, Debug)]
pub(super) enum Cell {
    Rnn,
    Gru { linear_before_reset: bool },
    Lstm { input_forget: bool },
}

impl Cell {
    pub(super) const fn gates(self) -> usize {
        match self {
            Self::Rnn => 1,
            Self::Gru { .. } => 3,
            Self::Lstm { .. } => 4,
        }
    }

    /// Whether it has a state besides its output.
    pub(super) const fn has_state(self) -> bool {
        matches!(self, Self::Lstm { .. })
    }

    /// The activations of one direction unless the file names others.
    pub(super) const fn activations(self) -> &'static [Activation] {
        match self {
            Self::Rnn => &[Activation::Tanh],
            Self::Gru { .. } => &[Activation::Sigmoid, Activation::Tanh],
            Self::Lstm { .. } => &[Activation::Sigmoid, Activation::Tanh, Activation::Tanh],
        }
    }
}

/// The weights of one direction as its steps use them.
#[derive(Debug)]
pub(super) struct Step<'a, T> {
    pub(super) cell: Cell,
    pub(super) hidden: usize,
    pub(super) activations: &'a [Activation],
    pub(super) clip: Option<f32>,
    pub(super) recurrence: &'a [T],
    /// The bias that is added before the reset gate is applied: for a GRU that is linear before reset, and empty otherwise.
    pub(super) reset_bias: &'a [T],
    pub(super) peepholes: &'a [T],
    /// Working memory: a row of hidden size for each sequence.
    pub(super) scratch: Vec<T>,
}

impl<T: Real> Step<'_, T> {
    /// One step. `gates` has what comes from the input; rows of `hidden` and `state` are replaced.
    pub(super) fn run(&mut self, gates: &mut [T], hidden: &mut [T], state: &mut [T]) {
        match self.cell {
            Cell::Rnn => {
                add_products(hidden, self.recurrence, self.hidden, gates);
                self.activate(0, gates);
                hidden.copy_from_slice(gates);
            }
            Cell::Gru { linear_before_reset } => self.gru(gates, hidden, linear_before_reset),
            Cell::Lstm { input_forget } => self.lstm(gates, hidden, state, input_forget),
        }
    }

    fn activate(&self, which: usize, elements: &mut [T]) {
        if let Some(activation) = self.activations.get(which) {
            activation.apply(elements, self.clip);
        }
    }

    fn gru(&mut self, gates: &mut [T], hidden: &mut [T], linear_before_reset: bool) {
        let size = self.hidden;
        let (for_gates, for_new) = self.recurrence.split_at(2 * size * size);
        let mut scratch = std::mem::take(&mut self.scratch);
        for (gates, hidden) in gates.chunks_exact_mut(3 * size).zip(hidden.chunks_exact(size)) {
            add_products(hidden, for_gates, size, &mut gates[..2 * size]);
            self.activate(0, &mut gates[..2 * size]);
        }
        let rows = gates.chunks_exact(3 * size).zip(hidden.chunks_exact(size));
        if linear_before_reset {
            for scratch in scratch.chunks_exact_mut(size) {
                scratch.copy_from_slice(self.reset_bias);
            }
            add_products(hidden, for_new, size, &mut scratch);
        } else {
            for ((gates, hidden), scratch) in rows.zip(scratch.chunks_exact_mut(size)) {
                let reset = &gates[size..2 * size];
                for ((out, reset), hidden) in scratch.iter_mut().zip(reset).zip(hidden) {
                    *out = *reset * *hidden;
                }
            }
        }
        let rows = gates.chunks_exact_mut(3 * size).zip(hidden.chunks_exact_mut(size));
        for ((gates, hidden), scratch) in rows.zip(scratch.chunks_exact(size)) {
            let (update_reset, new) = gates.split_at_mut(2 * size);
            let (update, reset) = update_reset.split_at(size);
            if linear_before_reset {
                for ((new, reset), linear) in new.iter_mut().zip(reset).zip(scratch) {
                    *new = *new + *reset * *linear;
                }
            } else {
                add_products(scratch, for_new, size, new);
            }
            self.activate(1, new);
            for ((hidden, update), new) in hidden.iter_mut().zip(update).zip(&*new) {
                *hidden = (T::ONE - *update) * *new + *update * *hidden;
            }
        }
        self.scratch = scratch;
    }

    fn lstm(&mut self, gates: &mut [T], hidden: &mut [T], state: &mut [T], input_forget: bool) {
        let size = self.hidden;
        add_products(hidden, self.recurrence, size, gates);
        let rows = gates.chunks_exact_mut(4 * size).zip(hidden.chunks_exact_mut(size));
        for ((gates, hidden), state) in rows.zip(state.chunks_exact_mut(size)) {
            // The gates lie as input, output, forget, cell; the peepholes as input, output, forget.
            let (input, rest) = gates.split_at_mut(size);
            let (output, rest) = rest.split_at_mut(size);
            let (forget, new) = rest.split_at_mut(size);
            let peephole = |which: usize| self.peepholes.get(which * size..(which + 1) * size);
            peep(input, peephole(0), state);
            self.activate(0, input);
            if input_forget {
                for (forget, input) in forget.iter_mut().zip(&*input) {
                    *forget = T::ONE - *input;
                }
            } else {
                peep(forget, peephole(2), state);
                self.activate(0, forget);
            }
            self.activate(1, new);
            for (((state, forget), input), new) in
                state.iter_mut().zip(&*forget).zip(&*input).zip(&*new)
            {
                *state = *forget * *state + *input * *new;
            }
            peep(output, peephole(1), state);
            self.activate(0, output);
            hidden.copy_from_slice(state);
            if let Some(activation) = self.activations.get(2) {
                activation.apply(hidden, None);
            }
            for (hidden, output) in hidden.iter_mut().zip(&*output) {
                *hidden = *hidden * *output;
            }
        }
    }
}

fn peep<T: Real>(gate: &mut [T], weights: Option<&[T]>, state: &[T]) {
    let Some(weights) = weights else { return };
    for ((gate, weight), state) in gate.iter_mut().zip(weights).zip(state) {
        *gate = *gate + *weight * *state;
    }
}
