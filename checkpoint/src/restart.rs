//! Whether and when a failed attempt is followed by another: the restart strategies of Flink,
//! with its names and defaults.
//!
//! Time and the random number are arguments: the same failures give the same decisions.

use std::collections::VecDeque;

/// What follows a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// The next attempt begins after so many milliseconds.
    RestartAfter(u64),
    /// The job has failed.
    GiveUp,
}

/// A strategy and its numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Strategy {
    /// Never restarts.
    None,
    /// Restarts so often, always after the same delay.
    FixedDelay {
        /// How many restarts there are in the life of the job.
        restarts_max: u32,
        /// The delay before each.
        delay_ms: u64,
    },
    /// Restarts unless failures come too fast.
    FailureRate {
        /// How many failures an interval may hold.
        failures_max: u32,
        /// The length of the interval.
        interval_ms: u64,
        /// The delay before each restart.
        delay_ms: u64,
    },
    /// Restarts for ever, each time later, and quickly again after a calm.
    ExponentialDelay {
        /// The first delay.
        initial_ms: u64,
        /// The longest delay, before jitter.
        max_ms: u64,
        /// By how much each delay exceeds the one before; at least 1.
        multiplier: f64,
        /// The part of a delay by which it varies at random to both sides; 0 to 1.
        jitter: f64,
        /// After so long without failure the delay is the first again.
        reset_ms: u64,
    },
}

impl Strategy {
    /// One restart after one second.
    pub const FIXED_DELAY: Self = Self::FixedDelay { restarts_max: 1, delay_ms: 1_000 };

    /// One failure a minute, each restart after one second.
    pub const FAILURE_RATE: Self =
        Self::FailureRate { failures_max: 1, interval_ms: 60_000, delay_ms: 1_000 };

    /// From one second to one minute, by half as much again; reset after an hour.
    pub const EXPONENTIAL_DELAY: Self = Self::ExponentialDelay {
        initial_ms: 1_000,
        max_ms: 60_000,
        multiplier: 1.5,
        jitter: 0.1,
        reset_ms: 3_600_000,
    };

    /// The strategy of a job that names none.
    pub fn of_job(has_checkpoints: bool) -> Self {
        if has_checkpoints { Self::EXPONENTIAL_DELAY } else { Self::None }
    }
}

/// A strategy at work: remembers the failures that still count.
#[derive(Debug, Clone)]
pub struct Restarts {
    strategy: Strategy,
    restart_count: u64,
    /// The newest failures, as many as may count.
    failures_ms: VecDeque<u64>,
    /// The exponential delay at the newest failure, and when the attempt after it began.
    delay: Option<(f64, u64)>,
}

impl Restarts {
    /// No failure yet.
    pub fn new(strategy: Strategy) -> Self {
        Self { strategy, restart_count: 0, failures_ms: VecDeque::new(), delay: None }
    }

    /// How many restarts were granted.
    pub fn restart_count(&self) -> u64 {
        self.restart_count
    }

    /// Decides after a failure at `now_ms`; `jitter` is a random number from 0 to 1.
    pub fn failed(&mut self, now_ms: u64, jitter: f64) -> Decision {
        let decision = match self.strategy {
            Strategy::None => Decision::GiveUp,
            Strategy::FixedDelay { restarts_max, delay_ms } => {
                grant(self.restart_count < u64::from(restarts_max), delay_ms)
            }
            Strategy::FailureRate { failures_max, interval_ms, delay_ms } => {
                let few = self.rate_holds(now_ms, failures_max as usize, interval_ms);
                grant(few, delay_ms)
            }
            Strategy::ExponentialDelay { .. } => {
                Decision::RestartAfter(self.exponential(now_ms, jitter))
            }
        };
        if let Decision::RestartAfter(_) = decision {
            self.restart_count += 1;
        }
        decision
    }

    /// Whether this failure is among the first `failures_max` of the interval that ends with it.
    fn rate_holds(&mut self, now_ms: u64, failures_max: usize, interval_ms: u64) -> bool {
        while self.failures_ms.front().is_some_and(|at| now_ms.saturating_sub(*at) > interval_ms) {
            self.failures_ms.pop_front();
        }
        if self.failures_ms.len() >= failures_max {
            return false;
        }
        self.failures_ms.push_back(now_ms);
        true
    }

    fn exponential(&mut self, now_ms: u64, jitter: f64) -> u64 {
        let Strategy::ExponentialDelay { initial_ms, max_ms, multiplier, jitter: part, reset_ms } =
            self.strategy
        else {
            return 0;
        };
        let (first, max) = (initial_ms as f64, max_ms as f64);
        let delay = match self.delay {
            // Calm is counted from the start of the attempt, not from the failure before it.
            Some((_, began_ms)) if now_ms.saturating_sub(began_ms) >= reset_ms => first,
            Some((before, _)) => before * multiplier.max(1.0),
            None => first,
        }
        .min(max);
        let side = jitter.clamp(0.0, 1.0) * 2.0 - 1.0;
        let varied = (delay * (1.0 + part.clamp(0.0, 1.0) * side)).round() as u64;
        // The jitter goes both ways and passes neither limit.
        let varied = varied.clamp(initial_ms.min(max_ms), max_ms);
        self.delay = Some((delay, now_ms.saturating_add(varied)));
        varied
    }
}

fn grant(granted: bool, delay_ms: u64) -> Decision {
    if granted { Decision::RestartAfter(delay_ms) } else { Decision::GiveUp }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The delays of failures at these times, without jitter.
    fn delays(strategy: Strategy, at_ms: &[u64]) -> Vec<Option<u64>> {
        let mut restarts = Restarts::new(strategy);
        let decide = |at: &u64| match restarts.failed(*at, 0.5) {
            Decision::RestartAfter(delay) => Some(delay),
            Decision::GiveUp => None,
        };
        at_ms.iter().map(decide).collect()
    }

    #[test]
    fn none_gives_up_at_once() {
        assert_eq!(delays(Strategy::None, &[0]), [None]);
        assert_eq!(Strategy::of_job(false), Strategy::None);
        assert_eq!(Strategy::of_job(true), Strategy::EXPONENTIAL_DELAY);
    }

    #[test]
    fn a_fixed_delay_counts_restarts_for_ever() {
        assert_eq!(delays(Strategy::FIXED_DELAY, &[0, 1 << 40]), [Some(1_000), None]);
        let three = Strategy::FixedDelay { restarts_max: 3, delay_ms: 7 };
        assert_eq!(delays(three, &[0, 1, 2, 3]), [Some(7), Some(7), Some(7), None]);
    }

    #[test]
    fn a_failure_rate_forgets_failures_that_are_an_interval_old() {
        let failures = [0, 60_001, 120_001];
        assert_eq!(delays(Strategy::FAILURE_RATE, &failures), [Some(1_000), Some(1_000), None]);
        let three = Strategy::FailureRate { failures_max: 3, interval_ms: 100, delay_ms: 1 };
        let granted: Vec<bool> =
            delays(three, &[0, 50, 100, 100, 101]).iter().map(Option::is_some).collect();
        assert_eq!(granted, [true, true, true, false, true]);
    }

    #[test]
    fn exponential_delays_grow_to_the_longest_and_never_end() {
        let mut restarts = Restarts::new(Strategy::EXPONENTIAL_DELAY);
        let (mut now, mut delays) = (0, Vec::new());
        for _ in 0..1_000 {
            let Decision::RestartAfter(delay) = restarts.failed(now, 0.5) else {
                panic!("gave up")
            };
            delays.push(delay);
            now += delay + 10;
        }
        assert_eq!(delays[..5], [1_000, 1_500, 2_250, 3_375, 5_063]);
        assert!(delays.is_sorted());
        assert_eq!(delays[999], 60_000);
        assert_eq!(restarts.restart_count(), 1_000);
    }

    #[test]
    fn after_a_calm_the_delay_is_the_first_again() {
        let mut restarts = Restarts::new(Strategy::EXPONENTIAL_DELAY);
        let mut failed = |at| restarts.failed(at, 0.5);
        assert_eq!(failed(0), Decision::RestartAfter(1_000));
        assert_eq!(failed(2_000), Decision::RestartAfter(1_500));
        // The attempt began at 3500.
        assert_eq!(failed(3_603_499), Decision::RestartAfter(2_250));
        assert_eq!(failed(3_605_749 + 3_600_000), Decision::RestartAfter(1_000));
    }

    #[test]
    fn jitter_moves_a_delay_by_a_tenth_and_not_the_growth() {
        for (jitter, second) in [(0.0, 1_350), (0.5, 1_500), (1.0, 1_650), (7.0, 1_650)] {
            let mut restarts = Restarts::new(Strategy::EXPONENTIAL_DELAY);
            let Decision::RestartAfter(first) = restarts.failed(0, jitter) else { panic!() };
            assert!((1_000..=1_100).contains(&first));
            assert_eq!(restarts.failed(10, jitter), Decision::RestartAfter(second));
            assert_eq!(restarts.failed(20, 0.5), Decision::RestartAfter(2_250));
        }
    }
}
