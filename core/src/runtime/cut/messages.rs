//! What a core and its coordinator say to each other about checkpoints.
//!
//! A core does no I/O: it hands files over to be stored and hears when they are durable. Commands
//! and reports are plain values that may cross threads.

use thalweg_checkpoint::coordinator::{Acknowledgement, ChannelCounts};
use thalweg_checkpoint::{FileInfo, Image};
use thalweg_net::Barrier;
use thalweg_state::segment::Block;

/// What a core is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CutCommand {
    /// Cut now, unless this or a later checkpoint was heard of.
    Trigger(Barrier),
    /// The checkpoint has failed: what was recorded for it is forgotten, and nothing else.
    Abort(u64),
    /// The checkpoint and all before it are complete: their output is to be made visible.
    Commit(u64),
    /// The sources are to be silent, and what is on its way worked off; the core answers when it is
    /// quiet.
    Drain {
        /// Goes back with the answer.
        round: u64,
        /// Whether the sources stay silent behind the cut, until [`CutCommand::Resume`].
        keep: bool,
    },
    /// The sources may go on.
    Resume,
    /// The file with this number is durable.
    Stored(u64, FileInfo),
    /// These blocks are stored: their memory can be used again.
    Spare(Vec<Block>),
    /// The segments that were to be merged are, into this file; or could not be.
    Merged(Option<FileInfo>),
}

/// What a core says.
#[derive(Debug)]
pub enum CutReport {
    /// A file is to be stored.
    Store {
        /// The core's own count of files.
        number: u64,
        /// What is in it.
        content: Content,
    },
    /// State is to be stored before a checkpoint names it, since there is no room for it.
    Spill {
        /// The core's own count of files.
        number: u64,
        /// What is in it.
        content: Content,
    },
    /// These segments are to be merged into one.
    Merge {
        /// The segments, the oldest first.
        segments: Vec<FileInfo>,
        /// Whether nothing lies below the first.
        is_bottom: bool,
    },
    /// The core has nothing to do in this round.
    Quiet {
        /// The round that was asked for.
        round: u64,
        /// Frames and barriers sent on all links so far.
        sent: u64,
        /// Frames and barriers received.
        received: u64,
    },
    /// All that the core has for this checkpoint was handed over.
    Delivered(u64),
    /// The core's part of a checkpoint is durable.
    Acknowledged(Acknowledgement),
    /// Output of this checkpoint and all before it is visible.
    Committed(u64),
    /// All sources have ended and all they made has passed: only the last checkpoint is missing.
    Ended,
}

/// What a file holds.
#[derive(Debug)]
pub enum Content {
    /// What a cut has recorded beside state.
    Image(Image),
    /// What has changed in state in an epoch.
    Segment {
        /// Its number in the core's chain.
        number: u64,
        /// The epoch.
        epoch: u64,
        /// Blocks of all states, with their checksums.
        blocks: Vec<Block>,
    },
}

/// The count of a channel, made if it is not there.
pub(super) fn count_of(
    counts: &mut Vec<ChannelCounts>,
    edge: u32,
    from: usize,
    to: usize,
) -> &mut ChannelCounts {
    let (from, to) = (from as u32, to as u32);
    let same = |count: &ChannelCounts| (count.edge, count.from, count.to) == (edge, from, to);
    let at = counts.iter().position(same).unwrap_or_else(|| {
        counts.push(ChannelCounts { edge, from, to, ..ChannelCounts::default() });
        counts.len() - 1
    });
    &mut counts[at]
}
