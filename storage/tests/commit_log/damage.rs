//! Rot and cut files: reported exactly, or a torn tail; never a panic, never another payload.

use std::path::PathBuf;

use embermq_storage::Position;
use embermq_storage::commit_log::{CommitLog, Damage, DamageReason, verify_file, verify_log};
use embermq_storage::disk::sim::SimDisk;
use embermq_storage::disk::{Disk, RealDisk};

use crate::fixture::{
    DIR, Written, append, commit, log_files, open, open_clean, payload, prove, read, read_whole,
};

const HEAD: u64 = 64;

/// A log of three files whose last frame is a proof.
struct Sample {
    disk: SimDisk,
    frames: Vec<Written>,
    proof: Position,
    files: Vec<(PathBuf, u64)>,
}

impl Sample {
    fn new() -> Self {
        let disk = SimDisk::new(1);
        let mut log = open_clean(&disk);
        let mut frames = Vec::new();
        for n in 0..8 {
            frames.extend(commit(&mut log, &[payload(2 * n), payload(2 * n + 1)]));
        }
        let proof = log.end();
        prove(&mut log);
        let files: Vec<_> =
            log_files(&disk).into_iter().map(|path| (path.clone(), first_of(&path))).collect();
        assert_eq!(files.len(), 3);
        Self { disk, frames, proof, files }
    }

    /// The frame that holds a byte of the file that begins at `first`.
    fn frame_at(&self, first: u64, byte: u64) -> Option<&Written> {
        let position = Position((first + byte).checked_sub(HEAD)?);
        let holds = |frame: &&Written| frame.position <= position && position < frame.next;
        self.frames.iter().find(holds).filter(|frame| self.lies_in(first, frame))
    }

    fn lies_in(&self, first: u64, frame: &Written) -> bool {
        let end = self.files.iter().map(|file| file.1).find(|next| *next > first);
        frame.position.0 >= first && end.is_none_or(|end| frame.position.0 < end)
    }

    /// The frames that do not lie in the file that begins at `first`.
    fn without(&self, first: u64) -> Vec<Written> {
        self.frames.iter().filter(|frame| !self.lies_in(first, frame)).cloned().collect()
    }
}

fn first_of(path: &std::path::Path) -> u64 {
    path.file_stem().unwrap().to_str().unwrap().parse().unwrap()
}

/// What every log must still do, whatever happened to it: take frames, keep them, and say the same again.
fn goes_on(disk: &SimDisk, found: &[Damage]) {
    let (mut log, recovery) = open(disk);
    assert_eq!(recovery.damage, found, "damage stays reported");
    assert_eq!(recovery.torn, None, "a torn tail is gone once it was met");
    let written = commit(&mut log, &[payload(900), payload(901)]);
    let again = open(&disk.crash(5)).0;
    let (frames, _) = read(&again, written[0].position);
    assert_eq!(frames, written);
}

#[test]
fn every_flipped_bit_is_reported_exactly_or_is_a_torn_tail() {
    let sample = Sample::new();
    let mut reported = 0;
    for (path, first) in &sample.files {
        let len = sample.disk.contents(path).unwrap().len() as u64;
        for byte in 0..len {
            for bit in 0..8 {
                let disk = sample.disk.copy();
                disk.flip_bit(path, byte, bit).unwrap();
                reported += u64::from(flipped(&sample, &disk, path, *first, byte));
            }
        }
    }
    assert!(reported > 4_000, "{reported}");
}

/// Checks a log with a flipped bit. True when it was reported as damage.
fn flipped(sample: &Sample, disk: &SimDisk, path: &PathBuf, first: u64, byte: u64) -> bool {
    let context = format!("{} byte {byte}", path.display());
    let report = verify_log(disk, DIR.as_ref()).unwrap();
    let (log, recovery) = open(disk);
    assert_eq!(report.damage, recovery.damage, "{context}");
    assert_eq!(report.torn, recovery.torn, "{context}");
    assert_eq!(report.end, log.end(), "{context}");

    let (frames, holes) = read(&log, log.start());
    let hit = sample.frame_at(first, byte);
    let missing: Vec<_> = sample.frames.iter().filter(|f| !frames.contains(f)).collect();
    assert_eq!(frames.len() + missing.len(), sample.frames.len(), "{context}: an invented frame");

    match (&recovery.damage[..], &recovery.torn) {
        ([], None) => assert!(hit.is_none() && missing.is_empty(), "{context}: unnoticed"),
        ([], Some(torn)) => {
            let proof_byte = HEAD + sample.proof.0 - first;
            assert!(byte >= proof_byte && missing.is_empty(), "{context}: taken for a torn tail");
            assert!(torn.position >= sample.proof, "{context}");
        }
        ([damage], None) => {
            assert_eq!(&damage.file, path, "{context}");
            if damage.reason == DamageReason::OneHead {
                assert!(!(HEAD..512 - HEAD).contains(&byte), "{context}");
                assert_eq!((damage.file_position <= byte, missing.len()), (true, 0), "{context}");
            } else {
                let hit = hit.unwrap_or_else(|| panic!("{context}: {damage}"));
                assert_eq!(damage.position, hit.position, "{context}");
                assert_eq!(damage.file_position, HEAD + hit.position.0 - first, "{context}");
                assert_eq!(damage.next_valid, Some(hit.next), "{context}");
                let padding = damage.reason == DamageReason::Padding;
                assert_eq!(missing, if padding { vec![] } else { vec![hit] }, "{context}");
                let places =
                    |holes: &[Damage]| holes.iter().map(|h| (h.position, h.next_valid)).collect();
                let expected: Vec<_> = if padding { vec![] } else { places(&recovery.damage) };
                assert_eq!(places(&holes), expected, "{context}");
            }
        }
        other => panic!("{context}: {other:?}"),
    }
    if byte % 16 == 3 {
        goes_on(disk, &recovery.damage);
    }
    !recovery.damage.is_empty()
}

#[test]
fn a_file_cut_anywhere_is_reported_and_the_rest_is_read() {
    let sample = Sample::new();
    for (path, first) in &sample.files {
        for len in 0..512 {
            let context = format!("{} cut to {len}", path.display());
            let disk = sample.disk.copy();
            disk.truncate(path, len).unwrap();
            let report = verify_log(&disk, DIR.as_ref()).unwrap();
            let (log, recovery) = open(&disk);
            assert_eq!(recovery.damage, report.damage, "{context}");
            assert_eq!(recovery.torn, None, "{context}: no crash cuts a file");
            assert!(recovery.damage.iter().all(|damage| &damage.file == path), "{context}");
            assert_eq!(recovery.damage.len(), 1, "{context}");

            // Without its head no frame of the file can be checked.
            let kept = sample.frames.iter().filter(|frame| {
                let end = HEAD + frame.next.0.saturating_sub(*first);
                !sample.lies_in(*first, frame) || (len >= HEAD && len >= end)
            });
            let kept: Vec<_> = kept.cloned().collect();
            let (frames, _) = read(&log, log.start());
            assert_eq!(frames, kept, "{context}");
            assert!(log.end() > sample.proof, "{context}: positions are never used again");
            goes_on(&disk, &recovery.damage);
        }
    }
}

#[test]
fn the_last_write_torn_at_any_byte_is_cut_off() {
    let disk = SimDisk::new(1);
    let mut log = open_clean(&disk);
    let whole = commit(&mut log, &[payload(1), payload(2)]);
    let last = append(&mut log, &[payload(3)]).remove(0);
    let path = log_files(&disk).remove(0);
    let bytes = disk.contents(&path).unwrap();
    let (start, end) = (at(last.position), at(last.next));
    for front in [true, false] {
        for cut in start..=end {
            let mut torn = bytes.clone();
            if front {
                torn[cut..end].fill(0);
            } else {
                torn[start..cut].fill(0);
            }
            let is_whole = torn == bytes;
            let disk = SimDisk::new(2);
            disk.plant(&path, &torn).unwrap();
            let (mut log, recovery) = open(&disk);
            assert_eq!(recovery.damage, []);
            let mut expected = whole.clone();
            if is_whole {
                assert_eq!(recovery.torn, None);
                expected.push(last.clone());
            } else {
                let length = torn[start..end].iter().rposition(|b| *b != 0).map_or(0, |at| at + 1);
                let found = recovery.torn.as_ref().map_or(0, |torn| torn.bytes);
                assert_eq!(found, length.next_multiple_of(8) as u64);
            }
            assert_eq!(read_whole(&log), expected);
            expected.extend(commit(&mut log, &[payload(9)]));
            assert_eq!(read_whole(&open_clean(&disk.crash(1))), expected);
        }
    }
}

/// Where a position of the first file lies in it.
fn at(position: Position) -> usize {
    usize::try_from(HEAD + position.0).unwrap()
}

#[test]
fn good_frames_behind_an_unproven_hole_belong_to_the_torn_tail() {
    let disk = SimDisk::new(1);
    let mut log = open_clean(&disk);
    let mut whole = commit(&mut log, &[payload(1)]);
    let lost = append(&mut log, &[payload(2), payload(3), payload(4)]);
    let path = log_files(&disk).remove(0);
    disk.flip_bit(&path, at(lost[0].position) as u64 + 40, 1).unwrap();
    let (mut log, recovery) = open(&disk);
    let torn = recovery.torn.unwrap();
    assert_eq!((torn.position, recovery.damage), (lost[0].position, vec![]));
    assert_eq!(torn.bytes, lost[2].next.0 - lost[0].position.0);
    whole.extend(commit(&mut log, &[payload(2)]));
    assert_eq!(read_whole(&log), whole);
}

#[test]
fn a_frame_of_an_earlier_life_never_comes_back() {
    // Torn, recovered, then a frame of the same length as the torn one: what lay behind must not fit on to it.
    for seed in 0..200 {
        let disk = SimDisk::new(seed);
        let mut log = open_clean(&disk);
        let mut whole = commit(&mut log, &[payload(1)]);
        append(&mut log, &[[2; 40], [3; 40], [4; 40]]);
        let path = log_files(&disk).remove(0);
        disk.flip_bit(&path, at(whole[0].next) as u64 + 4, 0).unwrap();
        let disk = disk.crash(seed);
        let mut log = open(&disk).0;
        if read_whole(&log) != whole {
            continue;
        }
        whole.extend(commit(&mut log, &[[5; 40]]));
        assert_eq!(read_whole(&open_clean(&disk.crash(seed))), whole, "seed {seed}");
    }
}

#[test]
fn a_missing_file_is_damage() {
    let sample = Sample::new();
    for gone in 0..2 {
        let disk = sample.disk.copy();
        disk.remove(&sample.files[gone].0).unwrap();
        let (log, recovery) = open(&disk);
        let (from, to) = (sample.files[gone].1, sample.files[gone + 1].1);
        let damage = &recovery.damage[0];
        assert_eq!(damage.reason, DamageReason::Missing);
        assert_eq!((damage.position, damage.next_valid), (Position(from), Some(Position(to))));
        let (frames, _) = read(&log, log.start());
        assert_eq!(frames, sample.without(from));
        goes_on(&disk, &recovery.damage);
    }
    // The last one leaves no trace of itself, but a snapshot knows better.
    let disk = sample.disk.copy();
    sample.files.iter().for_each(|(path, _)| disk.remove(path).unwrap());
    let (log, recovery) =
        crate::fixture::try_open(&disk, &crate::fixture::OPTIONS, sample.proof).unwrap();
    assert_eq!(recovery.damage[0].position, sample.proof);
    assert_eq!(log.end(), sample.proof);
}

#[test]
fn noise_is_judged_without_a_panic() {
    let sample = Sample::new();
    let mut random = embermq_storage::disk::sim::SeededEntropy::new(5);
    for round in 0..500 {
        let disk = sample.disk.copy();
        for _ in 0..=round % 7 {
            let (path, _) = &sample.files[usize::try_from(random.below(3)).unwrap()];
            let mut bytes = disk.contents(path).unwrap();
            let from = usize::try_from(random.below(512)).unwrap();
            let to = from + usize::try_from(random.below(512 - from as u64)).unwrap();
            bytes[from..to].fill_with(|| u8::try_from(random.below(256)).unwrap());
            disk.plant(path, &bytes).unwrap();
        }
        let report = verify_log(&disk, DIR.as_ref()).unwrap();
        let (log, recovery) = open(&disk);
        assert_eq!(report.damage, recovery.damage);
        let (frames, _) = read(&log, log.start());
        assert!(frames.iter().all(|frame| sample.frames.contains(frame)));
        goes_on(&disk, &recovery.damage);
    }
}

#[test]
fn verify_changes_nothing_and_says_what_there_is() {
    let sample = Sample::new();
    let disk = sample.disk.copy();
    let report = verify_log(&disk, DIR.as_ref()).unwrap();
    assert_eq!(disk.changes(), 0);
    assert_eq!((report.start, report.proven), (Position(0), sample.proof));
    assert_eq!(report.files.iter().map(|file| file.frames).sum::<u64>(), 16);
    let (path, first) = &sample.files[0];
    let alone = verify_file(&disk, path).unwrap().unwrap();
    assert_eq!((alone.start, alone.damage.len()), (Position(*first), 0));
    assert!(verify_file(&disk, "log/LOCK".as_ref()).unwrap().is_none());
    assert!(verify_log(&RealDisk, "/nonexistent/log".as_ref()).is_err());
}
