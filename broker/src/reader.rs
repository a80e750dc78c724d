//! How a read is carried out: resolve where it begins, wait if there is nothing yet, slice the segments.
//!
//! What may fault a page from the device is done on a blocking thread, never on one that serves requests.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use embermq_storage::disk::is_too_many_open;
use embermq_storage::reader::{PartitionReader, ReadSlice};
use embermq_storage::segment::ReadError as SegmentReadError;
use embermq_storage::{Offset, Timestamp};

use crate::error::ReadError;
use crate::read::{From, Read, ReadRequest};
use crate::read_ahead::{Expected, ReadAhead};
use crate::topic::{Partition, PartitionId, Topic};

/// One read under way.
#[derive(Debug)]
pub(crate) struct Reading<'a> {
    topic: &'a Topic,
    partition: &'a Arc<Partition>,
    request: &'a ReadRequest,
}

impl<'a> Reading<'a> {
    pub(crate) fn new(topic: &'a Topic, request: &'a ReadRequest) -> Result<Self, ReadError> {
        let partition = topic.partitions.get(request.partition.0 as usize).ok_or_else(|| {
            ReadError::PartitionNotFound {
                topic: topic.name.clone(),
                partition: request.partition,
                partitions: topic.settings.partitions,
            }
        })?;
        Ok(Self { topic, partition, request })
    }

    pub(crate) async fn run(self, shutting_down: impl Fn() -> bool) -> Result<Read, ReadError> {
        let reader = &self.partition.reader;
        let from = match self.request.from {
            From::Start => reader.start(),
            From::End => reader.end(),
            From::Offset(offset) => offset,
            From::Time(time) => self.offset_at(time).await?,
        };
        self.check(from)?;
        if from == reader.end() {
            self.wait(from, shutting_down).await?;
        }
        let slice = self.slice(from).await?;
        let (start, end) = (reader.start(), reader.end());
        let counters = &self.topic.counters;
        let bytes: u64 = slice.pieces.iter().map(|piece| piece.len() as u64).sum();
        counters.bytes_out.fetch_add(bytes, Ordering::Relaxed);
        counters.records_out.fetch_add(slice.next.0.saturating_sub(from.0), Ordering::Relaxed);
        Ok(Read { pieces: slice.pieces, from, next: slice.next.max(from), start, end })
    }

    fn check(&self, from: Offset) -> Result<(), ReadError> {
        let (start, end) = (self.partition.start(), self.partition.end());
        let (topic, partition) = (self.topic.name.clone(), self.request.partition);
        if from < start {
            return Err(ReadError::OffsetExpired { topic, partition, from, start, end });
        }
        if from > end {
            return Err(ReadError::OffsetBeyondEnd { topic, partition, from, start, end });
        }
        Ok(())
    }

    /// Waits until there is something behind `from`, or the patience is over.
    async fn wait(&self, from: Offset, shutting_down: impl Fn() -> bool) -> Result<(), ReadError> {
        if self.request.wait.is_zero() {
            return Ok(());
        }
        let deadline = tokio::time::sleep(self.request.wait);
        tokio::pin!(deadline);
        loop {
            let grown = self.partition.grown.notified();
            tokio::pin!(grown);
            // From here on no wake-up is missed.
            grown.as_mut().enable();
            if self.partition.is_deleted() {
                return Err(ReadError::TopicNotFound { topic: self.topic.name.clone() });
            }
            if shutting_down() {
                return Err(ReadError::ShuttingDown);
            }
            if self.partition.end() > from {
                return Ok(());
            }
            tokio::select! {
                () = &mut grown => {}
                () = &mut deadline => return Ok(()),
            }
        }
    }

    async fn slice(&self, from: Offset) -> Result<ReadSlice, ReadError> {
        let bytes_max = self.request.bytes_max;
        let expected = self.partition.ahead.take(from, bytes_max);
        let goes_on = !matches!(expected, Expected::No);
        let slice = match expected {
            Expected::Read(read) => match read.await {
                Ok(Ok(slice)) => slice,
                // It may be well by now; and if it is not, the error should say how it is now.
                Ok(Err(_)) | Err(_) => self.read(from, bytes_max).await?,
            },
            Expected::Yes | Expected::No => self.read(from, bytes_max).await?,
        };
        // A whole batch more would not have fit, or there was no more: which of them, the next read will see.
        if slice.bytes() > bytes_max / 2 && slice.next < self.partition.end() {
            ReadAhead::expect(self.partition, slice.next, bytes_max, goes_on);
        }
        Ok(slice)
    }

    async fn read(&self, from: Offset, bytes_max: u64) -> Result<ReadSlice, ReadError> {
        let reader = &self.partition.reader;
        let slice = if reader.is_hot(from) {
            reader.read(from, bytes_max)
        } else {
            self.on_blocking_thread(move |reader| reader.read(from, bytes_max)).await?
        };
        slice.map_err(|error| self.explain(error))
    }

    async fn offset_at(&self, time: Timestamp) -> Result<Offset, ReadError> {
        let found = self.on_blocking_thread(move |reader| reader.offset_at(time)).await?;
        found.map_err(|error| self.explain(error))
    }

    async fn on_blocking_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce(&PartitionReader) -> T + Send + 'static,
    ) -> Result<T, ReadError> {
        let reader = self.partition.reader.clone();
        tokio::task::spawn_blocking(move || work(&reader)).await.map_err(|error| ReadError::Io {
            topic: self.topic.name.clone(),
            partition: self.request.partition,
            detail: format!("the reading thread ended: {error}"),
        })
    }

    fn explain(&self, error: SegmentReadError) -> ReadError {
        explain(self.topic, self.request.partition, self.partition, error)
    }
}

/// What an error of the storage means to whoever reads.
pub(crate) fn explain(
    topic: &Topic,
    number: PartitionId,
    partition: &Partition,
    error: SegmentReadError,
) -> ReadError {
    let topic = topic.name.clone();
    if partition.is_deleted() {
        return ReadError::TopicNotFound { topic };
    }
    let partition = number;
    match error {
        SegmentReadError::OutOfRange { from, start, end } if from < start => {
            ReadError::OffsetExpired { topic, partition, from, start, end }
        }
        SegmentReadError::OutOfRange { from, start, end } => {
            ReadError::OffsetBeyondEnd { topic, partition, from, start, end }
        }
        SegmentReadError::Damaged { first, next, .. }
        | SegmentReadError::Missing { first, next, .. } => {
            ReadError::DataLoss { topic, partition, first, next, detail: error.to_string() }
        }
        // Only a broker that is closing interrupts its own reads.
        SegmentReadError::Io { source, .. } if source.kind() == std::io::ErrorKind::Interrupted => {
            ReadError::ShuttingDown
        }
        SegmentReadError::Io { source, .. } if is_too_many_open(&source) => {
            ReadError::TooManyOpenFiles { topic, partition, detail: source.to_string() }
        }
        other => ReadError::Io { topic, partition, detail: other.to_string() },
    }
}
