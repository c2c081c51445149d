//! Who uses a job's directory of cold state, and what is left of those who died.
//!
//! A run shares the lock of its directory for as long as it lives; the kernel releases it however
//! the run ends. Whoever can have the lock alone knows that nobody uses the directory.

#![cfg_attr(not(feature = "rocksdb"), allow(dead_code, reason = "there is no cold state"))]

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

/// The directory below a job's own that holds cold state, and its lock.
const STATE: &str = "state";
const LOCK: &str = "lock";

/// A run's share in a directory of cold state.
#[derive(Debug)]
pub(super) struct Claim {
    lock: File,
    job: PathBuf,
}

impl Claim {
    /// Claims the directory below `job`, which is made if it is not there.
    pub(super) fn new(job: &Path) -> io::Result<Self> {
        let path = lock_path(job);
        loop {
            std::fs::create_dir_all(job.join(STATE))?;
            let lock = match OpenOptions::new().create(true).append(true).open(&path) {
                // Between the two calls someone cleaned up.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                opened => opened?,
            };
            flock(&lock, FlockOperation::LockShared)?;
            // Of a file that was removed meanwhile nobody else would know.
            if is_at(&lock, &path) {
                return Ok(Self { lock, job: job.to_owned() });
            }
        }
    }

    /// Gives the directory up, and removes it if nobody else uses it and nothing is in it.
    pub(super) fn release(self) {
        if flock(&self.lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
            remove_empty(&self.job);
        }
    }
}

/// Removes the cold state of runs that died below `home`; returns of how many, and the errors.
pub(super) fn sweep(home: &Path) -> (usize, Vec<String>) {
    let (mut swept, mut errors) = (0, Vec::new());
    let jobs = std::fs::read_dir(home).into_iter().flatten().flatten();
    for job in jobs.map(|entry| entry.path()) {
        let Ok(lock) = File::open(lock_path(&job)) else { continue };
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err()
            || !is_at(&lock, &lock_path(&job))
        {
            continue;
        }
        match remove_cores(&job.join(STATE)) {
            Ok(()) => {
                remove_empty(&job);
                swept += 1;
            }
            Err(error) => errors.push(format!("{}: {error}", job.display())),
        }
    }
    (swept, errors)
}

fn lock_path(job: &Path) -> PathBuf {
    job.join(STATE).join(LOCK)
}

/// Whether this open file is the one at `path`.
fn is_at(file: &File, path: &Path) -> bool {
    let identity = |found: io::Result<std::fs::Metadata>| {
        found.ok().map(|metadata| (metadata.dev(), metadata.ino()))
    };
    identity(file.metadata()).is_some_and(|own| identity(std::fs::metadata(path)) == Some(own))
}

/// Removes the databases of all cores, and nothing else.
fn remove_cores(state: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(state)? {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(|name| name.starts_with("core-")) {
            std::fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// Removes the lock, which the caller has alone, and directories that are empty then.
fn remove_empty(job: &Path) {
    let _ = std::fs::remove_file(lock_path(job));
    let _ = std::fs::remove_dir(job.join(STATE));
    let _ = std::fs::remove_dir(job);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home(name: &str) -> PathBuf {
        let home = std::env::temp_dir().join(format!("thalweg-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&home).unwrap();
        home
    }

    fn fill(job: &Path) -> PathBuf {
        let core = job.join("state/core-0");
        std::fs::create_dir_all(&core).unwrap();
        std::fs::write(core.join("000007.sst"), "rows").unwrap();
        core
    }

    #[test]
    fn what_a_dead_run_has_left_is_removed_and_what_a_living_one_has_is_not() {
        let home = home("sweep");
        let (dead, living) = (home.join("dead"), home.join("living"));
        // A run that is killed releases nothing itself: its lock goes with its file.
        drop(Claim::new(&dead).unwrap());
        let claim = Claim::new(&living).unwrap();
        let (gone, stays) = (fill(&dead), fill(&living));
        let foreign = fill(&home.join("no-lock"));
        std::fs::write(living.join("notes.txt"), "not ours").unwrap();

        assert_eq!(sweep(&home), (1, Vec::new()));
        assert!(!gone.exists() && !dead.exists());
        assert!(stays.exists() && foreign.exists());

        drop(claim);
        assert_eq!(sweep(&home), (1, Vec::new()));
        assert!(!stays.exists() && living.join("notes.txt").exists());
        assert_eq!(sweep(&home), (0, Vec::new()));
        assert_eq!(sweep(&home.join("nowhere")), (0, Vec::new()));
        std::fs::remove_dir_all(home).unwrap();
    }

    #[test]
    fn of_two_runs_with_one_name_the_last_one_cleans_up() {
        let home = home("claims");
        let job = home.join("same");
        let (first, second) = (Claim::new(&job).unwrap(), Claim::new(&job).unwrap());
        first.release();
        assert!(job.join("state/lock").exists());
        second.release();
        assert!(!job.exists());
        std::fs::remove_dir(home).unwrap();
    }
}
