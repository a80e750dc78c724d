//! Sequences: construct, insert, erase, at, length: <https://onnx.ai/onnx/operators/onnx__SequenceInsert.html>

use std::sync::Arc;

use crate::error::OpError;
use crate::ops::shaping::numbers::single;
use crate::ops::{BuildError, Inputs, NodeSpec, Operator, axis_of};
use crate::run::Context;
use crate::tensor::Tensor;
use crate::value::Value;

#[derive(Debug)]
enum Sequence {
    Construct,
    Empty,
    Insert,
    Erase,
    At,
    Length,
}

pub(super) fn build(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    Ok(Box::new(match spec.op() {
        "SequenceConstruct" => Sequence::Construct,
        "SequenceEmpty" => Sequence::Empty,
        "SequenceInsert" => Sequence::Insert,
        "SequenceErase" => Sequence::Erase,
        "SequenceAt" => Sequence::At,
        _ => Sequence::Length,
    }))
}

/// Takes a sequence: its members, moved out where nobody else holds them.
pub(super) fn take_members(inputs: &mut Inputs, at: usize) -> Result<Vec<Value>, OpError> {
    match inputs.take(at)? {
        Value::Sequence(values) => Ok(Arc::unwrap_or_clone(values)),
        other => Err(OpError::Kind { expected: "a sequence", found: other.kind() }),
    }
}

/// Refuses a sequence that takes more memory than a tensor may.
pub(super) fn require_bounded(members: &[Value], context: &Context<'_>) -> Result<(), OpError> {
    let weight = |value: &Value| value.bytes().saturating_add(size_of::<Value>());
    let bytes = members.iter().map(weight).fold(0, usize::saturating_add);
    context.claim(&[bytes], 1).map(|_| ())
}

impl Sequence {
    fn insert(mut inputs: Inputs, context: &Context<'_>) -> Result<Value, OpError> {
        let mut members = take_members(&mut inputs, 0)?;
        let tensor = inputs.take_tensor(1)?;
        if let Some(Value::Tensor(first)) = members.first()
            && first.dtype() != tensor.dtype()
        {
            return Err(OpError::Type { expected: first.dtype().name(), found: tensor.dtype() });
        }
        // Behind the last member is a place too.
        let place = match inputs.get(2) {
            Some(_) => {
                let index = single(&inputs, 2)?;
                if usize::try_from(index) == Ok(members.len()) {
                    members.len()
                } else {
                    place_of(index, members.len())?
                }
            }
            None => members.len(),
        };
        members.insert(place, tensor.into());
        require_bounded(&members, context)?;
        Ok(Value::Sequence(Arc::new(members)))
    }

    fn erase(mut inputs: Inputs) -> Result<Value, OpError> {
        let mut members = take_members(&mut inputs, 0)?;
        let index = if inputs.get(1).is_some() { single(&inputs, 1)? } else { -1 };
        members.remove(place_of(index, members.len())?);
        Ok(Value::Sequence(Arc::new(members)))
    }
}

fn place_of(index: i64, length: usize) -> Result<usize, OpError> {
    axis_of(index, length)
        .map_err(|_| OpError::shape(format!("no member {index} in a sequence of {length}")))
}

impl Operator for Sequence {
    fn run(&self, mut inputs: Inputs, context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let out = match self {
            Self::Empty => Value::Sequence(Arc::default()),
            Self::Construct => {
                let mut members = Vec::with_capacity(inputs.len());
                for at in 0..inputs.len() {
                    members.push(Value::Tensor(inputs.take_tensor(at)?));
                }
                let dtype = |value: &Value| value.as_tensor().map(Tensor::dtype).ok();
                if let Some(other) = members.iter().find(|one| dtype(one) != dtype(&members[0])) {
                    let (first, other) = (members[0].as_tensor()?, other.as_tensor()?);
                    return Err(OpError::Type {
                        expected: first.dtype().name(),
                        found: other.dtype(),
                    });
                }
                Value::Sequence(Arc::new(members))
            }
            Self::Insert => Self::insert(inputs, context)?,
            Self::Erase => Self::erase(inputs)?,
            Self::At => {
                let members = inputs.get(0).ok_or(OpError::Missing(0))?.as_sequence()?;
                members[place_of(single(&inputs, 1)?, members.len())?].clone()
            }
            Self::Length => {
                let members = inputs.get(0).ok_or(OpError::Missing(0))?.as_sequence()?;
                Tensor::scalar(i64::try_from(members.len()).unwrap_or(i64::MAX)).into()
            }
        };
        Ok(vec![out])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;

    fn run(op: &Sequence, operands: Vec<Value>) -> Result<Value, OpError> {
        let limits = Limits::default();
        let inputs = Inputs(operands.into_iter().map(Some).collect());
        op.run(inputs, &mut Context::new(&limits, 0)).map(|mut out| out.remove(0))
    }

    #[test]
    fn members_are_inserted_erased_and_found() {
        let number = |n: i64| Value::from(Tensor::scalar(n));
        let empty = Value::Sequence(Arc::default());
        let one = run(&Sequence::Insert, vec![empty.clone(), number(7)]).unwrap();
        let two = run(&Sequence::Insert, vec![one.clone(), number(8), number(-1)]).unwrap();
        let first = run(&Sequence::At, vec![two.clone(), number(0)]).unwrap();
        assert_eq!(first.as_tensor().unwrap().as_slice::<i64>().unwrap(), [8]);
        assert!(run(&Sequence::At, vec![two.clone(), number(2)]).is_err());
        assert!(run(&Sequence::Insert, vec![two.clone(), number(1), number(3)]).is_err());
        assert!(run(&Sequence::Erase, vec![empty]).is_err());
        let rest = run(&Sequence::Erase, vec![two, number(-2)]).unwrap();
        assert_eq!(rest.as_sequence().unwrap().len(), 1);
        let other = Value::from(Tensor::scalar(1.0_f32));
        assert!(run(&Sequence::Insert, vec![one, other]).is_err());
    }
}
