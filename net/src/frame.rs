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
