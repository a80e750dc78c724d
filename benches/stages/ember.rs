//! The server with models and stages.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use embermq::http::{ServeOptions, Server, Serving};
use embermq::models::{Models, OnnxLoader};
use embermq::{Broker, Options, Roster, StageConfig, TopicName, TopicSettings};
use embermq_benches::Failure;
use embermq_benches::exchange::exchange;
use embermq_benches::wire::Wire;
use embermq_protocol::paths;
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::job::Job;

/// Connections that post payloads.
const CONNECTIONS: usize = 4;
/// As many as keep a stage busy.
pub(crate) const BACKLOG: u64 = 400;

/// A server that runs in this process.
pub(crate) struct Ember {
    broker: Broker,
    serving: Serving,
    pub(crate) address: SocketAddr,
    stop: oneshot::Sender<()>,
    running: JoinHandle<()>,
}

impl Ember {
    pub(crate) async fn start(dir: &Path) -> Result<Self, Failure> {
        let data = dir.join("data");
        let broker = Broker::open(data.clone(), Options::default())?;
        let models = Models::open(&broker, &data, Arc::new(OnnxLoader::default())).await?;
        let models = Arc::new(models);
        let stages = Arc::new(Roster::open(&broker, Arc::clone(&models)).await?);
        let serving = Serving { models, stages };
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let options = ServeOptions { listen, ..ServeOptions::default() };
        let server = Server::bind(broker.clone(), options).await?.with_stages(serving.clone());
        let address = server.address();
        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::spawn(server.run(async move {
            stopped.await.ok();
        }));
        Ok(Self { broker, serving, address, stop, running })
    }

    pub(crate) async fn create_topic(&self, name: &str) -> Result<(), Failure> {
        self.broker.create_topic(&topic(name)?, TopicSettings::default()).await?;
        Ok(())
    }

    /// Registers the job's model under its name.
    pub(crate) async fn register(&self, job: &Job) -> Result<(), Failure> {
        let mut archive = tar::Builder::new(Vec::new());
        archive.append_dir_all(".", &job.bundle)?;
        let sent = self.serving.models.upload()?;
        std::fs::write(sent.path(), archive.into_inner()?)?;
        let (name, version) = (job.name.parse()?, "1".parse()?);
        self.serving.models.register(&name, &version, sent.path(), None).await?;
        Ok(())
    }

    /// Attaches the job's model to a new topic of the stage's name, with `settings` beside what a stage must have.
    pub(crate) async fn attach(
        &self,
        job: &Job,
        stage: &str,
        settings: Value,
    ) -> Result<(), Failure> {
        let output = output_of(stage);
        for name in [stage, &output] {
            self.create_topic(name).await?;
        }
        let mut config = settings;
        config["input"] = stage.into();
        config["output"] = output.into();
        config["model"] = job.name.into();
        let config: StageConfig = serde_json::from_value(config)?;
        self.serving.stages.put(&stage.parse()?, config).await?;
        Ok(())
    }

    /// Pauses the job's stage, and waits until it has finished what it had begun; or lets it go on.
    pub(crate) async fn pause(&self, job: &Job, paused: bool) -> Result<(), Failure> {
        let name = job.name.parse()?;
        let mut stage = self.serving.stages.set_paused(&name, paused).await?;
        while paused && stage.status.is_some_and(|status| !status.at_rest) {
            tokio::time::sleep(Duration::from_millis(5)).await;
            stage = self.serving.stages.get(&name)?;
        }
        Ok(())
    }

    /// Outputs of the job's stage until now.
    pub(crate) fn outputs(&self, job: &Job) -> u64 {
        end_of(&self.broker, &output_of(job.name))
    }

    /// Payloads of the job that have no output yet.
    pub(crate) fn backlog(&self, job: &Job) -> u64 {
        end_of(&self.broker, job.name).saturating_sub(self.outputs(job))
    }

    /// Posts payloads, one a request, until it is told to stop; none while more than `backlog_max` wait.
    pub(crate) fn post(
        &self,
        job: &Job,
        stop: &Arc<AtomicBool>,
        backlog_max: u64,
    ) -> Vec<JoinHandle<Result<(), Failure>>> {
        let request = |payload: &Bytes| post_request(job.name, job.content_type, payload);
        let requests: Arc<Vec<Bytes>> = Arc::new(job.payloads.iter().map(request).collect());
        let (input, output) = (job.name, output_of(job.name));
        let post = |number: usize| {
            let (requests, stop) = (Arc::clone(&requests), Arc::clone(stop));
            let (broker, address, output) = (self.broker.clone(), self.address, output.clone());
            tokio::spawn(async move {
                let mut wire = Wire::connect(address).await?;
                let mut at = number;
                while !stop.load(Ordering::Relaxed) {
                    let end = |name: &str| end_of(&broker, name);
                    if end(input).saturating_sub(end(&output)) > backlog_max {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                        continue;
                    }
                    exchange(&mut wire, &requests[at % requests.len()]).await?;
                    at += 1;
                }
                Ok(())
            })
        };
        (0..CONNECTIONS).map(post).collect()
    }

    /// Waits until each payload has its output.
    pub(crate) async fn drained(&self, job: &Job) {
        while self.outputs(job) < end_of(&self.broker, job.name) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(crate) async fn stop(self) -> Result<(), Failure> {
        self.stop.send(()).ok();
        self.running.await?;
        self.serving.stages.stop().await;
        self.broker.shutdown().await;
        Ok(())
    }
}

/// Where the outputs of a stage go.
pub(crate) fn output_of(stage: &str) -> String {
    format!("{stage}.out")
}

/// A request that produces to a topic.
pub(crate) fn post_request(topic: &str, content_type: &str, body: &[u8]) -> Bytes {
    let head = format!(
        "POST {}/{topic}/records HTTP/1.1\r\nHost: bench\r\nContent-Type: {content_type}\r\n\
         Content-Length: {}\r\n\r\n",
        paths::TOPICS,
        body.len()
    );
    [head.as_bytes(), body].concat().into()
}

fn end_of(broker: &Broker, name: &str) -> u64 {
    let known = topic(name).ok().and_then(|name| broker.topic(&name));
    known.map_or(0, |topic| topic.partitions.iter().map(|p| p.reader.end().0).sum())
}

fn topic(name: &str) -> Result<TopicName, Failure> {
    Ok(name.parse()?)
}
