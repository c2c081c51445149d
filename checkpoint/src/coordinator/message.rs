//! What a coordinator hears, and what it orders.

use std::collections::BTreeMap;

use crate::log::{Entry, Verdict};
use crate::manifest::{FileInfo, Kind, Manifest, Split};

/// What has happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A core stands, its restored output is resolved; no id up to the highest is free.
    Ready {
        /// The core.
        core: u32,
        /// The highest checkpoint id that the core or the outside has seen.
        highest_id: u64,
    },
    /// The time of [`wake_at`](super::Coordinator::wake_at) has come.
    Tick,
    /// Somebody asks for a checkpoint now; the answer carries the token.
    TriggerNow {
        /// Tells the asker's answer from others.
        token: u64,
        /// [`Kind::Checkpoint`] or [`Kind::Savepoint`].
        kind: Kind,
    },
    /// A core has stored everything of a checkpoint durably.
    Acknowledged(Box<Acknowledgement>),
    /// A core cannot make a checkpoint.
    Declined {
        /// The core.
        core: u32,
        /// The checkpoint.
        checkpoint: u64,
        /// Why.
        reason: String,
    },
    /// What became of the entry that was ordered.
    LogAnswer {
        /// The entry's number.
        k: u64,
        /// What became of it.
        verdict: Verdict,
    },
    /// A core has committed everything up to a checkpoint.
    Committed {
        /// The core.
        core: u32,
        /// The checkpoint.
        checkpoint: u64,
    },
    /// Every source has ended and all cores are drained.
    AllEnded,
    /// These paths are deleted.
    Deleted {
        /// Those of an order, or some of them.
        paths: Vec<String>,
    },
    /// A source has discovered a split.
    SplitFound(Split),
}

/// What a core says when its share of a checkpoint is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acknowledgement {
    /// The core.
    pub core: u32,
    /// The checkpoint.
    pub checkpoint: u64,
    /// The term of the trigger.
    pub term: u64,
    /// The core's part.
    pub part: FileInfo,
    /// Every file that the part names, those of earlier checkpoints too.
    pub files: Vec<FileInfo>,
    /// What the core knows of its channels' records, at either end.
    pub counts: Vec<ChannelCounts>,
    /// How long it took.
    pub phases: Phases,
}

/// Records of one channel up to the cut, as one core knows them: a sender knows what was sent and
/// what it recorded unsent, a receiver what was consumed and what it recorded; the rest is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ChannelCounts {
    /// The edge of the graph.
    pub edge: u32,
    /// The sending core.
    pub from: u32,
    /// The receiving core.
    pub to: u32,
    /// Records put into the channel.
    pub sent: u64,
    /// Records taken out of it and processed.
    pub consumed: u64,
    /// Records in the receiver's recorded frames.
    pub recorded: u64,
    /// Records in the sender's recorded frames.
    pub unsent: u64,
}

impl ChannelCounts {
    /// Checks that on every channel sent = consumed + recorded + unsent, by what all cores know.
    pub fn check_conservation<'a>(counts: impl Iterator<Item = &'a Self>) -> Result<(), String> {
        let mut channels: BTreeMap<(u32, u32, u32), [u128; 4]> = BTreeMap::new();
        for counts in counts {
            let Self { edge, from, to, sent, consumed, recorded, unsent } = *counts;
            let sums = channels.entry((edge, from, to)).or_default();
            for (sum, count) in sums.iter_mut().zip([sent, consumed, recorded, unsent]) {
                *sum += u128::from(count);
            }
        }
        for ((edge, from, to), [sent, consumed, recorded, unsent]) in channels {
            if sent != consumed + recorded + unsent {
                return Err(format!(
                    "edge {edge} from core {from} to core {to} was sent {sent} records; \
                     {consumed} are consumed, {recorded} recorded, {unsent} recorded unsent"
                ));
            }
        }
        Ok(())
    }
}

/// How long a core's share took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Phases {
    /// The instant, in which the core does nothing else.
    pub cut_us: u64,
    /// From there until changed state was encoded.
    pub encode_us: u64,
    /// From the instant until the last barrier.
    pub recording_us: u64,
    /// From the later of both until everything was durable.
    pub upload_us: u64,
    /// The longest time for which the core did nothing but its cut.
    pub pause_us: u64,
}

/// What is to be done. Orders are carried out in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Tell every core to cut.
    Trigger(Trigger),
    /// Tell every core that a checkpoint will not complete.
    Abort {
        /// The checkpoint.
        id: u64,
    },
    /// Tell every core to commit everything up to a checkpoint.
    Commit {
        /// The checkpoint.
        id: u64,
    },
    /// Send an entry of the log once, read back, and answer with
    /// [`Event::LogAnswer`].
    Append {
        /// The entry's number.
        k: u64,
        /// The entry.
        entry: Box<Entry>,
    },
    /// Write the manifest's copy for readers; its failure is of no consequence.
    CopyManifest {
        /// The manifest.
        manifest: Box<Manifest>,
    },
    /// Delete these paths, and answer with [`Event::Deleted`].
    Delete {
        /// The paths; some may have been ordered before.
        paths: Vec<String>,
    },
    /// Delete the entries of the log before this one.
    Prune {
        /// The first that stays.
        first: u64,
    },
    /// Answer one who asked for a checkpoint.
    Answer {
        /// What the asker gave.
        token: u64,
        /// The checkpoint that is complete, or why there is none.
        result: Result<u64, String>,
    },
    /// End the attempt; nothing follows.
    FailAttempt {
        /// Why.
        reason: Failure,
    },
    /// The job has finished, and the log says so; nothing follows.
    Finished,
}

/// The command to cut; barriers carry all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trigger {
    /// The coordinator's term: cores refuse lower ones.
    pub term: u64,
    /// The checkpoint.
    pub id: u64,
    /// What it is for.
    pub kind: Kind,
    /// What sinks promise.
    pub mode: Mode,
    /// How long the cut may wait for what is in flight, in milliseconds; 0: not at all.
    pub aligned_timeout_ms: u64,
    /// When it was triggered, in milliseconds of the wall clock.
    pub started_ms: u64,
}

/// What a checkpoint promises of sinks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Output waits for the commit.
    #[default]
    ExactlyOnce,
    /// Output is written through.
    AtLeastOnce,
}

/// Why an attempt ends.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// More checkpoints failed in a row than the job tolerates.
    #[error("checkpoint {checkpoint} failed: {last}; {count} in a row, {tolerable} are tolerated")]
    TooMany {
        /// The newest one.
        checkpoint: u64,
        /// Why it failed.
        last: String,
        /// How many failed in a row.
        count: u32,
        /// How many may.
        tolerable: u32,
    },
    /// Another coordinator owns the log.
    #[error("another coordinator wrote log entry {k}: this attempt is over")]
    Superseded {
        /// The entry.
        k: u64,
    },
    /// Records were lost or doubled.
    #[error("checkpoint {checkpoint} would lose or double records: {what}")]
    Conservation {
        /// The checkpoint.
        checkpoint: u64,
        /// In which channel, and the counts.
        what: String,
    },
    /// What the cores acknowledged makes no checkpoint.
    #[error("checkpoint {checkpoint} contradicts itself: {what}")]
    Unsound {
        /// The checkpoint.
        checkpoint: u64,
        /// What is wrong.
        what: String,
    },
}
