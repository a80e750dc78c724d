//! Memory of tensors that died, for tensors to come: fresh memory must be filled with zeros, and its pages be faulted in.
//!
//! Each thread keeps its own, bounded.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

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
    let mut vec = at_least(len);
    vec.truncate(len);
    vec
}

/// `len` floats or more, of any value.
fn at_least(len: usize) -> Vec<f32> {
    if len < FLOATS_MIN {
        return vec![0.0; len];
    }
    FREE.with_borrow_mut(|free| {
        // The smallest that is large enough, were it far too large: networks need their largest tensors early, and then it
        // lies idle.
        let sizes = free.iter().enumerate().filter(|(_, vec)| vec.capacity() >= len);
        if let Some((at, _)) = sizes.min_by_key(|(_, vec)| vec.capacity()) {
            let mut found = free.swap_remove(at);
            if found.len() < len {
                // What was cut off has to be written once more. That is put off until it is needed: most never is.
                found.resize(len, 0.0);
            }
            return found;
        }
        // All are too small. The new one takes the place of the largest, so that there are never more than are in use at once.
        let largest = free.iter().enumerate().max_by_key(|(_, vec)| vec.capacity());
        if let Some((at, _)) = largest {
            free.swap_remove(at);
        }
        vec![0.0; len]
    })
}

/// Keeps a buffer for later.
pub fn recycle(vec: Vec<f32>) {
    if vec.capacity() < FLOATS_MIN || vec.capacity() > FLOATS_MAX {
        return;
    }
    FREE.with_borrow_mut(|free| {
        free.push(vec);
        let floats = |free: &[Vec<f32>]| free.iter().map(Vec::capacity).sum::<usize>();
        while free.len() > BUFFERS_MAX || floats(free) > FLOATS_MAX {
            free.remove(0);
        }
    });
}

/// Floats of any value, for as long as a kernel works. Nothing is cut off, so nothing has to be written again.
#[derive(Debug)]
pub(crate) struct Scratch {
    floats: Vec<f32>,
    len: usize,
}

impl Scratch {
    pub(crate) fn new(len: usize) -> Self {
        Self { floats: at_least(len), len }
    }
}

impl Deref for Scratch {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.floats[..self.len]
    }
}

impl DerefMut for Scratch {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.floats[..self.len]
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        recycle(std::mem::take(&mut self.floats));
    }
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
        FREE.with_borrow(|free| assert!(free.iter().map(Vec::capacity).sum::<usize>() <= FLOATS_MAX));
    }

    #[test]
    fn a_buffer_that_served_a_small_tensor_serves_a_large_one_again() {
        recycle(vec![1.0; 5000]);
        let small = buffer(2000);
        let place = small.as_ptr();
        recycle(small);
        let large = buffer(5000);
        assert_eq!((large.as_ptr(), large.len()), (place, 5000));
        assert_eq!((large[1999], large[2000]), (1.0, 0.0));
    }

    #[test]
    fn scratch_cuts_nothing_off() {
        recycle(vec![1.0; 5000]);
        let mut scratch = Scratch::new(2000);
        assert_eq!(scratch.len(), 2000);
        scratch.fill(2.0);
        drop(scratch);
        let whole = buffer(5000);
        assert_eq!((whole[1999], whole[2000], whole.len()), (2.0, 1.0, 5000));
        assert_eq!(Scratch::new(0).len(), 0);
    }
}
