//! What the log says so far: a pure value, made entry by entry.
//!
//! The restore point is the newest complete checkpoint after the newest attempt entry, else the
//! one which that entry names. What lies between is void: an attempt that went back behind a
//! checkpoint has left it for good.

use crate::log::{Entry, What, Writer};
use crate::manifest::Kind;

/// The log of a job, without its manifests.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct History {
    /// The number of the first mark.
    base: u64,
    marks: Vec<Mark>,
    /// The first entry that stays.
    first: u64,
    /// The lowest id above those that the marks name.
    next_id: u64,
    /// Savepoints, void ones too, oldest first.
    savepoints: Vec<Completed>,
}

/// One entry without its manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// The attempt of its writer.
    pub attempt: u64,
    /// The term of its writer.
    pub term: u64,
    /// See [`Entry::nonce`].
    pub nonce: u64,
    /// What it says.
    pub step: Step,
}

/// What an entry says, without the manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// An attempt begins.
    Attempt {
        /// The checkpoint that it restores.
        from: Option<u64>,
        /// The first id that its checkpoints may have.
        first_id: u64,
    },
    /// A coordinator takes over.
    TakeOver,
    /// A checkpoint is complete.
    Complete {
        /// Its id.
        checkpoint: u64,
        /// What it was made for.
        kind: Kind,
    },
    /// The job has finished.
    Finished,
}

impl Mark {
    /// Who wrote the entry.
    pub fn writer(&self) -> Writer {
        let Self { attempt, term, nonce, .. } = *self;
        Writer { attempt, term, nonce }
    }
}

/// A complete checkpoint and where its manifest is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Completed {
    /// Its id.
    pub checkpoint: u64,
    /// The entry that holds its manifest.
    pub k: u64,
}

/// Which of the entries further down are void.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Void {
    Nothing,
    /// Those before this checkpoint's.
    Until(u64),
    Everything,
}

impl History {
    /// A log whose entries before `base` were deleted. The next one is a live checkpoint's, unless
    /// it is entry 0: what came before it decides nothing any more.
    pub fn from_entry(base: u64) -> Self {
        Self { base, ..Self::default() }
    }

    /// The number of the next entry.
    pub fn next(&self) -> u64 {
        self.base + self.marks.len() as u64
    }

    /// The first entry that stays: those before it may be deleted.
    pub fn first(&self) -> u64 {
        self.first
    }

    /// The entries that are there, in order.
    pub fn marks(&self) -> &[Mark] {
        &self.marks
    }

    /// The last entry; none if there is no log.
    pub fn last(&self) -> Option<&Mark> {
        self.marks.last()
    }

    /// The checkpoint from which the job goes on.
    pub fn restore_point(&self) -> Option<Completed> {
        self.live().next()
    }

    /// Complete checkpoints that are not void, newest first: what retention counts.
    pub fn live(&self) -> impl Iterator<Item = Completed> {
        // From the end on. Past an attempt's beginning, all is void down to what it names.
        let mut void = Void::Nothing;
        self.marks.iter().enumerate().rev().filter_map(move |(k, mark)| match mark.step {
            Step::Complete { checkpoint, .. } => {
                if void == Void::Until(checkpoint) {
                    void = Void::Nothing;
                }
                let completed = Completed { checkpoint, k: self.base + k as u64 };
                (void == Void::Nothing).then_some(completed)
            }
            Step::Attempt { from, .. } => {
                if void == Void::Nothing {
                    void = from.map_or(Void::Everything, Void::Until);
                }
                None
            }
            Step::TakeOver | Step::Finished => None,
        })
    }

    /// The newest `count` live checkpoints with every savepoint, also void ones, oldest first:
    /// those whose files must stay.
    pub fn retained(&self, count: u32) -> Vec<Completed> {
        let is_own = |it: &Completed| self.savepoints.binary_search(it).is_err();
        let mut kept: Vec<Completed> = self.live().filter(is_own).take(count as usize).collect();
        kept.extend(&self.savepoints);
        kept.sort_unstable();
        kept
    }

    /// The highest attempt, which is the last; 0 before the first.
    pub fn attempt(&self) -> u64 {
        self.marks.last().map_or(0, |mark| mark.attempt)
    }

    /// The highest term, which is the last; 0 before the first.
    pub fn term(&self) -> u64 {
        self.marks.last().map_or(0, |mark| mark.term)
    }

    /// The lowest id that is above every one in the log.
    pub fn next_id(&self) -> u64 {
        self.next_id.max(1)
    }

    /// Whether the job has finished, and was not begun anew.
    pub fn is_finished(&self) -> bool {
        self.marks.last().is_some_and(|mark| mark.step == Step::Finished)
    }

    /// Takes the next entry; an error says how it contradicts those before.
    pub fn push(&mut self, entry: &Entry) -> Result<(), String> {
        let Entry { attempt, term, nonce, what, .. } = entry;
        let (attempt, term, nonce) = (*attempt, *term, *nonce);
        if self.is_finished() && !matches!(what, What::Attempt { from: None, .. }) {
            return Err("it follows the end of the job".to_owned());
        }
        if term < self.term() {
            return Err(format!("its term is {term} after {}", self.term()));
        }
        let is_cut_off = self.base > 0 && self.marks.is_empty();
        if is_cut_off && !matches!(what, What::Complete { .. }) {
            return Err("the log begins with it, and it is no checkpoint's".to_owned());
        }
        let step = match what {
            What::Attempt { from, first_id } => {
                if attempt <= self.attempt() {
                    return Err(format!("attempt {attempt} begins after {}", self.attempt()));
                }
                if let Some(from) = from
                    && !self.completed(*from)
                {
                    return Err(format!(
                        "it goes on from checkpoint {from}, which is not complete"
                    ));
                }
                if *first_id < self.next_id() {
                    let next = self.next_id();
                    return Err(format!("its ids begin at {first_id}, and {next} is the next one"));
                }
                Step::Attempt { from: *from, first_id: *first_id }
            }
            What::TakeOver if term == self.term() => {
                return Err(format!("term {term} takes over from itself"));
            }
            What::TakeOver => Step::TakeOver,
            What::Complete { checkpoint, .. } if *checkpoint < self.next_id() => {
                return Err(format!("checkpoint {checkpoint} completes twice or too late"));
            }
            What::Complete { first, .. } if *first > self.next() || *first < self.first => {
                let kept = self.first;
                return Err(format!("the log stays from entry {first} on, and did from {kept}"));
            }
            What::Complete { checkpoint, manifest, .. } => {
                Step::Complete { checkpoint: *checkpoint, kind: manifest.kind }
            }
            What::Finished => Step::Finished,
        };
        let goes_on = attempt == self.attempt() || is_cut_off;
        if !goes_on && !matches!(step, Step::Attempt { .. }) {
            return Err(format!("attempt {attempt} goes on during {}", self.attempt()));
        }
        if attempt == u64::MAX || self.ids_end(what) {
            return Err("its numbers are at their end".to_owned());
        }
        self.note(step);
        if let What::Complete { first, .. } = what {
            self.first = *first;
        }
        self.marks.push(Mark { attempt, term, nonce, step });
        Ok(())
    }

    /// Takes in what the next entry says of numbers.
    fn note(&mut self, step: Step) {
        match step {
            Step::Attempt { from, first_id } => {
                self.next_id = from.map_or(0, |from| from + 1).max(first_id).max(self.next_id);
            }
            Step::Complete { checkpoint, kind } => {
                self.next_id = checkpoint + 1;
                if kind == Kind::Savepoint {
                    self.savepoints.push(Completed { checkpoint, k: self.next() });
                }
            }
            Step::TakeOver | Step::Finished => {}
        }
    }

    fn completed(&self, checkpoint: u64) -> bool {
        let named =
            |step| matches!(step, Step::Complete { checkpoint: it, .. } if it == checkpoint);
        self.marks.iter().any(|mark| named(mark.step))
    }

    fn ids_end(&self, what: &What) -> bool {
        match what {
            What::Attempt { first_id, .. } => *first_id == u64::MAX,
            What::Complete { checkpoint, .. } => *checkpoint == u64::MAX,
            What::TakeOver | What::Finished => false,
        }
    }
}
