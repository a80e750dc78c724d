//! What the disk promises, on the operating system's files.

#![expect(
    clippy::cast_possible_truncation,
    reason = "the numbers of a test are small, or cut on purpose"
)]

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use super::*;

fn scratch() -> (tempfile::TempDir, Arc<dyn DiskFile>) {
    let folder = tempfile::tempdir().unwrap();
    let file = RealDisk.create(&folder.path().join("f")).unwrap();
    (folder, file)
}

fn read(file: &Arc<dyn DiskFile>, range: Range<u64>) -> Vec<u8> {
    let mut bytes = vec![0; (range.end - range.start) as usize];
    let count = file.read_at(range.start, &mut bytes).unwrap();
    bytes.truncate(count);
    bytes
}

#[test]
fn a_write_of_many_pieces_arrives_whole_and_in_order() {
    let (_folder, file) = scratch();
    let pieces: Vec<Vec<u8>> = (0..5000_usize).map(|n| vec![n as u8; n % 7]).collect();
    let mut slices = vec![IoSlice::new(&[]); 3000];
    slices.extend(pieces.iter().map(|piece| IoSlice::new(piece)));
    file.write_at(10, &slices).unwrap();
    file.sync_data().unwrap();
    let expected = pieces.concat();
    assert_eq!(read(&file, 10..100_000), expected);
    assert_eq!(file.len().unwrap(), 10 + expected.len() as u64);
    file.write_at(0, &[]).unwrap();
}

#[test]
fn allocation_grows_the_length_holds_blocks_and_reads_as_zero() {
    let (folder, file) = scratch();
    file.write_at(0, &[IoSlice::new(b"abc")]).unwrap();
    file.allocate(1 << 20).unwrap();
    file.allocate(10).unwrap();
    assert_eq!(file.len().unwrap(), 1 << 20);
    assert!(fs::metadata(folder.path().join("f")).unwrap().blocks() * 512 >= 1 << 20);
    assert_eq!(read(&file, 0..6), b"abc\0\0\0");
}

#[test]
fn a_failed_allocation_leaves_the_file_as_it_was() {
    let (_folder, file) = scratch();
    file.allocate(8192).unwrap();
    // More than any file system takes in one file.
    assert!(file.allocate(i64::MAX as u64).is_err());
    assert_eq!(file.len().unwrap(), 8192);
}

#[test]
fn zeroes_keep_their_neighbours_and_holes_take_whole_blocks_only() {
    let (_folder, file) = scratch();
    file.write_at(0, &[IoSlice::new(&[1; 20_000])]).unwrap();
    file.zero(10..20).unwrap();
    assert_eq!(read(&file, 9..21), [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    file.punch(4000..13_000).unwrap();
    let bytes = read(&file, 0..20_000);
    assert!(bytes[20..4096].iter().chain(&bytes[12_288..]).all(|byte| *byte == 1));
    assert!(bytes[4096..12_288].iter().all(|byte| *byte == 0));
    assert_eq!(bytes.len(), 20_000);
    file.punch(1..4000).unwrap();
    assert_eq!(read(&file, 1..2), [1]);
    file.write_back(0..20_000).unwrap();
}

#[test]
fn one_mapping_shows_a_file_that_grows_and_outlives_its_name() {
    let (folder, file) = scratch();
    let mapping = file.map(1 << 30).unwrap();
    assert!(mapping.populate(0..1).is_err());
    file.allocate(1 << 20).unwrap();
    file.write_at(5000, &[IoSlice::new(b"hello")]).unwrap();
    mapping.populate(0..1 << 20).unwrap();
    mapping.populate(5..5).unwrap();
    mapping.populate(5000..5005).unwrap();
    let bytes = Arc::clone(&mapping).bytes(5000..5005);
    RealDisk.remove(&folder.path().join("f")).unwrap();
    drop((mapping, file));
    assert_eq!(bytes, &b"hello"[..]);
    assert_eq!(bytes.slice(1..3), &b"el"[..]);
}

#[test]
#[should_panic(expected = "beyond the mapping")]
fn bytes_behind_the_end_of_a_file_are_refused_before_they_are_touched() {
    let (_folder, file) = scratch();
    let mapping = file.map(1 << 20).unwrap();
    file.allocate(4096).unwrap();
    let _bytes = mapping.bytes(4000..4097);
}

#[test]
fn files_are_private_and_links_are_not_followed() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("a/b");
    RealDisk.create_dir_all(&dir).unwrap();
    RealDisk.create_dir_all(&dir).unwrap();
    let file = dir.join("f");
    RealDisk.create(&file).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&folder.path().join("a")), mode(&dir), mode(&file)), (0o700, 0o700, 0o600));
    std::os::unix::fs::symlink(&file, dir.join("link")).unwrap();
    assert!(RealDisk.open(&dir.join("link")).is_err());
    assert_eq!(RealDisk.list(&dir).unwrap(), ["f", "link"]);
}

#[test]
fn errors_say_what_was_tried_where() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f");
    let missing = RealDisk.open(&path).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    assert!(missing.to_string().contains(&path.display().to_string()), "{missing}");
    RealDisk.create(&path).unwrap();
    assert_eq!(RealDisk.create(&path).unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!(RealDisk.list(&folder.path().join("no")).unwrap_err().kind(), ErrorKind::NotFound);
    assert!(RealDisk.free_bytes(folder.path()).unwrap() > 0);
    RealDisk.sync_dir(folder.path()).unwrap();
}
