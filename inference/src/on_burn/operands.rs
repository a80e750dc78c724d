//! Values while a plan runs on a device: each is here, there, or both, and is moved when somebody needs it elsewhere.

use super::target::Target;
use super::tensor::DeviceTensor;
use crate::dtype::DType;
use crate::error::OpError;
use crate::tensor::{Tensor, elements_of};
use crate::value::Value;

/// A value, on the host, on the device, or on both. Cloning shares.
#[derive(Clone, Debug, Default)]
pub(crate) struct Held {
    pub(super) host: Option<Value>,
    pub(super) device: Option<DeviceTensor>,
}

impl From<DeviceTensor> for Held {
    fn from(tensor: DeviceTensor) -> Self {
        Self { host: None, device: Some(tensor) }
    }
}

impl From<Value> for Held {
    fn from(value: Value) -> Self {
        Self { host: Some(value), device: None }
    }
}

impl Held {
    /// The value in the host's memory.
    pub(super) fn into_host(self) -> Result<Value, OpError> {
        match (self.host, self.device) {
            (Some(value), _) => Ok(value),
            (None, Some(tensor)) => Ok(Value::Tensor(tensor.download()?)),
            (None, None) => Err(OpError::shape("a value was moved twice")),
        }
    }

    fn host_tensor(&self) -> Option<&Tensor> {
        match &self.host {
            Some(Value::Tensor(tensor)) => Some(tensor),
            _ => None,
        }
    }

    pub(super) fn shape(&self) -> Option<&[usize]> {
        match &self.device {
            Some(tensor) => Some(tensor.shape()),
            None => self.host_tensor().map(Tensor::shape),
        }
    }

    pub(super) fn dtype(&self) -> Option<DType> {
        match &self.device {
            Some(tensor) => Some(tensor.dtype()),
            None => self.host_tensor().map(Tensor::dtype),
        }
    }
}

/// An operand of one step.
#[derive(Debug)]
pub(super) struct Operand {
    pub(super) held: Held,
    /// Somebody else reads the value too: what is moved stays with it.
    pub(super) shared: bool,
    /// It is now where it was not before.
    pub(super) moved: bool,
}

/// The operands of one step.
#[derive(Debug)]
pub(crate) struct Operands<'a> {
    pub(super) all: Vec<Option<Operand>>,
    pub(super) target: &'a Target,
}

impl Operands<'_> {
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    fn held(&self, at: usize) -> Option<&Held> {
        self.all.get(at)?.as_ref().map(|operand| &operand.held)
    }

    pub(super) fn has(&self, at: usize) -> bool {
        self.held(at).is_some()
    }

    /// The shape of a tensor. `None`: it was left out, or is none.
    pub(super) fn shape(&self, at: usize) -> Option<&[usize]> {
        self.held(at)?.shape()
    }

    /// The element type of a tensor that the device can hold, with its shape.
    pub(super) fn tensor(&self, at: usize) -> Option<(DType, &[usize])> {
        let held = self.held(at)?;
        let dtype = held.dtype().filter(|dtype| self.target.takes(*dtype))?;
        Some((dtype, held.shape()?))
    }

    /// The element type of a tensor that the device can hold.
    pub(super) fn dtype(&self, at: usize) -> Option<DType> {
        self.tensor(at).map(|(dtype, _)| dtype)
    }

    /// As [`tensor`](Self::tensor), for floats only.
    pub(super) fn float(&self, at: usize) -> Option<(DType, &[usize])> {
        self.tensor(at).filter(|(dtype, _)| dtype.is_float())
    }

    /// The type of several floating-point operands that have one in common; those that were left out are passed over.
    pub(super) fn floats(&self, places: impl IntoIterator<Item = usize>) -> Option<DType> {
        let mut common = None;
        for at in places.into_iter().filter(|at| self.has(*at)) {
            let (dtype, _) = self.float(at)?;
            if *common.get_or_insert(dtype) != dtype {
                return None;
            }
        }
        common
    }

    /// A tensor in the host's memory, for operands that say how to compute. `None`: it was left out.
    pub(super) fn host(&mut self, at: usize) -> Result<Option<Tensor>, OpError> {
        let Some(operand) = self.all.get_mut(at).and_then(Option::as_mut) else { return Ok(None) };
        if operand.held.host.is_none() {
            let tensor = operand.held.device.as_ref().ok_or(OpError::Missing(at))?.download()?;
            operand.held.host = Some(Value::Tensor(tensor));
            operand.moved = true;
        }
        operand.held.host.as_ref().map(|value| value.as_tensor().cloned()).transpose()
    }

    /// Integers of a tensor that says how to compute. `None`: it was left out.
    pub(super) fn host_i64s(&mut self, at: usize) -> Result<Option<Vec<i64>>, OpError> {
        self.host(at)?.map(|tensor| tensor.to_i64s()).transpose()
    }

    /// A tensor on the device. To be taken once, when it is sure that the device will compute.
    pub(super) fn take(&mut self, at: usize) -> Result<DeviceTensor, OpError> {
        let target = self.target;
        let missing = OpError::Missing(at);
        let operand = self.all.get_mut(at).and_then(Option::as_mut).ok_or(missing)?;
        let tensor = match operand.held.device.take() {
            Some(tensor) => tensor,
            None => {
                let value = operand.held.host.as_ref().ok_or(OpError::Missing(at))?;
                operand.moved = true;
                DeviceTensor::upload(value.as_tensor()?, target)?
            }
        };
        if operand.shared {
            operand.held.device = Some(tensor.clone());
        }
        Ok(tensor)
    }

    /// A tensor on the device that may be left out.
    pub(super) fn take_optional(&mut self, at: usize) -> Result<Option<DeviceTensor>, OpError> {
        if self.has(at) { self.take(at).map(Some) } else { Ok(None) }
    }

    /// Whether the device is worth it: an operand is there already, or there are many floats to compute with.
    pub(super) fn are_worth_it(&self) -> bool {
        let always = self.target.host_elements_max == 0;
        let mut floats = 0_usize;
        for operand in self.all.iter().flatten() {
            let Some(shape) = operand.held.shape() else { return false };
            let elements = elements_of(shape).unwrap_or(usize::MAX);
            // GPUs launch nothing for nothing, and not every kernel of burn's is prepared for it.
            if elements == 0 {
                return false;
            }
            if always || operand.held.dtype().is_some_and(DType::is_float) {
                floats = floats.saturating_add(elements);
            }
            if operand.held.host.is_none() {
                floats = usize::MAX;
            }
        }
        floats > self.target.host_elements_max
    }
}
