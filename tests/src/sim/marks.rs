//! Counters of interesting situations: a simulator that never gets into them proves nothing.

use std::cell::RefCell;
use std::collections::BTreeMap;

/// Every mark. A run over many seeds fails if one of them was never reached.
pub const MARKS: &[&str] = &[
    "a task stopped in the middle of a page by lack of credit",
    "a task stopped in the middle of a page with credit left",
    "a core had work and could do nothing",
    "a channel went beyond its credits",
    "a record was larger than a buffer",
    "a page left partly filled",
    "a page left full",
    "a page held one record",
    "the watermark moved in the middle of a page",
    "a link was full",
    "control frames merged at the receiver",
    "a channel fell idle",
    "an idle channel woke up",
    "a gate fell idle",
    "an idle gate woke up",
    "one consumer of a gate was ahead of another",
    "an input ended while others went on",
    "a core was done before another",
    "a sink refused records",
    "a sink needed several calls to finish",
    "a record was refused and went to the dead letters",
    "a periodic watermark reached a sink",
    "a periodic watermark was made behind an exchange",
    "a watermark reached a sink behind several splits",
    "faults ended before the job did",
    "the clock jumped",
    "the keeper's clock was not that of the cores",
    "the keeper's clock jumped forwards",
    "the keeper's clock jumped backwards",
    "one record became a thousand",
    "rows of state left for the cold tier",
    "rows of state were fetched ahead of their use",
    "user code waited for a row of state",
    "tasks waited because the cold tier was behind",
    "a core died and the job went on from a checkpoint",
    "a core died before the first checkpoint",
    "a cut recorded frames at their receiver",
    "a cut recorded frames at their sender",
    "segments were merged",
    "sorted segments were merged as they came",
    "unsorted segments were sorted together",
    "state was spilled between two cuts",
    "a core was quiet in a drain",
    "a drained cut recorded nothing",
    "a checkpoint was aborted",
    "output was committed again",
    "work was under way when the attempt died",
    "the store wrote long after it was asked to",
    "the store was full when the log was written",
    "the store was full when a file was written",
    "an answer about an entry of the log was lost",
    "an answer about a file was lost",
    "an attempt completed several checkpoints",
    "a zombie went on with its work",
    "a zombie found that it was superseded",
    "files of old checkpoints were to go",
    "broadcast state was restored",
    "an element of a broadcast reached keys",
    "a union list was restored",
    "records were handed on one at a time",
    "user code panicked and the job went on",
];

thread_local! {
    static SEEN: RefCell<BTreeMap<&'static str, u64>> = const { RefCell::new(BTreeMap::new()) };
}

/// Counts a situation; see [`seen!`](crate::seen).
pub fn note(mark: &'static str) {
    debug_assert!(MARKS.contains(&mark), "\"{mark}\" is not listed");
    SEEN.with(|seen| *seen.borrow_mut().entry(mark).or_default() += 1);
}

/// What this thread has counted since the last call.
pub fn take() -> BTreeMap<&'static str, u64> {
    SEEN.with(|seen| std::mem::take(&mut *seen.borrow_mut()))
}

/// The marks that were never reached.
pub fn missing(counts: &BTreeMap<&'static str, u64>) -> Vec<&'static str> {
    MARKS.iter().copied().filter(|mark| !counts.contains_key(mark)).collect()
}

/// Counts an interesting situation: `seen!("a link was full")`, or only if a condition holds.
#[macro_export]
macro_rules! seen {
    ($mark:literal) => {
        $crate::sim::marks::note($mark)
    };
    ($mark:literal, if $condition:expr) => {
        if $condition {
            $crate::sim::marks::note($mark)
        }
    };
}
