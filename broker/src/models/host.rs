//! The registry at work: events in, models out.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use embermq_protocol::names::TopicName;
use embermq_storage::entropy::OsEntropy;
use embermq_storage::{Entropy as _, Offset, Timestamp};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::TOPIC;
use super::error::ModelError;
use super::event::{Event, EventKind};
use super::loads::{Key, Loads};
use super::meter::LoadedModel;
use super::name::{Alias, Digest, ModelName, ModelRef, Version};
use super::overrides::Overrides;
use super::registry::Registry;
use super::store::{Draft, Store};
use super::upload::unpack;
use crate::broker::Broker;
use crate::commit::{Batch, Commit, Precondition};
use crate::error::{CommitError, ReadError};
use crate::given_up::Interest;
use crate::keys::AsOf;
use crate::read::{From, ReadRequest};
use crate::stage::{Identity, Processor};
use crate::topic::{PartitionId, TopicSettings};

/// How long a load may take, unless somebody says otherwise: large models take minutes on small machines.
pub(crate) const LOAD_TIMEOUT: Duration = Duration::from_secs(600);

/// Makes something that runs of a model's folder; or says everything that is wrong with it. Blocks while it loads and warms up.
pub trait Loader: Send + Sync + fmt::Debug + 'static {
    /// Loads a model.
    ///
    /// # Errors
    /// Everything that is wrong, one by one.
    fn load(&self, folder: &Path, identity: Identity) -> Result<Arc<dyn Processor>, Vec<String>>;

    /// Loads a model that is to be registered, and lets it show that it is what it is said to be.
    ///
    /// # Errors
    /// Everything that is wrong, one by one.
    fn try_out(&self, folder: &Path, identity: Identity) -> Result<(), Vec<String>> {
        self.load(folder, identity).map(drop)
    }
}

/// The registry of a broker.
#[derive(Debug)]
pub struct Models {
    broker: Broker,
    topic: TopicName,
    store: Store,
    loader: Arc<dyn Loader>,
    folded: Mutex<Folded>,
    /// One change at a time: each looks at what the ones before it made.
    changing: tokio::sync::Mutex<()>,
    loads: Loads<Key>,
    /// The same with overrides.
    variants: Loads<Identity>,
    load_timeout: Duration,
    /// Whether nobody waits for loads any more.
    stopped: watch::Sender<bool>,
}

#[derive(Clone, Debug, Default)]
struct Folded {
    registry: Arc<Registry>,
    next: Offset,
}

/// A version that is there now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registered {
    /// Whether it was not there before.
    pub created: bool,
    /// Of its files.
    pub digest: Digest,
    /// Of its files.
    pub bytes: u64,
}

/// A place for a file on its way in.
#[derive(Debug)]
pub struct Upload {
    path: PathBuf,
    _draft: Draft,
}

impl Upload {
    /// Where the file belongs.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Models {
    /// Opens the registry of a broker whose data folder is `data`, and removes files that no version has.
    ///
    /// # Errors
    /// [`ModelError::Storage`], [`ModelError::Event`], or [`ModelError::Commit`].
    pub async fn open(
        broker: &Broker,
        data: &Path,
        loader: Arc<dyn Loader>,
    ) -> Result<Self, ModelError> {
        let storage = |error: std::io::Error| ModelError::Storage { what: error.to_string() };
        let store = Store::open(data).map_err(storage)?;
        let topic: TopicName = TOPIC.parse().map_err(|error| CommitError::Invalid {
            detail: format!("the registry's topic: {error}"),
        })?;
        let models = Self {
            broker: broker.clone(),
            topic,
            store,
            loader,
            folded: Mutex::default(),
            changing: tokio::sync::Mutex::default(),
            loads: Loads::default(),
            variants: Loads::default(),
            load_timeout: LOAD_TIMEOUT,
            stopped: watch::Sender::new(false),
        };
        models.refresh().await?;
        let registry = models.registry();
        models.store.retain(|digest| registry.has_digest(digest)).map_err(storage)?;
        Ok(models)
    }

    /// The same with another limit for what a load may take: ten minutes unless it is said.
    #[must_use]
    pub const fn with_load_timeout(mut self, load_timeout: Duration) -> Self {
        self.load_timeout = load_timeout;
        self
    }

    /// Ends all waiting for loads, and the first runs of models. What hangs otherwise cannot be ended.
    pub fn stop(&self) {
        self.stopped.send_replace(true);
        self.loads.give_up();
        self.variants.give_up();
    }

    /// What a load gives, if that is in time and before the end.
    async fn in_time<T>(&self, load: impl Future<Output = T>) -> Result<T, ModelError> {
        let mut stopped = self.stopped.subscribe();
        let stopped = async move {
            let _gone = stopped.wait_for(|stopped| *stopped).await;
        };
        tokio::select! {
            biased;
            () = stopped => Err(CommitError::ShuttingDown.into()),
            loaded = tokio::time::timeout(self.load_timeout, load) => loaded.map_err(|_| {
                let limit = self.load_timeout;
                let what = format!(
                    "loading it and running it for the first time takes longer than {limit:?} (models.load_timeout)"
                );
                ModelError::Unusable { problems: vec![what] }
            }),
        }
    }

    /// What is registered now.
    #[must_use]
    pub fn registry(&self) -> Arc<Registry> {
        self.folded.lock().registry.clone()
    }

    /// What the registry was when the event of that offset, or all until that time, had happened.
    ///
    /// # Errors
    /// [`ModelError::NotYet`], [`ModelError::Storage`], [`ModelError::Event`].
    pub async fn registry_as_of(&self, as_of: AsOf) -> Result<Registry, ModelError> {
        let mut registry = Registry::default();
        let end = self
            .fold(Offset(0), |offset, time, event| {
                let counts = match as_of {
                    AsOf::Offset(last) => offset <= last,
                    AsOf::Time(last) => time <= last,
                };
                if counts {
                    registry.apply(offset, time, event);
                }
            })
            .await?;
        match as_of {
            AsOf::Offset(offset) if offset >= end => Err(ModelError::NotYet { offset, end }),
            _ => Ok(registry),
        }
    }

    /// Takes events into account that are committed and not known here: of a change whose caller went away behind the commit.
    pub(crate) async fn catch_up(&self) -> Result<(), ModelError> {
        let _one_at_a_time = self.changing.lock().await;
        self.refresh().await
    }

    /// Takes events into account that were not yet.
    async fn refresh(&self) -> Result<(), ModelError> {
        let Folded { registry, next } = self.folded.lock().clone();
        let mut registry = (*registry).clone();
        let end =
            self.fold(next, |offset, time, event| registry.apply(offset, time, event)).await?;
        if end > next {
            *self.folded.lock() = Folded { registry: Arc::new(registry), next: end };
        }
        Ok(())
    }

    /// Reads the events from `from` on. Where they end.
    async fn fold(
        &self,
        from: Offset,
        mut apply: impl FnMut(Offset, Timestamp, &Event),
    ) -> Result<Offset, ModelError> {
        let mut next = from;
        loop {
            let read =
                match self.broker.read(ReadRequest::new(&self.topic, From::Offset(next))).await {
                    Ok(read) => read,
                    // Nothing was ever registered.
                    Err(ReadError::TopicNotFound { .. }) => return Ok(next),
                    Err(error) => return Err(storage_error(&error)),
                };
            let records = read.records().map_err(|error| storage_error(&error))?;
            if records.is_empty() {
                return Ok(next);
            }
            for read in records {
                let offset = read.offset;
                match Event::of_record(&read.record) {
                    Ok(Some(event)) => apply(offset, read.append_time, &event),
                    Ok(None) => {}
                    Err(what) => return Err(ModelError::Event { offset: offset.0, what }),
                }
                next = Offset(offset.0 + 1);
            }
        }
    }

    /// Commits an event, if nothing has happened meanwhile.
    async fn say(&self, event: &Event) -> Result<(), ModelError> {
        let settings = TopicSettings { retention_age: None, ..TopicSettings::default() };
        self.broker.create_topic(&self.topic, settings).await?;
        let next = self.folded.lock().next;
        let time = embermq_protocol::time::Timestamp::from_micros(self.broker.now().0).to_string();
        let record = event.to_record(&next.0.to_string(), &time);
        let batch = Batch::of(std::slice::from_ref(&record));
        let mut commit = Commit::of_batch(&self.topic, PartitionId(0), batch);
        commit.preconditions.push(Precondition::NextOffset {
            topic: self.topic.clone(),
            partition: PartitionId(0),
            offset: next,
        });
        self.broker.commit(commit).await?;
        self.refresh().await
    }

    /// A place for a file on its way in; it is gone when this is dropped.
    ///
    /// # Errors
    /// What the system says.
    pub fn upload(&self) -> std::io::Result<Upload> {
        let draft = self.store.draft(OsEntropy.next_u64())?;
        Ok(Upload { path: draft.dir().join("sent"), _draft: draft })
    }

    /// Registers a version from a file that was sent: an ONNX file, or a tar archive of a bundle. It is loaded first; what cannot be
    /// run is not registered. The same files again change nothing.
    ///
    /// # Errors
    /// [`ModelError`]; nothing was registered then.
    pub async fn register(
        &self,
        model: &ModelName,
        version: &Version,
        sent: &Path,
        announced: Option<Digest>,
    ) -> Result<Registered, ModelError> {
        let storage = |error: std::io::Error| ModelError::Storage { what: error.to_string() };
        let draft = self.store.draft(OsEntropy.next_u64()).map_err(storage)?;
        let (dir, from) = (draft.dir().to_owned(), sent.to_owned());
        let (digest, bytes) = blocking(move || unpack(&from, &dir)).await??;
        if let Some(announced) = announced.filter(|announced| *announced != digest) {
            return Err(ModelError::DigestMismatch { announced, found: digest });
        }
        let identity = identity_of(model, version, &digest);
        let (loader, dir) = (Arc::clone(&self.loader), draft.dir().to_owned());
        let interest = Interest::default();
        let cancel = interest.mark();
        let tried = blocking(move || cancel.watch(|| loader.try_out(&dir, identity)));
        let tried = self.in_time(tried).await??;
        tried.map_err(|problems| ModelError::Unusable { problems })?;

        let _one_at_a_time = self.changing.lock().await;
        self.refresh().await?;
        let registry = self.registry();
        let alias = registry.model(model).is_some_and(|state| {
            state.aliases.keys().any(|alias| alias.as_str() == version.as_str())
        });
        let known = registry.version(model, version).ok();
        if known.is_none() && alias {
            return Err(name_taken(model, version.as_str(), "an alias"));
        }
        if let Some(known) = known {
            if known.digest == digest {
                // What was sent is whole, and what is there may not be any more.
                self.keep(draft, &digest).await?;
                return Ok(Registered { created: false, digest, bytes });
            }
            return Err(ModelError::VersionExists {
                model: model.clone(),
                version: version.clone(),
                existing: known.digest.clone(),
                found: digest,
            });
        }
        self.keep(draft, &digest).await?;
        let kind = EventKind::VersionRegistered {
            version: version.clone(),
            digest: digest.clone(),
            bytes,
        };
        self.say(&Event { model: model.clone(), kind }).await?;
        Ok(Registered { created: true, digest, bytes })
    }

    async fn keep(&self, draft: Draft, digest: &Digest) -> Result<(), ModelError> {
        let (store, digest) = (self.store.clone(), digest.clone());
        let kept = blocking(move || store.keep(draft, &digest)).await?;
        kept.map(|_| ()).map_err(|error| ModelError::Storage { what: error.to_string() })
    }

    /// Lets an alias mean a version.
    ///
    /// # Errors
    /// [`ModelError::NotFound`], [`ModelError::VersionNotFound`], [`ModelError::NameTaken`] by a version, or [`ModelError::Commit`].
    pub async fn set_alias(
        &self,
        model: &ModelName,
        alias: &Alias,
        version: &Version,
    ) -> Result<(), ModelError> {
        let _one_at_a_time = self.changing.lock().await;
        self.refresh().await?;
        let registry = self.registry();
        registry.version(model, version)?;
        let state = registry.model(model);
        if state.is_some_and(|state| state.aliases.get(alias) == Some(version)) {
            return Ok(());
        }
        let mut versions = state.into_iter().flat_map(|state| state.versions.keys());
        if versions.any(|version| version.as_str() == alias.as_str()) {
            return Err(name_taken(model, alias.as_str(), "a version"));
        }
        let kind = EventKind::AliasSet { alias: alias.clone(), version: version.clone() };
        self.say(&Event { model: model.clone(), kind }).await
    }

    /// Takes an alias away, unless `used_by` says who names it.
    ///
    /// # Errors
    /// [`ModelError::AliasNotFound`], [`ModelError::AliasInUse`], or [`ModelError::Commit`].
    pub async fn remove_alias(
        &self,
        model: &ModelName,
        alias: &Alias,
        used_by: impl Fn(&Alias) -> Option<String>,
    ) -> Result<(), ModelError> {
        let _one_at_a_time = self.changing.lock().await;
        self.refresh().await?;
        let registry = self.registry();
        let known = registry.model(model).filter(|state| state.aliases.contains_key(alias));
        let Some(known) = known else {
            return Err(ModelError::AliasNotFound { model: model.clone(), alias: alias.clone() });
        };
        // Where there is a version of that name, it is what they mean.
        let shadowed = known.versions.keys().any(|version| version.as_str() == alias.as_str());
        if !shadowed && let Some(by) = used_by(alias) {
            let (model, alias) = (model.clone(), alias.clone());
            return Err(ModelError::AliasInUse { model, alias, by });
        }
        let kind = EventKind::AliasRemoved { alias: alias.clone() };
        self.say(&Event { model: model.clone(), kind }).await
    }

    /// Deletes a version, unless `used_by` says who uses it, or an alias means it. Its files go when no other version has them.
    ///
    /// # Errors
    /// [`ModelError::NotFound`], [`ModelError::VersionNotFound`], [`ModelError::InUse`], [`ModelError::Meant`], or [`ModelError::Commit`].
    pub async fn delete(
        &self,
        model: &ModelName,
        version: &Version,
        used_by: impl Fn(&Version) -> Option<String>,
    ) -> Result<(), ModelError> {
        let _one_at_a_time = self.changing.lock().await;
        self.refresh().await?;
        let registry = self.registry();
        let known = registry.version(model, version)?;
        if let Some(by) = used_by(version) {
            let (model, version) = (model.clone(), version.clone());
            return Err(ModelError::InUse { model, version, by });
        }
        // Without the alias a plain name would mean another version, and nobody has said so.
        if let Some(by) = registry.meant_by(model, version) {
            let (model, version) = (model.clone(), version.clone());
            return Err(ModelError::Meant { model, version, by });
        }
        let kind = EventKind::VersionDeleted { version: version.clone() };
        self.say(&Event { model: model.clone(), kind }).await?;
        if !self.registry().has_digest(&known.digest)
            && let Err(error) = self.store.remove(&known.digest)
        {
            tracing::warn!(%error, digest = %known.digest, "the files of a model could not be removed; the next start removes them");
        }
        Ok(())
    }

    /// Notes that a stage uses a version from now on.
    ///
    /// # Errors
    /// [`ModelError::Commit`].
    pub async fn note_deployed(&self, stage: &str, identity: &Identity) -> Result<(), ModelError> {
        let _one_at_a_time = self.changing.lock().await;
        self.refresh().await?;
        let parsed = (identity.name.parse(), identity.version.parse(), identity.digest.parse());
        let (Ok(model), Ok(version), Ok(digest)) = parsed else { return Ok(()) };
        let kind = EventKind::Deployed { stage: stage.to_owned(), version, digest };
        self.say(&Event { model, kind }).await
    }

    /// The models that are loaded now.
    #[must_use]
    pub fn loaded(&self) -> Vec<LoadedModel> {
        let mut all = self.loads.loaded();
        all.sort_by(|a, b| {
            (&a.identity.name, &a.identity.version).cmp(&(&b.identity.name, &b.identity.version))
        });
        all
    }

    /// The model that a reference means now, loaded and warm. Loaded once, however many ask, as long as it is used; a load goes on when
    /// whoever asked for it goes away, or has waited for too long, until nobody has asked for as long as a load may take.
    ///
    /// # Errors
    /// [`ModelError::NotFound`], [`ModelError::Unmeant`], [`ModelError::Unusable`], [`CommitError::ShuttingDown`].
    pub async fn processor(&self, reference: &ModelRef) -> Result<Arc<dyn Processor>, ModelError> {
        self.load(reference).await.map(|(processor, _)| processor)
    }

    /// What runs, and the folder that it was loaded from.
    async fn load(
        &self,
        reference: &ModelRef,
    ) -> Result<(Arc<dyn Processor>, PathBuf), ModelError> {
        let registry = self.registry();
        let unmeant = || registry.unmeant(reference);
        let (version, state) = registry.resolve(reference).ok_or_else(unmeant)?;
        let key = (reference.name.clone(), version.clone(), state.digest.clone());
        let (loader, folder) = (Arc::clone(&self.loader), self.store.folder(&state.digest));
        let (store, files) = (self.store.clone(), folder.clone());
        let identity = identity_of(&reference.name, version, &state.digest);
        let load = move || {
            let damage = store.damage(&files);
            if damage.is_empty() { loader.load(&files, identity) } else { Err(damage) }
        };
        let loaded =
            self.in_time(self.loads.get(&self.broker, self.load_timeout, key, load)).await?;
        loaded
            .map(|processor| (processor, folder))
            .map_err(|problems| ModelError::Unusable { problems })
    }

    /// The same with overrides, which share what was loaded. Those who want the same ones share that, too.
    ///
    /// # Errors
    /// As [`processor`](Self::processor), and [`ModelError::Overrides`].
    pub async fn overridden(
        &self,
        reference: &ModelRef,
        overrides: &Overrides,
    ) -> Result<Arc<dyn Processor>, ModelError> {
        let (base, folder) = self.load(reference).await?;
        let Some(digest) = overrides.digest() else { return Ok(base) };
        let identity = Identity { overrides: Some(digest), ..base.identity().clone() };
        let model = format!("{}@{}", identity.name, identity.version);
        let (key, overrides) = (identity.clone(), overrides.clone());
        let store = self.store.clone();
        let make = move || {
            let made = base.overridden(&overrides, identity)?;
            // Labels and the like were read once more, long after the model was. What does not fit is tried again every few seconds, and
            // is no reason to read all files each time.
            let damage = store.damage(&folder);
            if damage.is_empty() { Ok(made) } else { Err(damage) }
        };
        let made =
            self.in_time(self.variants.get(&self.broker, self.load_timeout, key, make)).await?;
        made.map_err(|problems| ModelError::Overrides { model, problems })
    }
}

fn identity_of(model: &ModelName, version: &Version, digest: &Digest) -> Identity {
    let (name, version, digest) = (model.to_string(), version.to_string(), digest.to_string());
    Identity { name, version, digest, overrides: None }
}

fn name_taken(model: &ModelName, name: &str, is: &'static str) -> ModelError {
    ModelError::NameTaken { model: model.clone(), name: name.to_owned(), is }
}

fn storage_error(error: &dyn fmt::Display) -> ModelError {
    ModelError::Storage { what: format!("the registry's events cannot be read: {error}") }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ModelError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| ModelError::Unusable {
        problems: vec![format!("loading it panicked: {error}")],
    })
}
