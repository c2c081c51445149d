//! The synthetic purchases of the workload `fraud-p`, as pure arithmetic on the event's index.
//!
//! The engine's generator computes the same stream by itself; that the two agree is what the
//! digests of the benchmarks compare. All integer arithmetic wraps in `u64`.

use crate::zipf::Zipf;

/// The increment of the splitmix64 sequence.
const GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;

/// Event time of event 0, a full hour, in milliseconds since the epoch.
pub const T0_MS: i64 = 1_699_999_200_000;

/// The seed unless another is given.
pub const SEED: u64 = 42;

/// Milliseconds in an hour of event time.
pub const HOUR_MS: i64 = 3_600_000;

/// One purchase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// Who bought; the key of the job.
    pub user: u64,
    /// The card: one of four per user.
    pub card: u64,
    /// The price in cents.
    pub amount: i64,
    /// Where it was bought, below 10,000.
    pub merchant: u32,
    /// Event time in milliseconds.
    pub ts: i64,
}

/// How users are drawn.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many users there are.
    pub users: u64,
    /// The seed of the stream.
    pub seed: u64,
    /// The share of the events that belong to user 0, on top of its own share.
    pub skew: f64,
    /// The exponent of a zipf distribution of the users; none draws them uniformly.
    pub zipf: Option<f64>,
}

impl Default for Options {
    fn default() -> Self {
        Self { users: 1_000_000, seed: SEED, skew: 0.0, zipf: None }
    }
}

/// Which events a split emits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assign {
    /// Split `s` of `S` emits the events `s, s + S, s + 2S, …`.
    Index,
    /// Split `s` of `S` emits the events of the users with `user % S == s`, in order of the index.
    User,
}

/// The stream of purchases. Copied into each worker.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    users: u64,
    seed: u64,
    skew_below: u64,
    zipf: Option<Zipf>,
}

impl Workload {
    /// Prepares the stream. With a zipf distribution the sum of its weights costs some 20
    /// ns a user.
    pub fn new(options: &Options) -> Self {
        let users = options.users;
        assert!(users > 0 && users <= 1 << 32, "{users} users: between 1 and 2^32 are possible");
        let skew = options.skew;
        assert!((0.0..=1.0).contains(&skew), "skew {skew}: a share lies between 0 and 1");
        let zipf = options.zipf.map(|exponent| Zipf::new(users, exponent));
        let skew_below = (skew * 4_294_967_296.0).floor() as u64;
        Self { users, seed: options.seed, skew_below, zipf }
    }

    /// How many users there are.
    pub fn users(&self) -> u64 {
        self.users
    }

    /// Event `index` of the stream, for indices below 2^49.
    #[inline(always)]
    pub fn event(&self, index: u64) -> Event {
        let state = self.seed.wrapping_add(index.wrapping_mul(2).wrapping_mul(GAMMA));
        let r0 = mix(state.wrapping_add(GAMMA));
        let r1 = mix(state.wrapping_add(GAMMA.wrapping_mul(2)));
        let user = self.user(r0);
        let base = 100 + ((r1 >> 2) & 0x3FFF) as i64;
        let amount = if (r1 >> 16) & 0x3FF == 0 { base * 50 } else { base };
        let merchant = (((r1 >> 32) * 10_000) >> 32) as u32;
        Event { user, card: user * 4 + (r1 & 3), amount, merchant, ts: timestamp(index) }
    }

    #[inline(always)]
    fn user(&self, r0: u64) -> u64 {
        let drawn = match &self.zipf {
            None => ((r0 >> 32) * self.users) >> 32,
            Some(zipf) => zipf.rank((r0 >> 32) as u32),
        };
        if (r0 & 0xFFFF_FFFF) < self.skew_below { 0 } else { drawn }
    }
}

/// Event time of event `index`: four million events an hour.
///
/// The stream defines it as `T0 + trunc(index as f64 * 0.9)`. Below 2^49 the product's rounding
/// never reaches an integer from below, so that the integer division gives the same and is
/// cheaper.
#[inline(always)]
fn timestamp(index: u64) -> i64 {
    debug_assert!(index < 1 << 49, "index {index} is beyond the range of exact timestamps");
    T0_MS + (index * 9 / 10) as i64
}

/// The output function of splitmix64.
#[inline(always)]
pub fn mix(z: u64) -> u64 {
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(event: Event) -> (u64, u64, i64, u32, i64) {
        (event.user, event.card, event.amount, event.merchant, event.ts)
    }

    #[test]
    fn events_equal_values_computed_by_another_program() {
        let stream = Workload::new(&Options::default());
        let expected = [
            (0, (741_564, 2_966_259, 15_524, 1_599, 1_699_999_200_000)),
            (1, (278_601, 1_114_404, 14_665, 3_441, 1_699_999_200_000)),
            (2, (38_030, 152_122, 14_117, 8_682, 1_699_999_200_001)),
            (3_999_999, (142_445, 569_780, 6_145, 6_476, 1_700_002_799_999)),
            (4_000_000, (848_513, 3_394_055, 2_911, 4_180, 1_700_002_800_000)),
            (123_456_789_012, (30_956, 123_827, 12_039, 2_604, 1_811_110_310_110)),
        ];
        for (index, event) in expected {
            assert_eq!(fields(stream.event(index)), event, "event {index}");
        }
        let other = Workload::new(&Options { users: 1_000, seed: 7, ..Options::default() });
        assert_eq!(fields(other.event(5)), (103, 412, 6_447, 9_598, 1_699_999_200_004));
    }

    #[test]
    fn skew_sends_its_share_of_the_events_to_user_0() {
        let stream = Workload::new(&Options { skew: 0.3, ..Options::default() });
        let users: Vec<u64> = (0..12).map(|index| stream.event(index).user).collect();
        assert_eq!(users, [0, 0, 0, 0, 0, 204_901, 513_396, 0, 103_574, 0, 957_325, 0]);
        let even = Workload::new(&Options { skew: 0.5, ..Options::default() });
        assert_eq!((0..20_000).filter(|&index| even.event(index).user == 0).count(), 9_915);
    }

    #[test]
    fn zipf_users_equal_values_computed_by_another_program() {
        let stream = Workload::new(&Options { zipf: Some(0.99), ..Options::default() });
        let users: Vec<u64> = (0..12).map(|index| stream.event(index).user).collect();
        assert_eq!(users, [27_715, 32, 0, 12, 80, 10, 1_046, 9_362, 2, 1, 558_043, 3_666]);
    }

    #[test]
    fn the_timestamp_equals_its_definition_in_floating_point() {
        let definition = |index: u64| T0_MS + (index as f64 * (3_600_000.0 / 4_000_000.0)) as i64;
        let near = 0..200_000_u64;
        let far = (0..200_000).map(|step| (1 << 49) - 1 - step * 7);
        let spread = (0..200_000).map(|step| mix(step) >> 15);
        for index in near.chain(far).chain(spread) {
            assert_eq!(timestamp(index), definition(index), "event {index}");
        }
    }
}
