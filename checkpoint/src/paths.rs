//! Where a job's objects lie in its checkpoint store, and what a path tells.
//!
//! Every file carries the attempt and the node that wrote it, so nobody overwrites anybody. A path
//! has one form: what does not read back is none of ours and is never deleted by us.

use std::fmt;

/// Digits of an entry's number: names sort as numbers do.
const ENTRY_DIGITS: usize = 20;

/// The longest path that a store takes.
pub const PATH_BYTES_MAX: usize = 1024;

/// A file of what the cores of a node stored together, without the job in front:
/// `att-<attempt>/node-<node>/<number>.pack`. A manifest says what is where in it.
///
/// ```
/// use thalweg_checkpoint::paths::Pack;
/// let pack = Pack { attempt: 3, node: 0, number: 17 };
/// assert_eq!(pack.path("fraud-1"), "fraud-1/att-3/node-0/17.pack");
/// assert_eq!(Pack::parse("fraud-1", "fraud-1/att-3/node-0/17.pack"), Some(pack));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pack {
    /// The attempt that wrote it.
    pub attempt: u64,
    /// The node that wrote it.
    pub node: u32,
    /// The node's own count of packs.
    pub number: u64,
}

impl Pack {
    /// Its path in the store.
    pub fn path(&self, job: &str) -> String {
        format!("{job}/{self}")
    }

    /// Reads a path; `None` if it is no pack of this job.
    pub fn parse(job: &str, path: &str) -> Option<Self> {
        let rest = path.strip_prefix(job)?.strip_prefix("/att-")?;
        let (attempt, rest) = rest.split_once("/node-")?;
        let (node, name) = rest.split_once('/')?;
        let number = plain(name.strip_suffix(".pack")?)?;
        let node = u32::try_from(plain(node)?).ok()?;
        Some(Self { attempt: plain(attempt)?, node, number })
    }
}

impl fmt::Display for Pack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { attempt, node, number } = self;
        write!(f, "att-{attempt}/node-{node}/{number}.pack")
    }
}

/// The folder of everything that `attempt` wrote.
pub fn attempt_prefix(job: &str, attempt: u64) -> String {
    format!("{job}/att-{attempt}/")
}

/// The folder of the job's log.
pub fn log_prefix(job: &str) -> String {
    format!("{job}/log/")
}

/// The `k`-th entry of the job's log.
pub fn log_entry(job: &str, k: u64) -> String {
    format!("{job}/log/{k:0ENTRY_DIGITS$}")
}

/// Where it stands that old entries of the job's log were deleted.
pub fn log_pruned(job: &str) -> String {
    format!("{job}/log/pruned")
}

/// Reads the number of a log entry; `None` if the path is none of this job's.
pub fn parse_log_entry(job: &str, path: &str) -> Option<u64> {
    let digits = path.strip_prefix(job)?.strip_prefix("/log/")?;
    let plain = digits.len() == ENTRY_DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten()
}

/// The copy of a manifest that readers look for: `<job>/chk-<checkpoint>/_metadata`.
pub fn metadata(job: &str, checkpoint: u64) -> String {
    format!("{job}/chk-{checkpoint}/_metadata")
}

/// Reads the checkpoint of a manifest's copy; `None` if the path is none of this job's.
pub fn parse_metadata(job: &str, path: &str) -> Option<u64> {
    let rest = path.strip_prefix(job)?.strip_prefix("/chk-")?;
    plain(rest.strip_suffix("/_metadata")?)
}

/// Says what is wrong with a path, if anything is.
///
/// Paths are relative; their pieces are plain names that are not hidden, so no path leaves the
/// store and none meets a temporary file of it.
pub fn complaint(path: &str) -> Option<&'static str> {
    let odd = |byte: u8| byte == b'\\' || byte.is_ascii_control();
    if path.is_empty() {
        Some("it is empty")
    } else if path.len() > PATH_BYTES_MAX {
        Some("it is longer than 1024 bytes")
    } else if path.starts_with('/') {
        Some("it is absolute")
    } else if path.split('/').any(str::is_empty) {
        Some("a name in it is empty")
    } else if path.split('/').any(|name| name.starts_with('.')) {
        Some("a name in it begins with a dot")
    } else if path.bytes().any(odd) {
        Some("it holds a backslash or a control character")
    } else {
        None
    }
}

/// A number in its one form: digits only, no zero in front.
fn plain(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let one_form = text == "0" || !text.starts_with('0');
    (digits && one_form).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_reads_back_as_what_it_was_made_from() {
        for (attempt, node, number) in [(0, 0, 0), (3, 1, 17), (u64::MAX, u32::MAX, u64::MAX)] {
            let pack = Pack { attempt, node, number };
            let path = pack.path("job");
            assert_eq!(Pack::parse("job", &path), Some(pack));
            assert_eq!(complaint(&path), None);
            assert_eq!(Pack::parse("jo", &path), None);
            assert_eq!(Pack::parse("job2", &path), None);
        }
    }

    #[test]
    fn other_paths_are_not_ours() {
        for path in [
            "job/att-1/node-0/1",
            "job/att-01/node-0/1.pack",
            "job/att-1/node-0/+1.pack",
            "job/att-1/node-0/1.pack.bak",
            "job/att-1/node-99999999999/1.pack",
            "job/att-1/node-0/x/1.pack",
            "job/att-/node-0/1.pack",
            "job/log/00000000000000000001",
            "att-1/node-0/1.pack",
        ] {
            assert_eq!(Pack::parse("job", path), None, "{path}");
        }
    }

    #[test]
    fn entries_sort_as_their_numbers_do() {
        let numbers = [0, 9, 10, 99, 1 << 40, u64::MAX];
        let paths = numbers.map(|k| log_entry("job", k));
        assert!(paths.is_sorted());
        assert_eq!(paths.clone().map(|path| parse_log_entry("job", &path)), numbers.map(Some));
        assert_eq!(paths[1], "job/log/00000000000000000009");
        assert_eq!(parse_log_entry("job", "job/log/9"), None);
        assert!(paths[0].starts_with(&log_prefix("job")));
        assert_eq!(metadata("job", 41), "job/chk-41/_metadata");
        assert_eq!(parse_metadata("job", "job/chk-41/_metadata"), Some(41));
        assert_eq!(parse_metadata("job", "job/chk-041/_metadata"), None);
        assert_eq!(attempt_prefix("job", 2), "job/att-2/");
    }

    #[test]
    fn no_path_leaves_the_store() {
        for path in ["", "/", "/a", "a/../b", "..", "a//b", "a/", "./a", "a/.tmp", "a\\b", "a\0"] {
            assert!(complaint(path).is_some(), "{path:?}");
        }
        assert!(complaint(&"a".repeat(PATH_BYTES_MAX + 1)).is_some());
        assert_eq!(complaint(&"a".repeat(PATH_BYTES_MAX)), None);
    }
}
