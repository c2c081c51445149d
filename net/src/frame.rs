//! What travels on a link: one step of one channel.
//!
//! The frames of a channel are numbered from zero without a gap; a gap at the receiver fails the
//! attempt.

use std::fmt;

use crate::batch::Page;

/// A channel of the plan: one edge between two subtasks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelId(pub u32);

impl fmt::Display for ChannelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One numbered step of a channel.
#[derive(Debug)]
pub struct Frame {
    /// The channel that it belongs to.
    pub channel: ChannelId,
    /// Its place in the channel's order.
    pub sequence: u64,
    /// What it says.
    pub body: Body,
}

/// What a frame says.
#[derive(Debug)]
pub enum Body {
    /// A page of records; the only kind that a credit pays for.
    Data {
        /// The records.
        page: Page,
        /// The channel's watermark after the last of them.
        watermark: i64,
    },
    /// No more records with timestamps up to this one.
    Watermark(i64),
    /// The channel does not hold up its receiver's watermark until it is active again.
    Idle,
    /// The channel counts again.
    Active,
    /// Nothing follows.
    End,
}

/// A mark on a link: what was sent before it belongs to a checkpoint, what comes behind it does
/// not. It carries the whole trigger, so that whoever hears of the checkpoint from a peer first
/// cuts in the same way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Barrier {
    /// The coordinator that asked for it.
    pub term: u64,
    /// The checkpoint's number.
    pub checkpoint: u64,
    /// What kind of checkpoint it is, in the coordinator's terms.
    pub kind: u8,
    /// When it was triggered, in milliseconds since the epoch.
    pub started_ms: u64,
}

/// What lies on a link.
#[derive(Debug)]
pub enum Parcel {
    /// A step of one channel.
    Frame(Frame),
    /// A mark for all channels of the link.
    Barrier(Barrier),
}
