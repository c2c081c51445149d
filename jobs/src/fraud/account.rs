//! What is remembered of a user to apply the rules of `fraud`.
//!
//! What must hold: the buckets are sorted, and no day more than 30 days before the newest one is
//! kept, so that an account has at most 31 days; hours are kept until they close.

use super::rules::{
    DAY_MS, HOURLY_MAX, MEAN_DAYS, Verdict, hour_start, is_closed, is_far_above_mean,
};

/// Days that an account keeps, its newest one included.
pub const KEPT_DAYS: i64 = 31;

/// What is remembered of one user.
///
/// The newest hour and day stand inline, so that a user who buys in order within one day needs no
/// heap; with an 8-byte key the account fits a line of the state table.
#[thalweg::record]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Account {
    hour_start: i64,
    day: i64,
    day_sum_cents: i64,
    older: Option<Box<Older>>,
    /// Purchases of the hour at `hour_start`; 0 before the first one.
    hour_count: u32,
    /// Purchases of `day`; 0 before the first one.
    day_count: u32,
}

/// Buckets before the newest ones, sorted. Two buckets of one day occur where one would overflow.
#[thalweg::record]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Older {
    hours: Vec<Hour>,
    days: Vec<Day>,
}

/// Purchases of one UTC hour.
#[thalweg::record]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hour {
    start: i64,
    count: u32,
}

/// Purchases of one UTC day, which is counted in days since 1970-01-01.
#[thalweg::record]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Day {
    day: i64,
    sum_cents: i64,
    count: u32,
}

impl Account {
    /// Judges a purchase, then remembers it.
    ///
    /// `watermark` is the one that held before this purchase (`i64::MIN` before the first) and
    /// must not go back from call to call. A late purchase counts in no hour, but still in its
    /// day while that is kept. `max_lateness_ms` is not negative.
    #[inline]
    pub fn judge(
        &mut self,
        ts_ms: i64,
        amount_cents: i64,
        watermark: i64,
        max_lateness_ms: i64,
    ) -> Verdict {
        debug_assert!(max_lateness_ms >= 0, "lateness {max_lateness_ms} ms is not negative");
        let day = ts_ms.div_euclid(DAY_MS);
        let hour_start = hour_start(ts_ms);
        let late = is_closed(hour_start, watermark, max_lateness_ms);
        let (n_30d, sum_30d_cents) = self.mean_until(day);
        self.count_in_day(day, amount_cents);
        let tx_count_1h = match late {
            true => 0,
            false => self.count_in_hour(hour_start, watermark, max_lateness_ms),
        };
        Verdict {
            sum_30d_cents,
            n_30d,
            tx_count_1h,
            velocity: tx_count_1h > HOURLY_MAX,
            amount: is_far_above_mean(amount_cents, n_30d, sum_30d_cents),
            late,
        }
    }

    /// Count and sum of the purchases in the 30 days that end with `last`.
    #[inline]
    fn mean_until(&self, last: i64) -> (u64, i128) {
        let within = |day: i64| day <= last && day > last - MEAN_DAYS;
        let (mut count, mut sum) = (0, 0);
        if within(self.day) {
            count += u64::from(self.day_count);
            sum += i128::from(self.day_sum_cents);
        }
        if let Some(older) = &self.older {
            for bucket in older.days.iter().filter(|bucket| within(bucket.day)) {
                count += u64::from(bucket.count);
                sum += i128::from(bucket.sum_cents);
            }
        }
        (count, sum)
    }

    #[inline]
    fn count_in_day(&mut self, day: i64, amount_cents: i64) {
        if self.day_count == 0 || day > self.day {
            self.open_day(day, amount_cents);
        } else if day == self.day {
            match self.day_sum_cents.checked_add(amount_cents).zip(self.day_count.checked_add(1)) {
                Some((sum, count)) => (self.day_sum_cents, self.day_count) = (sum, count),
                None => self.open_day(day, amount_cents),
            }
        } else if day > self.day - KEPT_DAYS {
            self.older.get_or_insert_default().count_in_day(day, amount_cents);
        }
    }

    /// Makes `day` the newest one, with one purchase, and drops the days that are too old then.
    fn open_day(&mut self, day: i64, amount_cents: i64) {
        if self.day_count > 0 && self.day > day - KEPT_DAYS {
            let bucket =
                Day { day: self.day, sum_cents: self.day_sum_cents, count: self.day_count };
            self.older.get_or_insert_default().days.push(bucket);
        }
        (self.day, self.day_count, self.day_sum_cents) = (day, 1, amount_cents);
        if let Some(older) = &mut self.older {
            let dropped = older.days.partition_point(|bucket| bucket.day <= day - KEPT_DAYS);
            older.days.drain(..dropped);
        }
    }

    /// Counts a purchase in an hour that is open, and returns the hour's count.
    #[inline]
    fn count_in_hour(&mut self, start: i64, watermark: i64, max_lateness_ms: i64) -> u32 {
        if self.hour_count > 0 && start == self.hour_start {
            self.hour_count = self.hour_count.saturating_add(1);
            return self.hour_count;
        }
        let is_open = |start: i64| !is_closed(start, watermark, max_lateness_ms);
        if self.hour_count > 0 && start < self.hour_start {
            return self.older.get_or_insert_default().count_in_hour(start, is_open);
        }
        if self.hour_count > 0 && is_open(self.hour_start) {
            let bucket = Hour { start: self.hour_start, count: self.hour_count };
            self.older.get_or_insert_default().hours.push(bucket);
        }
        (self.hour_start, self.hour_count) = (start, 1);
        if let Some(older) = &mut self.older {
            older.hours.retain(|hour| is_open(hour.start));
        }
        1
    }
}

impl Older {
    fn count_in_day(&mut self, day: i64, amount_cents: i64) {
        let after = self.days.partition_point(|bucket| bucket.day <= day);
        if let Some(bucket) = self.days[..after].last_mut().filter(|bucket| bucket.day == day)
            && let Some(sum) = bucket.sum_cents.checked_add(amount_cents)
            && let Some(count) = bucket.count.checked_add(1)
        {
            (bucket.sum_cents, bucket.count) = (sum, count);
            return;
        }
        self.days.insert(after, Day { day, sum_cents: amount_cents, count: 1 });
    }

    fn count_in_hour(&mut self, start: i64, is_open: impl Fn(i64) -> bool) -> u32 {
        self.hours.retain(|hour| is_open(hour.start));
        let at = self.hours.partition_point(|hour| hour.start < start);
        if let Some(hour) = self.hours.get_mut(at).filter(|hour| hour.start == start) {
            hour.count = hour.count.saturating_add(1);
            return hour.count;
        }
        self.hours.insert(at, Hour { start, count: 1 });
        1
    }
}

#[cfg(test)]
mod tests {
    use super::super::rules::HOUR_MS;

    use super::*;

    const START: i64 = i64::MIN;

    /// One user, judged in order of arrival under the monotonous watermark of its own purchases.
    struct User {
        account: Account,
        watermark: i64,
        lateness: i64,
    }

    impl User {
        fn new(lateness: i64) -> User {
            User { account: Account::default(), watermark: START, lateness }
        }

        fn buys(&mut self, ts: i64, cents: i64) -> Verdict {
            let verdict = self.account.judge(ts, cents, self.watermark, self.lateness);
            self.watermark = self.watermark.max(ts - 1);
            verdict
        }

        fn mean_of(&mut self, ts: i64, cents: i64) -> (u64, i128) {
            let verdict = self.buys(ts, cents);
            (verdict.n_30d, verdict.sum_30d_cents)
        }
    }

    #[test]
    fn an_account_and_its_key_fit_a_line_of_the_table() {
        assert!(size_of::<(u64, Account)>() <= 48, "{}", size_of::<(u64, Account)>());
    }

    #[test]
    fn the_first_purchase_has_no_mean_and_no_verdict_by_amount() {
        let verdict = User::new(0).buys(1_000, i64::MAX);
        assert_eq!((verdict.n_30d, verdict.sum_30d_cents, verdict.tx_count_1h), (0, 0, 1));
        assert!(!verdict.is_alert() && !verdict.late);
    }

    #[test]
    fn the_sixth_purchase_of_an_hour_is_flagged_and_the_next_hour_starts_anew() {
        let mut user = User::new(0);
        for n in 1..=7 {
            let verdict = user.buys(HOUR_MS - 8 + n, 100);
            assert_eq!(i64::from(verdict.tx_count_1h), n);
            assert_eq!(verdict.velocity, n > 5, "purchase {n}");
        }
        assert_eq!(user.buys(HOUR_MS - 1, 100).tx_count_1h, 8);
        assert_eq!(user.buys(HOUR_MS, 100).tx_count_1h, 1);
    }

    #[test]
    fn ten_times_the_mean_is_in_order_and_a_cent_more_is_not() {
        let mut user = User::new(0);
        user.buys(0, 100);
        user.buys(0, 101);
        assert!(!user.account.clone().judge(1, 1_005, START, 0).amount);
        assert!(user.account.clone().judge(1, 1_006, START, 0).amount);
    }

    #[test]
    fn a_mean_of_nothing_flags_any_amount_but_nothing() {
        let mut user = User::new(0);
        assert!(!user.buys(0, 0).amount);
        assert!(!user.buys(1, 0).amount);
        assert!(user.buys(2, 1).amount);
    }

    #[test]
    fn the_mean_covers_thirty_days_that_end_with_the_purchases_own() {
        let mut user = User::new(0);
        user.buys(0, 7);
        assert_eq!(user.account.clone().judge(30 * DAY_MS - 1, 1, START, 0).n_30d, 1);
        assert_eq!(user.account.clone().judge(30 * DAY_MS, 1, START, 0).n_30d, 0);
    }

    #[test]
    fn a_purchase_of_a_later_day_that_came_first_is_outside_the_thirty_days() {
        let mut user = User::new(5 * DAY_MS);
        user.buys(10 * DAY_MS, 1_000);
        assert_eq!(user.mean_of(8 * DAY_MS, 5), (0, 0));
        assert_eq!(user.mean_of(9 * DAY_MS, 6), (1, 5));
        assert_eq!(user.mean_of(8 * DAY_MS, 7), (1, 5));
        assert_eq!(user.mean_of(10 * DAY_MS, 8), (4, 1_018));
    }

    #[test]
    fn a_purchase_of_a_later_hour_of_the_same_day_that_came_first_counts() {
        let mut user = User::new(0);
        user.buys(5 * HOUR_MS, 1_000);
        assert_eq!(user.mean_of(HOUR_MS, 5), (1, 1_000));
    }

    #[test]
    fn an_older_hour_counts_in_its_own_bucket_while_open() {
        let mut user = User::new(2 * HOUR_MS);
        assert_eq!(user.buys(0, 1).tx_count_1h, 1);
        assert_eq!(user.buys(2 * HOUR_MS, 1).tx_count_1h, 1);
        assert_eq!(user.buys(HOUR_MS, 1).tx_count_1h, 1);
        assert_eq!(user.buys(0, 1).tx_count_1h, 2);
        assert_eq!(user.buys(2 * HOUR_MS + 1, 1).tx_count_1h, 2);
        assert_eq!(user.buys(HOUR_MS + 1, 1).tx_count_1h, 2);
    }

    #[test]
    fn velocity_fires_in_an_older_hour_too() {
        let mut user = User::new(HOUR_MS);
        let flagged: Vec<bool> = (0..6).map(|n| user.buys(n, 1).velocity).collect();
        assert_eq!(flagged, [false, false, false, false, false, true]);
        assert!(!user.buys(HOUR_MS + 5, 1).velocity);
        assert!(user.buys(6, 1).velocity);
    }

    #[test]
    fn an_hour_closes_when_the_watermark_reaches_its_last_millisecond_plus_lateness() {
        for lateness in [0, 1, HOUR_MS] {
            let last = HOUR_MS - 1 + lateness;
            let mut account = Account::default();
            assert!(!account.judge(0, 1, last - 1, lateness).late);
            let verdict = account.judge(0, 1, last, lateness);
            assert!(verdict.late, "lateness {lateness}");
            assert_eq!(verdict.tx_count_1h, 0);
        }
    }

    #[test]
    fn the_watermark_is_one_below_the_newest_time() {
        let mut user = User::new(0);
        user.buys(HOUR_MS - 1, 1);
        user.buys(HOUR_MS, 1);
        // The watermark is the hour's last millisecond now: no more elements up to it.
        assert!(user.buys(HOUR_MS - 1, 1).late);
    }

    #[test]
    fn a_late_purchase_is_judged_by_amount_and_still_counts_in_its_day() {
        let mut user = User::new(0);
        user.buys(0, 100);
        user.buys(2 * DAY_MS, 1);
        let verdict = user.buys(1, 1_001);
        assert!(verdict.late && verdict.amount && !verdict.velocity);
        assert_eq!((verdict.n_30d, verdict.sum_30d_cents), (1, 100));
        assert_eq!(user.mean_of(2 * DAY_MS, 1), (3, 1_102));
    }

    #[test]
    fn thirty_one_days_are_kept_and_what_is_older_counts_nowhere() {
        let mut user = User::new(0);
        user.buys(0, 10);
        user.buys(DAY_MS, 20);
        user.buys(31 * DAY_MS, 1);
        // Day 0 is dropped, day 1 is the oldest of the 31.
        assert_eq!(user.mean_of(DAY_MS, 30), (1, 20));
        assert_eq!(user.mean_of(0, 1_000), (0, 0));
        assert_eq!(user.mean_of(0, 1_000), (0, 0));
        assert_eq!(user.mean_of(30 * DAY_MS, 2), (2, 50));
    }

    #[test]
    fn a_long_pause_leaves_one_day() {
        let mut user = User::new(0);
        for day in 0..100 {
            user.buys(day * DAY_MS, 1);
        }
        assert_eq!(user.account.older.as_ref().map(|older| older.days.len()), Some(30));
        user.buys(1_000 * DAY_MS, 1);
        assert_eq!(user.account.older.as_ref().map(|older| older.days.len()), Some(0));
    }

    #[test]
    fn closed_hours_are_dropped() {
        let mut user = User::new(3 * HOUR_MS);
        for hour in 0..1_000 {
            user.buys(hour * HOUR_MS, 1);
        }
        let hours = user.account.older.as_ref().map(|older| older.hours.len());
        assert!(hours <= Some(4), "{hours:?}");
    }

    #[test]
    fn sums_beyond_64_bits_are_exact() {
        let mut user = User::new(DAY_MS);
        for _ in 0..3 {
            user.buys(DAY_MS, i64::MAX);
            user.buys(0, i64::MAX - 1);
        }
        assert_eq!(user.mean_of(0, 0), (3, 3 * i128::from(i64::MAX - 1)));
        let all = 3 * i128::from(i64::MAX - 1) + 3 * i128::from(i64::MAX);
        assert_eq!(user.mean_of(DAY_MS, i64::MAX), (7, all));
        assert!(!user.buys(DAY_MS, i64::MAX).amount);
    }

    #[test]
    fn times_before_1970_fall_into_their_own_hour_and_day() {
        let mut user = User::new(DAY_MS);
        assert_eq!(hour_start(-1), -HOUR_MS);
        user.buys(-1, 5);
        assert_eq!(user.buys(0, 1).tx_count_1h, 1);
        assert_eq!(user.mean_of(-DAY_MS, 1), (1, 5));
        assert_eq!(user.mean_of(-DAY_MS - 1, 1), (0, 0));
    }
}
