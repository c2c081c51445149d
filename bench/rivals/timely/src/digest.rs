//! The order-independent digest of verdicts, as `jobs/src/fraud_p/digest.rs` defines it.

use crate::purchase::{HOUR_MS, Verdict};

const KEYS: [u64; 10] = [
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

/// Sum and exclusive or of hashes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Fingerprint {
    pub sum: u64,
    pub xor: u64,
}

/// The digest so far.
#[derive(Debug, Clone, Copy, Default)]
pub struct Digest {
    pub count: u64,
    pub verdicts: Fingerprint,
    pub unordered: Fingerprint,
}

impl Digest {
    /// Takes in every field of a verdict.
    #[inline]
    pub fn fold(&mut self, verdict: &Verdict) {
        let Verdict { user, ts, amount, tx_count_1h, fraud } = *verdict;
        let when = fold(user ^ KEYS[0], ts as u64 ^ KEYS[1]);
        let purchase = fold(when ^ KEYS[2], amount as u64 ^ KEYS[3]);
        let judged = ((tx_count_1h as u64) << 1) | u64::from(fraud);
        let hour = ((ts as u64 / HOUR_MS as u64) << 32) | tx_count_1h as u64;
        let place = fold(fold(user ^ KEYS[6], hour ^ KEYS[7]) ^ KEYS[8], KEYS[9]);
        self.count += 1;
        self.verdicts.take(fold(purchase ^ KEYS[4], judged ^ KEYS[5]));
        self.unordered.take(purchase.wrapping_add(place));
    }

    /// Takes in what another worker has folded.
    pub fn merge(&mut self, other: &Self) {
        self.count += other.count;
        for (mine, its) in
            [(&mut self.verdicts, other.verdicts), (&mut self.unordered, other.unordered)]
        {
            mine.sum = mine.sum.wrapping_add(its.sum);
            mine.xor ^= its.xor;
        }
    }
}

impl Fingerprint {
    #[inline]
    fn take(&mut self, hash: u64) {
        self.sum = self.sum.wrapping_add(hash);
        self.xor ^= hash;
    }
}

#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}
