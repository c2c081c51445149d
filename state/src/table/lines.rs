//! The memory of a table's lines.
//!
//! Zeroed memory is an array of empty lines, so a new table costs no initialisation. Large arrays
//! are mapped on their own, aligned for huge pages, and can be given back from the front while a
//! rehash empties them: one `free` of gigabytes would stop the core for tens of milliseconds.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::mem::MaybeUninit;
use std::ptr::NonNull;

use rustix::mm::{Advice, MapFlags, ProtFlags};

/// Bytes of a line that hold a key and a value, or a slab index.
pub(super) const PAYLOAD_BYTES: usize = 48;

/// Size of a huge page.
const HUGE_PAGE: usize = 2 << 20;

/// Least size of lines that are mapped on their own; the allocator would clear them at once.
const MAPPED_MIN: usize = 128 << 10;

/// Size of the pieces in which memory of small pages is given back: some ten microseconds each.
const PIECE: usize = 64 << 10;

/// Spreads hashes whose low bits are fixed by the key group, unless a table is given an odd number
/// of its own; 2^64 divided by the golden ratio.
pub(super) const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// The line holds an entry.
const OCCUPIED: u64 = 1;

/// The line held an entry; probes go on behind it.
const REMOVED: u64 = 2;

/// The entry was accessed since the bit was last cleared.
const REFERENCED: u64 = 4;

/// The entry changed since it was last given to the cold tier.
const DIRTY: u64 = 8;

/// The cold tier may hold a row of this key, be it an older one.
const STORED: u64 = 16;

/// Where the number of the run begins with which the entry is on its way to the cold tier.
const RUN_SHIFT: u32 = 5;

/// The number of that run; 0: it is on its way with none.
const RUN: u64 = (super::RUNS_MAX as u64) << RUN_SHIFT;

/// A segment, or a block that will be part of one, may hold the key's value.
const NOTED: u64 = 128;

/// What a change leaves alone.
const KEPT: u64 = STORED | RUN | NOTED;

/// Bits of `meta` below the epoch.
const EPOCH_SHIFT: u32 = 8;

/// One entry: 16 bytes of header and the payload.
#[repr(C, align(64))]
pub(super) struct Line {
    /// The whole hash of the key, so that a rehash needs no keys.
    pub(super) hash: u64,
    /// Flags in the low byte, the epoch above; 0 for an empty line.
    meta: u64,
    pub(super) payload: [MaybeUninit<u8>; PAYLOAD_BYTES],
}

impl Line {
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.meta == 0
    }

    #[inline]
    pub(super) fn is_occupied(&self) -> bool {
        self.meta & OCCUPIED != 0
    }

    #[inline]
    pub(super) fn epoch(&self) -> u64 {
        self.meta >> EPOCH_SHIFT
    }

    #[inline]
    pub(super) fn is_referenced(&self) -> bool {
        self.meta & REFERENCED != 0
    }

    #[inline]
    pub(super) fn is_dirty(&self) -> bool {
        self.meta & DIRTY != 0
    }

    #[inline]
    pub(super) fn is_stored(&self) -> bool {
        self.meta & STORED != 0
    }

    /// The run with which the entry is on its way to the cold tier; 0: none.
    #[inline]
    pub(super) fn run(&self) -> u8 {
        ((self.meta & RUN) >> RUN_SHIFT) as u8
    }

    /// Makes the line that of an entry changed in `epoch`.
    #[inline]
    pub(super) fn occupy(&mut self, epoch: u64) {
        debug_assert!(epoch >> (u64::BITS - EPOCH_SHIFT) == 0, "epoch {epoch} exceeds 56 bits");
        self.meta = epoch << EPOCH_SHIFT | self.meta & KEPT | DIRTY | REFERENCED | OCCUPIED;
    }

    /// Notes that the cold tier may hold a row of the entry's key.
    #[inline]
    pub(super) fn set_stored(&mut self) {
        self.meta |= STORED;
    }

    /// Makes the entry one that is as the cold tier has it, last changed before all epochs.
    #[inline]
    pub(super) fn set_restored(&mut self) {
        self.meta = NOTED | STORED | REFERENCED | OCCUPIED;
    }

    /// Makes the entry one that segments hold as it is, and the cold tier not yet; `stored`: that
    /// may hold an older one.
    #[inline]
    pub(super) fn set_replayed(&mut self, stored: bool) {
        let stored = if stored { STORED } else { self.meta & STORED };
        self.meta = NOTED | self.meta & RUN | stored | DIRTY | REFERENCED | OCCUPIED;
    }

    /// Whether segments may hold the key's value.
    #[inline]
    pub(super) fn is_noted(&self) -> bool {
        self.meta & NOTED != 0
    }

    /// Notes that a block holds the entry as it was before its last change.
    #[inline]
    pub(super) fn note(&mut self) {
        self.meta |= NOTED;
    }

    /// Notes that a block holds the entry as it is: nothing of it is left to encode.
    #[inline]
    pub(super) fn set_noted(&mut self) {
        self.meta = self.meta & ((1 << EPOCH_SHIFT) - 1) | NOTED;
    }

    /// Notes that the entry, as it is, is on its way with a run.
    #[inline]
    pub(super) fn send_with(&mut self, run: u8) {
        debug_assert!((1..=super::RUNS_MAX).contains(&run), "run {run}");
        self.meta = self.meta & !(DIRTY | REFERENCED | RUN) | STORED | u64::from(run) << RUN_SHIFT;
    }

    /// Notes that the run has arrived.
    #[inline]
    pub(super) fn arrive(&mut self) {
        self.meta &= !RUN;
    }

    #[inline]
    pub(super) fn refer(&mut self) {
        self.meta |= REFERENCED;
    }

    #[inline]
    pub(super) fn age(&mut self) {
        self.meta &= !REFERENCED;
    }

    #[inline]
    pub(super) fn set_removed(&mut self) {
        self.meta = REMOVED;
    }

    #[inline]
    fn set_empty(&mut self) {
        self.meta = 0;
    }

    /// Copies an entry, payload and all; the source must not be used as an entry any more.
    #[inline]
    pub(super) fn move_from(&mut self, source: &Line) {
        self.hash = source.hash;
        self.meta = source.meta;
        self.payload = source.payload;
    }
}

/// A power-of-two array of lines.
pub(super) struct Lines {
    first: NonNull<Line>,
    count: usize,
    /// Odd number by which hashes are multiplied.
    spread: u64,
    /// Shift that takes a spread hash to its home line.
    shift: u32,
    memory: Memory,
    /// Bytes at the front that were given back.
    released: usize,
}

enum Memory {
    Heap,
    Mapped { base: NonNull<u8>, length: usize, piece: usize },
}

// SAFETY: `Lines` owns its memory alone, as a `Box<[Line]>` would; what the payloads hold is
// bounded by the table.
unsafe impl Send for Lines {}

impl Lines {
    /// Makes `count` empty lines; `count` is a power of two of at least 2, `spread` is odd.
    pub(super) fn new(count: usize, spread: u64) -> Self {
        assert!(count.is_power_of_two() && count >= 2, "{count} lines");
        debug_assert!(spread & 1 == 1, "hashes times {spread:#x}");
        let (first, memory) = allocate(count);
        let shift = u64::BITS - count.trailing_zeros();
        Self { first, count, spread, shift, memory, released: 0 }
    }

    #[inline]
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// What their order comes from.
    pub(super) fn spread(&self) -> u64 {
        self.spread
    }

    /// Memory that was not given back.
    pub(super) fn bytes(&self) -> usize {
        self.count * size_of::<Line>() - self.released
    }

    /// Whether memory is taken up page by page as lines are first used.
    pub(super) fn is_mapped(&self) -> bool {
        matches!(self.memory, Memory::Mapped { .. })
    }

    #[inline]
    pub(super) fn home(&self, hash: u64) -> usize {
        (hash.wrapping_mul(self.spread) >> self.shift) as usize
    }

    #[inline]
    pub(super) fn next(&self, index: usize) -> usize {
        (index + 1) & (self.count - 1)
    }

    #[inline]
    pub(super) fn line(&self, index: usize) -> &Line {
        debug_assert!(index < self.count, "line {index} of {}", self.count);
        // SAFETY: every caller's index is a home line, `next` of a line, or counted
        // up to `count`, hence below `count`; the memory holds `count` lines, all-zero or written
        // as lines, and lives as long as `self`. Nothing changes lines through a shared reference.
        unsafe { self.first.add(index).as_ref() }
    }

    #[inline]
    pub(super) fn line_mut(&mut self, index: usize) -> &mut Line {
        debug_assert!(index < self.count, "line {index} of {}", self.count);
        // SAFETY: as for `line`; the exclusive reference to `self` makes the line's exclusive.
        unsafe { self.first.add(index).as_mut() }
    }

    /// The first line from the home of `hash` on that holds no entry; there is one.
    #[inline]
    pub(super) fn free(&self, hash: u64) -> usize {
        let mut index = self.home(hash);
        while self.line(index).is_occupied() {
            index = self.next(index);
        }
        index
    }

    /// Empties a line: those behind it that would no longer be found move up.
    ///
    /// No mark of a removed entry is left, so probes stay as short as the load makes them, wherever
    /// entries left in rows.
    pub(super) fn close(&mut self, mut hole: usize) {
        let apart = |from: usize, to: usize| to.wrapping_sub(from) & (self.count - 1);
        let mut index = self.next(hole);
        while !self.line(index).is_empty() {
            let home = self.home(self.line(index).hash);
            if apart(home, index) >= apart(hole, index) {
                // SAFETY: both are below `count` as for `line`, and differ: `hole` is where a probe
                // came from that has not been all around, since some line is empty. A line is plain
                // bytes; what its payload owns goes on in the other line, as this one is emptied or
                // overwritten below.
                unsafe { self.first.add(index).copy_to_nonoverlapping(self.first.add(hole), 1) };
                hole = index;
            }
            index = self.next(index);
        }
        self.line_mut(hole).set_empty();
    }

    /// Asks for the home line of `hash` to be brought into the cache.
    #[inline]
    pub(super) fn prefetch_home(&self, hash: u64) {
        prefetch(self.first.as_ptr().wrapping_add(self.home(hash)));
    }

    /// Asks for the line behind the home line of `hash`, which was asked for, if that is another's.
    #[inline]
    pub(super) fn prefetch_behind_home(&self, hash: u64) {
        let home = self.home(hash);
        if self.line(home).hash != hash {
            prefetch(self.first.as_ptr().wrapping_add(self.next(home)));
        }
    }

    /// Asks for the home line of `hash` and the one behind it to be brought into the cache: at a
    /// load of one half every third look-up goes on to the second, and to miss there would cost
    /// more than all else.
    #[inline]
    pub(super) fn prefetch(&self, hash: u64) {
        let home = self.first.as_ptr().wrapping_add(self.home(hash));
        prefetch(home);
        prefetch(home.wrapping_add(1));
    }

    /// Gives the memory of the lines before `index` back, in whole pieces. They are never read
    /// again.
    #[inline]
    pub(super) fn release_before(&mut self, index: usize) {
        let Memory::Mapped { piece, .. } = self.memory else {
            return;
        };
        let end = (index * size_of::<Line>()) / piece * piece;
        if end > self.released {
            self.release(end);
        }
    }

    #[cold]
    fn release(&mut self, end: usize) {
        let start = self.first.as_ptr().cast::<u8>().wrapping_add(self.released);
        // SAFETY: `released..end` lies inside this mapping of anonymous private memory (`end` is at
        // most the bytes of all lines), nobody holds a reference to it, and its pages read as zero
        // afterwards.
        let outcome = unsafe {
            rustix::mm::madvise(start.cast(), end - self.released, Advice::LinuxDontNeed)
        };
        // A kernel that refuses keeps the memory until the mapping ends: nothing is lost but the
        // early return.
        if outcome.is_ok() {
            self.released = end;
        }
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        match self.memory {
            // SAFETY: the memory came from `alloc_zeroed` with this very layout.
            Memory::Heap => unsafe { dealloc(self.first.as_ptr().cast(), layout(self.count)) },
            Memory::Mapped { base, length, .. } => {
                // SAFETY: `base` and `length` are one mapping made by `map`, and no reference into
                // it is left.
                let outcome = unsafe { rustix::mm::munmap(base.as_ptr().cast(), length) };
                debug_assert!(outcome.is_ok(), "cannot unmap {length} bytes: {outcome:?}");
            }
        }
    }
}

/// Asks for the cache line at an address, which need not be valid.
#[inline]
pub(crate) fn prefetch<T>(address: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch reads nothing that the program can see and faults at no address.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

fn layout(count: usize) -> Layout {
    match Layout::array::<Line>(count) {
        Ok(layout) => layout,
        Err(error) => panic!("a table of {count} lines: {error}"),
    }
}

fn allocate(count: usize) -> (NonNull<Line>, Memory) {
    let layout = layout(count);
    if layout.size() >= MAPPED_MIN && !cfg!(miri) {
        return map(layout);
    }
    // SAFETY: the layout is not empty, as `count` is at least 2.
    let memory = unsafe { alloc_zeroed(layout) };
    match NonNull::new(memory.cast()) {
        Some(first) => (first, Memory::Heap),
        None => handle_alloc_error(layout),
    }
}

/// Maps zeroed memory of its own; if it is large, its first line starts a huge page.
fn map(layout: Layout) -> (NonNull<Line>, Memory) {
    let is_huge = layout.size() >= HUGE_PAGE;
    let length = layout.size() + if is_huge { HUGE_PAGE } else { 0 };
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
    // SAFETY: the kernel chooses the address of a fresh mapping, so no memory in use is replaced.
    let mapped =
        unsafe { rustix::mm::mmap_anonymous(std::ptr::null_mut(), length, protection, flags) };
    let Some(base) = mapped.ok().and_then(|base| NonNull::new(base.cast::<u8>())) else {
        handle_alloc_error(layout);
    };
    if !is_huge {
        return (base.cast(), Memory::Mapped { base, length, piece: PIECE });
    }
    let skip = base.as_ptr().align_offset(HUGE_PAGE);
    assert!(skip < HUGE_PAGE, "no huge page starts within {skip} bytes");
    // SAFETY: `skip` is below `HUGE_PAGE`, by which the mapping is longer than the lines.
    let first = unsafe { base.add(skip) };
    let start = first.as_ptr().cast();
    // SAFETY: the range lies inside the mapping made above, and advice changes no contents.
    let advised = unsafe { rustix::mm::madvise(start, layout.size(), Advice::LinuxHugepage) };
    // A kernel without huge pages refuses, and small pages do as well.
    let piece = if advised.is_ok() { HUGE_PAGE } else { PIECE };
    (first.cast(), Memory::Mapped { base, length, piece })
}
