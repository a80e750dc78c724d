//! Sending many records in order, in batches, each exactly once.
//!
//! A producer has one request in flight. While it is, the next batch gathers; so batches form from what is waiting,
//! and `linger` only matters when nothing is. A request carries the producer's id, its epoch and how many records it
//! sent before (its sequence): the broker answers a repeat with the first answer, and refuses a gap.
//!
//! When a batch fails for good, its records fail and the next ones go on in a *new epoch* from sequence 0: the broker
//! then refuses whatever of the old epoch may still be on its way, so a failed batch can never appear behind later
//! ones, and its sequence numbers can never be taken for those of other records.

use std::{future::IntoFuture, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use prost::Message as _;
use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    task::JoinHandle,
};

use super::{ClientError, Scheduled, TopicClient, When};
use crate::{
    limits::{RECORD_BYTES_MAX, REQUEST_BYTES_MAX, REQUEST_RECORDS_MAX},
    v1::{Compression, Record},
};

mod batch;
mod delivery;
mod sequence;
mod worker;

use batch::Waiting;
pub(crate) use delivery::deliveries;
use sequence::Sequence;
use worker::{Job, Worker};

/// What surrounds a record in a request at most: tag, length, the batch's head and compression.
const SURROUNDINGS_BYTES: usize = 64;
/// Records that may wait in the channel, whatever their size; the bytes are bounded by the buffer.
const WAITING_RECORDS_MAX: usize = 16_384;

/// Where a record is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Its partition.
    pub partition: u32,
    /// Its number in the partition; 0 when it has none yet.
    pub offset: u64,
    /// Set: it has no offset yet, because it appears later.
    pub scheduled: Option<Scheduled>,
}

/// Settings of a [`Producer`].
#[derive(Clone, Debug)]
pub struct ProducerBuilder {
    topic: TopicClient,
    linger: Duration,
    batch_bytes: usize,
    batch_records: u32,
    buffer_bytes: usize,
    record_bytes: usize,
    compression: Compression,
    partition: Option<u32>,
    when: Option<When>,
    identity: Option<(u64, u32)>,
}

impl ProducerBuilder {
    pub(crate) fn new(topic: TopicClient) -> Self {
        Self {
            topic,
            linger: Duration::from_millis(1),
            batch_bytes: 1 << 20,
            batch_records: REQUEST_RECORDS_MAX,
            buffer_bytes: 32 << 20,
            record_bytes: RECORD_BYTES_MAX as usize,
            compression: Compression::Unspecified,
            partition: None,
            when: None,
            identity: None,
        }
    }

    /// How long a batch that is not full waits for more when nothing is in flight. Default 1 ms.
    #[must_use]
    pub fn linger(mut self, linger: Duration) -> Self {
        self.linger = linger;
        self
    }

    /// A batch is full with so many bytes, before compression. Default 1 MiB.
    #[must_use]
    pub fn batch_bytes(mut self, bytes: usize) -> Self {
        self.batch_bytes = bytes.clamp(1, REQUEST_BYTES_MAX - SURROUNDINGS_BYTES);
        self
    }

    /// A batch is full with so many records. Default (and at most) 10,000.
    #[must_use]
    pub fn batch_records(mut self, records: u32) -> Self {
        self.batch_records = records.clamp(1, REQUEST_RECORDS_MAX);
        self
    }

    /// How many bytes of records may wait to be sent; [`Producer::send`] waits when it is full. Default 32 MiB.
    #[must_use]
    pub fn buffer_bytes(mut self, bytes: usize) -> Self {
        self.buffer_bytes = bytes.clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
        self
    }

    /// The largest record, as encoded. Should be the topic's own limit. Default 8 MiB.
    #[must_use]
    pub fn record_bytes(mut self, bytes: usize) -> Self {
        self.record_bytes = bytes.min(REQUEST_BYTES_MAX - SURROUNDINGS_BYTES);
        self
    }

    /// How batches are compressed; those that would not become smaller are sent as they are. Default: not.
    #[must_use]
    pub fn compression(mut self, compression: Compression) -> Self {
        self.compression = compression;
        self
    }

    /// Sends every record to one partition. Default: where its key says.
    #[must_use]
    pub fn partition(mut self, partition: u32) -> Self {
        self.partition = Some(partition);
        self
    }

    /// Lets every record appear later; a delay counts from when its batch is sent. Default: at once.
    #[must_use]
    pub fn deliver(mut self, when: When) -> Self {
        self.when = Some(when);
        self
    }

    /// Who it is: an id other than 0, and an epoch higher than any that was used with the id before; earlier ones are
    /// fenced off. After a batch whose fate is unknown such a producer stops, because the next epoch is not its own to
    /// choose: build one with a higher epoch. Default: a random id, which nobody else has, and epochs of its own.
    #[must_use]
    pub fn identity(mut self, producer_id: u64, producer_epoch: u32) -> Self {
        self.identity = Some((producer_id, producer_epoch));
        self
    }

    /// Starts the producer: a task on the current Tokio runtime.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    #[must_use]
    pub fn build(self) -> Producer {
        let (jobs, inbox) = mpsc::channel(WAITING_RECORDS_MAX);
        let sequence = match self.identity {
            Some((id, epoch)) => Sequence::of(id, epoch),
            None => Sequence::random(),
        };
        let buffer = Arc::new(Semaphore::new(self.buffer_bytes));
        let (buffer_bytes, record_bytes) = (self.buffer_bytes, self.record_bytes);
        let task = tokio::spawn(Worker::new(self, sequence, inbox).run());
        Producer { jobs, buffer, buffer_bytes, record_bytes, task }
    }
}

/// Sends records to one topic: in batches, in order, each exactly once, with bounded memory.
///
/// Dropping it lets what was taken still be sent, as long as the runtime lives; [`Producer::close`] waits for that.
#[derive(Debug)]
pub struct Producer {
    jobs: mpsc::Sender<Job>,
    buffer: Arc<Semaphore>,
    buffer_bytes: usize,
    record_bytes: usize,
    task: JoinHandle<()>,
}

impl Producer {
    /// Sends a record and waits until the broker has it.
    ///
    /// # Errors
    /// [`ClientError`] when it could not be delivered. After [`ClientError::Transport`], [`ClientError::Status`] and
    /// [`ClientError::Answer`] the broker may or may not have it.
    pub async fn send(&self, record: Record) -> Result<Delivery, ClientError> {
        self.enqueue(record).await?.await
    }

    /// Takes a record into the buffer, waiting for room in it, and gives a future of its delivery. Records that one
    /// task enqueues one after the other stay in this order.
    ///
    /// # Errors
    /// [`ClientError::RecordTooLarge`]; [`ClientError::Closed`].
    pub async fn enqueue(&self, record: Record) -> Result<PendingDelivery, ClientError> {
        let bytes = record.encoded_len();
        if bytes > self.record_bytes {
            return Err(ClientError::RecordTooLarge { bytes, limit: self.record_bytes });
        }
        // A record larger than the buffer takes all of it.
        let room = (bytes + SURROUNDINGS_BYTES).min(self.buffer_bytes);
        let room = u32::try_from(room).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.buffer).acquire_many_owned(room).await;
        let room = room.map_err(|_| ClientError::Closed)?;
        let (done, delivery) = oneshot::channel();
        let waiting = Waiting { message: record.encode_to_vec().into(), done, _room: room };
        self.jobs.send(Job::Record(waiting)).await.map_err(|_| ClientError::Closed)?;
        Ok(PendingDelivery { delivery })
    }

    /// Sends what is waiting without lingering, and waits until everything enqueued before is delivered or has failed.
    pub async fn flush(&self) {
        let (done, flushed) = oneshot::channel();
        if self.jobs.send(Job::Flush(done)).await.is_ok() {
            // Without an answer the worker is gone, and so is all that waited.
            flushed.await.unwrap_or_default();
        }
    }

    /// Takes no more, and waits until everything that was enqueued is delivered or has failed.
    pub async fn close(self) {
        let Self { jobs, task, .. } = self;
        drop(jobs);
        // It fails only with the runtime, which takes everybody along.
        task.await.unwrap_or_default();
    }
}

/// A record on its way. Awaiting it tells where it went; dropping it does not stop it.
#[derive(Debug)]
pub struct PendingDelivery {
    delivery: oneshot::Receiver<Result<Delivery, ClientError>>,
}

impl IntoFuture for PendingDelivery {
    type Output = Result<Delivery, ClientError>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async { self.delivery.await.unwrap_or(Err(ClientError::Closed)) })
    }
}
