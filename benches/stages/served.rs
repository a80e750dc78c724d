//! EmberMQ as a process of its own, with a stage for each job that has a peer.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use bytes::Bytes;
use embermq_benches::Failure;
use embermq_benches::exchange::exchange;
use embermq_benches::peer::Running;
use embermq_benches::wire::Wire;
use embermq_protocol::{media, paths, v1};
use prost::Message as _;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::contest::{Load, Pipeline, Producer, Reader, check};
use crate::ember::{Ember, output_of, post_request};
use crate::job::{Contest, Job, jobs};

/// The argument that makes this program the server.
pub(crate) const SERVE: &str = "serve";

/// What a stage is told, and what that is called: nothing, or what serves it best.
pub(crate) fn variants(contest: &Contest, cores: usize) -> [(String, Value); 2] {
    let batch = contest.stage_batch;
    let tuned = json!({ "instances": cores, "max_batch_size": batch, "ordering": "none" });
    [
        ("default settings".to_owned(), json!({})),
        (format!("{cores} instances, batches of {batch}"), tuned),
    ]
}

fn stage_of(job: &Job, variant: usize) -> String {
    format!("{}-{variant}", job.name)
}

/// What the process does: serves until it is killed.
#[expect(clippy::print_stdout, reason = "its first line says where it listens")]
pub(crate) fn serve(serving: &Runtime, dir: &Path, cores: usize) -> Result<(), Failure> {
    serving.block_on(async {
        let ember = Ember::start(dir).await?;
        for job in &jobs(dir)? {
            let Some(contest) = &job.contest else { continue };
            ember.register(job).await?;
            for (variant, (_, settings)) in variants(contest, cores).into_iter().enumerate() {
                ember.attach(job, &stage_of(job, variant), settings).await?;
            }
        }
        println!("{}", ember.address);
        std::future::pending().await
    })
}

pub(crate) struct Served {
    address: SocketAddr,
    _process: Running,
}

impl Served {
    pub(crate) fn start(dir: &Path) -> Result<Self, Failure> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(SERVE).arg(dir);
        let (process, line) = Running::start_telling(&mut command)?;
        Ok(Self { address: line.parse()?, _process: process })
    }

    pub(crate) fn stage(&self, job: &Job, variant: usize) -> Stage {
        let (address, content_type) = (self.address, job.content_type);
        Stage { address, content_type, name: stage_of(job, variant) }
    }
}

/// One of its stages.
pub(crate) struct Stage {
    address: SocketAddr,
    content_type: &'static str,
    name: String,
}

impl Pipeline for Stage {
    type Producer = Poster;
    type Reader = Fetcher;

    async fn producer(&self, load: &Load) -> Result<Poster, Failure> {
        let request = |values: &Vec<Bytes>| match &**values {
            [one] => post_request(&self.name, self.content_type, one),
            many => post_request(&self.name, media::PROTOBUF, &batch_of(many)),
        };
        let requests = load.requests.iter().map(request).collect();
        Ok(Poster { wire: Wire::connect(self.address).await?, requests })
    }

    async fn reader(&self) -> Result<Fetcher, Failure> {
        let mut fetcher = Fetcher {
            wire: Wire::connect(self.address).await?,
            topic: output_of(&self.name),
            offset: 0,
        };
        fetcher.offset = fetcher.fetch("end").await?.next_offset;
        Ok(fetcher)
    }

    async fn clear(&self) -> Result<(), Failure> {
        Ok(())
    }
}

fn batch_of(values: &[Bytes]) -> Vec<u8> {
    let record = |value: &Bytes| v1::Record { value: Some(value.clone()), ..v1::Record::default() };
    let records = values.iter().map(record).collect();
    v1::RecordBatch { records, ..v1::RecordBatch::default() }.encode_to_vec()
}

pub(crate) struct Poster {
    wire: Wire,
    requests: Vec<Bytes>,
}

impl Producer for Poster {
    async fn send(&mut self, request: usize) -> Result<(), Failure> {
        exchange(&mut self.wire, &self.requests[request]).await.map(drop)
    }
}

pub(crate) struct Fetcher {
    wire: Wire,
    topic: String,
    offset: u64,
}

impl Fetcher {
    async fn fetch(&mut self, from: &str) -> Result<v1::FetchResponse, Failure> {
        use paths::query::{COMPRESSED, OFFSET, WAIT};
        let (topics, topic, accept) = (paths::TOPICS, &self.topic, media::PROTOBUF);
        let wait = if from == "end" { "0s" } else { "10s" };
        let request = format!(
            "GET {topics}/{topic}/records?{OFFSET}={from}&{WAIT}={wait}&{COMPRESSED}=true HTTP/1.1\r\n\
             Host: bench\r\nAccept: {accept}\r\n\r\n"
        );
        let body = exchange(&mut self.wire, request.as_bytes()).await?;
        Ok(v1::FetchResponse::decode(body)?)
    }
}

impl Reader for Fetcher {
    async fn read(&mut self) -> Result<usize, Failure> {
        let fetched = self.fetch(&self.offset.to_string()).await?;
        let mut read = 0;
        for batch in &fetched.batches {
            for (offset, record) in (batch.base_offset..).zip(&batch.records) {
                // The first batch may begin before what was asked for.
                if offset >= self.offset {
                    check(record.value.as_deref().unwrap_or_default())?;
                    read += 1;
                }
            }
        }
        self.offset = fetched.next_offset;
        Ok(read)
    }
}
