//! Attention: <https://onnx.ai/onnx/operators/onnx__Attention.html>
//!
//! As the specification reads since its version 1.23, which corrects earlier ones for the same operator sets: the soft cap comes before the
//! mask, a query that sees no key gives zeros, and with `nonpad_kv_seqlen` a causal mask is aligned at the end.
//!
//! Queries are taken in blocks; the scores of one block are all that is kept, unless they are an output.

use super::mask::{Mask, Sight};
use super::precision::{is_half, narrowed, widened};
use super::product::{Real, add_products, add_weighted};
use crate::dtype::{DType, for_dtype};
use crate::error::OpError;
use crate::ops::{BuildError, Inputs, NodeSpec, Operator};
use crate::run::Context;
use crate::tensor::Tensor;
use crate::value::Value;

/// Queries whose scores are computed together.
const BLOCK: usize = 32;

/// What the fourth output shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    Product,
    Capped,
    Masked,
    Softmax,
}

#[derive(Debug)]
struct Attention {
    scale: Option<f64>,
    softcap: f64,
    causal: bool,
    left: Option<usize>,
    right: Option<usize>,
    query_heads: Option<usize>,
    key_heads: Option<usize>,
    /// `None`: nobody wants it.
    shown: Option<Shown>,
}

pub(super) fn build(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    let heads = |name: &str| match spec.int_opt(name)? {
        None => Ok(None),
        Some(heads) => match usize::try_from(heads) {
            Ok(heads) if heads > 0 => Ok(Some(heads)),
            _ => Err(BuildError::invalid(format!("{name} is {heads}"))),
        },
    };
    let window = |name: &str| match spec.int(name, -1)? {
        -1 => Ok(None),
        size => usize::try_from(size)
            .map(Some)
            .map_err(|_| BuildError::invalid(format!("{name} is {size}"))),
    };
    let shown = match spec.int("qk_matmul_output_mode", 0)? {
        0 => Shown::Product,
        1 => Shown::Capped,
        2 => Shown::Masked,
        3 => Shown::Softmax,
        other => return Err(BuildError::invalid(format!("qk_matmul_output_mode is {other}"))),
    };
    let scale = spec.float_opt("scale")?.map(f64::from);
    if scale.is_some_and(|scale| scale.is_nan() || scale < 0.0) {
        return Err(BuildError::invalid(format!("scale is {scale:?}")));
    }
    let softcap = f64::from(spec.float("softcap", 0.0)?);
    if softcap.is_nan() || softcap < 0.0 {
        return Err(BuildError::invalid(format!("softcap is {softcap}")));
    }
    // ONNX 1.19 and 1.23 say opposite things under one version: whether the cap comes before the mask, and so what modes 1 and 2
    // show. Guessing would be a wrong answer to half of the files.
    if softcap > 0.0 && spec.has_input(3) {
        return Err(BuildError::unsupported(
            "softcap together with a mask: releases of ONNX differ in their order",
        ));
    }
    if matches!(shown, Shown::Capped | Shown::Masked) && spec.wants_output(3) {
        return Err(BuildError::unsupported(
            "qk_matmul_output_mode 1 and 2: releases of ONNX differ in what they mean",
        ));
    }
    Ok(Box::new(Attention {
        scale,
        softcap,
        causal: spec.flag("is_causal", false)?,
        left: window("left_window_size")?,
        right: window("right_window_size")?,
        query_heads: heads("q_num_heads")?,
        key_heads: heads("kv_num_heads")?,
        shown: spec.wants_output(3).then_some(shown),
    }))
}

impl Operator for Attention {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        let dtype = inputs.tensor(0)?.dtype();
        for_dtype!(dtype, T in [f32, f64], {
            self.compute::<T>(&inputs, context)
        }, else {
            if is_half(dtype) {
                let value_dtype = inputs.tensor(2)?.dtype();
                let outputs = self.compute::<f32>(&widened(&inputs)?, context)?;
                let narrow = |(at, output)| match (at, value_dtype) {
                    (2, DType::F32) => Ok(output),
                    (2, value_dtype) => narrowed(output, value_dtype),
                    _ => narrowed(output, dtype),
                };
                return outputs.into_iter().enumerate().map(narrow).collect();
            }
            Err(OpError::Type { expected: "a float type", found: dtype })
        })
    }
}

/// An operand by heads: batch, heads, steps, size of a head.
#[derive(Clone, Copy, Debug)]
struct Heads {
    batch: usize,
    heads: usize,
    steps: usize,
    size: usize,
    heads_first: bool,
}

impl Heads {
    fn of(tensor: &Tensor, heads: Option<usize>) -> Result<Self, OpError> {
        match (tensor.shape(), heads) {
            ([batch, heads, steps, size], _) => Ok(Self {
                batch: *batch,
                heads: *heads,
                steps: *steps,
                size: *size,
                heads_first: true,
            }),
            ([batch, steps, hidden], Some(heads)) if hidden.is_multiple_of(heads) => Ok(Self {
                batch: *batch,
                heads,
                steps: *steps,
                size: hidden / heads,
                heads_first: false,
            }),
            (other, _) => Err(OpError::shape(format!(
                "{other:?} with {heads:?} heads: it should have 4 axes, or 3 and a number of heads"
            ))),
        }
    }

    const fn place(self, batch: usize, head: usize, step: usize) -> usize {
        if self.heads_first {
            ((batch * self.heads + head) * self.steps + step) * self.size
        } else {
            ((batch * self.steps + step) * self.heads + head) * self.size
        }
    }
}

/// Keys or values with those of the past before them, heads first.
fn joined<T: Real>(
    tensor: &Tensor,
    heads: Heads,
    past: Option<&Tensor>,
    context: &Context<'_>,
) -> Result<Tensor, OpError> {
    if heads.heads_first && past.is_none() {
        return Ok(tensor.clone());
    }
    let (past_steps, past) = match past {
        None => (0, &[][..]),
        Some(past) => match *past.shape() {
            [batch, of, steps, size]
                if batch == heads.batch && of == heads.heads && size == heads.size =>
            {
                (steps, past.as_slice::<T>()?)
            }
            _ => return Err(OpError::shape(format!("the past is {:?}", past.shape()))),
        },
    };
    let new = tensor.as_slice::<T>()?;
    let steps = past_steps.saturating_add(heads.steps);
    let shape = [heads.batch, heads.heads, steps, heads.size];
    let mut out = Vec::with_capacity(context.claim(&shape, size_of::<T>())?);
    if out.capacity() == 0 {
        return Ok(Tensor::new(shape, out));
    }
    for batch in 0..heads.batch {
        for head in 0..heads.heads {
            let old = past_steps * heads.size;
            out.extend_from_slice(&past[(batch * heads.heads + head) * old..][..old]);
            for step in 0..heads.steps {
                out.extend_from_slice(&new[heads.place(batch, head, step)..][..heads.size]);
            }
        }
    }
    Ok(Tensor::new(shape, out))
}

/// The operands of one run, checked against each other.
#[derive(Debug)]
struct Operands<'a, T: Clone> {
    query: Heads,
    queries: &'a [T],
    /// Heads, and what is kept of each.
    key_heads: usize,
    keys: &'a [T],
    values: &'a [T],
    value_size: usize,
    mask: Mask<'a, T>,
}

/// The keys of each sequence that are no padding, if that is said.
fn lengths_of(
    inputs: &Inputs,
    batch: usize,
    has_past: bool,
) -> Result<Option<Vec<usize>>, OpError> {
    let Some(lengths) = inputs.optional(6)? else { return Ok(None) };
    let lengths = lengths.to_i64s()?;
    if has_past || lengths.len() != batch {
        return Err(OpError::shape(format!(
            "nonpad_kv_seqlen has {} lengths for a batch of {batch}; it does not go with a past",
            lengths.len()
        )));
    }
    let length = |length: i64| {
        u32::try_from(length)
            .map(|length| length as usize)
            .map_err(|_| OpError::shape(format!("a sequence has the length {length}")))
    };
    lengths.into_iter().map(length).collect::<Result<_, _>>().map(Some)
}

impl Attention {
    fn compute<T: Real>(
        &self,
        inputs: &Inputs,
        context: &Context<'_>,
    ) -> Result<Vec<Value>, OpError> {
        let (query, key, value) = (inputs.tensor(0)?, inputs.tensor(1)?, inputs.tensor(2)?);
        let of_query = Heads::of(query, self.query_heads)?;
        let of_key = Heads::of(key, self.key_heads)?;
        let of_value = Heads::of(value, self.key_heads)?;
        let (past_key, past_value) = (inputs.optional(4)?, inputs.optional(5)?);
        if past_key.is_some() != past_value.is_some() {
            return Err(OpError::shape("there are past keys or past values, but not both"));
        }
        let keys = joined::<T>(key, of_key, past_key, context)?;
        let values = joined::<T>(value, of_value, past_value, context)?;
        let fits = of_key.batch == of_query.batch
            && of_value.batch == of_query.batch
            && of_key.size == of_query.size
            && of_key.heads == of_value.heads
            && keys.shape()[2] == values.shape()[2]
            && (of_query.heads == 0
                || (of_key.heads > 0 && of_query.heads.is_multiple_of(of_key.heads)));
        if !fits {
            return Err(OpError::shape(format!(
                "queries {:?}, keys {:?} and values {:?} do not go together",
                query.shape(),
                keys.shape(),
                values.shape()
            )));
        }
        let sight = Sight {
            keys: keys.shape()[2],
            queries: of_query.steps,
            past: past_key.map_or(0, |past| past.shape()[2]),
            lengths: lengths_of(inputs, of_query.batch, past_key.is_some())?,
            causal: self.causal,
            left: self.left,
            right: self.right,
        };
        let operands = Operands {
            query: of_query,
            queries: query.as_slice::<T>()?,
            key_heads: of_key.heads,
            keys: keys.as_slice::<T>()?,
            values: values.as_slice::<T>()?,
            value_size: of_value.size,
            mask: Mask::new(inputs.optional(3)?, of_query.batch, of_query.heads, sight)?,
        };
        let (output, scores) = self.attend(&operands, context)?;
        let mut outputs = vec![output.into(), keys.clone().into(), values.clone().into()];
        outputs.extend(scores.map(Value::from));
        Ok(outputs)
    }

    /// The output, and the scores where they are wanted.
    fn attend<T: Real>(
        &self,
        operands: &Operands<'_, T>,
        context: &Context<'_>,
    ) -> Result<(Tensor, Option<Tensor>), OpError> {
        let query = operands.query;
        let out = Heads { size: operands.value_size, ..query };
        let shape = if query.heads_first {
            vec![query.batch, query.heads, query.steps, out.size]
        } else {
            let hidden = query.heads.checked_mul(out.size);
            vec![query.batch, query.steps, hidden.unwrap_or(usize::MAX)]
        };
        let keys = operands.mask.sight.keys;
        let shown_shape = [query.batch, query.heads, query.steps, keys];
        let mut output = vec![T::ZERO; context.claim(&shape, size_of::<T>())?];
        let mut shown = match self.shown {
            None => Vec::new(),
            Some(_) => vec![T::ZERO; context.claim(&shown_shape, size_of::<T>())?],
        };
        context.claim(&[BLOCK, keys], size_of::<T>())?;
        let empty = output.is_empty() && shown.is_empty();
        let heads = if empty { 0 } else { query.batch.saturating_mul(query.heads) };
        let mut rows = Rows { scores: Vec::new(), queries: Vec::new() };
        for number in 0..heads {
            let (batch, head) = (number / query.heads, number % query.heads);
            for from in (0..query.steps).step_by(BLOCK) {
                let to = query.steps.min(from + BLOCK);
                let all = self.shown.is_some();
                let seen = operands.seen(batch, from..to, all);
                self.scale(&mut rows.queries, operands, [batch, head], from..to);
                rows.score(operands, [batch, head], seen.clone());
                for (step, scores) in
                    (from..to).zip(rows.scores.chunks_exact_mut(seen.len().max(1)))
                {
                    let place = (number * query.steps + step) * keys;
                    let shown = shown.get_mut(place..place + keys);
                    self.finish(&operands.mask, [batch, head, step], seen.start, scores, shown);
                    let place = out.place(batch, head, step);
                    let values = operands.values_of([batch, head], seen.clone());
                    add_weighted(scores, values, &mut output[place..place + out.size]);
                }
            }
        }
        let shown = self.shown.map(|_| Tensor::new(shown_shape, shown));
        Ok((Tensor::new(shape, output), shown))
    }

    /// Copies a block of queries, scaled.
    fn scale<T: Real>(
        &self,
        to: &mut Vec<T>,
        operands: &Operands<'_, T>,
        [batch, head]: [usize; 2],
        steps: std::ops::Range<usize>,
    ) {
        let query = operands.query;
        #[expect(clippy::cast_precision_loss, reason = "a head has far less than 2^53 elements")]
        let default = || 1.0 / (query.size as f64).sqrt();
        let scale = T::of(self.scale.unwrap_or_else(default));
        to.clear();
        for step in steps {
            let from = query.place(batch, head, step);
            to.extend(operands.queries[from..from + query.size].iter().map(|x| *x * scale));
        }
    }

    /// Turns the scores of one query into weights.
    fn finish<T: Real>(
        &self,
        mask: &Mask<'_, T>,
        at: [usize; 3],
        first: usize,
        scores: &mut [T],
        mut shown: Option<&mut [T]>,
    ) {
        let mut show = |stage: Shown, scores: &[T]| {
            if self.shown == Some(stage)
                && let Some(shown) = shown.as_deref_mut()
            {
                shown.copy_from_slice(scores);
            }
        };
        show(Shown::Product, scores);
        if self.softcap > 0.0 {
            let cap = T::of(self.softcap);
            scores.iter_mut().for_each(|score| *score = cap * (*score / cap).tanh());
        }
        show(Shown::Capped, scores);
        let any = mask.add(at, first, scores);
        show(Shown::Masked, scores);
        if any {
            softmax(scores);
        } else {
            scores.fill(T::ZERO);
        }
        show(Shown::Softmax, scores);
    }
}

/// Working memory for a block of queries.
#[derive(Debug)]
struct Rows<T> {
    scores: Vec<T>,
    queries: Vec<T>,
}

impl<T: Real> Rows<T> {
    fn score(&mut self, operands: &Operands<'_, T>, at: [usize; 2], seen: std::ops::Range<usize>) {
        let size = operands.query.size;
        let queries = self.queries.len().checked_div(size).unwrap_or(0);
        self.scores.clear();
        self.scores.resize(queries.max(usize::from(size == 0) * BLOCK) * seen.len(), T::ZERO);
        add_products(&self.queries, operands.keys_of(at, seen), size, &mut self.scores);
    }
}

impl<T: Real> Operands<'_, T> {
    /// The keys that any query of a block sees.
    fn seen(
        &self,
        batch: usize,
        queries: std::ops::Range<usize>,
        all: bool,
    ) -> std::ops::Range<usize> {
        let sight = &self.mask.sight;
        if all || queries.is_empty() {
            return 0..sight.keys;
        }
        // Both ends only ever move on from query to query.
        sight.range(batch, queries.start).start..sight.range(batch, queries.end - 1).end
    }

    fn head_of(&self, [batch, head]: [usize; 2]) -> usize {
        batch * self.key_heads + head / (self.query.heads / self.key_heads.max(1)).max(1)
    }

    fn keys_of(&self, at: [usize; 2], keys: std::ops::Range<usize>) -> &[T] {
        let (from, size) = (self.head_of(at) * self.mask.sight.keys, self.query.size);
        &self.keys[(from + keys.start) * size..(from + keys.end) * size]
    }

    fn values_of(&self, at: [usize; 2], keys: std::ops::Range<usize>) -> &[T] {
        let (from, size) = (self.head_of(at) * self.mask.sight.keys, self.value_size);
        &self.values[(from + keys.start) * size..(from + keys.end) * size]
    }
}

fn softmax<T: Real>(scores: &mut [T]) {
    let most = scores.iter().copied().fold(T::neg_infinity(), T::max);
    let mut sum = T::ZERO;
    for score in scores.iter_mut() {
        *score = (*score - most).exp();
        sum = sum + *score;
    }
    scores.iter_mut().for_each(|score| *score = *score / sum);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;

    fn attention() -> Attention {
        Attention {
            scale: None,
            softcap: 0.0,
            causal: false,
            left: None,
            right: None,
            query_heads: None,
            key_heads: None,
            shown: None,
        }
    }

    fn run(attention: &Attention, inputs: Vec<Option<Tensor>>) -> Result<Vec<Value>, OpError> {
        let limits = Limits::default();
        let inputs = inputs.into_iter().map(|tensor| tensor.map(Value::from)).collect();
        attention.run(Inputs(inputs), &mut Context::new(&limits, 0))
    }

    fn ramp(shape: &[usize]) -> Option<Tensor> {
        let count = crate::tensor::elements_of(shape).unwrap();
        let elements = (0..count).map(|at| (at as f32).sin()).collect();
        Some(Tensor::new(shape, elements))
    }

    #[test]
    fn a_query_that_sees_nothing_gives_zeros() {
        let mask = Tensor::bools([2, 3], [false, false, false, true, false, false].into_iter());
        let value = ramp(&[1, 1, 3, 2]);
        let inputs = vec![ramp(&[1, 1, 2, 4]), ramp(&[1, 1, 3, 4]), value.clone(), Some(mask)];
        let out = run(&attention(), inputs).unwrap();
        let out = out[0].as_tensor().unwrap().as_slice::<f32>().unwrap().to_vec();
        assert_eq!(out[..2], [0.0, 0.0]);
        assert_eq!(out[2..], value.unwrap().as_slice::<f32>().unwrap()[..2]);
    }

    #[test]
    fn blocks_of_queries_give_what_all_scores_give() {
        let inputs =
            vec![ramp(&[2, 4, 70, 5]), ramp(&[2, 2, 70, 5]), ramp(&[2, 2, 70, 3]), ramp(&[70, 70])];
        let narrow = Attention { causal: true, left: Some(40), ..attention() };
        let whole =
            Attention { causal: true, left: Some(40), shown: Some(Shown::Softmax), ..attention() };
        let (narrow, whole) = (run(&narrow, inputs.clone()).unwrap(), run(&whole, inputs).unwrap());
        assert_eq!((narrow.len(), whole.len()), (3, 4));
        let of =
            |outputs: &[Value]| outputs[0].as_tensor().unwrap().as_slice::<f32>().unwrap().to_vec();
        assert!(of(&narrow).iter().zip(of(&whole)).all(|(a, b)| (a - b).abs() < 1e-5));
    }

    #[test]
    fn operands_that_do_not_go_together_are_refused() {
        let shapes: [[&[usize]; 3]; 6] = [
            [&[1, 1, 2, 4], &[1, 1, 3, 5], &[1, 1, 3, 2]],
            [&[1, 1, 2, 4], &[1, 1, 3, 4], &[1, 1, 2, 2]],
            [&[1, 3, 2, 4], &[1, 2, 3, 4], &[1, 2, 3, 2]],
            [&[2, 1, 2, 4], &[1, 1, 3, 4], &[1, 1, 3, 2]],
            [&[1, 2, 4], &[1, 3, 4], &[1, 3, 2]],
            [&[], &[1, 3, 4], &[1, 3, 2]],
        ];
        for shapes in shapes {
            assert!(run(&attention(), shapes.map(ramp).to_vec()).is_err(), "{shapes:?}");
        }
        let good = [&[1, 1, 2, 4][..], &[1, 1, 3, 4], &[1, 1, 3, 2]].map(ramp).to_vec();
        for mask in [&[2, 4][..], &[3, 3], &[1, 1, 1, 2, 3]] {
            assert!(run(&attention(), [good.clone(), vec![ramp(mask)]].concat()).is_err());
        }
        // Nothing to see, nothing to say, nobody to ask.
        for [q, k, v] in [[2, 0, 0], [0, 3, 3]] {
            let inputs = vec![ramp(&[1, 1, q, 4]), ramp(&[1, 1, k, 4]), ramp(&[1, 1, v, 2])];
            assert!(run(&attention(), inputs).is_ok());
        }
    }
}
