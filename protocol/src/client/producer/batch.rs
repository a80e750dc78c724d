//! A batch that gathers, and then is one request until it is settled.

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::{Delivery, SURROUNDINGS_BYTES};
use crate::{
    batch::{Body, BodyBuilder, FormError},
    client::ClientError,
    v1::Compression,
};

/// A record that waits to be sent.
#[derive(Debug)]
pub(crate) struct Waiting {
    /// The encoded `Record`.
    pub(crate) message: Bytes,
    pub(crate) done: oneshot::Sender<Result<Delivery, ClientError>>,
    /// Its room in the buffer, given back when it is settled.
    pub(crate) _room: OwnedSemaphorePermit,
}

impl Waiting {
    fn bytes(&self) -> usize {
        self.message.len() + SURROUNDINGS_BYTES
    }

    fn settle(self, result: Result<Delivery, ClientError>) {
        // Nobody may be waiting any more; that changes nothing.
        self.done.send(result).unwrap_or_default();
    }
}

/// When a batch is full.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BatchLimits {
    pub(crate) bytes: usize,
    pub(crate) records: u32,
}

/// Records that are sent together.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    waiting: Vec<Waiting>,
    bytes: usize,
}

impl Batch {
    /// Adds a record, or gives it back when the batch is too full for it. An empty batch takes any.
    pub(crate) fn add(&mut self, record: Waiting, limits: BatchLimits) -> Result<(), Waiting> {
        let full = self.waiting.len() >= limits.records as usize
            || self.bytes + record.bytes() > limits.bytes;
        if full && !self.waiting.is_empty() {
            return Err(record);
        }
        self.bytes += record.bytes();
        self.waiting.push(record);
        Ok(())
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(crate) fn is_full(&self, limits: BatchLimits) -> bool {
        self.waiting.len() >= limits.records as usize || self.bytes >= limits.bytes
    }

    pub(crate) fn body(&self, compression: Compression) -> Result<Body, FormError> {
        let mut body = BodyBuilder::default();
        for record in &self.waiting {
            body.push_encoded(&record.message);
        }
        body.finish_compressed(compression)
    }

    /// Two batches of half the records each, in order.
    pub(crate) fn halves(mut self) -> (Self, Self) {
        let second = self.waiting.split_off(self.waiting.len() / 2);
        let of = |waiting: Vec<Waiting>| {
            let bytes = waiting.iter().map(Waiting::bytes).sum();
            Self { waiting, bytes }
        };
        (of(self.waiting), of(second))
    }

    pub(crate) fn delivered(self, deliveries: Vec<Delivery>) {
        for (record, delivery) in self.waiting.into_iter().zip(deliveries) {
            record.settle(Ok(delivery));
        }
    }

    pub(crate) fn failed(self, error: &ClientError) {
        for record in self.waiting {
            record.settle(Err(error.clone()));
        }
    }
}
