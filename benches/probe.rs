//! The fastest thing that keeps the same promise: one file, one `pwrite` and one `fdatasync` per group.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// Bytes of the probe's file; it wraps around inside.
const FILE_BYTES: u64 = 64 << 20;

/// Group commits per second of `group_bytes` each, for `window`.
///
/// # Errors
/// What the file system says.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
pub fn group_commits_per_second(
    dir: &Path,
    group_bytes: usize,
    window: Duration,
) -> io::Result<f64> {
    let path = dir.join("probe");
    let file = zeroed(&path)?;
    let group = vec![0x5a; group_bytes];
    let (mut at, mut groups) = (0, 0_u32);
    let start = Instant::now();
    while start.elapsed() < window {
        file.write_all_at(&group, at)?;
        file.sync_data()?;
        groups += 1;
        at += group_bytes as u64;
        if at + group_bytes as u64 > FILE_BYTES {
            at = 0;
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    std::fs::remove_file(path)?;
    Ok(f64::from(groups) / seconds)
}

/// A file of zeroes, durable, as a commit log has it.
fn zeroed(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
    let zeroes = vec![0; 1 << 20];
    for at in (0..FILE_BYTES).step_by(zeroes.len()) {
        file.write_all_at(&zeroes, at)?;
    }
    file.sync_all()?;
    Ok(file)
}
