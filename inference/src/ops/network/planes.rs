//! Work that is independent from one stretch of the output to the next, spread over threads where it is worth it.

use pulp::Arch;
use rayon::prelude::*;

/// Steps of work below which one thread is faster than handing out parts.
const ALONE_WORK: usize = 1 << 16;

/// Calls `f(number, chunk)` for each chunk of `len` elements of `out`. `work`: steps for all together, roughly.
///
/// `f` is compiled for the machine's vectors as far as it is inlined here.
pub(super) fn for_chunks<T: Send>(
    out: &mut [T],
    len: usize,
    work: usize,
    f: impl Fn(usize, &mut [T]) + Sync,
) {
    if len == 0 {
        return;
    }
    let arch = Arch::new();
    if work < ALONE_WORK || out.len() <= len {
        for (number, chunk) in out.chunks_mut(len).enumerate() {
            arch.dispatch(|| f(number, chunk));
        }
        return;
    }
    // A part for a thread is worth handing out when it takes some microseconds.
    let chunks = out.len().div_ceil(len);
    let together = (chunks.saturating_mul(ALONE_WORK / 4) / work).clamp(1, chunks);
    out.par_chunks_mut(len * together).enumerate().for_each(|(part, chunks)| {
        for (number, chunk) in chunks.chunks_mut(len).enumerate() {
            arch.dispatch(|| f(part * together + number, chunk));
        }
    });
}
