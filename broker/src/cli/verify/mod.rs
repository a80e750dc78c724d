//! `embermq verify`: reads every frame, snapshot, segment and model of a data folder and says exactly what is wrong.
//!
//! Exit 0: nothing is. Exit 1: something that was durable is not as it was written; each place is named with its file
//! and byte. What a crash leaves and the next start repairs is shown, and is no failure.
//!
//! The folder must not be in use: a broker writes while it runs, and half a write looks like damage.

mod audit;
mod segments;

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use embermq_storage::disk::{Disk, RealDisk};
use embermq_storage::lock::FolderLock;
use serde_json::json;

use self::audit::{Audit, Place, audit};
use super::{Console, Exit, Failure, Global, Output};
use crate::config::show_bytes;

#[derive(Debug, Args)]
pub(super) struct Verify {
    /// The data folder
    #[arg(long, value_name = "DIR", default_value = "embermq-data")]
    data: PathBuf,
    /// The same as -o json
    #[arg(long)]
    json: bool,
}

impl Verify {
    pub(super) fn run(self, global: &Global, console: &mut Console) -> Result<(), Failure> {
        if !self.data.join("log").is_dir() {
            return Err(Failure::usage(format!(
                "{} is not a data folder: it has no folder `log`",
                self.data.display()
            )));
        }
        let _lock = FolderLock::take(&self.data).map_err(|error| {
            Failure::unavailable(format!(
                "{error} (a copy of the folder can be verified meanwhile)"
            ))
        })?;
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let audit = audit(&disk, &self.data).map_err(Failure::unavailable)?;
        if self.json || global.output == Output::Json {
            console.json(&as_json(&audit))?;
        } else {
            print(&audit, console)?;
        }
        if audit.damage.is_empty() { Ok(()) } else { Err(Failure::Silent(Exit::Damage)) }
    }
}

fn print(audit: &Audit, console: &mut Console) -> Result<(), Failure> {
    let tally = &audit.tally;
    console.line(format!(
        "commit log  {} in {}, {} of payload",
        counted(tally.frames, "frame"),
        counted(tally.log_files, "file"),
        show_bytes(tally.payload_bytes)
    ))?;
    console.line(format!(
        "snapshots   {} in {}",
        counted(tally.snapshot_records, "record"),
        counted(tally.snapshots, "file")
    ))?;
    console.line(format!(
        "segments    {} in {}, {}",
        counted(tally.records, "record"),
        counted(tally.batches, "batch"),
        counted(tally.segments, "file"),
    ))?;
    if tally.model_files > 0 {
        console.line(format!("models      {}", counted(tally.model_files, "file")))?;
    }
    for place in &audit.repairable {
        console.line(format!("repairable  {place}"))?;
    }
    for place in &audit.damage {
        console.line(format!("DAMAGED     {place}"))?;
    }
    console.line(match audit.damage.len() {
        0 => "everything that was durable is as it was written".to_owned(),
        1 => "1 damaged place".to_owned(),
        places => format!("{places} damaged places"),
    })?;
    Ok(())
}

fn counted(number: u64, noun: &str) -> String {
    match (number, noun) {
        (1, _) => format!("1 {noun}"),
        (_, "batch") => format!("{number} batches"),
        _ => format!("{number} {noun}s"),
    }
}

fn as_json(audit: &Audit) -> serde_json::Value {
    let places = |places: &[Place]| -> Vec<serde_json::Value> {
        let of = |place: &Place| {
            json!({
                "file": place.file.display().to_string(),
                "byte": place.byte,
                "what": place.what,
            })
        };
        places.iter().map(of).collect()
    };
    let tally = &audit.tally;
    json!({
        "ok": audit.damage.is_empty(),
        "log": {
            "files": tally.log_files,
            "frames": tally.frames,
            "payload_bytes": tally.payload_bytes,
        },
        "snapshots": { "files": tally.snapshots, "records": tally.snapshot_records },
        "segments": {
            "files": tally.segments,
            "batches": tally.batches,
            "records": tally.records,
        },
        "models": { "files": tally.model_files },
        "damage": places(&audit.damage),
        "repairable": places(&audit.repairable),
    })
}
