//! The keeper's clock, which need not be that of the cores: it is skewed, and jumps both ways.
//!
//! Time decides when something is tried, never what is right: output must not depend on it.

use super::Random;
use crate::seen;

/// Where the clock stands when that of the cores stands at zero: it may go back by as much. What
/// is due when it goes back is late by as long, and a job that is healed waits for it.
const NOON_MS: u64 = 1_200_000;

/// The time that the keeper is given.
#[derive(Debug)]
pub struct KeeperClock {
    /// By how much it is ahead of [`NOON_MS`] and the cores' clock.
    ahead_ms: i64,
    /// Its chance in ten thousand to jump before it is read, and how far at the most.
    jumps: u64,
    jump_max_ms: u64,
    random: Random,
}

impl KeeperClock {
    /// Draws a clock: half of them are right.
    pub fn draw(mut random: Random) -> Self {
        let jumps = random.pick(&[0, 0, 1, 20, 500]);
        let jump_max_ms = random.pick(&[20, 1_000, 60_000, NOON_MS]);
        let skew_ms = random.pick(&[0, 0, 0, 7, 600_000]) as i64;
        let ahead_ms = if random.chance(50) { skew_ms } else { -skew_ms };
        seen!("the keeper's clock was not that of the cores", if ahead_ms != 0);
        Self { ahead_ms, jumps, jump_max_ms, random }
    }

    /// It does not jump any more, and stays as wrong as it is.
    pub fn heal(&mut self) {
        self.jumps = 0;
    }

    /// Reads it when the cores' clock stands at `nanos`.
    pub fn read(&mut self, nanos: u64) -> u64 {
        if self.jumps > 0 && self.random.below(10_000) < self.jumps {
            let far = self.random.magnitude(self.jump_max_ms) as i64;
            let back = self.random.chance(50);
            seen!("the keeper's clock jumped forwards", if !back);
            seen!("the keeper's clock jumped backwards", if back);
            let limit = NOON_MS as i64;
            self.ahead_ms = (self.ahead_ms + if back { -far } else { far }).clamp(-limit, limit);
        }
        (NOON_MS + nanos / 1_000_000).saturating_add_signed(self.ahead_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_healed_moves_with_the_cores() {
        for seed in 0..200 {
            let mut clock = KeeperClock::draw(Random::new(seed));
            for _ in 0..1_000 {
                clock.read(0);
            }
            clock.heal();
            let from = clock.read(0);
            assert_eq!(clock.read(5_000_000), from + 5);
            assert!(from <= 2 * NOON_MS);
        }
    }
}
