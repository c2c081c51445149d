//! The control socket of a running job: who may write to it asks for its state, a checkpoint, its
//! stop or its end.
//!
//! A connection carries one request and one answer, each a line of JSON.

mod client;
mod server;
mod status;

pub use client::{Refused, ask, find};
pub(crate) use server::{Asked, Board, Console, Counts};
pub use status::{CheckpointStatus, Checkpoints, JobStatus};

use serde::{Deserialize, Serialize};

/// The socket's name in the job's own directory.
pub const SOCKET: &str = "control.sock";

/// The longest request or answer, in bytes.
const LINE_MAX: u64 = 1 << 20;

/// What a job may be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// What is it doing?
    Status,
    /// Make a checkpoint now.
    Checkpoint,
    /// Work off what was read, make a checkpoint, commit it, end.
    Stop,
    /// End now.
    Cancel,
}

/// What a job answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// Its state.
    Status(Box<JobStatus>),
    /// This checkpoint is complete.
    Checkpoint(u64),
    /// It has ended as it was asked to.
    Ended,
    /// It was not done, and why.
    Refused(String),
}
