//! Activation functions, most with parameters: <https://onnx.ai/onnx/operators/onnx__LeakyRelu.html> and the like.

use super::maths;
use super::pointwise::Pointwise;
use super::wide;
use crate::ops::{BuildError, NodeSpec, Operator};

pub(super) fn build(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    let op = spec.op();
    Ok(match op {
        "Sigmoid" => Pointwise::boxed(op, maths::sigmoid, wide::sigmoid),
        "Softplus" => Pointwise::boxed(op, maths::softplus, wide::softplus),
        "Softsign" => Pointwise::boxed(op, |x| x / (1.0 + x.abs()), |x| x / (1.0 + x.abs())),
        "Mish" => Pointwise::boxed(
            op,
            |x| x * maths::tanh(maths::softplus(x)),
            |x| x * wide::softplus(x).tanh(),
        ),
        // hard_sigmoid with these two, times x.
        "HardSwish" => Pointwise::boxed(
            op,
            |x| x * clamp_unit(x / 6.0 + 0.5),
            |x| x * (x / 6.0 + 0.5).clamp(0.0, 1.0),
        ),
        "Gelu" => gelu(spec)?,
        "Swish" => swish(op, spec.float("alpha", 1.0)?),
        "HardSigmoid" => {
            let (alpha, beta) = (spec.float("alpha", 0.2)?, spec.float("beta", 0.5)?);
            let (wide_alpha, wide_beta) = (f64::from(alpha), f64::from(beta));
            Pointwise::boxed(
                op,
                move |x| clamp_unit(x * alpha + beta),
                move |x| (x * wide_alpha + wide_beta).clamp(0.0, 1.0),
            )
        }
        "Shrink" => shrink(op, spec.float("bias", 0.0)?, spec.float("lambd", 0.5)?),
        _ => return rectified(spec),
    })
}

/// Kinks at zero.
fn rectified(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    let op = spec.op();
    Ok(match op {
        "LeakyRelu" => {
            let alpha = spec.float("alpha", 0.01)?;
            let wide_alpha = f64::from(alpha);
            Pointwise::boxed(
                op,
                move |x| if x < 0.0 { alpha * x } else { x },
                move |x| if x < 0.0 { wide_alpha * x } else { x },
            )
        }
        "ThresholdedRelu" => {
            let alpha = spec.float("alpha", 1.0)?;
            let wide_alpha = f64::from(alpha);
            Pointwise::boxed(
                op,
                move |x| if x <= alpha { 0.0 } else { x },
                move |x| if x <= wide_alpha { 0.0 } else { x },
            )
        }
        "Elu" => exponential(op, spec.float("alpha", 1.0)?, 1.0, 1.0),
        "Celu" => {
            let alpha = spec.float("alpha", 1.0)?;
            exponential(op, alpha, 1.0, alpha)
        }
        "Selu" => {
            // Before version 6 the defaults were rounded.
            let old = spec.version() < 6;
            let alpha = spec.float("alpha", if old { 1.6732 } else { 1.673_263_2 })?;
            let gamma = spec.float("gamma", if old { 1.0507 } else { 1.050_701 })?;
            exponential(op, alpha, gamma, 1.0)
        }
        other => return Err(BuildError::unsupported(format!("{other} as an activation"))),
    })
}

/// `gamma * x` from zero on, `gamma * alpha * (exp(x / width) - 1)` below.
fn exponential(op: &str, alpha: f32, gamma: f32, width: f32) -> Box<dyn Operator> {
    let [wide_alpha, wide_gamma, wide_width] = [alpha, gamma, width].map(f64::from);
    Pointwise::boxed(
        op,
        move |x| {
            let below = alpha * (maths::exp(x / width) - 1.0);
            gamma * if x < 0.0 { below } else { x }
        },
        move |x| wide_gamma * if x < 0.0 { wide_alpha * (x / wide_width).exp_m1() } else { x },
    )
}

fn gelu(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, BuildError> {
    match spec.text("approximate", "none")? {
        "none" => Ok(Pointwise::boxed("Gelu", maths::gelu, |x| {
            0.5 * x * (1.0 + wide::erf(x * std::f64::consts::FRAC_1_SQRT_2))
        })),
        "tanh" => Ok(Pointwise::boxed("Gelu", maths::gelu_tanh, |x| {
            let slope = std::f64::consts::FRAC_2_SQRT_PI * std::f64::consts::FRAC_1_SQRT_2;
            0.5 * x * (1.0 + (slope * (x + 0.044_715 * x * x * x)).tanh())
        })),
        other => Err(BuildError::invalid(format!(
            "attribute \"approximate\" is {other:?}, it should be \"none\" or \"tanh\""
        ))),
    }
}

fn swish(op: &str, alpha: f32) -> Box<dyn Operator> {
    let wide_alpha = f64::from(alpha);
    Pointwise::boxed(
        op,
        move |x| x * maths::sigmoid(alpha * x),
        move |x| x * wide::sigmoid(wide_alpha * x),
    )
}

fn shrink(op: &str, bias: f32, threshold: f32) -> Box<dyn Operator> {
    let (wide_bias, wide_threshold) = (f64::from(bias), f64::from(threshold));
    Pointwise::boxed(
        op,
        move |x| {
            let above = if x > threshold { x - bias } else { 0.0 };
            if x < -threshold { x + bias } else { above }
        },
        move |x| {
            let above = if x > wide_threshold { x - wide_bias } else { 0.0 };
            if x < -wide_threshold { x + wide_bias } else { above }
        },
    )
}

/// Between 0 and 1, NaN as it is.
fn clamp_unit(x: f32) -> f32 {
    let x = if x < 0.0 { 0.0 } else { x };
    if x > 1.0 { 1.0 } else { x }
}
