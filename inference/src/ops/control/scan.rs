//! Scan: <https://onnx.ai/onnx/operators/onnx__Scan.html>
//!
//! Version 8 has a batch as the first axis of everything: there each member is scanned on its own.

use super::stack::{Stack, declared_outputs};
use crate::error::OpError;
use crate::graph::ValueType;
use crate::ops::shaping::view::View;
use crate::ops::spec::Subgraph;
use crate::ops::{BuildError, Inputs, NodeSpec, Operator, axis_of};
use crate::run::Context;
use crate::tensor::Tensor;
use crate::value::Value;

/// The axis that is scanned, and whether from its end.
#[derive(Clone, Copy, Debug)]
struct Course {
    axis: i64,
    reverse: bool,
}

#[derive(Debug)]
struct Scan {
    body: Subgraph,
    /// The number of the node's own operands.
    own: usize,
    inputs: Vec<Course>,
    outputs: Vec<(Course, Option<ValueType>)>,
    state: usize,
}

#[derive(Debug)]
struct BatchScan(Scan);

fn courses(
    spec: &NodeSpec<'_>,
    axes: &str,
    directions: &str,
    count: usize,
) -> Result<Vec<Course>, BuildError> {
    let given = |name: &str| -> Result<Vec<i64>, BuildError> {
        let numbers = spec.ints_opt(name)?.map_or_else(|| vec![0; count], <[i64]>::to_vec);
        if numbers.len() == count {
            return Ok(numbers);
        }
        Err(BuildError::invalid(format!("{name} has {} numbers for {count}", numbers.len())))
    };
    let course = |(axis, direction): (i64, i64)| match direction {
        0 | 1 => Ok(Course { axis, reverse: direction == 1 }),
        other => Err(BuildError::invalid(format!("direction {other} in {directions}"))),
    };
    given(axes)?.into_iter().zip(given(directions)?).map(course).collect()
}

pub(super) fn build(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    let batch = spec.version() < 9;
    if batch && spec.has_input(0) {
        return Err(BuildError::unsupported("sequences of different lengths, as before opset 9"));
    }
    let body = spec.subgraph("body")?;
    let own = spec.input_count();
    let operands = if batch { own.saturating_sub(1) } else { own };
    let scanned = spec.int("num_scan_inputs", 0)?;
    let wrong = || {
        BuildError::invalid(format!(
            "{scanned} of {operands} inputs are scanned by a body of {} inputs and {} outputs",
            body.input_count(),
            body.output_count()
        ))
    };
    let scanned = usize::try_from(scanned).ok().filter(|n| *n > 0).ok_or_else(wrong)?;
    let state = operands.checked_sub(scanned).ok_or_else(wrong)?;
    let gathered = body.output_count().checked_sub(state).ok_or_else(wrong)?;
    if body.input_count() != operands || spec.output_count() > body.output_count() {
        return Err(wrong());
    }
    let (axes, directions) =
        if batch { ("", "directions") } else { ("scan_input_axes", "scan_input_directions") };
    let inputs = courses(spec, axes, directions, scanned)?;
    let outputs = courses(spec, "scan_output_axes", "scan_output_directions", gathered)?;
    let declared = declared_outputs(spec, "body").into_iter().skip(state);
    let outputs = outputs.into_iter().zip(declared).collect();
    let scan = Scan { body, own, inputs, outputs, state };
    Ok(if batch { Box::new(BatchScan(scan)) } else { Box::new(scan) })
}

impl Scan {
    fn scan(
        &self,
        mut state: Vec<Value>,
        scanned: &[Tensor],
        captured: &[Option<Value>],
        context: &mut Context<'_>,
    ) -> Result<Vec<Value>, OpError> {
        let mut axes = Vec::with_capacity(scanned.len());
        for (tensor, course) in scanned.iter().zip(&self.inputs) {
            axes.push(axis_of(course.axis, tensor.rank())?);
        }
        let sizes: Vec<usize> =
            scanned.iter().zip(&axes).map(|(tensor, axis)| tensor.shape()[*axis]).collect();
        let length = sizes.first().copied().unwrap_or(0);
        if sizes.iter().any(|size| *size != length) {
            return Err(OpError::shape(format!("scanned axes have different sizes: {sizes:?}")));
        }
        if length as u64 > context.limits.iterations_max {
            return Err(OpError::unsupported(format!("a scan over {length} places")));
        }
        let mut stacks: Vec<Stack> = self.outputs.iter().map(|_| Stack::default()).collect();
        for step in 0..length {
            let mut operands = std::mem::take(&mut state);
            for ((tensor, course), axis) in scanned.iter().zip(&self.inputs).zip(&axes) {
                let place = if course.reverse { length - 1 - step } else { step };
                let view = View::of(tensor.shape()).narrowed(*axis, place, 1);
                let mut shape = view.sizes.clone();
                shape.remove(*axis);
                operands.push(view.of_tensor(tensor.clone(), shape)?.into());
            }
            let mut outputs = self.body.run(operands, captured, context)?.into_iter();
            state.extend(outputs.by_ref().take(self.state));
            for (stack, output) in stacks.iter_mut().zip(outputs) {
                stack.push(output.into_tensor()?, context)?;
            }
        }
        for (stack, (course, declared)) in stacks.into_iter().zip(&self.outputs) {
            let out = stack.finish(course.axis, course.reverse, declared.as_ref(), context)?;
            state.push(out.into());
        }
        Ok(state)
    }
}

impl Operator for Scan {
    fn run(&self, mut inputs: Inputs, context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let captured = inputs.0.split_off(self.own.min(inputs.len()));
        let state = (0..self.state).map(|at| inputs.take(at)).collect::<Result<_, _>>()?;
        let scanned: Vec<Tensor> =
            (self.state..self.own).map(|at| inputs.take_tensor(at)).collect::<Result<_, _>>()?;
        self.scan(state, &scanned, &captured, context)
    }

    /// It may take any time, so never at load.
    fn is_pure(&self) -> bool {
        false
    }
}

impl Operator for BatchScan {
    fn run(&self, mut inputs: Inputs, context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let scan = &self.0;
        let captured = inputs.0.split_off(scan.own.min(inputs.len()));
        let tensors: Vec<Tensor> =
            (1..scan.own).map(|at| inputs.take_tensor(at)).collect::<Result<_, _>>()?;
        let batch = tensors.first().and_then(|tensor| tensor.shape().first()).copied();
        let batch = batch.unwrap_or(0);
        if batch == 0 || tensors.iter().any(|tensor| tensor.shape().first() != Some(&batch)) {
            return Err(OpError::shape("the operands are no batch of one size, of one or more"));
        }
        if batch as u64 > context.limits.iterations_max {
            return Err(OpError::unsupported(format!("scans of {batch} members of a batch")));
        }
        let mut stacks: Vec<Stack> = Vec::new();
        for member in 0..batch {
            let mut operands = Vec::with_capacity(tensors.len());
            for tensor in &tensors {
                let view = View::of(tensor.shape()).narrowed(0, member, 1);
                operands.push(view.of_tensor(tensor.clone(), tensor.shape()[1..].to_vec())?);
            }
            let scanned = operands.split_off(scan.state);
            let state = operands.into_iter().map(Value::from).collect();
            let outputs = scan.scan(state, &scanned, &captured, context)?;
            stacks.resize_with(outputs.len(), Stack::default);
            for (stack, output) in stacks.iter_mut().zip(outputs) {
                stack.push(output.into_tensor()?, context)?;
            }
        }
        let whole = |stack: Stack| Ok(stack.finish(0, false, None, context)?.into());
        stacks.into_iter().map(whole).collect()
    }

    /// It may take any time, so never at load.
    fn is_pure(&self) -> bool {
        false
    }
}
