//! Gemm: <https://onnx.ai/onnx/operators/onnx__Gemm.html>
//!
//! `alpha * A * B + beta * C`. Integers wrap; with them the factors must be 1.

use super::fused::activation_of;
use super::packed::{Bias, Constant, Packed, Packs, Specialised, WithPacked};
use super::widening::run_widened;
use crate::dtype::{DType, Element, for_dtype};
use crate::error::OpError;
use crate::ops::broadcast::strides_in;
use crate::ops::{BuildError, Inputs, NodeSpec, Operator};
use crate::run::Context;
use crate::tensor::Tensor;
use crate::value::Value;
use embermq_kernels::{Activation, Buffer, Epilogue, Left, Product, Right, RowMajor, Transposed};

#[derive(Clone, Copy, Debug)]
struct Gemm {
    alpha: f32,
    beta: f32,
    turn_left: bool,
    turn_right: bool,
    activation: Activation,
}

pub(super) fn build(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    Ok(Box::new(read(spec, Activation::None)?))
}

pub(super) fn build_fused(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    Ok(Box::new(read(spec, activation_of(spec)?)?))
}

fn read(spec: &NodeSpec<'_>, activation: Activation) -> Result<Gemm, BuildError> {
    Ok(Gemm {
        alpha: spec.float("alpha", 1.0)?,
        beta: spec.float("beta", 1.0)?,
        turn_left: spec.flag("transA", false)?,
        turn_right: spec.flag("transB", false)?,
        activation,
    })
}

#[derive(Clone, Copy)]
struct Sizes {
    rows: usize,
    depth: usize,
    columns: usize,
}

impl Gemm {
    fn sizes(&self, a: &[usize], b: &[usize], c: Option<&Tensor>) -> Result<Sizes, OpError> {
        let refused = || OpError::shape(format!("no product of {a:?} and {b:?}"));
        let ([a0, a1], [b0, b1]) = (a, b) else { return Err(refused()) };
        let (rows, depth) = if self.turn_left { (*a1, *a0) } else { (*a0, *a1) };
        let (below, columns) = if self.turn_right { (*b1, *b0) } else { (*b0, *b1) };
        if depth != below {
            return Err(refused());
        }
        if let Some(c) = c {
            let fits = |(found, wanted): (&usize, &usize)| *found == 1 || found == wanted;
            let wanted = [columns, rows];
            if c.rank() > 2 || !c.shape().iter().rev().zip(&wanted).all(fits) {
                let found = c.shape();
                return Err(OpError::shape(format!(
                    "{found:?} is not spread to [{rows}, {columns}]"
                )));
            }
        }
        Ok(Sizes { rows, depth, columns })
    }

    fn run_f32(
        &self,
        inputs: &Inputs,
        packed: Option<&Packed>,
        context: &Context<'_>,
    ) -> Result<Tensor, OpError> {
        let a = inputs.tensor(0)?;
        let c = packed.map_or_else(|| inputs.optional(2), |p| p.bias.or_operand(inputs))?;
        let b = if packed.is_some() { None } else { Some(inputs.tensor(1)?) };
        let right_shape = packed.map(|packed| &packed.shape[..]).or(b.map(Tensor::shape));
        let Sizes { rows, depth, columns } =
            self.sizes(a.shape(), right_shape.unwrap_or_default(), c)?;
        let mut out = Buffer::new(context.claim(&[rows, columns], size_of::<f32>())?);
        let left = a.as_slice::<f32>()?;
        let right = b.map_or(Ok(&[][..]), Tensor::as_slice::<f32>)?;
        let c = c.map(|c| Addend::new(c, self.beta, rows, columns)).transpose()?;
        let epilogue = Epilogue {
            scale: self.alpha,
            row_bias: c.as_ref().and_then(Addend::by_row),
            column_bias: c.as_ref().and_then(Addend::by_column),
            added: c.as_ref().and_then(Addend::whole),
            activation: self.activation,
        };
        let turned;
        let left = if self.turn_left {
            turned = transposed(left, rows);
            &turned[..]
        } else {
            left
        };
        let left = Left::dense(left, depth);
        let product = Product { rows, depth, columns, left, epilogue };
        match packed {
            Some(packed) => product.with_packed(&packed.columns, &mut out, columns),
            None if self.turn_right => {
                let right = Transposed { data: right, step: depth, columns };
                product.with(Right::Columns(right), &mut out, columns);
            }
            None => {
                let right = RowMajor { data: right, step: columns, columns };
                product.with(Right::Rows(right), &mut out, columns);
            }
        }
        Ok(Tensor::reusing([rows, columns], out))
    }

    fn plain<T: Element>(
        &self,
        inputs: &Inputs,
        context: &Context<'_>,
        step: impl Fn(T, T, T) -> T,
        end: impl Fn(T, T) -> T,
    ) -> Result<Tensor, OpError> {
        let (a, b, c) = (inputs.tensor(0)?, inputs.tensor(1)?, inputs.optional(2)?);
        let Sizes { rows, depth, columns } = self.sizes(a.shape(), b.shape(), c)?;
        let mut out = Vec::with_capacity(context.claim(&[rows, columns], size_of::<T>())?);
        let (left, right) = (a.as_slice::<T>()?, b.as_slice::<T>()?);
        let addend = c.map(Tensor::as_slice::<T>).transpose()?;
        let strides = c.map_or_else(|| vec![0, 0], |c| strides_in(c.shape(), &[rows, columns]));
        let (down, along) = if self.turn_left { (1, rows) } else { (depth, 1) };
        let (below, across) = if self.turn_right { (1, depth) } else { (columns, 1) };
        for row in 0..rows {
            for column in 0..columns {
                let pairs = (0..depth)
                    .map(|k| (left[row * down + k * along], right[k * below + column * across]));
                let product = pairs.fold(T::ZERO, |sum, (a, b)| step(sum, a, b));
                let c = addend.map_or(T::ZERO, |c| c[row * strides[0] + column * strides[1]]);
                out.push(end(product, c));
            }
        }
        Ok(Tensor::new([rows, columns], out))
    }
}

impl Operator for Gemm {
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
        let [b0, b1] = *right.shape() else { return None };
        if right.is_empty() {
            return None;
        }
        let packed = if self.turn_right {
            let right = Right::Columns(Transposed { data, step: b1, columns: b0 });
            packs.columns(constants, right, [b1, b0])?
        } else {
            let right = Right::Rows(RowMajor { data, step: b1, columns: b1 });
            packs.columns(constants, right, [b0, b1])?
        };
        Some(Box::new(Specialised { plain: *self, packed }))
    }
}

impl WithPacked for Gemm {
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
            inputs.take_tensor(0).into_iter().for_each(Tensor::recycle);
            return Ok(vec![out.into()]);
        }
        let (alpha, beta) = (self.alpha, self.beta);
        if inputs.tensor(0)?.dtype() == DType::F64 {
            let sum = |product: f64, c: f64| f64::from(alpha) * product + f64::from(beta) * c;
            return Ok(vec![self.plain(&inputs, context, |sum, a, b| sum + a * b, sum)?.into()]);
        }
        #[expect(clippy::float_cmp, reason = "exactly 1 changes nothing")]
        if alpha != 1.0 || beta != 1.0 {
            return Err(OpError::unsupported("factors other than 1 with integers"));
        }
        for_dtype!(inputs.tensor(0)?.dtype(), T in [i32, i64, u32, u64], {
            let step = |sum: T, a: T, b: T| sum.wrapping_add(a.wrapping_mul(b));
            Ok(vec![self.plain::<T>(&inputs, context, step, T::wrapping_add)?.into()])
        }, else {
            let expected = "a float type or an integer of at least 32 bits";
            Err(OpError::Type { expected, found: inputs.tensor(0)?.dtype() })
        })
    }
}

/// What is added to a product, as its shape allows.
enum Addend<'a> {
    ByRow(std::borrow::Cow<'a, [f32]>),
    ByColumn(std::borrow::Cow<'a, [f32]>),
    Whole(std::borrow::Cow<'a, [f32]>),
}

impl<'a> Addend<'a> {
    fn new(c: &'a Tensor, beta: f32, rows: usize, columns: usize) -> Result<Self, OpError> {
        let data = c.as_slice::<f32>()?;
        #[expect(clippy::float_cmp, reason = "exactly 1 changes nothing")]
        let data: std::borrow::Cow<'_, [f32]> =
            if beta == 1.0 { data.into() } else { data.iter().map(|c| c * beta).collect() };
        let by_row = c.rank() == 2 && c.shape()[0] == rows && rows > 1;
        Ok(match (by_row, data.len() / if by_row { rows } else { 1 }) {
            (true, 1) => Self::ByRow(data),
            (true, _) => Self::Whole(data),
            (false, 1) if columns != 1 => Self::ByColumn(vec![data[0]; columns].into()),
            (false, _) => Self::ByColumn(data),
        })
    }

    fn by_row(&self) -> Option<&[f32]> {
        if let Self::ByRow(data) = self { Some(data) } else { None }
    }

    fn by_column(&self) -> Option<&[f32]> {
        if let Self::ByColumn(data) = self { Some(data) } else { None }
    }

    fn whole(&self) -> Option<&[f32]> {
        if let Self::Whole(data) = self { Some(data) } else { None }
    }
}

/// The matrix of `columns` columns, turned.
fn transposed(data: &[f32], columns: usize) -> Vec<f32> {
    let mut out = Vec::with_capacity(data.len());
    for column in 0..columns {
        out.extend(data.iter().skip(column).step_by(columns));
    }
    out
}
