//! What a running job says of itself.

use serde::{Deserialize, Serialize};
use thalweg_checkpoint::Kind;
use thalweg_checkpoint::coordinator::{Statistic, Statistics};

/// A running job.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct JobStatus {
    /// Its id.
    pub job_id: String,
    /// Its name.
    pub job: String,
    /// `running`, or `restarting` between two attempts.
    pub state: String,
    /// The process.
    pub process: u32,
    /// On how many cores it runs.
    pub parallelism: usize,
    /// The attempt, from 1.
    pub attempt: u64,
    /// For how long this process has run it, in milliseconds.
    pub up_ms: u64,
    /// Records read by sources in this attempt.
    pub records_in: u64,
    /// Records handed to sinks in this attempt.
    pub records_out: u64,
    /// Its checkpoints; `None`: it makes none.
    pub checkpoints: Option<Checkpoints>,
}

/// Checkpoints of an attempt.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Checkpoints {
    /// Where they lie.
    pub directory: String,
    /// How many are complete.
    pub completed: u64,
    /// How many have failed.
    pub failed: u64,
    /// The newest, oldest first.
    pub newest: Vec<CheckpointStatus>,
}

/// A checkpoint that is over. Phases are those of the slowest core.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CheckpointStatus {
    /// Its id.
    pub id: u64,
    /// What it was for.
    pub kind: Kind,
    /// Why it failed; `None`: it is complete.
    pub failure: Option<String>,
    /// When it was triggered, in milliseconds since 1970.
    pub started_ms: u64,
    /// From the trigger to its entry in the log.
    pub duration_ms: u64,
    /// The instant, in which the core does nothing else.
    pub instant_us: u64,
    /// From there until changed state was encoded.
    pub encode_us: u64,
    /// From the instant until the last barrier: frames were recorded.
    pub record_us: u64,
    /// From the later of both until all was durable, and acknowledged.
    pub write_us: u64,
    /// Writing the manifest to the log.
    pub manifest_ms: u64,
    /// From there until output was visible; `None`: it is not yet.
    pub commit_ms: Option<u64>,
    /// The longest time for which a core did nothing but its cut.
    pub pause_us: u64,
    /// What all its files hold.
    pub bytes: u64,
    /// What it has written.
    pub new_bytes: u64,
    /// Records in recorded frames.
    pub in_flight: u64,
}

impl From<&Statistic> for CheckpointStatus {
    fn from(it: &Statistic) -> Self {
        Self {
            id: it.id,
            kind: it.kind,
            failure: it.failure.clone(),
            started_ms: it.started_ms,
            duration_ms: it.duration_ms,
            instant_us: it.phases.cut_us,
            encode_us: it.phases.encode_us,
            record_us: it.phases.recording_us,
            write_us: it.phases.upload_us,
            manifest_ms: it.log_ms,
            commit_ms: it.commit_ms,
            pause_us: it.phases.pause_us,
            bytes: it.bytes,
            new_bytes: it.new_bytes,
            in_flight: it.in_flight,
        }
    }
}

impl Checkpoints {
    /// Takes the coordinator's counts.
    pub(crate) fn update(&mut self, statistics: &Statistics) {
        self.completed = statistics.completed_count();
        self.failed = statistics.failed_count();
        self.newest = statistics.list().map(CheckpointStatus::from).collect();
    }
}
