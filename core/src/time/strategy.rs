//! Watermark strategies: how timestamps are read from records and watermarks derived from them.
//!
//! A bounded generator emits `max_ts - d - 1`: at timestamp 100 000 with d = 10 s the watermark is
//! 89 999. Watermarks follow every record that moves them, so that lateness does not depend on
//! timing, unless the strategy asks for periodic ones.

use std::rc::Rc;
use std::time::Duration;

use super::{MIN, Timestamp};
use crate::Result;
use crate::operator::Snapshot;

/// How a stream gets timestamps and watermarks.
///
/// ```
/// use thalweg::prelude::*;
/// use std::time::Duration;
/// let strategy = WatermarkStrategy::bounded(Duration::from_secs(10))
///     .with_timestamps(|purchase: &(u64, i64)| purchase.1)
///     .with_idleness(Duration::from_secs(60));
/// # let _ = strategy;
/// ```
pub struct WatermarkStrategy<T> {
    pub(crate) delay_ms: i64,
    pub(crate) emission: Emission,
    pub(crate) idle_after: Option<Duration>,
    pub(crate) timestamps: Option<TimestampFn<T>>,
}

/// Reads the timestamp of a record; the second argument is the one that it has already.
pub(crate) type TimestampFn<T> = Rc<dyn Fn(&T, Timestamp) -> Timestamp>;

/// When a generator hands out the watermark that it has reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Emission {
    /// After every record that moves it.
    EveryRecord,
    /// At intervals of engine time, in nanoseconds.
    Periodic(u64),
}

impl<T> WatermarkStrategy<T> {
    /// Records arrive at most `delay` out of order (in event time).
    pub fn bounded(delay: Duration) -> Self {
        Self {
            delay_ms: i64::try_from(delay.as_millis()).unwrap_or(i64::MAX),
            emission: Emission::EveryRecord,
            idle_after: None,
            timestamps: None,
        }
    }

    /// Timestamps never go back within a split.
    pub fn monotonous() -> Self {
        Self::bounded(Duration::ZERO)
    }

    /// Reads each record's timestamp, in milliseconds since the epoch. Without it records keep the
    /// timestamp that the source gave them.
    #[must_use]
    pub fn with_timestamps(mut self, read: impl Fn(&T) -> Timestamp + 'static) -> Self {
        self.timestamps = Some(Rc::new(move |record, _| read(record)));
        self
    }

    /// Declares a split idle when it had no record for `after`; an idle split holds no watermark
    /// back.
    #[must_use]
    pub fn with_idleness(mut self, after: Duration) -> Self {
        self.idle_after = Some(after);
        self
    }

    /// Emits watermarks each `interval` instead of after every record that moves them: cheaper, but
    /// what is late then depends on timing.
    #[must_use]
    pub fn periodic(mut self, interval: Duration) -> Self {
        self.emission = Emission::Periodic(interval.as_nanos() as u64);
        self
    }
}

impl<T> Clone for WatermarkStrategy<T> {
    fn clone(&self) -> Self {
        Self {
            delay_ms: self.delay_ms,
            emission: self.emission,
            idle_after: self.idle_after,
            timestamps: self.timestamps.clone(),
        }
    }
}

/// The watermark generator of one split.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Generator {
    delay_ms: i64,
    /// The largest timestamp so far.
    newest: Timestamp,
}

impl Generator {
    pub(crate) fn new(delay_ms: i64) -> Self {
        Self { delay_ms, newest: MIN }
    }

    /// Takes a record's timestamp into account; true if it is the largest so far.
    #[inline]
    pub(crate) fn observe(&mut self, timestamp: Timestamp) -> bool {
        let moved = timestamp > self.newest;
        self.newest = self.newest.max(timestamp);
        moved
    }

    /// Writes what it has seen at a cut, or reads it back.
    pub(crate) fn snapshot(&mut self, snapshot: &mut Snapshot) -> Result<()> {
        snapshot.i64(&mut self.newest)
    }

    pub(crate) fn watermark(&self) -> Timestamp {
        self.newest.saturating_sub(self.delay_ms).saturating_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bounded_generator_subtracts_the_delay_and_one_millisecond() {
        let mut generator = Generator::new(10_000);
        assert!(generator.observe(100_000));
        assert_eq!(generator.watermark(), 89_999);
    }

    #[test]
    fn a_watermark_never_goes_back() {
        let mut generator = Generator::new(0);
        assert!(generator.observe(7));
        assert!(!generator.observe(3));
        assert_eq!(generator.watermark(), 6);
    }

    #[test]
    fn the_smallest_timestamps_saturate() {
        let mut generator = Generator::new(i64::MAX);
        assert!(!generator.observe(i64::MIN));
        assert_eq!(generator.watermark(), MIN);
    }
}
