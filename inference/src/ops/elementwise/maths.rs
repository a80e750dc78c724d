//! Functions over `f32` that the compiler turns into vector code: no branches, no calls, polynomials only.
//!
//! Within 2e-6 of the exact value, relative to it, and right for zeros, infinities, NaN and what overflows (the tests
//! say for which arguments). [`vectorised`] compiles a loop for the widest vectors that the machine has; a function of this file is
//! fast only within it. The coefficients are least-maximum-error fits, made for this file.
#![expect(
    clippy::cast_sign_loss,
    clippy::inline_always,
    reason = "bits of floats are built from small integers; a call that is not inlined is not vectorised"
)]

/// Runs a loop compiled for the vector instructions that this machine has.
#[inline]
pub(crate) fn vectorised<R>(work: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(work)
}

/// Replaces each element by `f` of it.
pub(crate) fn map_slice<T: Copy>(values: &mut [T], f: impl Fn(T) -> T) {
    vectorised(
        #[inline(always)]
        || {
            for value in values {
                *value = f(*value);
            }
        },
    );
}

/// The error function of each element.
pub(crate) fn erf_slice(values: &mut [f32]) {
    map_slice(values, erf);
}

/// A polynomial, the highest power's coefficient first.
#[inline(always)]
fn polynomial<const N: usize>(x: f32, coefficients: [f32; N]) -> f32 {
    let mut sum = coefficients[0];
    for coefficient in &coefficients[1..] {
        sum = sum * x + coefficient;
    }
    sum
}

/// 2^23 * 1.5: a float this large has no fraction, so adding it rounds, and its lowest bits are the integer.
const ROUNDING: f32 = 12_582_912.0;

/// ln 2 in two parts: the first has so few bits that small multiples of it are exact.
const LN_2_HIGH: f32 = 0.693_359_4;
const LN_2_LOW: f32 = -2.121_944_4e-4;

/// 2 to the power of a small integer.
#[inline(always)]
const fn power_of_two(exponent: i32) -> f32 {
    f32::from_bits((exponent.wrapping_add(127) << 23) as u32)
}

/// e to the power of `x`.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // Beyond these the result is infinite or zero anyway. Not `clamp`: NaN stays.
    let x = if x > 90.0 { 90.0 } else { x };
    let x = if x < -105.0 { -105.0 } else { x };
    let (mantissa, exponent) = exp_parts(x);
    // Two factors, as one would overflow, or miss the subnormal numbers.
    let half = exponent >> 1;
    mantissa * power_of_two(half) * power_of_two(exponent.wrapping_sub(half))
}

/// e to the power of `x`, which is between -80 and 80.
#[inline(always)]
fn exp_near(x: f32) -> f32 {
    let (mantissa, exponent) = exp_parts(x);
    mantissa * power_of_two(exponent)
}

/// What times which power of two e to the power of `x` is.
#[inline(always)]
fn exp_parts(x: f32) -> (f32, i32) {
    let shifted = x * std::f32::consts::LOG2_E + ROUNDING;
    let whole = shifted - ROUNDING;
    let exponent = (shifted.to_bits() as i32).wrapping_sub(ROUNDING.to_bits() as i32);
    let rest = x - whole * LN_2_HIGH - whole * LN_2_LOW;
    (polynomial(rest, EXP) * rest * rest + rest + 1.0, exponent)
}

/// `(exp(x) - 1 - x) / x^2` for |x| up to ln(2) / 2.
const EXP: [f32; 6] =
    [0.000_199_179_72, 0.001_394_619, 0.008_333_265, 0.041_666_27, 0.166_666_67, 0.5];

/// The natural logarithm of `x`.
#[inline(always)]
pub(crate) fn log(x: f32) -> f32 {
    let subnormal = x < f32::MIN_POSITIVE;
    let scaled = if subnormal { x * 8_388_608.0 } else { x };
    let scale = if subnormal { 23.0 } else { 0.0 };
    let finite = log_normal(scaled, scale);
    let bounded = if x < f32::INFINITY { finite } else { x };
    let positive = if x > 0.0 { bounded } else { f32::NAN };
    if x == 0.0 { f32::NEG_INFINITY } else { positive }
}

/// The natural logarithm of `x / 2^scale`, for a normal positive number.
#[inline(always)]
fn log_normal(x: f32, scale: f32) -> f32 {
    // The mantissa is brought to sqrt(1/2) .. sqrt(2).
    let offset = std::f32::consts::FRAC_1_SQRT_2.to_bits();
    let bits = x.to_bits().wrapping_sub(offset);
    let exponent = int_to_float((bits as i32) >> 23) - scale;
    let mantissa = f32::from_bits((bits & 0x007f_ffff).wrapping_add(offset)) - 1.0;
    let square = mantissa * mantissa;
    let tail = polynomial(mantissa, LOG) * mantissa * square;
    let small = tail + exponent * LN_2_LOW - 0.5 * square;
    mantissa + small + exponent * LN_2_HIGH
}

/// `(ln(1 + x) - x + x^2 / 2) / x^3` for `1 + x` between sqrt(1/2) and sqrt(2).
const LOG: [f32; 9] = [
    0.067_465_8,
    -0.116_776_414,
    0.118_892_55,
    -0.124_053_65,
    0.142_193_87,
    -0.166_680_01,
    0.200_021_27,
    -0.250_000_1,
    0.333_333_13,
];

#[inline(always)]
#[expect(clippy::cast_precision_loss, reason = "exponents are small")]
const fn int_to_float(exponent: i32) -> f32 {
    exponent as f32
}

/// `ln(1 + x)` for `x` from 0 to 1, without the loss of precision near 0.
#[inline(always)]
fn log_1p(x: f32) -> f32 {
    let sum = 1.0 + x;
    let lost = x - (sum - 1.0);
    // NaN comes through by the second part.
    log_normal(sum, 0.0) + lost / sum
}

/// The hyperbolic tangent of `x`.
#[inline(always)]
pub(crate) fn tanh(x: f32) -> f32 {
    let magnitude = x.abs();
    let square = x * x;
    let small = x + x * square * polynomial(square, TANH);
    // From 10 on the result is 1.
    let bounded = if magnitude > 10.0 { 10.0 } else { magnitude };
    let large = (1.0 - 2.0 / (exp_near(bounded + bounded) + 1.0)).copysign(x);
    if magnitude < 0.625 { small } else { large }
}

/// `(tanh(x) / x - 1) / x^2` in powers of `x^2`, for |x| up to 0.625.
const TANH: [f32; 5] = [-0.005_704_978_5, 0.020_639_079, -0.053_739_71, 0.133_314_42, -0.333_332_8];

/// `1 / (1 + exp(-x))`.
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    let power = exp(-x.abs());
    let part = if x < 0.0 { power } else { 1.0 };
    part / (1.0 + power)
}

/// The error function.
#[inline(always)]
pub(crate) fn erf(x: f32) -> f32 {
    let magnitude = x.abs();
    let square = x * x;
    let small = x + x * polynomial(square, ERF);
    // From 4 on the result is 1.
    let bounded = if magnitude > 4.0 { 4.0 } else { magnitude };
    let large = (1.0 - exp_near(polynomial(bounded, LOG_ERFC))).copysign(x);
    if magnitude < 0.93 { small } else { large }
}

/// `erf(x) / x - 1` in powers of `x^2`, for |x| up to 0.93.
const ERF: [f32; 7] = [
    8.345_225e-5,
    -0.000_813_743_74,
    0.005_200_634_2,
    -0.026_859_27,
    0.112_836_94,
    -0.376_126_35,
    0.128_379_17,
];

/// `ln(erfc(x))` for `x` from 0.92 to 4, as precise as `erf` needs it.
const LOG_ERFC: [f32; 7] = [
    0.000_194_946_76,
    -0.003_033_692_5,
    0.022_189_777,
    -0.103_856_38,
    -0.637_265_74,
    -1.127_627_4,
    -0.000_207_008_5,
];

/// Gelu by the error function: `x * P(X <= x)` for a normal X.
#[inline(always)]
pub(crate) fn gelu(x: f32) -> f32 {
    0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2))
}

/// Gelu approximated by tanh.
#[inline(always)]
pub(crate) fn gelu_tanh(x: f32) -> f32 {
    /// sqrt(2 / pi)
    const SLOPE: f32 = 0.797_884_6;
    0.5 * x * (1.0 + tanh(SLOPE * (x + 0.044_715 * x * x * x)))
}

/// `ln(1 + exp(x))`.
#[inline(always)]
pub(crate) fn softplus(x: f32) -> f32 {
    let positive = if x < 0.0 { 0.0 } else { x };
    positive + log_1p(exp(-x.abs()))
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "arguments are chosen in f64 and rounded")]
mod tests {
    use super::*;

    /// The worst relative error over a range, against `exact` in f64.
    fn worst(range: (f32, f32), f: impl Fn(f32) -> f32, exact: impl Fn(f64) -> f64) -> f64 {
        let (from, to) = range;
        (0..=200_000_u32)
            .map(|step| from + (to - from) * (f64::from(step) / 200_000.0) as f32)
            .map(|x| {
                let (found, exact) = (f64::from(f(x)), exact(f64::from(x)));
                if found == exact { 0.0 } else { ((found - exact) / exact).abs() }
            })
            .fold(0.0, f64::max)
    }

    #[test]
    fn functions_are_near_the_exact_values() {
        assert!(worst((-87.0, 88.7), exp, f64::exp) < 3e-7);
        assert!(worst((1e-4, 4.0), log, f64::ln) < 3e-7);
        assert!(worst((4.0, 1e30), log, f64::ln) < 3e-7);
        assert!(worst((1e-45, 1e-37), log, f64::ln) < 3e-7);
        assert!(worst((-10.0, 10.0), tanh, f64::tanh) < 5e-7);
        assert!(worst((-80.0, 80.0), sigmoid, |x| 1.0 / (1.0 + (-x).exp())) < 5e-7);
        assert!(worst((-80.0, 80.0), softplus, |x| x.exp().ln_1p()) < 1e-6);
        assert!(worst((-3.5, 3.5), erf, exact_erf) < 5e-7);
    }

    /// Its Taylor series; beyond 3.5 it is no longer exact enough.
    fn exact_erf(x: f64) -> f64 {
        let (mut member, mut sum) = (x, x);
        for n in 1..100 {
            let n = f64::from(n);
            member *= -x * x / n;
            sum += member / (2.0 * n + 1.0);
        }
        sum * std::f64::consts::FRAC_2_SQRT_PI
    }

    #[test]
    fn the_ends_are_exact() {
        let infinity = f32::INFINITY;
        for f in [exp, log, tanh, sigmoid, erf, gelu, gelu_tanh, softplus] {
            assert!(f(f32::NAN).is_nan());
        }
        assert_eq!([exp(infinity), exp(-infinity), exp(0.0)], [infinity, 0.0, 1.0]);
        assert_eq!([exp(89.0), exp(-104.0)], [infinity, 0.0]);
        assert!(exp(-100.0) > 0.0);
        assert_eq!([log(infinity), log(0.0), log(1.0)], [infinity, -infinity, 0.0]);
        assert!(log(-1.0).is_nan() && log(-infinity).is_nan());
        assert_eq!([log_1p(0.0), log_1p(1e-20)], [0.0, 1e-20]);
        assert_eq!([tanh(infinity), tanh(-infinity), tanh(0.0)], [1.0, -1.0, 0.0]);
        assert_eq!([sigmoid(infinity), sigmoid(-infinity), sigmoid(0.0)], [1.0, 0.0, 0.5]);
        assert_eq!([erf(infinity), erf(-infinity), erf(0.0), erf(9.0)], [1.0, -1.0, 0.0, 1.0]);
        assert_eq!([softplus(infinity), softplus(-infinity)], [infinity, 0.0]);
    }
}
