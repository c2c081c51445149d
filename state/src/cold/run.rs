//! Sorted rows of one column that leave the table together.
//!
//! A run is filled in any order on the core and sorted off it. All its bytes lie in one arena, so
//! that a row costs no allocation. Of two rows with the same key the later one counts.

use std::cmp::Ordering;
use std::mem::size_of;

use super::ColumnId;

/// Length of the value of a row that has none: a tombstone.
const TOMBSTONE: u32 = u32::MAX;

/// A row of a run: its key, and its value or `None` for a tombstone.
pub type Row<'a> = (&'a [u8], Option<&'a [u8]>);

/// Rows that leave the table together.
#[derive(Debug)]
pub struct Run {
    /// Its number, by which it is answered.
    pub id: u64,
    /// The column that its rows belong to.
    pub column: ColumnId,
    arena: Vec<u8>,
    rows: Vec<Place>,
}

/// Where a row lies in the arena: its key, right behind it its value.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// The first eight bytes of the key, by which most comparisons end.
    prefix: u64,
    start: usize,
    key_len: u32,
    value_len: u32,
}

impl Run {
    /// An empty run.
    pub fn new(id: u64, column: ColumnId) -> Self {
        Self { id, column, arena: Vec::new(), rows: Vec::new() }
    }

    /// Empties the run, gives it a new number and column, and keeps its memory.
    pub fn reset(&mut self, id: u64, column: ColumnId) {
        (self.id, self.column) = (id, column);
        self.arena.clear();
        self.rows.clear();
    }

    /// Adds a row; `None` deletes the key.
    ///
    /// # Panics
    /// If the key or the value has 4 GiB or more.
    #[inline]
    pub fn push(&mut self, key: &[u8], value: Option<&[u8]>) {
        let length = |bytes: &[u8]| match u32::try_from(bytes.len()) {
            Ok(length) if length < TOMBSTONE => length,
            _ => panic!("a row of {} bytes does not fit into a run", bytes.len()),
        };
        let place = Place {
            prefix: prefix(key),
            start: self.arena.len(),
            key_len: length(key),
            value_len: value.map_or(TOMBSTONE, length),
        };
        self.arena.extend_from_slice(key);
        self.arena.extend_from_slice(value.unwrap_or_default());
        if self.arena.len() == place.start {
            // No two rows have one place: it says which of them is the later one.
            self.arena.push(0);
        }
        self.rows.push(place);
    }

    /// How many rows were added.
    #[inline]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether it holds nothing.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Memory that its rows take, in bytes.
    #[inline]
    pub fn bytes(&self) -> usize {
        self.arena.len() + self.rows.len() * size_of::<Place>()
    }

    /// Memory that it holds, filled or not, in bytes.
    #[inline]
    pub fn capacity_bytes(&self) -> usize {
        self.arena.capacity() + self.rows.capacity() * size_of::<Place>()
    }

    /// The rows; in the order of their keys, each key once, after [`Run::sort`].
    pub fn rows(&self) -> impl ExactSizeIterator<Item = Row<'_>> {
        self.rows.iter().map(|place| (self.key(place), self.value(place)))
    }

    /// Sorts the rows by key; of equal keys only the row that was added last stays.
    pub fn sort(&mut self) {
        let mut rows = std::mem::take(&mut self.rows);
        // The place in the arena makes every row different: unstable, and without a buffer.
        rows.sort_unstable_by(|a, b| self.order(a, b).then(b.start.cmp(&a.start)));
        rows.dedup_by(|later, kept| self.order(later, kept).is_eq());
        self.rows = rows;
    }

    fn order(&self, a: &Place, b: &Place) -> Ordering {
        a.prefix.cmp(&b.prefix).then_with(|| self.key(a).cmp(self.key(b)))
    }

    fn key(&self, place: &Place) -> &[u8] {
        &self.arena[place.start..][..place.key_len as usize]
    }

    fn value(&self, place: &Place) -> Option<&[u8]> {
        let start = place.start + place.key_len as usize;
        (place.value_len != TOMBSTONE).then(|| &self.arena[start..][..place.value_len as usize])
    }
}

/// The first eight bytes of a key as a number that orders like them; a shorter key is filled up
/// with zeros, and may then equal the prefix of a longer one.
#[inline]
pub(super) fn prefix(key: &[u8]) -> u64 {
    match key.first_chunk() {
        Some(first) => u64::from_be_bytes(*first),
        None => {
            let mut bytes = [0; 8];
            bytes[..key.len()].copy_from_slice(key);
            u64::from_be_bytes(bytes)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_sorted_and_the_last_of_equal_keys_stays() {
        let mut run = Run::new(1, ColumnId(0));
        let rows: [Row<'_>; 7] = [
            (b"b", Some(b"1")),
            (b"a\0", Some(b"2")),
            (b"a", None),
            (b"long key of many bytes", Some(b"")),
            (b"b", None),
            (b"a", Some(b"3")),
            (b"", Some(b"4")),
        ];
        rows.iter().for_each(|(key, value)| run.push(key, *value));
        assert_eq!(run.len(), 7);
        run.sort();
        let sorted: [Row<'_>; 5] = [
            (b"", Some(b"4")),
            (b"a", Some(b"3")),
            (b"a\0", Some(b"2")),
            (b"b", None),
            (b"long key of many bytes", Some(b"")),
        ];
        assert_eq!(run.rows().collect::<Vec<_>>(), sorted);
    }

    #[test]
    fn of_rows_without_a_byte_the_last_one_stays() {
        for (first, last) in [(None, Some(&b""[..])), (Some(&b""[..]), None)] {
            let mut run = Run::new(1, ColumnId(0));
            run.push(b"", first);
            run.push(b"", last);
            run.sort();
            assert_eq!(run.rows().collect::<Vec<_>>(), [(&b""[..], last)]);
        }
    }

    #[test]
    fn a_reset_run_is_empty_and_counts_no_bytes() {
        let mut run = Run::new(1, ColumnId(0));
        run.push(b"key", Some(b"value"));
        assert_eq!(run.bytes(), 8 + size_of::<Place>());
        run.reset(2, ColumnId(1));
        assert_eq!((run.id, run.column, run.len(), run.bytes()), (2, ColumnId(1), 0, 0));
        assert!(run.is_empty());
    }
}
