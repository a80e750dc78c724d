//! Einsum: <https://onnx.ai/onnx/operators/onnx__Einsum.html>
//!
//! Two operands of f32 become a product of matrices where the equation is one; everything else runs on loops. An axis of
//! size 1 is repeated, as NumPy has it. Integers wrap.

use super::equation::{Equation, Label};
use super::widening::run_widened;
use crate::dtype::{DType, Element, for_dtype};
use crate::error::OpError;
use crate::ops::broadcast::for_rows;
use crate::ops::{BuildError, Inputs, NodeSpec, Operator};
use crate::run::Context;
use crate::tensor::{Tensor, elements_of};
use crate::value::Value;
use embermq_kernels::{Epilogue, Left, Product, Right, RowMajor};

#[derive(Debug)]
struct Einsum(Equation);

pub(super) fn build(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    let equation = spec.text_opt("equation")?;
    let equation = equation.ok_or_else(|| BuildError::invalid("the equation is missing"))?;
    let equation = Equation::parse(equation)?;
    if equation.terms.len() != spec.input_count() {
        let (terms, operands) = (equation.terms.len(), spec.input_count());
        return Err(BuildError::invalid(format!(
            "the equation has {terms} terms for {operands} operands"
        )));
    }
    Ok(Box::new(Einsum(equation)))
}

/// An axis of the sum: a letter, or one of those that an ellipsis stands for, counted from the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Axis {
    Letter(char),
    Behind(usize),
}

/// All axes with their sizes, those of the output first, and how far apart each operand's elements lie along them.
struct Space {
    axes: Vec<Axis>,
    sizes: Vec<usize>,
    outputs: usize,
    strides: Vec<Vec<usize>>,
}

fn expand(labels: &[Label], behind: usize) -> Vec<Axis> {
    let mut axes = Vec::new();
    for label in labels {
        match label {
            Label::Letter(letter) => axes.push(Axis::Letter(*letter)),
            Label::Ellipsis => axes.extend((0..behind).rev().map(Axis::Behind)),
        }
    }
    axes
}

impl Space {
    fn new(equation: &Equation, shapes: &[&[usize]]) -> Result<Self, OpError> {
        let mut terms = Vec::with_capacity(shapes.len());
        let mut behind = 0;
        for (term, shape) in equation.terms.iter().zip(shapes) {
            let ellipsis = term.contains(&Label::Ellipsis);
            let letters = term.len() - usize::from(ellipsis);
            let rest = shape.len().checked_sub(letters).filter(|rest| ellipsis || *rest == 0);
            let rest = rest.ok_or_else(|| {
                OpError::shape(format!("{shape:?} has not as many axes as its term has letters"))
            })?;
            terms.push(expand(term, rest));
            behind = behind.max(rest);
        }
        let mut space = Self {
            axes: expand(&equation.output, behind),
            sizes: Vec::new(),
            outputs: 0,
            strides: Vec::new(),
        };
        space.outputs = space.axes.len();
        for axis in terms.iter().flatten() {
            if !space.axes.contains(axis) {
                space.axes.push(*axis);
            }
        }
        space.sizes = vec![1; space.axes.len()];
        for (term, shape) in terms.iter().zip(shapes) {
            space.place(term, shape)?;
        }
        for (term, shape) in terms.iter().zip(shapes) {
            space.strides.push(space.strides_of(term, shape));
        }
        Ok(space)
    }

    fn at(&self, axis: Axis) -> usize {
        self.axes.iter().position(|known| *known == axis).unwrap_or(0)
    }

    fn place(&mut self, term: &[Axis], shape: &[usize]) -> Result<(), OpError> {
        for (axis, size) in term.iter().zip(shape) {
            let at = self.at(*axis);
            let known = &mut self.sizes[at];
            match (*known, *size) {
                (known, size) if known == size => {}
                (1, size) => *known = size,
                (_, 1) => {}
                (known, size) => {
                    return Err(OpError::shape(format!(
                        "{axis:?} has size {known} in one operand and {size} in another"
                    )));
                }
            }
        }
        Ok(())
    }

    fn strides_of(&self, term: &[Axis], shape: &[usize]) -> Vec<usize> {
        let mut strides = vec![0; self.axes.len()];
        let mut step = 1;
        for (axis, size) in term.iter().zip(shape).rev() {
            if *size != 1 {
                // An axis that a term names twice is its diagonal.
                strides[self.at(*axis)] += step;
            }
            step *= size;
        }
        strides
    }

    /// Sums over all axes that the output has not.
    fn sum<T: Element>(
        &self,
        operands: &[&[T]],
        elements: usize,
        add: impl Fn(T, T) -> T,
        multiply: impl Fn(T, T) -> T,
    ) -> Vec<T> {
        let (outer, inner) = self.sizes.split_at(self.outputs);
        let mut places = vec![0_usize; operands.len()];
        let mut index = vec![0_usize; self.axes.len()];
        let mut out = Vec::with_capacity(elements);
        let empty = inner.contains(&0);
        for _ in 0..elements {
            let mut sum = T::ZERO;
            if empty {
                out.push(sum);
                self.step(&mut index, &mut places, 0..outer.len());
                continue;
            }
            loop {
                let factors = operands.iter().zip(&places).map(|(operand, place)| operand[*place]);
                sum = add(sum, factors.fold(T::ONE, &multiply));
                if !self.step(&mut index, &mut places, self.outputs..self.axes.len()) {
                    break;
                }
            }
            out.push(sum);
            self.step(&mut index, &mut places, 0..outer.len());
        }
        out
    }

    /// Moves to the next place along some axes; `false`: all were seen, and it stands at the first again.
    fn step(
        &self,
        index: &mut [usize],
        places: &mut [usize],
        axes: std::ops::Range<usize>,
    ) -> bool {
        for axis in axes.rev() {
            index[axis] += 1;
            let strides = self.strides.iter().map(|strides| strides[axis]);
            if index[axis] < self.sizes[axis] {
                places.iter_mut().zip(strides).for_each(|(place, stride)| *place += stride);
                return true;
            }
            let back = index[axis] - 1;
            index[axis] = 0;
            places.iter_mut().zip(strides).for_each(|(place, stride)| *place -= stride * back);
        }
        false
    }

    /// Two operands as products of matrices. `None`: the equation is something else.
    fn product(&self, operands: &[&[f32]], context: &Context<'_>) -> Option<Vec<f32>> {
        let [left_strides, right_strides] = &self.strides[..] else { return None };
        let mut groups: [Vec<usize>; 4] = Default::default();
        for axis in 0..self.axes.len() {
            if self.sizes[axis] == 1 {
                continue;
            }
            let (in_left, in_right) = (left_strides[axis] != 0, right_strides[axis] != 0);
            let group = match (in_left, in_right, axis < self.outputs) {
                (true, true, true) => 0,
                (true, false, true) => 1,
                (false, true, true) => 2,
                (true, true, false) => 3,
                _ => return None,
            };
            groups[group].push(axis);
        }
        let [batch, left, right, inner] = &groups;
        let count = |axes: &[usize]| axes.iter().map(|axis| self.sizes[*axis]).product::<usize>();
        let (rows, columns, depth) = (count(left), count(right), count(inner));
        let sizes = |axes: &[usize]| axes.iter().map(|axis| self.sizes[*axis]).collect::<Vec<_>>();
        let gather = |data: &[f32], axes: Vec<usize>, strides: &[usize]| {
            context.claim(&sizes(&axes), size_of::<f32>()).ok()?;
            Some(gathered(
                data,
                &sizes(&axes),
                &axes.iter().map(|axis| strides[*axis]).collect::<Vec<_>>(),
            ))
        };
        let a = gather(operands[0], [&batch[..], left, inner].concat(), left_strides)?;
        let b = gather(operands[1], [&batch[..], inner, right].concat(), right_strides)?;
        let mut out = vec![0.0; count(batch) * rows * columns];
        for number in 0..count(batch) {
            let left = &a[number * rows * depth..(number + 1) * rows * depth];
            let right = &b[number * depth * columns..(number + 1) * depth * columns];
            let epilogue = Epilogue::NONE;
            let left = Left::dense(left, depth);
            let product = Product { rows, depth, columns, left, epilogue };
            let place = &mut out[number * rows * columns..(number + 1) * rows * columns];
            let right = Right::Rows(RowMajor { data: right, step: columns, columns });
            product.with(right, place, columns);
        }
        // Where each axis of the output lies in what was computed.
        let made = [&batch[..], left, right].concat();
        let mut strides = vec![0; self.outputs];
        let mut step = 1;
        for axis in made.iter().rev() {
            strides[*axis] = step;
            step *= self.sizes[*axis];
        }
        Some(gathered(&out, &self.sizes[..self.outputs], &strides))
    }
}

/// The elements of a tensor in another order of its axes.
fn gathered(data: &[f32], sizes: &[usize], strides: &[usize]) -> Vec<f32> {
    let mut out = Vec::with_capacity(elements_of(sizes).unwrap_or(0));
    let (last, step) = (sizes.last().copied().unwrap_or(1), strides.last().copied().unwrap_or(0));
    for_rows(sizes, strides, strides, |_, at, _| match step {
        1 => out.extend_from_slice(&data[at..at + last]),
        _ => out.extend((0..last).map(|j| data[at + j * step])),
    });
    out
}

impl Operator for Einsum {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        if let Some(outputs) = run_widened(self, &inputs, context) {
            return outputs;
        }
        let tensors =
            (0..inputs.len()).map(|at| inputs.tensor(at)).collect::<Result<Vec<_>, _>>()?;
        let shapes: Vec<&[usize]> = tensors.iter().map(|tensor| tensor.shape()).collect();
        let space = Space::new(&self.0, &shapes)?;
        let shape = space.sizes[..space.outputs].to_vec();
        let dtype = inputs.tensor(0)?.dtype();
        let elements = context.claim(&shape, dtype.bytes())?;
        if dtype == DType::F32 && elements > 0 {
            let operands = slices::<f32>(&tensors)?;
            if let Some(out) = space.product(&operands, context) {
                return Ok(vec![Tensor::new(shape, out).into()]);
            }
        }
        for_dtype!(dtype, T in [f32, f64], {
            let operands = slices::<T>(&tensors)?;
            let out = space.sum(&operands, elements, |a, b| a + b, |a, b| a * b);
            return Ok(vec![Tensor::new(shape, out).into()]);
        }, else {});
        for_dtype!(dtype, T in [i8, i16, i32, i64, u8, u16, u32, u64], {
            let operands = slices::<T>(&tensors)?;
            let out = space.sum(&operands, elements, T::wrapping_add, T::wrapping_mul);
            Ok(vec![Tensor::new(shape, out).into()])
        }, else { Err(OpError::Type { expected: "a numeric type", found: dtype }) })
    }
}

fn slices<'a, T: Element>(tensors: &[&'a Tensor]) -> Result<Vec<&'a [T]>, OpError> {
    tensors.iter().map(|tensor| tensor.as_slice::<T>()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;

    fn run(equation: &str, operands: &[(&[usize], &[f32])]) -> Result<Tensor, OpError> {
        let tensor =
            |(shape, data): &(&[usize], &[f32])| Some(Tensor::new(*shape, data.to_vec()).into());
        let inputs = Inputs(operands.iter().map(tensor).collect());
        let limits = Limits::default();
        let operator = Einsum(Equation::parse(equation).unwrap());
        operator.run(inputs, &mut Context::new(&limits, 0))?.remove(0).into_tensor()
    }

    #[test]
    fn products_sums_and_diagonals() {
        let square: (&[usize], &[f32]) = (&[2, 2], &[1.0, 2.0, 3.0, 4.0]);
        let row: (&[usize], &[f32]) = (&[2], &[1.0, 10.0]);
        let of = |equation, operands: &[_]| {
            run(equation, operands).unwrap().as_slice::<f32>().unwrap().to_vec()
        };
        assert_eq!(of("ij,jk->ki", &[square, square]), [7.0, 15.0, 10.0, 22.0]);
        assert_eq!(of("ii->i", &[square]), [1.0, 4.0]);
        assert_eq!(of("ij->", &[square]), [10.0]);
        assert_eq!(of("i,j", &[row, row]), [1.0, 10.0, 10.0, 100.0]);
        assert_eq!(of("...j,j->...", &[square, row]), [21.0, 43.0]);
        assert_eq!(of("ij,ij->i", &[square, square]), [5.0, 25.0]);
        assert_eq!(of("ij,i,j->", &[square, row, row]), [1.0 + 20.0 + 30.0 + 400.0]);
        assert_eq!(of("ij,jk->i", &[square, square]), [3.0 + 14.0, 9.0 + 28.0]);
    }

    #[test]
    fn what_does_not_fit_is_refused_and_nothing_sums_to_zero() {
        let row: (&[usize], &[f32]) = (&[2], &[1.0, 10.0]);
        assert!(run("ij", &[row]).is_err());
        assert!(run("i,i->", &[row, (&[3], &[0.0; 3])]).is_err());
        assert_eq!(run("ij->j", &[(&[0, 2], &[])]).unwrap().as_slice::<f32>().unwrap(), [0.0, 0.0]);
        assert_eq!(run("ij,jk->ik", &[(&[1, 0], &[]), (&[0, 1], &[])]).unwrap().shape(), [1, 1]);
    }
}
