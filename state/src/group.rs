//! Key groups: the fixed number of shares in which a job's keys are dealt to its cores.
//!
//! A key's group never changes; what changes with the parallelism is only who owns a group. Every
//! core owns one contiguous range, and the ranges of all cores cover all groups exactly once.

use std::ops::RangeInclusive;

/// Most key groups that a job can have.
pub const MAX_PARALLELISM_LIMIT: u32 = 32_768;

/// Least default number of key groups.
const DEFAULT_FLOOR: u32 = 128;

/// The key group of a key with this hash, of `max_parallelism` groups.
#[inline]
pub fn key_group(hash: u64, max_parallelism: u32) -> u16 {
    debug_assert!(
        (1..=MAX_PARALLELISM_LIMIT).contains(&max_parallelism),
        "max parallelism {max_parallelism} is out of bounds"
    );
    let max = u64::from(max_parallelism);
    let group = if max.is_power_of_two() { hash & (max - 1) } else { hash % max };
    group as u16
}

/// The core that owns `group` at this parallelism.
#[inline]
pub fn owner(group: u16, parallelism: u32, max_parallelism: u32) -> u32 {
    u32::from(group) * parallelism / max_parallelism
}

/// The groups that `core` owns at this parallelism, first and last included.
///
/// Never empty, as the parallelism does not exceed the number of groups.
pub fn range(core: u32, parallelism: u32, max_parallelism: u32) -> RangeInclusive<u16> {
    check(parallelism, max_parallelism);
    assert!(core < parallelism, "core {core} of {parallelism} does not exist");
    let start = (core * max_parallelism).div_ceil(parallelism);
    let end = ((core + 1) * max_parallelism - 1) / parallelism;
    start as u16..=end as u16
}

/// The number of key groups of a job that names none: room for the parallelism to grow by half, at
/// least 128.
pub fn default_max_parallelism(parallelism: u32) -> u32 {
    assert!(
        (1..=MAX_PARALLELISM_LIMIT).contains(&parallelism),
        "parallelism {parallelism} is out of bounds"
    );
    (parallelism + parallelism / 2).next_power_of_two().clamp(DEFAULT_FLOOR, MAX_PARALLELISM_LIMIT)
}

/// Who owns which group, as a table: one load per record instead of a division.
#[derive(Clone, Debug)]
pub struct OwnerTable {
    owners: Box<[u16]>,
    /// The groups' number minus one if it is a power of two, else 0.
    mask: u64,
    parallelism: u32,
}

impl OwnerTable {
    /// Builds the table; the parallelism must lie in `1..=max_parallelism`.
    pub fn new(parallelism: u32, max_parallelism: u32) -> Self {
        check(parallelism, max_parallelism);
        let owners = (0..max_parallelism)
            .map(|group| owner(group as u16, parallelism, max_parallelism) as u16)
            .collect();
        let groups = u64::from(max_parallelism);
        let mask = if groups.is_power_of_two() { groups - 1 } else { 0 };
        Self { owners, mask, parallelism }
    }

    /// Number of key groups.
    #[inline]
    pub fn max_parallelism(&self) -> u32 {
        self.owners.len() as u32
    }

    /// Number of cores.
    #[inline]
    pub fn parallelism(&self) -> u32 {
        self.parallelism
    }

    /// The group of a key with this hash.
    #[inline]
    pub fn group(&self, hash: u64) -> u16 {
        match self.mask {
            0 => key_group(hash, self.max_parallelism()),
            mask => (hash & mask) as u16,
        }
    }

    /// The core that owns `group`.
    #[inline]
    pub fn owner(&self, group: u16) -> u32 {
        u32::from(self.owners[usize::from(group)])
    }

    /// The core that owns the key with this hash.
    #[inline]
    pub fn owner_of_hash(&self, hash: u64) -> u32 {
        self.owner(self.group(hash))
    }

    /// The groups of `core`.
    pub fn range(&self, core: u32) -> RangeInclusive<u16> {
        range(core, self.parallelism, self.max_parallelism())
    }
}

fn check(parallelism: u32, max_parallelism: u32) {
    assert!(
        (1..=MAX_PARALLELISM_LIMIT).contains(&max_parallelism),
        "max parallelism {max_parallelism} is out of bounds"
    );
    assert!(
        (1..=max_parallelism).contains(&parallelism),
        "parallelism {parallelism} is not in 1..={max_parallelism}"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::manual_div_ceil, reason = "spelled as Flink does")]
    fn ranges_follow_flinks_formulas_and_agree_with_the_owners() {
        for max in [1, 2, 7, 120, 128, 720, 1000, 32_768] {
            for parallelism in [1, 2, 3, 5, 7, 16, 100, 127, 128, 999, 32_768] {
                if parallelism > max {
                    continue;
                }
                let table = OwnerTable::new(parallelism, max);
                let mut next = 0;
                for core in 0..parallelism {
                    let range = table.range(core);
                    let (p, i) = (u64::from(parallelism), u64::from(core));
                    let start = (i * u64::from(max) + p - 1) / p;
                    let end = ((i + 1) * u64::from(max) - 1) / p;
                    assert_eq!(u64::from(*range.start()), start);
                    assert_eq!(u64::from(*range.end()), end);
                    assert_eq!(u32::from(*range.start()), next, "ranges leave no gap");
                    assert!(range.clone().all(|group| table.owner(group) == core));
                    next = u32::from(*range.end()) + 1;
                }
                assert_eq!(next, max, "ranges cover all groups");
            }
        }
    }

    #[test]
    fn a_group_is_the_hash_modulo_the_number_of_groups() {
        for hash in [0, 1, 127, 128, u64::MAX, 0x9e37_79b9_7f4a_7c15] {
            for max in [1_u32, 2, 120, 128, 360, 32_768] {
                assert_eq!(u64::from(key_group(hash, max)), hash % u64::from(max));
                let table = OwnerTable::new(1, max);
                assert_eq!(table.group(hash), key_group(hash, max));
                assert_eq!(table.owner_of_hash(hash), 0);
            }
        }
    }

    #[test]
    fn the_default_leaves_room_and_stays_in_bounds() {
        for (parallelism, expected) in
            [(1, 128), (85, 128), (86, 256), (128, 256), (20_000, 32_768), (32_768, 32_768)]
        {
            assert_eq!(default_max_parallelism(parallelism), expected, "{parallelism}");
        }
    }

    #[test]
    #[should_panic(expected = "parallelism 129 is not in 1..=128")]
    fn more_cores_than_groups_are_refused() {
        OwnerTable::new(129, 128);
    }
}
