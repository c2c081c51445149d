//! A day or an hour of an account that is not its newest one.

/// Purchases of one UTC day or hour. Two buckets of one day occur where one would overflow.
#[thalweg::record]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bucket {
    /// In days or hours since 1970.
    pub(super) number: i64,
    /// What was spent; not counted for an hour.
    pub(super) sum_cents: i64,
    pub(super) count: u32,
    pub(super) span: Span,
}

/// How long a bucket is.
#[thalweg::record]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Span {
    /// A UTC day.
    Day,
    /// A UTC hour.
    Hour,
}

impl Bucket {
    #[inline]
    pub(super) fn of_day(number: i64, count: u32, sum_cents: i64) -> Self {
        Self { number, sum_cents, count, span: Span::Day }
    }

    pub(super) fn of_hour(number: i64, count: u32) -> Self {
        Self { number, sum_cents: 0, count, span: Span::Hour }
    }

    /// Adds another one's purchases; `None` if either is below zero or there are too many: what is
    /// added up so can be taken off again.
    #[inline]
    pub(super) fn and(self, other: &Self) -> Option<Self> {
        let sum_cents = self.sum_cents.checked_add(other.sum_cents)?;
        let count = self.count.checked_add(other.count)?;
        let is_sum = self.sum_cents >= 0 && other.sum_cents >= 0;
        is_sum.then_some(Self { sum_cents, count, ..self })
    }

    /// Where it stands among others.
    pub(super) fn order(&self) -> (Span, i64) {
        (self.span, self.number)
    }
}

/// Counts a purchase in its day.
pub(super) fn count_in_day(buckets: &mut Vec<Bucket>, purchase: Bucket) {
    let mut same = buckets.iter_mut().rev().filter(|bucket| bucket.order() == purchase.order());
    if let Some(bucket) = same.next()
        && let Some(sum) = bucket.sum_cents.checked_add(purchase.sum_cents)
        && let Some(count) = bucket.count.checked_add(purchase.count)
    {
        (bucket.sum_cents, bucket.count) = (sum, count);
        return;
    }
    buckets.push(purchase);
}

/// Counts a purchase in its hour, and returns the hour's count.
pub(super) fn count_in_hour(buckets: &mut Vec<Bucket>, hour: i64) -> u32 {
    let purchase = Bucket::of_hour(hour, 1);
    if let Some(bucket) = buckets.iter_mut().find(|bucket| bucket.order() == purchase.order()) {
        bucket.count = bucket.count.saturating_add(1);
        return bucket.count;
    }
    buckets.push(purchase);
    purchase.count
}

/// Drops the hours that are closed.
pub(super) fn drop_closed(buckets: &mut Vec<Bucket>, is_open: impl Fn(i64) -> bool) {
    buckets.retain(|bucket| bucket.span == Span::Day || is_open(bucket.number));
}
