//! Records on which user code fails in attempt after attempt.
//!
//! The first failure of user code tells only which task ran. The attempts behind it watch that
//! task: records are handed on one at a time, and each is known by an [`Identity`] before user code
//! sees it. One that has failed so often in a row is poison: it goes to an output of its own
//! instead. While nothing has failed nobody watches, and a batch costs one branch.

mod book;
mod letters;
mod warden;

pub(crate) use book::Ledger;
pub(crate) use letters::{Letters, place, refuse_leftovers};
pub(crate) use warden::{Found, Warden};

/// What hands records to a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Head {
    /// The gate of an edge.
    Input(u32),
    /// A source, by its place among those of the job.
    Source(u32),
}

/// Which record: the same in each attempt that meets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Identity {
    pub(crate) head: Head,
    /// The consumer of the gate, or the split of the source.
    pub(crate) part: u32,
    /// xxh3 of its timestamp, key and archived bytes, or of where its split stands behind it.
    pub(crate) digest: u64,
}
