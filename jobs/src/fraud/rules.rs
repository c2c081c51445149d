//! The rules of `fraud`.
//!
//! A purchase is flagged by *velocity* if it is the sixth or a later one of its user in its UTC
//! hour, and by *amount* if it costs more than ten times the mean of the user's earlier purchases
//! in the 30 UTC days that end with its own day. "Earlier" means processed before: a purchase of
//! a later day that came first lies outside the 30 days, one of a later hour of the same day
//! lies inside.
//!
//! What must hold: every comparison is exact, in integers.

/// One hour in milliseconds.
pub const HOUR_MS: i64 = 3_600_000;
/// One day in milliseconds.
pub const DAY_MS: i64 = 24 * HOUR_MS;
/// Purchases of one hour that are still in order; one more is flagged.
pub const HOURLY_MAX: u32 = 5;
/// A purchase is flagged above this multiple of the mean.
pub const AMOUNT_FACTOR: i128 = 10;
/// Days that the mean covers, the day of the purchase included.
pub const MEAN_DAYS: i64 = 30;

/// What the rules say of one purchase, and the figures they looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// The user's earlier purchases in the 30 days, in cents. Wider than one amount: it is exact.
    pub sum_30d_cents: i128,
    /// How many earlier purchases there are in the 30 days; 0 means no verdict by amount.
    pub n_30d: u64,
    /// Purchases of the user in this hour, this one included; 0 if the purchase is late.
    pub tx_count_1h: u32,
    /// Flagged for too many purchases in the hour.
    pub velocity: bool,
    /// Flagged for an amount far above the mean.
    pub amount: bool,
    /// The hour was no longer kept: the purchase was judged by its amount only.
    pub late: bool,
}

impl Verdict {
    /// Says whether any rule fired.
    pub fn is_alert(&self) -> bool {
        self.velocity || self.amount
    }
}

/// The start of the UTC hour that `ts_ms` lies in.
#[inline]
pub fn hour_start(ts_ms: i64) -> i64 {
    ts_ms.saturating_sub(ts_ms.rem_euclid(HOUR_MS))
}

/// Says whether the watermark has passed the end of an hour plus the lateness.
#[inline]
pub fn is_closed(hour_start: i64, watermark: i64, max_lateness_ms: i64) -> bool {
    hour_start.saturating_add(HOUR_MS - 1).saturating_add(max_lateness_ms) <= watermark
}

/// Says whether `amount > 10 * sum / count`, without dividing.
#[inline]
pub fn is_far_above_mean(amount_cents: i64, count: u64, sum_cents: i128) -> bool {
    count > 0 && i128::from(amount_cents) * i128::from(count) > AMOUNT_FACTOR * sum_cents
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_closes_at_its_last_millisecond_plus_lateness() {
        for lateness in [0, 1, HOUR_MS] {
            assert!(!is_closed(HOUR_MS, 2 * HOUR_MS - 2 + lateness, lateness));
            assert!(is_closed(HOUR_MS, 2 * HOUR_MS - 1 + lateness, lateness));
        }
    }

    #[test]
    fn an_endless_lateness_closes_nothing() {
        assert!(!is_closed(0, i64::MAX - 1, i64::MAX));
        assert!(!is_closed(0, i64::MIN, 0));
    }

    #[test]
    fn an_hour_starts_before_its_times_before_1970_too() {
        assert_eq!(hour_start(HOUR_MS - 1), 0);
        assert_eq!(hour_start(HOUR_MS), HOUR_MS);
        assert_eq!(hour_start(-1), -HOUR_MS);
        assert_eq!(hour_start(-HOUR_MS), -HOUR_MS);
    }

    #[test]
    fn the_largest_figures_do_not_overflow() {
        assert!(!is_far_above_mean(i64::MAX, 1 << 60, i128::from(i64::MAX) << 60));
        assert!(is_far_above_mean(i64::MAX, u64::MAX, 1));
    }
}
