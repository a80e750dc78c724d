//! RotaryEmbedding: <https://onnx.ai/onnx/operators/onnx__RotaryEmbedding.html>

use super::precision::{is_half, narrowed, widened};
use super::product::Real;
use crate::dtype::for_dtype;
use crate::error::OpError;
use crate::ops::{BuildError, Inputs, NodeSpec, Operator};
use crate::run::Context;
use crate::tensor::Tensor;
use crate::value::Value;

#[derive(Debug)]
struct RotaryEmbedding {
    interleaved: bool,
    /// Elements of each head that are turned; 0 for all.
    turned: usize,
    /// 0: not said.
    heads: usize,
}

pub(super) fn build(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    let size = |name: &str| {
        let value = spec.int(name, 0)?;
        usize::try_from(value).map_err(|_| BuildError::invalid(format!("{name} is {value}")))
    };
    let (turned, heads) = (size("rotary_embedding_dim")?, size("num_heads")?);
    let interleaved = spec.flag("interleaved", false)?;
    Ok(Box::new(RotaryEmbedding { interleaved, turned, heads }))
}

impl Operator for RotaryEmbedding {
    fn run(&self, mut inputs: Inputs, context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let dtype = inputs.tensor(0)?.dtype();
        for_dtype!(dtype, T in [f32, f64], {
            Ok(vec![self.turn::<T>(&mut inputs, context)?.into()])
        }, else {
            if is_half(dtype) {
                let output = self.turn::<f32>(&mut widened(&inputs)?, context)?;
                return Ok(vec![narrowed(output.into(), dtype)?]);
            }
            Err(OpError::Type { expected: "a float type", found: dtype })
        })
    }
}

/// Where the heads of an operand lie.
#[derive(Clone, Copy, Debug)]
struct Layout {
    batch: usize,
    heads: usize,
    steps: usize,
    size: usize,
    heads_first: bool,
}

impl Layout {
    const fn place(self, batch: usize, step: usize, head: usize) -> usize {
        if self.heads_first {
            ((batch * self.heads + head) * self.steps + step) * self.size
        } else {
            ((batch * self.steps + step) * self.heads + head) * self.size
        }
    }
}

impl RotaryEmbedding {
    fn layout(&self, shape: &[usize]) -> Result<Layout, OpError> {
        match *shape {
            [batch, heads, steps, size] => {
                Ok(Layout { batch, heads, steps, size, heads_first: true })
            }
            [batch, steps, hidden] if self.heads > 0 && hidden.is_multiple_of(self.heads) => {
                let size = hidden / self.heads;
                Ok(Layout { batch, heads: self.heads, steps, size, heads_first: false })
            }
            _ => Err(OpError::shape(format!(
                "{shape:?} with {} heads: it should have 4 axes, or 3 with num_heads set",
                self.heads
            ))),
        }
    }

    fn turn<T: Real>(&self, inputs: &mut Inputs, context: &Context<'_>) -> Result<Tensor, OpError> {
        let x = inputs.take_tensor(0)?;
        let layout = self.layout(x.shape())?;
        let turned = if self.turned == 0 { layout.size } else { self.turned };
        if turned > layout.size || !turned.is_multiple_of(2) {
            return Err(OpError::shape(format!(
                "{turned} of {} elements are to be turned",
                layout.size
            )));
        }
        let half = turned / 2;
        let (cos, sin) = (inputs.tensor(1)?, inputs.tensor(2)?);
        if cos.shape() != sin.shape() {
            return Err(OpError::shape("the caches differ in shape"));
        }
        let steps = layout
            .batch
            .checked_mul(layout.steps)
            .ok_or_else(|| OpError::shape("too many steps"))?;
        let rows: Vec<usize> = match (inputs.optional(3)?, cos.shape()) {
            (Some(places), [length, size]) if *size == half => {
                if places.shape() != [layout.batch, layout.steps] {
                    return Err(OpError::shape(format!("position_ids is {:?}", places.shape())));
                }
                let within = |place: i64| {
                    usize::try_from(place).ok().filter(|place| place < length).ok_or_else(|| {
                        OpError::shape(format!("position {place} in a cache of {length}"))
                    })
                };
                places.to_i64s()?.into_iter().map(within).collect::<Result<_, _>>()?
            }
            (None, [batch, length, size])
                if *size == half && *batch == layout.batch && *length == layout.steps =>
            {
                context.claim(&[steps], size_of::<usize>())?;
                (0..steps).collect()
            }
            (_, other) => {
                return Err(OpError::shape(format!(
                    "the caches are {other:?}, that does not go with {:?}",
                    x.shape()
                )));
            }
        };
        let (cos, sin) = (cos.as_slice::<T>()?, sin.as_slice::<T>()?);
        let shape = x.shape().to_vec();
        let mut elements = x.into_vec::<T>()?;
        if elements.is_empty() || half == 0 {
            return Ok(Tensor::new(shape, elements));
        }
        for (number, row) in rows.into_iter().enumerate() {
            let (batch, step) = (number / layout.steps, number % layout.steps);
            let (cos, sin) = (&cos[row * half..][..half], &sin[row * half..][..half]);
            for head in 0..layout.heads {
                let from = layout.place(batch, step, head);
                self.turn_head(&mut elements[from..from + turned], cos, sin);
            }
        }
        Ok(Tensor::new(shape, elements))
    }

    fn turn_head<T: Real>(&self, head: &mut [T], cos: &[T], sin: &[T]) {
        let angles = cos.iter().zip(sin);
        if self.interleaved {
            for (pair, (cos, sin)) in head.chunks_exact_mut(2).zip(angles) {
                let (a, b) = (pair[0], pair[1]);
                pair[0] = *cos * a - *sin * b;
                pair[1] = *sin * a + *cos * b;
            }
        } else {
            let (left, right) = head.split_at_mut(cos.len());
            for ((left, right), (cos, sin)) in left.iter_mut().zip(right).zip(angles) {
                let (a, b) = (*left, *right);
                *left = *cos * a - *sin * b;
                *right = *sin * a + *cos * b;
            }
        }
    }
}
