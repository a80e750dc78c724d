//! Functions of one floating-point tensor, element by element.

use burn::backend::ops::{ActivationOps, BoolTensorOps, FloatTensorOps};
use burn::backend::{Dispatch, DispatchTensor};

use super::form::{BuildForm, Form, NOT_COVERED, one};
use super::operands::Operands;
use crate::dtype::DType;
use crate::error::OpError;
use crate::ops::NodeSpec;

/// Round and Sign are missing: burn's devices do not agree on halves and NaN.
pub(super) const FAMILY: &[(&str, BuildForm)] = &[
    ("Abs", |_| plain(Dispatch::float_abs)),
    ("Acos", |_| plain(Dispatch::float_acos)),
    ("Acosh", |_| plain(Dispatch::float_acosh)),
    ("Asin", |_| plain(Dispatch::float_asin)),
    ("Asinh", |_| plain(Dispatch::float_asinh)),
    ("Atan", |_| plain(Dispatch::float_atan)),
    ("Atanh", |_| plain(Dispatch::float_atanh)),
    ("Ceil", |_| plain(Dispatch::float_ceil)),
    ("Celu", celu),
    ("Clip", clip),
    ("Cos", |_| plain(Dispatch::float_cos)),
    ("Cosh", |_| plain(Dispatch::float_cosh)),
    ("Elu", |spec| elu(spec, 1.0, 1.0)),
    ("Erf", |_| plain(Dispatch::float_erf)),
    ("Exp", |_| plain(Dispatch::float_exp)),
    ("Floor", |_| plain(Dispatch::float_floor)),
    ("Gelu", gelu),
    ("HardSigmoid", hard_sigmoid),
    ("HardSwish", |_| plain(hard_swish)),
    ("LeakyRelu", leaky_relu),
    ("Log", |_| plain(Dispatch::float_log)),
    ("Mish", |_| plain(mish)),
    ("Neg", |_| plain(Dispatch::float_neg)),
    ("Reciprocal", |_| plain(Dispatch::float_recip)),
    ("Relu", |_| plain(Dispatch::relu)),
    ("Selu", |spec| elu(spec, 1.673_263_2, 1.050_701)),
    ("Sigmoid", |_| plain(Dispatch::sigmoid)),
    ("Sin", |_| plain(Dispatch::float_sin)),
    ("Sinh", |_| plain(Dispatch::float_sinh)),
    ("Softplus", |_| plain(softplus)),
    ("Softsign", |_| plain(softsign)),
    ("Sqrt", |_| plain(Dispatch::float_sqrt)),
    ("Swish", swish),
    ("Tan", |_| plain(Dispatch::float_tan)),
    ("Tanh", |_| plain(Dispatch::float_tanh)),
    ("ThresholdedRelu", thresholded_relu),
];

#[expect(clippy::unnecessary_wraps, reason = "what the table wants")]
fn plain(
    function: impl Fn(DispatchTensor) -> DispatchTensor + Send + Sync + 'static,
) -> Option<Form> {
    Some(Form::new(move |operands, _| {
        if operands.float(0).is_none() {
            return NOT_COVERED;
        }
        one(operands.take(0)?.map(&function))
    }))
}

fn leaky_relu(spec: &NodeSpec<'_>) -> Option<Form> {
    let alpha = spec.float("alpha", 0.01).ok()?;
    plain(move |x| Dispatch::leaky_relu(x, alpha.into()))
}

fn hard_sigmoid(spec: &NodeSpec<'_>) -> Option<Form> {
    let (alpha, beta) = (spec.float("alpha", 0.2).ok()?, spec.float("beta", 0.5).ok()?);
    plain(move |x| line_within(x, alpha, beta))
}

/// `alpha * x + beta`, kept within 0 and 1.
fn line_within(x: DispatchTensor, alpha: f32, beta: f32) -> DispatchTensor {
    let line = Dispatch::float_mul_scalar(x, alpha.into());
    let line = Dispatch::float_add_scalar(line, beta.into());
    Dispatch::float_clamp(line, 0.0.into(), 1.0.into())
}

fn hard_swish(x: DispatchTensor) -> DispatchTensor {
    let gate = line_within(x.clone(), 1.0 / 6.0, 0.5);
    Dispatch::float_mul(x, gate)
}

fn softplus(x: DispatchTensor) -> DispatchTensor {
    // ln(1 + e^x) without the overflow of e^x.
    let low = Dispatch::float_exp(Dispatch::float_neg(Dispatch::float_abs(x.clone())));
    Dispatch::float_add(Dispatch::relu(x), Dispatch::float_log1p(low))
}

fn mish(x: DispatchTensor) -> DispatchTensor {
    Dispatch::float_mul(x.clone(), Dispatch::float_tanh(softplus(x)))
}

fn softsign(x: DispatchTensor) -> DispatchTensor {
    let beneath = Dispatch::float_add_scalar(Dispatch::float_abs(x.clone()), 1.0.into());
    Dispatch::float_div(x, beneath)
}

fn swish(spec: &NodeSpec<'_>) -> Option<Form> {
    let alpha = spec.float("alpha", 1.0).ok()?;
    plain(move |x| {
        let gate = Dispatch::sigmoid(Dispatch::float_mul_scalar(x.clone(), alpha.into()));
        Dispatch::float_mul(x, gate)
    })
}

fn gelu(spec: &NodeSpec<'_>) -> Option<Form> {
    match spec.text("approximate", "none").ok()? {
        "none" => plain(Dispatch::gelu),
        "tanh" => plain(|x| {
            let squared = Dispatch::float_mul(x.clone(), x.clone());
            let inner = Dispatch::float_mul_scalar(squared, 0.044_715.into());
            let inner = Dispatch::float_add_scalar(inner, 1.0.into());
            let inner = Dispatch::float_mul(inner, x.clone());
            let root = (2.0 / std::f64::consts::PI).sqrt();
            let bent = Dispatch::float_tanh(Dispatch::float_mul_scalar(inner, root.into()));
            let gate = Dispatch::float_add_scalar(bent, 1.0.into());
            Dispatch::float_mul(Dispatch::float_mul_scalar(x, 0.5.into()), gate)
        }),
        _ => None,
    }
}

/// `gamma * (x if x > 0 else alpha * (e^x - 1))`.
fn elu(spec: &NodeSpec<'_>, alpha: f32, gamma: f32) -> Option<Form> {
    let alpha = spec.float("alpha", alpha).ok()?;
    let gamma = if spec.op() == "Selu" { spec.float("gamma", gamma).ok()? } else { gamma };
    plain(move |x| scaled_below(x, alpha, 1.0, gamma))
}

fn celu(spec: &NodeSpec<'_>) -> Option<Form> {
    let alpha = spec.float("alpha", 1.0).ok().filter(|alpha| *alpha != 0.0)?;
    plain(move |x| scaled_below(x, alpha, alpha, 1.0))
}

/// `gamma * (x if x > 0 else alpha * (e^(x / width) - 1))`.
fn scaled_below(x: DispatchTensor, alpha: f32, width: f32, gamma: f32) -> DispatchTensor {
    let bools = bools_of(&x);
    let below = Dispatch::float_exp(Dispatch::float_div_scalar(x.clone(), width.into()));
    let below = Dispatch::float_add_scalar(below, (-1.0).into());
    let below = Dispatch::float_mul_scalar(below, alpha.into());
    let above = Dispatch::float_greater_elem(x.clone(), 0.0.into(), bools);
    Dispatch::float_mul_scalar(Dispatch::float_mask_where(below, above, x), gamma.into())
}

fn thresholded_relu(spec: &NodeSpec<'_>) -> Option<Form> {
    let alpha = spec.float("alpha", 1.0).ok()?;
    plain(move |x| {
        let above = Dispatch::float_greater_elem(x.clone(), alpha.into(), bools_of(&x));
        Dispatch::float_mask_fill(x, Dispatch::bool_not(above), 0.0.into())
    })
}

/// How the device of a tensor keeps booleans.
fn bools_of(x: &DispatchTensor) -> burn::tensor::BoolDType {
    use burn::backend::{Backend, TensorMetadata};
    use burn::tensor::{BoolDType, DType as BurnType};
    let device = x.device();
    [BoolDType::Native, BoolDType::U8]
        .into_iter()
        .find(|store| Dispatch::supports_dtype(&device, BurnType::Bool(*store)))
        .unwrap_or(BoolDType::U32)
}

/// Clip, whose bounds were attributes before version 11.
/// In f64 the bounds are more exact than what is kept of them here.
fn clip(spec: &NodeSpec<'_>) -> Option<Form> {
    let old = spec.version() < 11;
    let bounds =
        if old { (spec.float_opt("min").ok()?, spec.float_opt("max").ok()?) } else { (None, None) };
    Some(Form::new(move |operands, _| {
        if operands.float(0).is_none_or(|(dtype, _)| dtype == DType::F64) {
            return NOT_COVERED;
        }
        let (low, high) = if old { bounds } else { (bound(operands, 1)?, bound(operands, 2)?) };
        // Where the bounds cross, the specification and the devices have ideas of their own.
        let odd = |bound: Option<f32>| bound.is_some_and(f32::is_nan);
        let crossed = low.zip(high).is_some_and(|(low, high)| low > high);
        if odd(low) || odd(high) || crossed {
            return NOT_COVERED;
        }
        one(operands.take(0)?.map(|x| match (low, high) {
            (Some(low), Some(high)) => Dispatch::float_clamp(x, low.into(), high.into()),
            (Some(low), None) => Dispatch::float_clamp_min(x, low.into()),
            (None, Some(high)) => Dispatch::float_clamp_max(x, high.into()),
            (None, None) => x,
        }))
    }))
}

fn bound(operands: &mut Operands<'_>, at: usize) -> Result<Option<f32>, OpError> {
    let Some(tensor) = operands.host(at)? else { return Ok(None) };
    let wrong = OpError::shape(format!("a bound of Clip has shape {:?}", tensor.shape()));
    tensor.to_f32s()?.first().copied().map(Some).ok_or(wrong)
}
