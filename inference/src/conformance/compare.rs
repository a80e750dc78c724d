//! Whether two values are the same, within a tolerance for floats.

use num_traits::AsPrimitive;

use crate::dtype::{DType, for_dtype, for_number};
use crate::tensor::Tensor;
use crate::value::Value;

/// Floats are equal when `|a - b| <= absolute + relative * |b|`, as NumPy's `allclose` has it. NaN equals NaN.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    /// Relative to the expected value.
    pub relative: f64,
    /// In any case.
    pub absolute: f64,
}

impl Default for Tolerance {
    fn default() -> Self {
        Self { relative: 1e-3, absolute: 1e-5 }
    }
}

/// How far apart two values are at most.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Difference {
    /// The largest `|a - b|`.
    pub absolute: f64,
    /// The largest `|a - b| / |b|` where `b` is not 0.
    pub relative: f64,
}

impl Difference {
    /// The larger of both, part by part.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self {
            absolute: self.absolute.max(other.absolute),
            relative: self.relative.max(other.relative),
        }
    }
}

type Outcome = Result<Difference, (String, Difference)>;

fn wrong(what: impl Into<String>) -> Outcome {
    Err((what.into(), Difference::default()))
}

/// What can be asked of a graph's outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exactness {
    /// Each element.
    Elements,
    /// Bytes may be some steps apart: they come of a picture with losses, which decoders round differently.
    Pixels,
    /// Elements are drawn at random: type and shape alone.
    Form,
}

/// Steps by which decoders of JPEG differ.
const PIXEL_STEPS: u8 = 4;

/// Compares two values.
pub(super) fn values(
    found: &Value,
    expected: &Value,
    (exactness, tolerance): (Exactness, Tolerance),
) -> Outcome {
    let asked = (exactness, tolerance);
    match (found, expected) {
        (Value::Tensor(found), Value::Tensor(expected)) => {
            tensors(found, expected, exactness, tolerance)
        }
        (Value::Sequence(found), Value::Sequence(expected)) => {
            if found.len() != expected.len() {
                return wrong(format!("{} members, expected {}", found.len(), expected.len()));
            }
            let mut worst = Difference::default();
            for (found, expected) in found.iter().zip(expected.iter()) {
                worst = worst.or(values(found, expected, asked)?);
            }
            Ok(worst)
        }
        (Value::Optional(None), Value::Optional(None)) => Ok(Difference::default()),
        (Value::Optional(Some(found)), Value::Optional(Some(expected))) => {
            values(found, expected, asked)
        }
        _ => wrong(format!("{}, expected {}", found.kind(), expected.kind())),
    }
}

fn tensors(
    found: &Tensor,
    expected: &Tensor,
    exactness: Exactness,
    tolerance: Tolerance,
) -> Outcome {
    if found.dtype() != expected.dtype() {
        return wrong(format!("{}, expected {}", found.dtype(), expected.dtype()));
    }
    if found.shape() != expected.shape() {
        return wrong(format!("shape {:?}, expected {:?}", found.shape(), expected.shape()));
    }
    if exactness == Exactness::Form {
        return Ok(Difference::default());
    }
    if found.dtype() == DType::String {
        let same = found.as_strings().ok() == expected.as_strings().ok();
        return if same { Ok(Difference::default()) } else { wrong("other strings") };
    }
    for_dtype!(found.dtype(), T in [f32, f64, half::f16, half::bf16], {
        let floats = |tensor: &Tensor| -> Vec<f64> {
            tensor.as_slice::<T>().unwrap_or_default().iter().map(|value| (*value).as_()).collect()
        };
        return floats_within(&floats(found), &floats(expected), tolerance);
    }, else {});
    if found.raw() == expected.raw() {
        return Ok(Difference::default());
    }
    if exactness == Exactness::Pixels && found.dtype() == DType::U8 {
        let pairs = found.raw().iter().zip(expected.raw());
        let steps = pairs.map(|(found, expected)| found.abs_diff(*expected)).max().unwrap_or(0);
        if steps <= PIXEL_STEPS {
            return Ok(Difference { absolute: f64::from(steps), relative: 0.0 });
        }
    }
    if found.dtype() == DType::F4E2M1 {
        // Zero has two forms, which are equal.
        let plain = |tensor: &Tensor| -> Vec<u8> {
            tensor.raw().iter().map(|bits| if *bits == 8 { 0 } else { *bits }).collect()
        };
        if plain(found) == plain(expected) {
            return Ok(Difference::default());
        }
    }
    let differing = for_number!(found.dtype(), T, {
        let pair = (found.as_slice::<T>(), expected.as_slice::<T>());
        let (Ok(found), Ok(expected)) = pair else { return wrong("other elements") };
        first_difference(found, expected)
    }, else { first_difference(found.raw(), expected.raw()) });
    wrong(differing)
}

fn first_difference<T: PartialEq + std::fmt::Debug>(found: &[T], expected: &[T]) -> String {
    let mut pairs = found.iter().zip(expected).enumerate();
    let count = found.iter().zip(expected).filter(|(a, b)| a != b).count();
    match pairs.find(|(_, (a, b))| a != b) {
        Some((at, (a, b))) => {
            format!("{count} of {} elements differ; [{at}] is {a:?}, expected {b:?}", found.len())
        }
        None => "other elements".to_owned(),
    }
}

fn floats_within(found: &[f64], expected: &[f64], tolerance: Tolerance) -> Outcome {
    let (mut worst, mut outside, mut first) = (Difference::default(), 0_usize, None);
    for (at, (a, b)) in found.iter().zip(expected).enumerate() {
        #[expect(clippy::float_cmp, reason = "infinities are equal to themselves")]
        if a == b || (a.is_nan() && b.is_nan()) {
            continue;
        }
        let apart = (a - b).abs();
        let relative = if *b == 0.0 { 0.0 } else { apart / b.abs() };
        worst = worst.or(Difference { absolute: apart, relative });
        let allowed = tolerance.absolute + tolerance.relative * b.abs();
        // NaN is outside.
        if apart.is_nan() || apart > allowed {
            outside += 1;
            first.get_or_insert((at, *a, *b));
        }
    }
    match first {
        None => Ok(worst),
        Some((at, a, b)) => {
            let of = found.len();
            Err((format!("{outside} of {of} elements differ; [{at}] is {a}, expected {b}"), worst))
        }
    }
}
