//! Where a network runs: on the CPU by our own kernels, or on a device of [burn](https://burn.dev) chosen by name at run time.
//!
//! Which of burn's devices there are is decided by cargo features (`wgpu`, `vulkan`, `metal`, `cuda`); `flex`, burn's own CPU backend,
//! is always there, for comparison. Every model runs on every device: what has no form there runs on the CPU in between.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::str::FromStr;

use crate::on_burn::{DeviceTensor, Target};
use crate::run::message_of;
use crate::tensor::Tensor;

/// A device by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    kind: Kind,
    host_elements_max: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Cpu,
    Flex,
    Wgpu,
    Vulkan,
    Metal,
    Cuda(usize),
}

/// Why there is no such device.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// No device is called that.
    #[error(
        "{0:?} is no device; there are cpu, flex, wgpu, vulkan, metal and cuda (cuda:1 for the second)"
    )]
    Unknown(String),
    /// The program was built without it.
    #[error("this build has no {0}; build with --features {0}")]
    NotBuilt(&'static str),
    /// The machine has no such device, or its driver does not work.
    #[error("device {device} does not work: {what}")]
    Absent {
        /// Its name.
        device: String,
        /// What the driver said.
        what: String,
    },
}

impl Default for Device {
    fn default() -> Self {
        Self::cpu()
    }
}

impl Device {
    /// The CPU, with our own kernels.
    #[must_use]
    pub const fn cpu() -> Self {
        Self::of(Kind::Cpu)
    }

    const fn of(kind: Kind) -> Self {
        // What takes a few microseconds on the CPU is not worth a transfer and the launch of a kernel.
        Self { kind, host_elements_max: 4096 }
    }

    /// A device by its name: `cpu`, `flex`, `wgpu`, `vulkan`, `metal`, `cuda`, `cuda:1`.
    ///
    /// # Errors
    /// [`DeviceError::Unknown`] and [`DeviceError::NotBuilt`]. Whether the machine has it is for [`probe`](Self::probe) to say.
    pub fn parse(name: &str) -> Result<Self, DeviceError> {
        let kind = match name.trim() {
            "cpu" => Kind::Cpu,
            "flex" => Kind::Flex,
            "wgpu" => Kind::Wgpu,
            "vulkan" => Kind::Vulkan,
            "metal" => Kind::Metal,
            "cuda" => Kind::Cuda(0),
            other => {
                let number = other.strip_prefix("cuda:").and_then(|number| number.parse().ok());
                Kind::Cuda(number.ok_or_else(|| DeviceError::Unknown(other.to_owned()))?)
            }
        };
        match kind.missing_feature() {
            Some(feature) => Err(DeviceError::NotBuilt(feature)),
            None => Ok(Self::of(kind)),
        }
    }

    /// Lets operators whose operands have at most this many elements, all on the host, stay there. 0 is for tests: everything that
    /// the device can compute is computed by it.
    #[must_use]
    pub const fn with_host_elements_max(mut self, elements: usize) -> Self {
        self.host_elements_max = elements;
        self
    }

    /// Whether it is the CPU with our own kernels.
    #[must_use]
    pub const fn is_cpu(&self) -> bool {
        matches!(self.kind, Kind::Cpu)
    }

    /// Sees whether the machine has the device, by computing with it.
    ///
    /// # Errors
    /// [`DeviceError::Absent`].
    pub fn probe(&self) -> Result<(), DeviceError> {
        self.open().map(drop)
    }

    /// Opens burn's device and sees that it computes. `None`: the CPU.
    pub(crate) fn open(&self) -> Result<Option<Target>, DeviceError> {
        if self.is_cpu() {
            return Ok(None);
        }
        let absent = |what: String| DeviceError::Absent { device: self.to_string(), what };
        // burn's drivers panic where there is no device.
        let open = AssertUnwindSafe(|| {
            let target =
                Target::new(&self.kind.burn_device()?, self.kind.has_f64(), self.host_elements_max);
            let sent = Tensor::new([2], vec![1.0_f32, 2.0]);
            let back = DeviceTensor::upload(&sent, &target).ok()?.doubled().download().ok()?;
            (back.as_slice::<f32>().ok()? == [2.0, 4.0]).then_some(target)
        });
        match catch_unwind(open) {
            Ok(Some(target)) => Ok(Some(target)),
            Ok(None) => Err(absent("it does not compute".to_owned())),
            Err(panic) => Err(absent(message_of(&*panic))),
        }
    }
}

impl Kind {
    const fn missing_feature(self) -> Option<&'static str> {
        match self {
            Self::Cpu | Self::Flex => None,
            Self::Wgpu if cfg!(feature = "wgpu") => None,
            Self::Vulkan if cfg!(feature = "vulkan") => None,
            Self::Metal if cfg!(feature = "metal") => None,
            Self::Cuda(_) if cfg!(feature = "cuda") => None,
            Self::Wgpu => Some("wgpu"),
            Self::Vulkan => Some("vulkan"),
            Self::Metal => Some("metal"),
            Self::Cuda(_) => Some("cuda"),
        }
    }

    /// Shaders have 64-bit floats and sums of them, but no exponential or logarithm: what these give there is wrong.
    const fn has_f64(self) -> bool {
        matches!(self, Self::Cpu | Self::Flex | Self::Cuda(_))
    }

    fn burn_device(self) -> Option<burn::tensor::Device> {
        match self {
            Self::Flex => Some(burn::tensor::Device::flex()),
            #[cfg(feature = "wgpu")]
            Self::Wgpu => Some(burn::tensor::Device::wgpu(burn::tensor::DeviceKind::DefaultDevice)),
            #[cfg(feature = "vulkan")]
            Self::Vulkan => {
                Some(burn::tensor::Device::vulkan(burn::tensor::DeviceKind::DefaultDevice))
            }
            #[cfg(feature = "metal")]
            Self::Metal => {
                Some(burn::tensor::Device::metal(burn::tensor::DeviceKind::DefaultDevice))
            }
            #[cfg(feature = "cuda")]
            Self::Cuda(index) => Some(burn::tensor::Device::cuda(index)),
            _ => None,
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::Cpu => f.write_str("cpu"),
            Kind::Flex => f.write_str("flex"),
            Kind::Wgpu => f.write_str("wgpu"),
            Kind::Vulkan => f.write_str("vulkan"),
            Kind::Metal => f.write_str("metal"),
            Kind::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

impl FromStr for Device {
    type Err = DeviceError;

    fn from_str(name: &str) -> Result<Self, DeviceError> {
        Self::parse(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_named() {
        for name in ["cpu", "flex"] {
            assert_eq!(Device::parse(name).unwrap().to_string(), name);
        }
        assert!(Device::default().open().unwrap().is_none());
        assert!(Device::parse("flex").unwrap().open().unwrap().is_some());
        for name in ["", "gpu", "cuda:", "cuda:-1", "cuda:x"] {
            assert!(matches!(Device::parse(name), Err(DeviceError::Unknown(_))), "{name}");
        }
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn what_was_not_built_says_how_to_build_it() {
        let refused = Device::parse("cuda:0").unwrap_err().to_string();
        assert_eq!(refused, "this build has no cuda; build with --features cuda");
    }
}
