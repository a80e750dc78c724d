//! A device of burn, opened: what it computes with.

use burn::backend::{Backend, Dispatch, DispatchDevice};
use burn::tensor::{BoolDType, DType as BurnType, IntDType};

use crate::dtype::DType;

/// Types that are sent to a device, if it computes with them. Others stay with the CPU.
const TYPES: [DType; 6] = [DType::F32, DType::F64, DType::F16, DType::Bf16, DType::I32, DType::I64];

/// An opened device.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(super) device: DispatchDevice,
    /// How it keeps booleans.
    pub(super) bools: BoolDType,
    /// The type that indices are sent as.
    pub(super) indices: IntDType,
    types: Vec<DType>,
    pub(super) host_elements_max: usize,
}

impl Target {
    /// `f64`: whether the device has all of its functions for 64-bit floats.
    pub(crate) fn new(device: &burn::tensor::Device, f64: bool, host_elements_max: usize) -> Self {
        let device = device.as_dispatch().clone();
        let supports = |dtype: BurnType| Dispatch::supports_dtype(&device, dtype);
        let stores = [BoolDType::Native, BoolDType::U8, BoolDType::U32];
        let bools = stores.into_iter().find(|store| supports(BurnType::Bool(*store)));
        let types = TYPES.into_iter().filter(|dtype| f64 || *dtype != DType::F64);
        let types = types.filter(|dtype| dtype.to_burn().is_some_and(supports)).collect();
        // Sizes of axes on a device are far below 2^31, and not every GPU knows 64-bit integers.
        let indices = if supports(BurnType::I32) { IntDType::I32 } else { IntDType::I64 };
        Self { bools: bools.unwrap_or(BoolDType::U32), indices, types, host_elements_max, device }
    }

    /// Whether tensors of this type can be on the device.
    pub(super) fn takes(&self, dtype: DType) -> bool {
        dtype == DType::Bool || self.types.contains(&dtype)
    }
}
