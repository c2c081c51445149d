//! What is remembered of a user to apply the rules of `fraud`.
//!
//! What must hold: the buckets are sorted, and no day more than 30 days before the newest one is
//! kept, so that an account has at most 31 days; an hour is kept at least until it closes.

mod bucket;
#[cfg(test)]
mod model;

use super::rules::{
    DAY_MS, HOUR_MS, HOURLY_MAX, MEAN_DAYS, Verdict, hour_start, is_closed, is_far_above_mean,
};

pub use bucket::{Bucket, Span};

/// Days that an account keeps, its newest one included.
pub const KEPT_DAYS: i64 = 31;

/// What is remembered of one user.
///
/// All that a purchase of the newest day needs stands inline, so that a user who buys in order
/// within one day needs no look at the heap; with an 8-byte key the account fits a line of the
/// state table.
#[thalweg::record]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Account {
    /// The newest hour of the newest day, in hours since 1970.
    hour: i64,
    /// What was spent in the 30 days that end with the newest one.
    sum_cents: i64,
    /// Purchases of these days; 0 before the first one, and where a bucket is below zero or the sum
    /// too large: then the newest day has buckets like the others.
    count: u32,
    /// Purchases of the newest hour.
    hour_count: u32,
    /// Days before the newest one, then hours before the newest one.
    older: Box<[Bucket]>,
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
        let hour = ts_ms.div_euclid(HOUR_MS);
        let day = day_of(hour);
        let is_open =
            |hour: i64| !is_closed(hour.saturating_mul(HOUR_MS), watermark, max_lateness_ms);
        let late = is_closed(hour_start(ts_ms), watermark, max_lateness_ms);
        let (n_30d, sum_30d_cents) = self.mean_until(day);
        if self.is_empty() || day > self.newest_day() {
            self.open_day(hour, amount_cents, is_open);
        } else {
            self.count_in_day(day, amount_cents);
        }
        let tx_count_1h = if late { 0 } else { self.count_in_hour(hour, is_open) };
        Verdict {
            sum_30d_cents,
            n_30d,
            tx_count_1h,
            velocity: tx_count_1h > HOURLY_MAX,
            amount: is_far_above_mean(amount_cents, n_30d, sum_30d_cents),
            late,
        }
    }

    #[inline]
    fn is_empty(&self) -> bool {
        self.count == 0 && self.older.is_empty()
    }

    #[inline]
    fn newest_day(&self) -> i64 {
        day_of(self.hour)
    }

    /// Count and sum of the purchases in the 30 days that end with `last`.
    #[inline]
    fn mean_until(&self, last: i64) -> (u64, i128) {
        if self.count > 0 && last == self.newest_day() {
            return (u64::from(self.count), i128::from(self.sum_cents));
        }
        self.mean_of_buckets(last)
    }

    #[cold]
    fn mean_of_buckets(&self, last: i64) -> (u64, i128) {
        let newest = self.newest_day_bucket();
        let days = self.days().chain(&newest).filter(|day| is_in_mean(day.number, last));
        days.fold((0, 0), |(count, sum), day| {
            (count + u64::from(day.count), sum + i128::from(day.sum_cents))
        })
    }

    /// The days that have buckets.
    fn days(&self) -> impl Iterator<Item = &Bucket> {
        self.older.iter().take_while(|bucket| bucket.span == Span::Day)
    }

    /// The hours that have buckets.
    fn hours(&self) -> impl Iterator<Item = &Bucket> {
        self.older.iter().skip_while(|bucket| bucket.span == Span::Day)
    }

    /// What the 30 days have in common, if that is at hand.
    #[inline]
    fn total(&self) -> Option<Bucket> {
        let total = Bucket::of_day(self.newest_day(), self.count, self.sum_cents);
        (self.count > 0).then_some(total)
    }

    #[inline]
    fn set_total(&mut self, total: Option<Bucket>) {
        (self.count, self.sum_cents) = total.map_or((0, 0), |total| (total.count, total.sum_cents));
    }

    /// The purchases of the newest day that are in no bucket.
    fn newest_day_bucket(&self) -> Option<Bucket> {
        let mut rest = self.total()?;
        for day in self.days().filter(|day| is_in_mean(day.number, rest.number)) {
            rest.count -= day.count;
            rest.sum_cents -= day.sum_cents;
        }
        Some(rest).filter(|rest| rest.count > 0)
    }

    /// The newest hour as a bucket, while it is open.
    fn newest_hour_bucket(&self, is_open: impl Fn(i64) -> bool) -> Option<Bucket> {
        let counts = self.hour_count > 0 && is_open(self.hour);
        counts.then(|| Bucket::of_hour(self.hour, self.hour_count))
    }

    /// Makes the day of `hour` the newest one, with one purchase, and drops the days that are too
    /// old then.
    #[cold]
    fn open_day(&mut self, hour: i64, amount_cents: i64, is_open: impl Fn(i64) -> bool) {
        let day = day_of(hour);
        let (newest_day, newest_hour) =
            (self.newest_day_bucket(), self.newest_hour_bucket(&is_open));
        let count = self.older.len() + newest_day.iter().len() + newest_hour.iter().len();
        let mut older: Vec<Bucket> = Vec::with_capacity(count);
        let days = self.days().chain(&newest_day);
        older.extend(days.filter(|bucket| bucket.number > day - KEPT_DAYS));
        let kept_days = older.len();
        let hours = self.hours().chain(&newest_hour);
        older.extend(hours.filter(|bucket| is_open(bucket.number)));

        let purchase = Bucket::of_day(day, 1, amount_cents);
        let mean = older[..kept_days].iter().filter(|bucket| is_in_mean(bucket.number, day));
        let total = mean.chain([&purchase]).try_fold(Bucket::of_day(day, 0, 0), Bucket::and);
        if total.is_none() {
            older.insert(kept_days, purchase);
        }
        self.set_total(total);
        self.older = older.into_boxed_slice();
        (self.hour, self.hour_count) = (hour, 0);
    }

    /// Counts a purchase in the newest day or in one before it.
    #[inline]
    fn count_in_day(&mut self, day: i64, amount_cents: i64) {
        let purchase = Bucket::of_day(day, 1, amount_cents);
        if day == self.newest_day()
            && let Some(total) = self.total().and_then(|total| total.and(&purchase))
        {
            self.set_total(Some(total));
        } else if day > self.newest_day() - KEPT_DAYS {
            self.count_in_day_bucket(purchase);
        }
    }

    #[cold]
    fn count_in_day_bucket(&mut self, purchase: Bucket) {
        let newest = self.newest_day();
        if let Some(total) = self.total().filter(|_| is_in_mean(purchase.number, newest)) {
            let with_it = total.and(&purchase).filter(|_| purchase.number < newest);
            if with_it.is_none() {
                let bucket = self.newest_day_bucket();
                self.change_buckets(|buckets| buckets.extend(bucket));
            }
            self.set_total(with_it);
        }
        self.change_buckets(|buckets| bucket::count_in_day(buckets, purchase));
    }

    /// Counts a purchase in an hour that is open, and returns the hour's count.
    #[inline]
    fn count_in_hour(&mut self, hour: i64, is_open: impl Fn(i64) -> bool) -> u32 {
        if hour < self.hour {
            return self.count_in_hour_bucket(hour, is_open);
        }
        if hour > self.hour {
            if let Some(bucket) = self.newest_hour_bucket(&is_open) {
                self.keep_hour(bucket, is_open);
            }
            (self.hour, self.hour_count) = (hour, 0);
        }
        self.hour_count = self.hour_count.saturating_add(1);
        self.hour_count
    }

    #[cold]
    fn keep_hour(&mut self, hour: Bucket, is_open: impl Fn(i64) -> bool) {
        self.change_buckets(|buckets| {
            bucket::drop_closed(buckets, is_open);
            buckets.push(hour);
        });
    }

    #[cold]
    fn count_in_hour_bucket(&mut self, hour: i64, is_open: impl Fn(i64) -> bool) -> u32 {
        self.change_buckets(|buckets| {
            bucket::drop_closed(buckets, is_open);
            bucket::count_in_hour(buckets, hour)
        })
    }

    /// Changes the buckets and puts them in order.
    fn change_buckets<R>(&mut self, change: impl FnOnce(&mut Vec<Bucket>) -> R) -> R {
        let mut buckets = std::mem::take(&mut self.older).into_vec();
        let result = change(&mut buckets);
        buckets.sort_by_key(Bucket::order);
        self.older = buckets.into_boxed_slice();
        result
    }
}

/// The day that an hour belongs to.
#[inline]
fn day_of(hour: i64) -> i64 {
    hour.div_euclid(DAY_MS / HOUR_MS)
}

/// Whether `day` is one of the 30 days that end with `last`.
#[inline]
fn is_in_mean(day: i64, last: i64) -> bool {
    day <= last && day > last - MEAN_DAYS
}

#[cfg(test)]
mod tests {
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
        assert_eq!(user.account.days().count(), 30);
        user.buys(1_000 * DAY_MS, 1);
        assert_eq!(user.account.days().count(), 0);
    }

    #[test]
    fn closed_hours_are_dropped() {
        let mut user = User::new(3 * HOUR_MS);
        for hour in 0..1_000 {
            user.buys(hour * HOUR_MS, 1);
        }
        let hours = user.account.hours().count();
        assert!(hours <= 4, "{hours}");
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
