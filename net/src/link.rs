//! One direction of an ordered pair of cores: frames one way, empty buffers the other.
//!
//! All channels of the pair share the link, in order. Neither side ever waits: a full ring gives
//! the frame back, and buffers that find no room on the way home stay here until they do. The
//! doorbells are rung once per step, and only if something was moved.

use std::collections::VecDeque;

use crate::doorbell::Doorbell;
use crate::frame::{ChannelId, Frame};
use crate::pool::Buffer;
use crate::ring::{Consumer, Producer, ring};

/// Makes a link for `capacity` frames on their way; `to` is the receiver's doorbell, `from` the
/// sender's.
pub fn link(capacity: usize, to: Doorbell, from: Doorbell) -> (LinkSender, LinkReceiver) {
    let (frames_in, frames_out) = ring(capacity);
    let (buffers_in, buffers_out) = ring(capacity);
    let sender = LinkSender {
        frames: frames_in,
        buffers: buffers_out,
        bell: to,
        sent: 0,
        rung: 0,
    };
    let receiver = LinkReceiver {
        frames: frames_out,
        buffers: buffers_in,
        waiting: VecDeque::new(),
        bell: from,
        received: 0,
        moved: false,
    };
    (sender, receiver)
}

/// The end of a link that frames go into.
#[derive(Debug)]
pub struct LinkSender {
    frames: Producer<Frame>,
    buffers: Consumer<(ChannelId, Buffer)>,
    bell: Doorbell,
    sent: u64,
    /// Value of `sent` at the last ring of the bell.
    rung: u64,
}

impl LinkSender {
    /// Sends a frame, or gives it back if the link is full.
    #[allow(
        clippy::result_large_err,
        reason = "the frame comes back; boxing it would cost each send"
    )]
    #[inline]
    pub fn send(&mut self, frame: Frame) -> Result<(), Frame> {
        self.frames.push(frame)?;
        self.sent += 1;
        Ok(())
    }

    /// Takes a buffer that came home: a credit of its channel.
    #[inline]
    pub fn home(&mut self) -> Option<(ChannelId, Buffer)> {
        self.buffers.pop()
    }

    /// Frames that the link takes now at least.
    pub fn free(&mut self) -> usize {
        self.frames.free()
    }

    /// Wakes the receiver if anything was sent since the last ring.
    pub fn ring_bell(&mut self) {
        if self.rung != self.sent {
            self.rung = self.sent;
            self.bell.ring();
        }
    }

    /// Frames sent since the link was made.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Whether no buffer has come home; looked at before the core sleeps.
    pub fn is_empty(&mut self) -> bool {
        self.buffers.is_empty()
    }
}

/// The end of a link that frames come out of.
#[derive(Debug)]
pub struct LinkReceiver {
    frames: Consumer<Frame>,
    buffers: Producer<(ChannelId, Buffer)>,
    /// Buffers that the return ring had no room for: at most as many as the link's channels own.
    waiting: VecDeque<(ChannelId, Buffer)>,
    bell: Doorbell,
    received: u64,
    moved: bool,
}

impl LinkReceiver {
    /// Takes the oldest frame.
    #[inline]
    pub fn receive(&mut self) -> Option<Frame> {
        let frame = self.frames.pop()?;
        self.received += 1;
        // The place of a frame is something that a sender with a full link waits for.
        self.moved = true;
        Some(frame)
    }

    /// Whether no frame is there; looked at before the core sleeps.
    #[inline]
    pub fn is_empty(&mut self) -> bool {
        self.frames.is_empty()
    }

    /// Sends an empty buffer home.
    pub fn give_back(&mut self, channel: ChannelId, buffer: Buffer) {
        self.moved = true;
        self.retry();
        if !self.waiting.is_empty() {
            self.waiting.push_back((channel, buffer));
        } else if let Err(homeless) = self.buffers.push((channel, buffer)) {
            self.waiting.push_back(homeless);
        }
    }

    /// Wakes the sender if a frame was taken or a buffer sent home since the last ring.
    pub fn ring_bell(&mut self) {
        self.retry();
        if self.moved {
            self.moved = false;
            self.bell.ring();
        }
    }

    /// Frames received since the link was made.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Buffers that wait for room on the return ring; the core must not sleep long before they
    /// left.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    fn retry(&mut self) {
        while let Some(buffer) = self.waiting.pop_front() {
            if let Err(homeless) = self.buffers.push(buffer) {
                self.waiting.push_front(homeless);
                return;
            }
            self.moved = true;
        }
    }
}
