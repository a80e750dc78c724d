//! Where random numbers come from: the run's generator, or the Mersenne Twister where a model says a seed.
//!
//! Uniform numbers are those of NumPy's `RandomState(seed).random_sample`, so that a seeded Dropout drops what the reference implementation drops.

use crate::run::Context;

/// MT19937 of Matsumoto and Nishimura.
pub(super) struct Twister {
    state: [u32; LENGTH],
    next: usize,
}

const LENGTH: usize = 624;
const DISTANCE: usize = 397;

impl Twister {
    fn new(seed: u32) -> Self {
        let mut state = [0; LENGTH];
        let mut word = seed;
        for (at, place) in (1_u32..).zip(&mut state) {
            *place = word;
            word = 1_812_433_253_u32.wrapping_mul(word ^ (word >> 30)).wrapping_add(at);
        }
        Self { state, next: LENGTH }
    }

    fn word(&mut self) -> u32 {
        if self.next == LENGTH {
            for at in 0..LENGTH {
                let pair =
                    self.state[at] & 0x8000_0000 | self.state[(at + 1) % LENGTH] & 0x7fff_ffff;
                let twist = if pair & 1 == 0 { 0 } else { 0x9908_b0df };
                self.state[at] = self.state[(at + DISTANCE) % LENGTH] ^ (pair >> 1) ^ twist;
            }
            self.next = 0;
        }
        let mut word = self.state[self.next];
        self.next += 1;
        word ^= word >> 11;
        word ^= (word << 7) & 0x9d2c_5680;
        word ^= (word << 15) & 0xefc6_0000;
        word ^ (word >> 18)
    }
}

/// A source of random numbers.
pub(super) enum Draws<'a, 'b> {
    Seeded(Box<Twister>),
    OfRun(&'a mut Context<'b>),
}

impl<'a, 'b> Draws<'a, 'b> {
    pub(super) fn new(seed: Option<u32>, context: &'a mut Context<'b>) -> Self {
        match seed {
            Some(seed) => Self::Seeded(Box::new(Twister::new(seed))),
            None => Self::OfRun(context),
        }
    }

    fn word(&mut self) -> u32 {
        match self {
            Self::Seeded(twister) => twister.word(),
            Self::OfRun(context) => (context.next_random() >> 32) as u32,
        }
    }

    /// From 0 up to 1, 1 excluded.
    pub(super) fn unit(&mut self) -> f64 {
        let (high, low) = (self.word() >> 5, self.word() >> 6);
        (f64::from(high) * 67_108_864.0 + f64::from(low)) / 9_007_199_254_740_992.0
    }

    /// Normally distributed around 0 with deviation 1 (Box and Muller).
    pub(super) fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_word_is_that_of_the_definition() {
        assert_eq!(Twister::new(5489).word(), 3_499_211_612);
    }
}
