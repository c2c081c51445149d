//! Rows that expire: gone from disk once they are over, by the time of the runs and not before.

use std::collections::BTreeMap;

use super::*;
use crate::ttl::{Ttl, put_stamp};

const TTL_MS: i64 = 100;

/// A tier with a column whose rows expire.
struct Expiring {
    tier: RocksTier,
    column: ColumnId,
    directory: PathBuf,
    next: u64,
}

impl Expiring {
    fn new() -> Self {
        let directory = directory();
        let mut tier = open(&directory, 1 << 20).unwrap();
        let column = tier.column("state", Some(Ttl::new(TTL_MS))).unwrap();
        Self { tier, column, directory, next: 0 }
    }

    /// Stores rows of `column`, of which each is its key, its stamp and a figure, or a tombstone.
    fn store_in(&mut self, column: ColumnId, rows: &[(u64, Option<(i64, u8)>)], now: i64) {
        self.next += 1;
        let mut run = self.tier.run(self.next, column);
        for (key, row) in rows {
            let row = row.map(|(stamp, figure)| row_of(stamp, figure));
            run.push(&key.to_be_bytes(), row.as_deref());
        }
        self.tier.store(run, now);
        assert!(matches!(answer(&mut self.tier), Answer::Stored { .. }));
    }

    fn store(&mut self, rows: &[(u64, Option<(i64, u8)>)], now: i64) {
        self.store_in(self.column, rows, now);
    }

    /// Lets the core's time be known, with a run that has no rows.
    fn tell(&mut self, now: i64) {
        self.store(&[], now);
    }

    fn compact(&self) {
        self.tier.compact(self.column);
    }

    /// The rows on disk, be they expired.
    fn count_in(&mut self, column: ColumnId) -> usize {
        let mut count = 0;
        self.tier.keys(column, &mut |_| count += 1).unwrap();
        count
    }

    fn count(&mut self) -> usize {
        self.count_in(self.column)
    }

    fn get(&mut self, key: u64) -> Option<Vec<u8>> {
        self.tier.get(self.column, &key.to_be_bytes()).unwrap()
    }

    /// Bytes of its files of rows.
    fn bytes(&self) -> u64 {
        let entries = std::fs::read_dir(&self.directory).unwrap().map(Result::unwrap);
        let files = entries.filter(|entry| entry.path().extension().is_some_and(|it| it == "sst"));
        files.map(|entry| entry.metadata().unwrap().len()).sum()
    }
}

/// A row that does not compress well.
fn row_of(stamp: i64, figure: u8) -> Vec<u8> {
    let mut row = Vec::new();
    put_stamp(stamp, &mut row);
    let mut random = u64::from(figure) ^ stamp as u64;
    for _ in 0..5 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        row.extend_from_slice(&random.to_le_bytes());
    }
    row.push(figure);
    row
}

#[test]
fn expired_rows_leave_the_disk_and_the_others_stay() {
    const ROWS: u64 = 10_000;
    let mut it = Expiring::new();
    let forever = it.tier.column("for ever", None).unwrap();
    let stamp = |key: u64| if key.is_multiple_of(10) { 60 } else { 10 };
    let rows: Vec<_> = (0..ROWS).map(|key| (key, Some((stamp(key), key as u8)))).collect();
    it.store(&rows, 60);
    it.store_in(forever, &rows, 60);
    it.compact();
    it.tier.compact(forever);
    let before = it.bytes();
    assert_eq!((it.count(), it.count_in(forever)), (10_000, 10_000));
    // It is the core's time, whichever state's run it comes with.
    it.store_in(forever, &[], 150);
    it.compact();
    it.tier.compact(forever);
    assert_eq!((it.count(), it.count_in(forever)), (1_000, 10_000));
    assert!(it.bytes() * 10 < before * 7, "{} of {before} bytes are left", it.bytes());
    for key in 0..ROWS {
        let lives = key.is_multiple_of(10);
        assert_eq!(it.get(key), lives.then(|| row_of(60, key as u8)), "key {key}");
    }
    it.tell(160);
    it.compact();
    assert_eq!((it.count(), it.count_in(forever)), (0, 10_000));
}

#[test]
fn a_clock_that_is_behind_drops_nothing() {
    let mut it = Expiring::new();
    it.compact();
    let rows: Vec<_> = (0..500).map(|key| (key, Some((key as i64, 1)))).collect();
    it.store(&rows, TTL_MS - 1);
    it.compact();
    assert_eq!(it.count(), 500, "no row is over before its last millisecond");
    it.tell(TTL_MS);
    it.tell(TTL_MS - 1);
    it.compact();
    assert_eq!(it.count(), 500, "the core's clock was set back");
    it.tell(TTL_MS);
    it.compact();
    assert_eq!((it.count(), it.get(0), it.get(1)), (499, None, Some(row_of(1, 1))));
}

/// A value that has expired and was seen once more has the oldest of stamps.
#[test]
fn a_newer_row_that_has_expired_uncovers_no_older_one() {
    let mut it = Expiring::new();
    it.store(&[(1, Some((1_000, 1))), (2, Some((1_000, 2)))], 1_000);
    it.compact();
    it.store(&[(1, Some((i64::MIN, 3)))], 1_000);
    it.compact();
    assert_eq!((it.get(1), it.get(2)), (None, Some(row_of(1_000, 2))));
    assert_eq!(it.count(), 1);
}

#[test]
fn answers_are_those_of_a_map_whose_expired_rows_may_be_gone() {
    for seed in 1..=4_u64 {
        let (mut it, mut model, mut now) = (Expiring::new(), BTreeMap::new(), 0_i64);
        let mut random = seed;
        let mut draw = |below: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (random >> 33) % below
        };
        for step in 0..150_u8 {
            let rows: Vec<_> = (0..draw(40))
                .map(|_| (draw(60), (draw(5) > 0).then(|| (now - draw(50) as i64, step))))
                .collect();
            it.store(&rows, now);
            model.extend(rows);
            if draw(4) == 0 {
                it.compact();
            }
            for key in 0..60 {
                let row: Option<(i64, u8)> = model.get(&key).copied().flatten();
                let found = it.get(key);
                let lives = row.is_some_and(|(stamp, _)| stamp + TTL_MS > now);
                assert!(found.is_some() || !lives, "seed {seed}, key {key} at {now}: {row:?}");
                assert!(found.is_none() || found == row.map(|(stamp, it)| row_of(stamp, it)));
            }
            now += draw(30) as i64;
        }
        it.tell(now + TTL_MS);
        it.compact();
        assert_eq!(it.count(), 0, "seed {seed}");
    }
}

#[test]
fn files_are_rewritten_about_as_often_as_rows_expire() {
    let period = |after_ms| super::super::expiry::period_seconds(Ttl::new(after_ms));
    assert_eq!([period(1), period(3_600_000), period(i64::MAX)], [600, 3_600, 2_592_000]);
}
