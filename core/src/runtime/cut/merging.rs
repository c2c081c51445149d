//! Which segments of a core are merged, and when.
//!
//! Every checkpoint names all segments and a restore reads all of them, so there must be neither
//! many nor much that is out of date. Those that a core encodes are not sorted, and merging them
//! takes as much memory as they have bytes: so they are sorted before they are too much.

use std::ops::Range;

/// When it pays to merge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MergeLimits {
    /// Bytes behind the first segment from which on all are merged into one, if they are twice as
    /// many as the first has too.
    pub bytes: u64,
    /// The highest number of segments.
    pub count: usize,
    /// Bytes of segments that are not sorted from which on they are merged with each other; so many
    /// a merge sorts in memory at the most, or one segment that has more.
    pub unsorted_bytes: u64,
}

/// What the choice needs to know of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) bytes: u64,
    /// Whether merging it takes no memory to speak of.
    pub(super) is_sorted: bool,
}

impl Default for MergeLimits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl MergeLimits {
    /// Few enough names, and rewriting at most what a disk takes in passing.
    pub(crate) const DEFAULT: Self = Self { bytes: 64 << 20, count: 64, unsorted_bytes: 64 << 20 };

    /// Which of the segments with these sizes, the oldest first, are to become one now.
    ///
    /// What [pays](Self::worthwhile), or all where those that are not sorted are too large together
    /// and no segment will tell all state in their stead. But where a merge would have to sort too
    /// much in memory, some of that comes first, by itself.
    pub(super) fn choose(self, sizes: &[Size], can_tell_all: bool) -> Option<Range<usize>> {
        let exceeds = |range: &Range<usize>| {
            let unsorted = sizes[range.clone()].iter().filter(|size| !size.is_sorted);
            unsorted.map(|size| size.bytes).sum::<u64>() > self.unsorted_bytes
        };
        let worthwhile = self.worthwhile(sizes).filter(|range| !(can_tell_all && range.start == 0));
        let all = Some(0..sizes.len()).filter(|all| !can_tell_all && exceeds(all));
        let range = worthwhile.or(all)?;
        if !exceeds(&range) {
            return Some(range);
        }
        let from = range.start + sizes[range.clone()].iter().position(|size| !size.is_sorted)?;
        let mut bytes = sizes[from].bytes;
        let fits = |size: &&Size| {
            bytes = bytes.saturating_add(size.bytes);
            !size.is_sorted && bytes <= self.unsorted_bytes
        };
        let more = sizes[from + 1..range.end].iter().take_while(fits).count();
        Some(from..from + 1 + more)
    }

    /// Which segments it pays to merge.
    ///
    /// All of them once what changed since is twice the first: state is rewritten for every two
    /// times that its size has changed. Else, if they are too many, so many neighbours that they
    /// are few enough then, a quarter of the highest number at least: those that are smallest
    /// together, so that a large one is rarely rewritten.
    pub(super) fn worthwhile(self, sizes: &[Size]) -> Option<Range<usize>> {
        let (first, behind) = sizes.split_first()?;
        let bytes = |sizes: &[Size]| sizes.iter().map(|size| size.bytes).sum::<u64>();
        let twice_the_first = first.bytes.saturating_mul(2);
        if !behind.is_empty() && bytes(behind) >= self.bytes.max(twice_the_first) {
            return Some(0..sizes.len());
        }
        let (count, most) = (sizes.len(), self.count.max(1));
        if count <= most {
            return None;
        }
        let length = (count - most + 1).max(most / 4).max(2);
        let together = |from: &usize| bytes(&sizes[*from..from + length]);
        let from = (0..=count - length).min_by_key(together)?;
        Some(from..from + length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: MergeLimits = MergeLimits { bytes: 100, count: 4, unsorted_bytes: 50 };

    fn sorted(sizes: &[u64]) -> Vec<Size> {
        sizes.iter().map(|bytes| Size { bytes: *bytes, is_sorted: true }).collect()
    }

    /// Sorted ones, then others.
    fn mixed(first: &[u64], behind: &[u64]) -> Vec<Size> {
        let behind = behind.iter().map(|bytes| Size { bytes: *bytes, is_sorted: false });
        sorted(first).into_iter().chain(behind).collect()
    }

    fn choose(sizes: &[u64]) -> Option<Range<usize>> {
        let chosen = LIMITS.choose(&sorted(sizes), false);
        assert_eq!(chosen, LIMITS.worthwhile(&mixed(&[], sizes)));
        chosen
    }

    #[test]
    fn few_small_segments_stay() {
        for sizes in [&[][..], &[5], &[1000, 10, 10, 10], &[1, 30, 30, 30]] {
            assert_eq!(choose(sizes), None, "{sizes:?}");
        }
    }

    #[test]
    fn all_become_one_when_twice_the_first_has_changed() {
        assert_eq!(choose(&[50, 60, 40]), Some(0..3));
        assert_eq!(choose(&[51, 60, 41]), None, "not twice as much");
        assert_eq!(choose(&[10, 60, 39]), None, "too little to bother");
        assert_eq!(choose(&[0, 200]), Some(0..2));
    }

    #[test]
    fn too_many_make_room_without_the_large_ones() {
        assert_eq!(choose(&[1000, 10, 10, 10, 10]), Some(1..3));
        assert_eq!(choose(&[1000, 80, 9, 9, 9, 9]), Some(2..5));
        assert_eq!(choose(&[1000, 1, 80, 9, 10]), Some(3..5));
    }

    #[test]
    fn what_a_segment_can_tell_by_itself_is_not_merged() {
        assert_eq!(LIMITS.choose(&sorted(&[50, 60, 40]), true), None);
        assert_eq!(LIMITS.choose(&mixed(&[1000], &[30, 30]), true), None);
        assert_eq!(LIMITS.choose(&sorted(&[1000, 10, 10, 10, 10]), true), Some(1..3));
    }

    #[test]
    fn what_is_not_sorted_is_merged_with_its_like_in_time() {
        assert_eq!(LIMITS.choose(&mixed(&[1000], &[30, 20]), false), None);
        assert_eq!(LIMITS.choose(&mixed(&[1000], &[30, 20, 1]), false), Some(1..3));
        assert_eq!(LIMITS.choose(&mixed(&[1000], &[30, 21]), false), Some(1..2));
        assert_eq!(LIMITS.choose(&mixed(&[1000], &[60]), false), Some(1..2), "alone");
        assert_eq!(LIMITS.choose(&mixed(&[], &[60, 1]), false), Some(0..1));
        // Whatever is to be merged, too much of it is never sorted at once.
        assert_eq!(LIMITS.choose(&mixed(&[10], &[30, 20, 60]), false), Some(1..3));
        assert_eq!(LIMITS.choose(&mixed(&[10, 50], &[60]), false), Some(2..3));
        assert_eq!(LIMITS.choose(&sorted(&[10, 50, 60]), false), Some(0..3));
        let mut between = mixed(&[1000], &[30]);
        between.extend(mixed(&[500], &[30]));
        assert_eq!(LIMITS.choose(&between, false), Some(1..2));
    }

    /// Days of checkpoints of a state that changes all the time and cannot be told whole.
    #[test]
    fn no_merge_sorts_more_than_the_limit_or_one_segment() {
        let limits = MergeLimits::DEFAULT;
        let (mut sizes, mut rewritten, mut changed, mut largest) = (Vec::new(), 0, 0, 0);
        for at in 0..20_000_u64 {
            let bytes = (at % 7 + 1) << 20;
            sizes.push(Size { bytes, is_sorted: false });
            changed += bytes;
            while let Some(range) = limits.choose(&sizes, false) {
                let merged = &sizes[range.clone()];
                let unsorted = merged.iter().filter(|size| !size.is_sorted);
                largest = unsorted.map(|size| size.bytes).sum::<u64>().max(largest);
                let all: u64 = merged.iter().map(|size| size.bytes).sum();
                rewritten += all;
                // State has 4 GiB.
                let bytes = if range.start == 0 { all.min(4 << 30) } else { all };
                sizes.splice(range, [Size { bytes, is_sorted: true }]);
            }
            assert!(sizes.len() <= limits.count);
        }
        assert!(largest <= limits.unsorted_bytes, "{largest} bytes were sorted at once");
        assert!(rewritten <= 6 * changed, "{rewritten} bytes rewritten for {changed}");
    }

    /// A thousand checkpoints of a large state that changes a little.
    #[test]
    fn a_large_state_is_not_rewritten_for_small_changes() {
        let limits = MergeLimits::DEFAULT;
        let (mut sizes, mut rewritten, mut changed) = (sorted(&[1 << 30]), 0, 0);
        for _ in 0..1000 {
            sizes.push(Size { bytes: 10_000, is_sorted: false });
            changed += 10_000;
            if let Some(range) = limits.choose(&sizes, false) {
                let bytes = sizes[range.clone()].iter().map(|size| size.bytes).sum();
                rewritten += bytes;
                sizes.splice(range, [Size { bytes, is_sorted: true }]);
            }
            assert!(sizes.len() <= limits.count);
        }
        assert!(rewritten <= 3 * changed, "{rewritten} bytes rewritten for {changed}");
    }
}
