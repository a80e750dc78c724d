//! Whether a JPEG is all there.
//!
//! The decoder fills what is missing of a picture with grey, as a browser would want it. A model would answer that grey.

/// Ends the picture.
const EOI: u8 = 0xd9;

/// Whether a JPEG goes on to its end-of-image marker. What follows the marker does not matter, as it does not to libjpeg.
pub(crate) fn is_whole(file: &[u8]) -> bool {
    let mut rest = file;
    // The markers of segments and those within the entropy-coded data are told apart by what follows: a segment says its length.
    while let Some(at) = memchr::memchr(0xff, rest) {
        let Some(marker) = rest.get(at + 1).copied() else { return false };
        let skipped = match marker {
            EOI => return true,
            // Filling: the marker is yet to come.
            0xff => 1,
            // 0xff as a byte of data; TEM, the restarts and SOI, which are markers alone.
            0x00 | 0x01 | 0xd0..=0xd8 => 2,
            _ => match rest.get(at + 2..at + 4) {
                Some([high, low]) => 2 + usize::from(u16::from_be_bytes([*high, *low])),
                _ => return false,
            },
        };
        let Some(after) = rest.get(at + skipped..) else { return false };
        rest = after;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_whole_when_its_end_was_reached() {
        // An EOI within a segment (as thumbnails have it), a byte 0xff as data, a restart, and filling before the end.
        let file =
            b"\xff\xd8\xff\xe1\x00\x06\xff\xd9ab\xff\xda\x00\x02ab\xff\x00\xff\xd0c\xff\xff\xd9";
        assert!(is_whole(file));
        assert!(is_whole(&[&file[..], b"anything\xff"].concat()));
        for len in 0..file.len() {
            assert!(!is_whole(&file[..len]), "{len}");
        }
    }
}
