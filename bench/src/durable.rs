//! Jobs that keep checkpoints: where those lie, and what a running job is asked about them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use thalweg::RunOptions;
use thalweg::console::{Answer, JobStatus, Refused, Request, SOCKET, ask};
use thalweg::control::RestartFrom;
use thalweg::runtime::CheckpointOptions;
use thalweg_checkpoint::coordinator;
use thalweg_checkpoint::restart::Strategy;

use crate::machine::{Clock, sleep};

/// The id of a job; each has a directory of its own.
const JOB_ID: &str = "bench";

/// What the names of the benches' directories begin with.
const SCRATCH: &str = "thalweg-checkpoint-";

/// How long a job that has just been started may take until it answers.
const STARTING_NS: u64 = 30_000_000_000;

/// A directory that is removed with all that is in it, also when the bench fails.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// Makes a directory below this one, and removes what benches that were killed have left
    /// there: call it with the lock of the [report](crate::report::Report) held.
    pub fn below(directory: &Path) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        for entry in fs::read_dir(directory)?.flatten() {
            if entry.file_name().to_string_lossy().starts_with(SCRATCH) {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
        let own = directory.canonicalize()?.join(format!("{SCRATCH}{}", std::process::id()));
        fs::create_dir(&own)?;
        Ok(Self(own))
    }

    /// An empty directory in it.
    pub fn place(&self, name: &str) -> io::Result<PathBuf> {
        let place = self.0.join(name);
        if place.exists() {
            fs::remove_dir_all(&place)?;
        }
        fs::create_dir(&place)?;
        Ok(place)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("cannot remove {}: {error}", self.0.display());
        }
    }
}

/// Whether a directory lies in memory, so that nothing there is ever written to a disk.
pub fn is_in_memory(directory: &Path) -> bool {
    const TMPFS: i64 = 0x0102_1994;
    rustix::fs::statfs(directory).is_ok_and(|it| it.f_type == TMPFS)
}

/// Lets a job keep checkpoints and its other files in a directory, and be asked there. Without an
/// interval they are made on request only.
pub fn keep(mut options: RunOptions, directory: &Path, interval: Option<Duration>) -> RunOptions {
    options.runtime.state.directory = Some(directory.join("data"));
    options.job_id = Some(JOB_ID.to_owned());
    options.job_name = JOB_ID.to_owned();
    options.console = true;
    options.checkpoints = Some(CheckpointOptions {
        at_least_once: false,
        allow_output_replay: false,
        directory: directory.join("chk"),
        job_name: JOB_ID.to_owned(),
        job_id: JOB_ID.to_owned(),
        coordinator: coordinator::Config {
            interval_ms: interval.map(|interval| interval.as_millis() as u64),
            ..coordinator::Config::default()
        },
        restarts: Strategy::None,
        poison: None,
        from: RestartFrom::Newest,
        retain_on_cancel: false,
    });
    options
}

/// The way to ask a job that [keeps](keep) checkpoints in a directory.
#[derive(Debug, Clone)]
pub struct Console(PathBuf);

impl Console {
    /// Of the job that keeps them there. A job that was just started is waited for.
    ///
    /// # Errors
    /// It does not answer.
    pub fn of(directory: &Path) -> io::Result<Self> {
        let console = Self(directory.join("data").join(JOB_ID).join(SOCKET));
        let clock = Clock::start();
        while console.status().is_err() {
            if clock.now() > STARTING_NS {
                let path = console.0.display();
                return Err(io::Error::other(format!("the job does not answer on {path}")));
            }
            sleep(Duration::from_millis(5));
        }
        Ok(console)
    }

    /// What it does, with its newest checkpoints.
    ///
    /// # Errors
    /// It does not answer.
    pub fn status(&self) -> io::Result<JobStatus> {
        match self.ask(Request::Status, Duration::from_secs(10))? {
            Answer::Status(status) => Ok(*status),
            other => Err(io::Error::other(format!("the job answers {other:?}"))),
        }
    }

    /// Has a checkpoint made and waits until it is complete; returns its id.
    ///
    /// # Errors
    /// It fails, or takes longer than `patience`.
    pub fn checkpoint(&self, patience: Duration) -> io::Result<u64> {
        match self.ask(Request::Checkpoint, patience)? {
            Answer::Checkpoint(id) => Ok(id),
            Answer::Refused(why) => Err(io::Error::other(format!("no checkpoint: {why}"))),
            other => Err(io::Error::other(format!("the job answers {other:?}"))),
        }
    }

    /// Has the job worked off what it has read, keep it, and end.
    ///
    /// # Errors
    /// It goes on, or takes longer than `patience`.
    pub fn stop(&self, patience: Duration) -> io::Result<()> {
        match self.ask(Request::Stop, patience)? {
            Answer::Ended => Ok(()),
            other => Err(io::Error::other(format!("the job answers {other:?}"))),
        }
    }

    fn ask(&self, request: Request, patience: Duration) -> io::Result<Answer> {
        ask(&self.0, request, Some(patience)).map_err(|refused| match refused {
            Refused::Failed(error) => error,
            Refused::Nobody => io::Error::other("no job listens"),
            Refused::NoAnswer => io::Error::other("the job ended without an answer"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scratch_directory_goes_with_all_in_it_and_takes_leftovers_along() {
        let below = std::env::temp_dir().join(format!("thalweg-scratch-{}", std::process::id()));
        fs::create_dir_all(below.join("thalweg-checkpoint-left/over")).unwrap();
        fs::create_dir_all(below.join("others")).unwrap();
        let scratch = Scratch::below(&below).unwrap();
        let place = scratch.place("a").unwrap();
        fs::write(place.join("file"), "1").unwrap();
        assert_eq!(fs::read_dir(scratch.place("a").unwrap()).unwrap().count(), 0);
        assert!(!below.join("thalweg-checkpoint-left").exists());
        drop(scratch);
        assert_eq!(fs::read_dir(&below).unwrap().count(), 1, "only what is others' is left");
        fs::remove_dir_all(&below).unwrap();
    }
}
