//! Clocks: the only sources of time in the engine.
//!
//! The worker refreshes its cached reading once per batch. Nothing else reads a clock, so a
//! simulator that passes a [`ManualClock`] decides what time it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// A source of time.
pub trait Clock: Send + Sync {
    /// Monotonic nanoseconds since some fixed moment; never goes back.
    fn nanos(&self) -> u64;
    /// Milliseconds since the epoch; may jump.
    fn wall_millis(&self) -> i64;
    /// For how many nanoseconds a reading of the wall clock stands for later ones: it takes longer
    /// than one of the counter, and a core that spins has nothing better to do than to repeat it.
    fn wall_lasts(&self) -> u64 {
        0
    }
}

/// A tenth of the wall clock's unit.
const WALL_LASTS: u64 = 100_000;

/// The machine's clock: the time-stamp counter, some 10 ns a reading.
#[derive(Debug, Clone)]
pub struct MachineClock {
    clock: quanta::Clock,
    anchor: quanta::Instant,
}

impl MachineClock {
    /// A clock that starts at zero now. Copies of it agree with each other.
    pub fn new() -> Self {
        let clock = quanta::Clock::new();
        let anchor = clock.now();
        Self { clock, anchor }
    }
}

impl Default for MachineClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for MachineClock {
    #[inline]
    fn nanos(&self) -> u64 {
        self.clock.now().duration_since(self.anchor).as_nanos() as u64
    }

    #[allow(clippy::disallowed_methods, reason = "this is the rim's clock")]
    fn wall_millis(&self) -> i64 {
        let now = std::time::SystemTime::now();
        let since = now.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }

    fn wall_lasts(&self) -> u64 {
        WALL_LASTS
    }
}

/// A clock that moves only when it is told to: for tests and the simulator. Copies share the same
/// time.
#[derive(Debug, Clone, Default)]
pub struct ManualClock {
    nanos: Arc<AtomicU64>,
    wall: Arc<AtomicI64>,
}

impl ManualClock {
    /// A clock at zero, with the wall clock at `wall_millis`.
    pub fn new(wall_millis: i64) -> Self {
        let clock = Self::default();
        clock.wall.store(wall_millis, Ordering::SeqCst);
        clock
    }

    /// Moves both readings forward by `nanos` nanoseconds (the wall clock in whole milliseconds).
    pub fn advance(&self, nanos: u64) {
        let before = self.nanos.fetch_add(nanos, Ordering::SeqCst);
        let millis = (before + nanos) / 1_000_000 - before / 1_000_000;
        self.wall.fetch_add(millis as i64, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn nanos(&self) -> u64 {
        self.nanos.load(Ordering::SeqCst)
    }

    fn wall_millis(&self) -> i64 {
        self.wall.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_carries_fractions_of_a_millisecond() {
        let clock = ManualClock::new(5);
        clock.advance(600_000);
        assert_eq!((clock.nanos(), clock.wall_millis()), (600_000, 5));
        clock.clone().advance(600_000);
        assert_eq!((clock.nanos(), clock.wall_millis()), (1_200_000, 6));
    }

    #[test]
    fn the_machine_clock_never_goes_back() {
        let clock = MachineClock::new();
        let first = clock.nanos();
        assert!(clock.nanos() >= first);
    }
}
