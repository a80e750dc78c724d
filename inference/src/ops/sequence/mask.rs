//! Which keys a query of [`Attention`](super::attention) sees, and what is added to its scores.

use std::borrow::Cow;
use std::ops::Range;

use super::product::Real;
use crate::dtype::DType;
use crate::error::OpError;
use crate::tensor::Tensor;

#[derive(Debug)]
enum Elements<'a, T: Clone> {
    None,
    /// Not 0: seen.
    Flags(&'a [u8]),
    Added(Cow<'a, [T]>),
}

/// The mask operand, and what the attributes and lengths say.
#[derive(Debug)]
pub(super) struct Mask<'a, T: Clone> {
    elements: Elements<'a, T>,
    /// Distances per batch, head and query; 0 where it is repeated.
    strides: [usize; 3],
    /// Keys that the operand speaks of; those behind are not seen.
    covered: usize,
    pub(super) sight: Sight,
}

/// What is seen whatever the operand says.
#[derive(Debug)]
pub(super) struct Sight {
    pub(super) keys: usize,
    pub(super) queries: usize,
    /// Keys before those of this call.
    pub(super) past: usize,
    /// Keys of each sequence of the batch that are no padding.
    pub(super) lengths: Option<Vec<usize>>,
    pub(super) causal: bool,
    pub(super) left: Option<usize>,
    pub(super) right: Option<usize>,
}

impl Sight {
    /// The keys that a query sees.
    pub(super) fn range(&self, batch: usize, query: usize) -> Range<usize> {
        let length = self.lengths.as_ref().and_then(|lengths| lengths.get(batch)).copied();
        let mut end = length.map_or(self.keys, |length| length.min(self.keys));
        // With lengths the queries are the last ones of their sequence; they may be more than there are keys.
        let (ahead, behind) = match length {
            Some(length) => (length, self.queries),
            None => (self.past, 0),
        };
        let place = |offset: usize| (query + ahead + offset).saturating_sub(behind);
        if self.causal {
            end = end.min(place(1));
        }
        if let Some(right) = self.right {
            end = end.min(place(right.saturating_add(1).min(self.keys + self.queries)));
        }
        let start = match self.left {
            Some(left) => (query + ahead).saturating_sub(behind.saturating_add(left)),
            None => 0,
        };
        start.min(end)..end
    }
}

impl<'a, T: Real> Mask<'a, T> {
    pub(super) fn new(
        tensor: Option<&'a Tensor>,
        batch: usize,
        heads: usize,
        sight: Sight,
    ) -> Result<Self, OpError> {
        let Some(tensor) = tensor else {
            let covered = sight.keys;
            return Ok(Self { elements: Elements::None, strides: [0; 3], covered, sight });
        };
        let shape = tensor.shape();
        let wrong = || {
            let wanted = [batch, heads, sight.queries, sight.keys];
            OpError::shape(format!("the mask {shape:?} does not broadcast to {wanted:?}"))
        };
        let Some((covered, outer)) = shape.split_last() else { return Err(wrong()) };
        if outer.len() > 3 || *covered > sight.keys {
            return Err(wrong());
        }
        let mut strides = [0; 3];
        let wanted = [batch, heads, sight.queries];
        let mut step = *covered;
        for (at, size) in outer.iter().rev().enumerate() {
            let axis = 2 - at;
            if *size == wanted[axis] {
                strides[axis] = step;
            } else if *size != 1 {
                return Err(wrong());
            }
            step = step.saturating_mul(*size);
        }
        let elements = match tensor.dtype() {
            DType::Bool => Elements::Flags(tensor.as_slice()?),
            _ => Elements::Added(match tensor.get::<T>() {
                Some(elements) => Cow::Borrowed(elements),
                None => {
                    tensor.to_f32s()?.into_iter().map(|value| T::of(f64::from(value))).collect()
                }
            }),
        };
        Ok(Self { elements, strides, covered: *covered, sight })
    }

    /// Adds the mask to the scores of one query, of the keys from `first` on. False: it sees no key.
    pub(super) fn add(&self, at: [usize; 3], first: usize, scores: &mut [T]) -> bool {
        let [batch, _, query] = at;
        let seen = self.sight.range(batch, query);
        let row: usize = at.iter().zip(self.strides).map(|(at, stride)| at * stride).sum();
        let hidden = T::neg_infinity();
        let mut any = false;
        for (key, score) in (first..).zip(scores.iter_mut()) {
            let added = if !seen.contains(&key) || key >= self.covered {
                hidden
            } else {
                match &self.elements {
                    Elements::Flags(flags) if flags[row + key] == 0 => hidden,
                    Elements::None | Elements::Flags(_) => T::ZERO,
                    Elements::Added(values) => values[row + key],
                }
            };
            any |= added != hidden;
            *score = *score + added;
        }
        any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_see_backwards_from_their_place() {
        let mut sight = Sight {
            keys: 8,
            queries: 4,
            past: 0,
            lengths: Some(vec![4, 8, 2]),
            causal: true,
            left: None,
            right: None,
        };
        let range = |sight: &Sight, batch| {
            (0..4).map(move |query| sight.range(batch, query)).collect::<Vec<_>>()
        };
        assert_eq!(range(&sight, 0), [0..1, 0..2, 0..3, 0..4]);
        assert_eq!(range(&sight, 1), [0..5, 0..6, 0..7, 0..8]);
        assert_eq!(range(&sight, 2), [0..0, 0..0, 0..1, 0..2]);
        (sight.lengths, sight.causal) = (None, false);
        (sight.left, sight.right) = (Some(2), Some(1));
        assert_eq!(range(&sight, 0), [0..2, 0..3, 0..4, 1..5]);
        (sight.left, sight.right) = (Some(usize::MAX), Some(usize::MAX));
        assert_eq!(range(&sight, 0), [0..8, 0..8, 0..8, 0..8]);
    }
}
