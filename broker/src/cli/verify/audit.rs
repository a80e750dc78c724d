//! The audit of a whole data folder: the log by itself, each snapshot by itself, the segments against the newest
//! readable snapshot, and the files of models against their checksums.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use embermq_storage::Position;
use embermq_storage::commit_log::{LogError, LogReport, verify_log};
use embermq_storage::disk::Disk;
use embermq_storage::snapshot::{self, SnapshotError, SnapshotStore};

use super::segments::{Known, check_segments};
use crate::models::sums;
use crate::state::State;

/// A place in a file, and what is wrong there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) file: PathBuf,
    /// From the start of the file; none when the whole file is meant.
    pub(super) byte: Option<u64>,
    pub(super) what: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.display();
        match self.byte {
            Some(byte) => write!(f, "{file} byte {byte}: {}", self.what),
            None => write!(f, "{file}: {}", self.what),
        }
    }
}

/// What was read.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pub(super) log_files: u64,
    pub(super) frames: u64,
    pub(super) payload_bytes: u64,
    pub(super) snapshots: u64,
    pub(super) snapshot_records: u64,
    pub(super) segments: u64,
    pub(super) batches: u64,
    pub(super) records: u64,
    pub(super) model_files: u64,
}

/// What an audit found.
#[derive(Clone, Debug, Default)]
pub(super) struct Audit {
    pub(super) tally: Tally,
    /// Was durable, and is not as it was written.
    pub(super) damage: Vec<Place>,
    /// Left by a crash; the next start writes it again from the log, or clears it away.
    pub(super) repairable: Vec<Place>,
}

/// Why an audit could not be finished.
#[derive(Debug, thiserror::Error)]
pub(super) enum AuditError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    #[error("cannot read {}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

/// Reads everything in the data folder `dir`.
pub(super) fn audit(disk: &Arc<dyn Disk>, dir: &Path) -> Result<Audit, AuditError> {
    let mut audit = Audit::default();
    let log = check_log(&**disk, &dir.join("log"), &mut audit)?;
    let known = check_snapshots(disk, &dir.join("snapshots"), &log, &mut audit)?;
    check_segments(&**disk, &dir.join("topics"), &known, &mut audit)?;
    check_models(&dir.join("models"), &mut audit)?;
    Ok(audit)
}

/// The files of each model against the list that lies beside them.
fn check_models(dir: &Path, audit: &mut Audit) -> Result<(), AuditError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        |source| AuditError::Io { path, source }
    };
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(failed(dir))?,
    };
    let mut folders = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed(dir))?;
        if entry.file_name().to_string_lossy().starts_with('.') {
            let what = "a model that was not registered to its end".to_owned();
            audit.repairable.push(Place { file: entry.path(), byte: None, what });
        } else {
            folders.push(entry.path());
        }
    }
    folders.sort_unstable();
    for folder in folders {
        let checked = sums::check(&folder).map_err(failed(&folder))?;
        audit.tally.model_files += checked.files;
        audit.damage.extend(checked.differing.into_iter().map(|differs| Place {
            file: folder.join(differs.file),
            byte: None,
            what: differs.what,
        }));
    }
    Ok(())
}

fn check_log(disk: &dyn Disk, dir: &Path, audit: &mut Audit) -> Result<LogReport, AuditError> {
    let log = verify_log(disk, dir)?;
    for file in &log.files {
        audit.tally.log_files += 1;
        audit.tally.frames += file.frames;
        audit.tally.payload_bytes += file.payload_bytes;
    }
    audit.damage.extend(log.damage.iter().map(|damage| {
        let next = damage.next_valid.map_or_else(
            || "nothing good behind it".to_owned(),
            |next| format!("good again from position {next}"),
        );
        Place {
            file: damage.file.clone(),
            byte: Some(damage.file_position),
            what: format!("position {}: {}; {next}", damage.position, damage.reason),
        }
    }));
    audit.repairable.extend(log.torn.iter().map(|torn| Place {
        file: torn.file.clone(),
        byte: Some(torn.file_position),
        what: format!(
            "position {}: {} bytes of a write that was cut off and never acknowledged",
            torn.position, torn.bytes
        ),
    }));
    Ok(log)
}

fn check_snapshots(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    log: &LogReport,
    audit: &mut Audit,
) -> Result<Known, AuditError> {
    let names = names_in(&**disk, dir)?;
    for name in &names {
        let file = dir.join(name);
        if name.ends_with(".tmp") {
            let what = "a snapshot that was not finished".to_owned();
            audit.repairable.push(Place { file, byte: None, what });
        } else if name.ends_with(".snap") {
            let report = snapshot::verify_file(&**disk, &file)?;
            audit.tally.snapshots += 1;
            audit.tally.snapshot_records += report.records;
            audit.damage.extend(report.damage.map(|damage| Place {
                file: damage.file,
                byte: Some(damage.file_position),
                what: damage.reason.to_string(),
            }));
        }
    }
    let known = if names.iter().any(|name| name.ends_with(".snap")) {
        newest_state(disk, dir, audit)?
    } else {
        Some(Known::default())
    };
    let Some(mut known) = known else {
        // Without a snapshot nothing says how far the segments were durable: all of it counts.
        return Ok(Known { everything_counts: true, ..Known::default() });
    };
    known.log_follows = known.position < log.end;
    check_continuity(&known, dir, log, audit);
    Ok(known)
}

/// The state and the segments that the newest readable snapshot knew; none when there is no readable one.
fn newest_state(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    audit: &mut Audit,
) -> Result<Option<Known>, AuditError> {
    let store = SnapshotStore::open(Arc::clone(disk), dir.to_path_buf())?;
    let mut snapshot = match store.newest() {
        Ok(Some(snapshot)) => snapshot,
        // When none can be read each of them was reported with its place already.
        Ok(None) | Err(SnapshotError::NoneReadable { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let position = snapshot.position();
    let mut known = Known { position, ..Known::default() };
    let mut state = State::default();
    while let Some(record) = snapshot.next_record()? {
        match state.load(record) {
            Ok(Some((topic, partition, manifest))) => {
                known.partitions.insert((topic.0, partition.0), manifest);
            }
            Ok(None) => {}
            Err(error) => {
                audit.damage.push(Place {
                    file: dir.join(format!("{position:020}.snap")),
                    byte: None,
                    what: error.to_string(),
                });
                return Ok(None);
            }
        }
    }
    Ok(Some(known))
}

/// The log must go on where the snapshot stands.
fn check_continuity(known: &Known, dir: &Path, log: &LogReport, audit: &mut Audit) {
    let Position(stands) = known.position;
    let mut gap = |what: String| {
        audit.damage.push(Place { file: dir.to_path_buf(), byte: None, what });
    };
    if log.start > known.position {
        gap(format!(
            "the newest readable snapshot stands at position {stands}, the log begins at {}: the commits between are missing",
            log.start
        ));
    }
    if log.end < known.position {
        gap(format!(
            "the newest readable snapshot stands at position {stands}, the log ends at {} already",
            log.end
        ));
    }
}

/// The names in a folder; none when it is not there.
pub(super) fn names_in(disk: &dyn Disk, dir: &Path) -> Result<Vec<String>, AuditError> {
    match disk.list(dir) {
        Ok(names) => Ok(names),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(source) => Err(AuditError::Io { path: dir.to_path_buf(), source }),
    }
}
