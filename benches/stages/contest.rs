//! Pipelines end to end: inputs in at one end, and what a model made of each read at the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use bytes::Bytes;
use embermq_benches::{Failure, window};

use crate::job::{Contest, Job};

/// Connections that send inputs, each waiting until a request is durable before it sends the next.
const PRODUCERS: usize = 4;

/// What is sent.
pub(crate) struct Load {
    /// The inputs of each request; when all were sent they begin again.
    pub(crate) requests: Vec<Vec<Bytes>>,
    /// Inputs in all, a multiple of those in a request.
    pub(crate) records: usize,
}

impl Load {
    pub(crate) fn of(job: &Job, contest: &Contest) -> Self {
        let requests = job.payloads.chunks_exact(contest.request).map(<[Bytes]>::to_vec).collect();
        let wished = window().as_secs_f64() * f64::from(contest.records_per_second);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
        let records = (wished as usize).next_multiple_of(contest.request);
        Self { requests, records }
    }
}

/// A broker with a model behind it.
pub(crate) trait Pipeline {
    type Producer: Producer;
    type Reader: Reader;

    /// Where its load is made, once.
    async fn producer(&self, load: &Load) -> Result<Self::Producer, Failure>;

    /// Reads what is made from now on.
    async fn reader(&self) -> Result<Self::Reader, Failure>;

    /// After a turn.
    async fn clear(&self) -> Result<(), Failure>;
}

pub(crate) trait Producer: Send + 'static {
    /// Sends the inputs of a request, and waits until they are durable.
    fn send(&mut self, request: usize) -> impl Future<Output = Result<(), Failure>> + Send;
}

pub(crate) trait Reader {
    /// Waits for answers. How many there were.
    async fn read(&mut self) -> Result<usize, Failure>;
}

/// Answers per second, from the first input sent to the last answer read.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
#[expect(clippy::cast_precision_loss, reason = "a rate for a print")]
pub(crate) async fn turn<P: Pipeline>(pipeline: &P, load: &Load) -> Result<f64, Failure> {
    let mut reader = pipeline.reader().await?;
    let mut producers = Vec::new();
    for _ in 0..PRODUCERS {
        producers.push(pipeline.producer(load).await?);
    }
    let (different, size) = (load.requests.len(), load.requests[0].len());
    let (sent, requests) = (Arc::new(AtomicUsize::new(0)), load.records / size);
    let begin = Instant::now();
    let mut tasks = Vec::new();
    for mut producer in producers {
        let sent = Arc::clone(&sent);
        tasks.push(tokio::spawn(async move {
            loop {
                let request = sent.fetch_add(1, Ordering::Relaxed);
                if request >= requests {
                    return Ok::<(), Failure>(());
                }
                producer.send(request % different).await?;
            }
        }));
    }
    let mut read = 0;
    while read < load.records {
        read += reader.read().await?;
    }
    let rate = load.records as f64 / begin.elapsed().as_secs_f64();
    for task in tasks {
        task.await??;
    }
    if read > load.records {
        return Err(format!("{read} answers to {} inputs", load.records).into());
    }
    pipeline.clear().await?;
    Ok(rate)
}

/// Whether an answer names a class.
pub(crate) fn check(answer: &[u8]) -> Result<(), Failure> {
    let word = b"\"label\":";
    if answer.windows(word.len()).any(|part| part == word) {
        return Ok(());
    }
    Err(format!("no answer: {}", String::from_utf8_lossy(answer)).into())
}
