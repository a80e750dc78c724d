//! Folding along the middle of `outer` × `size` × `inner`, in loops over lanes.

use super::lines::Extent;

/// Accumulators of one line: enough for the lanes of one vector register several times over.
const LANES: usize = 16;

/// Folds each line, from `first` on: `add` takes an element in, `join` takes another accumulator in.
pub(super) fn fold<T: Copy>(
    data: &[T],
    extent: Extent,
    first: T,
    add: impl Fn(T, T) -> T,
    join: impl Fn(T, T) -> T,
) -> Vec<T> {
    let Extent { size, inner, .. } = extent;
    if data.is_empty() {
        return vec![first; extent.lines()];
    }
    if inner == 1 {
        return data.chunks_exact(size).map(|line| fold_line(line, first, &add, &join)).collect();
    }
    let mut out = vec![first; extent.lines()];
    for (block, row) in data.chunks_exact(size * inner).zip(out.chunks_exact_mut(inner)) {
        for elements in block.chunks_exact(inner) {
            for (total, element) in row.iter_mut().zip(elements) {
                *total = add(*total, *element);
            }
        }
    }
    out
}

fn fold_line<T: Copy>(
    line: &[T],
    first: T,
    add: impl Fn(T, T) -> T,
    join: impl Fn(T, T) -> T,
) -> T {
    let mut lanes = [first; LANES];
    let chunks = line.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (lane, element) in lanes.iter_mut().zip(chunk) {
            *lane = add(*lane, *element);
        }
    }
    for (lane, element) in lanes.iter_mut().zip(rest) {
        *lane = add(*lane, *element);
    }
    // Halves onto halves: neighbours are as far apart as they can be, and the error grows least.
    let mut width = LANES / 2;
    while width > 0 {
        let (left, right) = lanes.split_at_mut(width);
        for (lane, other) in left.iter_mut().zip(right) {
            *lane = join(*lane, *other);
        }
        width /= 2;
    }
    lanes[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_element_counts_once() {
        for size in [1, 7, 16, 37] {
            for inner in [1, 3] {
                let extent = Extent { outer: 2, size, inner };
                let data: Vec<i64> = (0..).take(2 * size * inner).collect();
                let found = fold(&data, extent, 0, |a, b| a + b, |a, b| a + b);
                for (line, total) in found.iter().enumerate() {
                    let start = line / inner * size * inner + line % inner;
                    let wanted: i64 = data[start..].iter().step_by(inner).take(size).sum();
                    assert_eq!(*total, wanted);
                }
            }
        }
        let none = Extent { outer: 2, size: 0, inner: 2 };
        assert_eq!(fold(&[], none, 1, |a, b| a * b, |a, b| a * b), [1, 1, 1, 1]);
    }
}
