//! What is asked and what is answered.

use std::time::Duration;

use bytes::Bytes;

use crate::post::Content;

/// What a model is asked: bytes, in the form that its manifest says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    /// The bytes.
    pub bytes: Bytes,
}

impl<T: Into<Bytes>> From<T> for Payload {
    fn from(bytes: T) -> Self {
        Self { bytes: bytes.into() }
    }
}

/// The answer to one payload.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Answer {
    /// What it says.
    pub content: Content,
    /// Whether an output had infinity or what is no number in it. JSON shows `null` for both; whether such an answer is any good
    /// is the caller's decision.
    pub nonfinite: bool,
    /// What it took.
    pub times: Times,
    /// How many payloads ran together; 0: the answer was known without the model.
    pub batch: usize,
}

/// What an answer took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// From being submitted to [`Instances`](crate::Instances) to the start of the work.
    pub queue: Duration,
    /// Making the payload ready.
    pub pre: Duration,
    /// The run that the payload was part of, of all payloads in it.
    pub compute: Duration,
    /// Making the answer of the outputs.
    pub post: Duration,
}
