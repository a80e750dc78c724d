//! What a model that is asked directly failed with, as failures of a request.

use embermq_protocol::code::Code;

use super::answer::too_large;
use crate::http::failure::Failure;
use crate::models::{DirectError, TensorFault};

impl From<DirectError> for Failure {
    fn from(error: DirectError) -> Self {
        let text = error.to_string();
        match error {
            DirectError::Registry(error) => Self::from(error),
            DirectError::NoTensors { .. } => Self::invalid(text),
            DirectError::Overloaded { .. }
            | DirectError::TooManyModels { .. }
            | DirectError::Stopped => Self::new(Code::Overloaded, text),
            DirectError::TimedOut { .. } => Self::new(Code::ModelTimedOut, text),
            DirectError::Model { .. } | DirectError::Stuck { .. } => {
                Self::new(Code::ModelFailed, text)
            }
        }
    }
}

impl From<TensorFault> for Failure {
    fn from(fault: TensorFault) -> Self {
        let text = fault.to_string();
        match fault {
            TensorFault::Request { .. } => Self::invalid(text),
            TensorFault::TooLarge { .. } => too_large(),
            TensorFault::Model { .. } => Self::new(Code::ModelFailed, text),
        }
    }
}
