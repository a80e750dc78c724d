//! A plan that runs on a device: each step there if it has a form there that covers its operands, else on the host.

use std::sync::OnceLock;

use super::form::Form;
use super::operands::{Held, Operand, Operands};
use super::target::Target;
use super::tensor::DeviceTensor;
use crate::error::{OpError, RunError};
use crate::ops::Inputs;
use crate::plan::{Arg, Plan, Step};
use crate::run::{Context, guarded, run_step};
use crate::value::Value;

/// A plan with the forms that its steps have on a device.
#[derive(Debug)]
pub(crate) struct DevicePlan {
    pub(crate) plan: Plan,
    /// One per step.
    forms: Vec<Option<Form>>,
    /// [`Plan::constants`] on the device, as soon as a step wanted them there.
    constants: Vec<OnceLock<DeviceTensor>>,
    target: Target,
}

impl DevicePlan {
    /// Sends the weights to the device.
    pub(crate) fn new(
        plan: Plan,
        forms: Vec<Option<Form>>,
        target: Target,
    ) -> Result<Self, String> {
        let constants: Vec<OnceLock<DeviceTensor>> =
            plan.constants.iter().map(|_| OnceLock::new()).collect();
        for (step, _) in plan.steps.iter().zip(&forms).filter(|(_, form)| form.is_some()) {
            for arg in &step.inputs {
                let Arg::Constant(at) = arg else { continue };
                let (Some(tensor), Some(slot)) = (plan.constants.get(*at), constants.get(*at))
                else {
                    continue;
                };
                // Integers are mostly shapes and axes, which the host reads.
                let dtype = tensor.dtype();
                if dtype.is_float()
                    && target.takes(dtype)
                    && !tensor.is_empty()
                    && slot.get().is_none()
                {
                    let sent = DeviceTensor::upload(tensor, &target);
                    // It was empty a line ago, and nobody else knows it yet.
                    let _ = slot.set(sent.map_err(|error| error.to_string())?);
                }
            }
        }
        Ok(Self { plan, forms, constants, target })
    }

    /// Runs the plan once.
    pub(crate) fn run(
        &self,
        inputs: Vec<Value>,
        context: &mut Context<'_>,
    ) -> Result<Vec<Value>, RunError> {
        let plan = &self.plan;
        let wrong_count = RunError::Inputs { expected: plan.inputs.len(), found: inputs.len() };
        if inputs.len() != plan.inputs.len() {
            return Err(wrong_count);
        }
        let mut slots: Vec<Option<Held>> = Vec::new();
        slots.resize_with(plan.slots, || None);
        for (slot, value) in plan.inputs.iter().zip(inputs) {
            if let Some(slot) = slot {
                slots[*slot] = Some(value.into());
            }
        }
        for (step, form) in plan.steps.iter().zip(&self.forms) {
            context.go_on()?;
            let mut outputs = self.run_step(step, form.as_ref(), &mut slots, context)?.into_iter();
            for slot in &step.outputs {
                let output = outputs.next();
                if let Some(slot) = slot {
                    let missing = || step.failed(OpError::shape("an output was not computed"));
                    slots[*slot] = Some(output.ok_or_else(missing)?);
                }
            }
        }
        let fetch = |arg: &Arg| {
            let held = self.fetch(*arg, &mut slots).ok_or(OpError::Missing(0));
            let last = plan.steps.last();
            let failed = |source| match last {
                Some(step) => step.failed(source),
                None => RunError::Inputs { expected: plan.inputs.len(), found: 0 },
            };
            held.and_then(Held::into_host).map_err(failed)
        };
        plan.outputs.iter().map(fetch).collect()
    }

    fn run_step(
        &self,
        step: &Step,
        form: Option<&Form>,
        slots: &mut [Option<Held>],
        context: &mut Context<'_>,
    ) -> Result<Vec<Held>, RunError> {
        let operand = |arg: &Arg| {
            let shared = !matches!(arg, Arg::Slot { last: true, .. });
            self.fetch(*arg, slots).map(|held| Operand { held, shared, moved: false })
        };
        let all = step.inputs.iter().map(operand).collect();
        let mut operands = Operands { all, target: &self.target };
        if let Some(form) = form.filter(|_| operands.are_worth_it()) {
            let outputs = guarded(step, || form.run(&mut operands, context))?;
            self.keep_moved(step, &mut operands, slots);
            if let Some(outputs) = outputs {
                return Ok(outputs);
            }
        }
        let mut inputs = Vec::with_capacity(operands.len());
        for at in 0..operands.len() {
            let is_tensor = operands.all[at].as_ref().is_some_and(|one| one.held.host.is_none());
            if is_tensor {
                guarded(step, || operands.host(at))?;
            }
        }
        self.keep_moved(step, &mut operands, slots);
        for operand in operands.all {
            inputs.push(operand.and_then(|operand| operand.held.host));
        }
        let outputs = run_step(step, Inputs(inputs), context)?;
        Ok(outputs.into_iter().map(Held::from).collect())
    }

    /// Lets others find operands where they were moved to.
    fn keep_moved(&self, step: &Step, operands: &mut Operands<'_>, slots: &mut [Option<Held>]) {
        for (arg, operand) in step.inputs.iter().zip(&mut operands.all) {
            let Some(operand) = operand.as_mut().filter(|one| one.moved && one.shared) else {
                continue;
            };
            operand.moved = false;
            match arg {
                Arg::Slot { slot, .. } => slots[*slot] = Some(operand.held.clone()),
                Arg::Constant(at) => {
                    if let (Some(tensor), Some(slot)) =
                        (operand.held.device.clone(), self.constants.get(*at))
                    {
                        // Another run may have been first, with the same.
                        let _ = slot.set(tensor);
                    }
                }
                Arg::Left => {}
            }
        }
    }

    fn fetch(&self, arg: Arg, slots: &mut [Option<Held>]) -> Option<Held> {
        match arg {
            Arg::Left => None,
            Arg::Constant(at) => {
                let host = self.plan.constants.get(at).cloned().map(Value::Tensor);
                let device = self.constants.get(at).and_then(OnceLock::get).cloned();
                Some(Held { host, device })
            }
            Arg::Slot { slot, last: true } => slots[slot].take(),
            Arg::Slot { slot, last: false } => slots[slot].clone(),
        }
    }
}
