//! The measures of the log: positions, offsets, epochs and times, as types that cannot be confused.

use std::fmt;

macro_rules! measure {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

measure!(
    /// A byte position in the commit log. Positions grow through all files of the log and are never reused.
    Position(u64)
);
measure!(
    /// The number of a record in its partition: dense from 0, never reused.
    Offset(u64)
);
measure!(
    /// A random number that a file is born with. Checksums cover it, so that bytes of another file, or of an
    /// earlier life of the same blocks, never pass for its own.
    Epoch(u64)
);
measure!(
    /// Microseconds since 1970-01-01T00:00:00Z.
    Timestamp(i64)
);

impl Offset {
    /// The offset `count` records further.
    #[must_use]
    pub const fn plus(self, count: u64) -> Self {
        Self(self.0 + count)
    }
}

/// The door through which randomness enters.
pub trait Entropy: Send {
    /// Sixty-four fresh random bits.
    fn next_u64(&mut self) -> u64;
}
