//! The width that kernels are written in, and how they meet the machine's vectors.

/// Floats that are worked on at once: two vectors of AVX2, four of NEON.
pub(crate) const LANES: usize = 16;

/// As many floats.
pub(crate) type Lane = [f32; LANES];

/// A piece of work worth its own compilation for wide vectors.
pub(crate) trait Kernel {
    /// `FMA`: the machine multiplies and adds in one instruction. Implementations are `#[inline(always)]`.
    fn run<const FMA: bool>(self);
}

/// Runs a kernel with the widest vectors that the machine has and we use.
pub(crate) fn dispatch<K: Kernel>(kernel: K) {
    #[cfg(target_arch = "x86_64")]
    if let Some(wide) = pulp::x86::V3::try_new() {
        wide.vectorize(
            #[inline(always)]
            || kernel.run::<true>(),
        );
        return;
    }
    // Without the instruction, `mul_add` would be a call of a function that computes it exactly.
    kernel.run::<{ cfg!(target_arch = "aarch64") }>();
}

/// `a * b + c`.
#[inline(always)]
pub(crate) fn fma<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}
