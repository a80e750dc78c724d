//! Functions of one element that are computed where a result is written.
//!
//! The exponential is accurate to about 2 units in the last place, erf to 2e-7 (Abramowitz and Stegun, 7.1.26).

use super::lanes::{Kernel, LANES, Lane, Machine, dispatch, fma};

/// What is done to each element of a result.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Activation {
    /// Nothing.
    None,
    /// `max(x, 0)`.
    Relu,
    /// Within bounds.
    Clip {
        /// The least.
        low: f32,
        /// The most.
        high: f32,
    },
    /// `x`, and `slope * x` below 0.
    Leaky {
        /// Below 0.
        slope: f32,
    },
    /// `x * clip(x / 6 + 1 / 2, 0, 1)`.
    HardSwish,
    /// `clip(alpha * x + beta, 0, 1)`.
    HardSigmoid {
        /// The factor.
        alpha: f32,
        /// What is added.
        beta: f32,
    },
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// `x * sigmoid(x)`, also called SiLU.
    Swish,
    /// The hyperbolic tangent.
    Tanh,
    /// `x * (1 + erf(x / sqrt(2))) / 2`.
    Gelu,
    /// The same by tanh.
    GeluTanh,
}

impl Activation {
    /// Those that keep a number within bounds are done with it in a register; others are [finished](Self::finish).
    #[inline(always)]
    pub(crate) fn bounds(self) -> (f32, f32) {
        match self {
            Self::Relu => (0.0, f32::INFINITY),
            Self::Clip { low, high } => (low, high),
            _ => (f32::NEG_INFINITY, f32::INFINITY),
        }
    }

    /// What [`bounds`](Self::bounds) left to do, on what was written a moment ago.
    #[inline(always)]
    pub(crate) fn finish(self, elements: &mut [f32]) {
        if !matches!(self, Self::None | Self::Relu | Self::Clip { .. }) {
            self.apply_to(elements);
        }
    }

    #[inline(always)]
    fn apply<M: Machine>(self, x: Lane) -> Lane {
        match self {
            Self::None => x,
            Self::Relu => x.map(|x| if x < 0.0 { 0.0 } else { x }),
            Self::Clip { low, high } => x.map(|x| {
                let x = if x < low { low } else { x };
                if x > high { high } else { x }
            }),
            Self::Leaky { slope } => x.map(|x| if x < 0.0 { x * slope } else { x }),
            Self::HardSwish => x.map(|x| x * bounded(fma::<M>(x, 1.0 / 6.0, 0.5))),
            Self::HardSigmoid { alpha, beta } => x.map(|x| bounded(fma::<M>(x, alpha, beta))),
            Self::Sigmoid => x.map(|x| sigmoid::<M>(x)),
            Self::Swish => x.map(|x| x * sigmoid::<M>(x)),
            Self::Tanh => x.map(|x| tanh::<M>(x)),
            Self::Gelu => x.map(|x| {
                let half = 0.5 * x;
                fma::<M>(half, erf::<M>(x * std::f32::consts::FRAC_1_SQRT_2), half)
            }),
            Self::GeluTanh => x.map(|x| {
                let inner = x * fma::<M>(0.044_715 * x, x, 1.0) * 0.797_884_6;
                let half = 0.5 * x;
                fma::<M>(half, tanh::<M>(inner), half)
            }),
        }
    }

    /// Applies it to all elements.
    pub fn apply_to(self, elements: &mut [f32]) {
        dispatch(Whole { activation: self, elements });
    }
}

struct Whole<'a> {
    activation: Activation,
    elements: &'a mut [f32],
}

impl Kernel for Whole<'_> {
    #[inline(always)]
    fn run<M: Machine>(self, _: M) {
        let (lanes, rest) = self.elements.as_chunks_mut::<LANES>();
        for lane in lanes {
            *lane = self.activation.apply::<M>(*lane);
        }
        let mut last = [0.0; LANES];
        last[..rest.len()].copy_from_slice(rest);
        rest.copy_from_slice(&self.activation.apply::<M>(last)[..rest.len()]);
    }
}

/// Within 0 and 1; NaN stays.
#[inline(always)]
fn bounded(x: f32) -> f32 {
    let x = if x < 0.0 { 0.0 } else { x };
    if x > 1.0 { 1.0 } else { x }
}

/// `e` to the power of `x`.
#[inline(always)]
pub(crate) fn exp<M: Machine>(x: f32) -> f32 {
    // Adding this rounds to an integer, which then stands in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let y = if x < -87.336_54 { -87.336_54 } else { x };
    let y = if y > 88.376_26 { 88.376_26 } else { y };
    let shifted = fma::<M>(y, std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = fma::<M>(n, -0.693_145_75, y);
    let r = fma::<M>(n, -1.428_606_8e-6, r);
    let p = fma::<M>(1.987_569_1e-4, r, 1.398_199_9e-3);
    let p = fma::<M>(p, r, 8.333_452e-3);
    let p = fma::<M>(p, r, 4.166_579_6e-2);
    let p = fma::<M>(p, r, 1.666_666_5e-1);
    let p = fma::<M>(p, r, 0.5);
    let p = fma::<M>(p, r * r, r + 1.0);
    let scaled = f32::from_bits(p.to_bits().wrapping_add(shifted.to_bits() << 23));
    let bounded = if x > 88.722_84 { f32::INFINITY } else { scaled };
    let bounded = if x < -103.0 { 0.0 } else { bounded };
    if x.is_nan() { x } else { bounded }
}

#[inline(always)]
fn sigmoid<M: Machine>(x: f32) -> f32 {
    1.0 / (1.0 + exp::<M>(-x))
}

#[inline(always)]
fn tanh<M: Machine>(x: f32) -> f32 {
    1.0 - 2.0 / (exp::<M>(2.0 * x) + 1.0)
}

#[inline(always)]
fn erf<M: Machine>(x: f32) -> f32 {
    let size = x.abs();
    let t = 1.0 / fma::<M>(0.327_591_1, size, 1.0);
    let p = fma::<M>(1.061_405_4, t, -1.453_152_1);
    let p = fma::<M>(p, t, 1.421_413_8);
    let p = fma::<M>(p, t, -0.284_496_72);
    let p = fma::<M>(p, t, 0.254_829_6);
    let y = fma::<M>(-(p * t), exp::<M>(-size * size), 1.0);
    if x < 0.0 { -y } else { y }
}

#[cfg(test)]
mod tests {
    use super::super::lanes::Plain;
    use super::*;

    fn worst(activation: Activation, exact: impl Fn(f64) -> f64) -> f64 {
        let mut xs: Vec<f32> = (-4000..4000).map(|at| at as f32 / 100.0).collect();
        let before = xs.clone();
        activation.apply_to(&mut xs);
        let far = |(x, y): (&f32, &f32)| (exact(f64::from(*x)) - f64::from(*y)).abs();
        before.iter().zip(&xs).map(far).fold(0.0, f64::max)
    }

    #[test]
    fn functions_are_close() {
        assert!(worst(Activation::Sigmoid, |x| 1.0 / (1.0 + (-x).exp())) < 2e-7);
        assert!(worst(Activation::Tanh, f64::tanh) < 3e-7);
        assert!(worst(Activation::Swish, |x| x / (1.0 + (-x).exp())) < 4e-6);
        let gelu = |x: f64| {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x * x * x);
            0.5 * x * (1.0 + inner.tanh())
        };
        assert!(worst(Activation::GeluTanh, gelu) < 3e-6);
        let swish = |x: f64| x * ((x + 3.0) / 6.0).clamp(0.0, 1.0);
        assert!(worst(Activation::HardSwish, swish) < 4e-6);
    }

    #[test]
    fn erf_is_that_of_the_tables() {
        for (x, value) in
            [(0.1, 0.112_462_92), (0.5, 0.520_499_9), (1.0, 0.842_700_8), (2.5, 0.999_593)]
        {
            assert!((erf::<Plain>(x) - value).abs() < 3e-7);
            assert!((erf::<Plain>(-x) + value).abs() < 3e-7);
        }
    }

    #[test]
    fn what_is_no_number_stays_and_infinities_have_their_limits() {
        let mut xs = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 200.0, -200.0];
        Activation::Sigmoid.apply_to(&mut xs);
        assert!(xs[0].is_nan());
        assert_eq!(xs[1..], [1.0, 0.0, 1.0, 0.0]);
        for activation in [
            Activation::Relu,
            Activation::Clip { low: 0.0, high: 6.0 },
            Activation::Tanh,
            Activation::Gelu,
            Activation::GeluTanh,
            Activation::Swish,
            Activation::HardSwish,
        ] {
            let mut one = [f32::NAN];
            activation.apply_to(&mut one);
            assert!(one[0].is_nan(), "{activation:?}");
        }
    }
}
