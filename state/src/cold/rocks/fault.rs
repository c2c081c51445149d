//! What a user is told when RocksDB or the file system refuses.
//!
//! Every error names the directory and, where something can be done, says what.

use std::path::Path;

use super::super::ColdError;

/// Parts of messages of RocksDB and the system, and what to do about them. The first that is found
/// counts.
const HINTS: &[(&str, &str)] = &[
    ("No space left", "free some space on that file system, or use a directory on another one"),
    ("quota", "free some space below that quota, or use a directory elsewhere"),
    ("Too many open files", "raise the limit of open files: ulimit -n 65536"),
    ("Permission denied", "make the directory writable for this user, or use another one"),
    ("Read-only file system", "use a directory on a file system that can be written"),
    // Not what is said of a damaged block.
    (" lock ", "another process uses it: stop that one, or use another directory"),
    ("Corruption", "the disk or memory of this machine may be faulty: check the kernel's log"),
    ("Input/output error", "the disk may be faulty: check the kernel's log"),
    ("No such file", "a file of it was deleted: leave the directory alone while a job runs"),
    ("Not a directory", "use a path where a directory can be made"),
];

/// `attempt` failed in `directory`.
#[cold]
pub(super) fn fault(attempt: &str, directory: &Path, cause: &dyn std::fmt::Display) -> ColdError {
    let cause = cause.to_string();
    let error = ColdError::new(format!("cannot {attempt} {}: {cause}", directory.display()));
    let hint = HINTS.iter().find(|(part, _)| cause.contains(part));
    match hint {
        Some((_, hint)) => error.with_hint(*hint),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_directory_and_says_what_to_do() {
        let cause = "IO error: No space left on device: While appending to file";
        let error = fault("write cold state to", Path::new("/x/y"), &cause);
        assert_eq!(error.what, format!("cannot write cold state to /x/y: {cause}"));
        assert!(error.hint.unwrap().starts_with("free some space"));
        assert_eq!(fault("read from", Path::new("/x"), &"whatever").hint, None);
        let hint = |cause: &str| fault("read from", Path::new("/x"), &cause).hint.unwrap();
        assert!(hint("Corruption: block checksum mismatch in /x/7.sst").contains("faulty"));
        assert!(hint("IO error: While lock file: /x/LOCK: busy").contains("another process"));
        assert!(hint("IO error: lock hold by current process").contains("another process"));
    }
}
