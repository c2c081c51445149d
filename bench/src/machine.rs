//! What the benches ask of the machine: pinning, a clock, sleep, its hiccups and its description.
//!
//! The benches are at the rim: this is the one place where they read clocks and sleep.

use std::num::NonZeroU64;
use std::time::Duration;

use hdrhistogram::Histogram;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity, set_current_timer_slack};

/// A stretch of idle time that counts as one sample of the machine's hiccups.
const HICCUP_SAMPLE_NS: u64 = 1_000;

/// Nanoseconds since the clock was made; copies agree with each other. A reading costs about 10 ns.
#[derive(Clone, Debug)]
pub struct Clock {
    ticks: quanta::Clock,
    epoch: u64,
}

impl Clock {
    /// A clock that starts at zero now.
    pub fn start() -> Self {
        let ticks = quanta::Clock::new();
        let epoch = ticks.raw();
        Self { ticks, epoch }
    }

    /// Nanoseconds since the start.
    #[inline]
    pub fn now(&self) -> u64 {
        self.ticks.delta_as_nanos(self.epoch, self.ticks.raw())
    }
}

/// Milliseconds of the wall clock, since 1970.
pub fn wall_millis() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    now.tv_sec as u64 * 1_000 + now.tv_nsec as u64 / 1_000_000
}

/// Nanoseconds of the monotonic clock, which all processes of a machine share.
pub fn monotonic_nanos() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Sleeps, for the coordinator of a bench.
#[expect(clippy::disallowed_methods, reason = "a bench is at the rim; its coordinator waits")]
pub fn sleep(duration: Duration) {
    std::thread::sleep(duration);
}

/// The processors that this process may use, in order.
pub fn processors() -> rustix::io::Result<Vec<usize>> {
    let allowed = sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU).filter(|&cpu| allowed.is_set(cpu)).collect())
}

/// Pins the calling thread to the `index`-th of the processors that it may use (counted round).
pub fn pin(index: usize) -> rustix::io::Result<()> {
    let allowed = processors()?;
    assert!(!allowed.is_empty(), "a thread without a processor");
    let mut chosen = CpuSet::new();
    chosen.set(allowed[index % allowed.len()]);
    sched_setaffinity(None, &chosen)
}

/// Makes timed waits of the calling thread end on time, not up to 50 µs later.
pub fn wake_on_time() -> rustix::io::Result<()> {
    set_current_timer_slack(NonZeroU64::new(1))
}

/// Processor time that this process has used, user and system, as of some moment.
#[derive(Clone, Copy, Debug)]
pub struct Usage(f64);

impl Usage {
    /// As of now.
    pub fn now() -> Self {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        Self(time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9)
    }

    /// Seconds of processor time since then, of all threads.
    pub fn cpu_seconds_since(self) -> f64 {
        Self::now().0 - self.0
    }
}

/// Waits until another thread unparks this one; may come back without a reason.
pub fn park() {
    std::thread::park();
}

/// A histogram of nanoseconds with three significant digits, up to ten minutes.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 600_000_000_000, 3).expect("the bounds are valid")
}

/// The machine's own stalls, seen by a thread that has nothing to do but read the clock.
///
/// Each microsecond of idle time is one sample: how long until the thread ran again, as a
/// record that fell due in that microsecond would have felt it. Its quantiles compare with
/// those of a latency.
#[derive(Clone, Debug)]
pub struct Hiccups {
    gaps: Histogram<u64>,
    short_ns: u64,
}

impl Default for Hiccups {
    fn default() -> Self {
        Self { gaps: histogram(), short_ns: 0 }
    }
}

impl Hiccups {
    /// Takes the gap between the clock readings of two turns that did no work.
    #[inline]
    pub fn observe(&mut self, gap_ns: u64) {
        if gap_ns < HICCUP_SAMPLE_NS {
            self.short_ns += gap_ns;
            if self.short_ns < HICCUP_SAMPLE_NS {
                return;
            }
            self.short_ns -= HICCUP_SAMPLE_NS;
            self.gaps.saturating_record(gap_ns);
        } else {
            let mut left = gap_ns;
            while left >= HICCUP_SAMPLE_NS {
                self.gaps.saturating_record(left);
                left -= HICCUP_SAMPLE_NS;
            }
        }
    }

    /// The samples so far.
    pub fn into_histogram(self) -> Histogram<u64> {
        self.gaps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stall_counts_once_per_microsecond_of_it() {
        let mut hiccups = Hiccups::default();
        for _ in 0..100 {
            hiccups.observe(100);
        }
        hiccups.observe(5_000);
        let gaps = hiccups.into_histogram();
        assert_eq!(gaps.len(), 10 + 5);
        assert_eq!(gaps.count_between(4_000, 5_100), 2);
    }

    #[test]
    fn the_clock_moves_forward_at_the_rate_of_time() {
        let clock = Clock::start();
        let before = clock.now();
        sleep(Duration::from_millis(20));
        let passed = clock.now() - before;
        assert!((20_000_000..2_000_000_000).contains(&passed), "{passed} ns");
    }
}
