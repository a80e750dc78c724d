//! The task behind a producer: gather, send, settle, again.

use std::time::Duration;

use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, timeout_at},
};

use super::{
    Delivery, ProducerBuilder, Sequence,
    batch::{Batch, BatchLimits, Waiting},
    deliveries,
};
use crate::{
    client::{ClientError, TopicClient, When, retry::GivenUp},
    code::Code,
    limits::PRODUCER_IDLE,
    v1::Compression,
};

/// What a producer asks of its worker, in order.
#[derive(Debug)]
pub(crate) enum Job {
    Record(Waiting),
    /// Answered when everything before is settled.
    Flush(oneshot::Sender<()>),
}

#[derive(Debug)]
pub(crate) struct Worker {
    topic: TopicClient,
    partition: Option<u32>,
    when: Option<When>,
    compression: Compression,
    linger: Duration,
    limits: BatchLimits,
    sequence: Sequence,
    inbox: mpsc::Receiver<Job>,
    /// The job that ended the last batch and belongs behind it.
    held: Option<Job>,
    /// Why nothing can be sent any more.
    stopped: Option<ClientError>,
}

impl Worker {
    pub(crate) fn new(
        settings: ProducerBuilder,
        sequence: Sequence,
        inbox: mpsc::Receiver<Job>,
    ) -> Self {
        Self {
            topic: settings.topic,
            partition: settings.partition,
            when: settings.when,
            compression: settings.compression,
            linger: settings.linger,
            limits: BatchLimits { bytes: settings.batch_bytes, records: settings.batch_records },
            sequence,
            inbox,
            held: None,
            stopped: None,
        }
    }

    /// Works until the producer is gone and all that it enqueued is settled.
    pub(crate) async fn run(mut self) {
        while let Some(job) = self.next_job().await {
            match job {
                Job::Flush(done) => done.send(()).unwrap_or_default(),
                Job::Record(first) => {
                    let batch = self.gather(first).await;
                    self.deliver(batch).await;
                }
            }
        }
    }

    async fn next_job(&mut self) -> Option<Job> {
        match self.held.take() {
            Some(job) => Some(job),
            None => self.inbox.recv().await,
        }
    }

    /// Everything that is waiting and fits, and what comes while the batch lingers.
    async fn gather(&mut self, first: Waiting) -> Batch {
        let deadline = Instant::now() + self.linger;
        let mut batch = Batch::default();
        let mut next = Some(Job::Record(first));
        loop {
            match next {
                Some(Job::Record(record)) => {
                    if let Err(record) = batch.add(record, self.limits) {
                        self.held = Some(Job::Record(record));
                        return batch;
                    }
                }
                Some(flush @ Job::Flush(_)) => {
                    self.held = Some(flush);
                    return batch;
                }
                None => return batch,
            }
            if batch.is_full(self.limits) {
                return batch;
            }
            next = match self.inbox.try_recv() {
                Ok(job) => Some(job),
                Err(_) => timeout_at(deadline, self.inbox.recv()).await.unwrap_or(None),
            };
        }
    }

    /// Sends a batch and settles its records. One that the broker refuses for its content is halved until only what
    /// is at fault fails; but not when it may have taken the whole before.
    async fn deliver(&mut self, batch: Batch) {
        let mut parts = vec![batch];
        while let Some(part) = parts.pop() {
            match self.send(&part).await {
                Ok(deliveries) => part.delivered(deliveries),
                Err(GivenUp { error, doubt: None }) if part.len() > 1 && about_content(&error) => {
                    let (first, second) = part.halves();
                    parts.extend([second, first]);
                }
                Err(given_up) => part.failed(given_up.told()),
            }
        }
    }

    /// Sends one request until it is answered; repeats carry the same sequence.
    async fn send(&mut self, batch: &Batch) -> Result<Vec<Delivery>, GivenUp> {
        if let Some(error) = &self.stopped {
            return Err(error.clone().into());
        }
        let mut result = self.try_send(batch).await;
        if let Err(given_up) = &mut result
            && given_up.error.code() == Some(Code::SeqGap)
        {
            // The broker forgot this producer (after days, or with a power loss that it was allowed): it has nothing of
            // this batch, or it would have known it.
            given_up.doubt = None;
            if self.sequence.start_over() {
                result = self.try_send(batch).await;
            }
        }
        match &result {
            Ok(_) => self.sequence.advance(u32::try_from(batch.len()).unwrap_or(u32::MAX)),
            Err(given_up) => self.after_failure(given_up),
        }
        result
    }

    /// Sees to it that nothing that comes is taken for the failed batch, and that it does not appear behind it.
    fn after_failure(&mut self, given_up: &GivenUp) {
        let GivenUp { error, doubt } = given_up;
        let code = error.code();
        let fenced = code == Some(Code::Fenced);
        // Refused for good, and so was every try: the broker did not take it, so its sequence numbers are still free.
        let refused =
            doubt.is_none() && code.is_some_and(|code| code != Code::SeqGap) && !error.retryable();
        if fenced || !(self.sequence.start_over() || refused) {
            self.stopped = Some(if fenced { error } else { given_up.told() }.clone());
        }
    }

    async fn try_send(&self, batch: &Batch) -> Result<Vec<Delivery>, GivenUp> {
        let body = batch.body(self.compression).map_err(ClientError::from)?;
        let request = body.to_batch(self.sequence.next());
        let post = || self.topic.post(self.partition, self.when, request.clone(), &[]);
        let answer = self.topic.client.run_while_known(PRODUCER_IDLE, post).await?;
        deliveries(&answer, batch.len())
            .map_err(|error| GivenUp { doubt: Some(error.clone()), error })
    }
}

/// Whether one bad record among good ones may be why the broker refused.
fn about_content(error: &ClientError) -> bool {
    matches!(
        error.code(),
        Some(
            Code::RecordTooLarge | Code::BodyTooLarge | Code::TooManyRecords | Code::MalformedBody
        )
    )
}
