//! Where: <https://onnx.ai/onnx/operators/onnx__Where.html>

use super::pairs::same_type;
use crate::dtype::{DType, for_repr};
use crate::error::OpError;
use crate::ops::broadcast::{collapse, for_rows_of, joint_shape, strides_in};
use crate::ops::{BuildError, Inputs, NodeSpec, Operator};
use crate::run::Context;
use crate::tensor::{Shape, Tensor};
use crate::value::Value;

#[derive(Debug)]
struct Where;

pub(super) fn build(_spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    Ok(Box::new(Where))
}

impl Operator for Where {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let (condition, left, right) = (inputs.tensor(0)?, inputs.tensor(1)?, inputs.tensor(2)?);
        if condition.dtype() != DType::Bool {
            return Err(OpError::Type { expected: "bool", found: condition.dtype() });
        }
        same_type(left, right)?;
        let shape = joint_shape(&joint_shape(condition.shape(), left.shape())?, right.shape())?;
        let dtype = left.dtype();
        let elements = context.claim(&shape, dtype.bytes() + longest(left).max(longest(right)))?;
        let choice = Choice::over(&shape, [condition, left, right]);
        let bits = condition.as_slice::<u8>()?;
        let out = for_repr!(dtype, T, {
            let out = choice.take(bits, left.as_units::<T>()?, right.as_units::<T>()?, elements);
            Tensor::from_units(dtype, shape, out)
        }, else {
            Tensor::strings(shape, choice.take(bits, left.as_strings()?, right.as_strings()?, elements))
        });
        Ok(vec![out.into()])
    }
}

/// Bytes of the longest text: what one element may cost on top where it is repeated.
pub(crate) fn longest(tensor: &Tensor) -> usize {
    tensor.as_strings().map_or(0, |texts| texts.iter().map(String::len).max().unwrap_or(0))
}

/// How the three operands are walked.
struct Choice {
    shape: Shape,
    strides: [Vec<usize>; 3],
}

impl Choice {
    fn over(shape: &[usize], operands: [&Tensor; 3]) -> Self {
        let mut strides = operands.map(|operand| strides_in(operand.shape(), shape));
        let mut shape = shape.to_vec();
        collapse(&mut shape, &mut strides);
        Self { shape, strides }
    }

    fn take<T: Clone>(&self, bits: &[u8], left: &[T], right: &[T], elements: usize) -> Vec<T> {
        let mut out = Vec::with_capacity(elements);
        let length = self.shape.last().copied().unwrap_or(1);
        let [condition, a, b] = &self.strides;
        let [step, step_a, step_b] =
            [condition, a, b].map(|strides| strides.last().copied().unwrap_or(0));
        for_rows_of(&self.shape, [condition, a, b], |_, [c, a, b]| match (step, step_a, step_b) {
            (0, 1, _) if bits[c] != 0 => out.extend_from_slice(&left[a..a + length]),
            (0, _, 1) if bits[c] == 0 => out.extend_from_slice(&right[b..b + length]),
            (1, 1, 1) => {
                let pairs = left[a..a + length].iter().zip(&right[b..b + length]);
                let choices = bits[c..c + length].iter().zip(pairs);
                out.extend(choices.map(|(bit, (a, b))| if *bit == 0 { b } else { a }.clone()));
            }
            (1, 0, 1) => {
                let choices = bits[c..c + length].iter().zip(&right[b..b + length]);
                out.extend(choices.map(|(bit, b)| if *bit == 0 { b } else { &left[a] }.clone()));
            }
            (1, 1, 0) => {
                let choices = bits[c..c + length].iter().zip(&left[a..a + length]);
                out.extend(choices.map(|(bit, a)| if *bit == 0 { &right[b] } else { a }.clone()));
            }
            _ => out.extend((0..length).map(|at| {
                let chosen = if bits[c + at * step] == 0 {
                    &right[b + at * step_b]
                } else {
                    &left[a + at * step_a]
                };
                chosen.clone()
            })),
        });
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;

    fn chosen(condition: Tensor, left: Tensor, right: Tensor) -> Result<Tensor, OpError> {
        let limits = Limits::default();
        let operands = [condition, left, right].map(|tensor| Some(Value::from(tensor)));
        let mut out = Where.run(Inputs(operands.into()), &mut Context::new(&limits, 0))?;
        out.remove(0).into_tensor()
    }

    #[test]
    fn every_operand_may_be_the_one_that_is_repeated() {
        let row = || Tensor::new([2], vec![1_i64, 2]);
        let column = || Tensor::new([2, 1], vec![10_i64, 20]);
        let bits = |shape: &[usize]| Tensor::bools(shape, [true, false].into_iter());
        let found = |c, l, r| chosen(c, l, r).unwrap().as_slice::<i64>().unwrap().to_vec();
        assert_eq!(found(bits(&[2, 1]), row(), column()), [1, 2, 20, 20]);
        assert_eq!(found(bits(&[2]), row(), column()), [1, 10, 1, 20]);
        assert_eq!(found(bits(&[2]), column(), row()), [10, 2, 20, 2]);
        let empty = chosen(bits(&[2]), Tensor::new([0, 1], vec![0_i64; 0]), row()).unwrap();
        assert_eq!(empty.shape(), [0, 2]);
        assert!(chosen(row(), row(), row()).is_err());
    }
}
