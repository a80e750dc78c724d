//! The stages of a broker: which there are, kept in a topic, and running.
//!
//! The topic [`TOPIC`] holds each stage's configuration by its name; the latest record of a name counts, a tombstone ends it. A stage
//! that cannot run now (its model cannot be loaded, a topic was deleted) stays in the roster, says why, and is tried again.
//!
//! A change of a stage may take as long as a model takes to load or a batch to end, and has its turn meanwhile (`turns`): those of other stages do
//! not wait for it. `entries` is held for moments only, and never across an await: whoever looks waits for no change.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use embermq_protocol::names::{GroupName, TopicName};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use parking_lot::Mutex;
use tokio::sync::{OwnedRwLockReadGuard, RwLock, RwLockReadGuard};

use super::config::StageConfig;
use super::cycle::check_cycle;
use super::error::StageError;
use super::kept::{Kept, Noted, journal_record};
use super::processor::Identity;
use super::running::{Known, Stage};
use super::sample::{StageSample, Watched};
use super::settings::StageSettings;
use super::status::StageStatus;
use super::takeover::Journal;
use super::turns::Turns;
use crate::broker::Broker;
use crate::consume::{GroupTaken, LeftGroups};
use crate::error::CommitError;
use crate::models::{ModelName, Models};
use crate::register::Register;

/// The topic of configurations.
pub(super) const TOPIC: &str = "_stages";

/// How often it is tried to start what could not be.
const RETRY: Duration = Duration::from_secs(5);

/// Stages that are started side by side: each may hold a model that is being loaded.
const STARTS_AT_ONCE: usize = 4;

/// A stage as it is shown.
#[derive(Clone, Debug, PartialEq)]
pub struct StageView {
    /// Its name.
    pub name: GroupName,
    /// What it is to do.
    pub config: StageConfig,
    /// How it is doing. `None`: it does not run.
    pub status: Option<StageStatus>,
    /// Why it does not run. `None`: it runs, or is about to.
    pub trouble: Option<String>,
    /// Why it keeps its model although its reference means another one by now, or none. `None`: it follows.
    pub cannot_follow: Option<String>,
}

impl StageView {
    /// The states that a stage can be listed in.
    pub const STATES: [&str; 5] = ["running", "paused", "waiting", "starting", "failed"];

    /// Its state: one of a stage that runs, or `starting` or `failed`.
    #[must_use]
    pub fn state(&self) -> &'static str {
        match (&self.status, &self.trouble) {
            (Some(status), _) => status.state.name(),
            (None, Some(_)) => "failed",
            (None, None) => "starting",
        }
    }
}

/// What came of a put.
#[derive(Clone, Debug, PartialEq)]
pub struct StagePut {
    /// It was not there before.
    pub created: bool,
    /// The stage as it was then: others may have changed it since.
    pub view: StageView,
}

/// The stages of a broker.
#[derive(Debug)]
pub struct Roster {
    pub(super) broker: Broker,
    pub(super) models: Arc<Models>,
    register: Register,
    pub(super) entries: Mutex<BTreeMap<GroupName, Entry>>,
    /// Read by whoever changes anything, until it is done.
    pub(super) open: RwLock<Open>,
    pub(super) turns: Turns,
    /// Held from the look at all other stages until what is put is one of them, which takes a moment.
    putting: tokio::sync::Mutex<()>,
    /// As stages left them that do not run now.
    takeovers: Mutex<BTreeMap<GroupName, Vec<Noted>>>,
    left: Mutex<LeftGroups>,
    watched: Watched,
}

/// Whether stages may be started.
#[derive(Debug)]
pub(super) struct Open(bool);

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) config: StageConfig,
    pub(super) running: Option<Stage>,
    trouble: Option<String>,
    pub(super) cannot_follow: Option<String>,
}

impl Entry {
    /// Nobody has tried to start it.
    const fn new(config: StageConfig) -> Self {
        Self { config, running: None, trouble: None, cannot_follow: None }
    }
}

impl Roster {
    /// Reads the configurations. [`tend`](Self::tend) starts the stages.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn open(broker: &Broker, models: Arc<Models>) -> Result<Self, StageError> {
        let register = Register::new(broker, TOPIC)?;
        let mut kept = Kept::default();
        let read = register.each(|record| kept.take(&record)).await;
        read.map_err(|what| StageError::Invalid { what })?;
        let Kept { configs, takeovers, left } = kept;
        let entries = configs.into_iter().map(|(name, config)| (name, Entry::new(config)));
        Ok(Self {
            broker: broker.clone(),
            models,
            register,
            entries: Mutex::new(entries.collect()),
            open: RwLock::new(Open(true)),
            turns: Turns::default(),
            putting: tokio::sync::Mutex::default(),
            takeovers: Mutex::new(takeovers),
            left: Mutex::new(left),
            watched: Watched::default(),
        })
    }

    async fn keep(&self, name: &GroupName, config: &StageConfig) -> Result<(), StageError> {
        let document = serde_json::to_vec(config)
            .map_err(|error| StageError::Invalid { what: error.to_string() })?;
        Ok(self.register.keep(name, Some(document)).await?)
    }

    /// Nothing is stopped for good until this is dropped.
    ///
    /// # Errors
    /// [`CommitError::ShuttingDown`]: that has happened.
    async fn changes(&self) -> Result<RwLockReadGuard<'_, Open>, StageError> {
        let open = self.open.read().await;
        if open.0 { Ok(open) } else { Err(CommitError::ShuttingDown.into()) }
    }

    /// No version of the models of these is taken away until this is dropped.
    async fn uses(
        &self,
        configs: impl IntoIterator<Item = &StageConfig>,
    ) -> Vec<OwnedRwLockReadGuard<()>> {
        let references = configs.into_iter().filter_map(|config| config.model().ok());
        let models: BTreeSet<ModelName> = references.map(|reference| reference.name).collect();
        let mut uses = Vec::with_capacity(models.len());
        // Each once and in one order: whoever takes a version away stands between those that use its model.
        for model in models {
            uses.push(self.turns.uses(&model).await);
        }
        uses
    }

    /// Those that do not run.
    fn idle(&self) -> Vec<GroupName> {
        let idle =
            |(name, entry): (&GroupName, &Entry)| entry.running.is_none().then(|| name.clone());
        self.entries.lock().iter().filter_map(idle).collect()
    }

    /// Tries once to start a stage that does not run; gives its name back.
    async fn start_if_idle(&self, name: GroupName) -> GroupName {
        let Ok(_open) = self.changes().await else { return name };
        let _turn = self.turns.of_stage(&name).await;
        if self.broker.is_shutting_down() {
            return name;
        }
        // Somebody may have changed it while this waited.
        let idle = |entry: &Entry| entry.running.is_none().then(|| entry.config.clone());
        let config = self.entries.lock().get(&name).and_then(idle);
        if let Some(config) = config {
            let _uses = self.uses([&config]).await;
            self.run(&name, &config).await;
        }
        name
    }

    /// Starts a stage that does not run.
    async fn run(&self, name: &GroupName, config: &StageConfig) {
        let started = self.start(name, config).await;
        let Some(identity) = self.enter(name, started) else { return };
        // It runs; that the journal of models does not say so is no reason to stop it.
        if let Err(error) = self.models.note_deployed(name.as_str(), &identity).await {
            tracing::warn!(stage = %name, %error, "it could not be noted which model a stage uses");
        }
    }

    /// Lets go a stage that was started, or notes why it was not; gives what makes its outputs.
    fn enter(&self, name: &GroupName, started: Result<Stage, StageError>) -> Option<Identity> {
        let mut entries = self.entries.lock();
        let entry = entries.get_mut(name)?;
        match started {
            Ok(stage) => {
                let identity = stage.identity();
                self.watched.add(name, stage.watched());
                // Whoever sees an output of it finds it running.
                if !entry.config.paused {
                    stage.resume();
                }
                (entry.running, entry.trouble, entry.cannot_follow) = (Some(stage), None, None);
                Some(identity)
            }
            Err(error) => {
                let trouble = error.to_string();
                if entry.trouble.as_ref() != Some(&trouble) {
                    tracing::error!(stage = %name, error = %trouble, "a stage does not run; it is tried again");
                }
                entry.trouble = Some(trouble);
                None
            }
        }
    }

    /// A stage that is ready to go, and waits for it.
    async fn start(&self, name: &GroupName, config: &StageConfig) -> Result<Stage, StageError> {
        let invalid = |what: String| StageError::Invalid { what };
        let settings = config.settings(name).map_err(invalid)?;
        let model = config.model().map_err(invalid)?;
        let processor = self.models.overridden(&model, &config.overrides()).await?;
        let known = self.known(&settings);
        Ok(self.broker.start_stage_in(settings, processor, known).await?)
    }

    fn known(&self, settings: &StageSettings) -> Known {
        let all = self.takeovers.lock();
        let noted = all.get(&settings.name).into_iter().flatten();
        let of_input = noted.filter(|noted| noted.input == settings.input.as_str());
        let takeovers = of_input.map(Noted::takeover).collect();
        let topic = self.register.topic().clone();
        let journal = Journal { topic, record: journal_record };
        Known { paused: true, takeovers, journal: Some(journal) }
    }

    /// Whether its group is this stage's: one that it works, one that it has left, or none yet.
    fn check_owner(&self, settings: &StageSettings) -> Result<(), StageError> {
        let (name, topic) = (&settings.name, &settings.input);
        let works = |entry: &Entry| entry.config.input == topic.as_str();
        if self.entries.lock().get(name).is_some_and(works) {
            return Ok(());
        }
        let Some(found) = self.broker.group_id(topic, name) else { return Ok(()) };
        let own = match self.left.lock().of(name, topic) {
            Some(left) => left == found,
            // Stages once left their groups without a note, but what they had answered was noted.
            None => {
                let all = self.takeovers.lock();
                let mut noted = all.get(name).into_iter().flatten();
                noted.any(|noted| noted.input == topic.as_str())
            }
        };
        if own {
            return Ok(());
        }
        Err(GroupTaken { topic: topic.clone(), group: name.clone(), what: "a stage" }.into())
    }

    /// Notes which group a stage leaves, so that it finds it again.
    async fn leave(&self, name: &GroupName, config: &StageConfig) -> Result<(), StageError> {
        let Ok(topic) = config.input.parse() else { return Ok(()) };
        let Some(group) = self.broker.group_id(&topic, name) else { return Ok(()) };
        let note = LeftGroups::record(name, &topic, group);
        self.register.keep_record(note.clone()).await?;
        self.left.lock().take(&note);
        Ok(())
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
            "its ordering is {} and cannot change, the stage wants {}; give the stage another name, or delete the group",
            is.name(),
            wanted.name()
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

    /// What it has begun is finished, and where it was is remembered.
    async fn stop_one(&self, name: &GroupName, entry: Option<Entry>) {
        if let Some(Entry { running: Some(stage), config, .. }) = entry {
            self.remember(name, &config, stage.stop().await);
        }
    }

    /// Makes a stage, or changes one: what it has begun is finished first.
    ///
    /// # Errors
    /// [`StageError`]; nothing has changed then.
    pub async fn put(&self, name: &GroupName, config: StageConfig) -> Result<StagePut, StageError> {
        let invalid = |what: String| StageError::Invalid { what };
        let settings = config.settings(name).map_err(invalid)?;
        let model = config.model().map_err(invalid)?;
        let _open = self.changes().await?;
        let _turn = self.turns.of_stage(name).await;
        self.check_cycle(name, &config)?;
        for topic in [&settings.input, &settings.output] {
            if self.broker.topic(topic).is_none() {
                return Err(CommitError::TopicNotFound { topic: topic.clone() }.into());
            }
        }
        self.check_owner(&settings)?;
        self.check_ordering(&settings).await?;
        let before = self.config(name).ok();
        let uses = self.uses(before.iter().chain([&config])).await;
        // Loaded before anything is stopped: what cannot be loaded, or has not what is overridden, leaves the old one at work.
        let loaded = self.models.overridden(&model, &config.overrides()).await?;
        let unchanged = |entry: &Entry| entry.running.is_some() && entry.config == config;
        if self.entries.lock().get(name).is_some_and(unchanged) {
            return Ok(StagePut { created: false, view: self.get(name)? });
        }
        let old = {
            let _putting = self.putting.lock().await;
            // What others have put while the model loaded counts.
            self.check_cycle(name, &config)?;
            self.check_owner(&settings)?;
            if let Some(before) = before.filter(|before| before.input != config.input) {
                self.leave(name, &before).await?;
            }
            self.keep(name, &config).await?;
            self.entries.lock().insert(name.clone(), Entry::new(config.clone()))
        };
        let created = old.is_none();
        self.stop_one(name, old).await;
        self.run(name, &config).await;
        drop((loaded, uses));
        Ok(StagePut { created, view: self.get(name)? })
    }

    fn check_cycle(&self, name: &GroupName, config: &StageConfig) -> Result<(), StageError> {
        if config.loops {
            return Ok(());
        }
        let entries = self.entries.lock();
        check_cycle(name, config, entries.iter().map(|(name, entry)| (name, &entry.config)))
    }

    /// Removes a stage: what it has begun is finished. Its group stays, so that one of the same name goes on there.
    ///
    /// # Errors
    /// [`StageError::NotFound`], [`StageError::Commit`].
    pub async fn remove(&self, name: &GroupName) -> Result<(), StageError> {
        let _open = self.open.read().await;
        let _turn = self.turns.of_stage(name).await;
        let config = self.config(name)?;
        let _uses = self.uses([&config]).await;
        self.leave(name, &config).await?;
        self.register.keep(name, None).await?;
        let old = self.entries.lock().remove(name);
        self.stop_one(name, old).await;
        Ok(())
    }

    /// What a stage is to do.
    fn config(&self, name: &GroupName) -> Result<StageConfig, StageError> {
        found(&self.entries.lock(), name).map(|entry| entry.config.clone())
    }

    /// The stages that read a topic, by name.
    #[must_use]
    pub fn readers_of(&self, topic: &TopicName) -> Vec<GroupName> {
        let entries = self.entries.lock();
        let readers = entries.iter().filter(|(_, entry)| entry.config.input == topic.as_str());
        readers.map(|(name, _)| name.clone()).collect()
    }

    /// Pauses a stage, or lets it go on; gives it as it is then.
    ///
    /// # Errors
    /// [`StageError::NotFound`], [`StageError::Commit`].
    pub async fn set_paused(
        &self,
        name: &GroupName,
        paused: bool,
    ) -> Result<StageView, StageError> {
        let _open = self.open.read().await;
        let _turn = self.turns.of_stage(name).await;
        let config = self.config(name)?;
        if config.paused != paused {
            self.keep(name, &StageConfig { paused, ..config }).await?;
        }
        if let Some(entry) = self.entries.lock().get_mut(name) {
            entry.config.paused = paused;
            match (&entry.running, paused) {
                (Some(stage), true) => stage.pause(),
                (Some(stage), false) => stage.resume(),
                (None, _) => {}
            }
        }
        self.get(name)
    }

    /// Those that run, as the metrics see them: one that ends among them, until it has.
    #[must_use]
    pub fn samples(&self) -> Vec<StageSample> {
        self.watched.samples()
    }

    /// All stages by name.
    #[must_use]
    pub fn list(&self) -> Vec<StageView> {
        self.entries.lock().iter().map(|(name, entry)| view(name, entry)).collect()
    }

    /// A stage.
    ///
    /// # Errors
    /// [`StageError::NotFound`].
    pub fn get(&self, name: &GroupName) -> Result<StageView, StageError> {
        found(&self.entries.lock(), name).map(|entry| view(name, entry))
    }

    /// Starts the stages, and tries again what could not be started, for ever. Stages follow their aliases even if whoever set one went
    /// away before they did.
    pub async fn tend(&self) {
        let mut starting = FuturesUnordered::new();
        let mut begun = BTreeSet::new();
        while !self.broker.is_shutting_down() {
            // Each is tried once in a round; one whose model is slow to load goes on into the next ones, and holds up no other.
            let mut untried = self.idle();
            untried.retain(|name| !begun.contains(name));
            untried.reverse();
            let mut round = std::pin::pin!(self.follow_all_and_rest());
            loop {
                while begun.len() < STARTS_AT_ONCE
                    && let Some(name) = untried.pop()
                {
                    begun.insert(name.clone());
                    starting.push(self.start_if_idle(name));
                }
                tokio::select! {
                    Some(name) = starting.next() => drop(begun.remove(&name)),
                    goes_on = &mut round => if goes_on { break } else { return },
                }
            }
        }
    }

    /// False when all were stopped for good.
    async fn follow_all_and_rest(&self) -> bool {
        {
            let Ok(_open) = self.changes().await else { return false };
            if let Err(error) = self.models.catch_up().await {
                tracing::warn!(%error, "the journal of models cannot be read");
            }
            self.follow_where(|_| true).await;
        }
        tokio::time::sleep(RETRY).await;
        true
    }

    /// Stops all of them for good: what they have begun is committed.
    pub async fn stop(&self) {
        self.open.write().await.0 = false;
        let running = |entry: &mut Entry| entry.running.take();
        let all: Vec<_> = self.entries.lock().values_mut().filter_map(running).collect();
        futures::future::join_all(all.into_iter().map(Stage::stop)).await;
    }
}

fn found<'a>(
    entries: &'a BTreeMap<GroupName, Entry>,
    name: &GroupName,
) -> Result<&'a Entry, StageError> {
    entries.get(name).ok_or_else(|| StageError::NotFound { stage: name.clone() })
}

fn view(name: &GroupName, entry: &Entry) -> StageView {
    StageView {
        name: name.clone(),
        config: entry.config.clone(),
        status: entry.running.as_ref().map(Stage::status),
        trouble: entry.trouble.clone(),
        cannot_follow: entry.cannot_follow.clone(),
    }
}
