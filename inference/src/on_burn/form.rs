//! What an operator is on a device.

use std::fmt;

use super::operands::{Held, Operands};
use super::tensor::DeviceTensor;
use crate::error::OpError;
use crate::ops::NodeSpec;
use crate::run::Context;

/// The outputs. `None`: these operands are not covered, none of them was taken, and the host shall compute.
pub(super) type Outcome = Result<Option<Vec<Held>>, OpError>;

type Compute = dyn Fn(&mut Operands<'_>, &Context<'_>) -> Outcome + Send + Sync;

/// An operator with its attributes, as it computes on a device.
pub(crate) struct Form(Box<Compute>);

/// Makes the form of a node. `None`: what it asks for is not covered, or is wrong, which the host's operator says.
pub(super) type BuildForm = fn(&NodeSpec<'_>) -> Option<Form>;

impl Form {
    pub(super) fn new(
        compute: impl Fn(&mut Operands<'_>, &Context<'_>) -> Outcome + Send + Sync + 'static,
    ) -> Self {
        Self(Box::new(compute))
    }

    pub(super) fn run(&self, operands: &mut Operands<'_>, context: &Context<'_>) -> Outcome {
        (self.0)(operands, context)
    }
}

impl fmt::Debug for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Form")
    }
}

/// The only output.
#[expect(clippy::unnecessary_wraps, reason = "every form ends with it")]
pub(super) fn one(tensor: DeviceTensor) -> Outcome {
    Ok(Some(vec![tensor.into()]))
}

/// Left to the host.
pub(super) const NOT_COVERED: Outcome = Ok(None);
