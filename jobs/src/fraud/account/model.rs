//! An account that keeps every purchase, to compare the real one with.

use super::super::rules::{HOUR_MS, hour_start, is_closed, is_far_above_mean};
use super::*;

/// Every purchase of a user.
#[derive(Default)]
struct Purchases {
    /// Day and amount of those whose day is kept.
    days: Vec<(i64, i64)>,
    /// Hours of those that were not late.
    hours: Vec<i64>,
}

impl Purchases {
    fn judge(&mut self, ts: i64, cents: i64, watermark: i64, lateness: i64) -> Verdict {
        let (day, hour) = (ts.div_euclid(DAY_MS), hour_start(ts));
        let late = is_closed(hour, watermark, lateness);
        let mean = self.days.iter().filter(|(at, _)| *at <= day && *at > day - MEAN_DAYS);
        let (n_30d, sum_30d_cents) =
            mean.fold((0, 0), |(count, sum), (_, cents)| (count + 1, sum + i128::from(*cents)));
        let newest = self.days.iter().map(|(at, _)| *at).fold(day, i64::max);
        self.days.push((day, cents));
        self.days.retain(|(at, _)| *at > newest - KEPT_DAYS);
        self.hours.extend((!late).then_some(hour));
        let counted = self.hours.iter().filter(|at| **at == hour).count() as u32;
        let tx_count_1h = if late { 0 } else { counted };
        Verdict {
            sum_30d_cents,
            n_30d,
            tx_count_1h,
            velocity: tx_count_1h > HOURLY_MAX,
            amount: is_far_above_mean(cents, n_30d, sum_30d_cents),
            late,
        }
    }
}

/// A number below `bound` that follows from `seed`, which moves on.
fn draw(seed: &mut u64, bound: u64) -> i64 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
    ((*seed >> 33) % bound) as i64
}

/// Compares verdicts on purchases that come up to `disorder` late, with pauses and now and then an
/// amount that fits no sum or is below zero.
fn compare(seed: u64, disorder: u64, lateness: i64) {
    let (mut account, mut model) = (Account::default(), Purchases::default());
    let (mut now, mut watermark, mut random) = (-5 * DAY_MS, i64::MIN, seed);
    for step in 0..2_000 {
        let pause = match draw(&mut random, 100) {
            0 => 20 * DAY_MS as u64,
            1..20 => DAY_MS as u64,
            _ => HOUR_MS as u64,
        };
        now += draw(&mut random, pause);
        let ts = now - draw(&mut random, disorder + 1);
        let cents = match draw(&mut random, 400) {
            0 => i64::MAX - draw(&mut random, 3),
            1 => -draw(&mut random, 1_000),
            _ => draw(&mut random, 100_000),
        };
        let verdict = account.judge(ts, cents, watermark, lateness);
        let expected = model.judge(ts, cents, watermark, lateness);
        assert_eq!(verdict, expected, "seed {seed}, step {step}, {account:?}");
        assert!(account.older.is_sorted_by_key(Bucket::order), "{account:?}");
        // Other users move event time as well.
        watermark = watermark.max(now - 1 - draw(&mut random, 2) * draw(&mut random, disorder + 1));
    }
}

#[test]
fn verdicts_are_those_of_an_account_that_keeps_every_purchase() {
    let days = |days: i64| (days * DAY_MS) as u64;
    for seed in 0..3 {
        for lateness in [0, 1, HOUR_MS, 40 * DAY_MS] {
            for disorder in [0, HOUR_MS as u64, days(2), days(40)] {
                compare(seed, disorder, lateness);
            }
        }
    }
}
