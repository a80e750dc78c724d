//! Element types: those of ONNX's `TensorProto.DataType`, and how each lies in memory.
//!
//! Types narrower than a byte are unpacked, one element per byte; 8-bit floats are kept as their bits.

use std::fmt;

use half::{bf16, f16};

/// The type of a tensor's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the names are the specification's")]
pub enum DType {
    F32,
    F64,
    F16,
    Bf16,
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
    /// One byte each, 0 or 1.
    Bool,
    String,
    F8E4M3Fn,
    F8E4M3FnUz,
    F8E5M2,
    F8E5M2FnUz,
    F8E8M0,
    /// One byte each, -8 to 7.
    I4,
    /// One byte each, 0 to 15.
    U4,
    /// One byte each, the four bits.
    F4E2M1,
}

/// How elements lie in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repr {
    F32,
    F64,
    F16,
    Bf16,
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
    String,
}

impl DType {
    /// The type with this number in `TensorProto.DataType`. `None`: unknown, or complex, which nothing here computes with.
    #[must_use]
    pub const fn from_onnx(number: i32) -> Option<Self> {
        Some(match number {
            1 => Self::F32,
            2 => Self::U8,
            3 => Self::I8,
            4 => Self::U16,
            5 => Self::I16,
            6 => Self::I32,
            7 => Self::I64,
            8 => Self::String,
            9 => Self::Bool,
            10 => Self::F16,
            11 => Self::F64,
            12 => Self::U32,
            13 => Self::U64,
            16 => Self::Bf16,
            17 => Self::F8E4M3Fn,
            18 => Self::F8E4M3FnUz,
            19 => Self::F8E5M2,
            20 => Self::F8E5M2FnUz,
            21 => Self::U4,
            22 => Self::I4,
            23 => Self::F4E2M1,
            24 => Self::F8E8M0,
            _ => return None,
        })
    }

    /// What to call a number of `TensorProto.DataType` that [`from_onnx`](Self::from_onnx) does not take.
    pub(crate) fn unsupported_name(number: i32) -> String {
        match number {
            14 => "complex64 (14)".to_owned(),
            15 => "complex128 (15)".to_owned(),
            25 => "uint2 (25)".to_owned(),
            26 => "int2 (26)".to_owned(),
            _ => format!("number {number}"),
        }
    }

    /// The name that people know it by, as NumPy and ONNX have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F64 => "f64",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::I8 => "i8",
            Self::I16 => "i16",
            Self::I32 => "i32",
            Self::I64 => "i64",
            Self::U8 => "u8",
            Self::U16 => "u16",
            Self::U32 => "u32",
            Self::U64 => "u64",
            Self::Bool => "bool",
            Self::String => "string",
            Self::F8E4M3Fn => "f8e4m3fn",
            Self::F8E4M3FnUz => "f8e4m3fnuz",
            Self::F8E5M2 => "f8e5m2",
            Self::F8E5M2FnUz => "f8e5m2fnuz",
            Self::F8E8M0 => "f8e8m0",
            Self::I4 => "i4",
            Self::U4 => "u4",
            Self::F4E2M1 => "f4e2m1",
        }
    }

    pub(crate) const fn repr(self) -> Repr {
        match self {
            Self::F32 => Repr::F32,
            Self::F64 => Repr::F64,
            Self::F16 => Repr::F16,
            Self::Bf16 => Repr::Bf16,
            Self::I8 | Self::I4 => Repr::I8,
            Self::I16 => Repr::I16,
            Self::I32 => Repr::I32,
            Self::I64 => Repr::I64,
            Self::U16 => Repr::U16,
            Self::U32 => Repr::U32,
            Self::U64 => Repr::U64,
            Self::String => Repr::String,
            Self::U8
            | Self::Bool
            | Self::F8E4M3Fn
            | Self::F8E4M3FnUz
            | Self::F8E5M2
            | Self::F8E5M2FnUz
            | Self::F8E8M0
            | Self::U4
            | Self::F4E2M1 => Repr::U8,
        }
    }

    /// Bytes of one element in memory; what a string's element weighs without its text.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self.repr() {
            Repr::I8 | Repr::U8 => 1,
            Repr::F16 | Repr::Bf16 | Repr::I16 | Repr::U16 => 2,
            Repr::F32 | Repr::I32 | Repr::U32 => 4,
            Repr::F64 | Repr::I64 | Repr::U64 => 8,
            Repr::String => size_of::<String>(),
        }
    }

    /// f32, f64, f16 or bf16.
    #[must_use]
    pub const fn is_float(self) -> bool {
        matches!(self, Self::F32 | Self::F64 | Self::F16 | Self::Bf16)
    }

    /// burn's name for it, where burn has it.
    pub(crate) const fn to_burn(self) -> Option<burn::tensor::DType> {
        use burn::tensor::DType as Burn;
        Some(match self {
            Self::F32 => Burn::F32,
            Self::F64 => Burn::F64,
            Self::F16 => Burn::F16,
            Self::Bf16 => Burn::BF16,
            Self::I8 => Burn::I8,
            Self::I16 => Burn::I16,
            Self::I32 => Burn::I32,
            Self::I64 => Burn::I64,
            Self::U8 => Burn::U8,
            Self::U16 => Burn::U16,
            Self::U32 => Burn::U32,
            Self::U64 => Burn::U64,
            _ => return None,
        })
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A Rust type that elements are read and written as.
pub(crate) trait Element: bytemuck::Pod + fmt::Debug + PartialOrd + Send + Sync {
    /// The type that has this as its plain form.
    const DTYPE: DType;
    const ZERO: Self;
    const ONE: Self;
}

macro_rules! elements {
    ($($rust:ty: $dtype:ident, $zero:expr, $one:expr;)*) => {$(
        impl Element for $rust {
            const DTYPE: DType = DType::$dtype;
            const ZERO: Self = $zero;
            const ONE: Self = $one;
        }
    )*};
}

elements! {
    f32: F32, 0.0, 1.0;
    f64: F64, 0.0, 1.0;
    f16: F16, f16::ZERO, f16::ONE;
    bf16: Bf16, bf16::ZERO, bf16::ONE;
    i8: I8, 0, 1;
    i16: I16, 0, 1;
    i32: I32, 0, 1;
    i64: I64, 0, 1;
    u8: U8, 0, 1;
    u16: U16, 0, 1;
    u32: U32, 0, 1;
    u64: U64, 0, 1;
}

/// Runs `$body` with `$T` standing for the Rust type of `$dtype`, if that is one of the listed ones; else `$other`.
///
/// `for_dtype!(tensor.dtype(), T in [f32, f64], { sum::<T>(tensor) }, else { return Err(..) })`
macro_rules! for_dtype {
    ($dtype:expr, $T:ident in [$($rust:ty),+ $(,)?], $body:block, else $other:block) => {{
        let dtype: $crate::dtype::DType = $dtype;
        $(if dtype == <$rust as $crate::dtype::Element>::DTYPE {
            type $T = $rust;
            $body
        } else)+ $other
    }};
}

/// [`for_dtype!`] over the twelve numeric types.
macro_rules! for_number {
    ($dtype:expr, $T:ident, $body:block, else $other:block) => {
        $crate::dtype::for_dtype!(
            $dtype,
            $T in [f32, f64, half::f16, half::bf16, i8, i16, i32, i64, u8, u16, u32, u64],
            $body,
            else $other
        )
    };
}

/// [`for_dtype!`] by how elements lie in memory, for work that moves them without looking: every type but strings.
macro_rules! for_repr {
    ($dtype:expr, $T:ident, $body:block, else $other:block) => {{
        match $dtype.bytes() {
            _ if $dtype == $crate::dtype::DType::String => $other
            1 => {
                type $T = u8;
                $body
            }
            2 => {
                type $T = u16;
                $body
            }
            4 => {
                type $T = u32;
                $body
            }
            _ => {
                type $T = u64;
                $body
            }
        }
    }};
}

pub(crate) use {for_dtype, for_number, for_repr};
