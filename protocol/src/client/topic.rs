//! One topic: produce at once, fetch, and the way to producers and consumers.

use bytes::Bytes;
use reqwest::{Method, header};

use super::{
    Client, ClientError, Delivery, FetchOptions, KeyVersion, ProducerBuilder, When,
    producer::deliveries, random_key, transport,
};
use crate::{
    batch::{Body, FetchedBatches, ProducerFields},
    headers,
    limits::IDEMPOTENCY_WINDOW,
    media,
    names::TopicName,
    paths,
    v1::{ProduceResponse, Record},
};

/// One topic of a broker. A clone is cheap.
#[derive(Clone, Debug)]
pub struct TopicClient {
    pub(crate) client: Client,
    pub(crate) name: TopicName,
}

impl TopicClient {
    pub(crate) fn new(client: Client, name: TopicName) -> Self {
        Self { client, name }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &TopicName {
        &self.name
    }

    /// Settings for a producer, which sends records in batches and in order.
    #[must_use]
    pub fn producer(&self) -> ProducerBuilder {
        ProducerBuilder::new(self.clone())
    }

    /// Appends records as one request, all or nothing, and says where each of them is. Tries again without appending
    /// twice. To send many one after the other, use [`TopicClient::producer`].
    ///
    /// # Errors
    /// [`ClientError`]; [`FormError::NoRecords`](crate::batch::FormError::NoRecords) when there are none.
    pub async fn produce(&self, records: &[Record]) -> Result<Vec<Delivery>, ClientError> {
        self.produce_to(None, records).await
    }

    /// The same, to one partition.
    ///
    /// # Errors
    /// [`ClientError`], as [`TopicClient::produce`].
    pub async fn produce_to(
        &self,
        partition: Option<u32>,
        records: &[Record],
    ) -> Result<Vec<Delivery>, ClientError> {
        self.produce_when(partition, None, records).await
    }

    /// Appends records of one key if the version of that key is this one. Tries again without appending twice.
    ///
    /// # Errors
    /// [`ClientError`]; another version is a problem with the code `key_conflict`, whose details have the actual one.
    pub async fn produce_if(
        &self,
        version: KeyVersion,
        partition: Option<u32>,
        records: &[Record],
    ) -> Result<Vec<Delivery>, ClientError> {
        if records.is_empty() {
            return Err(crate::batch::FormError::NoRecords.into());
        }
        let batch = Body::from_records(records).to_batch(ProducerFields::default());
        let conditions = [once(), (headers::IF_KEY_VERSION, version.text())];
        self.repeat(partition, None, batch, &conditions, records.len()).await
    }

    /// Sends one batch until it is answered; `conditions` hold the idempotency key by which repeats are known.
    pub(crate) async fn repeat(
        &self,
        partition: Option<u32>,
        when: Option<When>,
        batch: Bytes,
        conditions: &[(&'static str, String)],
        records: usize,
    ) -> Result<Vec<Delivery>, ClientError> {
        let send = || self.post(partition, when, batch.clone(), conditions);
        let answer = self.client.run_while_known(IDEMPOTENCY_WINDOW, send).await?;
        deliveries(&answer, records)
    }

    /// Sends one batch once.
    pub(crate) async fn post(
        &self,
        partition: Option<u32>,
        when: Option<When>,
        batch: Bytes,
        conditions: &[(&'static str, String)],
    ) -> Result<ProduceResponse, ClientError> {
        let query: Vec<_> =
            partition.iter().map(|number| (paths::query::PARTITION, number.to_string())).collect();
        let mut request = self
            .client
            .transport
            .request(Method::POST, &paths::records(&self.name), &query)
            .header(header::CONTENT_TYPE, media::PROTOBUF)
            .header(header::ACCEPT, media::PROTOBUF)
            .body(batch);
        if let Some(when) = when {
            request = when.on(request);
        }
        for (name, value) in conditions {
            request = request.header(*name, value);
        }
        transport::decode(transport::answer(request).await?)
    }

    /// Reads one partition once: whole batches as they are stored. [`FetchedBatches::records`] takes them apart.
    ///
    /// # Errors
    /// [`ClientError`]; the codes `offset_expired` and `offset_out_of_range` tell the range in their details.
    pub async fn fetch(&self, options: FetchOptions) -> Result<FetchedBatches, ClientError> {
        self.client.retry.run(|| self.get(options)).await
    }

    /// Fetches once, in one try.
    pub(crate) async fn get(&self, options: FetchOptions) -> Result<FetchedBatches, ClientError> {
        let transport = &self.client.transport;
        let request = transport
            .request(Method::GET, &paths::records(&self.name), &options.query())
            .header(header::ACCEPT, media::PROTOBUF)
            .timeout(transport.timeout_with(options.wait));
        Ok(FetchedBatches::parse(transport::answer(request).await?)?)
    }
}

/// What makes a repeat of a request harmless.
pub(crate) fn once() -> (&'static str, String) {
    (headers::IDEMPOTENCY_KEY, format!("\"{}\"", random_key()))
}
