//! Documents by name, kept in a topic that is compacted: the latest record of a name counts, a tombstone ends it.

use std::collections::BTreeMap;

use bytes::Bytes;
use embermq_protocol::names::{GroupName, TopicName};
use embermq_storage::Offset;

use crate::broker::Broker;
use crate::commit::Commit;
use crate::error::{CommitError, ReadError};
use crate::read::{From, ReadRequest};
use crate::record::Record;
use crate::topic::{Cleanup, TopicSettings};

/// A topic of documents. Whoever keeps documents in it has to do so one at a time.
#[derive(Clone, Debug)]
pub(crate) struct Register {
    broker: Broker,
    topic: TopicName,
}

impl Register {
    /// The register in a topic, which is made when the first document is kept.
    ///
    /// # Errors
    /// When the name is none.
    pub(crate) fn new(broker: &Broker, topic: &str) -> Result<Self, CommitError> {
        let topic = TopicName::new(topic)
            .map_err(|error| CommitError::Invalid { detail: error.to_string() })?;
        Ok(Self { broker: broker.clone(), topic })
    }

    /// Where they are kept.
    pub(crate) const fn topic(&self) -> &TopicName {
        &self.topic
    }

    /// All documents. Records whose key is no name are passed over.
    ///
    /// # Errors
    /// When the topic cannot be read.
    pub(crate) async fn read(&self) -> Result<BTreeMap<GroupName, Bytes>, String> {
        let mut documents = BTreeMap::new();
        let take = |record: Record| {
            let key = record.key.as_deref().unwrap_or_default();
            if let Ok(name) = String::from_utf8_lossy(key).parse::<GroupName>() {
                match record.value {
                    None => documents.remove(&name),
                    Some(document) => documents.insert(name, document),
                };
            }
        };
        self.each(take).await?;
        Ok(documents)
    }

    /// All records in order, for those who keep more than documents.
    ///
    /// # Errors
    /// When the topic cannot be read.
    pub(crate) async fn each(&self, mut take: impl FnMut(Record)) -> Result<(), String> {
        let mut from = From::Start;
        loop {
            let read = match self.broker.read(ReadRequest::new(&self.topic, from)).await {
                Ok(read) => read,
                Err(ReadError::TopicNotFound { .. }) => return Ok(()),
                Err(error) => return Err(format!("{}: {error}", self.topic)),
            };
            let records = read.records().map_err(|error| format!("{}: {error}", self.topic))?;
            let Some(last) = records.last() else { return Ok(()) };
            from = From::Offset(Offset(last.offset.0 + 1));
            records.into_iter().for_each(|read| take(read.record));
        }
    }

    /// Keeps a document, or with `None` that there is none.
    ///
    /// # Errors
    /// What can befall any commit.
    pub(crate) async fn keep(
        &self,
        name: &GroupName,
        document: Option<Vec<u8>>,
    ) -> Result<(), CommitError> {
        self.keep_record(match document {
            None => Record::tombstone(name.to_string()),
            Some(document) => Record::new(document)
                .with_key(name.to_string())
                .with_header("content-type", "application/json"),
        })
        .await
    }

    /// Keeps a record that is no document: its key is no name.
    ///
    /// # Errors
    /// What can befall any commit.
    pub(crate) async fn keep_record(&self, record: Record) -> Result<(), CommitError> {
        if self.broker.topic(&self.topic).is_none() {
            let settings = TopicSettings { cleanup: Cleanup::Compact, ..TopicSettings::default() };
            self.broker.create_topic(&self.topic, settings).await?;
        }
        self.broker.commit(Commit::of_record(&self.topic, &record)).await.map(|_| ())
    }
}
