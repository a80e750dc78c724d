//! The handle: everything that a program or an interface can ask of the broker.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use embermq_protocol::names::TopicName;
use embermq_storage::Timestamp;
use embermq_storage::disk::{Disk, RealDisk};
use embermq_storage::entropy::OsEntropy;
use embermq_storage::lock::FolderLock;
use parking_lot::Mutex;
#[cfg(feature = "server")]
use tokio::sync::futures::Notified;
use tokio::sync::oneshot;

use crate::baton::Baton;
use crate::catalog::Catalog;
use crate::clock::{Clock, SystemClock};
use crate::commit::{Commit, Committed};
use crate::committer::{Committer, Due, Request};
use crate::consume::{Desks, undertaker};
use crate::courier::Courier;
use crate::error::{CommitError, OpenError, ReadError};
use crate::keys::{ATTEMPTS_MAX, AnyWatched, KeyFacts, KeyShelf};
use crate::log_clock::LogClock;
use crate::metrics::Metrics;
use crate::options::Options;
use crate::queue::{Queue, Refused};
use crate::read::{Read, ReadRequest};
use crate::reader::Reading;
use crate::schedule::{Agendas, Deliverer};
use crate::shard::{CatalogRequest, Place, RecoveryReport, Shard};
use crate::state::{Endings, GroupRequest, Made};
use crate::status::{Status, StatusCell};
use crate::topic::{PartitionId, Topic, TopicEdit, TopicSettings};
use crate::workers::{Keeper, LogWriter, Standing};

/// How long a refused producer should wait.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// A broker over one data folder. Cheap to clone; the last clone that goes away does not shut it down in order:
/// call [`shutdown`](Self::shutdown) (what was acknowledged is safe either way).
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
/// # runtime.block_on(async {
/// use embermq::{Broker, Commit, From, Options, ReadRequest, Record, TopicSettings};
///
/// let broker = Broker::open(dir.path(), Options::default())?;
/// let photos: embermq::TopicName = "photos".parse()?;
/// broker.create_topic(&photos, TopicSettings::default()).await?;
///
/// let commit = Commit::of_record(&photos, &Record::new("a picture").with_key("cam-7"));
/// let committed = broker.commit(commit).await?; // on the device when this returns
/// assert_eq!(committed.appends[0].base_offset.0, 0);
///
/// let read = broker.read(ReadRequest::new(&photos, From::Start)).await?;
/// let records = read.records()?;
/// assert_eq!(records[0].record.value.as_deref(), Some(&b"a picture"[..]));
/// broker.shutdown().await;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Broker {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    queue: Arc<Queue<Request>>,
    baton: Arc<Baton>,
    catalog: Arc<Catalog>,
    clock: Arc<dyn Clock>,
    log_clock: Arc<LogClock>,
    metrics: Arc<Metrics>,
    status: Arc<StatusCell>,
    courier: Arc<Courier>,
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    options: Options,
    recovery: RecoveryReport,
    admitted_bytes: Arc<AtomicU64>,
    spread: AtomicU32,
    key_shelf: Arc<KeyShelf>,
    any_watched: AnyWatched,
    shutting_down: AtomicBool,
    committer: Mutex<Option<JoinHandle<()>>>,
    lock: Mutex<Option<FolderLock>>,
}

/// Bytes of a request that the broker has agreed to hold in memory; given back when this is dropped.
#[derive(Debug)]
pub struct Admission {
    bytes: u64,
    admitted_bytes: Arc<AtomicU64>,
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.admitted_bytes.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

impl Broker {
    /// Opens a data folder, creating it if it is missing, and recovers what it holds. Blocks while it does.
    ///
    /// # Errors
    /// [`OpenError`]: another process has the folder, the operating system refuses, or what is there is damaged in a
    /// way that leaves nothing to serve.
    pub fn open(dir: impl AsRef<Path>, options: Options) -> Result<Self, OpenError> {
        Self::open_by(dir.as_ref(), options, Arc::new(SystemClock::default()))
    }

    /// The same, by a clock of one's own.
    pub(crate) fn open_by(
        dir: &Path,
        options: Options,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, OpenError> {
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let dir = dir.to_path_buf();
        let io = |source: std::io::Error| OpenError::Io { dir: dir.clone(), source };
        disk.create_dir_all(&dir).map_err(io)?;
        let lock = FolderLock::take(&dir)?;
        let place = Place { disk, dir: dir.clone(), entropy: Box::new(OsEntropy) };
        let broker = Self::assemble(place, options, clock, Some(lock))?;
        broker.hire_committer().map_err(io)?;
        broker.hire_undertaker().map_err(io)?;
        broker.hire_deliverer().map_err(io)?;
        Ok(broker)
    }

    /// All of it but the threads that work it.
    pub(crate) fn assemble(
        place: Place,
        options: Options,
        clock: Arc<dyn Clock>,
        lock: Option<FolderLock>,
    ) -> Result<Self, OpenError> {
        let (disk, dir) = (Arc::clone(&place.disk), place.dir.clone());
        let io = |source: std::io::Error| OpenError::Io { dir: dir.clone(), source };
        let catalog = Arc::<Catalog>::default();
        let metrics = Arc::<Metrics>::default();
        let before = clock.elapsed();
        let (shard, mut recovery) =
            Shard::open(place, options.clone(), Arc::clone(&catalog), Arc::clone(&metrics))?;
        recovery.elapsed = clock.elapsed().saturating_sub(before);
        let last = shard.log_time();
        let log_clock = Arc::new(LogClock::new(Arc::clone(&clock), last));
        let queue = Arc::new(Queue::new());
        let status = Arc::<StatusCell>::default();
        let courier = Arc::new(Courier::new(Arc::clone(&metrics)));
        let keeper =
            |name, standing| Keeper::spawn(name, standing, Arc::clone(&disk), Arc::clone(&queue));
        let committer = Committer {
            shard,
            queue: Arc::clone(&queue),
            clock: Arc::clone(&clock),
            log_clock: Arc::clone(&log_clock),
            metrics: Arc::clone(&metrics),
            status: Arc::clone(&status),
            courier: Arc::clone(&courier),
            keeper: keeper("keeper", Standing::Equal).map_err(io)?,
            scribe: keeper("scribe", Standing::Behind).map_err(io)?,
            writer: LogWriter::spawn(Arc::clone(&queue)).map_err(io)?,
            arrived: VecDeque::new(),
            pending: Vec::new(),
            flight: None,
            syncing: None,
            grants_waiting: Arc::default(),
            idle: false,
            eager: false,
            borrowed: false,
            due: Due::new(&*clock, last, options.retention_interval),
            unsynced_since: None,
            retention_interval: options.retention_interval,
            os_sync_interval: options.os_sync_interval,
            os_unsynced_bytes_max: options.os_unsynced_bytes_max,
        };
        committer.report();
        let shared = Shared {
            queue,
            baton: Arc::new(Baton::new(committer)),
            catalog,
            clock,
            log_clock,
            metrics,
            status,
            courier,
            disk,
            dir,
            options,
            recovery,
            admitted_bytes: Arc::default(),
            spread: AtomicU32::new(0),
            key_shelf: Arc::default(),
            any_watched: AnyWatched::default(),
            shutting_down: AtomicBool::new(false),
            committer: Mutex::default(),
            lock: Mutex::new(lock),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    fn hire_committer(&self) -> std::io::Result<()> {
        let Shared { baton, queue, status, committer, .. } = &*self.shared;
        let thread = std::thread::Builder::new().name("committer".to_owned()).spawn({
            let (baton, queue, status) = (Arc::clone(baton), Arc::clone(queue), Arc::clone(status));
            move || baton.work(&queue, &status)
        })?;
        *committer.lock() = Some(thread);
        Ok(())
    }

    /// It does not keep the broker open.
    fn hire_undertaker(&self) -> std::io::Result<()> {
        let (shared, catalog) = (Arc::downgrade(&self.shared), Arc::clone(&self.shared.catalog));
        let clock = Arc::clone(&self.shared.log_clock);
        let thread = std::thread::Builder::new().name("undertaker".to_owned());
        let work = move || {
            while catalog.desks.alarm.sleep(|| clock.time()) {
                let Some(shared) = shared.upgrade() else { return };
                undertaker::bury(&Self { shared });
            }
        };
        thread.spawn(work).map(|_| ())
    }

    /// Nor does it.
    fn hire_deliverer(&self) -> std::io::Result<()> {
        let (shared, catalog) = (Arc::downgrade(&self.shared), Arc::clone(&self.shared.catalog));
        let clock = Arc::clone(&self.shared.log_clock);
        let thread = std::thread::Builder::new().name("deliverer".to_owned());
        let work = move || {
            let mut deliverer = Deliverer::default();
            while catalog.agendas.alarm.sleep(|| clock.time()) {
                let Some(shared) = shared.upgrade() else { return };
                deliverer.work(&Self { shared });
            }
        };
        thread.spawn(work).map(|_| ())
    }

    /// Creates a topic, or makes sure that it is there with these settings. True when it was created now.
    ///
    /// # Errors
    /// [`CommitError::TopicExists`] with other settings, [`CommitError::Invalid`] settings, or what can befall any commit.
    pub async fn create_topic(
        &self,
        name: &TopicName,
        settings: TopicSettings,
    ) -> Result<(Arc<Topic>, bool), CommitError> {
        let created = self.change(CatalogRequest::Create(name.clone(), settings)).await?;
        Ok((self.topic_after_change(name)?, created))
    }

    /// Changes the settings of a topic; what the edit leaves open stays.
    ///
    /// # Errors
    /// [`CommitError::TopicNotFound`], [`CommitError::Invalid`] settings, or what can befall any commit.
    pub async fn edit_topic(
        &self,
        name: &TopicName,
        edit: TopicEdit,
    ) -> Result<Arc<Topic>, CommitError> {
        self.change(CatalogRequest::Edit(name.clone(), edit)).await?;
        self.topic_after_change(name)
    }

    /// Deletes a topic with all its records. Works on a full disk too.
    ///
    /// # Errors
    /// [`CommitError::TopicNotFound`], or what can befall any commit.
    pub async fn delete_topic(&self, name: &TopicName) -> Result<(), CommitError> {
        self.change(CatalogRequest::Delete(name.clone())).await.map(|_| ())
    }

    fn topic_after_change(&self, name: &TopicName) -> Result<Arc<Topic>, CommitError> {
        self.topic(name).ok_or_else(|| CommitError::TopicNotFound { topic: name.clone() })
    }

    pub(crate) async fn change(&self, request: CatalogRequest) -> Result<bool, CommitError> {
        let (answer, answered) = oneshot::channel();
        self.push(Request::Catalog { request, answer }, 256)?;
        answered.await.unwrap_or(Err(CommitError::ShuttingDown))
    }

    /// The topic with this name.
    #[must_use]
    pub fn topic(&self, name: &TopicName) -> Option<Arc<Topic>> {
        self.shared.catalog.get(name)
    }

    /// Ready when topics have changed, from when it was enabled on.
    #[cfg(feature = "server")]
    pub(crate) fn topics_changed(&self) -> Notified<'_> {
        self.shared.catalog.changed()
    }

    /// All topics, by name.
    #[must_use]
    pub fn topics(&self) -> Vec<Arc<Topic>> {
        self.shared.catalog.all()
    }

    /// The partition for a record: by its key, so that a key's records stay in order; without a key, the next in turn.
    #[must_use]
    pub fn partition_for(&self, topic: &Topic, key: Option<&[u8]>) -> PartitionId {
        let partitions = topic.settings.partitions;
        PartitionId(match key {
            Some(key) => embermq_protocol::batch::partition_for_key(key, partitions),
            None => self.shared.spread.fetch_add(1, Ordering::Relaxed) % partitions.max(1),
        })
    }

    /// Asks for room in memory before the body of a request is read.
    ///
    /// # Errors
    /// [`CommitError::Overloaded`] when too much is held already.
    pub fn admit(&self, bytes: u64) -> Result<Admission, CommitError> {
        let limit_bytes = self.shared.options.admitted_bytes_max;
        let admitted_bytes = &self.shared.admitted_bytes;
        let before = admitted_bytes.fetch_add(bytes, Ordering::AcqRel);
        let admission = Admission { bytes, admitted_bytes: Arc::clone(admitted_bytes) };
        // A request alone is always let in: its own limit is checked elsewhere.
        if before > 0 && before.saturating_add(bytes) > limit_bytes {
            drop(admission);
            return Err(CommitError::Overloaded {
                waiting_bytes: before,
                limit_bytes,
                retry_after: RETRY_AFTER,
            });
        }
        Ok(admission)
    }

    /// Commits: all of it or nothing. Returns when it is as durable as its topics, or the commit, ask for.
    ///
    /// Dropping the future does not take the commit back.
    ///
    /// # Errors
    /// [`CommitError`]; nothing has taken effect then, with one exception: after [`CommitError::Poisoned`] the commit
    /// may or may not be there after a restart.
    pub async fn commit(&self, commit: Commit) -> Result<Committed, CommitError> {
        let endings = if commit.settlements.is_empty() {
            Endings::default()
        } else {
            self.endings_for(&commit).await?
        };
        self.ensure_stores(&commit).await?;
        if !commit.asks_for_keys() {
            let appended = self.append_keys(&commit);
            let keys = KeyFacts { appended, ..KeyFacts::default() };
            let answered = self.submit_with(commit, endings, keys)?;
            return answered.await.unwrap_or(Err(CommitError::ShuttingDown));
        }
        for _ in 0..ATTEMPTS_MAX {
            let keys = self.key_facts(&commit).await?;
            if let Some(refusal) = keys.refusal().filter(|_| !commit.may_be_repeat()) {
                return Err(refusal.clone());
            }
            let answered = self.submit_with(commit.clone(), endings.clone(), keys)?;
            match answered.await.unwrap_or(Err(CommitError::ShuttingDown)) {
                Err(CommitError::KeyContended) => {}
                answer => return answer,
            }
        }
        Err(CommitError::KeyContended)
    }

    /// [`commit`](Self::commit) for a thread that may block. A commit that comes alone is done in this thread, without a
    /// word to any other: for a program that commits one thing after the other this is the quickest way.
    ///
    /// # Errors
    /// As [`commit`](Self::commit).
    ///
    /// # Panics
    /// When it is called from an asynchronous task, which must not block.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    /// use embermq::{Broker, Commit, Options, Record, TopicName, TopicSettings};
    ///
    /// let broker = Broker::open(dir.path(), Options::default())?;
    /// let readings: TopicName = "readings".parse()?;
    /// runtime.block_on(broker.create_topic(&readings, TopicSettings::default()))?;
    ///
    /// let committed = broker.commit_blocking(Commit::of_record(&readings, &Record::new("21.5")))?;
    /// assert_eq!(committed.appends[0].base_offset.0, 0);
    /// # runtime.block_on(broker.shutdown());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn commit_blocking(&self, commit: Commit) -> Result<Committed, CommitError> {
        let endings = self.endings_of(&commit.settlements)?;
        self.ensure_letter_topics_blocking(&endings)?;
        self.ensure_stores_blocking(&commit)?;
        if !commit.asks_for_keys() {
            let appended = self.append_keys(&commit);
            return self.commit_now(commit, endings, KeyFacts { appended, ..KeyFacts::default() });
        }
        for _ in 0..ATTEMPTS_MAX {
            let keys = self.key_facts_blocking(&commit)?;
            if let Some(refusal) = keys.refusal().filter(|_| !commit.may_be_repeat()) {
                return Err(refusal.clone());
            }
            match self.commit_now(commit.clone(), endings.clone(), keys) {
                Err(CommitError::KeyContended) => {}
                answer => return answer,
            }
        }
        Err(CommitError::KeyContended)
    }

    /// In this thread, or in line behind others.
    fn commit_now(
        &self,
        commit: Commit,
        endings: Endings,
        keys: KeyFacts,
    ) -> Result<Committed, CommitError> {
        match self.shared.baton.commit_here(commit, endings, keys) {
            Ok(answer) => answer,
            Err(given_back) => {
                let (commit, endings, keys) = *given_back;
                let answered = self.submit_with(commit, endings, keys)?;
                answered.blocking_recv().unwrap_or(Err(CommitError::ShuttingDown))
            }
        }
    }

    /// Hands a commit over without waiting: commits of one caller take effect in the order in which they are submitted.
    /// Where it settles a lease in a way that may make a dead letter, the record is read first, and the dead-letter topic
    /// has to be there; so has the store of a topic for which it schedules something. Keys that it has preconditions on are
    /// looked up first too, once: when other writers come in between, the answer is [`CommitError::KeyContended`].
    ///
    /// # Errors
    /// [`CommitError::Overloaded`], [`CommitError::ShuttingDown`]; all others come through the receiver.
    pub fn submit(
        &self,
        commit: Commit,
    ) -> Result<oneshot::Receiver<Result<Committed, CommitError>>, CommitError> {
        let endings = self.endings_of(&commit.settlements)?;
        let keys = self.key_facts_blocking(&commit)?;
        self.submit_with(commit, endings, keys)
    }

    fn submit_with(
        &self,
        commit: Commit,
        endings: Endings,
        keys: KeyFacts,
    ) -> Result<oneshot::Receiver<Result<Committed, CommitError>>, CommitError> {
        let letters = endings.items.iter().filter_map(|ending| ending.letter.as_ref());
        let scheduled = commit.scheduled.iter().map(|scheduled| &scheduled.append);
        let appends = commit.appends.iter().chain(scheduled).chain(letters);
        let bytes = appends.map(|append| append.batch.body.len() as u64 + 128).sum::<u64>()
            + 128 * endings.items.len() as u64
            + 64 * commit.cancels.len() as u64;
        self.shared.courier.settle();
        let (answer, answered) = oneshot::channel();
        let arrived = self.shared.clock.elapsed();
        self.push(Request::Commit { commit, endings, keys, arrived, answer }, bytes)?;
        Ok(answered)
    }

    /// Asks something of a group.
    pub(crate) fn submit_group(
        &self,
        request: GroupRequest,
    ) -> Result<oneshot::Receiver<Result<Made, CommitError>>, CommitError> {
        self.shared.courier.settle();
        let (answer, answered) = oneshot::channel();
        let bytes = request.bytes();
        self.push(Request::Group { request, answer }, bytes)?;
        Ok(answered)
    }

    /// Asks for records of a group. Where the committer is not at work, they are granted in this thread: that takes some
    /// microseconds, and writes to memory only.
    pub(crate) fn submit_grant(
        &self,
        request: GroupRequest,
    ) -> Result<oneshot::Receiver<Result<Made, CommitError>>, CommitError> {
        match self.shared.baton.grant_here(request) {
            Ok(granted) => {
                let (answer, answered) = oneshot::channel();
                answer.send(granted).ok();
                Ok(answered)
            }
            Err(request) => self.shared.baton.queue_grant(|| self.submit_group(*request)),
        }
    }

    #[cfg(test)]
    pub(crate) fn baton(&self) -> &Baton {
        &self.shared.baton
    }

    pub(crate) fn key_shelf(&self) -> Arc<KeyShelf> {
        Arc::clone(&self.shared.key_shelf)
    }

    pub(crate) fn any_watched(&self) -> &AnyWatched {
        &self.shared.any_watched
    }

    /// The time for all that is about groups: that of the log, where the clock is behind it.
    pub(crate) fn group_time(&self) -> Timestamp {
        self.shared.log_clock.time()
    }

    pub(crate) fn desks(&self) -> &Desks {
        &self.shared.catalog.desks
    }

    pub(crate) fn agendas(&self) -> &Agendas {
        &self.shared.catalog.agendas
    }

    /// As [`create_topic`](Self::create_topic), for a thread that may block.
    pub(crate) fn create_topic_blocking(
        &self,
        name: &TopicName,
        settings: TopicSettings,
    ) -> Result<bool, CommitError> {
        self.change_blocking(CatalogRequest::Create(name.clone(), settings))
    }

    pub(crate) fn change_blocking(&self, request: CatalogRequest) -> Result<bool, CommitError> {
        let (answer, answered) = oneshot::channel();
        self.push(Request::Catalog { request, answer }, 256)?;
        answered.blocking_recv().unwrap_or(Err(CommitError::ShuttingDown))
    }

    fn push(&self, request: Request, bytes: u64) -> Result<(), CommitError> {
        let limit_bytes = self.shared.options.queue_bytes_max;
        self.shared.queue.push(request, bytes, limit_bytes).map_err(|refused| match refused {
            Refused::Full { waiting_bytes } => {
                CommitError::Overloaded { waiting_bytes, limit_bytes, retry_after: RETRY_AFTER }
            }
            Refused::Closed => CommitError::ShuttingDown,
        })
    }

    /// Reads one partition: whole batches, as slices of the segments. Waits up to `request.wait` when there is nothing
    /// to read yet.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn read(&self, request: ReadRequest) -> Result<Read, ReadError> {
        let topic = self
            .topic(&request.topic)
            .ok_or_else(|| ReadError::TopicNotFound { topic: request.topic.clone() })?;
        Reading::new(&topic, &request)?.run(|| self.is_shutting_down()).await
    }

    /// True once [`shutdown`](Self::shutdown) was called.
    #[must_use]
    pub fn is_shutting_down(&self) -> bool {
        self.shared.shutting_down.load(Ordering::Acquire)
    }

    /// How it is doing.
    #[must_use]
    pub fn status(&self) -> Status {
        let shard = self.shared.status.get();
        Status {
            poisoned: shard.poisoned,
            read_only: shard.read_only.map(|position| {
                format!("the commit log is damaged at position {position}; writes are refused")
            }),
            storage_full: shard.storage_full,
            shutting_down: self.is_shutting_down(),
            free_bytes: self.shared.disk.free_bytes(&self.shared.dir).unwrap_or(0),
            log_start: shard.log_start,
            log_durable: shard.log_durable,
            log_end: shard.log_end,
            idempotency_bytes: shard.idempotency_bytes,
            producer_bytes: shard.producer_bytes,
            recovery: self.shared.recovery.clone(),
        }
    }

    /// What the core counts.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    /// The time by the broker's clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    /// The time since some moment, by the broker's clock: it never goes back.
    pub(crate) fn elapsed(&self) -> Duration {
        self.shared.clock.elapsed()
    }

    /// The options that it was opened with.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.shared.options
    }

    /// Shuts down in order: takes nothing new, finishes what was taken, writes a snapshot, gives the folder free.
    /// Reads that wait are ended. Later calls wait for the same end.
    pub async fn shutdown(&self) {
        self.shared.shutting_down.store(true, Ordering::Release);
        for topic in self.topics() {
            for partition in &topic.partitions {
                partition.keys.stop();
                partition.grown.notify_waiters();
            }
        }
        for desk in self.desks().all() {
            desk.changed.notify_waiters();
        }
        self.desks().alarm.close();
        self.agendas().alarm.close();
        self.shared.queue.close();
        let shared = Arc::clone(&self.shared);
        let joined = tokio::task::spawn_blocking(move || {
            let mut committer = shared.committer.lock();
            if let Some(thread) = committer.take()
                && thread.join().is_err()
            {
                tracing::error!("the committer thread panicked");
            }
            drop(shared.lock.lock().take());
        });
        if joined.await.is_err() {
            tracing::error!("the shutdown was interrupted");
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.catalog.desks.alarm.close();
        self.catalog.agendas.alarm.close();
        self.queue.close();
        if let Some(thread) = self.committer.lock().take() {
            // The folder stays locked until nobody writes to it any more.
            thread.join().ok();
        }
    }
}
