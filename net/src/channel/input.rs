//! The receiver's queue of one channel.
//!
//! The link is always emptied into it, so its length must be bounded by what the sender may send:
//! pages by credits and overdraft, and between two pages neighbouring control frames merge. What a
//! cut recorded it has copied, so merging never changes it.

use std::collections::VecDeque;

use crate::error::ChannelError;
use crate::frame::{Body, ChannelId, Frame};

/// Bytes that a sender may owe beyond its credits, unless the plan says otherwise.
pub const OVERDRAFT_BYTES: usize = 64 << 20;

/// Frames of one channel that were received and not yet processed, in order.
#[derive(Debug)]
pub struct InputChannel {
    id: ChannelId,
    /// Pages that credits pay for.
    credits: usize,
    overdraft: usize,
    frames: VecDeque<Frame>,
    /// Pages in `frames`, and the bytes of their buffers.
    pages: u64,
    page_bytes: u64,
    /// Sequence number of the next frame.
    expected: u64,
    /// Frames that went into another frame or cancelled one.
    merged: u64,
    watermark: i64,
    ended: bool,
}

impl InputChannel {
    /// Makes the queue of a channel whose sender holds `credits` buffers.
    pub fn new(id: ChannelId, credits: usize) -> Self {
        Self::with_overdraft(id, credits, OVERDRAFT_BYTES)
    }

    /// Makes the queue of a channel whose sender may exceed its credits by `overdraft` bytes for
    /// one record.
    pub fn with_overdraft(id: ChannelId, credits: usize, overdraft: usize) -> Self {
        Self {
            id,
            credits,
            overdraft,
            frames: VecDeque::with_capacity(2 * credits),
            pages: 0,
            page_bytes: 0,
            expected: 0,
            merged: 0,
            watermark: i64::MIN,
            ended: false,
        }
    }

    /// The channel.
    pub fn id(&self) -> ChannelId {
        self.id
    }

    /// Queues a frame from the link, or merges it into the one before it.
    ///
    /// Any error fails the attempt: the sender or the link broke the protocol.
    pub fn receive(&mut self, frame: Frame) -> Result<(), ChannelError> {
        let channel = self.id;
        if frame.channel != channel {
            return Err(ChannelError::WrongChannel { channel, found: frame.channel });
        }
        if frame.sequence != self.expected {
            let (expected, found) = (self.expected, frame.sequence);
            return Err(ChannelError::SequenceGap { channel, expected, found });
        }
        if self.ended {
            return Err(ChannelError::AfterEnd { channel });
        }
        self.check_watermark(&frame.body)?;
        self.check_room(&frame.body)?;
        self.expected += 1;
        self.queue(frame);
        Ok(())
    }

    /// The oldest frame.
    #[inline]
    pub fn front(&self) -> Option<&Frame> {
        self.frames.front()
    }

    /// Takes the oldest frame.
    #[inline]
    pub fn pop(&mut self) -> Option<Frame> {
        let frame = self.frames.pop_front()?;
        if let Body::Data { page, .. } = &frame.body {
            self.pages -= 1;
            self.page_bytes -= page.capacity() as u64;
        }
        Some(frame)
    }

    /// All queued frames in order, for a cut to record.
    pub fn frames(&self) -> impl ExactSizeIterator<Item = &Frame> {
        self.frames.iter()
    }

    /// Frames in the queue.
    #[inline]
    pub fn queued(&self) -> usize {
        self.frames.len()
    }

    /// Pages in the queue.
    pub fn queued_pages(&self) -> u64 {
        self.pages
    }

    /// Frames received since the channel was made.
    pub fn received(&self) -> u64 {
        self.expected
    }

    /// Frames received that merged with the one before them instead of being queued.
    pub fn merged(&self) -> u64 {
        self.merged
    }

    /// Whether the channel's end was received and everything before it processed.
    #[inline]
    pub fn ended(&self) -> bool {
        self.ended && self.frames.is_empty()
    }

    fn check_watermark(&self, body: &Body) -> Result<(), ChannelError> {
        let regressed = |found| ChannelError::WatermarkRegressed {
            channel: self.id,
            last: self.watermark,
            found,
        };
        let (first, last) = match body {
            Body::Data { page, watermark } if page.count() > 0 => {
                let last_record = page.head(page.count() - 1).watermark;
                if *watermark < last_record {
                    return Err(regressed(*watermark));
                }
                (page.head(0).watermark, *watermark)
            }
            Body::Data { watermark, .. } | Body::Watermark(watermark) => (*watermark, *watermark),
            Body::Idle | Body::Active | Body::End => return Ok(()),
        };
        match first.min(last) {
            found if found < self.watermark => Err(regressed(found)),
            _ => Ok(()),
        }
    }

    /// The sender owes at most three times the overdraft: what its credits stand for (not more than
    /// one overdraft), as much again in large buffers, and the overdraft of one record.
    fn check_room(&self, body: &Body) -> Result<(), ChannelError> {
        let Body::Data { .. } = body else {
            return Ok(());
        };
        if self.pages >= self.credits as u64 && self.page_bytes > 3 * self.overdraft as u64 {
            let (channel, queued, bytes) = (self.id, self.pages, self.page_bytes);
            return Err(ChannelError::Overrun { channel, queued, bytes });
        }
        Ok(())
    }

    fn queue(&mut self, frame: Frame) {
        match (&frame.body, self.frames.back_mut().map(|back| &mut back.body)) {
            (Body::Watermark(new), Some(Body::Watermark(old))) => {
                self.watermark = *new;
                *old = *new;
                self.merged += 1;
            }
            (Body::Watermark(new), Some(Body::Data { watermark: old, .. })) => {
                self.watermark = *new;
                *old = *new;
                self.merged += 1;
            }
            // Nothing happened in between, so the channel is what it was before both.
            (Body::Active, Some(Body::Idle)) | (Body::Idle, Some(Body::Active)) => {
                self.frames.pop_back();
                self.merged += 1;
            }
            (Body::Idle, Some(Body::Idle)) | (Body::Active, Some(Body::Active)) => {
                self.merged += 1;
            }
            _ => self.append(frame),
        }
    }

    fn append(&mut self, frame: Frame) {
        match &frame.body {
            Body::Data { page, watermark } => {
                self.pages += 1;
                self.page_bytes += page.capacity() as u64;
                self.watermark = *watermark;
            }
            Body::Watermark(watermark) => self.watermark = *watermark,
            Body::End => self.ended = true,
            Body::Idle | Body::Active => {}
        }
        self.frames.push_back(frame);
    }
}
