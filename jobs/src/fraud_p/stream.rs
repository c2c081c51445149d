//! The synthetic purchases of `fraud-p`: pure arithmetic on the event's index, wrapping in `u64`.

use thalweg::prelude::*;

use super::zipf::Zipf;

const GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;

/// Event time of event 0: a full hour, in milliseconds since the epoch.
pub const T0_MS: i64 = 1_699_999_200_000;

/// Milliseconds of event time between two events: four million an hour.
const MS_PER_EVENT: f64 = 3_600_000.0 / 4_000_000.0;

/// A purchase as it is generated.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Purchase {
    /// Who bought.
    pub user: u64,
    /// The card: one of four per user.
    pub card: u64,
    /// Event time in milliseconds.
    pub ts: i64,
    /// The price in cents.
    pub amount: i64,
    /// Where, below 10,000.
    pub merchant: u32,
}

/// How users are drawn.
#[derive(Debug, Clone)]
pub struct Draw {
    /// How many users there are: 1 to 2^32.
    pub users: u64,
    /// The stream's seed.
    pub seed: u64,
    /// The share of the events that goes to user 0 beside its own.
    pub skew: f64,
    /// The exponent of a zipf distribution; without it users are drawn uniformly.
    pub zipf: Option<f64>,
}

/// The stream of purchases.
#[derive(Debug, Clone)]
pub struct Purchases {
    users: u64,
    seed: u64,
    skew_below: u64,
    zipf: Option<Zipf>,
}

impl Purchases {
    /// Checks the options and prepares the stream.
    ///
    /// # Errors
    /// A usage error that names the option and what it takes.
    pub fn new(draw: &Draw) -> thalweg::Result<Self> {
        let Draw { users, seed, skew, zipf } = *draw;
        if users == 0 || users > 1 << 32 {
            let text = format!("cannot draw from {users} users");
            return Err(thalweg::Error::usage(text).with_hint("--users takes 1 to 4294967296"));
        }
        if !(0.0..=1.0).contains(&skew) {
            let text = format!("cannot use a skew of {skew}");
            return Err(thalweg::Error::usage(text).with_hint("--skew takes a share, 0 to 1"));
        }
        if let Some(theta) = zipf
            && !(theta > 0.0 && theta < 1.0 && users > 2)
        {
            let text = format!("cannot draw {users} users with a zipf exponent of {theta}");
            let hint = "--zipf takes a number between 0 and 1, for more than 2 users";
            return Err(thalweg::Error::usage(text).with_hint(hint));
        }
        let skew_below = (skew * 4_294_967_296.0).floor() as u64;
        let zipf = zipf.map(|theta| Zipf::new(users, theta));
        Ok(Self { users, seed, skew_below, zipf })
    }

    /// Event `index`.
    #[inline(always)]
    pub fn purchase(&self, index: u64) -> Purchase {
        let twice = index.wrapping_mul(2);
        let r0 = mix(self.seed.wrapping_add(twice.wrapping_add(1).wrapping_mul(GAMMA)));
        let r1 = mix(self.seed.wrapping_add(twice.wrapping_add(2).wrapping_mul(GAMMA)));
        let drawn = match &self.zipf {
            None => ((r0 >> 32) * self.users) >> 32,
            Some(zipf) => zipf.rank((r0 >> 32) as u32),
        };
        let user = if (r0 & 0xFFFF_FFFF) < self.skew_below { 0 } else { drawn };
        let base = 100 + ((r1 >> 2) & 0x3FFF) as i64;
        let amount = if (r1 >> 16) & 0x3FF == 0 { base * 50 } else { base };
        Purchase {
            user,
            card: user * 4 + (r1 & 3),
            ts: timestamp(index),
            amount,
            merchant: (((r1 >> 32) * 10_000) >> 32) as u32,
        }
    }
}

/// Event time of event `index`: T0 and the whole part of `index` times 0.9, a product of doubles.
///
/// Below 2^49 the product's rounding never reaches a whole number from below, so that the integer
/// division gives the same and is cheaper.
#[inline]
fn timestamp(index: u64) -> Timestamp {
    if index < 1 << 49 {
        T0_MS + (index * 9 / 10) as Timestamp
    } else {
        T0_MS + (index as f64 * MS_PER_EVENT) as Timestamp
    }
}

/// The output function of splitmix64.
#[inline]
fn mix(z: u64) -> u64 {
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
