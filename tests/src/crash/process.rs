//! A job in a directory of its own, run by processes one after the other.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use thalweg::time::{Clock, MachineClock};
use thalweg_checkpoint::log::{Completed, Step};
use thalweg_checkpoint::{History, LocalStore, Log, Manifest};

use super::Committed;
use crate::attempt::wait_until;

/// The identity of every job here: each has a directory of its own.
const JOB_ID: &str = "00000000000000000000000000c4a511";

/// A process that has not ended after this time hangs: generous, since the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(300);

/// A directory with output, checkpoints and logs of a job.
#[derive(Debug)]
pub struct Place {
    program: PathBuf,
    folder: PathBuf,
    words: Vec<String>,
    starts: u32,
}

impl Place {
    /// A fresh directory for a job that `program` runs with these words, `--output` aside.
    ///
    /// # Panics
    /// If the directory cannot be made.
    pub fn new(program: &str, folder: &Path, words: &[String]) -> Self {
        let _ = std::fs::remove_dir_all(folder);
        std::fs::create_dir_all(folder).expect("a directory for a job");
        let (program, folder) = (program.into(), folder.to_owned());
        Self { program, folder, words: words.to_vec(), starts: 0 }
    }

    /// Its directory.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// How many processes were started here.
    pub fn starts(&self) -> u32 {
        self.starts
    }

    /// Where its checkpoints are.
    pub fn checkpoints(&self) -> PathBuf {
        self.folder.join("checkpoints")
    }

    /// What a reader sees of its output.
    pub fn committed(&self) -> Committed {
        Committed::read(&self.folder.join("output"))
    }

    /// What its log says.
    ///
    /// # Panics
    /// If the log is damaged.
    pub fn history(&self) -> History {
        Log::read(&self.store(), JOB_ID).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The newest complete checkpoint.
    ///
    /// # Panics
    /// If there is none.
    pub fn newest(&self) -> Manifest {
        self.manifest(self.history().restore_point().expect("a complete checkpoint"))
    }

    /// The manifest of a complete checkpoint.
    ///
    /// # Panics
    /// If it cannot be read.
    pub fn manifest(&self, completed: Completed) -> Manifest {
        Log::manifest(&self.store(), JOB_ID, completed).expect("its manifest")
    }

    /// Files that a killed process left half written among the checkpoints. The log's folder is
    /// left out: nobody looks there again after a kill behind the last entry.
    pub fn unfinished(&self) -> Vec<PathBuf> {
        let mut folders = vec![self.checkpoints()];
        let mut found = Vec::new();
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.is_dir() && !path.ends_with("log") {
                    folders.push(path);
                } else if entry.file_name().to_string_lossy().starts_with('.') {
                    found.push(path);
                }
            }
        }
        found
    }

    fn store(&self) -> LocalStore {
        LocalStore::open(self.checkpoints()).expect("a directory for checkpoints")
    }

    /// Whether the log has so many entries: cheaper than reading it.
    pub fn has_entries(&self, count: u64) -> bool {
        let entry = thalweg_checkpoint::paths::log_entry(JOB_ID, count.saturating_sub(1));
        count == 0 || self.checkpoints().join(entry).exists()
    }

    /// How many checkpoints the log says are complete.
    pub fn completed(&self) -> usize {
        let is_complete = |step: &Step| matches!(step, Step::Complete { .. });
        self.history().marks().iter().filter(|mark| is_complete(&mark.step)).count()
    }

    /// Starts a process for the job; its messages go to a file.
    ///
    /// # Panics
    /// If there is no such program.
    pub fn start(&mut self) -> Running {
        self.start_with(None)
    }

    /// As [`Place::start`]; the process kills itself at a fail point: `name:count`.
    ///
    /// # Panics
    /// If there is no such program.
    pub fn start_with(&mut self, point: Option<&str>) -> Running {
        self.starts += 1;
        let log = self.folder.join(format!("{:03}.log", self.starts));
        let file = File::create(&log).expect("a file for messages");
        let mut command = Command::new(&self.program);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("THALWEG_") {
                command.env_remove(name);
            }
        }
        command.envs(point.map(|point| ("THALWEG_FAIL", point)));
        let (words, options) = match self.words.iter().position(|word| word == "--") {
            Some(at) => (&self.words[at..], &self.words[..at]),
            None => (&self.words[..0], &self.words[..]),
        };
        let id = ["--job-id", JOB_ID];
        command.args(options).args(id).args(words).args(["--output", "output"]);
        command.current_dir(&self.folder).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(file);
        let child = command.spawn().expect("the program of the jobs");
        Running { child, log }
    }

    /// Runs the job to its end.
    pub fn run(&mut self) -> Ended {
        self.start().wait()
    }

    /// Runs it to its end with other words.
    pub fn run_with(&mut self, words: &[String]) -> Ended {
        let own = std::mem::replace(&mut self.words, words.to_vec());
        let ended = self.run();
        self.words = own;
        ended
    }

    /// Removes the directory: there is nothing to look into.
    pub fn remove(self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A process that works on a job; killed when it is dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    log: PathBuf,
}

/// A process that has ended.
#[derive(Debug)]
pub struct Ended {
    /// How.
    pub status: ExitStatus,
    /// What it said.
    pub said: String,
}

impl Running {
    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended.
    ///
    /// # Panics
    /// If nobody knows.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("a process of ours").is_some()
    }

    /// Waits some time, or until it has ended.
    #[allow(clippy::disallowed_methods, reason = "lives outside the engine")]
    pub fn live(&mut self, time: Duration) {
        let clock = MachineClock::new();
        while clock.nanos() < time.as_nanos() as u64 && !self.has_ended() {
            let left = time.saturating_sub(Duration::from_nanos(clock.nanos()));
            std::thread::sleep(left.min(Duration::from_millis(5)));
        }
    }

    /// Ends it by SIGKILL; true if it had not ended by itself.
    ///
    /// # Panics
    /// If it cannot be killed.
    pub fn kill(&mut self) -> bool {
        let alive = !self.has_ended();
        self.child.kill().expect("a process can be killed");
        self.child.wait().expect("a process of ours");
        alive
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// If it does not end.
    pub fn wait(mut self) -> Ended {
        let log = self.log.clone();
        wait_until(&log.display().to_string(), PATIENCE, || self.has_ended());
        let status = self.child.wait().expect("a process of ours");
        Ended { status, said: self.said() }
    }

    /// What it has said.
    pub fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended already, or nobody can do anything about it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
