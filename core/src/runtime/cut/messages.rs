//! What a core and its coordinator say to each other about checkpoints.
//!
//! A core does no I/O: it hands files over to be stored and hears when they are durable. Commands
//! and reports are plain values that may cross threads.

use thalweg_checkpoint::Image;
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
    /// The file with this number is durable.
    Stored(u64, StoredFile),
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
        /// The epoch.
        epoch: u64,
        /// Blocks of all states, with their checksums.
        blocks: Vec<Block>,
    },
}

/// A durable file of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredFile {
    /// Its name below the job's directory.
    pub path: String,
    /// Its length.
    pub bytes: u64,
    /// xxh3_64 of all of it.
    pub checksum: u64,
}

/// A core's part of a checkpoint, all of it durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acknowledgement {
    /// The core.
    pub core: usize,
    /// The checkpoint.
    pub checkpoint: u64,
    /// The coordinator's term that asked for it.
    pub term: u64,
    /// What was recorded.
    pub image: StoredFile,
    /// All segments that state consists of, the oldest first.
    pub segments: Vec<StoredFile>,
    /// Records on each channel.
    pub counts: Vec<ChannelCount>,
}

/// How many records a channel had carried at a cut, since the job began. A sender and a receiver
/// each know their half.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ChannelCount {
    /// The edge.
    pub edge: u32,
    /// The sending core.
    pub from: usize,
    /// The receiving core.
    pub to: usize,
    /// Written by the sender.
    pub sent: u64,
    /// Of those, recorded at the sender: no link had taken them.
    pub unsent: u64,
    /// Consumed by the receiver.
    pub consumed: u64,
    /// Recorded at the receiver.
    pub recorded: u64,
}

impl ChannelCount {
    /// The count of a channel, made if it is not there.
    pub(crate) fn find(counts: &mut Vec<Self>, edge: u32, from: usize, to: usize) -> &mut Self {
        let same = |count: &Self| (count.edge, count.from, count.to) == (edge, from, to);
        let at = counts.iter().position(same).unwrap_or_else(|| {
            counts.push(Self { edge, from, to, ..Self::default() });
            counts.len() - 1
        });
        &mut counts[at]
    }

    /// Puts the halves of all channels together.
    ///
    /// # Errors
    /// The first channel on which sent is not consumed and recorded.
    pub fn check(halves: impl IntoIterator<Item = Self>) -> Result<(), Self> {
        let mut whole: Vec<Self> = Vec::new();
        for half in halves {
            let count = Self::find(&mut whole, half.edge, half.from, half.to);
            count.sent += half.sent;
            count.unsent += half.unsent;
            count.consumed += half.consumed;
            count.recorded += half.recorded;
        }
        let wrong = |count: &&Self| count.sent != count.unsent + count.recorded + count.consumed;
        whole.iter().find(wrong).map_or(Ok(()), |count| Err(*count))
    }
}
