//! Reading: where from, how much, and on and on as a stream.

use std::{collections::VecDeque, time::Duration};

use futures::{
    FutureExt as _, StreamExt as _,
    future::BoxFuture,
    stream::{self, BoxStream, SelectAll, Stream},
};

use super::{ClientError, TopicClient, retry::Tries};
use crate::{
    batch::StoredRecord,
    limits::{FETCH_BYTES_DEFAULT, FETCH_WAIT_MAX},
    paths::query,
    time,
    v1::Record,
};

/// How often it is looked whether a topic has more partitions.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Where to read from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum From {
    /// The first record that is kept.
    #[default]
    Start,
    /// Behind the last record: only what comes.
    End,
    /// The record with this offset.
    Offset(u64),
    /// The first record appended at or after this time, in microseconds since 1970-01-01T00:00:00Z. The time may be still
    /// to come for those who go on reading; for a single fetch it is then the end.
    TimeUs(i64),
}

/// What to fetch, and how long to wait for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchOptions {
    /// The partition.
    pub partition: u32,
    /// Where to start.
    pub from: From,
    /// Stop after this many records (whole batches come); 0: no limit but bytes.
    pub max_records: u32,
    /// Stop after this many bytes; at least one batch comes when there is any.
    pub max_bytes: u32,
    /// How long the broker waits when there is nothing, at most 30 s.
    pub wait: Duration,
}

impl Default for FetchOptions {
    /// Partition 0 from its start, 1 MiB, without waiting.
    fn default() -> Self {
        Self {
            partition: 0,
            from: From::Start,
            max_records: 0,
            max_bytes: FETCH_BYTES_DEFAULT,
            wait: Duration::ZERO,
        }
    }
}

impl FetchOptions {
    pub(crate) fn query(&self) -> Vec<(&'static str, String)> {
        let mut pairs = vec![(query::PARTITION, self.partition.to_string())];
        pairs.push(match self.from {
            From::Start => (query::OFFSET, "start".to_owned()),
            From::End => (query::OFFSET, "end".to_owned()),
            From::Offset(offset) => (query::OFFSET, offset.to_string()),
            From::TimeUs(micros) => (query::TIME, time::Timestamp::from_micros(micros).to_string()),
        });
        if self.max_records > 0 {
            pairs.push((query::MAX, self.max_records.to_string()));
        }
        pairs.push((query::MAX_BYTES, self.max_bytes.to_string()));
        // Without zstd the server has to inflate what is stored as zstd.
        if cfg!(feature = "zstd") {
            pairs.push((query::COMPRESSED, "true".to_owned()));
        }
        if !self.wait.is_zero() {
            pairs.push((query::WAIT, time::Duration::from(self.wait).to_string()));
        }
        pairs
    }
}

/// A record as a consumer gets it.
#[derive(Clone, Debug, PartialEq)]
pub struct ConsumedRecord {
    /// The partition it is in.
    pub partition: u32,
    /// Its number in the partition.
    pub offset: u64,
    /// When the broker took it, in microseconds since 1970-01-01T00:00:00Z.
    pub append_time_us: i64,
    /// What was produced.
    pub record: Record,
}

impl TopicClient {
    /// The records of all partitions, from one place on and without an end; of partitions that the topic gets later, all. Each
    /// partition is in order; among them there is none. The stream waits for records, and reconnects by itself.
    ///
    /// It ends behind an error: one that trying again does not mend, or one that lasted as long as the client's
    /// [`RetryPolicy`](super::RetryPolicy) allows without an answer in between.
    ///
    /// # Errors
    /// [`ClientError`] when the topic cannot be looked up.
    pub async fn consume(
        &self,
        from: From,
    ) -> Result<impl Stream<Item = Result<ConsumedRecord, ClientError>> + Send + use<>, ClientError>
    {
        let topic = self.client.get_topic(self.name.as_str()).await?;
        let tails = topic.partitions.iter().map(|info| {
            // The end is where it was when this was called, also for those that are asked late.
            let from = if from == From::End { From::Offset(info.end_offset) } else { from };
            self.consume_partition(info.partition, from).boxed()
        });
        let all = All {
            topic: self.clone(),
            later: if matches!(from, From::TimeUs(_)) { from } else { From::Start },
            partitions: topic.partitions.len(),
            tails: stream::select_all(tails),
            looking: self.look_again().boxed(),
        };
        Ok(stream::unfold(all, |mut all| async move { Some((all.next().await?, all)) }))
    }

    /// How many partitions there are in a while; none when that cannot be said.
    fn look_again(&self) -> impl Future<Output = Option<usize>> + Send + use<> {
        let topic = self.clone();
        async move {
            tokio::time::sleep(LOOK_EVERY).await;
            let found = topic.client.get_topic(topic.name.as_str()).await;
            found.ok().map(|topic| topic.partitions.len())
        }
    }

    /// The records of one partition, from one place on and without an end; otherwise as [`TopicClient::consume`]. [`From::End`] is
    /// where it is when the broker first answers.
    pub fn consume_partition(
        &self,
        partition: u32,
        from: From,
    ) -> impl Stream<Item = Result<ConsumedRecord, ClientError>> + Send + use<> {
        let options =
            FetchOptions { partition, from, wait: FETCH_WAIT_MAX, ..FetchOptions::default() };
        let since_us = if let From::TimeUs(micros) = from { micros } else { i64::MIN };
        let tail = Tail {
            tries: self.client.retry.start(),
            topic: self.clone(),
            options,
            since_us,
            fetched: VecDeque::new(),
            failed: false,
        };
        stream::unfold(tail, |mut tail| async move {
            let item = tail.next().await?;
            tail.failed = item.is_err();
            Some((item, tail))
        })
    }
}

/// All partitions that are being read.
struct All {
    topic: TopicClient,
    /// Where those begin that come later.
    later: From,
    /// How many are read.
    partitions: usize,
    tails: SelectAll<BoxStream<'static, Result<ConsumedRecord, ClientError>>>,
    looking: BoxFuture<'static, Option<usize>>,
}

impl All {
    async fn next(&mut self) -> Option<Result<ConsumedRecord, ClientError>> {
        loop {
            tokio::select! {
                item = self.tails.next() => return item,
                found = &mut self.looking => {
                    for partition in self.partitions..found.unwrap_or_default() {
                        let partition = u32::try_from(partition).unwrap_or(u32::MAX);
                        self.tails.push(self.topic.consume_partition(partition, self.later).boxed());
                    }
                    self.partitions = self.partitions.max(found.unwrap_or_default());
                    self.looking = self.topic.look_again().boxed();
                }
            }
        }
    }
}

/// A partition that is being read.
#[derive(Debug)]
struct Tail {
    topic: TopicClient,
    options: FetchOptions,
    /// What was appended before is none of what was asked for. A time that is still to come means the end to the broker,
    /// and before it comes more may be appended there.
    since_us: i64,
    tries: Tries,
    fetched: VecDeque<StoredRecord>,
    failed: bool,
}

impl Tail {
    async fn next(&mut self) -> Option<Result<ConsumedRecord, ClientError>> {
        while !self.failed {
            if let Some(StoredRecord { offset, append_time_us, record }) = self.fetched.pop_front()
            {
                let partition = self.options.partition;
                return Some(Ok(ConsumedRecord { partition, offset, append_time_us, record }));
            }
            let failure = match self.fetch().await {
                Ok(()) => continue,
                Err(error) => self.tries.wait_after(error).await,
            };
            if let Err(error) = failure {
                return Some(Err(error));
            }
        }
        None
    }

    async fn fetch(&mut self) -> Result<(), ClientError> {
        let mut options = self.options;
        if options.from == From::End {
            // An answer that waited and was lost would leave the end to be looked for anew, behind what came meanwhile.
            options.wait = Duration::ZERO;
        }
        let batches = self.topic.get(options).await?;
        // Only an offset can lie inside of a batch: the other places are where a batch starts.
        let from = match self.options.from {
            From::Offset(offset) => offset,
            From::Start | From::End | From::TimeUs(_) => batches.start_offset,
        };
        let wanted = |record: &StoredRecord| record.append_time_us >= self.since_us;
        let records = batches.records(from).filter(|record| record.as_ref().map_or(true, wanted));
        self.fetched = records.collect::<Result<_, _>>()?;
        self.options.from = From::Offset(batches.next_offset.max(from));
        self.tries.succeeded();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_can_inflate_everything_asks_for_batches_as_they_are_stored() {
        let asked = FetchOptions::default().query();
        let says = asked.contains(&(query::COMPRESSED, "true".to_owned()));
        assert_eq!(says, cfg!(feature = "zstd"));
    }
}
