//! The async Rust client.
//!
//! A [`Client`] is a URL and a pool of connections; a clone is cheap. Nearly everything it sends can be repeated without
//! doing it twice, so every call retries by itself what is worth it, see [`RetryPolicy`]. What a repeat would do anew,
//! such as deleting by name, is not sent again once an answer was lost.
//!
//! ```no_run
//! use embermq_protocol::{client::{Client, From}, v1::{Record, TopicSettings}};
//! use futures::StreamExt as _;
//!
//! # async fn example() -> Result<(), embermq_protocol::client::ClientError> {
//! let client = Client::new("http://127.0.0.1:7400")?;
//! client.create_topic("jobs", TopicSettings::default()).await?;
//!
//! let jobs = client.topic("jobs")?;
//! let producer = jobs.producer().build();
//! let delivery = producer.send(Record::new("resize 17")).await?;
//! producer.close().await;
//!
//! let mut records = Box::pin(jobs.consume(From::Offset(delivery.offset)).await?);
//! if let Some(record) = records.next().await {
//!     println!("{:?}", record?.record.value);
//! }
//! # Ok(())
//! # }
//! ```

use std::time::Duration;

mod consume;
mod dead_letters;
mod error;
mod group;
mod groups;
mod key;
mod lease;
mod lease_commit;
mod models;
mod producer;
mod retry;
mod schedule;
mod settle;
mod stages;
mod topic;
mod topics;
mod transport;
mod worker;

pub use consume::{ConsumedRecord, FetchOptions, From};
pub use dead_letters::{DeadLetterOptions, DeadLetterPage};
pub use error::ClientError;
pub use group::{GroupClient, Redrive, Seek};
pub use key::{AsOf, KeyClient, KeyListOptions, KeyPage, KeyVersion};
pub use lease::{LeaseOptions, Leased};
pub use lease_commit::{Committed, LeaseCommit};
pub use models::{Model, ModelVersion};
pub use producer::{Delivery, PendingDelivery, Producer, ProducerBuilder};
pub use retry::RetryPolicy;
pub use schedule::{Scheduled, When};
pub use settle::{SettleError, Settled};
pub use topic::TopicClient;
pub use worker::{Failed, Outputs, Trouble, WorkReport, Worker};

use crate::{
    limits::IDEMPOTENCY_WINDOW,
    names::TopicName,
    paths,
    v1::{CommitRequest, CommitResponse},
};
use retry::GivenUp;
use transport::Transport;

/// A broker, as a client sees it.
#[derive(Clone, Debug)]
pub struct Client {
    transport: Transport,
    retry: RetryPolicy,
}

/// Settings of a [`Client`].
#[derive(Clone, Debug)]
pub struct ClientBuilder {
    url: String,
    timeout: Duration,
    retry: RetryPolicy,
}

impl ClientBuilder {
    /// How long one try of a request may take; a fetch may take its own wait longer. Default 30 s.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How failed requests are tried again.
    #[must_use]
    pub fn retry(mut self, retry: RetryPolicy) -> Self {
        self.retry = retry;
        self
    }

    /// The client.
    ///
    /// # Errors
    /// [`ClientError::Url`] when the URL is none with the scheme `http`.
    pub fn build(self) -> Result<Client, ClientError> {
        Ok(Client { transport: Transport::new(&self.url, self.timeout)?, retry: self.retry })
    }
}

impl Client {
    /// A client of the broker at a URL such as `http://127.0.0.1:7400`. Does not connect yet.
    ///
    /// # Errors
    /// [`ClientError::Url`] when the URL is none with the scheme `http`.
    pub fn new(url: &str) -> Result<Self, ClientError> {
        Self::builder(url).build()
    }

    /// Settings for a client of the broker at a URL.
    #[must_use]
    pub fn builder(url: &str) -> ClientBuilder {
        ClientBuilder {
            url: url.to_owned(),
            timeout: Duration::from_secs(30),
            retry: RetryPolicy::default(),
        }
    }

    /// One topic, whether it exists or not.
    ///
    /// # Errors
    /// [`ClientError::Name`] when no topic can have this name.
    pub fn topic(&self, name: &str) -> Result<TopicClient, ClientError> {
        Ok(TopicClient::new(self.clone(), TopicName::new(name)?))
    }

    /// Appends to many topics and settles leases, all or nothing, if all preconditions hold and all leases are the
    /// caller's. A request without `idempotency_key` gets one, so that it can be tried again.
    ///
    /// # Errors
    /// [`ClientError`]; a precondition that does not hold is a problem with the code `offset_conflict` or `key_conflict`, a lease that is
    /// not the caller's any more one with the code `lease_lost`.
    pub async fn commit(&self, mut request: CommitRequest) -> Result<CommitResponse, ClientError> {
        if request.idempotency_key.is_empty() {
            request.idempotency_key = random_key();
        }
        let commit = || self.transport.connect(paths::COMMIT, &request);
        Ok(self.run_while_known(IDEMPOTENCY_WINDOW, commit).await?)
    }

    /// Calls what the broker does once however often it gets it, as long as it `remembers` that it did; zero: not at all.
    async fn run_while_known<T, F>(
        &self,
        remembers: Duration,
        call: impl FnMut() -> F,
    ) -> Result<T, GivenUp>
    where
        F: Future<Output = Result<T, ClientError>>,
    {
        // The last try, too, has to be there in time.
        let known_for = remembers.saturating_sub(self.transport.timeout_with(Duration::ZERO));
        self.retry.run_while_known(known_for, call).await
    }

    /// Calls a Connect method whose repeat could do more than the first try did: it is not repeated once a try may have
    /// had its effect.
    async fn connect_once<Q, A>(&self, path: &str, request: &Q) -> Result<A, ClientError>
    where
        Q: prost::Message,
        A: prost::Message + Default,
    {
        Ok(self.run_while_known(Duration::ZERO, || self.transport.connect(path, request)).await?)
    }

    /// Calls a Connect method that may be repeated.
    async fn connect<Q, A>(&self, path: &str, request: &Q) -> Result<A, ClientError>
    where
        Q: prost::Message,
        A: prost::Message + Default,
    {
        self.retry.run(|| self.transport.connect(path, request)).await
    }
}

/// 128 random bits as text: an idempotency key that nobody else has.
fn random_key() -> String {
    format!("{:032x}", fastrand::u128(..))
}
