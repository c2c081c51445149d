//! Zipf-distributed ranks from 32 random bits, by the method of Gray et al., "Quickly generating
//! billion-record synthetic databases" (SIGMOD 1994), which YCSB made the standard.
//!
//! Rank 0 is the most frequent. The arithmetic is IEEE doubles in a stated order, so that another
//! implementation of the same steps gives the same ranks:
//!
//! ```text
//! zetan  = sum over i = 1, 2, …, n of 1 / i^theta        (added in this order)
//! second = 1 + 0.5^theta;  alpha = 1 / (1 - theta)
//! eta    = (1 - (2/n)^(1 - theta)) / (1 - second/zetan)
//! u = bits / 2^32;  rank = 0 if u*zetan < 1, else 1 if u*zetan < second,
//!                   else min(n - 1, trunc(n * (eta*u - eta + 1)^alpha))
//! ```
//!
//! An alpha within 1e-9 (relative) of a whole number, as 100 is for theta = 0.99, counts as
//! that number, and the power is taken by squaring and multiplying from the lowest bit upwards.

/// A zipf distribution over the ranks `0 … n - 1`.
#[derive(Clone, Copy, Debug)]
pub struct Zipf {
    count: f64,
    rank_max: u64,
    zetan: f64,
    second: f64,
    eta: f64,
    alpha: f64,
    /// `alpha` as a whole number, or 0 if it is none.
    alpha_whole: u32,
}

impl Zipf {
    /// Prepares the distribution over `count` ranks with exponent `theta` between 0 and 1,
    /// exclusive.
    pub fn new(count: u64, theta: f64) -> Self {
        assert!(theta > 0.0 && theta < 1.0, "zipf exponent {theta} is not between 0 and 1");
        assert!(count > 2, "a zipf distribution of {count} ranks");
        let zetan = (1..=count).map(|rank| 1.0 / (rank as f64).powf(theta)).sum::<f64>();
        let second = 1.0 + 0.5_f64.powf(theta);
        let tail = 1.0 - (2.0 / count as f64).powf(1.0 - theta);
        let alpha = 1.0 / (1.0 - theta);
        let nearest = alpha.round();
        let is_whole = (alpha - nearest).abs() < 1e-9 * nearest;
        Self {
            count: count as f64,
            rank_max: count - 1,
            zetan,
            second,
            eta: tail / (1.0 - second / zetan),
            alpha,
            alpha_whole: if is_whole { nearest as u32 } else { 0 },
        }
    }

    /// The rank that belongs to 32 uniformly distributed bits.
    #[inline(always)]
    pub fn rank(&self, bits: u32) -> u64 {
        let u = f64::from(bits) / 4_294_967_296.0;
        let scaled = u * self.zetan;
        let base = self.eta * u - self.eta + 1.0;
        let drawn = ((self.count * self.power(base)) as i64 as u64).min(self.rank_max);
        let head = if scaled < 1.0 { 0 } else { 1 };
        if scaled < self.second { head } else { drawn }
    }

    #[inline(always)]
    fn power(&self, base: f64) -> f64 {
        match self.alpha_whole {
            0 => base.powf(self.alpha),
            // The usual exponent without its loop: the same products in the same order.
            100 => {
                let p4 = (base * base) * (base * base);
                let p32 = ((p4 * p4) * (p4 * p4)) * ((p4 * p4) * (p4 * p4));
                (p4 * p32) * (p32 * p32)
            }
            whole => power_whole(base, whole),
        }
    }
}

/// `base` to a whole power, by squaring and multiplying from the lowest bit upwards.
fn power_whole(base: f64, exponent: u32) -> f64 {
    let (mut result, mut square, mut left) = (1.0, base, exponent);
    loop {
        if left & 1 == 1 {
            result *= square;
        }
        left >>= 1;
        if left == 0 {
            return result;
        }
        square *= square;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_equal_values_computed_by_another_program() {
        let zipf = Zipf::new(1_000_000, 0.99);
        assert_eq!(zipf.zetan, 15.391849746037371);
        assert_eq!(zipf.eta, 0.1362913333941101);
        assert_eq!(zipf.alpha_whole, 100);
        assert_eq!(Zipf::new(1_000, 0.7).alpha_whole, 0);
    }

    #[test]
    fn the_usual_exponent_is_taken_like_any_other_whole_one() {
        let zipf = Zipf::new(1_000_000, 0.99);
        for step in 0..10_000 {
            let base = 0.86 + f64::from(step) * 1.4e-5;
            assert_eq!(zipf.power(base).to_bits(), power_whole(base, 100).to_bits(), "{base}");
        }
    }

    #[test]
    fn ranks_stay_in_range_and_never_fall() {
        let zipf = Zipf::new(1_000_000, 0.99);
        let ranks = (0..=u32::MAX).step_by(65_537).map(|bits| zipf.rank(bits));
        assert!(ranks.is_sorted());
        assert_eq!(zipf.rank(0), 0);
        assert!(zipf.rank(u32::MAX) > 999_900, "{}", zipf.rank(u32::MAX));
    }
}
