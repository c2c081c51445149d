//! Encoding an epoch in the order of lines, where that is cheaper than going by its list: most
//! entries have changed, or all are wanted.
//!
//! A rehash or a removal may bring entries past the sweep: those are encoded as they move. In a
//! sweep over all entries one may be encoded twice, as it was.

use std::ops::Range;

use super::{Journal, Table};
use crate::key::Key;
use crate::table::access::Place;

/// Lines that cost as much as encoding a row.
const LINES_PER_ROW: usize = 8;

/// How far the lines of a table were swept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sweep {
    /// Whether entries are encoded that did not change as well.
    pub(super) all: bool,
    at: At,
    /// Whether the lines that a rehash fills hold what was swept or is new.
    skips_new: bool,
}

/// Where the sweep goes on.
#[derive(Debug, Clone, Copy)]
enum At {
    /// In the lines that a rehash empties.
    Old(usize),
    /// In the table's own.
    Own(usize),
    End,
}

impl Sweep {
    pub(super) fn new(all: bool) -> Self {
        Self { all, at: At::Old(0), skips_new: false }
    }

    pub(super) fn is_done(&self) -> bool {
        matches!(self.at, At::End)
    }

    fn behind_old(&self) -> At {
        if self.skips_new { At::End } else { At::Own(0) }
    }

    /// Whether a place was swept.
    fn has_passed(&self, place: Place) -> bool {
        match self.at {
            At::Old(at) => place.in_old && place.index < at,
            At::Own(at) => place.in_old || place.index < at,
            At::End => true,
        }
    }
}

impl<K: Key, V> Journal<K, V> {
    /// Whether an entry that no epoch changed is to be encoded before it changes.
    pub(super) fn awaits_unchanged(&self, place: Place) -> bool {
        let sweep = self.closing.as_ref().and_then(|closing| closing.sweep.as_ref());
        sweep.is_some_and(|sweep| sweep.all && !sweep.has_passed(place))
    }

    /// The lines are about to become those that a rehash empties.
    pub(in crate::table) fn rehash_starts(&mut self) {
        let sweep = self.closing.as_mut().and_then(|closing| closing.sweep.as_mut());
        let Some(sweep) = sweep.filter(|sweep| !sweep.is_done()) else { return };
        sweep.skips_new = true;
        sweep.at = match sweep.at {
            At::Own(at) => At::Old(at),
            At::Old(_) | At::End => At::Old(0),
        };
    }
}

impl<K: Key, V> Table<K, V> {
    /// Goes on with a sweep for at most `rows`; true when it is done.
    pub(super) fn sweep_ended(&mut self, journal: &mut Journal<K, V>, rows: &mut usize) -> bool {
        let Some(mut sweep) = journal.closing.as_ref().and_then(|closing| closing.sweep) else {
            return true;
        };
        while *rows > 0 && !sweep.is_done() {
            sweep.at = match (sweep.at, &self.old) {
                (At::Old(at), Some(old)) if at.max(old.cursor) < old.lines.count() => {
                    let lines = at.max(old.cursor)..old.lines.count();
                    At::Old(self.sweep_lines(true, lines, journal, rows))
                }
                (At::Old(_), _) => sweep.behind_old(),
                (At::Own(at), _) if at < self.lines.count() => {
                    At::Own(self.sweep_lines(false, at..self.lines.count(), journal, rows))
                }
                _ => At::End,
            };
        }
        if let Some(closing) = &mut journal.closing {
            closing.sweep = Some(sweep);
        }
        sweep.is_done()
    }

    /// Encodes entries of these lines for at most `rows`; returns the line to go on with.
    fn sweep_lines(
        &mut self,
        in_old: bool,
        lines: Range<usize>,
        journal: &mut Journal<K, V>,
        rows: &mut usize,
    ) -> usize {
        let most = lines.start.saturating_add(rows.saturating_mul(LINES_PER_ROW));
        let end = lines.end.min(most);
        for index in lines.start..end {
            if self.encode_swept(Place { index, in_old }, journal) {
                *rows -= 1;
                if *rows == 0 {
                    return index + 1;
                }
            }
        }
        *rows = rows.saturating_sub((end - lines.start) / LINES_PER_ROW);
        end
    }

    /// Encodes an entry of the epoch that ended, or any that has not changed since if all are
    /// wanted.
    #[inline]
    fn encode_swept(&mut self, place: Place, journal: &mut Journal<K, V>) -> bool {
        let Some(closing) = &journal.closing else { return false };
        let all = closing.sweep.is_some_and(|sweep| sweep.all);
        let line = self.lines_of(place).line(place.index);
        let (hash, epoch, ended) = (line.hash, line.epoch(), closing.epoch);
        if !line.is_occupied() || !(epoch == ended || all && epoch == 0) {
            return false;
        }
        journal.put(hash, ended, self.pair(place));
        self.line_mut(place).set_noted();
        true
    }

    /// A line is about to be closed, and those behind it move up: encodes those that would move
    /// past the sweep.
    pub(in crate::table) fn note_close(&mut self, hole: usize) {
        let closing = self.journal.as_ref().and_then(|journal| journal.closing.as_ref());
        let Some(Sweep { at: At::Own(at), .. }) = closing.and_then(|closing| closing.sweep) else {
            return;
        };
        let Some(mut journal) = self.journal.take() else { return };
        let mut index = self.lines.next(hole);
        // A run that goes past the last line brings entries from the first ones to the end.
        let mut crosses = hole < at;
        while !self.lines.line(index).is_empty() && index != hole {
            crosses |= index < at;
            if crosses && index >= at {
                self.encode_swept(Place { index, in_old: false }, &mut journal);
            }
            index = self.lines.next(index);
        }
        self.journal = Some(journal);
    }

    /// A rehash has moved an entry from one of its old lines: encodes it if the sweep has not come
    /// to that.
    #[cold]
    pub(in crate::table) fn note_move(&mut self, from: usize, to: usize) {
        let Some(mut journal) = self.journal.take() else { return };
        let sweep = journal.closing.as_ref().and_then(|closing| closing.sweep);
        if sweep.is_some_and(|sweep| !sweep.has_passed(Place { index: from, in_old: true })) {
            self.encode_swept(Place { index: to, in_old: false }, &mut journal);
        }
        self.journal = Some(journal);
    }
}
