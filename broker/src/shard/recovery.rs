//! Opening a shard: the newest valid snapshot, then the frames behind it.
//!
//! Segments are derived data: the snapshot says how far each reached at its position, and replaying the log writes the
//! rest again. Damage in the log below the proven mark is never skipped in silence: the shard opens read-only, with
//! everything else readable, until the operator accepts the loss.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use embermq_storage::commit_log::{CommitLog, Damage, FileLog, Group, LogError, LogOptions, Next};
use embermq_storage::disk::{Disk, is_too_many_open};
use embermq_storage::partition::PartitionManifest;
use embermq_storage::segment::{SegmentError, SegmentOptions};
use embermq_storage::snapshot::{SnapshotError, SnapshotStore};
use embermq_storage::{Offset, Position, Timestamp};

use super::recent_keys::RecentKeys;
use super::snapshot::SnapshotFailed;
use super::{Shard, TopicSlot, compaction, evidence, slot_mut, topics_dir};
use crate::catalog::Catalog;
use crate::error::OpenError;
use crate::frame::{FrameHead, FrameMalformed};
use crate::metrics::Metrics;
use crate::options::Options;
use crate::shard::Place;
use crate::state::{Bounds, State};
use crate::topic::{Durability, PartitionId, TopicId};

/// The log is read, applied and written to the segments in pieces of this size.
const REPLAY_BYTES: usize = 8 << 20;

/// What a partition wrote last is taken to be in memory still, so that reading it needs no other thread. Small, since
/// there may be hundreds of partitions.
const HOT_BYTES: u64 = 8 << 20;

/// The most files of the log that are kept to be used again.
const SPARE_LOG_FILES_MAX: u64 = 8;

/// The first log file of an empty folder is small, so that the first start is quick.
const FIRST_LOG_FILE_BYTES: u64 = 4 << 20;

/// What opening a folder found.
#[derive(Clone, Debug, Default)]
pub struct RecoveryReport {
    /// The position of the snapshot that was used.
    pub snapshot: Option<Position>,
    /// Bytes of commit log behind it that were read and applied.
    pub replayed_bytes: u64,
    /// Commits that were applied.
    pub replayed_commits: u64,
    /// Bytes of an unfinished, never acknowledged write at the end of the log that were cleared away.
    pub torn_bytes: u64,
    /// How long it took.
    pub elapsed: Duration,
    /// What is damaged or missing: file, position and reason of each.
    pub damage: Vec<String>,
}

/// Why a shard cannot be opened.
#[derive(Debug, thiserror::Error)]
enum RecoveryError {
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Segment(#[from] SegmentError),
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    #[error("{} holds no file of the commit log, and there are topics; restore it from a copy", .0.display())]
    NoLog(PathBuf),
    #[error(transparent)]
    Kept(#[from] SnapshotFailed),
    #[error(
        "there is no readable snapshot, and the commit log in {} begins only at position {start}; {damage}restore the \
         folder from a copy", log_dir.display()
    )]
    NoSnapshot { log_dir: PathBuf, start: Position, damage: String },
    #[error("{0}; what: {1}")]
    Frame(FrameMalformed, String),
}

fn is_full(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::StorageFull || is_too_many_open(error)
}

impl RecoveryError {
    fn is_for_want_of_room(&self) -> bool {
        match self {
            Self::Log(error) => error.is_retryable(),
            Self::Segment(error) => error.is_retryable(),
            Self::Snapshot(SnapshotError::Io { source, .. }) => is_full(source),
            _ => false,
        }
    }
}

/// A state with the segments that a snapshot knew.
type Loaded = (State, BTreeMap<(TopicId, PartitionId), PartitionManifest>, Option<Position>);

impl Shard {
    /// Opens the shard in `place` and recovers it.
    pub(crate) fn open(
        place: Place,
        options: Options,
        catalog: Arc<Catalog>,
        metrics: Arc<Metrics>,
    ) -> Result<(Self, RecoveryReport), OpenError> {
        let dir = place.dir.clone();
        Self::recover(place, options, catalog, metrics).map_err(|error| match error {
            RecoveryError::Io(source) => OpenError::Io { dir, source },
            other if other.is_for_want_of_room() => {
                OpenError::NoRoom { dir, detail: other.to_string() }
            }
            other => OpenError::Damaged { dir, detail: other.to_string() },
        })
    }

    #[expect(clippy::too_many_lines, reason = "the steps of recovery, in their order")]
    fn recover(
        place: Place,
        options: Options,
        catalog: Arc<Catalog>,
        metrics: Arc<Metrics>,
    ) -> Result<(Self, RecoveryReport), RecoveryError> {
        let Place { disk, dir, mut entropy } = place;
        let mut report = RecoveryReport::default();
        let snapshots = SnapshotStore::open(Arc::clone(&disk), dir.join("snapshots"))?;
        let (state, manifests, snapshot) = load(&snapshots, &mut report)?;
        report.snapshot = snapshot;
        let from = snapshot.unwrap_or_default();
        let log_options = LogOptions {
            file_bytes: options.log_file_bytes,
            first_file_bytes: FIRST_LOG_FILE_BYTES.min(options.log_file_bytes),
            reserve_bytes: options.log_reserve_bytes,
            // As many as one snapshot sets free: under load each is needed again before the next.
            spare_files_max: SPARE_LOG_FILES_MAX
                .min(options.snapshot_log_bytes.div_ceil(options.log_file_bytes.max(1))),
        };
        let log_dir = dir.join("log");
        check_log_is_there(&*disk, &dir, snapshot)?;
        let (log, found) =
            FileLog::open(Arc::clone(&disk), log_dir.clone(), log_options, from, &mut *entropy)?;
        if snapshot.is_none() && log.start() > from {
            let damage = report.damage.iter().map(|damage| format!("{damage}; ")).collect();
            return Err(RecoveryError::NoSnapshot { log_dir, start: log.start(), damage });
        }
        report.replayed_bytes = log.end().0.saturating_sub(from.max(log.start()).0);
        report.torn_bytes = found.torn.as_ref().map_or(0, |torn| torn.bytes);
        // What lies wholly before the snapshot is reported, and nothing is missing for it.
        let matters = |damage: &&Damage| {
            damage.position >= from || damage.next_valid.is_some_and(|next| next > from)
        };
        let first_damage = found.damage.iter().find(matters).map(|damage| damage.position);
        report.damage.extend(found.damage.iter().map(Damage::to_string));
        let bounds = Bounds {
            idempotency: options.idempotency_window,
            producer: options.producer_window,
            schedules_max: options.schedules_max,
            idempotency_bytes_max: options.idempotency_bytes_max,
            producer_bytes_max: options.producer_bytes_max,
        };
        let read_only = first_damage.filter(|_| !options.accept_loss);
        let reached = if first_damage.is_none() {
            BTreeMap::new()
        } else {
            evidence::ends_in_segments(&*disk, &topics_dir(&dir), &manifests)?
        };
        let segment_options = SegmentOptions {
            keep_found: read_only.is_some(),
            segment_bytes: options.segment_bytes,
            hot_bytes: HOT_BYTES,
            ..SegmentOptions::default()
        };
        let mut shard = Self {
            disk,
            dir,
            entropy,
            segment_options,
            bounds,
            said: log.end(),
            log,
            state,
            slots: BTreeMap::<TopicId, TopicSlot>::new(),
            topics: crate::catalog::Topics::default(),
            topics_changed: true,
            catalog,
            metrics,
            group: Group::new(),
            spare_group: Group::new(),
            head: FrameHead::default(),
            scratch: Vec::new(),
            dirty: Vec::new(),
            taken: Vec::new(),
            closing: Vec::new(),
            jobs: std::collections::VecDeque::new(),
            snapshots: Arc::new(snapshots),
            snapshot_position: from,
            snapshot_running: false,
            unsnapped: 0,
            compaction: compaction::Progress::default(),
            // Segments that the replay has finished still want to be sealed.
            short_of_space: true,
            snapshot_refused: false,
            full: false,
            log_full: false,
            removals: Vec::new(),
            groups_staged: std::collections::BTreeSet::new(),
            groups_changed: std::collections::BTreeSet::new(),
            schedules_staged: std::collections::BTreeSet::new(),
            schedules_written: BTreeMap::new(),
            recent_keys: RecentKeys::default(),
            poison: None,
            read_only,
            options,
        };
        shard.groups_changed.extend(shard.state.groups().map(|group| group.id));
        if snapshot.is_some() {
            let ends = manifests.iter().map(|(place, manifest)| (*place, manifest.next()));
            shard.note_settled(ends.collect());
        }
        shard.open_known(manifests)?;
        shard.replay(from, &mut report)?;
        shard.unsnapped = report.replayed_commits;
        shard.show_all_schedules();
        shard.give_up_ends(&reached);
        shard.remove_leftovers(&mut report)?;
        shard.find_missing(&mut report);
        if first_damage.is_some() && shard.read_only.is_none() {
            shard.keep_given_up()?;
        }
        shard.publish(Durability::Fsync);
        Ok((shard, report))
    }

    fn open_known(
        &mut self,
        mut manifests: BTreeMap<(TopicId, PartitionId), PartitionManifest>,
    ) -> Result<(), RecoveryError> {
        let ids: Vec<TopicId> = self.state.topics().map(|topic| topic.id).collect();
        for id in ids {
            self.open_partitions(id, |partition| manifests.remove(&(id, partition)))?;
            self.show(id);
        }
        Ok(())
    }

    /// Applies every frame from `from` on, a piece of the log at a time.
    fn replay(&mut self, from: Position, report: &mut RecoveryReport) -> Result<(), RecoveryError> {
        // Where files are gone that the snapshot stood in, the log begins behind it: that was reported.
        let mut at = from.max(self.log.start());
        loop {
            let (frames, next) = self.read_frames(at)?;
            if frames.is_empty() && next == at {
                return Ok(());
            }
            at = next;
            for (position, payload) in frames {
                match self.replay_frame(position, payload) {
                    Ok(()) => report.replayed_commits += 1,
                    // Behind damage a frame may speak of what was lost with it.
                    Err(RecoveryError::Frame(error, what)) if !report.damage.is_empty() => {
                        report.damage.push(format!("{what} cannot be applied: {error}"));
                    }
                    Err(error) => return Err(error),
                }
            }
            self.write_replayed()?;
        }
    }

    /// The frames of the next piece of the log, and where it ends. What is damaged was reported already.
    fn read_frames(
        &self,
        at: Position,
    ) -> Result<(Vec<(Position, Bytes)>, Position), RecoveryError> {
        let (mut frames, mut end, mut bytes) = (Vec::new(), at, 0);
        let mut source = self.log.read(at)?;
        while bytes < REPLAY_BYTES {
            match source.next()? {
                Next::Frame { position, next, payload } => {
                    bytes += payload.len();
                    end = next;
                    frames.push((position, payload));
                }
                Next::Damage(damage) => end = damage.next_valid.unwrap_or_else(|| self.log.end()),
                Next::End => break,
            }
        }
        Ok((frames, end))
    }

    fn replay_frame(&mut self, position: Position, payload: Bytes) -> Result<(), RecoveryError> {
        let explain =
            |error| RecoveryError::Frame(error, format!("the frame at position {position}"));
        let (head, bodies) = FrameHead::decode(payload).map_err(explain)?;
        let effect = self.state.apply(&head, position).map_err(explain)?;
        let groups = self.state.apply_groups(&head).map_err(explain);
        let schedules = self.state.apply_schedules(&head).map_err(explain);
        self.note_groups(&head);
        self.note_schedules(&head);
        self.follow(effect)?;
        for (append, body) in head.appends.iter().zip(&bodies) {
            let (topic, partition) = (TopicId(append.topic), PartitionId(append.partition));
            self.give_up_before(topic, partition, Offset(append.base_offset))?;
            if let Some(slot) = slot_mut(&mut self.slots, topic, partition) {
                let bytes = append.batch_bytes() + super::BATCH_FRAMING_BYTES;
                slot.log.reserve(bytes, Timestamp(head.time_us), &mut *self.entropy)?;
            }
            let crc = crc32fast::hash(body);
            self.stage_batch(&head, append, body, crc);
        }
        groups.and(schedules)
    }

    /// Where damaged frames held records of this partition, their offsets are given up.
    fn give_up_before(
        &mut self,
        topic: TopicId,
        partition: PartitionId,
        base: Offset,
    ) -> Result<(), RecoveryError> {
        let slot = slot_mut(&mut self.slots, topic, partition);
        if slot.is_some_and(|slot| slot.log.next_offset() < base) {
            self.write_replayed()?;
            if let Some(slot) = slot_mut(&mut self.slots, topic, partition) {
                slot.log.lose(base);
            }
        }
        Ok(())
    }

    fn write_replayed(&mut self) -> Result<(), RecoveryError> {
        let mut writes = Vec::new();
        self.take_writes(&mut writes);
        for write in &writes {
            write.run()?;
        }
        for (topic, partition) in std::mem::take(&mut self.taken) {
            if let Some(slot) = slot_mut(&mut self.slots, topic, partition) {
                slot.log.publish();
            }
        }
        Ok(())
    }

    /// Gives up offsets that were certainly, or as the segments show probably, given out by frames that are lost.
    /// `reached`: how far each partition's segments went when the folder was found.
    fn give_up_ends(&mut self, reached: &BTreeMap<(TopicId, PartitionId), Offset>) {
        for (topic, slot) in &mut self.slots {
            for (number, slot) in (0..).zip(&mut slot.partitions) {
                let partition = PartitionId(number);
                if let Some(end) = reached.get(&(*topic, partition)) {
                    self.state.give_up(*topic, partition, *end);
                }
                let known =
                    self.state.topic(*topic).and_then(|t| t.partitions.get(number as usize));
                if let Some(known) = known {
                    slot.log.lose(known.next);
                }
            }
        }
    }

    /// Writes down at once, in a snapshot, which offsets were given up: frames that say so are lost, and the next
    /// opening could not tell any more.
    fn keep_given_up(&mut self) -> Result<(), RecoveryError> {
        let taken = self.snapshot_job().run()?;
        self.end_snapshot(Ok(taken));
        Ok(())
    }

    /// Removes folders of topics that are gone. Not where frames are lost: they may be what is left of a topic.
    fn remove_leftovers(&mut self, report: &mut RecoveryReport) -> Result<(), RecoveryError> {
        let topics_dir = topics_dir(&self.dir);
        self.disk.create_dir_all(&topics_dir)?;
        for name in self.disk.list(&topics_dir)? {
            let id = name.parse().map(TopicId);
            if id.is_ok_and(|id| self.state.topic(id).is_none()) {
                let path = topics_dir.join(name);
                if report.damage.is_empty() {
                    self.disk.remove_dir_all(&path)?;
                } else {
                    report.damage.push(format!("{} is of no topic that is known", path.display()));
                }
            }
        }
        Ok(())
    }

    fn find_missing(&self, report: &mut RecoveryReport) {
        for topic in self.state.topics() {
            let Some(slot) = self.slots.get(&topic.id) else { continue };
            for (number, slot) in slot.partitions.iter().enumerate() {
                for (first, next) in slot.log.missing() {
                    report.damage.push(format!(
                        "topic {} partition {number}: offsets {first} to {next} are lost",
                        topic.name
                    ));
                }
            }
        }
    }
}

/// A folder that has topics had a log, before the first of them was made.
fn check_log_is_there(
    disk: &dyn Disk,
    dir: &Path,
    snapshot: Option<Position>,
) -> Result<(), RecoveryError> {
    let log_dir = dir.join("log");
    let there = evidence::names(disk, &log_dir)?.iter().any(|name| name.ends_with(".log"));
    if !there && snapshot.is_none() && evidence::has_topics(disk, &topics_dir(dir))? {
        return Err(RecoveryError::NoLog(log_dir));
    }
    Ok(())
}

fn load(snapshots: &SnapshotStore, report: &mut RecoveryReport) -> Result<Loaded, RecoveryError> {
    let mut state = State::default();
    let mut manifests = BTreeMap::new();
    let newest = match snapshots.newest() {
        // Nothing is lost by it as long as the whole log is there, which the caller makes sure of.
        Err(SnapshotError::NoneReadable { damaged }) => {
            report.damage.extend(damaged.iter().map(ToString::to_string));
            None
        }
        newest => newest?,
    };
    let Some(mut snapshot) = newest else { return Ok((state, manifests, None)) };
    report.damage.extend(snapshot.damaged().iter().map(ToString::to_string));
    let position = snapshot.position();
    while let Some(record) = snapshot.next_record()? {
        let kept = state.load(record).map_err(|error| {
            RecoveryError::Frame(error, format!("the snapshot at position {position}"))
        })?;
        if let Some((topic, partition, manifest)) = kept {
            manifests.insert((topic, partition), manifest);
        }
    }
    Ok((state, manifests, Some(position)))
}
