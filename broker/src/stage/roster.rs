//! The stages of a broker: which there are, kept in a topic, and running.
//!
//! The topic [`TOPIC`] holds each stage's configuration by its name; the latest record of a name counts, a tombstone ends it. A stage
//! that cannot run now (its model cannot be loaded, a topic was deleted) stays in the roster, says why, and is tried again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use embermq_protocol::names::{GroupName, TopicName};
use tokio::sync::Mutex;

use super::config::StageConfig;
use super::kept::{Kept, Noted, journal_record};
use super::running::{Known, Stage};
use super::sample::{StageSample, Watched};
use super::settings::StageSettings;
use super::status::StageStatus;
use super::takeover::Journal;
use crate::broker::Broker;
use crate::commit::Commit;
use crate::error::{CommitError, ReadError};
use crate::models::{ModelError, ModelName, Models, Version};
use crate::read::{From, ReadRequest};
use crate::record::Record;
use crate::topic::{Cleanup, TopicSettings};

/// The topic of configurations.
pub(super) const TOPIC: &str = "_stages";

/// How often it is tried to start what could not be.
const RETRY: Duration = Duration::from_secs(5);

/// Why a stage was not put, changed or removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StageError {
    /// There is none of that name.
    #[error("there is no stage \"{stage}\"; PUT /v1/stages/{stage} makes one")]
    NotFound {
        /// The name.
        stage: GroupName,
    },
    /// The configuration is wrong.
    #[error("{what}")]
    Invalid {
        /// What is wrong, and what would be right.
        what: String,
    },
    /// Outputs would come back over other stages.
    #[error(
        "the output of stage {stage} would come back to it, over {}; write elsewhere, or say that it may loop (loops: true)", path.join(" -> ")
    )]
    Cycle {
        /// The stage.
        stage: GroupName,
        /// The topics on the way.
        path: Vec<String>,
    },
    /// Its model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// Something could not be committed, or a topic is not there.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

/// A stage as it is shown.
#[derive(Clone, Debug, PartialEq)]
pub struct StageView {
    /// Its name.
    pub name: GroupName,
    /// What it is to do.
    pub config: StageConfig,
    /// How it is doing. `None`: it does not run.
    pub status: Option<StageStatus>,
    /// Why it does not run.
    pub trouble: Option<String>,
}

/// The stages of a broker.
#[derive(Debug)]
pub struct Roster {
    broker: Broker,
    models: Arc<Models>,
    topic: TopicName,
    entries: Mutex<BTreeMap<GroupName, Entry>>,
    /// Nothing is started any more.
    closed: AtomicBool,
    /// As stages left them that do not run now.
    takeovers: parking_lot::Mutex<BTreeMap<GroupName, Vec<Noted>>>,
    watched: Watched,
    /// What each stage reads, for those who cannot wait until a change of the entries is through.
    inputs: ArcSwap<BTreeMap<GroupName, String>>,
}

#[derive(Debug)]
struct Entry {
    config: StageConfig,
    running: Option<Stage>,
    trouble: Option<String>,
}

impl Roster {
    /// Reads the configurations. [`tend`](Self::tend) starts the stages.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn open(broker: &Broker, models: Arc<Models>) -> Result<Self, StageError> {
        let invalid = |what: String| StageError::Invalid { what };
        let topic: TopicName =
            TOPIC.parse().map_err(|error| invalid(format!("the roster's topic: {error}")))?;
        let Kept { configs, takeovers } = Self::read(broker, &topic).await?;
        let entry = |(name, config)| (name, Entry { config, running: None, trouble: None });
        let entries: BTreeMap<GroupName, Entry> = configs.into_iter().map(entry).collect();
        let roster = Self {
            broker: broker.clone(),
            models,
            topic,
            entries: Mutex::default(),
            closed: AtomicBool::new(false),
            takeovers: parking_lot::Mutex::new(takeovers),
            watched: Watched::default(),
            inputs: ArcSwap::default(),
        };
        roster.note_inputs(&entries);
        *roster.entries.lock().await = entries;
        Ok(roster)
    }

    async fn read(broker: &Broker, topic: &TopicName) -> Result<Kept, StageError> {
        let mut kept = Kept::default();
        let mut from = From::Start;
        loop {
            let read = match broker.read(ReadRequest::new(topic, from)).await {
                Ok(read) => read,
                Err(ReadError::TopicNotFound { .. }) => return Ok(kept),
                Err(error) => {
                    return Err(StageError::Invalid { what: format!("{TOPIC}: {error}") });
                }
            };
            let records = read.records();
            let records =
                records.map_err(|error| StageError::Invalid { what: error.to_string() })?;
            let Some(last) = records.last() else { return Ok(kept) };
            from = From::Offset(embermq_storage::Offset(last.offset.0 + 1));
            records.iter().for_each(|read| kept.take(&read.record));
        }
    }

    async fn keep(&self, name: &GroupName, config: Option<&StageConfig>) -> Result<(), StageError> {
        let settings = TopicSettings { cleanup: Cleanup::Compact, ..TopicSettings::default() };
        self.broker.create_topic(&self.topic, settings).await?;
        let record = match config {
            None => Record::tombstone(name.to_string()),
            Some(config) => {
                let value = serde_json::to_vec(config)
                    .map_err(|error| StageError::Invalid { what: error.to_string() })?;
                Record::new(value)
                    .with_key(name.to_string())
                    .with_header("content-type", "application/json")
            }
        };
        self.broker.commit(Commit::of_record(&self.topic, &record)).await?;
        Ok(())
    }

    async fn start_missing(&self, entries: &mut BTreeMap<GroupName, Entry>) {
        if self.is_closed() {
            return;
        }
        for (name, entry) in entries {
            if entry.running.is_some() {
                continue;
            }
            match self.start(name, &entry.config).await {
                Ok(stage) => (entry.running, entry.trouble) = (Some(stage), None),
                Err(error) => {
                    let trouble = error.to_string();
                    if entry.trouble.as_ref() != Some(&trouble) {
                        tracing::error!(stage = %name, error = %trouble, "a stage does not run; it is tried again");
                    }
                    entry.trouble = Some(trouble);
                }
            }
        }
    }

    async fn start(&self, name: &GroupName, config: &StageConfig) -> Result<Stage, StageError> {
        let invalid = |what: String| StageError::Invalid { what };
        let settings = config.settings(name).map_err(invalid)?;
        let processor = self.models.processor(&config.model().map_err(invalid)?).await?;
        let identity = processor.identity().clone();
        let known = self.known(&settings, config.paused);
        let stage = self.broker.start_stage_in(settings, processor, known).await?;
        // It runs; that the journal of models does not say so is no reason to stop it.
        if let Err(error) = self.models.note_deployed(name.as_str(), &identity).await {
            tracing::warn!(stage = %name, %error, "it could not be noted which model a stage uses");
        }
        self.watched.add(name, stage.watched());
        Ok(stage)
    }

    fn known(&self, settings: &StageSettings, paused: bool) -> Known {
        let all = self.takeovers.lock();
        let noted = all.get(&settings.name).into_iter().flatten();
        let of_input = noted.filter(|noted| noted.input == settings.input.as_str());
        let takeovers = of_input.map(Noted::takeover).collect();
        let journal = Journal { topic: self.topic.clone(), record: journal_record };
        Known { paused, takeovers, journal: Some(journal) }
    }

    /// A group keeps its ordering for ever: what wants another one is refused before anything is stopped.
    async fn check_ordering(&self, settings: &StageSettings) -> Result<(), StageError> {
        let (topic, group) = (settings.input.clone(), settings.name.clone());
        let Ok(found) = self.broker.group(&topic, &group).await else { return Ok(()) };
        let (is, wanted) = (found.settings.ordering, settings.ordering);
        if is == wanted {
            return Ok(());
        }
        let detail = format!(
            "its ordering is {is:?} and cannot change, the stage wants {wanted:?}; give the stage another name, or delete the group"
        );
        Err(CommitError::GroupExists { topic, group, detail }.into())
    }

    /// Where a stage was when it was stopped.
    fn remember(&self, name: &GroupName, config: &StageConfig, status: StageStatus) {
        let noted = |takeover| Noted::new(name, &config.input, takeover);
        let mut all = self.takeovers.lock();
        let all = all.entry(name.clone()).or_default();
        all.retain(|known| known.input != config.input);
        all.extend(status.takeovers.into_iter().map(noted));
    }

    /// Makes a stage, or changes one: what it has begun is finished first. True when it was made now.
    ///
    /// # Errors
    /// [`StageError`]; nothing has changed then.
    pub async fn put(&self, name: &GroupName, config: StageConfig) -> Result<bool, StageError> {
        let invalid = |what: String| StageError::Invalid { what };
        let settings = config.settings(name).map_err(invalid)?;
        let model = config.model().map_err(invalid)?;
        let mut entries = self.entries.lock().await;
        if self.is_closed() {
            return Err(CommitError::ShuttingDown.into());
        }
        if !config.loops {
            check_cycles(name, &config, &entries)?;
        }
        for topic in [&settings.input, &settings.output] {
            if self.broker.topic(topic).is_none() {
                return Err(CommitError::TopicNotFound { topic: topic.clone() }.into());
            }
        }
        self.check_ordering(&settings).await?;
        // Loaded before anything is stopped: what cannot be loaded leaves the old one at work.
        let loaded = self.models.processor(&model).await?;
        let created = !entries.contains_key(name);
        let unchanged = |entry: &Entry| entry.running.is_some() && entry.config == config;
        if entries.get(name).is_some_and(unchanged) {
            return Ok(false);
        }
        self.keep(name, Some(&config)).await?;
        if let Some(Entry { running: Some(stage), config, .. }) = entries.remove(name) {
            self.remember(name, &config, stage.stop().await);
        }
        let started = self.start(name, &config).await;
        drop(loaded);
        let (running, trouble) = match started {
            Ok(stage) => (Some(stage), None),
            Err(error) => (None, Some(error.to_string())),
        };
        entries.insert(name.clone(), Entry { config, running, trouble });
        self.note_inputs(&entries);
        Ok(created)
    }

    /// Removes a stage: what it has begun is finished. Its group stays, so that one of the same name goes on there.
    ///
    /// # Errors
    /// [`StageError::NotFound`], [`StageError::Commit`].
    pub async fn remove(&self, name: &GroupName) -> Result<(), StageError> {
        let mut entries = self.entries.lock().await;
        if !entries.contains_key(name) {
            return Err(StageError::NotFound { stage: name.clone() });
        }
        self.keep(name, None).await?;
        let removed = entries.remove(name);
        self.note_inputs(&entries);
        if let Some(Entry { running: Some(stage), config, .. }) = removed {
            self.remember(name, &config, stage.stop().await);
        }
        Ok(())
    }

    fn note_inputs(&self, entries: &BTreeMap<GroupName, Entry>) {
        let input =
            |(name, entry): (&GroupName, &Entry)| (name.clone(), entry.config.input.clone());
        self.inputs.store(Arc::new(entries.iter().map(input).collect()));
    }

    /// The stages that read a topic, by name. Does not wait for changes under way.
    #[must_use]
    pub fn readers_of(&self, topic: &TopicName) -> Vec<GroupName> {
        let inputs = self.inputs.load();
        let readers = inputs.iter().filter(|(_, input)| *input == topic.as_str());
        readers.map(|(name, _)| name.clone()).collect()
    }

    /// Pauses a stage, or lets it go on.
    ///
    /// # Errors
    /// [`StageError::NotFound`], [`StageError::Commit`].
    pub async fn set_paused(&self, name: &GroupName, paused: bool) -> Result<(), StageError> {
        let mut entries = self.entries.lock().await;
        let not_found = || StageError::NotFound { stage: name.clone() };
        let entry = entries.get_mut(name).ok_or_else(not_found)?;
        if entry.config.paused != paused {
            let config = StageConfig { paused, ..entry.config.clone() };
            self.keep(name, Some(&config)).await?;
            entry.config = config;
        }
        match (&entry.running, paused) {
            (Some(stage), true) => stage.pause(),
            (Some(stage), false) => stage.resume(),
            (None, _) => {}
        }
        Ok(())
    }

    /// Those that run, as the metrics see them. Does not wait for whoever changes one.
    #[must_use]
    pub fn samples(&self) -> Vec<StageSample> {
        self.watched.samples()
    }

    /// All stages by name.
    pub async fn list(&self) -> Vec<StageView> {
        self.entries.lock().await.iter().map(|(name, entry)| view(name, entry)).collect()
    }

    /// A stage.
    ///
    /// # Errors
    /// [`StageError::NotFound`].
    pub async fn get(&self, name: &GroupName) -> Result<StageView, StageError> {
        let entries = self.entries.lock().await;
        let not_found = || StageError::NotFound { stage: name.clone() };
        entries.get(name).map(|entry| view(name, entry)).ok_or_else(not_found)
    }

    /// Which stage uses a version now.
    pub async fn users_of(&self, model: &ModelName) -> BTreeMap<String, String> {
        let registry = self.models.registry();
        let mut users = BTreeMap::new();
        for (name, entry) in &*self.entries.lock().await {
            let reference = entry.config.model().ok().filter(|reference| reference.name == *model);
            let version = reference.and_then(|reference| {
                registry.resolve(&reference).map(|(version, _): (&Version, _)| version.to_string())
            });
            if let Some(version) = version {
                users.insert(version, format!("stage {name}"));
            }
        }
        users
    }

    /// Puts other models in place where an alias means another version now.
    ///
    /// # Errors
    /// The first that could not be loaded; that stage keeps its old one.
    pub async fn follow_aliases(&self) -> Result<(), StageError> {
        let mut first = Ok(());
        for (name, entry) in &*self.entries.lock().await {
            let (Some(stage), Ok(model)) = (&entry.running, entry.config.model()) else { continue };
            let followed = async {
                let processor = self.models.processor(&model).await?;
                let identity = processor.identity().clone();
                if stage.identity() != identity {
                    stage.swap(processor);
                    self.models.note_deployed(name.as_str(), &identity).await?;
                }
                Ok(())
            };
            if let Err(error) = followed.await {
                first = first.and(Err(error));
            }
        }
        first
    }

    /// Starts the stages, and tries again what could not be started, for ever. Stages follow their aliases even if whoever set one went
    /// away before they did.
    pub async fn tend(&self) {
        let mut told = None;
        while !self.broker.is_shutting_down() {
            let mut entries = self.entries.lock().await;
            self.start_missing(&mut entries).await;
            drop(entries);
            let trouble = self.follow_aliases().await.err().map(|error| error.to_string());
            if let Some(error) = trouble.as_ref().filter(|_| told != trouble) {
                tracing::error!(%error, "a stage cannot follow its alias; it keeps its model, and it is tried again");
            }
            told = trouble;
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Stops all of them: what they have begun is committed.
    pub async fn stop(&self) {
        let mut entries = self.entries.lock().await;
        self.closed.store(true, Ordering::Relaxed);
        let running = entries.values_mut().filter_map(|entry| entry.running.take());
        futures::future::join_all(running.map(Stage::stop)).await;
    }

    /// Whether it was stopped. Set and asked under the lock of the entries.
    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }
}

fn view(name: &GroupName, entry: &Entry) -> StageView {
    StageView {
        name: name.clone(),
        config: entry.config.clone(),
        status: entry.running.as_ref().map(Stage::status),
        trouble: entry.trouble.clone(),
    }
}

/// Whether outputs come back, over whatever other stages.
fn check_cycles(
    name: &GroupName,
    config: &StageConfig,
    entries: &BTreeMap<GroupName, Entry>,
) -> Result<(), StageError> {
    let mut seen = vec![config.output.clone()];
    let mut at = 0;
    while let Some(topic) = seen.get(at).cloned() {
        if topic == config.input {
            let mut path = vec![config.input.clone(), config.output.clone()];
            path.push(config.input.clone());
            return Err(StageError::Cycle { stage: name.clone(), path });
        }
        at += 1;
        let others = entries.iter().filter(|(other, _)| *other != name);
        for (_, entry) in others.filter(|(_, entry)| entry.config.input == topic) {
            if !seen.contains(&entry.config.output) {
                seen.push(entry.config.output.clone());
            }
        }
    }
    Ok(())
}
