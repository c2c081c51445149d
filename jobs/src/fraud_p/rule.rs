//! The rule of `fraud-p`, and the profile that it keeps of each user.
//!
//! The arithmetic is part of what the job promises: another implementation that does the same
//! operations on 64-bit floats in the same order gets the same verdicts, bit for bit.

/// One hour in milliseconds.
pub const HOUR_MS: i64 = 3_600_000;
/// Purchases of one hour that are still in order; one more is flagged.
pub const HOURLY_MAX: i64 = 5;
/// An amount above this multiple of the mean is flagged.
pub const AMOUNT_FACTOR: f64 = 10.0;
/// The weight of a new amount in the moving mean.
pub const MEAN_WEIGHT: f64 = 0.05;

/// What is remembered of one user: forty bytes, whatever the user does.
#[thalweg::record]
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Profile {
    /// The start of the newest hour.
    pub hour_start: i64,
    /// Purchases in that hour.
    pub tx_count_1h: i64,
    /// Their sum in cents.
    pub total_1h: i64,
    /// Purchases ever.
    pub tx_total: i64,
    /// The moving mean of the amounts in cents.
    pub avg_30d: f64,
}

/// What the rule says of one purchase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// Purchases of the user since the newest hour began, this one included.
    pub tx_count_1h: i64,
    /// Whether the purchase is flagged.
    pub fraud: bool,
}

impl Profile {
    /// Judges a purchase by the profile before it, then adds it to the profile.
    ///
    /// A purchase of an older hour counts in the newest one: this rule has no lateness.
    #[inline]
    pub fn judge(&mut self, ts_ms: i64, amount_cents: i64) -> Verdict {
        // `hour_start` is a whole hour: this is when the purchase's own hour is a later one.
        if ts_ms >= self.hour_start.saturating_add(HOUR_MS) {
            let hour = ts_ms - ts_ms % HOUR_MS;
            (self.hour_start, self.tx_count_1h, self.total_1h) = (hour, 0, 0);
        }
        self.tx_count_1h += 1;
        self.total_1h += amount_cents;
        let amount = amount_cents as f64;
        let is_far_above_mean = self.tx_total > 0 && amount > self.avg_30d * AMOUNT_FACTOR;
        let fraud = self.tx_count_1h > HOURLY_MAX || is_far_above_mean;
        self.avg_30d = match self.tx_total {
            0 => amount,
            _ => self.avg_30d + (amount - self.avg_30d) * MEAN_WEIGHT,
        };
        self.tx_total += 1;
        Verdict { tx_count_1h: self.tx_count_1h, fraud }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: i64 = 1_699_999_200_000;

    #[test]
    fn the_first_purchase_sets_the_mean_and_is_never_flagged() {
        let mut profile = Profile::default();
        assert_eq!(profile.judge(T0, 819_150), Verdict { tx_count_1h: 1, fraud: false });
        assert_eq!(profile.avg_30d, 819_150.0);
    }

    #[test]
    fn the_sixth_purchase_of_an_hour_is_flagged_and_the_next_hour_starts_anew() {
        let mut profile = Profile::default();
        for n in 1..=6 {
            let verdict = profile.judge(T0 + n, 100);
            assert_eq!(verdict, Verdict { tx_count_1h: n, fraud: n > 5 });
        }
        assert_eq!(profile.total_1h, 600);
        let verdict = profile.judge(T0 + HOUR_MS, 100);
        assert_eq!(verdict, Verdict { tx_count_1h: 1, fraud: false });
        assert_eq!(profile.total_1h, 100);
    }

    #[test]
    fn the_amount_is_compared_with_the_mean_before_it() {
        let mut profile = Profile::default();
        profile.judge(T0, 100);
        assert!(!profile.clone().judge(T0, 1_000).fraud);
        assert!(profile.judge(T0, 1_001).fraud);
        assert_eq!(profile.avg_30d, 100.0 + 901.0 * 0.05);
        assert_eq!(profile.tx_total, 2);
    }

    #[test]
    fn a_purchase_of_an_older_hour_counts_in_the_newest() {
        let mut profile = Profile::default();
        profile.judge(T0 + HOUR_MS, 100);
        assert_eq!(profile.judge(T0, 100).tx_count_1h, 2);
        assert_eq!(profile.hour_start, T0 + HOUR_MS);
    }

    #[test]
    fn a_profile_has_forty_bytes() {
        assert_eq!(size_of::<Profile>(), 40);
    }
}
