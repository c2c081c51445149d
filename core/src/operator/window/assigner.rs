//! Which windows a record belongs to.

use std::time::Duration;

use crate::Result;
use crate::graph::graph_error;
use crate::time::Timestamp;

/// A stretch of event time: from `start`, up to but not including `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimeWindow {
    /// First millisecond.
    pub start: Timestamp,
    /// First millisecond behind it.
    pub end: Timestamp,
}

impl TimeWindow {
    /// Last millisecond: the timestamp of the window's results.
    #[inline]
    pub fn max_timestamp(&self) -> Timestamp {
        self.end - 1
    }
}

/// Puts records into windows.
///
/// A window's start is its namespace in the state: it and the assigner give the window back.
pub trait WindowAssigner: 'static {
    /// Checks the arguments; called in plan mode.
    fn validate(&self) -> Result<()>;
    /// Appends the windows of a record with this timestamp.
    fn assign(&self, timestamp: Timestamp, windows: &mut Vec<TimeWindow>);
    /// The window that begins at `start`.
    fn window(&self, start: Timestamp) -> TimeWindow;
}

/// Windows of one size, one behind the other: `[start, start + size)`.
///
/// ```
/// use thalweg::prelude::*;
/// use std::time::Duration;
/// let hours = TumblingWindows::of(Duration::from_secs(3600));
/// let shifted = hours.offset(Duration::from_secs(900));
/// # let _ = (hours, shifted);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TumblingWindows {
    size_ms: i64,
    offset_ms: i64,
}

impl TumblingWindows {
    /// Windows of `size`, aligned to the epoch (UTC).
    pub fn of(size: Duration) -> Self {
        Self { size_ms: millis(size), offset_ms: 0 }
    }

    /// Shifts the windows to later times; less than the size.
    #[must_use]
    pub fn offset(self, offset: Duration) -> Self {
        self.offset_ms(millis(offset))
    }

    /// Shifts the windows by milliseconds, to earlier times if negative; its amount is less than
    /// the size.
    #[must_use]
    pub fn offset_ms(self, offset_ms: i64) -> Self {
        Self { offset_ms, ..self }
    }
}

/// Whole milliseconds.
pub(crate) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

impl WindowAssigner for TumblingWindows {
    fn validate(&self) -> Result<()> {
        let Self { size_ms, offset_ms } = *self;
        if size_ms <= 0 {
            return Err(graph_error(format!("a window of {size_ms} ms holds nothing"))
                .with_hint("give it a size of at least a millisecond"));
        }
        if offset_ms.unsigned_abs() >= size_ms.unsigned_abs() {
            return Err(graph_error(format!(
                "windows of {size_ms} ms cannot be shifted by {offset_ms} ms"
            ))
            .with_hint("the offset's amount must be less than the size"));
        }
        Ok(())
    }

    #[inline]
    fn assign(&self, timestamp: Timestamp, windows: &mut Vec<TimeWindow>) {
        // The same as floorMod(timestamp - offset, size), without its overflow.
        let ahead = timestamp.rem_euclid(self.size_ms) - self.offset_ms;
        let ahead = if ahead < 0 {
            ahead + self.size_ms
        } else if ahead >= self.size_ms {
            ahead - self.size_ms
        } else {
            ahead
        };
        windows.push(self.window(timestamp.saturating_sub(ahead)));
    }

    #[inline]
    fn window(&self, start: Timestamp) -> TimeWindow {
        TimeWindow { start, end: start.saturating_add(self.size_ms) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(size: i64, offset: i64, timestamp: i64) -> i64 {
        let windows = TumblingWindows { size_ms: size, offset_ms: offset };
        windows.validate().unwrap();
        let mut assigned = Vec::new();
        windows.assign(timestamp, &mut assigned);
        assert_eq!(assigned.len(), 1);
        assert_eq!(assigned[0].end - assigned[0].start, size);
        assigned[0].start
    }

    #[test]
    fn a_window_starts_at_a_multiple_of_its_size_and_negative_times_work() {
        for (timestamp, expected) in [(0, 0), (9, 0), (10, 10), (-1, -10), (-10, -10), (-11, -20)] {
            assert_eq!(start(10, 0, timestamp), expected, "at {timestamp}");
        }
    }

    #[test]
    fn the_start_is_the_timestamp_less_the_floored_remainder() {
        for size in [1i64, 7, 10] {
            for offset in 1 - size..size {
                for timestamp in -50..50 {
                    let expected = timestamp - (timestamp - offset).rem_euclid(size);
                    assert_eq!(start(size, offset, timestamp), expected, "{size} {offset}");
                }
            }
        }
    }

    #[test]
    fn the_ends_of_time_overflow_nothing() {
        let hours = TumblingWindows::of(Duration::from_secs(3600));
        let mut windows = Vec::new();
        hours.assign(i64::MAX, &mut windows);
        hours.assign(i64::MIN + 1, &mut windows);
        assert_eq!(windows[0].end, i64::MAX);
        assert_eq!(windows[1].start, i64::MIN);
    }

    #[test]
    fn sizes_and_offsets_are_checked() {
        assert!(TumblingWindows::of(Duration::ZERO).validate().is_err());
        let ten = TumblingWindows::of(Duration::from_millis(10));
        assert!(ten.offset_ms(10).validate().is_err());
        assert!(ten.offset_ms(-10).validate().is_err());
        assert!(ten.offset_ms(-9).validate().is_ok());
    }
}
