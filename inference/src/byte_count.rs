//! Numbers of bytes as people read them.

use std::fmt;

/// Shown as `512 bytes`, `64 KiB`, `17.7 MiB`: exact below 1 KiB and for whole units, else to a tenth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteCount(pub u64);

const UNITS: [(&str, u64); 4] =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

impl fmt::Display for ByteCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(bytes) = *self;
        let Some((name, size)) = UNITS.into_iter().find(|(_, size)| bytes >= *size) else {
            return write!(f, "{bytes} {}", if bytes == 1 { "byte" } else { "bytes" });
        };
        let (whole, rest) = (bytes / size, bytes % size);
        if rest == 0 {
            return write!(f, "{whole} {name}");
        }
        // Downwards: a limit that is passed by little must not look like the limit.
        write!(f, "{whole}.{} {name}", rest / (size / 10 + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_at_a_glance() {
        let shown = |bytes| ByteCount(bytes).to_string();
        assert_eq!([0, 1, 1023].map(shown), ["0 bytes", "1 byte", "1023 bytes"]);
        assert_eq!([1 << 10, 64 << 20, 2 << 30].map(shown), ["1 KiB", "64 MiB", "2 GiB"]);
        assert_eq!([(1 << 20) + 1, 18_594_321].map(shown), ["1.0 MiB", "17.7 MiB"]);
        assert_eq!([(1 << 20) - 1, u64::MAX].map(shown), ["1023.9 KiB", "16777215.9 TiB"]);
    }
}
