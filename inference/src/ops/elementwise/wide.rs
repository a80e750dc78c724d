//! Functions over `f64` that the standard library lacks, to about 1e-15.

/// The error function: its Taylor series, and beyond 2.5 the continued fraction of its complement.
pub(super) fn erf(x: f64) -> f64 {
    let magnitude = x.abs();
    if magnitude > 6.0 {
        return x.signum();
    }
    if magnitude <= 2.5 {
        let (mut member, mut sum) = (x, x);
        for n in 1..80_u32 {
            member *= -x * x / f64::from(n);
            sum += member / f64::from(2 * n + 1);
        }
        return sum * std::f64::consts::FRAC_2_SQRT_PI;
    }
    let mut fraction = magnitude;
    for n in (1..120_u32).rev() {
        fraction = magnitude + f64::from(n) / 2.0 / fraction;
    }
    let complement =
        (-magnitude * magnitude).exp() / fraction * std::f64::consts::FRAC_2_SQRT_PI / 2.0;
    // NaN has come through every comparison to here.
    (1.0 - complement).copysign(x)
}

/// `ln(1 + exp(x))`.
pub(super) fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// `1 / (1 + exp(-x))`.
pub(super) fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn erf_is_that_of_the_tables() {
        for (x, expected) in [
            (0.5, 0.520_499_877_813_046_5),
            (2.4, 0.999_311_486_103_355),
            (3.0, 0.999_977_909_503_001_4),
        ] {
            assert!((erf(x) - expected).abs() < 1e-14, "{x}");
            assert!((erf(-x) + expected).abs() < 1e-14, "{x}");
        }
        assert!((erf(2.499_999) - erf(2.500_001)).abs() < 1e-7);
        assert_eq!([erf(0.0), erf(f64::INFINITY), erf(-7.0)], [0.0, 1.0, -1.0]);
        assert!(erf(f64::NAN).is_nan() && softplus(f64::NAN).is_nan());
    }
}
