//! Running a plan: slots, moves at last use, and what a run may take.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::cancel::Cancel;
use crate::error::{OpError, RunError};
use crate::limits::Limits;
use crate::ops::Inputs;
use crate::plan::{Arg, Plan, Step};
use crate::profile::Profile;
use crate::tensor::elements_of;
use crate::value::Value;

/// What operators of one run share: its bounds and its randomness.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    pub(crate) limits: &'a Limits,
    /// State of the generator for operators that draw numbers and have no seed of their own.
    pub(crate) random: u64,
    /// Bytes that values between operators take now, those around a body while it runs among them; one that shares its memory with another
    /// counts too.
    pub(crate) live_bytes: u64,
    /// The most that they took at once.
    pub(crate) live_bytes_max: u64,
    /// Where the times of operators go, if somebody asked.
    pub(crate) profile: Option<Profile<'a>>,
    /// What ends the run early.
    pub(crate) cancel: Option<Cancel>,
}

impl<'a> Context<'a> {
    pub(crate) fn new(limits: &'a Limits, seed: u64) -> Self {
        let cancel = Cancel::watched();
        Self { limits, random: seed, live_bytes: 0, live_bytes_max: 0, profile: None, cancel }
    }

    /// Asked before each node, and in each turn of a body: whether the run is still wanted.
    pub(crate) fn go_on(&self) -> Result<(), RunError> {
        match &self.cancel {
            Some(cancel) if cancel.is_cancelled() => Err(RunError::Cancelled),
            _ => Ok(()),
        }
    }

    /// The number of elements of a tensor to be made, if a run may make one that large. To be asked before memory is taken, wherever
    /// an output can be larger than the operands together.
    pub(crate) fn claim(&self, shape: &[usize], element_bytes: usize) -> Result<usize, OpError> {
        let limit_bytes = self.limits.run_bytes_max;
        let elements = elements_of(shape);
        let needed = elements.and_then(|elements| elements.checked_mul(element_bytes.max(1)));
        match (elements, needed) {
            (Some(elements), Some(needed)) if needed as u64 <= limit_bytes => Ok(elements),
            _ => {
                let needed_bytes = needed.map_or(u64::MAX, |bytes| bytes as u64);
                Err(OpError::Memory { needed_bytes, limit_bytes })
            }
        }
    }

    /// Counts a value that is there from now on.
    pub(crate) fn hold(&mut self, bytes: usize) -> Result<(), OpError> {
        self.live_bytes = self.live_bytes.saturating_add(bytes as u64);
        self.live_bytes_max = self.live_bytes_max.max(self.live_bytes);
        let limit_bytes = self.limits.live_bytes_max;
        if self.live_bytes > limit_bytes {
            return Err(OpError::Memory { needed_bytes: self.live_bytes, limit_bytes });
        }
        Ok(())
    }

    /// It is there no longer, or somebody else counts it.
    pub(crate) const fn let_go(&mut self, bytes: usize) {
        self.live_bytes = self.live_bytes.saturating_sub(bytes as u64);
    }

    /// The next 64 random bits (SplitMix64).
    pub(crate) const fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.random;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }
}

impl Plan {
    /// Runs the plan once.
    pub(crate) fn run(
        &self,
        inputs: Vec<Value>,
        context: &mut Context<'_>,
    ) -> Result<Vec<Value>, RunError> {
        let own = inputs.len();
        self.run_body(inputs, own, context)
    }

    /// As [`run`](Self::run); inputs from `own` on are those of somebody who holds and counts them until this is done.
    pub(crate) fn run_body(
        &self,
        inputs: Vec<Value>,
        own: usize,
        context: &mut Context<'_>,
    ) -> Result<Vec<Value>, RunError> {
        if inputs.len() != self.inputs.len() {
            return Err(RunError::Inputs { expected: self.inputs.len(), found: inputs.len() });
        }
        let mut slots: Vec<Option<Value>> = Vec::new();
        slots.resize_with(self.slots, || None);
        // What each slot was counted with.
        let mut held = vec![0_usize; self.slots];
        for (at, (slot, value)) in self.inputs.iter().zip(inputs).enumerate() {
            if let Some(slot) = slot {
                if at < own {
                    held[*slot] = value.bytes();
                    // What is too much is said with the first step.
                    context.hold(held[*slot]).ok();
                }
                slots[*slot] = Some(value);
            }
        }
        for step in &self.steps {
            context.go_on()?;
            let operands =
                Inputs(step.inputs.iter().map(|arg| self.fetch(*arg, &mut slots)).collect());
            let ending = step.inputs.iter().filter_map(|arg| match arg {
                Arg::Slot { slot, last: true } => Some(std::mem::take(&mut held[*slot])),
                _ => None,
            });
            let ending_bytes: usize = ending.sum();
            let begun = context.profile.as_ref().map(Profile::begin);
            let outputs = run_step(step, operands, context)?;
            if let (Some(profile), Some(begun)) = (&mut context.profile, begun) {
                profile.end(step, begun, &outputs);
            }
            let mut outputs = outputs.into_iter();
            for slot in &step.outputs {
                let output = outputs.next();
                if let Some(slot) = slot {
                    let missing = || step.failed(OpError::shape("an output was not computed"));
                    let output = output.ok_or_else(missing)?;
                    context.let_go(std::mem::replace(&mut held[*slot], output.bytes()));
                    slots[*slot] = Some(output);
                    context.hold(held[*slot]).map_err(|error| step.failed(error))?;
                }
            }
            context.let_go(ending_bytes);
        }
        let output = |arg: &Arg| self.fetch(*arg, &mut slots);
        let outputs: Option<Vec<Value>> = self.outputs.iter().map(output).collect();
        context.let_go(held.iter().sum());
        outputs.ok_or(RunError::Inputs { expected: self.inputs.len(), found: 0 })
    }

    fn fetch(&self, arg: Arg, slots: &mut [Option<Value>]) -> Option<Value> {
        match arg {
            Arg::Left => None,
            Arg::Constant(at) => self.constants.get(at).map(|tensor| Value::Tensor(tensor.clone())),
            Arg::Slot { slot, last: true } => slots[slot].take(),
            Arg::Slot { slot, last: false } => slots[slot].clone(),
        }
    }
}

/// Runs one operator; a panic within is an error of the run.
pub(crate) fn run_step(
    step: &Step,
    operands: Inputs,
    context: &mut Context<'_>,
) -> Result<Vec<Value>, RunError> {
    guarded(step, || step.operator.run(operands, context))
}

/// Does work for a step; a panic within is an error of the run.
pub(crate) fn guarded<T>(
    step: &Step,
    work: impl FnOnce() -> Result<T, OpError>,
) -> Result<T, RunError> {
    // Nothing outlives a failed run but the context's random state, which is sound whatever it is.
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(source)) => Err(step.failed(source)),
        Err(panic) => Err(RunError::Panicked {
            op: step.op.clone(),
            node: step.node.clone(),
            message: message_of(&*panic),
        }),
    }
}

/// What a panic said.
pub(crate) fn message_of(panic: &(dyn std::any::Any + Send)) -> String {
    if let Some(text) = panic.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = panic.downcast_ref::<String>() {
        text.clone()
    } else {
        "no message".to_owned()
    }
}
