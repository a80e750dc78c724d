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
                // What others cut off has to be written once more.
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

/// Floats of any value, in memory that may be larger: nothing is cut off that would have to be written again. Keeps it for later
/// when it is dropped.
#[derive(Debug)]
pub struct Buffer {
    floats: Vec<f32>,
    len: usize,
}

impl Buffer {
    /// `len` floats.
    #[must_use]
    pub fn new(len: usize) -> Self {
        Self { floats: at_least(len), len }
    }

    /// All of its memory.
    #[must_use]
    pub fn into_all(mut self) -> Vec<f32> {
        std::mem::take(&mut self.floats)
    }
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.floats[..self.len]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.floats[..self.len]
    }
}

impl Drop for Buffer {
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
        let second = Buffer::new(4000);
        assert_eq!((second.as_ptr(), second.len()), (place, 4000));
        let third = Buffer::new(4000);
        assert_ne!(third.as_ptr(), place);
    }

    #[test]
    fn a_thread_keeps_little() {
        for _ in 0..100 {
            recycle(vec![0.0; FLOATS_MAX / 4]);
        }
        FREE.with_borrow(|free| {
            assert!(free.iter().map(Vec::capacity).sum::<usize>() <= FLOATS_MAX);
        });
    }

    #[test]
    fn nothing_is_cut_off_for_a_small_tensor() {
        recycle(vec![1.0; 5000]);
        let mut small = Buffer::new(2000);
        small.fill(2.0);
        drop(small);
        let all = Buffer::new(3000).into_all();
        assert_eq!((all[1999], all[2000], all.len()), (2.0, 1.0, 5000));
        assert_eq!(Buffer::new(0).len(), 0);
    }

    #[test]
    fn what_was_cut_off_is_written_again() {
        let mut cut = vec![1.0; 5000];
        let place = cut.as_ptr();
        cut.truncate(2000);
        recycle(cut);
        let whole = Buffer::new(5000);
        assert_eq!((whole.as_ptr(), whole[1999], whole[2000]), (place, 1.0, 0.0));
    }
}
