//! Work that is independent from one stretch of the output to the next.
//!
//! It stays on the thread that runs the model: models scale by instances, one thread each.

use pulp::Arch;

/// Calls `f(number, chunk)` for each chunk of `len` elements of `out`.
///
/// `f` is compiled for the machine's vectors as far as it is inlined here.
pub(super) fn for_chunks<T>(out: &mut [T], len: usize, f: impl Fn(usize, &mut [T])) {
    if len == 0 {
        return;
    }
    let arch = Arch::new();
    for (number, chunk) in out.chunks_mut(len).enumerate() {
        arch.dispatch(|| f(number, chunk));
    }
}
