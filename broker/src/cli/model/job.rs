//! What `bench` runs over and over: a network on inputs of one size, or a bundle on payloads.

use std::time::Duration;

use embermq_inference::{Model, Network, Payload, Value};

use super::bench::failed;
use super::{Failure, one_line};

/// One run after the other.
pub(super) enum Job<'a> {
    /// The network alone.
    Tensors { network: &'a Network, inputs: Vec<Value> },
    /// A bundle with what it does before and behind the network. `batch` of the payloads at a time, in turns.
    Payloads { model: &'a Model, payloads: &'a [Payload], batch: usize },
}

/// What the parts of answering took, over payloads.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Parts {
    pub(super) payloads: u32,
    pub(super) pre: Duration,
    /// A run's time is shared by those that were in it.
    pub(super) compute: Duration,
    pub(super) post: Duration,
}

impl Parts {
    pub(super) fn add(&mut self, other: Self) {
        self.payloads += other.payloads;
        self.pre += other.pre;
        self.compute += other.compute;
        self.post += other.post;
    }

    /// Of one payload, by the mean.
    pub(super) fn mean(self) -> Self {
        let count = self.payloads.max(1);
        let of = |whole: Duration| whole / count;
        Self { payloads: 1, pre: of(self.pre), compute: of(self.compute), post: of(self.post) }
    }
}

impl Job<'_> {
    /// The `turn`th run.
    pub(super) fn run(&self, turn: usize) -> Result<Parts, Failure> {
        match self {
            Self::Tensors { network, inputs } => {
                network.run(inputs.clone()).map_err(failed)?;
                Ok(Parts::default())
            }
            Self::Payloads { model, payloads, batch } => {
                let first = turn.wrapping_mul(*batch) % payloads.len().max(1);
                let taken: Vec<Payload> =
                    payloads.iter().cycle().skip(first).take(*batch).cloned().collect();
                let mut parts = Parts::default();
                for answer in model.infer(&taken) {
                    let answer = answer.map_err(|error| {
                        failed(one_line(&format!("a payload was not answered: {error}")))
                    })?;
                    let together = u32::try_from(answer.batch).unwrap_or(u32::MAX).max(1);
                    parts.add(Parts {
                        payloads: 1,
                        pre: answer.times.pre,
                        compute: answer.times.compute / together,
                        post: answer.times.post,
                    });
                }
                Ok(parts)
            }
        }
    }
}
