//! What a worker did, in numbers.

use std::{fmt, ops::AddAssign};

/// How many records a worker settled, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WorkReport {
    /// Done.
    pub acked: u64,
    /// Failed, and to be tried again.
    pub retried: u64,
    /// Failed for good: in the dead-letter topic.
    pub dead: u64,
    /// Given back untried.
    pub released: u64,
    /// Not settled by this worker: the lease was lost, or the broker could not be reached.
    pub lost: u64,
}

impl AddAssign for WorkReport {
    fn add_assign(&mut self, other: Self) {
        self.acked += other.acked;
        self.retried += other.retried;
        self.dead += other.dead;
        self.released += other.released;
        self.lost += other.lost;
    }
}

impl fmt::Display for WorkReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { acked, retried, dead, released, lost } = self;
        write!(f, "{acked} done, {retried} to be tried again, {dead} dead")?;
        if *released > 0 {
            write!(f, ", {released} released")?;
        }
        if *lost > 0 {
            write!(f, ", {lost} lost")?;
        }
        Ok(())
    }
}
