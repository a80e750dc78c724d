//! A worker: leases records, runs a handler for each, and settles them.
//!
//! It leases when a handler could run and none waits, so that a slow worker holds no more than it asked for. What it
//! holds, waiting or running, it extends when half of the lease is over. A handler that fails or panics costs its record
//! an attempt and nothing else.
//!
//! In a group ordered by partition, the records of one partition in one batch are worked on one after the other (a
//! *lane*); when one has to be tried again, those behind it are released, so that it stays before them.

use std::{fmt, future::Future, pin::pin, sync::Arc, time::Duration};

use futures::future::{BoxFuture, FutureExt as _, OptionFuture};
use tokio::{
    sync::{Notify, watch},
    task::JoinSet,
};

use super::{ClientError, From, GroupClient, LeaseOptions, Leased};
use crate::{
    code::Code,
    limits::{LEASE_RECORDS_MAX, LEASE_WAIT_MAX},
    names::TopicName,
    v1::{Group, GroupSettings, Ordering},
};

mod keeper;
mod lane;
mod outcome;
mod report;
mod trouble;

use keeper::Keeper;
use lane::{Lane, Lanes};
pub use outcome::{Failed, Outputs};
pub use report::WorkReport;
use trouble::Listener;
pub use trouble::Trouble;

/// How long one look into a queue waits that is to be worked until it is empty: what is left may be others'.
const LAST_LOOKS: Duration = Duration::from_secs(1);
/// How long a lease lasts when a broker does not say.
const LEASE_DEFAULT: Duration = Duration::from_secs(30);

/// A handler, whatever its types are.
type Handler =
    Arc<dyn Fn(Leased) -> BoxFuture<'static, Result<Outputs, Failed>> + Send + Sync + 'static>;

/// A worker of a group, before it runs.
///
/// ```no_run
/// use std::time::Duration;
/// use embermq_protocol::{client::{Client, Failed}, v1::Record};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// # async fn resize(_: &[u8]) -> Result<Vec<u8>, std::io::Error> { Ok(Vec::new()) }
/// let resizers = Client::new("http://127.0.0.1:7400")?.topic("jobs")?.group("resizers")?;
/// let shutdown = tokio::time::sleep(Duration::from_secs(3600)); // or what a signal resolves
/// let report = resizers
///     .worker()
///     .concurrency(8)
///     .out("thumbnails")?
///     .run(
///         |lease| async move {
///             let Some(picture) = lease.record.value.as_deref() else {
///                 return Err(Failed::reject("a job without a picture"));
///             };
///             // An error is a nack; the record comes back as the group's backoff says.
///             let thumbnail = resize(picture).await?;
///             // Appended to `thumbnails` in the same commit as the ack: there is never one without the other.
///             Ok(Record::new(thumbnail))
///         },
///         shutdown,
///     )
///     .await?;
/// println!("{report}");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Worker {
    group: GroupClient,
    concurrency: usize,
    batch: Option<usize>,
    lease: Option<Duration>,
    member: String,
    out: Option<TopicName>,
    until_empty: bool,
    listener: Listener,
}

impl Worker {
    pub(crate) fn new(group: GroupClient) -> Self {
        Self {
            group,
            concurrency: 1,
            batch: None,
            lease: None,
            member: String::new(),
            out: None,
            until_empty: false,
            listener: Listener::default(),
        }
    }

    /// How many handlers run at a time. Default 1.
    #[must_use]
    pub fn concurrency(mut self, handlers: usize) -> Self {
        self.concurrency = handlers.max(1);
        self
    }

    /// How many records to lease at once, at most 1,000; those that cannot run yet wait here, out of others' reach.
    /// Default: as many as can run.
    #[must_use]
    pub fn batch(mut self, records: usize) -> Self {
        self.batch = Some(records.clamp(1, LEASE_RECORDS_MAX as usize));
        self
    }

    /// How long leases last, and by how much they are extended. Default: as the group says.
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = Some(lease);
        self
    }

    /// Who it is; with order by partition a partition stays with its member. Default: nobody in particular.
    #[must_use]
    pub fn member(mut self, member: impl Into<String>) -> Self {
        self.member = member.into();
        self
    }

    /// Where records go that a handler returns.
    ///
    /// # Errors
    /// [`ClientError::Name`] when no topic can have this name.
    pub fn out(mut self, topic: &str) -> Result<Self, ClientError> {
        self.out = Some(TopicName::new(topic)?);
        Ok(self)
    }

    /// Ends when nothing is left: no record of the group is open, but for those that others hold.
    #[must_use]
    pub fn until_empty(mut self) -> Self {
        self.until_empty = true;
        self
    }

    /// Who is told at once of what holds the worker up while it goes on. It should not block. Default: nobody.
    #[must_use]
    pub fn on_trouble(mut self, listen: impl Fn(Trouble) + Send + Sync + 'static) -> Self {
        self.listener = Listener::new(listen);
        self
    }

    /// Works until `shutdown` resolves. Then nothing more is leased, what runs is finished and settled, and what was not
    /// started is released. A group that is not there is made with default settings.
    ///
    /// The handler gets each record with its lease. It does not settle it: `Ok` is an ack, together with the records that
    /// it returns (see [`Outputs`]), an error is a nack, a rejection or a release (see [`Failed`]), and a panic is a nack.
    /// What the broker refuses for the moment (a full disk) is tried again for as long as the lease can be kept, and nothing
    /// is leased in its place; at the shutdown the record is given back.
    ///
    /// Handlers run as tasks of their own. Dropping this future stops them where they are; their leases then end by
    /// themselves.
    ///
    /// # Errors
    /// [`ClientError`], after what ran was finished: when leasing fails for good or for longer than the client's
    /// [`RetryPolicy`](super::RetryPolicy) allows, or when the topic, or that of [`Worker::out`], is not there.
    pub async fn run<H, F, O>(
        self,
        handler: H,
        shutdown: impl Future<Output = ()>,
    ) -> Result<WorkReport, ClientError>
    where
        H: Fn(Leased) -> F + Send + Sync + 'static,
        F: Future<Output = Result<O, Failed>> + Send + 'static,
        O: Into<Outputs>,
    {
        let handler = Arc::new(handler);
        let handler: Handler = Arc::new(move |lease| {
            let handler = Arc::clone(&handler);
            async move { handler(lease).await.map(Into::into) }.boxed()
        });
        if let Some(out) = &self.out {
            self.group.client.get_topic(out.as_str()).await?;
        }
        let group = self.existing().await?;
        let (stop, stopped) = watch::channel(false);
        let extension = self.extension(settings(&group));
        let shift = Shift {
            ordered: settings(&group).ordering() == Ordering::Partition,
            extension,
            keeper: Keeper::new(self.group.clone(), extension),
            worker: self,
            handler,
            stopped,
            waiting: Lanes::default(),
            running: JoinSet::new(),
            lane_ended: Arc::default(),
            report: WorkReport::default(),
        };
        shift.work(shutdown, &stop).await
    }

    async fn existing(&self) -> Result<Group, ClientError> {
        match self.group.get().await {
            Err(error) if error.code() == Some(Code::GroupNotFound) => {
                let made = self.group.create(GroupSettings::default(), From::Start).await?;
                Ok(made.group.unwrap_or_default())
            }
            other => other,
        }
    }

    fn extension(&self, settings: &GroupSettings) -> Duration {
        let of_group = settings.lease.and_then(|lease| Duration::try_from(lease).ok());
        self.lease.or(of_group).unwrap_or(LEASE_DEFAULT)
    }
}

fn settings(group: &Group) -> &GroupSettings {
    static DEFAULTS: std::sync::LazyLock<GroupSettings> =
        std::sync::LazyLock::new(GroupSettings::default);
    group.settings.as_ref().unwrap_or(&DEFAULTS)
}

/// A worker that runs.
struct Shift {
    worker: Worker,
    handler: Handler,
    ordered: bool,
    extension: Duration,
    stopped: watch::Receiver<bool>,
    /// Leased, but not started.
    waiting: Lanes,
    keeper: Keeper,
    running: JoinSet<WorkReport>,
    lane_ended: Arc<Notify>,
    report: WorkReport,
}

impl fmt::Debug for Shift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shift").field("worker", &self.worker).finish_non_exhaustive()
    }
}

/// What a look into the queue found.
enum Found {
    Leases(Vec<Leased>),
    /// Nothing is left.
    Empty,
}

impl Shift {
    async fn work(
        mut self,
        shutdown: impl Future<Output = ()>,
        stop: &watch::Sender<bool>,
    ) -> Result<WorkReport, ClientError> {
        let mut shutdown = pin!(shutdown.fuse());
        let mut looking: OptionFuture<BoxFuture<'static, _>> = None.into();
        let mut is_looking = false;
        let mut failure = None;
        loop {
            let stopping = *stop.borrow();
            self.start_lanes();
            if stopping && self.running.is_empty() {
                break;
            }
            let free = self.worker.concurrency.saturating_sub(self.running.len());
            if !stopping && !is_looking && self.waiting.is_empty() && free > 0 {
                looking = Some(self.look(free)).into();
                is_looking = true;
            }
            tokio::select! {
                // Also while it stops by itself: a shutdown may hurry what still runs.
                () = &mut shutdown => {
                    stop.send_replace(true);
                    (looking, is_looking) = (None.into(), false);
                    self.report += self.waiting.release(&self.worker.group).await;
                }
                Some(found) = &mut looking, if is_looking => {
                    (looking, is_looking) = (None.into(), false);
                    match found {
                        Ok(Found::Leases(leases)) => {
                            self.waiting.add(leases, self.ordered, self.extension);
                        }
                        Ok(Found::Empty) => { stop.send_replace(true); }
                        Err(error) => {
                            if !self.running.is_empty() {
                                self.worker.listener.tell(Trouble::NotLeasing(error.clone()));
                            }
                            failure = Some(error);
                            stop.send_replace(true);
                        }
                    }
                }
                Some(done) = self.running.join_next() => {
                    // A lane catches what its handlers do; it ends otherwise only with the runtime.
                    self.report += done.unwrap_or_default();
                    self.lane_ended.notify_one();
                }
                () = self.keeper.extend_next(self.waiting.kept()), if !self.waiting.is_empty() => {}
            }
        }
        failure.map_or(Ok(self.report), Err)
    }

    fn start_lanes(&mut self) {
        while self.running.len() < self.worker.concurrency
            && let Some(lane) = self.waiting.next()
        {
            let station = lane::Station {
                group: self.worker.group.clone(),
                handler: Arc::clone(&self.handler),
                out: self.worker.out.clone(),
                extension: self.extension,
                stopped: self.stopped.clone(),
                listener: self.worker.listener.clone(),
            };
            self.running.spawn(Lane::run(lane, station));
        }
    }

    /// Leases what can run. While nothing of ours is open, a worker that stops when all is done also asks about that.
    fn look(&self, free: usize) -> BoxFuture<'static, Result<Found, ClientError>> {
        let Worker { group, batch, lease, member, until_empty, .. } = self.worker.clone();
        let records = batch.unwrap_or(free).min(LEASE_RECORDS_MAX as usize);
        let max_records = u32::try_from(records).unwrap_or(LEASE_RECORDS_MAX);
        let idle = self.running.is_empty();
        let lane_ended = Arc::clone(&self.lane_ended);
        let wait = if until_empty { Duration::ZERO } else { LEASE_WAIT_MAX };
        async move {
            let options = LeaseOptions { max_records, wait, lease, member };
            let leases = group.lease(options.clone()).await?;
            if !until_empty || !leases.is_empty() {
                return Ok(Found::Leases(leases));
            }
            if !idle {
                // What runs may leave something, or nothing: look again when it has ended, and now and then before.
                let _either = tokio::time::timeout(LAST_LOOKS, lane_ended.notified()).await;
                return Ok(Found::Leases(leases));
            }
            let now = group.get().await?;
            if now.lag_records <= now.in_flight {
                return Ok(Found::Empty);
            }
            group.lease(LeaseOptions { wait: LAST_LOOKS, ..options }).await.map(Found::Leases)
        }
        .boxed()
    }
}
