//! The order-independent digest of the emitted verdicts, folded by the baseline and, by an
//! identical function, by the engine's blackhole.
//!
//! Two runs whose digests are equal emitted the same multiset of records. The definition,
//! wrapping in `u64`, with `fold(a, b) = low(a*b) ^ high(a*b)` of the 128-bit product and the
//! constants below:
//!
//! ```text
//! purchase = fold(fold(user ^ K0, ts ^ K1) ^ K2, amount ^ K3)
//! verdict  = fold(purchase ^ K4, (tx_count << 1 | fraud) ^ K5)
//! place    = fold(fold(user ^ K6, (ts / 3600000 << 32 | tx_count) ^ K7) ^ K8, K9)
//! count += 1;  sum += verdict;  xor ^= verdict;  unordered += purchase + place
//! ```
//!
//! `sum` and `xor` cover every field; they are equal whenever each user's events are judged in
//! order of the index (one split, or splits by user). `unordered` covers what holds in any
//! order as long as all events lie in one hour: the purchases, and that a user's counts in an
//! hour are 1 … n, each once.

use serde::Serialize;

use crate::workload::HOUR_MS;

/// The constants `K0 … K9`: odd, random, with about as many ones as zeros.
pub const KEYS: [u64; 10] = [
    0xA076_1D64_78BD_642F,
    0xE703_7ED1_A0B4_28DB,
    0x8EBC_6AF0_9C88_C6E3,
    0x5899_65CC_7537_4CC3,
    0x1D8E_4E27_C47D_124F,
    0xEB44_ACCA_B455_D165,
    0x9C6A_1F3B_2D5E_8F47,
    0x2F0B_4D8A_E3C7_9615,
    0xD6E8_FEB8_6659_FD93,
    0xC2B2_AE3D_27D4_EB4F,
];

/// What was emitted, in 32 bytes. Folding a record takes about six multiplications.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Digest {
    /// How many records were folded.
    pub count: u64,
    /// The wrapping sum of the records' hashes over all fields.
    pub sum: u64,
    /// The exclusive or of the same hashes.
    pub xor: u64,
    /// The wrapping sum over what does not depend on the order of processing.
    pub unordered: u64,
}

impl Digest {
    /// Folds one emitted record. Timestamps are not negative and counts are below 2^32.
    #[inline(always)]
    pub fn fold(&mut self, user: u64, ts: i64, amount: i64, tx_count: i64, is_fraud: bool) {
        let purchase =
            fold(fold(user ^ KEYS[0], ts as u64 ^ KEYS[1]) ^ KEYS[2], amount as u64 ^ KEYS[3]);
        let judged = ((tx_count as u64) << 1) | u64::from(is_fraud);
        let verdict = fold(purchase ^ KEYS[4], judged ^ KEYS[5]);
        let slot = ((ts as u64 / HOUR_MS as u64) << 32) | tx_count as u64;
        let place = fold(fold(user ^ KEYS[6], slot ^ KEYS[7]) ^ KEYS[8], KEYS[9]);
        self.count += 1;
        self.sum = self.sum.wrapping_add(verdict);
        self.xor ^= verdict;
        self.unordered = self.unordered.wrapping_add(purchase).wrapping_add(place);
    }

    /// Adds the records of another digest.
    pub fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.sum = self.sum.wrapping_add(other.sum);
        self.xor ^= other.xor;
        self.unordered = self.unordered.wrapping_add(other.unordered);
    }
}

/// Both halves of the 128-bit product, combined.
#[inline(always)]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_record_equals_the_value_computed_by_another_program() {
        let mut digest = Digest::default();
        digest.fold(741_564, 1_699_999_200_000, 15_524, 1, false);
        let (hash, unordered) = (15_845_238_382_534_346_716, 10_206_120_748_025_148_660);
        assert_eq!(digest, Digest { count: 1, sum: hash, xor: hash, unordered });
    }

    #[test]
    fn every_field_changes_the_digest() {
        let of = |user, ts, amount, tx_count, is_fraud| {
            let mut digest = Digest::default();
            digest.fold(user, ts, amount, tx_count, is_fraud);
            digest
        };
        let base = of(7, 3_600_000, 500, 3, false);
        for other in [
            of(8, 3_600_000, 500, 3, false),
            of(7, 3_600_001, 500, 3, false),
            of(7, 3_600_000, 501, 3, false),
            of(7, 3_600_000, 500, 4, false),
            of(7, 3_600_000, 500, 3, true),
        ] {
            assert_ne!(base.sum, other.sum);
            assert_ne!(base.xor, other.xor);
        }
    }

    #[test]
    fn order_and_partition_do_not_matter() {
        let records: Vec<u64> = (0..100).collect();
        let fold_all = |records: &mut dyn Iterator<Item = &u64>| {
            let mut digest = Digest::default();
            records.for_each(|&n| digest.fold(n % 7, n as i64, n as i64 * 3, n as i64, n % 5 == 0));
            digest
        };
        let whole = fold_all(&mut records.iter().rev());
        let mut merged = fold_all(&mut records[..37].iter());
        merged.merge(&fold_all(&mut records[37..].iter()));
        assert_eq!(whole, merged);
    }
}
