//! The commit log in local files.

mod jobs;
mod write;

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::disk::{Disk, Folder};
use crate::names::{Entropy, Position};

use super::damage::{Damage, DamageReason};
use super::file::{FILE_OVERHEAD_BYTES, LogFile, open_all, unfinished, unfinished_name};
use super::frame::{FRAME_ALIGN, FRAME_PAYLOAD_BYTES_MAX};
use super::group::Group;
use super::prepare::{Fill, PrepareFile, Prepared, ReadyFile, make_file};
use super::reader::LogReader;
use super::recovery::{LogRecovery, settle, settle_names};
use super::room::{LogRoom, ReserveUse, Space};
use super::survey::survey;
use super::trim::SpareFile;
use super::{CommitLog, FrameSource, LogError};

/// Files smaller than this would hold next to no frames.
const FILE_BYTES_MIN: u64 = 512;

/// How a log uses the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogOptions {
    /// Length of a file. At least 512 bytes are used.
    pub file_bytes: u64,
    /// Length of the very first file of an empty log: it has to be written before anything can be appended.
    pub first_file_bytes: u64,
    /// Space in the log that only appends with [`FileLog::set_reserve_use`] may use. Less than `first_file_bytes`,
    /// else a new log makes its second file before the first append.
    pub reserve_bytes: u64,
    /// How many trimmed files are kept to be used again.
    pub spare_files_max: u64,
}

impl Default for LogOptions {
    /// 64 MiB, 4 MiB and 1 MiB (some thousands of acknowledgements, and of deletions or retention steps); 4 files.
    fn default() -> Self {
        const MIB: u64 = 1024 * 1024;
        Self {
            file_bytes: 64 * MIB,
            first_file_bytes: 4 * MIB,
            reserve_bytes: MIB,
            spare_files_max: 4,
        }
    }
}

/// The commit log in local files.
///
/// ```
/// use std::sync::Arc;
///
/// use embermq_storage::Position;
/// use embermq_storage::commit_log::{CommitLog, FileLog, Group, LogOptions, Next};
/// use embermq_storage::disk::sim::{SeededEntropy, SimDisk};
///
/// # fn main() -> Result<(), embermq_storage::commit_log::LogError> {
/// let disk = Arc::new(SimDisk::new(1));
/// let options =
///     LogOptions { file_bytes: 4096, first_file_bytes: 4096, reserve_bytes: 0, spare_files_max: 1 };
/// let entropy = &mut SeededEntropy::new(2);
/// let (mut log, recovery) = FileLog::open(disk, "log".into(), options, Position(0), entropy)?;
/// assert!(recovery.damage.is_empty());
///
/// let mut group = Group::new();
/// group.begin_frame();
/// group.put(b"hello");
/// group.end_frame();
/// log.append(log.end(), &mut group)?;
/// log.sync()?;
///
/// let Next::Frame { payload, .. } = log.read(log.start())?.next()? else { panic!("no frame") };
/// assert_eq!(&payload[..], b"hello");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct FileLog {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    /// The same, open: a roll that could not open it to sync the new name would end the log.
    folder: Arc<dyn Folder>,
    options: LogOptions,
    /// Never empty; the last one is written to.
    files: Vec<LogFile>,
    /// Whether the last file can take frames. Not when it lost its head or its end.
    appendable: bool,
    /// durable <= end.
    end: Position,
    durable: Position,
    ready: VecDeque<ReadyFile>,
    /// Trimmed files of the usual length, to be used again.
    spare: Vec<SpareFile>,
    preparing: bool,
    unfinished: u64,
    reserve_use: ReserveUse,
    /// Syncs since the present file was begun, and how many bytes each of the file before carried on average.
    syncs: u64,
    bytes_per_sync: u64,
    /// A group is being written elsewhere.
    writing: bool,
    /// What was written is being synced elsewhere.
    syncing: bool,
    /// Old files are being removed elsewhere.
    trimming: bool,
    epoch_seed: u64,
    /// The first failure that nobody can take back.
    failed: Option<Arc<str>>,
}

impl FileLog {
    /// Opens the log in the folder `dir`, or makes an empty one, and reads it from `from` to its end.
    ///
    /// `from` is where the caller's snapshot ends (0 without one); files that lie wholly before it are not read.
    /// Damage is reported and left as it is; the log can be used all the same.
    ///
    /// # Errors
    /// [`LogError::Io`] and [`LogError::Full`] as the disk says, [`LogError::OutOfRange`] when `from` is not a
    /// multiple of 8. Opening again is safe.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        options: LogOptions,
        from: Position,
        entropy: &mut dyn Entropy,
    ) -> Result<(Self, LogRecovery), LogError> {
        if !from.0.is_multiple_of(FRAME_ALIGN) {
            return Err(LogError::OutOfRange { position: from, start: from, end: from });
        }
        disk.create_dir_all(&dir)?;
        let folder = disk.open_dir(&dir)?;
        let unfinished = unfinished(&*disk, &dir)?;
        let files = open_all(&*disk, &dir)?;
        let mut log = Self {
            disk,
            dir,
            folder,
            options,
            files,
            appendable: false,
            end: from,
            durable: from,
            ready: VecDeque::new(),
            spare: Vec::new(),
            preparing: false,
            unfinished: unfinished.iter().map(|(number, _)| *number).max().unwrap_or(0),
            reserve_use: ReserveUse::Nothing,
            syncs: 0,
            bytes_per_sync: 0,
            writing: false,
            syncing: false,
            trimming: false,
            epoch_seed: entropy.next_u64(),
            failed: None,
        };
        log.adopt(unfinished)?;
        let recovery = if log.files.is_empty() { log.begin(from)? } else { log.recover(from)? };
        Ok((log, recovery))
    }

    /// What certainly fits now. It says nothing of the reserve, nor of files that could still be made.
    #[must_use]
    pub fn room(&self) -> LogRoom {
        let space = Space { reserve: self.options.reserve_bytes, ..self.space() };
        LogRoom { bytes: space.certain(), next_ready: !self.ready.is_empty() }
    }

    /// Makes sure that a group of `bytes` [bytes](Group::bytes) fits, however it is cut into frames. Makes files while
    /// the caller waits, where those that are ready do not suffice.
    ///
    /// # Errors
    /// [`LogError::Full`] and [`LogError::NextFile`] change nothing and may go away; [`LogError::Poisoned`].
    pub fn ensure(&mut self, bytes: u64) -> Result<(), LogError> {
        self.usable()?;
        while self.space().certain() < bytes {
            let at_front = self.space().next < bytes;
            let file_bytes = self.file_bytes(if at_front { bytes } else { 0 });
            let ready = self.make_now(file_bytes).map_err(|e| self.no_file(e, bytes))?;
            if at_front {
                self.ready.push_front(ready);
            } else {
                self.ready.push_back(ready);
            }
        }
        Ok(())
    }

    /// The making of the next file, when it is time for it: run it on another thread and hand the result to
    /// [`prepared`](Self::prepared). `None` while one is ready or being made.
    ///
    /// Without it the log works, and makes its files itself, while the append waits.
    pub fn next_file(&mut self) -> Option<PrepareFile> {
        if self.preparing || !self.ready.is_empty() || self.failed.is_some() {
            return None;
        }
        self.preparing = true;
        let (path, bytes) = (self.unfinished_path(), self.file_bytes(0));
        let (fill, spare) = (Fill::for_syncs_of(self.bytes_per_sync), self.spare.pop());
        Some(PrepareFile { disk: Arc::clone(&self.disk), path, bytes, fill, spare })
    }

    /// Takes the next file.
    ///
    /// # Errors
    /// Why it could not be made: [`LogError::Full`] or [`LogError::NextFile`]. Nothing is lost by that;
    /// [`next_file`](Self::next_file) offers it again.
    pub fn prepared(&mut self, prepared: Prepared) -> Result<(), LogError> {
        self.preparing = false;
        let file = prepared.outcome.map_err(|e| self.no_file(e, self.file_bytes(0)))?;
        self.ready.push_back(file);
        Ok(())
    }

    /// Whether a group of `bytes` [bytes](Group::bytes) fits into the present file, without the reserve: then its append
    /// neither makes a file nor syncs one.
    #[must_use]
    pub fn has_room_here(&self, bytes: u64) -> bool {
        self.space().left >= bytes.saturating_add(self.options.reserve_bytes)
    }

    /// How much of the reserve the appends that follow may use: all of it what frees space, a part what ends work that was
    /// begun.
    pub fn set_reserve_use(&mut self, reserve_use: ReserveUse) {
        self.reserve_use = reserve_use;
    }

    /// How much of the reserve the appends that follow may use.
    #[must_use]
    pub const fn reserve_use(&self) -> ReserveUse {
        self.reserve_use
    }

    /// Whether there are files in front of the present one, which a [`trim`](CommitLog::trim) could give back.
    #[must_use]
    pub const fn has_old_files(&self) -> bool {
        self.files.len() > 1
    }

    /// Makes the first file.
    fn begin(&mut self, from: Position) -> Result<LogRecovery, LogError> {
        let bytes = self.options.first_file_bytes.max(FILE_BYTES_MIN);
        let ready = self.make_now(bytes).map_err(|e| self.no_file(e, bytes))?;
        self.ready.push_back(ready);
        self.roll()?;
        let mut recovery = LogRecovery::default();
        if from > Position(0) {
            // The caller knows of a log up to here, which is gone with all that was behind.
            recovery.damage.push(Damage {
                file: self.dir.clone(),
                position: from,
                file_position: 0,
                reason: DamageReason::Missing,
                next_valid: None,
            });
        }
        Ok(recovery)
    }

    /// Makes a file while somebody waits.
    fn make_now(&mut self, bytes: u64) -> io::Result<ReadyFile> {
        let path = self.unfinished_path();
        let spare = if bytes == self.file_bytes(0) { self.spare.pop() } else { None };
        make_file(&*self.disk, &path, bytes, Fill::Allocated, spare)
    }

    /// Takes files over that an earlier process kept to use them again, or never used; removes those of another length.
    fn adopt(&mut self, unfinished: Vec<(u64, PathBuf)>) -> io::Result<()> {
        for (_, path) in unfinished {
            let file = self.disk.open(&path)?;
            let usual = file.len()? == self.file_bytes(0);
            if usual && (self.spare.len() as u64) < self.options.spare_files_max {
                self.spare.push(SpareFile { path, file });
            } else {
                self.disk.remove(&path)?;
            }
        }
        settle_names(&*self.disk, &self.dir, &*self.folder)
    }

    /// Gives back the space of files that were kept to be used again. True when there were any.
    ///
    /// # Errors
    /// What the disk says. The log stays usable.
    pub fn drop_spare(&mut self) -> Result<bool, LogError> {
        let spare = std::mem::take(&mut self.spare);
        for SpareFile { path, .. } in &spare {
            self.disk.remove(path)?;
        }
        Ok(!spare.is_empty())
    }

    /// Finds the end of the log and makes certain what was found.
    fn recover(&mut self, from: Position) -> Result<LogRecovery, LogError> {
        let found = survey(&self.files, from)?;
        settle(&self.files, &found)?;
        self.appendable = found.appendable;
        self.end = found.end;
        if let Some(last) = self.files.last().filter(|_| !found.appendable) {
            // Frames may have been in what the file lost: no position is ever used again.
            self.end = self.end.max(Position(last.first.0 + self.file_bytes(0)));
        }
        self.durable = self.end;
        Ok(LogRecovery {
            scanned_bytes: found.scanned_bytes,
            torn: found.torn,
            damage: found.damage,
        })
    }

    /// Length of a file that can hold `frames` bytes of frames.
    fn file_bytes(&self, frames: u64) -> u64 {
        let usual = self.options.file_bytes.max(FILE_BYTES_MIN);
        usual.max(frames + FILE_OVERHEAD_BYTES).next_multiple_of(FRAME_ALIGN)
    }

    fn unfinished_path(&mut self) -> PathBuf {
        self.unfinished += 1;
        self.dir.join(unfinished_name(self.unfinished))
    }

    fn space(&self) -> Space {
        let left = match self.files.last() {
            Some(last) if self.appendable => last.limit().0 - self.end.0,
            Some(_) | None => 0,
        };
        let reserve = self.reserve_use.leaves(self.options.reserve_bytes);
        let next = self.ready.front().map_or(0, ReadyFile::capacity);
        Space { left, next, ready: self.ready.iter().map(ReadyFile::capacity).sum(), reserve }
    }

    /// Ends the open frame of a group and refuses what cannot be appended.
    fn check(&self, expected: Position, group: &mut Group) -> Result<(), LogError> {
        self.usable()?;
        debug_assert!(!self.writing, "an append before the result of a write job");
        group.end_frame();
        if expected != self.end {
            return Err(LogError::Conflict { expected, end: self.end });
        }
        match group.too_large() {
            Some(bytes) => {
                Err(LogError::FrameTooLarge { bytes, bytes_max: FRAME_PAYLOAD_BYTES_MAX })
            }
            None => Ok(()),
        }
    }

    fn sync_last(&mut self) -> Result<(), LogError> {
        if let Some(last) = self.files.last().filter(|_| self.durable < self.end) {
            // A second sync of the file could swallow the error that the first one has to report.
            debug_assert!(!self.writing, "a sync before the result of a write job");
            debug_assert!(!self.syncing, "a sync before the result of a sync job");
            last.file.sync_data().map_err(|e| self.fail(e))?;
            self.syncs += 1;
            self.durable = self.end;
        }
        Ok(())
    }

    /// Remembers the first failure for good.
    fn fail(&mut self, error: io::Error) -> LogError {
        self.failed.get_or_insert_with(|| error.to_string().into());
        LogError::Io(error)
    }

    fn usable(&self) -> Result<(), LogError> {
        match &self.failed {
            Some(cause) => Err(LogError::Poisoned { cause: Arc::clone(cause) }),
            None => Ok(()),
        }
    }
}

impl CommitLog for FileLog {
    fn start(&self) -> Position {
        self.files.first().map_or(self.end, |first| first.first)
    }

    fn end(&self) -> Position {
        self.end
    }

    fn durable(&self) -> Position {
        self.durable
    }

    fn append(&mut self, expected: Position, group: &mut Group) -> Result<Position, LogError> {
        self.check(expected, group)?;
        let here = self.make_room(group)?;
        let start = self.end;
        self.write(group, 0..here, start)?;
        if here < group.frames() {
            match self.roll() {
                Err(LogError::Full { .. }) => {
                    return Err(self.retract(start, self.end, group.bytes()));
                }
                rolled => rolled?,
            }
            self.write(group, here..group.frames(), start)?;
        }
        Ok(self.end)
    }

    fn sync(&mut self) -> Result<Position, LogError> {
        self.usable()?;
        self.sync_last()?;
        Ok(self.durable)
    }

    fn read(&self, from: Position) -> Result<Box<dyn FrameSource + '_>, LogError> {
        let start = self.start();
        // After a failure what was written is only in memory, if at all.
        let end = if self.failed.is_some() { self.durable } else { self.end };
        if from < start || from > end || !from.0.is_multiple_of(FRAME_ALIGN) {
            return Err(LogError::OutOfRange { position: from, start, end });
        }
        Ok(Box::new(LogReader::new(&self.files, from, end)))
    }

    fn trim(&mut self, before: Position) -> Result<(), LogError> {
        match self.trim_job(before)? {
            Some(job) => self.trimmed(job.run()),
            None => Ok(()),
        }
    }
}
