//! Giving the space of a large file back without stopping everybody else's syncs.
//!
//! Where a file system tells its device of every freed block, freeing half a gigabyte at once keeps the device busy for
//! half a second. In steps, a sync waits for one step at most.

use std::io;

use super::DiskFile;

/// Bytes freed at a time: some milliseconds on a device that is slow at it.
const STEP_BYTES: u64 = 4 * 1024 * 1024;

/// Frees the blocks of a file that has no name any more, and that nobody reads.
///
/// # Errors
/// What the disk says. The rest is freed when the file is closed.
pub(crate) fn give_back(file: &dyn DiskFile) -> io::Result<()> {
    let len = file.len()?;
    let mut at = 0;
    while len > STEP_BYTES && at < len {
        let end = (at + STEP_BYTES).min(len);
        file.punch(at..end)?;
        at = end;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;

    use super::*;
    use crate::disk::Disk;
    use crate::disk::sim::SimDisk;

    #[test]
    fn a_large_file_is_freed_and_a_small_one_left_to_its_closing() {
        for (bytes, freed) in [(2 * STEP_BYTES + 8_192, true), (8_192, false)] {
            let disk = SimDisk::new(1);
            let file = disk.create("file".as_ref()).unwrap();
            file.write_at(0, &[IoSlice::new(&vec![1; usize::try_from(bytes).unwrap()])]).unwrap();
            give_back(&*file).unwrap();
            let left = disk.contents("file".as_ref()).unwrap();
            assert_eq!(left.iter().all(|byte| *byte == 0), freed, "{bytes} bytes");
        }
    }
}
