//! Which scale and which zero point belong to which element: one for the tensor, one for each place along an axis, or
//! one for each block of places.

use crate::error::OpError;
use crate::ops::axis_of;
use crate::tensor::elements_of;

/// Elements in a row whose parameters lie one behind the other, or are all the same.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub(super) start: usize,
    pub(super) length: usize,
    pub(super) parameter: usize,
    /// 0: the whole row has one parameter. 1: each element has its own.
    pub(super) step: usize,
}

/// How the parameters of a tensor are laid out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Blocks {
    outer: usize,
    /// The size of the axis, and how many places along it share a parameter.
    size: usize,
    block: usize,
    inner: usize,
    /// Whether the parameters differ along the other axes too.
    everywhere: bool,
}

impl Blocks {
    /// The layout for a tensor and its scales. `block_size` is 0 where there are no blocks.
    pub(super) fn of(
        shape: &[usize],
        parameters: &[usize],
        axis: i64,
        block_size: usize,
    ) -> Result<Self, OpError> {
        if block_size == 0 && matches!(parameters, [] | [1]) {
            let inner = elements_of(shape).unwrap_or(0);
            return Ok(Self { outer: 1, size: 1, block: 1, inner, everywhere: false });
        }
        let axis = axis_of(axis, shape.len())?;
        let fits = if block_size == 0 {
            parameters.len() == 1 && parameters[0] == shape[axis]
        } else {
            parameters.len() == shape.len()
                && shape.iter().zip(parameters).enumerate().all(|(at, (size, parameters))| {
                    let wanted = if at == axis { size.div_ceil(block_size) } else { *size };
                    *parameters == wanted
                })
        };
        if !fits {
            return Err(OpError::shape(format!(
                "scales of shape {parameters:?} do not fit {shape:?} along axis {axis} with blocks of {block_size}"
            )));
        }
        // The other sizes may be as large as they like.
        if shape.contains(&0) {
            return Ok(Self { outer: 0, size: 0, block: 1, inner: 0, everywhere: false });
        }
        Ok(Self {
            outer: shape[..axis].iter().product(),
            size: shape[axis],
            block: block_size.max(1),
            inner: shape[axis + 1..].iter().product(),
            everywhere: block_size > 0,
        })
    }

    pub(super) fn for_rows(self, mut f: impl FnMut(Row)) {
        let Self { outer, size, block, inner, everywhere } = self;
        let blocks = size.div_ceil(block);
        // An axis that is the last is a row by itself, where each place has its own parameter.
        if inner == 1 && block == 1 {
            for at in 0..outer {
                let parameter = if everywhere { at * size } else { 0 };
                f(Row { start: at * size, length: size, parameter, step: 1 });
            }
            return;
        }
        for at in 0..outer {
            for place in 0..size {
                let start = (at * size + place) * inner;
                let (parameter, step) = if everywhere {
                    ((at * blocks + place / block) * inner, 1)
                } else {
                    (place, 0)
                };
                f(Row { start, length: inner, parameter, step });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_those_of_the_place() {
        let places = |shape: &[usize], parameters: &[usize], axis, block| {
            let mut out = vec![0; shape.iter().product()];
            Blocks::of(shape, parameters, axis, block).unwrap().for_rows(|row| {
                for at in 0..row.length {
                    out[row.start + at] = row.parameter + at * row.step;
                }
            });
            out
        };
        assert_eq!(places(&[2, 3], &[], 9, 0), [0; 6]);
        assert_eq!(places(&[2, 3], &[3], -1, 0), [0, 1, 2, 0, 1, 2]);
        assert_eq!(places(&[2, 3], &[2], 0, 0), [0, 0, 0, 1, 1, 1]);
        assert_eq!(places(&[3, 2], &[2, 2], 0, 2), [0, 1, 0, 1, 2, 3]);
        assert_eq!(places(&[2, 3], &[2, 2], 1, 2), [0, 0, 1, 2, 2, 3]);
        assert!(Blocks::of(&[2, 3], &[2], 1, 0).is_err());
        assert!(Blocks::of(&[2, 3], &[2, 1], 1, 2).is_err());
    }
}
