//! Randomness of the operating system, for epochs.

use std::hash::{BuildHasher, Hasher, RandomState};

use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};

use crate::names::Entropy;

/// The kernel's random numbers.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsEntropy;

impl Entropy for OsEntropy {
    fn next_u64(&mut self) -> u64 {
        let mut bits = [0; 8];
        loop {
            match getrandom(&mut bits, GetRandomFlags::empty()) {
                // The kernel gives up to 256 bytes whole.
                Ok(8) => return u64::from_le_bytes(bits),
                Ok(_) | Err(Errno::INTR) => {}
                // A sandbox may forbid the call. The standard library keeps keys of its own that it drew from the
                // system in another way, and gives every hasher other ones: enough to tell two files apart.
                Err(_) => return RandomState::new().build_hasher().finish(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_differ() {
        assert_ne!(OsEntropy.next_u64(), OsEntropy.next_u64());
    }
}
