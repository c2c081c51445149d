//! What a simulator sees of a worker between two steps: plain copies of counters and positions.
//!
//! Nothing here changes a worker, and no part of the engine reads it.

use thalweg_net::channel::ChannelCounts;

use crate::time::Timestamp;

/// The sending end of one edge towards one core.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutputView {
    /// The edge.
    pub edge: u32,
    /// The receiving core.
    pub to: usize,
    /// Where the channel's buffers are.
    pub counts: ChannelCounts,
    /// Records written, those on the open page included.
    pub records: u64,
    /// Frames that the link took.
    pub frames: u64,
    /// Frames that wait for the link.
    pub queued: usize,
    /// The watermark that the next record is stamped with.
    pub watermark: Timestamp,
    /// Whether the channel is idle.
    pub idle: bool,
    /// Whether the channel was closed.
    pub ended: bool,
    /// Whether a task that writes here may run.
    pub has_credit: bool,
}

/// The receiving end of an edge on one core.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GateView {
    /// The edge.
    pub edge: u32,
    /// The watermark that its consumers have been given or are being given.
    pub watermark: Timestamp,
    /// Whether all inputs are idle.
    pub idle: bool,
    /// Whether all inputs have ended and are consumed.
    pub ended: bool,
    /// Whether a consumer has stopped in the middle of a watermark.
    pub advancing: bool,
    /// How many operators read it.
    pub consumers: usize,
    /// Whether one consumer is ahead of another.
    pub apart: bool,
    /// Its channels, one per sending core.
    pub inputs: Vec<InputView>,
}

/// One channel of a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InputView {
    /// Frames received.
    pub frames: u64,
    /// Frames that merged with the one before them.
    pub merged: u64,
    /// Frames that wait.
    pub queued: usize,
    /// Pages among them.
    pub pages: usize,
    /// The page that is being read: the first record that is not consumed by all, and how many it
    /// has.
    pub open: Option<(usize, usize)>,
    /// Records that all consumers have taken.
    pub records: u64,
    /// The channel's watermark as merged so far.
    pub watermark: Timestamp,
    /// Whether the channel holds nothing back at the moment.
    pub idle: bool,
}
