//! The synthetic purchases and the rule, as `fraud-p` defines them.

use serde::{Deserialize, Serialize};

/// How many users there are.
pub const USERS: u64 = 1_000_000;
/// One hour in milliseconds.
pub const HOUR_MS: i64 = 3_600_000;

const SEED: u64 = 42;
const GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;
const T0_MS: i64 = 1_699_999_200_000;

/// A purchase with what the rule looks at: 48 bytes.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Enriched {
    pub user: u64,
    pub card: u64,
    pub ts: i64,
    pub amount: i64,
    pub dollars: f64,
    pub merchant: u32,
    pub hour: u16,
    pub category: u16,
}

/// What is said of a purchase.
#[derive(Debug, Clone, Copy)]
pub struct Verdict {
    pub user: u64,
    pub ts: i64,
    pub amount: i64,
    pub tx_count_1h: i64,
    pub fraud: bool,
}

/// What is remembered of one user.
#[derive(Debug, Clone, Copy, Default)]
pub struct Profile {
    hour_start: i64,
    tx_count_1h: i64,
    total_1h: i64,
    tx_total: i64,
    avg_30d: f64,
}

impl Enriched {
    /// Event `index`, with hour of the day, category and dollars.
    #[inline(always)]
    pub fn of(index: u64) -> Self {
        let twice = index.wrapping_mul(2);
        let r0 = mix(SEED.wrapping_add(twice.wrapping_add(1).wrapping_mul(GAMMA)));
        let r1 = mix(SEED.wrapping_add(twice.wrapping_add(2).wrapping_mul(GAMMA)));
        let user = ((r0 >> 32) * USERS) >> 32;
        let base = 100 + ((r1 >> 2) & 0x3FFF) as i64;
        let amount = if (r1 >> 16) & 0x3FF == 0 { base * 50 } else { base };
        let merchant = (((r1 >> 32) * 10_000) >> 32) as u32;
        let ts = T0_MS + (index * 9 / 10) as i64;
        Self {
            user,
            card: user * 4 + (r1 & 3),
            ts,
            amount,
            dollars: amount as f64 / 100.0,
            merchant,
            hour: (ts / HOUR_MS % 24) as u16,
            category: (merchant & 31) as u16,
        }
    }
}

impl Profile {
    /// Judges a purchase by the profile before it, then adds it to the profile.
    #[inline]
    pub fn judge(&mut self, purchase: &Enriched) -> Verdict {
        let hour = purchase.ts - purchase.ts % HOUR_MS;
        if hour > self.hour_start {
            (self.hour_start, self.tx_count_1h, self.total_1h) = (hour, 0, 0);
        }
        self.tx_count_1h += 1;
        self.total_1h += purchase.amount;
        let amount = purchase.amount as f64;
        let is_far_above_mean = self.tx_total > 0 && amount > self.avg_30d * 10.0;
        self.avg_30d = match self.tx_total {
            0 => amount,
            _ => self.avg_30d + (amount - self.avg_30d) * 0.05,
        };
        self.tx_total += 1;
        Verdict {
            user: purchase.user,
            ts: purchase.ts,
            amount: purchase.amount,
            tx_count_1h: self.tx_count_1h,
            fraud: self.tx_count_1h > 5 || is_far_above_mean,
        }
    }
}

/// The output function of splitmix64.
#[inline]
fn mix(z: u64) -> u64 {
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
