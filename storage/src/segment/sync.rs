//! Syncing a segment without standing in the way of the commit log.
//!
//! A sync of many dirty megabytes fills the device's queue, and every commit waits behind it. Written out in steps, a
//! commit waits for one step at most.

use std::io;

use crate::disk::DiskFile;

/// Bytes written out at a time: a fraction of a millisecond on a fast device.
const STEP_BYTES: u64 = 512 * 1024;

/// Makes every byte written so far durable.
///
/// # Errors
/// Final, as for [`DiskFile::sync_data`].
pub(crate) fn sync_in_steps(file: &dyn DiskFile) -> io::Result<()> {
    let len = file.len()?;
    let mut at = 0;
    while at < len {
        let end = (at + STEP_BYTES).min(len);
        file.write_back(at..end)?;
        at = end;
    }
    file.sync_data()
}
