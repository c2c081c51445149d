//! What can go wrong on the way of a record between two cores.
//!
//! All of these fail the attempt: they mean a record that cannot be sent, or a peer that broke the
//! protocol.

use thiserror::Error;

use crate::frame::ChannelId;

/// Why a channel or a page refused what it was given.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ChannelError {
    /// One record needs more memory than a channel may allocate beyond its credits.
    #[error(
        "cannot send a record on channel {channel}: it needs more than {limit} bytes\n\
         hint: split the record, or raise the overdraft"
    )]
    RecordTooLarge {
        /// The channel that the record was written to.
        channel: ChannelId,
        /// The overdraft in bytes.
        limit: u64,
    },
    /// The output of one call exceeds what a channel may allocate beyond its credits.
    #[error(
        "cannot send on channel {channel}: {owed} bytes beyond its credits, {limit} are allowed\n\
         hint: emit fewer records for one input, or raise the overdraft"
    )]
    OverdraftExhausted {
        /// The channel that the record was written to.
        channel: ChannelId,
        /// Bytes of overdraft buffers that have not come home.
        owed: u64,
        /// The most that may be owed.
        limit: u64,
    },
    /// A frame is missing, doubled or out of order.
    #[error("cannot receive on channel {channel}: frame {found} came instead of {expected}")]
    SequenceGap {
        /// The channel that the frame belongs to.
        channel: ChannelId,
        /// The sequence number that was due.
        expected: u64,
        /// The sequence number of the frame.
        found: u64,
    },
    /// A frame was handed to another channel's queue.
    #[error("cannot receive on channel {channel}: the frame is for channel {found}")]
    WrongChannel {
        /// The channel that was given the frame.
        channel: ChannelId,
        /// The channel that the frame names.
        found: ChannelId,
    },
    /// A watermark went back.
    #[error("cannot receive on channel {channel}: watermark {found} after {last}")]
    WatermarkRegressed {
        /// The channel that the frame belongs to.
        channel: ChannelId,
        /// The channel's watermark so far.
        last: i64,
        /// The watermark of the frame.
        found: i64,
    },
    /// A frame came after the channel's end.
    #[error("cannot receive on channel {channel}: a frame came after its end")]
    AfterEnd {
        /// The channel that the frame belongs to.
        channel: ChannelId,
    },
    /// The sender used more buffers than it had credits and overdraft for.
    #[error(
        "cannot receive on channel {channel}: {queued} pages of {bytes} bytes exceed its credits"
    )]
    Overrun {
        /// The channel that the frame belongs to.
        channel: ChannelId,
        /// Pages that are queued already.
        queued: u64,
        /// Bytes of their buffers.
        bytes: u64,
    },
    /// The bytes from elsewhere are no page of the expected records.
    #[error("cannot read a page of {count} records: {reason}, at record {record}")]
    InvalidPage {
        /// Records that the page claims to hold.
        count: u32,
        /// The first record that is wrong.
        record: u32,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The bytes of a checkpoint are no frame.
    #[error("cannot read a recorded frame: {reason}")]
    InvalidFrame {
        /// What is wrong with it.
        reason: &'static str,
    },
}
