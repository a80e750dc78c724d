//! Running a plan: slots, moves at last use, and what a run may take.

use std::panic::{AssertUnwindSafe, catch_unwind};

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
    /// The most bytes that values between operators took at once; one that shares its memory with another counts too.
    pub(crate) live_bytes_max: u64,
    /// Where the times of operators go, if somebody asked.
    pub(crate) profile: Option<Profile<'a>>,
}

impl<'a> Context<'a> {
    pub(crate) const fn new(limits: &'a Limits, seed: u64) -> Self {
        Self { limits, random: seed, live_bytes_max: 0, profile: None }
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

    fn too_much_lives(&self, needed_bytes: u64) -> OpError {
        OpError::Memory { needed_bytes, limit_bytes: self.limits.live_bytes_max }
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
        if inputs.len() != self.inputs.len() {
            return Err(RunError::Inputs { expected: self.inputs.len(), found: inputs.len() });
        }
        let mut slots: Vec<Option<Value>> = Vec::new();
        slots.resize_with(self.slots, || None);
        let mut live_bytes = 0_u64;
        for (slot, value) in self.inputs.iter().zip(inputs) {
            if let Some(slot) = slot {
                live_bytes += value.bytes() as u64;
                slots[*slot] = Some(value);
            }
        }
        for step in &self.steps {
            let operands =
                Inputs(step.inputs.iter().map(|arg| self.fetch(*arg, &mut slots)).collect());
            let moved_bytes = moved_bytes(step, &operands);
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
                    live_bytes = live_bytes.saturating_add(output.bytes() as u64);
                    if let Some(before) = slots[*slot].replace(output) {
                        live_bytes = live_bytes.saturating_sub(before.bytes() as u64);
                    }
                }
            }
            context.live_bytes_max = context.live_bytes_max.max(live_bytes);
            if live_bytes > context.limits.live_bytes_max {
                return Err(step.failed(context.too_much_lives(live_bytes)));
            }
            live_bytes = live_bytes.saturating_sub(moved_bytes);
        }
        let output = |arg: &Arg| self.fetch(*arg, &mut slots);
        let outputs: Option<Vec<Value>> = self.outputs.iter().map(output).collect();
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

/// Bytes of the operands that end with this step.
fn moved_bytes(step: &Step, operands: &Inputs) -> u64 {
    let ending = step.inputs.iter().zip(&operands.0).filter_map(|(arg, value)| match arg {
        Arg::Slot { last: true, .. } => value.as_ref(),
        _ => None,
    });
    ending.map(|value| value.bytes() as u64).sum()
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
