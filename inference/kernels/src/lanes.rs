//! The width that kernels are written in, and how they meet the machine's vectors.

/// Floats that are worked on at once: two vectors of AVX2, four of NEON.
pub(crate) const LANES: usize = 16;

/// As many floats.
pub(crate) type Lane = [f32; LANES];

/// What a machine can do. The compiler makes vectors of loops over arrays by itself where nothing stands between their
/// elements; a vector of eight is there for the loops where it does not.
pub(crate) trait Machine: Copy {
    /// It multiplies and adds in one instruction.
    const FMA: bool;
    /// Eight floats.
    type Eight: Copy;
    fn splat(self, value: f32) -> Self::Eight;
    fn load(self, from: &[f32; 8]) -> Self::Eight;
    fn store(self, vector: Self::Eight) -> [f32; 8];
    /// `a * b + c`.
    fn fma(self, a: Self::Eight, b: Self::Eight, c: Self::Eight) -> Self::Eight;
    fn add(self, a: Self::Eight, b: Self::Eight) -> Self::Eight;
    /// Within bounds; what is no number stays.
    fn clamp(self, a: Self::Eight, low: Self::Eight, high: Self::Eight) -> Self::Eight;
}

/// A machine of which nothing is known.
#[derive(Clone, Copy)]
pub(crate) struct Plain;

impl Machine for Plain {
    // Without the instruction, `mul_add` would be a call of a function that computes it exactly.
    const FMA: bool = cfg!(target_arch = "aarch64");
    type Eight = [f32; 8];

    #[inline(always)]
    fn splat(self, value: f32) -> [f32; 8] {
        [value; 8]
    }

    #[inline(always)]
    fn load(self, from: &[f32; 8]) -> [f32; 8] {
        *from
    }

    #[inline(always)]
    fn store(self, vector: [f32; 8]) -> [f32; 8] {
        vector
    }

    #[inline(always)]
    fn fma(self, a: [f32; 8], b: [f32; 8], c: [f32; 8]) -> [f32; 8] {
        std::array::from_fn(|j| fma::<Self>(a[j], b[j], c[j]))
    }

    #[inline(always)]
    fn add(self, a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        std::array::from_fn(|j| a[j] + b[j])
    }

    #[inline(always)]
    fn clamp(self, a: [f32; 8], low: [f32; 8], high: [f32; 8]) -> [f32; 8] {
        std::array::from_fn(|j| {
            let least = if a[j] < low[j] { low[j] } else { a[j] };
            if least > high[j] { high[j] } else { least }
        })
    }
}

#[cfg(target_arch = "x86_64")]
impl Machine for pulp::x86::V3 {
    const FMA: bool = true;
    type Eight = pulp::f32x8;

    #[inline(always)]
    fn splat(self, value: f32) -> pulp::f32x8 {
        self.splat_f32x8(value)
    }

    #[inline(always)]
    fn load(self, from: &[f32; 8]) -> pulp::f32x8 {
        pulp::cast(*from)
    }

    #[inline(always)]
    fn store(self, vector: pulp::f32x8) -> [f32; 8] {
        pulp::cast(vector)
    }

    #[inline(always)]
    fn fma(self, a: pulp::f32x8, b: pulp::f32x8, c: pulp::f32x8) -> pulp::f32x8 {
        self.mul_add_f32x8(a, b, c)
    }

    #[inline(always)]
    fn add(self, a: pulp::f32x8, b: pulp::f32x8) -> pulp::f32x8 {
        self.add_f32x8(a, b)
    }

    #[inline(always)]
    fn clamp(self, a: pulp::f32x8, low: pulp::f32x8, high: pulp::f32x8) -> pulp::f32x8 {
        // Of a pair with one that is no number, the instruction gives the second.
        self.min_f32x8(high, self.max_f32x8(low, a))
    }
}

/// A piece of work worth its own compilation for wide vectors.
pub(crate) trait Kernel {
    /// Implementations are `#[inline(always)]`.
    fn run<M: Machine>(self, machine: M);
}

/// Runs a kernel with the widest vectors that the machine has and we use.
pub(crate) fn dispatch<K: Kernel>(kernel: K) {
    #[cfg(target_arch = "x86_64")]
    if let Some(wide) = pulp::x86::V3::try_new() {
        wide.vectorize(
            #[inline(always)]
            || kernel.run(wide),
        );
        return;
    }
    kernel.run(Plain);
}

/// `a * b + c`.
#[inline(always)]
pub(crate) fn fma<M: Machine>(a: f32, b: f32, c: f32) -> f32 {
    if M::FMA { a.mul_add(b, c) } else { a * b + c }
}
