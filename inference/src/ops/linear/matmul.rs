//! MatMul: <https://onnx.ai/onnx/operators/onnx__MatMul.html>
//!
//! As NumPy's `matmul`: the last two axes are matrices, the others broadcast; an operand of one axis is a row or a column. Integers wrap.

use super::fused::{activation_of, add_spread};
use super::packed::{Bias, Constant, Packed, Packs, Specialised, WithPacked};
use super::widening::run_widened;
use crate::dtype::{DType, Element, for_dtype};
use crate::error::OpError;
use crate::ops::broadcast::{for_rows, joint_shape, strides_in};
use crate::ops::{BuildError, Inputs, NodeSpec, Operator};
use crate::run::Context;
use crate::tensor::{Shape, Tensor, elements_of};
use crate::value::Value;
use embermq_kernels::{
    Activation, Buffer, Epilogue, Left, PackedColumns, Product, Right, RowMajor,
};

/// Behind both matrices come a bias for the columns and what is added to the output, if the planner put them into it.
#[derive(Clone, Copy, Debug)]
struct MatMul {
    scale: f32,
    activation: Activation,
}

pub(super) fn build(_: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    Ok(Box::new(MatMul { scale: 1.0, activation: Activation::None }))
}

pub(super) fn build_fused(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    let (scale, activation) = (spec.float("scale", 1.0)?, activation_of(spec)?);
    Ok(Box::new(MatMul { scale, activation }))
}

/// The right operand: its shape, and its elements as they lie or packed.
struct Matrix<'a> {
    shape: &'a [usize],
    data: Result<&'a [f32], &'a PackedColumns>,
}

/// What the shapes of the operands say.
struct Sizes {
    rows: usize,
    depth: usize,
    columns: usize,
    /// The output's axes before the matrices.
    batch: Shape,
    left_batch: Shape,
    right_batch: Shape,
    shape: Shape,
}

fn sizes(left: &[usize], right: &[usize]) -> Result<Sizes, OpError> {
    let refused = || OpError::shape(format!("no product of {left:?} and {right:?}"));
    let (left_batch, rows, depth) = match left {
        [] => return Err(refused()),
        [depth] => (&[][..], 1, *depth),
        [batch @ .., rows, depth] => (batch, *rows, *depth),
    };
    let (right_batch, below, columns) = match right {
        [] => return Err(refused()),
        [below] => (&[][..], *below, 1),
        [batch @ .., below, columns] => (batch, *below, *columns),
    };
    if depth != below {
        return Err(refused());
    }
    let batch = joint_shape(left_batch, right_batch)?;
    let mut shape = batch.clone();
    if left.len() > 1 {
        shape.push(rows);
    }
    if right.len() > 1 {
        shape.push(columns);
    }
    let (left_batch, right_batch) = (left_batch.to_vec(), right_batch.to_vec());
    Ok(Sizes { rows, depth, columns, batch, left_batch, right_batch, shape })
}

impl Sizes {
    /// Calls `f` with the numbers of the output's, the left and the right matrix, for each product.
    fn for_each(&self, mut f: impl FnMut(usize, usize, usize)) {
        let unit = |shape: &[usize]| [shape, &[1]].concat();
        let shape = unit(&self.batch);
        let left = strides_in(&unit(&self.left_batch), &shape);
        let right = strides_in(&unit(&self.right_batch), &shape);
        for_rows(&shape, &left, &right, &mut f);
    }

    /// All rows of the left operand can be multiplied at once with the one right matrix.
    fn one_right(&self) -> Option<usize> {
        let one = elements_of(&self.right_batch) == Some(1);
        one.then(|| elements_of(&self.batch)?.checked_mul(self.rows)).flatten()
    }
}

impl MatMul {
    fn run_f32(
        &self,
        inputs: &Inputs,
        packed: Option<&Packed>,
        context: &Context<'_>,
    ) -> Result<Tensor, OpError> {
        let left = inputs.tensor(0)?;
        let right = match packed {
            Some(packed) => Matrix { shape: &packed.shape, data: Err(&packed.columns) },
            None => {
                let right = inputs.tensor(1)?;
                Matrix { shape: right.shape(), data: Ok(right.as_slice::<f32>()?) }
            }
        };
        let sizes = sizes(left.shape(), right.shape)?;
        let elements = context.claim(&sizes.shape, size_of::<f32>())?;
        let bias = packed.map_or_else(|| inputs.optional(2), |p| p.bias.or_operand(inputs))?;
        let added = inputs.optional(3)?;
        if let Some(bias) = bias.filter(|bias| bias.shape() != [sizes.columns]) {
            let (found, columns) = (bias.shape(), sizes.columns);
            return Err(OpError::shape(format!("the bias is {found:?}, it should be [{columns}]")));
        }
        if let Some(spread) = added.filter(|added| added.shape() != sizes.shape) {
            let plain = Self { activation: Activation::None, ..*self };
            let operands = [Some(left), inputs.optional(1)?, bias];
            let operands = operands.map(|tensor| tensor.cloned().map(Value::from));
            let out = plain.run_f32(&Inputs(operands.into()), packed, context)?;
            return add_spread(&out, spread, self.activation, context);
        }
        let left = left.as_slice::<f32>()?;
        let added = added.map(Tensor::as_slice::<f32>).transpose()?;
        let epilogue = Epilogue {
            scale: self.scale,
            row_bias: None,
            column_bias: bias.map(Tensor::as_slice).transpose()?,
            added,
            activation: self.activation,
        };
        let Sizes { rows, depth, columns, .. } = sizes;
        let mut out = Buffer::new(elements);
        if let Some(rows) = sizes.one_right() {
            let left = Left::dense(left, depth);
            let product = Product { rows, depth, columns, left, epilogue };
            match right.data {
                Err(packed) => product.with_packed(packed, &mut out, columns),
                Ok(right) => {
                    let right = RowMajor { data: right, step: columns, columns };
                    product.with(Right::Rows(right), &mut out, columns);
                }
            }
            return Ok(Tensor::reusing(sizes.shape, out));
        }
        // Only one matrix is packed.
        let right = right.data.map_err(|_| OpError::Missing(1))?;
        let size = rows * columns;
        sizes.for_each(|number, of_left, of_right| {
            let place = number * size..(number + 1) * size;
            let left = &left[of_left * rows * depth..(of_left + 1) * rows * depth];
            let right = &right[of_right * depth * columns..(of_right + 1) * depth * columns];
            let added = added.map(|added| &added[place.clone()]);
            let epilogue = Epilogue { added, ..epilogue };
            let left = Left::dense(left, depth);
            let product = Product { rows, depth, columns, left, epilogue };
            product.with(
                Right::Rows(RowMajor { data: right, step: columns, columns }),
                &mut out[place],
                columns,
            );
        });
        Ok(Tensor::reusing(sizes.shape, out))
    }
}

impl Operator for MatMul {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Vec<Value>, OpError> {
        self.run_with(inputs, None, context)
    }

    fn specialised(
        &self,
        constants: &[Option<Constant>],
        packs: &mut Packs,
    ) -> Option<Box<dyn Operator>> {
        let right = &constants.get(1)?.as_ref()?.tensor;
        let data = right.get::<f32>()?;
        let [batch @ .., depth, columns] = right.shape() else { return None };
        if elements_of(batch) != Some(1) || right.is_empty() {
            return None;
        }
        let rows = RowMajor { data, step: *columns, columns: *columns };
        let packed = packs.columns(constants, Right::Rows(rows), [*depth, *columns])?;
        Some(Box::new(Specialised { plain: *self, packed }))
    }
}

impl WithPacked for MatMul {
    type Packed = Packed;

    fn bias(packed: &Packed) -> &Bias {
        &packed.bias
    }

    fn run_with(
        &self,
        mut inputs: Inputs,
        packed: Option<&Packed>,
        context: &mut Context<'_>,
    ) -> Result<Vec<Value>, OpError> {
        if packed.is_none()
            && let Some(outputs) = run_widened(self, &inputs, context)
        {
            return outputs;
        }
        if packed.is_some() || inputs.tensor(0)?.dtype() == DType::F32 {
            let out = self.run_f32(&inputs, packed, context)?;
            for at in [0, 1, 3] {
                inputs.take_tensor(at).into_iter().for_each(Tensor::recycle);
            }
            return Ok(vec![out.into()]);
        }
        let (left, right) = (inputs.tensor(0)?, inputs.tensor(1)?);
        for_dtype!(left.dtype(), T in [f64], {
            return Ok(vec![plain::<T>(left, right, context, |sum, a, b| sum + a * b)?.into()]);
        }, else {});
        for_dtype!(left.dtype(), T in [i32, i64, u32, u64], {
            let step = |sum: T, a: T, b: T| sum.wrapping_add(a.wrapping_mul(b));
            Ok(vec![plain::<T>(left, right, context, step)?.into()])
        }, else {
            let expected = "a float type or an integer of at least 32 bits";
            Err(OpError::Type { expected, found: left.dtype() })
        })
    }
}

fn plain<T: Element>(
    left: &Tensor,
    right: &Tensor,
    context: &Context<'_>,
    step: impl Fn(T, T, T) -> T,
) -> Result<Tensor, OpError> {
    let sizes = sizes(left.shape(), right.shape())?;
    let mut out = vec![T::ZERO; context.claim(&sizes.shape, size_of::<T>())?];
    let (left, right) = (left.as_slice::<T>()?, right.as_slice::<T>()?);
    let Sizes { rows, depth, columns, .. } = sizes;
    sizes.for_each(|number, of_left, of_right| {
        for row in 0..rows {
            let out = &mut out[(number * rows + row) * columns..][..columns];
            for k in 0..depth {
                let a = left[(of_left * rows + row) * depth + k];
                let right = &right[(of_right * depth + k) * columns..][..columns];
                for (out, b) in out.iter_mut().zip(right) {
                    *out = step(*out, a, *b);
                }
            }
        }
    });
    Ok(Tensor::new(sizes.shape, out))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;

    fn run(left: Tensor, right: Tensor) -> Result<Tensor, OpError> {
        let limits = Limits { run_bytes_max: 1 << 20, ..Limits::default() };
        let operator = MatMul { scale: 1.0, activation: Activation::None };
        let inputs = Inputs(vec![Some(left.into()), Some(right.into())]);
        operator.run(inputs, &mut Context::new(&limits, 0))?.remove(0).into_tensor()
    }

    #[test]
    fn vectors_are_rows_and_columns() {
        let row = Tensor::new([2], vec![1.0_f32, 2.0]);
        let matrix = Tensor::new([2, 2], vec![1.0_f32, 2.0, 3.0, 4.0]);
        assert_eq!(run(row.clone(), row.clone()).unwrap().shape(), [0_usize; 0]);
        assert_eq!(
            run(row.clone(), matrix.clone()).unwrap().as_slice::<f32>().unwrap(),
            [7.0, 10.0]
        );
        assert_eq!(run(matrix, row).unwrap().as_slice::<f32>().unwrap(), [5.0, 11.0]);
    }

    #[test]
    fn batches_broadcast_and_integers_wrap() {
        let left = Tensor::new([2, 1, 1, 2], vec![1_i64, 2, 3, 4]);
        let right = Tensor::new([2, 2, 1], vec![1_i64, 1, i64::MAX, 1]);
        let out = run(left, right).unwrap();
        assert_eq!(out.shape(), [2, 2, 1, 1]);
        let wrapped = i64::MAX.wrapping_mul(3).wrapping_add(4);
        assert_eq!(out.as_slice::<i64>().unwrap(), [3, i64::MIN + 1, 7, wrapped]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let of = |shape: &[usize]| Tensor::full(shape, 1.0_f32);
        assert!(run(of(&[]), of(&[1])).is_err());
        assert!(run(of(&[2, 3]), of(&[2, 3])).is_err());
        assert!(run(of(&[2, 3]), Tensor::full([3, 2], 1.0_f64)).is_err());
        assert!(matches!(run(of(&[100_000, 1]), of(&[1, 100_000])), Err(OpError::Memory { .. })));
        assert_eq!(run(of(&[0, 3]), of(&[3, 2])).unwrap().shape(), [0, 2]);
        assert_eq!(run(of(&[2, 0]), of(&[0, 2])).unwrap().as_slice::<f32>().unwrap(), [0.0; 4]);
    }
}
