//! The webhooks of a broker: which there are, kept in a topic, and running.
//!
//! The topic [`TOPIC`] holds each webhook by its name, its secrets sealed. A webhook that cannot run now (its topic was deleted,
//! its secret cannot be read) stays in the roster, says why, and is tried again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use embermq_protocol::names::GroupName;
use embermq_storage::entropy::OsEntropy;
use embermq_storage::{Entropy as _, Timestamp};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::address::PrivateNetworks;
use super::error::WebhookError;
use super::event;
use super::kept::Kept;
use super::outcome::{Outcome, text};
use super::post::Post;
use super::running::{Secrets, Start, Webhook};
use super::secret::Secret;
use super::settings::{WebhookConfig, WebhookSettings, group_of};
use super::status::{WebhookCounters, WebhookStatus};
use super::vault::Vault;
use crate::broker::Broker;
use crate::consume::{GroupTaken, LeftGroups};
use crate::error::CommitError;
use crate::register::Register;

/// The topic of webhooks.
pub(super) const TOPIC: &str = "_webhooks";
/// How often it is tried to start what could not be.
const RETRY: Duration = Duration::from_secs(5);
/// How long a host may take to be found when a webhook is put.
const CHECK_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a secret is used on when another one has taken its place.
const OVERLAP: Duration = Duration::from_secs(24 * 3_600);
/// Secrets that are used beside the newest one: each makes messages longer.
const PREVIOUS_MAX: usize = 4;

/// What the operator allows webhooks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WebhookOptions {
    /// Private networks that they may call.
    pub private_networks: PrivateNetworks,
    /// Certificates (PEM) that they trust beside those of the system.
    pub ca_file: Option<PathBuf>,
}

/// A webhook as it is shown.
#[derive(Clone, Debug, PartialEq)]
pub struct WebhookView {
    /// Its name.
    pub name: GroupName,
    /// Its group on its topic.
    pub group: GroupName,
    /// What it is to do.
    pub config: WebhookConfig,
    /// Until when the secret before is used too.
    pub previous_secret_until: Option<Timestamp>,
    /// How it is doing. `None`: it does not run.
    pub status: Option<WebhookStatus>,
    /// Why it does not run.
    pub trouble: Option<String>,
}

/// A webhook that was put, or was given another secret.
#[derive(Clone, Debug, PartialEq)]
pub struct WebhookPut {
    /// Whether it was made now.
    pub created: bool,
    /// The secret that was made for it: this is the only time that it is told.
    pub secret: Option<Secret>,
    /// The webhook as it was then: others may have changed it since.
    pub view: WebhookView,
}

/// What came of a test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookTest {
    /// The id of the message.
    pub id: String,
    /// What came of it.
    pub outcome: Outcome,
    /// The status of the answer, if there was one.
    pub status: Option<u16>,
    /// How the answer's body begins.
    pub body: Option<String>,
    /// What is wrong.
    pub error: Option<String>,
    /// How long it took.
    pub took: Duration,
}

/// The webhooks of a broker.
#[derive(Debug)]
pub struct Webhooks {
    broker: Broker,
    register: Register,
    vault: Vault,
    post: Post,
    entries: Mutex<BTreeMap<GroupName, Entry>>,
    left: Mutex<LeftGroups>,
    /// One change at a time. Whoever only looks does not wait for it.
    changing: tokio::sync::Mutex<Open>,
    notice: Arc<Notify>,
}

/// Whether webhooks may be started.
#[derive(Debug)]
struct Open(bool);

#[derive(Debug)]
struct Entry {
    kept: Kept,
    running: Option<Webhook>,
    trouble: Option<String>,
}

impl Webhooks {
    /// Reads the webhooks of a broker whose data folder is `data`. [`tend`](Self::tend) starts them.
    ///
    /// # Errors
    /// When they cannot be read, or the options cannot be followed.
    pub async fn open(
        broker: &Broker,
        data: &Path,
        options: &WebhookOptions,
    ) -> Result<Self, WebhookError> {
        let invalid = |what: String| WebhookError::Invalid { what };
        let post = Post::new(options.private_networks.clone(), options.ca_file.as_deref());
        let register = Register::new(broker, TOPIC)?;
        let mut entries = BTreeMap::new();
        for (name, document) in register.read().await.map_err(invalid)? {
            match serde_json::from_slice::<Kept>(&document) {
                Ok(kept) => {
                    entries.insert(name, Entry { kept, running: None, trouble: None });
                }
                Err(error) => {
                    tracing::error!(webhook = %name, %error, "the configuration of a webhook cannot be read; it does not run");
                }
            }
        }
        let mut left = LeftGroups::default();
        register.each(|record| left.take(&record)).await.map_err(invalid)?;
        Ok(Self {
            broker: broker.clone(),
            register,
            vault: Vault::open(data)?,
            post: post.map_err(invalid)?,
            entries: Mutex::new(entries),
            left: Mutex::new(left),
            changing: tokio::sync::Mutex::new(Open(true)),
            notice: Arc::default(),
        })
    }

    async fn keep(&self, name: &GroupName, kept: &Kept) -> Result<(), WebhookError> {
        let document = serde_json::to_vec(kept)
            .map_err(|error| WebhookError::Invalid { what: error.to_string() })?;
        Ok(self.register.keep(name, Some(document)).await?)
    }

    async fn start(&self, name: &GroupName, kept: &Kept) -> Result<Webhook, WebhookError> {
        let invalid = |what: String| WebhookError::Invalid { what };
        let start = Start {
            settings: kept.config.settings(name).map_err(invalid)?,
            secrets: kept.unseal(name.as_str(), &self.vault)?,
            paused: kept.config.paused,
            gone: kept.gone.clone(),
        };
        Ok(Webhook::start(&self.broker, &self.post, &self.notice, start).await?)
    }

    /// Whether a webhook could run as it is.
    async fn check(&self, settings: &WebhookSettings) -> Result<(), WebhookError> {
        let topic = &settings.topic;
        if topic.as_str() == TOPIC {
            let what = format!("topic {TOPIC} is where webhooks are kept; it is posted nowhere");
            return Err(WebhookError::Invalid { what });
        }
        if self.broker.topic(topic).is_none() {
            return Err(CommitError::TopicNotFound { topic: topic.clone() }.into());
        }
        self.post
            .check(&settings.target, CHECK_TIMEOUT)
            .await
            .map_err(|what| WebhookError::Forbidden { what: format!("url: {what}") })?;
        self.check_owner(settings)?;
        self.check_group(settings).await
    }

    /// Whether its group is this webhook's: one that it works, one that it has left, or none yet.
    fn check_owner(&self, settings: &WebhookSettings) -> Result<(), WebhookError> {
        let (name, topic, group) = (&settings.name, &settings.topic, &settings.group);
        let works = |entry: &Entry| entry.kept.config.topic == topic.as_str();
        if self.entries.lock().get(name).is_some_and(works) {
            return Ok(());
        }
        let Some(found) = self.broker.group_id(topic, group) else { return Ok(()) };
        if self.left.lock().of(name, topic) == Some(found) {
            return Ok(());
        }
        let (topic, group) = (topic.clone(), group.clone());
        Err(GroupTaken { topic, group, what: "a webhook" }.into())
    }

    /// Whether its group can be as it wants it: it is made when the webhook is kept, so that none is ever left that is nobody's.
    async fn check_group(&self, settings: &WebhookSettings) -> Result<(), WebhookError> {
        let (topic, group, wanted) = (&settings.topic, &settings.group, settings.group());
        wanted.dead_letter_topic(topic, group)?;
        wanted.to_core()?;
        let Ok(found) = self.broker.group(topic, group).await else { return Ok(()) };
        let (is, wanted) = (found.settings.ordering, wanted.ordering);
        if is == wanted {
            return Ok(());
        }
        let detail = format!(
            "its ordering is {} and cannot change, the webhook wants {}; give the webhook another name, or delete the group",
            is.name(),
            wanted.name()
        );
        let (topic, group) = (topic.clone(), group.clone());
        Err(CommitError::GroupExists { topic, group, detail }.into())
    }

    /// Notes which group a webhook leaves, so that it finds it again.
    async fn leave(&self, name: &GroupName, config: &WebhookConfig) -> Result<(), WebhookError> {
        let (Ok(topic), Ok(group)) = (config.topic.parse(), group_of(name)) else { return Ok(()) };
        let Some(group) = self.broker.group_id(&topic, &group) else { return Ok(()) };
        let note = LeftGroups::record(name, &topic, group);
        self.register.keep_record(note.clone()).await?;
        self.left.lock().take(&note);
        Ok(())
    }

    /// Makes a webhook, or changes one: what it has begun may end first. Without a secret one is made, or the one that is there stays;
    /// another one takes its place at once, and the old one is used beside it for a day. One that was disabled is enabled.
    ///
    /// # Errors
    /// [`WebhookError`]; nothing has changed then.
    pub async fn put(
        &self,
        name: &GroupName,
        mut config: WebhookConfig,
    ) -> Result<WebhookPut, WebhookError> {
        let given = config.secret.take();
        let settings = config.settings(name).map_err(|what| WebhookError::Invalid { what })?;
        let _one_at_a_time = self.begin_change().await?;
        self.check(&settings).await?;
        let known = self.kept(name).ok();
        if let Some((kept, true)) = &known
            && given.is_none()
            && kept.config == config
            && kept.gone.is_none()
        {
            return Ok(WebhookPut { created: false, secret: None, view: self.get(name)? });
        }
        let created = known.is_none();
        let (secrets, made) =
            self.secrets_for(name, known.as_ref().map(|(kept, _)| kept), given)?;
        let kept = Kept::seal(name.as_str(), config, &secrets, &self.vault)?;
        let other = |before: &Kept| before.config.topic != settings.topic.as_str();
        if let Some((before, _)) = known.filter(|(before, _)| other(before)) {
            self.leave(name, &before.config).await?;
        }
        self.replace(name, kept).await?;
        Ok(WebhookPut { created, secret: made, view: self.get(name)? })
    }

    /// Waits for the change before, if webhooks may still be started.
    async fn begin_change(&self) -> Result<tokio::sync::MutexGuard<'_, Open>, WebhookError> {
        let changing = self.changing.lock().await;
        if changing.0 { Ok(changing) } else { Err(CommitError::ShuttingDown.into()) }
    }

    /// What is kept of a webhook, and whether it runs.
    fn kept(&self, name: &GroupName) -> Result<(Kept, bool), WebhookError> {
        let entries = self.entries.lock();
        found(&entries, name).map(|entry| (entry.kept.clone(), entry.running.is_some()))
    }

    /// The secrets of a webhook that is put, and the one that was made for it.
    fn secrets_for(
        &self,
        name: &GroupName,
        known: Option<&Kept>,
        given: Option<Secret>,
    ) -> Result<(Secrets, Option<Secret>), WebhookError> {
        let secret = |what: String| WebhookError::Secret { what };
        let old = known.map(|kept| kept.unseal(name.as_str(), &self.vault)).transpose();
        match (old, given) {
            // What cannot be read cannot be used on.
            (Ok(None) | Err(_), Some(given)) => {
                Ok((Secrets { current: given, previous: Vec::new() }, None))
            }
            (Err(error), None) => Err(error.into()),
            (Ok(None), None) => {
                let made = Secret::generate().map_err(secret)?;
                Ok((Secrets { current: made.clone(), previous: Vec::new() }, Some(made)))
            }
            (Ok(Some(old)), None) => Ok((old, None)),
            (Ok(Some(old)), Some(given)) if given == old.current => Ok((old, None)),
            (Ok(Some(old)), Some(given)) => {
                let overlap = i64::try_from(OVERLAP.as_micros()).unwrap_or(i64::MAX);
                let now = self.broker.now();
                let until = Timestamp(now.0.saturating_add(overlap));
                // A receiver may have any of them that was valid until now.
                let before = old.previous.into_iter().filter(|(_, until)| now < *until);
                let previous = std::iter::once((old.current, until)).chain(before);
                let previous = previous.take(PREVIOUS_MAX).collect();
                Ok((Secrets { current: given, previous }, None))
            }
        }
    }

    /// Keeps a webhook and runs it in place of the one that is there.
    async fn replace(&self, name: &GroupName, kept: Kept) -> Result<(), WebhookError> {
        self.keep(name, &kept).await?;
        let entry = Entry { kept: kept.clone(), running: None, trouble: None };
        let old = self.entries.lock().insert(name.clone(), entry);
        stop(old).await;
        self.run(name, &kept).await;
        Ok(())
    }

    /// Starts a webhook that does not run.
    async fn run(&self, name: &GroupName, kept: &Kept) {
        let started = self.start(name, kept).await;
        let mut entries = self.entries.lock();
        let Some(entry) = entries.get_mut(name) else { return };
        match started {
            Ok(webhook) => (entry.running, entry.trouble) = (Some(webhook), None),
            Err(error) => {
                let trouble = error.to_string();
                if entry.trouble.as_ref() != Some(&trouble) {
                    tracing::error!(webhook = %name, error = %trouble, "a webhook does not run; it is tried again");
                }
                entry.trouble = Some(trouble);
            }
        }
    }

    /// Gives a webhook another secret, made here unless one is given. The old one is used beside it for a day.
    ///
    /// # Errors
    /// [`WebhookError`]; nothing has changed then.
    pub async fn rotate(
        &self,
        name: &GroupName,
        given: Option<Secret>,
    ) -> Result<WebhookPut, WebhookError> {
        let _one_at_a_time = self.begin_change().await?;
        let (kept, _) = self.kept(name)?;
        let (secret, made) = match given {
            Some(given) => (given, None),
            None => {
                let made = Secret::generate().map_err(|what| WebhookError::Secret { what })?;
                (made.clone(), Some(made))
            }
        };
        let (secrets, _) = self.secrets_for(name, Some(&kept), Some(secret))?;
        let sealed = Kept::seal(name.as_str(), kept.config, &secrets, &self.vault)?;
        self.replace(name, sealed.with_gone(kept.gone)).await?;
        Ok(WebhookPut { created: false, secret: made, view: self.get(name)? })
    }

    /// Removes a webhook: what it has begun may end. Its group stays, so that one of the same name goes on there.
    ///
    /// # Errors
    /// [`WebhookError::NotFound`], [`WebhookError::Commit`].
    pub async fn remove(&self, name: &GroupName) -> Result<(), WebhookError> {
        let _one_at_a_time = self.changing.lock().await;
        let (kept, _) = self.kept(name)?;
        self.leave(name, &kept.config).await?;
        self.register.keep(name, None).await?;
        let old = self.entries.lock().remove(name);
        stop(old).await;
        Ok(())
    }

    /// Pauses a webhook, or lets it go on, even if its receiver said that it was gone; gives it as it is then.
    ///
    /// # Errors
    /// [`WebhookError::NotFound`], [`WebhookError::Commit`].
    pub async fn set_paused(
        &self,
        name: &GroupName,
        paused: bool,
    ) -> Result<WebhookView, WebhookError> {
        let _one_at_a_time = self.changing.lock().await;
        let (old, _) = self.kept(name)?;
        let mut kept = old.clone();
        kept.config.paused = paused;
        if !paused {
            kept.gone = None;
        }
        if old != kept {
            self.keep(name, &kept).await?;
        }
        if let Some(entry) = self.entries.lock().get_mut(name) {
            entry.kept = kept;
            if let Some(webhook) = &entry.running {
                webhook.set_paused(paused);
                if !paused {
                    webhook.enable();
                }
            }
        }
        self.get(name)
    }

    /// Posts a message that says that it is a test, now, whatever state the webhook is in; no record is touched.
    ///
    /// # Errors
    /// [`WebhookError::NotFound`], [`WebhookError::Locked`]. That it did not get through is no error here.
    pub async fn test(&self, name: &GroupName) -> Result<WebhookTest, WebhookError> {
        let invalid = |what: String| WebhookError::Invalid { what };
        let (kept, _) = self.kept(name)?;
        let settings = kept.config.settings(name).map_err(invalid)?;
        let secrets = kept.unseal(name.as_str(), &self.vault)?;
        let (now, began) = (self.broker.now(), self.broker.elapsed());
        let message = event::test(name, OsEntropy.next_u64(), now);
        let (secrets, seconds) = (secrets.at(now), now.0.div_euclid(1_000_000));
        let attempt =
            self.post.send(&settings.target, &message, &secrets, seconds, settings.timeout).await;
        let outcome = Outcome::of(&attempt);
        let answer = attempt.as_ref().ok();
        Ok(WebhookTest {
            id: message.id,
            outcome,
            status: answer.map(|answer| answer.status.as_u16()),
            body: answer.map(|answer| answer.excerpt.clone()),
            error: (outcome != Outcome::Delivered).then(|| text(&attempt)),
            took: self.broker.elapsed().saturating_sub(began),
        })
    }

    /// All webhooks by name.
    pub fn list(&self) -> Vec<WebhookView> {
        let now = self.broker.now();
        self.entries.lock().iter().map(|(name, entry)| view(name, entry, now)).collect()
    }

    /// A webhook.
    ///
    /// # Errors
    /// [`WebhookError::NotFound`].
    pub fn get(&self, name: &GroupName) -> Result<WebhookView, WebhookError> {
        found(&self.entries.lock(), name).map(|entry| view(name, entry, self.broker.now()))
    }

    /// What those that run have counted, by name.
    pub fn counters(&self) -> Vec<(WebhookView, Arc<WebhookCounters>)> {
        let (entries, now) = (self.entries.lock(), self.broker.now());
        let running = entries.iter().filter_map(|(name, entry)| {
            Some((view(name, entry, now), entry.running.as_ref()?.counters()))
        });
        running.collect()
    }

    /// Notes which receivers are gone, so that their webhooks stay disabled after a restart.
    async fn note_gone(&self) {
        let gone_now = |(name, entry): (&GroupName, &Entry)| {
            let gone = entry.running.as_ref().and_then(Webhook::gone)?;
            let news = entry.kept.gone.as_ref() != Some(&gone);
            news.then(|| (name.clone(), entry.kept.clone().with_gone(Some(gone))))
        };
        let all: Vec<_> = self.entries.lock().iter().filter_map(gone_now).collect();
        for (name, kept) in all {
            match self.keep(&name, &kept).await {
                Ok(()) => {
                    if let Some(entry) = self.entries.lock().get_mut(&name) {
                        entry.kept = kept;
                    }
                }
                Err(error) => {
                    tracing::warn!(webhook = %name, %error, "that a webhook is disabled could not be kept; it is tried again");
                }
            }
        }
    }

    async fn start_missing(&self) {
        let idle = |(name, entry): (&GroupName, &Entry)| {
            entry.running.is_none().then(|| (name.clone(), entry.kept.clone()))
        };
        let all: Vec<_> = self.entries.lock().iter().filter_map(idle).collect();
        for (name, kept) in all {
            self.run(&name, &kept).await;
        }
    }

    /// Starts the webhooks, tries again what could not be started, and keeps which are disabled, for ever.
    pub async fn tend(&self) {
        while !self.broker.is_shutting_down() {
            let changing = self.changing.lock().await;
            if !changing.0 {
                return;
            }
            self.start_missing().await;
            self.note_gone().await;
            drop(changing);
            tokio::time::timeout(RETRY, self.notice.notified()).await.ok();
        }
    }

    /// Stops all of them for good, and keeps which are disabled: what they have begun may end.
    pub async fn stop(&self) {
        self.changing.lock().await.0 = false;
        self.note_gone().await;
        let running = |entry: &mut Entry| entry.running.take();
        let all: Vec<_> = self.entries.lock().values_mut().filter_map(running).collect();
        futures::future::join_all(all.into_iter().map(Webhook::stop)).await;
    }
}

async fn stop(entry: Option<Entry>) {
    if let Some(Entry { running: Some(webhook), .. }) = entry {
        webhook.stop().await;
    }
}

fn found<'a>(
    entries: &'a BTreeMap<GroupName, Entry>,
    name: &GroupName,
) -> Result<&'a Entry, WebhookError> {
    entries.get(name).ok_or_else(|| WebhookError::NotFound { webhook: name.clone() })
}

fn view(name: &GroupName, entry: &Entry, now: Timestamp) -> WebhookView {
    WebhookView {
        name: name.clone(),
        // A name whose group would be none was never put.
        group: group_of(name).unwrap_or_else(|_| name.clone()),
        config: entry.kept.config.clone(),
        previous_secret_until: entry.kept.previous_until().filter(|until| now < *until),
        status: entry.running.as_ref().map(Webhook::status),
        trouble: entry.trouble.clone(),
    }
}
