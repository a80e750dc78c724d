//! `embermq serve`: opens the data folder, takes the port, says so, and runs until it is told to stop.
//!
//! The first SIGTERM or SIGINT stops it in order: no new connections, requests in flight finish, a snapshot is taken,
//! exit 0. A second one ends the process at once, which is as safe as kill -9: what was acknowledged stays.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::config::{global_flags, variables};
use super::signals::{Signals, end_at_once};
use super::{Console, Failure, Global, Output, logging, open_files};
use crate::config::{Config, FlagValue, Settings, show_bytes};
use crate::http::{Server, Serving};
use crate::{Broker, Status, Webhooks};

#[derive(Debug, Args)]
pub(super) struct Serve {
    /// The data folder [default: ./embermq-data]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Address and port; port 0 takes a free one [default: 127.0.0.1:7400]
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// The configuration file [default: ./embermq.toml or /etc/embermq/embermq.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Write to a damaged data folder, giving up the records that are lost
    #[arg(long)]
    accept_loss: bool,
    /// Allow an address that other machines reach, although there is no TLS and there are no tokens yet
    #[arg(long)]
    insecure: bool,
    /// error, warn, info, debug, trace, or a filter [default: info]
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// text or json [default: text]
    #[arg(long, value_name = "FORM")]
    log_format: Option<String>,
}

/// `embermq dev`: the same, to try things out.
#[derive(Debug, Args)]
pub(super) struct Dev {
    #[command(flatten)]
    serve: Serve,
    /// Attach models that come with the program to topics, and send photos through
    #[arg(long)]
    demo: bool,
}

impl Dev {
    pub(super) fn run(self, global: &Global, console: &mut Console) -> Result<(), Failure> {
        self.serve.run_with(self.demo, global, console)
    }
}

impl Serve {
    pub(super) fn run(self, global: &Global, console: &mut Console) -> Result<(), Failure> {
        self.run_with(false, global, console)
    }

    fn run_with(self, demo: bool, global: &Global, console: &mut Console) -> Result<(), Failure> {
        let config = Config::load(self.config.as_deref(), variables(), &self.flags(global)?)?;
        let settings = config.settings;
        refuse_open_address(&settings)?;
        logging::start(&settings.log_level, settings.log_format, global)?;

        let open_files = open_files::raise();
        let broker = Broker::open(&settings.data_dir, settings.options())?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::unavailable(format!("cannot start threads: {error}")))?;
        let how = How { output: global.output, demo, open_files };
        let served = runtime.block_on(serve(&broker, &settings, how, console));
        // What still runs then is nothing that anybody waits for: a model that loads, at most.
        runtime.shutdown_timeout(LAST_TASKS_TIME);
        served?;

        broker.status().poisoned.map_or(Ok(()), |cause| {
            Err(Failure::unavailable(format!("storage failed while serving: {cause}")))
        })
    }

    fn flags(&self, global: &Global) -> Result<Vec<FlagValue>, Failure> {
        let mut flags = global_flags(global);
        let mut put = |key, flag, text: Option<String>| {
            flags.extend(text.map(|text| FlagValue { key, flag, text }));
        };
        let data = self.data.clone().map(|path| path.into_os_string().into_string());
        let data = data.transpose().map_err(|path| {
            Failure::usage(format!("--data {} is not valid Unicode", path.display()))
        })?;
        put("data.dir", "--data", data);
        put("server.listen", "--listen", self.listen.clone());
        put("data.accept_loss", "--accept-loss", self.accept_loss.then(|| "true".to_owned()));
        put("server.insecure", "--insecure", self.insecure.then(|| "true".to_owned()));
        put("log.level", "--log-level", self.log_level.clone());
        put("log.format", "--log-format", self.log_format.clone());
        Ok(flags)
    }
}

/// What tasks get to end behind everything that was to be finished. A model that hangs within an operator does not end at all.
const LAST_TASKS_TIME: Duration = Duration::from_secs(1);

/// There is no TLS and there are no tokens yet, so only this machine may reach the port unless somebody insists.
pub(super) fn refuse_open_address(settings: &Settings) -> Result<(), Failure> {
    let ip = settings.listen.ip();
    if ip.to_canonical().is_loopback() || settings.insecure {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "not listening on {}: other machines could reach it, and as there is no TLS and there are no access tokens \
         yet, they could read, write and delete everything; listen on 127.0.0.1, or say --insecure when a firewall \
         or an authenticating proxy stands in front",
        settings.listen
    )))
}

/// How it is served.
#[derive(Clone, Copy)]
struct How {
    output: Output,
    demo: bool,
    /// That may be open at once, if there is a limit.
    open_files: Option<u64>,
}

/// The models and stages of the data folder.
#[cfg(feature = "inference")]
async fn open_serving(broker: &Broker, settings: &Settings) -> Result<Option<Serving>, Failure> {
    use crate::models::{Models, OnnxLoader};
    let failed = |what: String| Failure::unavailable(format!("models.device: {what}"));
    let device = settings.models_device.parse::<embermq_inference::Device>();
    let device = device.map_err(|error| failed(error.to_string()))?;
    // A device that is not there would fail every model one by one, and the first of them long after the start. Drivers take a while.
    let probed = device.clone();
    let probed = tokio::task::spawn_blocking(move || probed.probe()).await;
    probed
        .map_err(|error| failed(error.to_string()))?
        .map_err(|error| failed(error.to_string()))?;
    let loader = Arc::new(OnnxLoader::on(device));
    let models = Models::open(broker, &settings.data_dir, loader).await;
    let models = models.map_err(|error| Failure::unavailable(error.to_string()))?;
    let models = Arc::new(models.with_load_timeout(settings.models_load_timeout));
    let stages = crate::Roster::open(broker, Arc::clone(&models)).await;
    let stages = Arc::new(stages.map_err(|error| Failure::unavailable(error.to_string()))?);
    Ok(Some(Serving { models, stages }))
}

/// A program without inference has none.
#[cfg(not(feature = "inference"))]
#[expect(clippy::unused_async, reason = "the other form waits")]
async fn open_serving(_broker: &Broker, _settings: &Settings) -> Result<Option<Serving>, Failure> {
    Ok(None)
}

/// The webhooks of the data folder.
async fn open_webhooks(broker: &Broker, settings: &Settings) -> Result<Arc<Webhooks>, Failure> {
    let webhooks = Webhooks::open(broker, &settings.data_dir, &settings.webhooks).await;
    webhooks.map(Arc::new).map_err(|error| Failure::unavailable(error.to_string()))
}

async fn serve(
    broker: &Broker,
    settings: &Settings,
    how: How,
    console: &mut Console,
) -> Result<(), Failure> {
    // Before the banner, so that whoever has read it may already send a signal.
    let mut signals = Signals::listen()?;
    let mut options = settings.serve_options();
    options.connections_max = open_files::connections_max(options.connections_max, how.open_files);
    let mut server = Server::bind(broker.clone(), options).await.map_err(Failure::unavailable)?;
    let serving = open_serving(broker, settings).await?;
    if how.demo && serving.is_none() {
        let what = "this program was built without models; build it with the feature `inference`";
        return Err(Failure::unavailable(what));
    }
    if let Some(serving) = &serving {
        server = server.with_stages(serving.clone());
        let stages = Arc::clone(&serving.stages);
        tokio::spawn(async move { stages.tend().await });
    }
    let webhooks = open_webhooks(broker, settings).await?;
    server = server.with_webhooks(Arc::clone(&webhooks));
    let tended = Arc::clone(&webhooks);
    tokio::spawn(async move { tended.tend().await });
    let url = format!("http://{}", server.address());
    let status = broker.status();
    if how.output == Output::Json {
        banner_for_programs(&url, settings, &status, console)?;
    } else {
        banner(&url, settings, &status, broker.topics().len(), console)?;
    }
    console.flush()?;

    let demo = async {
        #[cfg(feature = "inference")]
        if let Some(serving) = serving.as_ref().filter(|_| how.demo) {
            super::demo::run(broker, serving, &url, console).await?;
        }
        Ok::<(), Failure>(())
    };
    let run = server.run(async move {
        let name = signals.next().await;
        tracing::info!(
            "{name}: stopping, requests in flight finish first; a second signal ends at once"
        );
        tokio::spawn(async move {
            let name = signals.next().await;
            tracing::warn!("{name} again: ending at once");
            end_at_once();
        });
    });
    let (shown, ()) = tokio::join!(demo, run);
    if let Some(serving) = &serving {
        // A stage that is being started or changed waits for its model.
        serving.models.stop();
        serving.stages.stop().await;
    }
    webhooks.stop().await;
    broker.shutdown().await;
    shown?;
    tracing::info!("stopped");
    Ok(())
}

fn banner(
    url: &str,
    settings: &Settings,
    status: &Status,
    topics: usize,
    console: &mut Console,
) -> Result<(), Failure> {
    let recovery = &status.recovery;
    let topics = if topics == 1 { "1 topic".to_owned() } else { format!("{topics} topics") };
    console.line(format!("EmberMQ {}", env!("CARGO_PKG_VERSION")))?;
    console.line(format!("  data      {} ({topics})", settings.data_dir.display()))?;
    console.line(format!("  listen    {url}"))?;
    console.line(format!(
        "  recovery  {} of commit log replayed ({} commits) in {} ms",
        show_bytes(recovery.replayed_bytes),
        recovery.replayed_commits,
        recovery.elapsed.as_millis(),
    ))?;
    if recovery.torn_bytes > 0 {
        console.line(format!(
            "            {} of an unfinished, never acknowledged write cleared away",
            show_bytes(recovery.torn_bytes)
        ))?;
    }
    for damage in &recovery.damage {
        console.line(format!("  damage    {damage}"))?;
    }
    if let Some(reason) = &status.read_only {
        console.line(format!("  READ-ONLY {reason}"))?;
    }
    if !settings.listen.ip().to_canonical().is_loopback() {
        console
            .line("  INSECURE  no TLS, no tokens: whoever reaches the port may do everything")?;
    }
    console.line(format!(
        "\nTry it:\n  \
         curl -X PUT {url}/v1/topics/hello\n  \
         curl {url}/v1/topics/hello/records -H 'Content-Type: text/plain' -d 'first record'\n  \
         curl '{url}/v1/topics/hello/records?offset=0'\n\n\
         Ctrl-C stops it in order."
    ))?;
    Ok(())
}

fn banner_for_programs(
    url: &str,
    settings: &Settings,
    status: &Status,
    console: &mut Console,
) -> Result<(), Failure> {
    let recovery = &status.recovery;
    let elapsed_us = u64::try_from(recovery.elapsed.as_micros()).unwrap_or(u64::MAX);
    console.json(&json!({
        "event": "listening",
        "url": url,
        "data": settings.data_dir.display().to_string(),
        "pid": std::process::id(),
        "recovery": {
            "replayed_bytes": recovery.replayed_bytes,
            "replayed_commits": recovery.replayed_commits,
            "torn_bytes": recovery.torn_bytes,
            "elapsed_us": elapsed_us,
            "damage": recovery.damage,
        },
        "read_only": status.read_only,
    }))?;
    Ok(())
}
