//! The open-addressing table of the baseline: one 64-byte line per user, prefetched by the caller.
//!
//! A power-of-two number of lines, at most a third of them in use: at half, the second line that a
//! third of the users then need costs more than all the rest of the work. The home line comes from
//! the high bits of the hash; the line that shares its 128-byte pair is probed second, since
//! processors tend to load it along, then the next pair. The number of users is known: the table
//! never grows.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::arch::x86_64::{_MM_HINT_T0, _MM_HINT_T1, _mm_prefetch};
use std::ptr::NonNull;

use rustix::mm::{Advice, madvise};

/// Alignment of the table: one huge page.
const HUGE_PAGE: usize = 2 << 20;

/// What the rule knows of one user.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C)]
pub struct Profile {
    /// The start of the hour that the counts belong to.
    pub hour_start: i64,
    /// Purchases in that hour.
    pub tx_count_1h: i64,
    /// Cents in that hour.
    pub total_1h: i64,
    /// Purchases ever.
    pub tx_total: i64,
    /// The moving average of the amounts.
    pub avg_30d: f64,
}

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line {
    /// The hash with its lowest bit set; 0 if the line is free.
    tag: u64,
    user: u64,
    profile: Profile,
}

/// Profiles by user.
pub struct Table {
    lines: NonNull<Line>,
    mask: usize,
    shift: u32,
    used: usize,
    layout: Layout,
}

// SAFETY: the table owns its lines alone, as a boxed slice would.
unsafe impl Send for Table {}

impl Table {
    /// A table for `users` users. All its pages are touched here.
    pub fn for_users(users: u64, huge_pages: bool) -> Self {
        let count = (users as usize * 3).next_power_of_two().max(1 << 15);
        let layout = Layout::array::<Line>(count).and_then(|layout| layout.align_to(HUGE_PAGE));
        let layout = layout.expect("a table fits the address space");
        // SAFETY: the layout is not empty.
        let start = unsafe { alloc(layout) };
        let Some(start) = NonNull::new(start) else { handle_alloc_error(layout) };
        if huge_pages {
            // SAFETY: the range is ours, and this advice does not change what it holds. Where there
            // are no huge pages small ones do.
            let _ = unsafe { madvise(start.as_ptr().cast(), layout.size(), Advice::LinuxHugepage) };
        }
        // SAFETY: the range is ours; all zeros is a valid line.
        unsafe { start.as_ptr().write_bytes(0, layout.size()) };
        let shift = 64 - count.trailing_zeros();
        Self { lines: start.cast(), mask: count - 1, shift, used: 0, layout }
    }

    /// How many users have a profile.
    pub fn len(&self) -> usize {
        self.used
    }

    /// Whether no user has a profile.
    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Starts to load the home line of a hash.
    #[inline(always)]
    pub fn prefetch(&self, hash: u64) {
        let home = (hash >> self.shift) as usize;
        // SAFETY: the shift leaves as many bits as the table has lines; a prefetch reads nothing.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(self.lines.as_ptr().add(home).cast()) };
    }

    /// Starts to load the home line of a hash into the second cache only.
    #[inline(always)]
    pub fn prefetch_far(&self, hash: u64) {
        let home = (hash >> self.shift) as usize;
        // SAFETY: as in `prefetch`.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(self.lines.as_ptr().add(home).cast()) };
    }

    /// The profile of a user, an empty one if there was none.
    #[inline(always)]
    pub fn profile(&mut self, hash: u64, user: u64) -> &mut Profile {
        let tag = hash | 1;
        let home = (hash >> self.shift) as usize;
        let mut at = home;
        loop {
            // SAFETY: `at` is masked to the number of lines.
            let line = unsafe { &mut *self.lines.as_ptr().add(at) };
            if line.tag == tag && line.user == user {
                return &mut line.profile;
            }
            if line.tag == 0 {
                self.take(at, tag, user);
                // SAFETY: as above; the line is written again to end the borrow before it.
                return unsafe { &mut (*self.lines.as_ptr().add(at)).profile };
            }
            // The other line of the pair comes second, then the next pair.
            at = if (at ^ home) & 1 == 0 { at ^ 1 } else { ((at ^ 1) + 2) & self.mask };
        }
    }

    #[cold]
    #[inline(never)]
    fn take(&mut self, at: usize, tag: u64, user: u64) {
        self.used += 1;
        assert!(self.used * 2 <= self.mask + 1, "{} users in {} lines", self.used, self.mask + 1);
        // SAFETY: the caller masked `at` to the number of lines.
        unsafe { *self.lines.as_ptr().add(at) = Line { tag, user, profile: Profile::default() } };
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout, and nobody borrows it any more.
        unsafe { dealloc(self.lines.as_ptr().cast(), self.layout) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_that_share_a_home_line_keep_their_own_profiles() {
        let mut table = Table::for_users(100, false);
        for round in 0..3 {
            for user in 0..100 {
                let profile = table.profile(u64::MAX, user);
                assert_eq!(profile.tx_total, round * user as i64);
                profile.tx_total += user as i64;
            }
        }
        assert_eq!(table.len(), 100);
    }

    #[test]
    #[should_panic(expected = "users in")]
    fn more_users_than_announced_are_refused() {
        let mut table = Table::for_users(1, false);
        for user in 0..20_000 {
            table.profile(user << 40, user);
        }
    }
}
