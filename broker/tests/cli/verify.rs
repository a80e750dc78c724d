//! `embermq verify` against folders that something happened to.

use std::fs;
use std::path::{Path, PathBuf};

use crate::binary::{Outcome, Server, run};

/// A folder with a few records, stopped in order.
fn stopped_folder(dir: &Path) {
    let server = Server::start(dir);
    server.run(dir, &["topic", "create", "t"]).expect_code(0);
    server.run(dir, &["produce", "t", "some record number {n}", "--count", "100"]).expect_code(0);
    assert_eq!(server.terminate(), Some(0));
}

/// The only file with this ending below `dir`.
fn file_with_ending(dir: &Path, ending: &str) -> PathBuf {
    let mut folders = vec![dir.to_path_buf()];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().ends_with(ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    found.pop().unwrap_or_else(|| panic!("no file *{ending}"))
}

fn verify(dir: &Path) -> Outcome {
    run(dir, &["verify", "--data", "data"])
}

fn flip(file: &Path, needle: &[u8]) -> usize {
    let mut bytes = fs::read(file).unwrap();
    let at = bytes.windows(needle.len()).position(|window| window == needle).unwrap();
    bytes[at] ^= 1;
    fs::write(file, bytes).unwrap();
    at
}

#[test]
fn a_good_folder_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    stopped_folder(folder.path());
    let outcome = verify(folder.path()).expect_code(0);
    assert!(outcome.stdout.contains("100 records in"), "{}", outcome.stdout);
    let json = run(folder.path(), &["verify", "--data", "data", "--json"]).expect_code(0);
    let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(json["ok"], true);
    assert_eq!(json["segments"]["records"], 100);
}

#[test]
fn a_flipped_bit_in_a_segment_is_named_with_its_offsets() {
    let folder = tempfile::tempdir().unwrap();
    stopped_folder(folder.path());
    let segment = file_with_ending(&folder.path().join("data"), ".seg");
    flip(&segment, b"number 42");
    let outcome = verify(folder.path()).expect_code(1);
    assert!(outcome.stdout.contains("DAMAGED"), "{}", outcome.stdout);
    assert!(outcome.stdout.contains(".seg byte "), "{}", outcome.stdout);
}

#[test]
fn a_model_whose_files_changed_is_named() {
    let folder = tempfile::tempdir().unwrap();
    stopped_folder(folder.path());
    let model = folder.path().join("data/models").join("ab".repeat(32));
    fs::create_dir_all(&model).unwrap();
    fs::write(model.join("model.onnx"), "onnx").unwrap();
    let sum = "0f0b8d4f3c8a0a3b1f0ce4bd0a3fdbf7a6ba1e8b6fc4ae4d7a9b9d9d0f0b8d4f";
    fs::write(model.join(".sha256sums"), format!("{sum}  model.onnx\n")).unwrap();
    let outcome = verify(folder.path()).expect_code(1);
    let expected = "model.onnx: it has the SHA-256 ";
    assert!(outcome.stdout.contains(expected), "{}", outcome.stdout);
    assert!(outcome.stdout.contains("models      1 file"), "{}", outcome.stdout);
}

#[test]
fn a_flipped_bit_in_the_log_is_named_with_its_position() {
    let folder = tempfile::tempdir().unwrap();
    stopped_folder(folder.path());
    let log = file_with_ending(&folder.path().join("data/log"), ".log");
    flip(&log, b"number 42");
    let outcome = verify(folder.path()).expect_code(1);
    assert!(outcome.stdout.contains(".log byte "), "{}", outcome.stdout);
    assert!(outcome.stdout.contains("position "), "{}", outcome.stdout);
}

#[test]
fn a_flipped_bit_in_a_snapshot_is_named() {
    let folder = tempfile::tempdir().unwrap();
    stopped_folder(folder.path());
    let snapshot = file_with_ending(&folder.path().join("data/snapshots"), ".snap");
    let mut bytes = fs::read(&snapshot).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 0x80;
    fs::write(&snapshot, bytes).unwrap();
    let outcome = verify(folder.path()).expect_code(1);
    assert!(outcome.stdout.contains(".snap byte "), "{}", outcome.stdout);
}

#[test]
fn a_missing_segment_is_named_with_its_offsets() {
    let folder = tempfile::tempdir().unwrap();
    stopped_folder(folder.path());
    let segment = file_with_ending(&folder.path().join("data"), ".seg");
    fs::remove_file(&segment).unwrap();
    let outcome = verify(folder.path()).expect_code(1);
    assert!(outcome.stdout.contains("offsets 0 to 100 is missing"), "{}", outcome.stdout);
}

#[test]
fn what_kill_nine_leaves_is_no_damage() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    server.run(folder.path(), &["topic", "create", "t"]).expect_code(0);
    server.run(folder.path(), &["produce", "t", "{n}", "--count", "1000"]).expect_code(0);
    server.kill();
    let outcome = verify(folder.path()).expect_code(0);
    assert!(outcome.stdout.contains("1000 records in"), "{}", outcome.stdout);
}
