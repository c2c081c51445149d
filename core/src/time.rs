//! Time: timestamps, clocks and watermark strategies.
//!
//! Event time is milliseconds since the epoch in `i64`. A watermark W promises no more records with
//! a timestamp of at most W. Engine time is a monotonic count of nanoseconds that only the rim
//! reads from the machine.

mod clock;
mod strategy;

pub use clock::{Clock, MachineClock, ManualClock};
pub use strategy::WatermarkStrategy;
pub(crate) use strategy::{Emission, Generator};

/// Waits so long, or until `over` says that there is no need; returns what it says.
#[allow(clippy::disallowed_methods, reason = "this is the rim")]
pub(crate) fn pause_until(delay_ms: u64, over: impl Fn() -> bool) -> bool {
    let clock = MachineClock::new();
    while !over() {
        let left = delay_ms.saturating_mul(1_000_000).saturating_sub(clock.nanos());
        if left == 0 {
            return false;
        }
        std::thread::sleep(std::time::Duration::from_nanos(left.min(50_000_000)));
    }
    true
}

/// Milliseconds since the epoch.
pub type Timestamp = i64;

/// The timestamp of a record that has none, and the watermark before the first one.
pub const MIN: Timestamp = i64::MIN;

/// The watermark of a stream that has ended.
pub const MAX: Timestamp = i64::MAX;

/// What travels with every record beside its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Event time in milliseconds; [`MIN`] if the record has none.
    pub timestamp: Timestamp,
    /// Engine time in nanoseconds at which the record was due at its source; latency counts from
    /// it.
    pub origin: u64,
}
