//! Memory of tensors that died, for tensors to come: fresh memory must be filled with zeros, and its pages be faulted in.
//!
//! Each thread keeps its own, bounded.

use std::cell::RefCell;

/// Buffers that a thread keeps at most. Networks have few tensors alive at a time.
const BUFFERS_MAX: usize = 16;
/// Floats that a thread keeps at most: 64 MiB.
const FLOATS_MAX: usize = 16 << 20;
/// Smaller ones are cheap to make, and not kept.
pub const FLOATS_MIN: usize = 1024;

thread_local! {
    static FREE: RefCell<Vec<Vec<f32>>> = const { RefCell::new(Vec::new()) };
}

/// `len` floats of any value.
pub fn buffer(len: usize) -> Vec<f32> {
    if len < FLOATS_MIN {
        return vec![0.0; len];
    }
    FREE.with_borrow_mut(|free| {
        // The smallest that is large enough, were it far too large: networks need their largest tensors early, and then it
        // lies idle.
        let sizes = free.iter().enumerate().filter(|(_, vec)| vec.len() >= len);
        if let Some((at, _)) = sizes.min_by_key(|(_, vec)| vec.len()) {
            let mut found = free.swap_remove(at);
            found.truncate(len);
            return found;
        }
        // All are too small. The new one takes the place of the largest, so that there are never more than are in use at once.
        let largest = free.iter().enumerate().max_by_key(|(_, vec)| vec.len());
        if let Some((at, _)) = largest {
            free.swap_remove(at);
        }
        vec![0.0; len]
    })
}

/// Keeps a buffer for later.
pub fn recycle(mut vec: Vec<f32>) {
    if vec.capacity() < FLOATS_MIN || vec.capacity() > FLOATS_MAX {
        return;
    }
    // What was cut off is usable again.
    vec.resize(vec.capacity(), 0.0);
    FREE.with_borrow_mut(|free| {
        free.push(vec);
        while free.len() > BUFFERS_MAX || free.iter().map(Vec::len).sum::<usize>() > FLOATS_MAX {
            free.remove(0);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_comes_back() {
        let first = vec![1.0; 5000];
        let place = first.as_ptr();
        recycle(first);
        let second = buffer(4000);
        assert_eq!((second.as_ptr(), second.len()), (place, 4000));
        let third = buffer(4000);
        assert_ne!(third.as_ptr(), place);
    }

    #[test]
    fn a_thread_keeps_little() {
        for _ in 0..100 {
            recycle(vec![0.0; FLOATS_MAX / 4]);
        }
        FREE.with_borrow(|free| assert!(free.iter().map(Vec::len).sum::<usize>() <= FLOATS_MAX));
    }
}
