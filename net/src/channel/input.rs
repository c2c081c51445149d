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

/// What an input channel has next.
#[derive(Debug)]
pub struct Received {
    /// What the frame says.
    pub body: Body,
    /// Whether a checkpoint brought it back: its buffer is no credit of the sender and goes home to
    /// nobody.
    pub restored: bool,
}

/// Frames of one channel that were received and not yet processed, in order.
#[derive(Debug)]
pub struct InputChannel {
    id: ChannelId,
    /// What a checkpoint brought back; it comes first.
    restored: VecDeque<Body>,
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
            restored: VecDeque::new(),
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

    /// Makes the channel what it was at a cut: `bodies` had been sent to it and were not processed;
    /// before the first of them its watermark was `watermark`, and it had ended or not.
    ///
    /// # Panics
    /// If a frame was received.
    pub fn restore(&mut self, watermark: i64, ended: bool, bodies: VecDeque<Body>) {
        assert!(self.expected == 0, "channel {}: restored after its first frame", self.id);
        self.watermark = watermark;
        self.ended = ended;
        for body in bodies {
            match body {
                Body::Data { watermark, .. } | Body::Watermark(watermark) => {
                    self.watermark = watermark;
                }
                Body::End => self.ended = true,
                Body::Idle | Body::Active => {}
            }
            // What was on its way was recorded frame by frame.
            match self.restored.back_mut().map(|back| merge(back, &body)) {
                Some(Merged::Into) => {}
                Some(Merged::Cancelled) => drop(self.restored.pop_back()),
                Some(Merged::No) | None => self.restored.push_back(body),
            }
        }
    }

    /// The oldest frame.
    #[inline]
    pub fn front(&self) -> Option<&Body> {
        self.restored.front().or_else(|| self.frames.front().map(|frame| &frame.body))
    }

    /// Takes the oldest frame.
    #[inline]
    pub fn pop(&mut self) -> Option<Received> {
        if let Some(body) = self.restored.pop_front() {
            return Some(Received { body, restored: true });
        }
        let body = self.frames.pop_front()?.body;
        if let Body::Data { page, .. } = &body {
            self.pages -= 1;
            self.page_bytes -= page.capacity() as u64;
        }
        Some(Received { body, restored: false })
    }

    /// All queued frames in order, for a cut to record.
    pub fn frames(&self) -> impl Iterator<Item = &Body> {
        self.restored.iter().chain(self.frames.iter().map(|frame| &frame.body))
    }

    /// Frames in the queue.
    #[inline]
    pub fn queued(&self) -> usize {
        self.restored.len() + self.frames.len()
    }

    /// Pages in the queue that a checkpoint brought back.
    pub fn restored_pages(&self) -> usize {
        self.restored.iter().filter(|body| matches!(body, Body::Data { .. })).count()
    }

    /// Pages in the queue that are credits of the sender: restored ones are not.
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

    /// The last watermark that was received.
    pub fn watermark(&self) -> i64 {
        self.watermark
    }

    /// Whether the channel's end was received: nothing follows what is queued.
    pub fn is_closed(&self) -> bool {
        self.ended
    }

    /// Whether the channel's end was received and everything before it processed.
    #[inline]
    pub fn ended(&self) -> bool {
        self.ended && self.queued() == 0
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
        // What a checkpoint brought back merges as well: else each attempt would add to it.
        let back = match self.frames.back_mut() {
            Some(back) => Some(&mut back.body),
            None => self.restored.back_mut(),
        };
        match back.map(|back| merge(back, &frame.body)) {
            Some(Merged::Into) => {
                if let Body::Watermark(watermark) = frame.body {
                    self.watermark = watermark;
                }
                self.merged += 1;
            }
            Some(Merged::Cancelled) => {
                if self.frames.pop_back().is_none() {
                    self.restored.pop_back();
                }
                self.merged += 1;
            }
            Some(Merged::No) | None => self.append(frame),
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

/// What became of a frame behind another.
enum Merged {
    /// It is part of the other.
    Into,
    /// Both are gone: the channel is what it was before them.
    Cancelled,
    No,
}

/// Merges a control frame into the frame before it, if the two say no more than one.
fn merge(back: &mut Body, body: &Body) -> Merged {
    match (body, back) {
        (Body::Watermark(new), Body::Watermark(old) | Body::Data { watermark: old, .. }) => {
            *old = *new;
            Merged::Into
        }
        (Body::Active, Body::Idle) | (Body::Idle, Body::Active) => Merged::Cancelled,
        (Body::Idle, Body::Idle) | (Body::Active, Body::Active) => Merged::Into,
        _ => Merged::No,
    }
}
