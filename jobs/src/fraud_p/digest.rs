//! The order-independent digest of verdicts, by which runs are compared.
//!
//! ```text
//! fold(a, b) = low(a*b) ^ high(a*b)                                   of the 128-bit product
//! purchase   = fold(fold(user ^ K0, ts ^ K1) ^ K2, amount ^ K3)
//! verdict    = fold(purchase ^ K4, (tx_count << 1 | fraud) ^ K5)
//! place      = fold(fold(user ^ K6, (ts / 3600000 << 32 | tx_count) ^ K7) ^ K8, K9)
//! unordered  = purchase + place
//! ```
//!
//! Sum and exclusive or of `verdict` cover every field. The sum of `unordered` covers what holds in
//! any order of processing as long as all events lie in one hour.

use super::Verdict;
use super::rule::HOUR_MS;

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

/// The hashes of a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hashes {
    /// Over all fields.
    pub verdict: u64,
    /// Over what does not depend on the order of processing.
    pub unordered: u64,
}

/// Hashes every field of a verdict: about six multiplications.
#[inline]
pub fn hashes(verdict: &Verdict) -> Hashes {
    let Verdict { user, ts, amount, tx_count_1h, fraud } = *verdict;
    let when = fold(user ^ KEYS[0], ts as u64 ^ KEYS[1]);
    let purchase = fold(when ^ KEYS[2], amount as u64 ^ KEYS[3]);
    let judged = ((tx_count_1h as u64) << 1) | u64::from(fraud);
    let hour = ((ts as u64 / HOUR_MS as u64) << 32) | tx_count_1h as u64;
    let place = fold(fold(user ^ KEYS[6], hour ^ KEYS[7]) ^ KEYS[8], KEYS[9]);
    Hashes {
        verdict: fold(purchase ^ KEYS[4], judged ^ KEYS[5]),
        unordered: purchase.wrapping_add(place),
    }
}

#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}
