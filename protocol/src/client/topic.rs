//! One topic: produce at once, fetch, and the way to producers and consumers.

use bytes::Bytes;
use reqwest::{Method, header};

use super::{Client, ClientError, Delivery, FetchOptions, ProducerBuilder, When, transport};
use crate::{
    batch::FetchedBatches,
    headers, media,
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

    /// Sends one batch once.
    pub(crate) async fn post(
        &self,
        partition: Option<u32>,
        when: Option<When>,
        batch: Bytes,
        idempotency_key: Option<&str>,
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
        if let Some(key) = idempotency_key {
            request = request.header(headers::IDEMPOTENCY_KEY, format!("\"{key}\""));
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
