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
        // The smallest that is large enough. One that is far too large stays for others.
        let fits = |vec: &Vec<f32>| vec.len() >= len && vec.len() / 4 <= len;
        let sizes = free.iter().enumerate().filter(|(_, vec)| fits(vec));
        match sizes.min_by_key(|(_, vec)| vec.len()).map(|(at, _)| at) {
            Some(at) => {
                let mut found = free.swap_remove(at);
                found.truncate(len);
                found
            }
            None => vec![0.0; len],
        }
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
