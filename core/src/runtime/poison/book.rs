//! What the attempts of a process have learnt of records that fail.
//!
//! A failure counts once an attempt, however many cores meet the record. A record that passes has
//! not failed in a row: it is forgotten.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Head, Identity};
use crate::config::PoisonConfig;
use crate::graph::{JobGraph, Node, Role};

/// How many records are remembered at the most: where more fail it is not the records.
const SUSPECTS_MAX: usize = 1024;

/// A record that has failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Suspect {
    /// In how many attempts in a row.
    pub(crate) failures: u32,
    /// The last of them, and the core that it failed on.
    attempt: u64,
    core: usize,
    /// The operator that failed then.
    pub(crate) operator: String,
    /// The error's text with its causes.
    pub(crate) error: String,
    pub(crate) is_poison: bool,
}

/// What is written down of one failure.
#[derive(Debug, Clone, Copy)]
pub(super) struct Failure<'a> {
    pub(super) attempt: u64,
    pub(super) core: usize,
    /// The task that ran.
    pub(super) head: Head,
    /// The record, if its task was watched.
    pub(super) record: Option<Identity>,
    pub(super) operator: &'a str,
    pub(super) error: &'a str,
}

/// The failures that count.
#[derive(Debug, Default)]
struct Book {
    heads: BTreeSet<Head>,
    suspects: BTreeMap<Identity, Suspect>,
}

impl Book {
    /// Writes a failure down; the record's count if it has become poison by it.
    fn failed(&mut self, failure: Failure<'_>, after: u32) -> Option<u32> {
        let Failure { attempt, core, head, record, operator, error } = failure;
        self.heads.insert(head);
        let record = record?;
        if !self.suspects.contains_key(&record) && !self.make_room() {
            return None;
        }
        let suspect = self.suspects.entry(record).or_insert_with(|| Suspect {
            failures: 0,
            attempt: 0,
            core,
            operator: String::new(),
            error: String::new(),
            is_poison: false,
        });
        if suspect.attempt == attempt || suspect.is_poison {
            return None;
        }
        (suspect.attempt, suspect.core) = (attempt, core);
        suspect.failures += 1;
        operator.clone_into(&mut suspect.operator);
        error.clone_into(&mut suspect.error);
        suspect.is_poison = suspect.failures >= after;
        suspect.is_poison.then_some(suspect.failures)
    }

    /// Forgets the record that has not failed for the longest time, if there are too many; false if
    /// all are poison.
    fn make_room(&mut self) -> bool {
        if self.suspects.len() < SUSPECTS_MAX {
            return true;
        }
        let open = self.suspects.iter().filter(|(_, suspect)| !suspect.is_poison);
        let oldest = open.min_by_key(|(_, suspect)| suspect.attempt).map(|(record, _)| *record);
        oldest.is_some_and(|oldest| self.suspects.remove(&oldest).is_some())
    }

    /// Forgets a record that has passed where it failed: another core of a broadcast may do what
    /// this one could not.
    fn passed(&mut self, record: &Identity, core: usize) {
        let is_over = |suspect: &Suspect| suspect.core == core && !suspect.is_poison;
        if self.suspects.get(record).is_some_and(is_over) {
            self.suspects.remove(record);
        }
    }
}

/// The book of a process, shared by its attempts' cores. It is opened when an attempt begins, when
/// one fails, and when a record passes that has failed before.
#[derive(Debug)]
pub(crate) struct Ledger {
    config: PoisonConfig,
    book: Mutex<Book>,
}

impl Ledger {
    pub(crate) fn new(config: PoisonConfig) -> Self {
        Self { config, book: Mutex::default() }
    }

    /// A ledger by which all tasks of a job are watched and no record is poison: for the simulator.
    pub(crate) fn watching(graph: &JobGraph) -> Self {
        let after = NonZeroU32::MAX;
        let ledger = Self::new(PoisonConfig { after, output: "/dev/null/poison".into() });
        let is_source = |node: &&Node| matches!(node.role, Role::Source { .. });
        let sources = graph.nodes.iter().filter(is_source).count() as u32;
        let inputs = (0..graph.channels() as u32).map(Head::Input);
        ledger.book().heads.extend((0..sources).map(Head::Source).chain(inputs));
        ledger
    }

    /// When a record is poison, and where it goes.
    pub(crate) fn config(&self) -> &PoisonConfig {
        &self.config
    }

    /// How many records were declared poison.
    pub(crate) fn poison_count(&self) -> u64 {
        self.book().suspects.values().filter(|suspect| suspect.is_poison).count() as u64
    }

    /// The tasks in which user code has failed, and the records that have.
    pub(super) fn known(&self) -> (Vec<Head>, BTreeMap<Identity, Suspect>) {
        let book = self.book();
        (book.heads.iter().copied().collect(), book.suspects.clone())
    }

    /// See [`Book::failed`].
    pub(super) fn failed(&self, failure: Failure<'_>) -> Option<u32> {
        self.book().failed(failure, self.config.after.get())
    }

    /// User code has taken a record on this core that had failed.
    pub(super) fn passed(&self, record: &Identity, core: usize) {
        self.book().passed(record, core);
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(digest: u64) -> Identity {
        Identity { head: Head::Input(3), part: 0, digest }
    }

    fn fail(book: &mut Book, attempt: u64, record: Option<Identity>) -> Option<u32> {
        let head = Head::Input(3);
        let failure = Failure { attempt, core: 1, head, record, operator: "judge", error: "boom" };
        book.failed(failure, 2)
    }

    #[test]
    fn a_record_is_poison_after_so_many_attempts_in_a_row() {
        let mut book = Book::default();
        assert_eq!(fail(&mut book, 1, None), None);
        assert_eq!(book.heads, BTreeSet::from([Head::Input(3)]));
        assert_eq!(fail(&mut book, 2, Some(record(7))), None);
        // Another core of the same attempt has met it as well.
        assert_eq!(fail(&mut book, 2, Some(record(7))), None);
        // Another record was quicker in the next attempt, which says nothing of the first.
        assert_eq!(fail(&mut book, 3, Some(record(8))), None);
        assert_eq!(fail(&mut book, 4, Some(record(7))), Some(2));
        assert!(book.suspects[&record(7)].is_poison && !book.suspects[&record(8)].is_poison);
        assert_eq!(fail(&mut book, 5, Some(record(7))), None, "it is declared once");
    }

    #[test]
    fn a_record_that_passes_counts_anew_unless_it_is_poison() {
        let mut book = Book::default();
        fail(&mut book, 1, Some(record(7)));
        book.passed(&record(7), 1);
        assert_eq!(fail(&mut book, 2, Some(record(7))), None);
        // Another core has no trouble with it.
        book.passed(&record(7), 0);
        assert_eq!(fail(&mut book, 3, Some(record(7))), Some(2));
        book.passed(&record(7), 1);
        assert!(book.suspects[&record(7)].is_poison);
    }

    #[test]
    fn the_oldest_that_is_not_poison_makes_room() {
        let mut book = Book::default();
        for digest in 0..SUSPECTS_MAX as u64 {
            fail(&mut book, 1 + digest, Some(record(digest)));
        }
        fail(&mut book, 5_000, Some(record(0)));
        fail(&mut book, 5_001, Some(record(9_999)));
        assert_eq!(book.suspects.len(), SUSPECTS_MAX);
        let has = |digest| book.suspects.contains_key(&record(digest));
        assert!(has(0) && !has(1) && has(2) && has(9_999));
        book.suspects.values_mut().for_each(|suspect| suspect.is_poison = true);
        assert_eq!(fail(&mut book, 5_002, Some(record(10_000))), None);
        assert_eq!(fail(&mut book, 5_003, Some(record(10_000))), None);
        assert_eq!(book.suspects.len(), SUSPECTS_MAX);
    }
}
