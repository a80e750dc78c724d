//! The fastest thing that keeps the same promise: one log, one `pwrite` and one `fdatasync` per group, nothing else.
//!
//! It keeps what it wrote, as a log must: it goes on from file to file and never writes over anything. The files are
//! made ahead of need, and the time that this takes counts, because a log that goes on for ever has to take it. There
//! are two ways to make them, and which one is faster depends on the size of the groups, so both are tried and the
//! better one counts:
//!
//! - written with zeroes: the syncs are cheaper, and every byte is written twice;
//! - only allocated: the other way round.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Bytes of a file, as the broker's log has them by default.
const FILE_BYTES: u64 = 64 << 20;

/// A log of raw groups that can be gone on with.
#[derive(Debug)]
pub struct Probe {
    dir: TempDir,
    group: Vec<u8>,
    ways: [Way; 2],
}

/// One way of making files.
#[derive(Debug)]
struct Way {
    name: &'static str,
    fill: fn(&File) -> io::Result<()>,
    file: Option<File>,
    files: u32,
    at: u64,
}

impl Probe {
    /// Groups of `group_bytes`, in files under `dir`.
    ///
    /// # Errors
    /// What the file system says.
    pub fn new(dir: &Path, group_bytes: usize) -> io::Result<Self> {
        let way = |name, fill| Way { name, fill, file: None, files: 0, at: FILE_BYTES };
        Ok(Self {
            dir: tempfile::tempdir_in(dir)?,
            group: vec![0x5a; group_bytes],
            ways: [way("zeroed", write_zeroes), way("allocated", allocate)],
        })
    }

    /// Group commits per second, each way for `window`.
    ///
    /// # Errors
    /// What the file system says.
    pub fn groups_per_second(&mut self, window: Duration) -> io::Result<[f64; 2]> {
        let [zeroed, allocated] = &mut self.ways;
        let zeroed = zeroed.run(self.dir.path(), &self.group, window)?;
        Ok([zeroed, allocated.run(self.dir.path(), &self.group, window)?])
    }
}

impl Way {
    #[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
    fn run(&mut self, dir: &Path, group: &[u8], window: Duration) -> io::Result<f64> {
        let mut groups = 0_u32;
        let start = Instant::now();
        while start.elapsed() < window {
            let file = match self.file.take().filter(|_| self.at + group.len() as u64 <= FILE_BYTES)
            {
                Some(file) => file,
                None => self.next_file(dir)?,
            };
            file.write_all_at(group, self.at)?;
            file.sync_data()?;
            self.at += group.len() as u64;
            self.file = Some(file);
            groups += 1;
        }
        Ok(f64::from(groups) / start.elapsed().as_secs_f64())
    }

    fn next_file(&mut self, dir: &Path) -> io::Result<File> {
        let path = dir.join(format!("{}-{}", self.name, self.files));
        let file = OpenOptions::new().write(true).create_new(true).open(path)?;
        (self.fill)(&file)?;
        file.sync_all()?;
        self.files += 1;
        self.at = 0;
        Ok(file)
    }
}

fn allocate(file: &File) -> io::Result<()> {
    Ok(rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, FILE_BYTES)?)
}

fn write_zeroes(file: &File) -> io::Result<()> {
    let zeroes = vec![0; 1 << 20];
    for at in (0..FILE_BYTES).step_by(zeroes.len()) {
        file.write_all_at(&zeroes, at)?;
    }
    Ok(())
}
