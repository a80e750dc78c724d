//! A small log on a simulated disk: files so short that it rolls all the time.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use embermq_storage::Position;
use embermq_storage::commit_log::{
    CommitLog, Damage, FileLog, Group, LogError, LogOptions, LogRecovery, Next,
};
use embermq_storage::disk::sim::{SeededEntropy, SimDisk};

pub(crate) const DIR: &str = "log";

/// Frames of 8 bytes take 40, so nine of them fill a file.
pub(crate) const OPTIONS: LogOptions =
    LogOptions { file_bytes: 512, first_file_bytes: 512, reserve_bytes: 0, spare_files_max: 1 };

/// What one frame was, or should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) position: Position,
    pub(crate) next: Position,
    pub(crate) payload: Bytes,
}

pub(crate) fn try_open(
    disk: &SimDisk,
    options: &LogOptions,
    from: Position,
) -> Result<(FileLog, LogRecovery), LogError> {
    // Another epoch for each opening, the same ones in each run.
    let mut entropy = SeededEntropy::new(disk.operations() ^ 0x5EED);
    FileLog::open(Arc::new(disk.clone()), DIR.into(), options.clone(), from, &mut entropy)
}

pub(crate) fn open(disk: &SimDisk) -> (FileLog, LogRecovery) {
    try_open(disk, &OPTIONS, Position(0)).unwrap()
}

/// A log that recovers without a word.
pub(crate) fn open_clean(disk: &SimDisk) -> FileLog {
    let (log, recovery) = open(disk);
    assert_eq!((recovery.torn, recovery.damage), (None, Vec::new()));
    log
}

pub(crate) fn group<P: AsRef<[u8]>>(payloads: &[P]) -> Group {
    let mut group = Group::new();
    for payload in payloads {
        group.begin_frame();
        group.put(payload.as_ref());
        group.end_frame();
    }
    group
}

/// Where the frames of a group lie that begins at `start`.
pub(crate) fn placed<P: AsRef<[u8]>>(start: Position, payloads: &[P]) -> Vec<Written> {
    let mut position = start;
    let place = |payload: &P| {
        let payload = Bytes::copy_from_slice(payload.as_ref());
        let bytes = (32 + payload.len() as u64).next_multiple_of(8);
        let next = Position(position.0 + bytes);
        let written = Written { position, next, payload };
        position = next;
        written
    };
    payloads.iter().map(place).collect()
}

pub(crate) fn append<P: AsRef<[u8]>>(log: &mut FileLog, payloads: &[P]) -> Vec<Written> {
    let start = log.end();
    let end = log.append(start, &mut group(payloads)).unwrap();
    let written = placed(start, payloads);
    assert_eq!(written.last().map_or(start, |last| last.next), end);
    written
}

/// Appends and syncs.
pub(crate) fn commit<P: AsRef<[u8]>>(log: &mut FileLog, payloads: &[P]) -> Vec<Written> {
    let written = append(log, payloads);
    assert_eq!(log.sync().unwrap(), log.end());
    written
}

/// An empty frame, synced: it proves what lies before it.
pub(crate) fn prove(log: &mut FileLog) {
    commit(log, &[""]);
}

pub(crate) fn read(log: &FileLog, from: Position) -> (Vec<Written>, Vec<Damage>) {
    let mut source = log.read(from).unwrap();
    let (mut frames, mut damage) = (Vec::new(), Vec::new());
    loop {
        match source.next().unwrap() {
            Next::Frame { position, next, payload } => {
                frames.push(Written { position, next, payload });
            }
            Next::Damage(found) => damage.push(found),
            Next::End => return (frames, damage),
        }
    }
}

/// All frames of a log without holes.
pub(crate) fn read_whole(log: &FileLog) -> Vec<Written> {
    let (frames, damage) = read(log, log.start());
    assert_eq!(damage, Vec::new());
    frames
}

pub(crate) fn log_files(disk: &SimDisk) -> Vec<PathBuf> {
    disk.files().into_iter().filter(|path| path.extension().is_some_and(|e| e == "log")).collect()
}

/// Payload number `n`: all differ, also in length.
pub(crate) fn payload(n: u64) -> Vec<u8> {
    let len = 9 + usize::try_from(n * 7 % 23).unwrap();
    let mut payload = vec![u8::try_from(n % 251).unwrap(); len];
    payload[..8].copy_from_slice(&n.to_le_bytes());
    payload
}
