//! A seeded generator of choices (splitmix64), forked by name so that one part's draws never shift
//! another's.

/// A generator of choices.
#[derive(Debug, Clone)]
pub struct Random {
    seed: u64,
    state: u64,
}

const GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;

/// The output function of splitmix64: a good mixer of any 64 bits.
pub fn mix(z: u64) -> u64 {
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

impl Random {
    /// A generator for this seed.
    pub fn new(seed: u64) -> Self {
        Self { seed, state: seed }
    }

    /// A generator of its own for a part of the simulation; what was drawn here so far does not
    /// matter.
    pub fn fork(&self, name: &str) -> Self {
        let named = |hash: u64, byte: u8| mix(hash.wrapping_add(GAMMA) ^ u64::from(byte));
        Self::new(name.bytes().fold(mix(self.seed ^ GAMMA), named))
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GAMMA);
        mix(self.state)
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "nothing is below 0");
        ((u128::from(self.bits()) * u128::from(bound)) >> 64) as u64
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// True `percent` times in a hundred.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One of the choices.
    pub fn pick<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize].clone()
    }

    /// A number from 1 to `high` whose magnitude is uniform: small ones are as likely as large
    /// ones.
    pub fn magnitude(&mut self, high: u64) -> u64 {
        let bits = 64 - high.max(1).leading_zeros();
        let top = 1u64 << self.below(u64::from(bits));
        (top + self.below(top)).min(high.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fork_does_not_depend_on_what_was_drawn() {
        let (fresh, mut used) = (Random::new(7), Random::new(7));
        used.bits();
        assert_eq!(fresh.fork("job").bits(), used.fork("job").bits());
        assert_ne!(fresh.fork("job").bits(), fresh.fork("clock").bits());
    }

    #[test]
    fn draws_stay_in_range_and_reach_both_ends() {
        let mut random = Random::new(1);
        let drawn: Vec<u64> = (0..1000).map(|_| random.between(3, 6)).collect();
        assert_eq!((drawn.iter().min(), drawn.iter().max()), (Some(&3), Some(&6)));
        assert!((0..1000).all(|_| (1..=100).contains(&random.magnitude(100))));
    }
}
