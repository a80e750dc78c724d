//! Floats of 8 and 4 bits: <https://onnx.ai/onnx/technical/float8.html>, <https://onnx.ai/onnx/technical/float4.html>
//!
//! Rounded to the nearest, ties to even.
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "bit patterns of a few bits are taken apart and put together"
)]

use crate::dtype::DType;
use crate::error::OpError;
use crate::tensor::Tensor;

/// A format with a sign bit in front.
#[derive(Clone, Copy, Debug)]
struct Format {
    mantissa_bits: u32,
    bias: i32,
    /// The largest finite number's bits.
    largest: u8,
    /// The bits of infinity, if there is one.
    infinity: Option<u8>,
    /// The bits of NaN; what it becomes where there is none.
    nan: u8,
    sign: u8,
    /// Whether the bits of negative zero are NaN instead, the only one.
    unsigned_zero: bool,
}

const fn format_of(dtype: DType) -> Option<Format> {
    let base = Format {
        mantissa_bits: 3,
        bias: 7,
        largest: 0x7e,
        infinity: None,
        nan: 0x7f,
        sign: 0x80,
        unsigned_zero: false,
    };
    Some(match dtype {
        DType::F8E4M3Fn => base,
        DType::F8E4M3FnUz => {
            Format { bias: 8, largest: 0x7f, nan: 0x80, unsigned_zero: true, ..base }
        }
        DType::F8E5M2 => Format {
            mantissa_bits: 2,
            bias: 15,
            largest: 0x7b,
            infinity: Some(0x7c),
            nan: 0x7e,
            ..base
        },
        DType::F8E5M2FnUz => Format {
            mantissa_bits: 2,
            bias: 16,
            largest: 0x7f,
            nan: 0x80,
            unsigned_zero: true,
            ..base
        },
        DType::F4E2M1 => {
            Format { mantissa_bits: 1, bias: 1, largest: 0x7, nan: 0x8, sign: 0x8, ..base }
        }
        _ => return None,
    })
}

/// Whether this file is what converts the type.
pub(crate) const fn is_small(dtype: DType) -> bool {
    matches!(dtype, DType::F8E8M0) || format_of(dtype).is_some()
}

impl Format {
    fn decode(self, bits: u8) -> f32 {
        let magnitude = bits & (self.sign - 1);
        let negative = bits & self.sign != 0;
        if self.unsigned_zero && bits == self.nan {
            return f32::NAN;
        }
        if magnitude > self.largest {
            let infinite = self.infinity == Some(magnitude);
            let value = if infinite { f32::INFINITY } else { f32::NAN };
            return if negative { -value } else { value };
        }
        let exponent = i32::from(magnitude >> self.mantissa_bits);
        let fraction = magnitude & ((1 << self.mantissa_bits) - 1);
        let hidden = if exponent == 0 { 0 } else { 1 << self.mantissa_bits };
        let scale = exponent.max(1) - self.bias - self.mantissa_bits as i32;
        let value = f32::from(fraction + hidden) * power_of_two(scale);
        if negative { -value } else { value }
    }

    fn encode(self, value: f32, saturate: bool) -> u8 {
        if value.is_nan() {
            return self.nan
                | (if value.is_sign_negative() && !self.unsigned_zero { self.sign } else { 0 });
        }
        let magnitude = self.encode_magnitude(value.abs(), saturate);
        if value.is_sign_positive() || self.unsigned_zero && magnitude & (self.sign - 1) == 0 {
            return magnitude;
        }
        magnitude | self.sign
    }

    fn encode_magnitude(self, value: f32, saturate: bool) -> u8 {
        let beyond = match self.infinity {
            _ if saturate => self.largest,
            Some(infinity) => infinity,
            None => self.nan,
        };
        if value.is_infinite() {
            return beyond;
        }
        let smallest_exponent = 1 - self.bias;
        let exponent = (((value.to_bits() >> 23) as i32) - 127).max(smallest_exponent);
        // Far above the largest number; it keeps the following small.
        if exponent > smallest_exponent + (1 << 6) {
            return beyond;
        }
        let quantum = power_of_two(self.mantissa_bits as i32 - exponent);
        let steps = (value * quantum).round_ties_even() as u32;
        let bits = ((exponent - smallest_exponent) as u32) << self.mantissa_bits;
        let bits = bits + steps;
        if bits > u32::from(self.largest) { beyond } else { bits as u8 }
    }
}

/// 2 to the power of a number between -126 and 127.
const fn power_of_two(exponent: i32) -> f32 {
    f32::from_bits(((exponent + 127) << 23) as u32)
}

/// The values of a tensor of small floats. `None`: it is of another type.
pub(crate) fn decode(tensor: &Tensor) -> Result<Option<Tensor>, OpError> {
    let table: Vec<f32> = match (format_of(tensor.dtype()), tensor.dtype()) {
        (Some(format), _) => (0..=u8::MAX).map(|bits| format.decode(bits)).collect(),
        (None, DType::F8E8M0) => (0..=u8::MAX).map(decode_scale).collect(),
        _ => return Ok(None),
    };
    let look_up = |bits: &u8| table.get(usize::from(*bits)).copied().unwrap_or(f32::NAN);
    let values = tensor.as_slice::<u8>()?.iter().map(look_up).collect();
    Ok(Some(Tensor::new(tensor.shape(), values)))
}

/// A tensor of small floats. `None`: `dtype` is another type.
pub(crate) fn encode(
    values: &[f32],
    dtype: DType,
    shape: &[usize],
    rounding: Rounding,
) -> Option<Tensor> {
    let bits = if let Some(format) = format_of(dtype) {
        // The 4-bit format has nothing beyond its largest number.
        let saturate = rounding.saturate || dtype == DType::F4E2M1;
        values.iter().map(|value| format.encode(*value, saturate)).collect()
    } else if dtype == DType::F8E8M0 {
        values.iter().map(|value| encode_scale(*value, rounding)).collect()
    } else {
        return None;
    };
    Some(Tensor::with_dtype::<u8>(dtype, shape, bits))
}

/// How values that a small float cannot hold become one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rounding {
    /// What is too large becomes the largest number, not NaN or infinity.
    pub(crate) saturate: bool,
    /// Of powers of two only.
    pub(crate) mode: Mode,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Up,
    Down,
    Nearest,
}

/// A power of two, without sign.
fn decode_scale(bits: u8) -> f32 {
    match bits {
        0 => f32::from_bits(0x0040_0000),
        u8::MAX => f32::NAN,
        _ => f32::from_bits(u32::from(bits) << 23),
    }
}

fn encode_scale(value: f32, rounding: Rounding) -> u8 {
    let bits = value.to_bits() & 0x7fff_ffff;
    let (exponent, fraction) = (bits >> 23, bits & 0x007f_ffff);
    if exponent == 0xff {
        return u8::MAX;
    }
    // Below the smallest normal number, the smallest power is what half of the bits mean.
    let fraction = if exponent == 0 { fraction.saturating_sub(0x0040_0000) << 1 } else { fraction };
    let up = match rounding.mode {
        Mode::Up => fraction > 0,
        Mode::Down => false,
        Mode::Nearest => fraction >= 0x0040_0000,
    };
    let rounded = exponent + u32::from(up);
    if rounded == 0xff && rounding.saturate { 0xfe } else { rounded as u8 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SATURATING: Rounding = Rounding { saturate: true, mode: Mode::Up };

    #[test]
    fn every_value_survives_the_round_trip() {
        let types = [
            DType::F8E4M3Fn,
            DType::F8E4M3FnUz,
            DType::F8E5M2,
            DType::F8E5M2FnUz,
            DType::F4E2M1,
            DType::F8E8M0,
        ];
        for dtype in types {
            let last = if dtype == DType::F4E2M1 { 15 } else { u8::MAX };
            let all: Vec<u8> = (0..=last).collect();
            let tensor = Tensor::with_dtype(dtype, [all.len()], all.clone());
            let decoded = decode(&tensor).unwrap().unwrap();
            let values = decoded.as_slice::<f32>().unwrap();
            let exact = Rounding { saturate: false, mode: Mode::Nearest };
            let back = encode(values, dtype, tensor.shape(), exact).unwrap();
            for ((bits, value), found) in all.iter().zip(values).zip(back.raw()) {
                assert!(value.is_nan() || bits == found, "{dtype} {bits:#x} {value} {found:#x}");
            }
        }
    }

    #[test]
    fn what_is_too_large_saturates_or_not() {
        let encoded = |value: f32, dtype, saturate| {
            let rounding = Rounding { saturate, ..SATURATING };
            encode(&[value], dtype, &[], rounding).unwrap().raw()[0]
        };
        assert_eq!(encoded(1e6, DType::F8E4M3Fn, true), 0x7e);
        assert_eq!(encoded(1e30, DType::F8E4M3Fn, false), 0x7f);
        assert_eq!(encoded(-1e6, DType::F8E5M2, false), 0xfc);
        assert_eq!(encoded(f32::NEG_INFINITY, DType::F8E5M2, true), 0xfb);
        assert_eq!(encoded(f32::INFINITY, DType::F8E4M3FnUz, false), 0x80);
        assert_eq!(encoded(-1e-30, DType::F8E4M3FnUz, true), 0);
        assert_eq!(encoded(9.0, DType::F4E2M1, false), 0x7);
        assert_eq!(encoded(1.1, DType::F8E8M0, true), 128);
        assert_eq!(encoded(0.0, DType::F8E8M0, true), 0);
    }
}
