//! What follows a product, done where its results are written: a factor, biases, a second tensor, an activation.

use super::activation::Activation;
use super::lanes::{LANES, Lane, Machine};

/// What happens to a result where it is written: `activation(scale * sum + bias + added)`.
#[derive(Clone, Copy, Debug)]
pub struct Epilogue<'a> {
    /// What sums are multiplied with.
    pub scale: f32,
    /// One number per row.
    pub row_bias: Option<&'a [f32]>,
    /// One number per column.
    pub column_bias: Option<&'a [f32]>,
    /// A matrix that lies as the output does.
    pub added: Option<&'a [f32]>,
    /// What is done last.
    pub activation: Activation,
}

impl Epilogue<'_> {
    /// Nothing happens.
    pub const NONE: Self = Self {
        scale: 1.0,
        row_bias: None,
        column_bias: None,
        added: None,
        activation: Activation::None,
    };

    #[inline(always)]
    pub(crate) fn apply(&self, mut sums: Lane, row: usize, column: usize, at: usize) -> Lane {
        #[expect(clippy::float_cmp, reason = "exactly 1 changes nothing")]
        if self.scale != 1.0 {
            sums = sums.map(|sum| sum * self.scale);
        }
        if let Some(bias) = self.row_bias {
            let bias = bias[row];
            sums = sums.map(|sum| sum + bias);
        }
        if let Some(bias) = self.column_bias {
            add(&mut sums, &bias[column..]);
        }
        if let Some(added) = self.added {
            add(&mut sums, &added[at..]);
        }
        let (low, high) = self.activation.bounds();
        for sum in &mut sums {
            *sum = if *sum < low { low } else { *sum };
            *sum = if *sum > high { high } else { *sum };
        }
        sums
    }
}

/// Adds what is there of a lane; places behind it are of no meaning.
#[inline(always)]
fn add(sums: &mut Lane, other: &[f32]) {
    if let Some(other) = other.first_chunk::<LANES>() {
        for j in 0..LANES {
            sums[j] += other[j];
        }
    } else {
        for (sum, other) in sums.iter_mut().zip(other) {
            *sum += *other;
        }
    }
}

/// How sums are written: the [`Epilogue`] in vectors, if it is time for it.
pub(crate) struct End<'a, M: Machine> {
    machine: M,
    epilogue: &'a Epilogue<'a>,
    is_first: bool,
    is_last: bool,
    scale: M::Eight,
    low: M::Eight,
    high: M::Eight,
}

impl<'a, M: Machine> End<'a, M> {
    #[inline(always)]
    pub(crate) fn new(
        machine: M,
        epilogue: &'a Epilogue<'a>,
        is_first: bool,
        is_last: bool,
    ) -> Self {
        let (low, high) = epilogue.activation.bounds();
        let (low, high) = (machine.splat(low), machine.splat(high));
        let scale = machine.splat(epilogue.scale);
        Self { machine, epilogue, is_first, is_last, scale, low, high }
    }

    /// Writes a lane of sums; `place` has what earlier blocks gave.
    #[inline(always)]
    pub(crate) fn write(
        &self,
        mut sums: [M::Eight; 2],
        (row, column, at): (usize, usize, usize),
        place: &mut Lane,
    ) {
        let (machine, epilogue) = (self.machine, self.epilogue);
        let (halves, _) = place.as_chunks_mut();
        if !self.is_first {
            for v in 0..2 {
                sums[v] = machine.add(sums[v], machine.load(&halves[v]));
            }
        }
        if self.is_last {
            let bias = machine.splat(epilogue.row_bias.map_or(0.0, |bias| bias[row]));
            sums = sums.map(|sum| machine.fma(sum, self.scale, bias));
            for (other, from) in [(epilogue.column_bias, column), (epilogue.added, at)] {
                let Some(other) = other else { continue };
                let other = lane_of(&other[from..]);
                let (halves, _) = other.as_chunks();
                for v in 0..2 {
                    sums[v] = machine.add(sums[v], machine.load(&halves[v]));
                }
            }
            sums = sums.map(|sum| machine.clamp(sum, self.low, self.high));
        }
        for v in 0..2 {
            halves[v] = machine.store(sums[v]);
        }
    }
}

/// What is there of a lane; places behind it are of no meaning.
#[inline(always)]
fn lane_of(from: &[f32]) -> Lane {
    from.first_chunk().copied().unwrap_or_else(|| {
        let mut lane = [0.0; LANES];
        lane[..from.len()].copy_from_slice(from);
        lane
    })
}
