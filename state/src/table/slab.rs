//! Storage for entries that do not fit into a line.
//!
//! Cells never move. They lie in chunks that are made when needed and given back when their last
//! cell is freed; the free cells of a chunk form a list inside the cells themselves, so a growing
//! slab copies nothing.

use std::mem::{ManuallyDrop, MaybeUninit};

/// Size that a chunk does not exceed, unless one cell does.
const CHUNK_BYTES: usize = 64 << 10;

/// End of a list of free cells.
const NONE: u32 = u32::MAX;

/// Values of one type under stable indices. Dropping the slab drops no values: the table knows
/// which live.
pub(super) struct Slab<T> {
    chunks: Vec<Chunk<T>>,
    /// Chunks with room.
    open: Vec<u32>,
    allocated: usize,
}

struct Chunk<T> {
    cells: Option<Box<[MaybeUninit<Cell<T>>]>>,
    free: u32,
    /// Cells that were ever used.
    fresh: u32,
    live: u32,
}

union Cell<T> {
    value: ManuallyDrop<T>,
    next_free: u32,
}

impl<T> Slab<T> {
    /// Cells of a chunk, as a power of two.
    const SHIFT: u32 = match (CHUNK_BYTES / size_of::<Cell<T>>()).checked_ilog2() {
        Some(shift) => shift,
        None => 0,
    };

    const CELLS: u32 = 1 << Self::SHIFT;

    const CELL_MASK: u32 = Self::CELLS - 1;

    pub(super) fn new() -> Self {
        Self { chunks: Vec::new(), open: Vec::new(), allocated: 0 }
    }

    /// Memory of all chunks.
    pub(super) fn bytes(&self) -> usize {
        self.allocated * (size_of::<Cell<T>>() << Self::SHIFT)
    }

    /// How many values fit in `room` bytes more: a sixteenth stays free, since the last cells of
    /// every chunk are rarely free at the same time.
    pub(super) fn values_max(&self, room: usize) -> usize {
        let chunks = self.allocated + room / (size_of::<Cell<T>>() << Self::SHIFT);
        let cells = chunks << Self::SHIFT;
        cells - cells / 16
    }

    /// Stores a value and returns its index.
    pub(super) fn insert(&mut self, value: T) -> u32 {
        let number = self.open_chunk();
        let chunk = &mut self.chunks[number as usize];
        let cells = chunk.cells.get_or_insert_with(|| {
            self.allocated += 1;
            Box::new_uninit_slice(Self::CELLS as usize)
        });
        let index = if chunk.free == NONE {
            chunk.fresh += 1;
            chunk.fresh - 1
        } else {
            chunk.free
        };
        let cell = &mut cells[index as usize];
        if chunk.free != NONE {
            // SAFETY: cells on the free list were written as `next_free` by `remove`.
            chunk.free = unsafe { cell.assume_init_ref().next_free };
        }
        cell.write(Cell { value: ManuallyDrop::new(value) });
        chunk.live += 1;
        if chunk.live == Self::CELLS {
            self.open.pop();
        }
        number << Self::SHIFT | index
    }

    fn open_chunk(&mut self) -> u32 {
        if let Some(&number) = self.open.last() {
            return number;
        }
        let number = self.chunks.len();
        assert!(number <= (u32::MAX >> Self::SHIFT) as usize, "a slab of {number} chunks is full");
        self.chunks.push(Chunk { cells: None, free: NONE, fresh: 0, live: 0 });
        self.open.push(number as u32);
        number as u32
    }

    /// Where the value under an index lies, for a prefetch.
    #[inline]
    pub(super) fn address(&self, index: u32) -> *const T {
        match &self.chunks[(index >> Self::SHIFT) as usize].cells {
            Some(cells) => cells.as_ptr().wrapping_add((index & Self::CELL_MASK) as usize).cast(),
            None => std::ptr::null(),
        }
    }

    /// The value under an index.
    ///
    /// # Safety
    ///
    /// `index` was returned by `insert` and not removed since.
    #[inline]
    pub(super) unsafe fn get(&self, index: u32) -> &T {
        let chunk = &self.chunks[(index >> Self::SHIFT) as usize];
        let Some(cells) = &chunk.cells else {
            unreachable!("slab index {index} lies in a chunk without cells");
        };
        // SAFETY: a cell that is in use holds a value, by the caller's promise.
        unsafe { &cells[(index & Self::CELL_MASK) as usize].assume_init_ref().value }
    }

    /// The value under an index, to be changed.
    ///
    /// # Safety
    ///
    /// As for [`get`](Self::get).
    #[inline]
    pub(super) unsafe fn get_mut(&mut self, index: u32) -> &mut T {
        let chunk = &mut self.chunks[(index >> Self::SHIFT) as usize];
        let Some(cells) = &mut chunk.cells else {
            unreachable!("slab index {index} lies in a chunk without cells");
        };
        // SAFETY: a cell that is in use holds a value, by the caller's promise.
        unsafe { &mut cells[(index & Self::CELL_MASK) as usize].assume_init_mut().value }
    }

    /// Takes the value out and frees its cell.
    ///
    /// # Safety
    ///
    /// As for [`get`](Self::get); the index is not valid afterwards.
    pub(super) unsafe fn remove(&mut self, index: u32) -> T {
        let number = index >> Self::SHIFT;
        let chunk = &mut self.chunks[number as usize];
        let Some(cells) = &mut chunk.cells else {
            unreachable!("slab index {index} lies in a chunk without cells");
        };
        let cell = &mut cells[(index & Self::CELL_MASK) as usize];
        // SAFETY: a cell that is in use holds a value, by the caller's promise; it is overwritten
        // below, so the value is not taken twice.
        let value = unsafe { ManuallyDrop::take(&mut cell.assume_init_mut().value) };
        cell.write(Cell { next_free: chunk.free });
        chunk.free = index & Self::CELL_MASK;
        if chunk.live == Self::CELLS {
            self.open.push(number);
        }
        chunk.live -= 1;
        if chunk.live == 0 {
            chunk.cells = None;
            chunk.free = NONE;
            chunk.fresh = 0;
            self.allocated -= 1;
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_reused_and_chunks_given_back() {
        let mut slab = Slab::<[u64; 100]>::new();
        let indices: Vec<u32> = (0..1_000).map(|n| slab.insert([n; 100])).collect();
        let full = slab.bytes();
        assert!(full >= 800 * 1_000, "{full}");
        for (n, &index) in indices.iter().enumerate() {
            // SAFETY: every index was just returned and is removed once.
            let value = unsafe { slab.remove(index) };
            assert_eq!(value, [n as u64; 100]);
        }
        assert_eq!(slab.bytes(), 0);
        (0..1_000).for_each(|n| {
            slab.insert([n; 100]);
        });
        assert_eq!(slab.bytes(), full);
    }

    #[test]
    fn values_larger_than_a_chunk_have_one_each() {
        let mut slab = Slab::<[u8; 100_000]>::new();
        let first = slab.insert([1; 100_000]);
        let second = slab.insert([2; 100_000]);
        // SAFETY: both indices are in use.
        unsafe {
            assert_eq!(slab.get(first)[99_999], 1);
            slab.get_mut(second)[0] = 3;
            assert_eq!(slab.remove(second)[0], 3);
            assert_eq!(slab.remove(first)[0], 1);
        }
        assert_eq!(slab.bytes(), 0);
    }
}
