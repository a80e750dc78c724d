//! LZ4 and zstd, with a bound on what comes out: bytes are counted while they inflate, never taken from a header.

use std::{
    fmt,
    io::{self, Read, Write as _},
};

use bytes::Bytes;

use super::FormError;
use crate::{
    limits::{INFLATE_FREE_BYTES, INFLATE_RATIO_MAX},
    v1::Compression,
};

const LZ4: &str = "lz4";
#[cfg(feature = "zstd")]
const ZSTD: &str = "zstd";

/// Compresses bytes into one frame of the given kind. [`Compression::Unspecified`] copies them.
///
/// # Errors
/// [`FormError::UnknownCompression`] when this build has no such compression.
pub fn compress(compression: Compression, bytes: &[u8]) -> Result<Vec<u8>, FormError> {
    match compression {
        Compression::Unspecified => Ok(bytes.to_vec()),
        Compression::Lz4 => {
            let mut frame = lz4_flex::frame::FrameEncoder::new(Vec::new());
            let written = frame.write_all(bytes).map_err(|error| malformed(LZ4, &error));
            written?;
            frame.finish().map_err(|error| malformed(LZ4, &error))
        }
        #[cfg(feature = "zstd")]
        Compression::Zstd => {
            let level = zstd::DEFAULT_COMPRESSION_LEVEL;
            zstd::stream::encode_all(bytes, level).map_err(|error| malformed(ZSTD, &error))
        }
        #[cfg(not(feature = "zstd"))]
        Compression::Zstd => Err(unknown(compression)),
    }
}

/// Inflates one frame into at most `limit` bytes, and at most 100 times its own size once that is above 4 MiB.
///
/// # Errors
/// [`FormError::Inflates`] when more would come out, [`FormError::Compressed`] when the frame is damaged, cut off or
/// not alone, [`FormError::UnknownCompression`] when this build has no such compression.
pub fn decompress(
    compression: Compression,
    bytes: &[u8],
    limit: usize,
) -> Result<Bytes, FormError> {
    let limit = limit.min(inflates_to_at_most(bytes.len()));
    match compression {
        Compression::Unspecified => Ok(Bytes::copy_from_slice(bytes)),
        Compression::Lz4 => {
            let mut input = Input { rest: bytes, ran_dry: false };
            let frame = lz4_flex::frame::FrameDecoder::new(&mut input);
            let inflated = inflate(LZ4, frame, bytes.len(), limit)?;
            if input.ran_dry {
                return Err(malformed(LZ4, &"it has no end mark"));
            }
            alone(LZ4, input.rest).map(|()| inflated)
        }
        #[cfg(feature = "zstd")]
        Compression::Zstd => {
            let mut rest = bytes;
            let frame = zstd::stream::read::Decoder::with_buffer(&mut rest);
            let mut frame = frame.map_err(|error| malformed(ZSTD, &error))?.single_frame();
            frame
                .window_log_max(crate::limits::ZSTD_WINDOW_LOG_MAX)
                .map_err(|error| malformed(ZSTD, &error))?;
            let inflated = inflate(ZSTD, frame, bytes.len(), limit)?;
            alone(ZSTD, rest).map(|()| inflated)
        }
        #[cfg(not(feature = "zstd"))]
        Compression::Zstd => Err(unknown(compression)),
    }
}

/// What a frame of so many bytes may inflate to.
pub(super) fn inflates_to_at_most(sent: usize) -> usize {
    sent.saturating_mul(INFLATE_RATIO_MAX).max(INFLATE_FREE_BYTES)
}

/// Bytes to inflate. The LZ4 decoder takes their end for the frame's own; this remembers that it was met.
#[derive(Debug)]
struct Input<'a> {
    rest: &'a [u8],
    ran_dry: bool,
}

impl Read for Input<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.ran_dry |= self.rest.len() < into.len();
        self.rest.read(into)
    }
}

/// Reads to the end, but never more than one byte over the limit.
fn inflate(
    name: &'static str,
    frame: impl Read,
    sent: usize,
    limit: usize,
) -> Result<Bytes, FormError> {
    let mut inflated = Vec::with_capacity(sent.saturating_mul(3).min(limit));
    frame
        .take(limit as u64 + 1)
        .read_to_end(&mut inflated)
        .map_err(|error| malformed(name, &error))?;
    if inflated.len() > limit {
        Err(FormError::Inflates { sent, limit })
    } else {
        Ok(inflated.into())
    }
}

fn alone(name: &'static str, rest: &[u8]) -> Result<(), FormError> {
    if rest.is_empty() {
        return Ok(());
    }
    let reason = format!("{} bytes follow its end", rest.len());
    Err(FormError::Compressed { compression: name, reason })
}

fn malformed(compression: &'static str, error: &impl fmt::Display) -> FormError {
    FormError::Compressed { compression, reason: error.to_string() }
}

#[cfg(not(feature = "zstd"))]
fn unknown(compression: Compression) -> FormError {
    FormError::UnknownCompression { compression: u64::from(i32::from(compression).unsigned_abs()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: &[Compression] = &[
        Compression::Lz4,
        #[cfg(feature = "zstd")]
        Compression::Zstd,
    ];

    #[test]
    fn what_was_compressed_comes_back() {
        for kind in KINDS {
            for text in [&b""[..], b"a", &b"ember ".repeat(50_000)] {
                let frame = compress(*kind, text).unwrap();
                assert_eq!(decompress(*kind, &frame, 1 << 20).unwrap(), text);
            }
        }
    }

    #[test]
    fn a_bomb_stops_at_the_limit() {
        for kind in KINDS {
            let frame = compress(*kind, &vec![0; 32 << 20]).unwrap();
            let sent = frame.len();
            let limit = 1 << 20;
            assert_eq!(
                decompress(*kind, &frame, limit),
                Err(FormError::Inflates { sent, limit }),
                "by bytes"
            );
            if sent * INFLATE_RATIO_MAX < 32 << 20 {
                let limit = inflates_to_at_most(sent);
                assert_eq!(
                    decompress(*kind, &frame, usize::MAX),
                    Err(FormError::Inflates { sent, limit }),
                    "by ratio"
                );
            }
        }
    }

    #[test]
    fn a_frame_must_be_whole_and_alone() {
        for kind in KINDS {
            let frame = compress(*kind, b"some text, some text, some text").unwrap();
            for end in 0..frame.len() {
                let cut = decompress(*kind, &frame[..end], 1 << 20);
                assert!(matches!(cut, Err(FormError::Compressed { .. })), "{kind:?} {end} {cut:?}");
            }
            for more in [&b"\0"[..], &frame] {
                let long = [&frame[..], more].concat();
                assert!(
                    matches!(decompress(*kind, &long, 1 << 20), Err(FormError::Compressed { .. })),
                    "{kind:?}"
                );
            }
        }
    }
}
