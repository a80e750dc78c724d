//! RNN, GRU, LSTM: <https://onnx.ai/onnx/operators/onnx__LSTM.html>
//!
//! Where the specification leaves it open, this does as ONNX Runtime does: `clip` bounds what goes into the gates, not the cell's
//! state before its activation; sequences of length 0 end in zeros.

mod activation;
mod cell;
mod layer;
mod operands;

use activation::Activation;
use cell::Cell;

use super::precision::{is_half, narrowed, widened};
use crate::dtype::for_dtype;
use crate::error::OpError;
use crate::ops::{BuildError, Inputs, NodeSpec, Operator};
use crate::run::Context;
use crate::value::Value;

/// One direction of a layer.
#[derive(Debug)]
struct Direction {
    reverse: bool,
    activations: Vec<Activation>,
}

/// A recurrent layer.
#[derive(Debug)]
struct Recurrent {
    cell: Cell,
    directions: Vec<Direction>,
    clip: Option<f32>,
    hidden: Option<usize>,
    /// The batch is the outermost axis, not the steps.
    batch_first: bool,
    /// Whether the output of every step is wanted.
    wants_steps: bool,
}

pub(super) fn build(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    if spec.version() < 7 && spec.int("output_sequence", 0)? == 0 && spec.wants_output(0) {
        return Err(BuildError::unsupported("outputs of steps without output_sequence"));
    }
    let cell = match spec.op() {
        "RNN" => Cell::Rnn,
        "GRU" => Cell::Gru { linear_before_reset: spec.flag("linear_before_reset", false)? },
        _ => Cell::Lstm { input_forget: spec.flag("input_forget", false)? },
    };
    let reverses: &[bool] = match spec.text("direction", "forward")?.to_ascii_lowercase().as_str() {
        "forward" => &[false],
        "reverse" => &[true],
        "bidirectional" => &[false, true],
        other => return Err(BuildError::invalid(format!("direction is {other:?}"))),
    };
    let activations = activation::read(spec, cell, reverses.len())?;
    let directions = reverses
        .iter()
        .zip(activations)
        .map(|(reverse, activations)| Direction { reverse: *reverse, activations })
        .collect();
    let clip = spec.float_opt("clip")?.filter(|clip| *clip != 0.0);
    if clip.is_some_and(|clip| !clip.is_finite() || clip < 0.0) {
        return Err(BuildError::invalid(format!("clip is {clip:?}, it should be positive")));
    }
    let hidden = spec
        .int_opt("hidden_size")?
        .map(|size| {
            usize::try_from(size).map_err(|_| BuildError::invalid(format!("hidden_size is {size}")))
        })
        .transpose()?;
    let batch_first = match spec.int("layout", 0)? {
        0 => false,
        1 => true,
        other => return Err(BuildError::invalid(format!("layout is {other}, it is 0 or 1"))),
    };
    let wants_steps = spec.wants_output(0);
    Ok(Box::new(Recurrent { cell, directions, clip, hidden, batch_first, wants_steps }))
}

impl Operator for Recurrent {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let dtype = inputs.tensor(0)?.dtype();
        for_dtype!(dtype, T in [f32, f64], {
            self.compute::<T>(&inputs, context)
        }, else {
            if is_half(dtype) {
                let outputs = self.compute::<f32>(&widened(&inputs)?, context)?;
                return outputs.into_iter().map(|output| narrowed(output, dtype)).collect();
            }
            Err(OpError::Type { expected: "a float type", found: dtype })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;
    use crate::tensor::Tensor;

    fn layer(cell: Cell, reverses: &[bool]) -> Recurrent {
        let directions = reverses
            .iter()
            .map(|reverse| Direction {
                reverse: *reverse,
                activations: cell.activations().to_vec(),
            })
            .collect();
        let (clip, hidden) = (None, None);
        Recurrent { cell, directions, clip, hidden, batch_first: false, wants_steps: true }
    }

    fn run(layer: &Recurrent, inputs: Vec<Option<Tensor>>) -> Result<Vec<Value>, OpError> {
        let limits = Limits::default();
        let inputs = inputs.into_iter().map(|tensor| tensor.map(Value::from)).collect();
        layer.run(Inputs(inputs), &mut Context::new(&limits, 0))
    }

    fn ramp(shape: &[usize]) -> Option<Tensor> {
        let count = crate::tensor::elements_of(shape).unwrap();
        let elements = (0..count).map(|at| (at as f32).sin()).collect();
        Some(Tensor::new(shape, elements))
    }

    #[test]
    fn batch_first_and_reverse_are_the_same_on_turned_operands() {
        let cell = Cell::Lstm { input_forget: false };
        let weights = [ramp(&[1, 12, 2]), ramp(&[1, 12, 3])];
        let x = ramp(&[4, 1, 2]).unwrap();
        let turned: Vec<f32> = x.as_slice::<f32>().unwrap().rchunks(2).flatten().copied().collect();
        let forward = run(&layer(cell, &[false]), [vec![Some(x)], weights.to_vec()].concat());
        let first = Recurrent { batch_first: true, ..layer(cell, &[true]) };
        let turned = Some(Tensor::new([1, 4, 2], turned));
        let back = run(&first, [vec![turned], weights.to_vec()].concat());
        let (forward, back) = (forward.unwrap(), back.unwrap());
        let of = |value: &Value| value.as_tensor().unwrap().as_slice::<f32>().unwrap().to_vec();
        assert_eq!(of(&forward[1]), of(&back[1]));
        assert_eq!(of(&forward[2]), of(&back[2]));
        assert_eq!(back[0].as_tensor().unwrap().shape(), [1, 4, 1, 3]);
    }

    #[test]
    fn operands_that_do_not_go_together_are_refused() {
        let cell = Cell::Gru { linear_before_reset: false };
        let good = [ramp(&[4, 2, 2]), ramp(&[1, 9, 2]), ramp(&[1, 9, 3])];
        assert!(run(&layer(cell, &[false]), good.to_vec()).is_ok());
        assert!(run(&layer(cell, &[false, true]), good.to_vec()).is_err());
        for (at, wrong) in
            [(0, &[4, 2][..]), (0, &[4, 2, 3]), (1, &[1, 9, 3]), (2, &[1, 9]), (2, &[1, 9, 4])]
        {
            let mut inputs = good.to_vec();
            inputs[at] = ramp(wrong);
            assert!(run(&layer(cell, &[false]), inputs).is_err(), "{at} {wrong:?}");
        }
        for lengths in [vec![4], vec![4, 5], vec![-1, 2]] {
            let lengths = Some(Tensor::new([lengths.len()], lengths));
            let inputs = [good.to_vec(), vec![None, lengths]].concat();
            assert!(run(&layer(cell, &[false]), inputs).is_err());
        }
        for shape in [[0, 2, 2], [4, 0, 2]] {
            let inputs = vec![ramp(&shape), good[1].clone(), good[2].clone()];
            assert!(run(&layer(cell, &[true]), inputs).is_ok());
        }
        let endless = vec![ramp(&[1, usize::MAX / 2, 0]), ramp(&[1, 9, 0]), ramp(&[1, 9, 3])];
        assert!(matches!(run(&layer(cell, &[true]), endless), Err(OpError::Memory { .. })));
    }
}
