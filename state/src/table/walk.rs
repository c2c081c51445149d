//! Walking over a table: all at once, or a few lines at a time.

use std::iter::FusedIterator;

use super::Table;
use super::access::Place;
use crate::key::Key;

/// An entry as a walk sees it.
#[derive(Debug)]
pub struct EntryRef<'a, K, V> {
    /// The key's hash.
    pub hash: u64,
    /// The epoch that last changed the entry.
    pub changed_in: u64,
    /// The key.
    pub key: &'a K,
    /// The value.
    pub value: &'a V,
}

/// The entries of a table in the order of their lines.
pub struct Iter<'a, K: Key, V> {
    table: &'a Table<K, V>,
    next: Place,
}

impl<K: Key, V> Table<K, V> {
    /// All entries in the order of their lines: determined by what was done to the table, not by
    /// addresses.
    pub fn entries(&self) -> Iter<'_, K, V> {
        let next = match &self.old {
            Some(old) => Place { index: old.cursor, in_old: true },
            None => Place { index: 0, in_old: false },
        };
        Iter { table: self, next }
    }

    /// All keys and values in the order of their lines.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.entries().map(|entry| (entry.key, entry.value))
    }

    /// Visits the entries of the next `line_count` lines and removes those for which `keep` returns
    /// `false`.
    ///
    /// `cursor` starts at 0 and is back at 0 when a round is complete. A visit changes no epoch.
    /// Entries that are there during a whole round are visited; one that moves meanwhile, by growth
    /// or since others were removed, may be visited twice or left to the next round. Each call also
    /// moves a rehash along.
    pub fn sweep(
        &mut self,
        cursor: &mut usize,
        line_count: usize,
        mut keep: impl FnMut(&K, &mut V) -> bool,
    ) {
        self.rehash_some();
        let count = self.lines.count();
        let start = if *cursor < count { *cursor } else { 0 };
        let end = start.saturating_add(line_count).min(count);
        let mut index = start;
        while index < end {
            let place = Place { index, in_old: false };
            if self.lines.line(index).is_occupied() {
                let pair = self.pair_mut(place);
                if !keep(&pair.key, &mut pair.value) {
                    // Another one may be in the line now.
                    drop(self.remove_at(place));
                    continue;
                }
            }
            index += 1;
        }
        *cursor = if end == count { 0 } else { end };
        self.shrink_if_sparse();
    }
}

impl<'a, K: Key, V> Iterator for Iter<'a, K, V> {
    type Item = EntryRef<'a, K, V>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let Place { index, in_old } = self.next;
            let lines = match &self.table.old {
                Some(old) if in_old => &old.lines,
                _ => &self.table.lines,
            };
            if index == lines.count() {
                if !in_old {
                    return None;
                }
                self.next = Place { index: 0, in_old: false };
                continue;
            }
            self.next.index += 1;
            let line = lines.line(index);
            if line.is_occupied() {
                // SAFETY: the line is one of the table's and occupied.
                let pair = unsafe { self.table.pair_of(line) };
                return Some(EntryRef {
                    hash: line.hash,
                    changed_in: line.epoch(),
                    key: &pair.key,
                    value: &pair.value,
                });
            }
        }
    }
}

impl<K: Key, V> FusedIterator for Iter<'_, K, V> {}
