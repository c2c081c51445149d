//! Named points at which a test lets the process die: the steps of the protocol.
//!
//! Without the feature `failpoints` a point is nothing. With it, `THALWEG_FAIL=name:3` in the
//! environment has the process killed by SIGKILL when it comes to the point for the third time.

/// A fail point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Point {
    /// Its name.
    pub name: &'static str,
    /// When a process comes there.
    pub reached: Reached,
}

/// When a process comes to a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reached {
    /// Once in a process that begins a job.
    Once,
    /// Again and again, at every checkpoint.
    Often,
    /// In a process that goes on from a checkpoint.
    Restart,
    /// When many checkpoints were made.
    Late,
}

const fn point(name: &'static str, reached: Reached) -> Point {
    Point { name, reached }
}

/// Every point, in the order of the protocol.
pub const POINTS: &[Point] = &[
    point("outputs-prepared", Reached::Once),
    point("before-attempt-entry", Reached::Once),
    point("behind-attempt-entry", Reached::Once),
    point("leftovers-swept", Reached::Once),
    point("before-core-commits", Reached::Restart),
    point("before-core-state", Reached::Restart),
    point("cores-ready", Reached::Once),
    point("before-hidden-part-goes", Reached::Restart),
    point("before-start", Reached::Once),
    point("triggered", Reached::Often),
    point("before-instant", Reached::Often),
    point("sink-sealed", Reached::Often),
    point("behind-instant", Reached::Often),
    point("slice-encoded", Reached::Often),
    point("segment-handed-over", Reached::Often),
    point("image-handed-over", Reached::Often),
    point("file-created", Reached::Often),
    point("file-written", Reached::Often),
    point("file-synchronised", Reached::Often),
    point("file-linked", Reached::Often),
    point("file-alone", Reached::Often),
    point("file-durable", Reached::Often),
    point("part-created", Reached::Often),
    point("part-written", Reached::Often),
    point("part-synchronised", Reached::Often),
    point("part-durable", Reached::Often),
    point("before-acknowledgement", Reached::Often),
    point("before-log-entry", Reached::Often),
    point("behind-log-entry", Reached::Often),
    point("before-commit", Reached::Often),
    point("before-rename", Reached::Often),
    point("behind-rename", Reached::Often),
    point("commit-durable", Reached::Often),
    point("before-committed", Reached::Often),
    point("before-manifest-copy", Reached::Often),
    point("behind-manifest-copy", Reached::Often),
    point("before-deletions", Reached::Often),
    point("before-pruning", Reached::Late),
    point("behind-deletion", Reached::Often),
    point("merge-read", Reached::Late),
    point("merge-written", Reached::Late),
    point("before-end-entry", Reached::Once),
    point("behind-end-entry", Reached::Once),
];

/// Comes to a point; see [`fail_point!`](crate::fail_point).
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn hit(_name: &'static str) {}

/// Comes to a point; see [`fail_point!`](crate::fail_point).
///
/// # Panics
/// If the point is not listed, or the environment names one that is not.
#[cfg(feature = "failpoints")]
pub fn hit(name: &'static str) {
    armed::hit(name);
}

/// Comes to a point of [`POINTS`], by its name: `fail_point!("file-linked")`.
#[macro_export]
macro_rules! fail_point {
    ($name:literal) => {
        $crate::fail::hit($name)
    };
}

#[cfg(feature = "failpoints")]
mod armed {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    use rustix::process::{Signal, getpid, kill_process};

    use super::POINTS;

    struct Armed {
        name: String,
        /// How often it is to be passed before it kills, and once more.
        left: AtomicU64,
    }

    static ARMED: OnceLock<Option<Armed>> = OnceLock::new();

    fn arm() -> Option<Armed> {
        let text = std::env::var("THALWEG_FAIL").ok()?;
        let (name, count) = text.split_once(':').unwrap_or((&text, "1"));
        let is_known = POINTS.iter().any(|point| point.name == name);
        assert!(is_known, "THALWEG_FAIL={text}: there is no such point");
        let left = count.parse().map(AtomicU64::new).expect("THALWEG_FAIL=name:count");
        Some(Armed { name: name.to_owned(), left })
    }

    pub(super) fn hit(name: &'static str) {
        debug_assert!(POINTS.iter().any(|point| point.name == name), "{name} is not listed");
        let Some(armed) = ARMED.get_or_init(arm) else { return };
        if armed.name == name && armed.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            let _ = kill_process(getpid(), Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_points_have_one_name() {
        let names: BTreeSet<_> = POINTS.iter().map(|point| point.name).collect();
        assert_eq!(names.len(), POINTS.len());
        fail_point!("file-linked");
    }
}
