//! Which segments of a core are merged, and when.
//!
//! Every checkpoint names all segments and a restore reads all of them, so there must be neither
//! many nor much that is out of date.

use std::ops::Range;

/// When it pays to merge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MergeLimits {
    /// Bytes behind the first segment from which on all are merged into one, if they are twice as
    /// many as the first has too.
    pub bytes: u64,
    /// The highest number of segments.
    pub count: usize,
}

impl Default for MergeLimits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl MergeLimits {
    /// Few enough names, and rewriting at most what a disk takes in passing.
    pub(crate) const DEFAULT: Self = Self { bytes: 64 << 20, count: 64 };

    /// Which of the segments with these sizes, the oldest first, are to become one.
    ///
    /// All of them once what changed since is twice the first: state is rewritten for every two
    /// times that its size has changed. Else, if they are too many, so many neighbours that they
    /// are few enough then, a quarter of the highest number at least: those that are smallest
    /// together, so that a large one is rarely rewritten.
    pub(super) fn choose(self, sizes: &[u64]) -> Option<Range<usize>> {
        let (first, behind) = sizes.split_first()?;
        let bytes: u64 = behind.iter().sum();
        if !behind.is_empty() && bytes >= self.bytes.max(first.saturating_mul(2)) {
            return Some(0..sizes.len());
        }
        let (count, most) = (sizes.len(), self.count.max(1));
        if count <= most {
            return None;
        }
        let length = (count - most + 1).max(most / 4).max(2);
        let together = |from: &usize| sizes[*from..from + length].iter().sum::<u64>();
        let from = (0..=count - length).min_by_key(together)?;
        Some(from..from + length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: MergeLimits = MergeLimits { bytes: 100, count: 4 };

    #[test]
    fn few_small_segments_stay() {
        for sizes in [&[][..], &[5], &[1000, 10, 10, 10], &[1, 30, 30, 30]] {
            assert_eq!(LIMITS.choose(sizes), None, "{sizes:?}");
        }
    }

    #[test]
    fn all_become_one_when_twice_the_first_has_changed() {
        assert_eq!(LIMITS.choose(&[50, 60, 40]), Some(0..3));
        assert_eq!(LIMITS.choose(&[51, 60, 41]), None, "not twice as much");
        assert_eq!(LIMITS.choose(&[10, 60, 39]), None, "too little to bother");
        assert_eq!(LIMITS.choose(&[0, 200]), Some(0..2));
    }

    #[test]
    fn too_many_make_room_without_the_large_ones() {
        assert_eq!(LIMITS.choose(&[1000, 10, 10, 10, 10]), Some(1..3));
        assert_eq!(LIMITS.choose(&[1000, 80, 9, 9, 9, 9]), Some(2..5));
        assert_eq!(LIMITS.choose(&[1000, 1, 80, 9, 10]), Some(3..5));
    }

    /// A thousand checkpoints of a large state that changes a little.
    #[test]
    fn a_large_state_is_not_rewritten_for_small_changes() {
        let limits = MergeLimits::DEFAULT;
        let (mut sizes, mut rewritten, mut changed) = (vec![1 << 30], 0, 0);
        for _ in 0..1000 {
            sizes.push(10_000_u64);
            changed += 10_000;
            if let Some(range) = limits.choose(&sizes) {
                let bytes: u64 = sizes[range.clone()].iter().sum();
                rewritten += bytes;
                sizes.splice(range, [bytes]);
            }
            assert!(sizes.len() <= limits.count);
        }
        assert!(rewritten <= 3 * changed, "{rewritten} bytes rewritten for {changed}");
    }
}
