//! Damage, everywhere: a small data folder with one bit flipped, one file cut or one file gone, opened again.
//!
//! What must hold, whatever was hit:
//!
//! - opening works, or says which file is damaged where; it never panics;
//! - what is served has the bytes that were committed; what was proven durable and is not served is reported, and
//!   nothing else is lost than what was hit;
//! - damage in the log below the proven mark makes the shard read-only and changes no file that was found; accepting
//!   the loss makes it writable, and no offset is given twice, then or after later openings;
//! - damage above the proven mark costs the last unproven commits, as a suffix, and nothing else.
//!
//! Not covered, since nothing on disk shows it: a last log file that is gone as a whole.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use embermq_protocol::batch::decode_batches;
use embermq_protocol::names::TopicName;
use embermq_storage::commit_log::CommitLog;
use embermq_storage::disk::Disk;
use embermq_storage::disk::sim::{SeededEntropy, SimDisk};
use embermq_storage::segment::ReadError;
use embermq_storage::{Position, Timestamp};

use super::{CatalogRequest, Place, RecoveryReport, Shard};
use crate::catalog::Catalog;
use crate::commit::{Append, Batch, Commit};
use crate::error::{CommitError, OpenError};
use crate::metrics::Metrics;
use crate::options::Options;
use crate::record::Record;
use crate::topic::{Durability, PartitionId, TopicSettings};

const TOPICS: [(&str, u32); 2] = [("ash", 2), ("coal", 3)];
const LOG_HEAD_BYTES: u64 = 64;

/// Longer than any header of a segment here.
const SEGMENT_HEADER_BYTES_MAX: u64 = 160;

/// A partition.
type Home = (TopicName, u32);

/// One record of a commit: where it went, and its value.
type Put = (Home, u64, Bytes);

#[derive(Clone, Copy, Debug)]
struct Shape {
    /// Snapshots are taken and jobs are run.
    jobs: bool,
    /// The log proves its last group.
    proven: bool,
}

/// A data folder, and what was committed in it.
struct Folder {
    shape: Shape,
    disk: SimDisk,
    commits: Vec<(Range<u64>, Vec<Put>)>,
    /// Where each topic's creation lies in the log.
    creations: BTreeMap<TopicName, Range<u64>>,
    mark: u64,
}

/// What opening and reading a folder gave.
struct Found {
    served: BTreeMap<Home, BTreeMap<u64, Bytes>>,
    reported: BTreeMap<Home, Vec<Range<u64>>>,
    ends: BTreeMap<Home, u64>,
    report: RecoveryReport,
}

fn options(jobs: bool, accept_loss: bool) -> Options {
    Options {
        log_file_bytes: 1_100,
        log_reserve_bytes: 0,
        segment_bytes: 600,
        snapshot_log_bytes: if jobs { 500 } else { 1 << 30 },
        accept_loss,
        ..Options::default()
    }
}

fn open(
    disk: &SimDisk,
    options: Options,
) -> Result<(Shard, Arc<Catalog>, RecoveryReport), OpenError> {
    let place = Place {
        disk: Arc::new(disk.clone()),
        dir: PathBuf::from("/data"),
        entropy: Box::new(SeededEntropy::new(disk.operations() + 7)),
    };
    let (catalog, metrics) = (Arc::<Catalog>::default(), Arc::new(Metrics::default()));
    let (shard, report) = Shard::open(place, options, Arc::clone(&catalog), metrics)?;
    Ok((shard, catalog, report))
}

pub(super) fn finish_group(shard: &mut Shard) {
    let mut writes = Vec::new();
    shard.write().unwrap();
    shard.take_writes(&mut writes);
    writes.iter().for_each(|write| write.run().unwrap());
    shard.sync().unwrap();
    shard.publish(Durability::Fsync);
}

fn run_jobs(shard: &mut Shard, disk: &SimDisk) {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    while let Some(job) = shard.next_job() {
        let done = job.run(&disk);
        shard.done(done);
    }
}

fn name(topic: &str) -> TopicName {
    topic.parse().unwrap()
}

impl Folder {
    fn build(shape: Shape) -> Self {
        let disk = SimDisk::new(1);
        let (mut shard, _, _) = open(&disk, options(shape.jobs, false)).unwrap();
        let mut creations = BTreeMap::new();
        for (topic, partitions) in TOPICS {
            let settings = TopicSettings { partitions, ..TopicSettings::default() };
            let request = CatalogRequest::Create(name(topic), settings);
            let at = shard.log.end().0;
            assert!(shard.stage_catalog(&request, Timestamp(1)).unwrap());
            finish_group(&mut shard);
            creations.insert(name(topic), at..shard.log.end().0);
        }
        let (mut commits, mut mark) = (Vec::new(), 0);
        for group in 0..14_u64 {
            mark = shard.log.durable().0;
            for commit in 0..1 + group % 2 {
                commits.push(stage(&mut shard, group * 2 + commit));
            }
            finish_group(&mut shard);
            if shape.jobs {
                run_jobs(&mut shard, &disk);
            }
        }
        let end = shard.log.end().0;
        if shape.proven {
            assert!(shard.prove().unwrap());
            mark = end;
        }
        drop(shard);
        // A frame ends where the next begins, whatever lies between.
        let mut commits: Vec<(Range<u64>, Vec<Put>)> = commits;
        for at in 0..commits.len() {
            commits[at].0.end = commits.get(at + 1).map_or(end, |next| next.0.start);
        }
        Self { shape, disk: disk.copy(), commits, creations, mark }
    }

    fn files(&self, suffix: &str) -> Vec<(PathBuf, Vec<u8>)> {
        let files = self.disk.files().into_iter();
        let ours = files.filter(|path| path.to_string_lossy().ends_with(suffix));
        ours.map(|path| (path.clone(), self.disk.contents(&path).unwrap())).collect()
    }

    /// What may be lost when these bytes of the log are: positions of commits that cannot be applied without them.
    fn hit_by_log(&self, bytes: &Range<u64>) -> BTreeSet<u64> {
        let overlaps = |other: &Range<u64>| other.start < bytes.end && bytes.start < other.end;
        let gone: BTreeSet<&TopicName> =
            self.creations.iter().filter(|(_, at)| overlaps(at)).map(|(topic, _)| topic).collect();
        let commits = self.commits.iter().filter(|(at, puts)| {
            overlaps(at) || puts.iter().any(|((topic, _), _, _)| gone.contains(topic))
        });
        let mut hit: BTreeSet<u64> = commits.map(|(at, _)| at.start).collect();
        // Above the mark a bad place ends the log.
        if let Some(first) = hit.iter().copied().find(|at| *at >= self.mark) {
            hit.extend(self.commits.iter().map(|(at, _)| at.start).filter(|at| *at >= first));
        }
        hit
    }

    /// What may be lost with a file of a partition, or with the batch at one of its bytes: as many commits at most.
    fn hit_by_segment(&self, path: &Path) -> BTreeSet<u64> {
        let mut parts = path.iter().skip(3).map(|part| part.to_str().unwrap());
        let topic =
            name(TOPICS[parts.next().unwrap().parse::<usize>().unwrap() - self.first_topic()].0);
        let partition: u32 = parts.next().unwrap().parse().unwrap();
        let base: u64 = parts.next().unwrap()[..20].parse().unwrap();
        let here = |put: &Put| put.0 == (topic.clone(), partition) && put.1 >= base;
        let hit = self.commits.iter().filter(|(_, puts)| puts.iter().any(here));
        hit.map(|(at, _)| at.start).collect()
    }

    fn first_topic(&self) -> usize {
        let ids = self.disk.list(Path::new("/data/topics")).unwrap();
        ids.iter().map(|id| id.parse().unwrap()).min().unwrap()
    }

    /// Opens a damaged copy and holds what it serves against what was committed.
    fn check(&self, what: &str, disk: &SimDisk, hit: &BTreeSet<u64>) -> Option<Found> {
        let context = format!("{what}, {:?}", self.shape);
        let before = disk.copy();
        let opened = open(disk, options(self.shape.jobs, false));
        let (mut shard, catalog, report) = match opened {
            Ok(opened) => opened,
            Err(OpenError::Damaged { detail, .. }) => {
                assert!(detail.contains("/data/"), "{context}: {detail} names no file");
                return None;
            }
            Err(error) => panic!("{context}: {error}"),
        };
        let found = Found::read(&catalog, report, &context);
        self.compare(&context, &found, hit);
        if shard.health().1.is_some() {
            assert!(!found.report.damage.is_empty(), "{context}: read-only for nothing");
            Self::check_read_only(&context, &mut shard, (&before, disk));
        }
        Some(found)
    }

    fn compare(&self, context: &str, found: &Found, hit: &BTreeSet<u64>) {
        self.compare_up_to(u64::MAX, context, found, hit);
    }

    /// Holds what is served of the commits below `end` against them.
    fn compare_up_to(&self, end: u64, context: &str, found: &Found, hit: &BTreeSet<u64>) {
        let mut torn = false;
        for (at, puts) in self.commits.iter().filter(|(at, _)| at.start < end) {
            for (home, offset, value) in puts {
                if let Some(served) = found.served.get(home).and_then(|served| served.get(offset)) {
                    assert_eq!(served, value, "{context}: {home:?} offset {offset}");
                    assert!(!torn, "{context}: {home:?} offset {offset} lies behind the torn tail");
                    continue;
                }
                assert!(hit.contains(&at.start), "{context}: {home:?} offset {offset} was not hit");
                let told = found
                    .reported
                    .get(home)
                    .is_some_and(|lost| lost.iter().any(|range| range.contains(offset)));
                let damage = &found.report.damage;
                if at.start >= self.mark && damage.is_empty() && !told {
                    torn = true;
                    continue;
                }
                let gone = !found.ends.contains_key(home) && !damage.is_empty();
                assert!(told || gone, "{context}: {home:?} offset {offset} is lost: {damage:?}");
            }
        }
    }

    /// Nothing can be written, and whatever was there is there still.
    fn check_read_only(context: &str, shard: &mut Shard, disks: (&SimDisk, &SimDisk)) {
        let (before, after) = disks;
        let (topic, partition) = (name("ash"), PartitionId(0));
        let commit = Commit::of_batch(&topic, partition, Batch::of(&[Record::new("more")]));
        let refused = shard.stage(&commit, &crate::state::Endings::default(), Timestamp(9_000));
        assert!(matches!(refused, Err(CommitError::ReadOnly { .. })), "{context}: {refused:?}");
        assert!(!shard.prove().unwrap(), "{context}: proves a damaged log");
        run_jobs(shard, after);
        for path in before.files() {
            let bytes = before.contents(&path).unwrap();
            let extension = path.extension().and_then(|extension| extension.to_str());
            let kept = path.with_extension("seg.kept");
            let same = |path: &Path| after.contents(path).is_ok_and(|found| found == bytes);
            let left = match extension {
                Some("log" | "snap") => same(&path),
                Some("seg") => same(&path) || same(&kept),
                _ => true,
            };
            assert!(left, "{context}: {} was changed", path.display());
        }
    }

    /// Opens damaged copies with the loss accepted: at once, and after it was looked at read-only.
    fn check_accepted(&self, what: &str, disk: &SimDisk, hit: &BTreeSet<u64>) {
        self.check_written(&format!("{what}, accepted"), &disk.copy(), hit);
        if open(disk, options(self.shape.jobs, false)).is_ok() {
            self.check_written(&format!("{what}, accepted after a look"), disk, hit);
        }
    }

    /// Accepts the loss, writes on, and opens it again and again.
    fn check_written(&self, what: &str, disk: &SimDisk, hit: &BTreeSet<u64>) {
        let context = format!("{what}, {:?}", self.shape);
        let accepted = || open(disk, options(self.shape.jobs, true));
        // Once in vain: what that opening learned must not be lost when nothing is written behind it.
        let Ok((shard, ..)) = accepted() else { return };
        drop(shard);
        let (mut shard, catalog, report) = accepted().unwrap();
        let found = Found::read(&catalog, report, &context);
        self.compare(&context, &found, hit);
        let mut given = Vec::new();
        for home in found.ends.keys() {
            let batch = Batch::of(&[Record::new("more")]);
            let commit = Commit::of_batch(&home.0, PartitionId(home.1), batch);
            let committed =
                shard.stage(&commit, &crate::state::Endings::default(), Timestamp(9_000)).unwrap();
            let base = committed.appends[0].base_offset.0;
            let before = self.commits.iter().filter(|(at, _)| at.start < self.mark);
            let puts = before.flat_map(|(_, puts)| puts).filter(|put| put.0 == *home);
            let last = puts.map(|put| put.1).max().unwrap();
            assert!(base > last, "{context}: {home:?} offset {base} is given twice");
            given.push((home.clone(), base));
        }
        finish_group(&mut shard);
        for round in 0..4 {
            // First as after a kill, then twice behind a snapshot; in the end without accepting anything.
            if round > 0 {
                shard.close();
            }
            drop(shard);
            let reopened = open(disk, options(self.shape.jobs, round < 3));
            let (next, catalog, report) = reopened.unwrap_or_else(|e| panic!("{context}: {e}"));
            shard = next;
            let context = format!("{context}, opening {round}");
            assert_eq!(shard.health(), (None, None), "{context}: not writable");
            let again = Found::read(&catalog, report, &context);
            self.compare_up_to(self.mark, &context, &again, hit);
            for (home, base) in &given {
                let more = again.served.get(home).and_then(|served| served.get(base));
                assert_eq!(more, Some(&Bytes::from("more")), "{context}: {home:?} offset {base}");
            }
            for (home, lost) in &found.reported {
                assert_eq!(again.reported.get(home), Some(lost), "{context}: {home:?} forgets");
            }
        }
    }
}

fn stage(shard: &mut Shard, serial: u64) -> (Range<u64>, Vec<Put>) {
    let (mut commit, mut values) = (Commit::default(), Vec::new());
    for part in 0..1 + serial % 3 / 2 {
        let (topic, partitions) = TOPICS[usize::try_from((serial + part) % 2).unwrap()];
        let partition = PartitionId(u32::try_from(serial / 2).unwrap() % partitions);
        let records =
            (0..1 + serial % 2).map(|number| format!("{serial}.{part}.{number} of {topic}"));
        let records: Vec<Record> = records.map(Record::new).collect();
        values.push(records.iter().map(|record| record.value.clone().unwrap()).collect::<Vec<_>>());
        commit.appends.push(Append { topic: name(topic), partition, batch: Batch::of(&records) });
    }
    let committed = shard
        .stage(
            &commit,
            &crate::state::Endings::default(),
            Timestamp(i64::try_from(serial).unwrap() * 1_000),
        )
        .unwrap();
    let puts = committed.appends.iter().zip(values).flat_map(|(to, values)| {
        let home = (to.topic.clone(), to.partition.0);
        (to.base_offset.0..).zip(values).map(move |(offset, value)| (home.clone(), offset, value))
    });
    (committed.position.0..committed.position.0, puts.collect())
}

impl Found {
    fn read(catalog: &Catalog, report: RecoveryReport, context: &str) -> Self {
        let (mut served, mut reported, mut ends) =
            (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        for topic in catalog.all() {
            for (number, view) in (0..).zip(&topic.partitions) {
                let home = (topic.name.clone(), number);
                let (mut records, mut lost) = (BTreeMap::new(), Vec::new());
                let mut at = view.start();
                while at < view.end() {
                    match view.reader.read(at, 400) {
                        Ok(slice) => {
                            assert!(slice.next > at, "{context}: no progress at {at}");
                            for stored in decode_batches(slice.pieces, at.0) {
                                let stored = stored.unwrap();
                                records.insert(stored.offset, stored.record.value.unwrap());
                            }
                            at = slice.next;
                        }
                        Err(
                            ReadError::Damaged { first, next, .. }
                            | ReadError::Missing { first, next },
                        ) => {
                            assert!(
                                next > at && first < next,
                                "{context}: {first} to {next} at {at}"
                            );
                            lost.push(first.0..next.0);
                            at = next;
                        }
                        Err(error) => panic!("{context}: {home:?} at {at}: {error}"),
                    }
                }
                let both = records.keys().find(|at| lost.iter().any(|lost| lost.contains(at)));
                assert_eq!(both, None, "{context}: {home:?} is reported and served");
                assert_eq!(view.reader.end(), view.end());
                served.insert(home.clone(), records);
                reported.insert(home.clone(), lost);
                ends.insert(home, view.end().0);
            }
        }
        Self { served, reported, ends, report }
    }
}

fn folders() -> Vec<Folder> {
    let shapes = [(false, false), (false, true), (true, false), (true, true)];
    shapes.map(|(jobs, proven)| Folder::build(Shape { jobs, proven })).into()
}

fn first_of(path: &Path) -> u64 {
    path.file_stem().and_then(|stem| stem.to_str()).unwrap().parse().unwrap()
}

/// Where the bytes of a log's file end that say anything.
fn content_end(bytes: &[u8]) -> usize {
    let frames = &bytes[..bytes.len() - 64];
    frames.iter().rposition(|byte| *byte != 0).unwrap_or(0) + 1
}

#[test]
fn folders_are_what_they_should_be() {
    for folder in folders() {
        let found = folder.check("whole", &folder.disk.copy(), &BTreeSet::new()).unwrap();
        assert_eq!(found.report.damage, Vec::<String>::new());
        let lost: usize = found.reported.values().map(Vec::len).sum();
        assert_eq!(lost, 0);
        assert!(folder.files(".log").len() >= 2, "the log has rolled");
        assert!(folder.files(".seg").len() > 5, "segments have rolled");
        assert_eq!(folder.files(".snap").len(), if folder.shape.jobs { 2 } else { 0 });
        println!("{:?}: {:?}", folder.shape, folder.disk.files());
    }
}

#[test]
fn a_flipped_bit_in_the_log_is_reported_or_torn() {
    for (turn, folder) in folders().into_iter().enumerate() {
        for (path, bytes) in folder.files(".log") {
            let frames_end = content_end(&bytes);
            let tail = bytes.len() - 64;
            // Each byte of heads and frames in one of the four folders, and some of what was never used.
            let places = (0..bytes.len()).filter(|at| {
                let used = *at < frames_end + 40 || *at >= tail;
                if used { (at + turn).is_multiple_of(4) } else { at % 97 == 0 }
            });
            for at in places {
                let disk = folder.disk.copy();
                let position = (first_of(&path) + at as u64).saturating_sub(LOG_HEAD_BYTES);
                disk.flip_bit(&path, at as u64, u32::try_from(at * 5 % 8).unwrap()).unwrap();
                let hit = match at {
                    0..64 => BTreeSet::new(),
                    at if at >= tail => BTreeSet::new(),
                    _ => folder.hit_by_log(&(position..position + 1)),
                };
                let what = format!("bit in byte {at} of {}", path.display());
                let accepted = (at / 4).is_multiple_of(14).then(|| disk.copy());
                folder.check(&what, &disk, &hit);
                if let Some(disk) = accepted {
                    folder.check_accepted(&what, &disk, &hit);
                }
            }
        }
    }
}

#[test]
fn a_log_that_was_cut_is_reported() {
    for (turn, folder) in folders().into_iter().enumerate() {
        let files = folder.files(".log");
        for (path, bytes) in &files {
            let lengths =
                (0..bytes.len()).filter(|len| (len + turn).is_multiple_of(11) || *len < 8);
            for len in lengths {
                let disk = folder.disk.copy();
                disk.truncate(path, len as u64).unwrap();
                let first = first_of(path);
                let next = files.iter().map(|(path, _)| first_of(path)).find(|next| *next > first);
                let from = if len < 64 { 0 } else { len as u64 - LOG_HEAD_BYTES };
                let hit = folder.hit_by_log(&(first + from..next.unwrap_or(u64::MAX)));
                let what = format!("{} cut to {len}", path.display());
                let accepted = len.is_multiple_of(8).then(|| disk.copy());
                let found = folder.check(&what, &disk, &hit);
                if let Some(found) = found {
                    let snapshot = found.report.snapshot.unwrap_or_default().0;
                    let used = next.is_none_or(|next| next > snapshot);
                    assert!(!found.report.damage.is_empty() || !used, "{what}: not reported");
                }
                if let Some(disk) = accepted {
                    folder.check_accepted(&what, &disk, &hit);
                }
            }
        }
    }
}

#[test]
fn a_damaged_segment_costs_what_was_hit() {
    for (turn, folder) in folders().into_iter().enumerate() {
        for (path, bytes) in folder.files(".seg") {
            let all = folder.hit_by_segment(&path);
            for at in (0..bytes.len()).filter(|at| (at + turn).is_multiple_of(8)) {
                let disk = folder.disk.copy();
                disk.flip_bit(&path, at as u64, u32::try_from(at * 3 % 8).unwrap()).unwrap();
                let what = format!("bit in byte {at} of {}", path.display());
                let found = folder.check(&what, &disk, &all).expect("segments are derived");
                let lost: usize = found.reported.values().map(Vec::len).sum();
                assert!(lost <= 1 || (at as u64) < SEGMENT_HEADER_BYTES_MAX, "{what}: lost {lost}");

                let disk = folder.disk.copy();
                disk.truncate(&path, at as u64).unwrap();
                let what = format!("{} cut to {at}", path.display());
                folder.check(&what, &disk, &all).expect("segments are derived");
            }
        }
        for (path, bytes) in folder.files(".idx") {
            for at in 0..bytes.len() {
                let disk = folder.disk.copy();
                disk.flip_bit(&path, at as u64, u32::try_from(at % 8).unwrap()).unwrap();
                let what = format!("bit in byte {at} of {}", path.display());
                folder.check(&what, &disk, &BTreeSet::new()).expect("indexes are derived");
            }
        }
    }
}

#[test]
fn a_damaged_snapshot_falls_back_and_two_are_an_error() {
    for folder in folders().into_iter().filter(|folder| folder.shape.jobs) {
        let snapshots = folder.files(".snap");
        let [(older, _), (newest, bytes)] = snapshots.as_slice() else { panic!("two snapshots") };
        for at in 0..bytes.len() {
            let what = format!("byte {at} of {}", newest.display());
            for cut in [false, true] {
                let disk = folder.disk.copy();
                if cut {
                    disk.truncate(newest, at as u64).unwrap();
                } else {
                    disk.flip_bit(newest, at as u64, u32::try_from(at % 8).unwrap()).unwrap();
                }
                let both = (at % 7 == 0).then(|| disk.copy());
                let found = folder.check(&what, &disk, &BTreeSet::new()).expect("falls back");
                assert_eq!(found.report.snapshot, Some(Position(first_of(older))), "{what}");
                let named = |line: &String| line.contains(newest.to_str().unwrap());
                assert!(found.report.damage.iter().any(named), "{what}: {:?}", found.report.damage);
                if let Some(disk) = both {
                    disk.flip_bit(older, 40, 1).unwrap();
                    let detail = match open(&disk, options(true, false)) {
                        Err(OpenError::Damaged { detail, .. }) => detail,
                        other => panic!("{what}: {:?}", other.map(|_| ())),
                    };
                    assert!(named(&detail) && detail.contains("at byte"), "{detail}");
                }
            }
        }
    }
}

#[test]
fn a_file_that_is_gone_is_reported() {
    for folder in folders() {
        let logs = folder.files(".log");
        for (at, (path, _)) in logs.iter().enumerate() {
            let disk = folder.disk.copy();
            disk.remove(path).unwrap();
            let first = first_of(path);
            let Some((next, _)) = logs.get(at + 1) else { continue };
            let what = format!("{} gone", path.display());
            let hit = folder.hit_by_log(&(first..first_of(next)));
            let again = disk.copy();
            folder.check(&what, &disk, &hit);
            folder.check_accepted(&what, &again, &hit);
        }
        for (path, _) in folder.files(".seg") {
            let disk = folder.disk.copy();
            disk.remove(&path).unwrap();
            let what = format!("{} gone", path.display());
            let hit = folder.hit_by_segment(&path);
            let found = folder.check(&what, &disk, &hit).expect("segments are derived");
            let lost: usize = found.reported.values().map(Vec::len).sum();
            assert_eq!(lost == 0, found.report.damage.is_empty(), "{what}");
        }
        // Without a log, or without what the log begins behind, nothing may be swept away.
        let disk = folder.disk.copy();
        logs.iter().for_each(|(path, _)| disk.remove(path).unwrap());
        let segments = folder.files(".seg").len();
        match open(&disk, options(folder.shape.jobs, false)) {
            Ok((shard, _, report)) => {
                assert!(shard.health().1.is_some() && !report.damage.is_empty(), "no log");
            }
            Err(OpenError::Damaged { detail, .. }) => assert!(detail.contains("/data/log")),
            Err(error) => panic!("{error}"),
        }
        let disk_segments = |disk: &SimDisk| {
            disk.files().iter().filter(|path| path.to_string_lossy().contains(".seg")).count()
        };
        assert!(disk_segments(&disk) >= segments, "segments were swept away");
        let disk = folder.disk.copy();
        folder.files(".snap").iter().for_each(|(path, _)| disk.remove(path).unwrap());
        let all = folder.commits.iter().map(|(at, _)| at.start).collect();
        folder.check("no snapshots", &disk, &all);
        assert!(disk_segments(&disk) >= segments, "segments were swept away");
    }
}
