//! Keys of one column to be read at once, and the rows that were found.
//!
//! Both keep all bytes in one arena. A fetch that was answered is given back with its rows, so
//! that the next one uses the memory of both again.

use super::ColumnId;

/// Where the bytes of an absent row end: nowhere.
const ABSENT: usize = usize::MAX;

/// Keys to be read.
#[derive(Debug)]
pub struct Fetch {
    /// Its number, by which it is known again.
    pub id: u64,
    /// The column that its keys belong to.
    pub column: ColumnId,
    arena: Vec<u8>,
    /// Where each key ends.
    ends: Vec<usize>,
    /// Memory for its rows.
    spare: Rows,
}

impl Fetch {
    /// A fetch without keys.
    pub fn new(id: u64, column: ColumnId) -> Self {
        Self { id, column, arena: Vec::new(), ends: Vec::new(), spare: Rows::new() }
    }

    /// Empties an answered fetch, gives it a new number and column, and keeps the memory of it and
    /// of its rows.
    pub fn reset(&mut self, id: u64, column: ColumnId, rows: Rows) {
        (self.id, self.column) = (id, column);
        self.arena.clear();
        self.ends.clear();
        self.spare = rows;
    }

    /// Adds a key. The same key may come twice, and is then answered twice.
    #[inline]
    pub fn push(&mut self, key: &[u8]) {
        self.arena.extend_from_slice(key);
        self.ends.push(self.arena.len());
    }

    /// How many keys it has.
    #[inline]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether it has no key.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Memory that it holds for keys and for rows, in bytes.
    pub fn capacity_bytes(&self) -> usize {
        let ends = self.ends.capacity() * size_of::<usize>();
        self.arena.capacity() + ends + self.spare.capacity_bytes()
    }

    /// The key that was added as number `index`, from 0.
    ///
    /// # Panics
    /// If there are not so many.
    #[inline]
    pub fn key(&self, index: usize) -> &[u8] {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.arena[start..self.ends[index]]
    }

    /// The keys in the order in which they were added.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        (0..self.len()).map(|index| self.key(index))
    }

    /// Empty rows, with the memory of those before.
    pub(super) fn take_rows(&mut self) -> Rows {
        let mut rows = std::mem::take(&mut self.spare);
        rows.arena.clear();
        rows.found.clear();
        rows.found.resize(self.len(), (0, ABSENT));
        rows
    }
}

/// What a fetch has found.
#[derive(Debug, Default)]
pub struct Rows {
    arena: Vec<u8>,
    /// Start and end of each row.
    found: Vec<(usize, usize)>,
}

impl Rows {
    /// No rows.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many keys were asked for.
    #[inline]
    pub fn len(&self) -> usize {
        self.found.len()
    }

    /// Whether no key was asked for.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Memory that it holds, in bytes.
    pub fn capacity_bytes(&self) -> usize {
        self.arena.capacity() + self.found.capacity() * size_of::<(usize, usize)>()
    }

    /// The value of the key that was added to the fetch as number `index`; `None` if there is none.
    ///
    /// # Panics
    /// If there were not so many keys.
    #[inline]
    pub fn get(&self, index: usize) -> Option<&[u8]> {
        let (start, end) = self.found[index];
        (end != ABSENT).then(|| &self.arena[start..end])
    }

    /// Sets the value of key number `index`.
    pub(super) fn set(&mut self, index: usize, value: &[u8]) {
        let start = self.arena.len();
        self.arena.extend_from_slice(value);
        self.found[index] = (start, self.arena.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_found_by_the_place_of_their_key() {
        let mut fetch = Fetch::new(7, ColumnId(1));
        [&b"one"[..], b"", b"three"].into_iter().for_each(|key| fetch.push(key));
        assert_eq!(fetch.keys().collect::<Vec<_>>(), [&b"one"[..], b"", b"three"]);
        let mut rows = fetch.take_rows();
        rows.set(2, b"3");
        rows.set(0, b"");
        assert_eq!(
            (rows.get(0), rows.get(1), rows.get(2)),
            (Some(&b""[..]), None, Some(&b"3"[..]))
        );
    }

    #[test]
    fn a_reset_fetch_forgets_its_keys_and_rows() {
        let mut fetch = Fetch::new(7, ColumnId(1));
        fetch.push(b"key");
        let mut rows = fetch.take_rows();
        rows.set(0, b"value");
        fetch.reset(8, ColumnId(2), rows);
        assert!(fetch.is_empty());
        fetch.push(b"other");
        let rows = fetch.take_rows();
        assert_eq!((fetch.id, fetch.key(0), rows.len(), rows.get(0)), (8, &b"other"[..], 1, None));
    }
}
