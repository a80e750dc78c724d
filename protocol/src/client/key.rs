//! Keys: the latest record of one, its history, a topic as a table, and writing only if nobody else did.

use bytes::Bytes;

use super::{Client, ClientError, ConsumedRecord, Delivery, TopicClient};
use crate::{
    code::Code,
    limits::KEY_PAGE_MAX,
    paths, time,
    v1::{
        KeyRecord, ListKeysRequest, ListKeysResponse, ReadKeyHistoryRequest,
        ReadKeyHistoryResponse, ReadKeyRequest, ReadKeyResponse, Record, read_key_history_request,
        read_key_request,
    },
};

/// A moment of the past: everything up to and including it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AsOf {
    /// Behind this offset of the key's partition.
    Offset(u64),
    /// At this time, in microseconds since 1970-01-01T00:00:00Z, by append times.
    TimeUs(i64),
}

/// What the version of a key must be, which is the offset of its latest record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyVersion {
    /// There is no record of the key, or its latest one is a tombstone in a topic with `compact`.
    Absent,
    /// Its latest record has this offset.
    Offset(u64),
}

impl KeyVersion {
    /// As the contract has it.
    pub(crate) const fn offset(self) -> Option<u64> {
        match self {
            Self::Absent => None,
            Self::Offset(offset) => Some(offset),
        }
    }

    /// As the header has it.
    pub(crate) fn text(self) -> String {
        self.offset().map_or_else(|| "none".to_owned(), |offset| offset.to_string())
    }
}

/// One key of a topic, now or in the past.
///
/// ```no_run
/// use embermq_protocol::{client::{Client, KeyVersion}, v1::Record};
///
/// # async fn example() -> Result<(), embermq_protocol::client::ClientError> {
/// let counter = Client::new("http://127.0.0.1:7400")?.topic("counters")?.key("visits");
/// let (count, version) = match counter.get().await? {
///     Some(found) => (found.record.value.map_or(0, |value| value.len()), KeyVersion::Offset(found.offset)),
///     None => (0, KeyVersion::Absent),
/// };
/// // Refused with the code `key_conflict` if somebody else was faster.
/// counter.put_if(version, Record::new("|".repeat(count + 1))).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct KeyClient {
    topic: TopicClient,
    key: Bytes,
    partition: Option<u32>,
    as_of: Option<AsOf>,
}

/// Which keys of a topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyListOptions {
    /// Only those in this partition.
    pub partition: Option<u32>,
    /// Only keys that begin so.
    pub prefix: Bytes,
    /// [`KeyPage::after`] of the page before.
    pub after: String,
    /// At most so many; 0: 100.
    pub limit: u32,
}

/// A page of a topic as a table.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyPage {
    /// The latest records of live keys.
    pub records: Vec<ConsumedRecord>,
    /// Where the next page goes on; empty: this was the last. A page may be empty and not the last.
    pub after: String,
}

impl TopicClient {
    /// One key.
    #[must_use]
    pub fn key(&self, key: impl Into<Bytes>) -> KeyClient {
        KeyClient { topic: self.clone(), key: key.into(), partition: None, as_of: None }
    }

    /// A page of the topic's live keys with their latest records.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn list_keys(&self, options: KeyListOptions) -> Result<KeyPage, ClientError> {
        let KeyListOptions { partition, prefix, after, limit } = options;
        let topic = self.name.as_str().to_owned();
        let request = ListKeysRequest { topic, partition, prefix, after, limit };
        let page: ListKeysResponse = self.client.connect(paths::LIST_KEYS, &request).await?;
        Ok(KeyPage { records: page.records.into_iter().map(found).collect(), after: page.after })
    }
}

impl KeyClient {
    /// The same in this partition only, for reading and for writing.
    #[must_use]
    pub fn in_partition(mut self, partition: u32) -> Self {
        self.partition = Some(partition);
        self
    }

    /// The same as it was then, for reading.
    #[must_use]
    #[expect(clippy::wrong_self_convention, reason = "it is a moment, not a conversion")]
    pub fn as_of(mut self, as_of: AsOf) -> Self {
        self.as_of = Some(as_of);
        self
    }

    /// Its latest record; none when there is none, or a tombstone in a topic with `compact`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn get(&self) -> Result<Option<ConsumedRecord>, ClientError> {
        known(self.latest().await)
    }

    /// Its latest record.
    ///
    /// # Errors
    /// [`ClientError`]; when there is none, a problem with the code `key_not_found`, which says whether a tombstone is why.
    pub async fn latest(&self) -> Result<ConsumedRecord, ClientError> {
        let request = ReadKeyRequest {
            topic: self.topic.name.as_str().to_owned(),
            key: self.key.clone(),
            partition: self.partition,
            as_of: self.as_of.map(|as_of| match as_of {
                AsOf::Offset(offset) => read_key_request::AsOf::Offset(offset),
                AsOf::TimeUs(us) => read_key_request::AsOf::Time(time::Timestamp::from_micros(us)),
            }),
        };
        let answer: ReadKeyResponse = self.client().connect(paths::READ_KEY, &request).await?;
        let none = || ClientError::Answer("a key was read, and no record came back".to_owned());
        answer.record.map(found).ok_or_else(none)
    }

    /// Its latest records, newest first, at most so many; tombstones are among them.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn history(&self, limit: usize) -> Result<Vec<ConsumedRecord>, ClientError> {
        let mut records = Vec::new();
        let mut request = ReadKeyHistoryRequest {
            topic: self.topic.name.as_str().to_owned(),
            key: self.key.clone(),
            partition: self.partition,
            as_of: self.as_of.map(|as_of| match as_of {
                AsOf::Offset(offset) => read_key_history_request::AsOf::Offset(offset),
                AsOf::TimeUs(us) => {
                    read_key_history_request::AsOf::Time(time::Timestamp::from_micros(us))
                }
            }),
            before: None,
            limit: 0,
        };
        while records.len() < limit {
            let left = u32::try_from(limit - records.len()).unwrap_or(u32::MAX);
            request.limit = left.min(KEY_PAGE_MAX);
            let answer: Result<ReadKeyHistoryResponse, _> =
                self.client().connect(paths::READ_KEY_HISTORY, &request).await;
            let Some(page) = known(answer)? else { break };
            records.extend(page.records.into_iter().map(found));
            if page.before.is_none() {
                break;
            }
            (request.before, request.partition) = (page.before, Some(page.partition));
        }
        Ok(records)
    }

    /// Appends a record with this key if its version is this one.
    ///
    /// # Errors
    /// [`ClientError`]; another version is a problem with the code `key_conflict`, whose details have the actual one.
    pub async fn put_if(
        &self,
        version: KeyVersion,
        record: Record,
    ) -> Result<Delivery, ClientError> {
        let record = Record { key: Some(self.key.clone()), ..record };
        let deliveries =
            self.topic.produce_if(version, self.partition, std::slice::from_ref(&record)).await?;
        let none = || ClientError::Answer("a record was sent, and none came back".to_owned());
        deliveries.into_iter().next().ok_or_else(none)
    }

    const fn client(&self) -> &Client {
        &self.topic.client
    }
}

/// That there is no record of a key is an answer too.
fn known<A>(answer: Result<A, ClientError>) -> Result<Option<A>, ClientError> {
    match answer {
        Err(error) if error.code() == Some(Code::KeyNotFound) => Ok(None),
        answer => answer.map(Some),
    }
}

fn found(found: KeyRecord) -> ConsumedRecord {
    ConsumedRecord {
        partition: found.partition,
        offset: found.offset,
        append_time_us: found.append_time.and_then(|time| time.micros()).unwrap_or_default(),
        record: found.record.unwrap_or_default(),
    }
}
