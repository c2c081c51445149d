//! The sender's end of one channel: an open page, sealed frames, and the account of buffers.
//!
//! Invariant, checked by [`OutputChannel::check`]: free + open + queued + in flight = granted +
//! borrowed. Granted are the buffers that the receiver set aside; borrowed are those allocated
//! beyond them, because a task finishes the record that it is at, come what may. A borrowed buffer
//! is dropped when it comes home.

use std::collections::VecDeque;

use crate::batch::{Head, Lent, PageWriter, Slot};
use crate::error::ChannelError;
use crate::frame::{Body, ChannelId, Frame};
use crate::pool::{BUFFER_BYTES_MAX, Buffer};

/// Where the buffers of a channel are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChannelCounts {
    /// Buffers that the receiver set aside: the credits when the channel was made.
    pub granted: u64,
    /// Empty and here: the credits now.
    pub free: u64,
    /// Open for writing: one or none.
    pub open: u64,
    /// Sealed and not yet taken by the link.
    pub queued: u64,
    /// Taken by the link and not yet home.
    pub in_flight: u64,
    /// Allocated beyond the credits and not yet dropped.
    pub borrowed: u64,
    /// Bytes of the borrowed ones.
    pub borrowed_bytes: u64,
}

/// What a checkpoint keeps of a channel beside the frames that are ready to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputState {
    /// The watermark that the next record is stamped with.
    pub watermark: i64,
    /// Watermark of the last frame that carries one.
    pub announced: i64,
    /// Whether the receiver was told not to wait for the channel.
    pub idle: bool,
    /// Whether the channel was closed.
    pub ended: bool,
    /// Records written.
    pub written: u64,
}

/// The sending end of a channel for records of one type.
#[derive(Debug)]
pub struct OutputChannel<T: Slot> {
    id: ChannelId,
    buffer_size: usize,
    overdraft: u64,
    open: Option<PageWriter<T>>,
    /// Borrowed buffers of the usual size; the others are recognised by theirs.
    borrowed_usual: u64,
    /// Free bytes that the open page needs to be worth a credit: as many as its first record took;
    /// a borrowed one is worth none.
    room_bytes: usize,
    /// Watermark that the next record is stamped with.
    watermark: i64,
    /// Watermark of the last queued frame that carries one.
    announced: i64,
    idle: bool,
    ended: bool,
    queue: VecDeque<Body>,
    free: Vec<Buffer>,
    counts: ChannelCounts,
    sequence: u64,
    written: u64,
}

impl<T: Slot> OutputChannel<T> {
    /// Makes a channel with `credits` buffers of `buffer_size` bytes; one record may borrow
    /// `overdraft` bytes more.
    ///
    /// # Panics
    /// If there is no credit, or the overdraft is less than all credits together.
    pub fn new(id: ChannelId, buffer_size: usize, credits: usize, overdraft: usize) -> Self {
        assert!(credits > 0, "channel {id} with {credits} credits never sends");
        assert!(overdraft <= BUFFER_BYTES_MAX, "channel {id}: overdraft {overdraft} is no buffer");
        assert!(
            buffer_size.saturating_mul(credits) <= overdraft,
            "channel {id}: overdraft {overdraft} is less than {credits} buffers of {buffer_size}"
        );
        let free: Vec<_> = (0..credits).map(|_| Buffer::new(buffer_size)).collect();
        let granted = credits as u64;
        Self {
            id,
            buffer_size: free[0].capacity(),
            overdraft: overdraft as u64,
            open: None,
            borrowed_usual: 0,
            room_bytes: usize::MAX,
            watermark: i64::MIN,
            announced: i64::MIN,
            idle: false,
            ended: false,
            queue: VecDeque::with_capacity(2 * credits),
            free,
            counts: ChannelCounts { granted, free: granted, ..ChannelCounts::default() },
            sequence: 0,
            written: 0,
        }
    }

    /// Seals the open page, so that all that was written is a frame; what is left to know is
    /// returned. A cut records both.
    pub fn freeze(&mut self) -> OutputState {
        self.seal();
        let Self { watermark, announced, idle, ended, written, .. } = *self;
        OutputState { watermark, announced, idle, ended, written }
    }

    /// Makes a channel what it was at a cut: `bodies` were ready to be sent. Their pages count as
    /// borrowed, so they use up no credit and go when they come home.
    ///
    /// # Panics
    /// If anything was written.
    pub fn restore(&mut self, state: OutputState, bodies: VecDeque<Body>) {
        assert!(self.written() == 0 && self.sequence == 0, "channel {}: restored late", self.id);
        for body in &bodies {
            if let Body::Data { page, .. } = body {
                self.counts.queued += 1;
                self.counts.borrowed += 1;
                self.counts.borrowed_bytes += page.capacity() as u64;
                self.borrowed_usual += u64::from(page.capacity() == self.buffer_size);
            }
        }
        let OutputState { watermark, announced, idle, ended, written } = state;
        (self.watermark, self.announced, self.idle) = (watermark, announced, idle);
        (self.ended, self.written) = (ended, written);
        self.queue = bodies;
    }

    /// Writes a record, stamped with the channel's watermark; returns whether the channel [has
    /// credit](Self::has_credit) for one more.
    ///
    /// Never refuses for lack of credit, since a task cannot stop inside a record: it borrows. It
    /// must not take the next one until there is credit.
    #[inline(always)]
    pub fn write(&mut self, head: Head, key: &[u8], record: &T) -> Result<bool, ChannelError> {
        // Stamped twice, once for each path: one head whose address the slow path takes would be
        // built in memory and read back in wider pieces, which stalls every record.
        let watermark = self.watermark;
        if let Some(page) = &mut self.open
            && page.push(Head { watermark, ..head }, key, record).is_ok()
        {
            let room = page.free_bytes() >= self.room_bytes;
            return Ok(room && self.counts.borrowed == 0 || self.has_credit());
        }
        self.write_elsewhere(Head { watermark, ..head }, key, &Lent::new(record))?;
        Ok(self.has_credit())
    }

    /// Moves the channel's watermark forward. It rides with the next page, or leaves with the next
    /// flush.
    ///
    /// # Panics
    /// If it goes back.
    #[inline]
    pub fn watermark(&mut self, watermark: i64) {
        assert!(
            watermark >= self.watermark,
            "channel {}: watermark {watermark} after {}",
            self.id,
            self.watermark
        );
        self.watermark = watermark;
    }

    /// Makes everything that was written ready to be sent. An idle channel keeps its watermark to
    /// itself.
    pub fn flush(&mut self) {
        self.seal();
        if self.watermark > self.announced && !self.idle {
            self.announce();
        }
    }

    /// Flushes, then tells the receiver not to wait for this channel's watermark.
    pub fn idle(&mut self) {
        self.flush();
        if !self.idle {
            self.idle = true;
            self.turn(Body::Idle);
        }
    }

    /// Tells the receiver that the channel counts again; writing a record does so, too.
    pub fn active(&mut self) {
        if self.idle {
            self.idle = false;
            self.turn(Body::Active);
        }
    }

    /// Flushes, watermark included, and closes the channel: nothing may be written any more.
    pub fn end(&mut self) {
        self.seal();
        if self.watermark > self.announced {
            self.announce();
        }
        if !self.ended {
            self.ended = true;
            self.queue.push_back(Body::End);
        }
    }

    /// Whether one record more may be written: a buffer is free or the open page has room, and what
    /// is borrowed is not more than the credits stand for. The last condition lets a stream of
    /// large records pass at a rate that the receiver sets, and leaves the whole overdraft to the
    /// record that is next.
    #[inline]
    pub fn has_credit(&self) -> bool {
        let room = match &self.open {
            Some(page) => page.free_bytes() >= self.room_bytes,
            None => false,
        };
        (room || !self.free.is_empty()) && self.counts.borrowed_bytes <= self.slack()
    }

    /// Whether a flush would send anything.
    #[inline]
    pub fn is_dirty(&self) -> bool {
        self.open.is_some() || (self.watermark > self.announced && !self.idle)
    }

    /// Takes the oldest frame for the link.
    #[inline]
    pub fn next_frame(&mut self) -> Option<Frame> {
        let body = self.queue.pop_front()?;
        if let Body::Data { .. } = body {
            self.counts.queued -= 1;
            self.counts.in_flight += 1;
        }
        let sequence = self.sequence;
        self.sequence += 1;
        Some(Frame { channel: self.id, sequence, body })
    }

    /// What the next frame will say.
    pub fn peek(&self) -> Option<&Body> {
        self.queue.front()
    }

    /// What is ready to be sent, in order, for a cut to record.
    pub fn frames(&self) -> impl ExactSizeIterator<Item = &Body> {
        self.queue.iter()
    }

    /// Frames ready to be sent.
    #[inline]
    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Takes in a buffer that came home: a credit, unless more was borrowed.
    ///
    /// # Panics
    /// If none is in flight, or if its size is none of this channel.
    pub fn home(&mut self, buffer: Buffer) {
        assert!(self.counts.in_flight > 0, "channel {}: a buffer came home unsent", self.id);
        let bytes = buffer.capacity();
        assert!(
            bytes >= self.buffer_size,
            "channel {}: a buffer of {bytes} bytes came home, sent were {}",
            self.id,
            self.buffer_size
        );
        self.counts.in_flight -= 1;
        // Buffers of the usual size are interchangeable, so whichever comes first pays back.
        if bytes > self.buffer_size {
            self.pay_back(buffer);
        } else if self.borrowed_usual > 0 {
            self.borrowed_usual -= 1;
            self.pay_back(buffer);
        } else {
            self.counts.free += 1;
            self.free.push(buffer);
        }
    }

    /// The channel.
    pub fn id(&self) -> ChannelId {
        self.id
    }

    /// The watermark that the next record is stamped with.
    pub fn current_watermark(&self) -> i64 {
        self.watermark
    }

    /// Whether the receiver was told, or will be, not to wait for this channel.
    pub fn is_idle(&self) -> bool {
        self.idle
    }

    /// Whether the channel was closed.
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    /// Records written, those on the open page included.
    pub fn written(&self) -> u64 {
        self.written + self.open.as_ref().map_or(0, |page| page.count() as u64)
    }

    /// Frames taken by the link.
    pub fn sent(&self) -> u64 {
        self.sequence
    }

    /// Where the buffers are.
    pub fn counts(&self) -> ChannelCounts {
        self.counts
    }

    /// Asserts that no buffer was lost or doubled.
    pub fn check(&self) {
        let counts = self.counts;
        assert_eq!(
            counts.free + counts.open + counts.queued + counts.in_flight,
            counts.granted + counts.borrowed,
            "channel {}: buffers lost or doubled: {counts:?}",
            self.id
        );
        assert_eq!(counts.free, self.free.len() as u64, "channel {}: {counts:?}", self.id);
        assert_eq!(counts.open, u64::from(self.open.is_some()), "channel {}: {counts:?}", self.id);
        let queued = self.queue.iter().filter(|body| matches!(body, Body::Data { .. })).count();
        assert_eq!(counts.queued, queued as u64, "channel {}: {counts:?}", self.id);
    }

    /// The page is full, or there is none.
    #[inline(never)]
    fn write_elsewhere(&mut self, head: Head, key: &[u8], record: &T) -> Result<(), ChannelError> {
        assert!(!self.ended, "channel {}: a record was written after its end", self.id);
        self.active();
        self.seal();
        let (buffer, borrowed) = self.take()?;
        let mut page = PageWriter::new(buffer);
        if page.push(head, key, record).is_err() {
            self.untake(page.into_buffer(), borrowed);
            return self.write_large(head, key, record);
        }
        let record_bytes = page.capacity() - page.free_bytes();
        self.room_bytes = if borrowed { usize::MAX } else { record_bytes };
        self.counts.open = 1;
        self.open = Some(page);
        Ok(())
    }

    /// A record that is larger than a buffer gets one of its own, which leaves at once.
    fn write_large(&mut self, head: Head, key: &[u8], record: &T) -> Result<(), ChannelError> {
        let mut bytes = self.buffer_size as u64;
        while bytes < self.overdraft {
            bytes = self.overdraft.min(2 * bytes);
            let mut page = PageWriter::new(self.borrow_buffer(bytes)?);
            if page.push(head, key, record).is_ok() {
                self.counts.open = 1;
                self.open = Some(page);
                self.seal();
                return Ok(());
            }
            self.pay_back(page.into_buffer());
        }
        Err(ChannelError::RecordTooLarge { channel: self.id, limit: self.overdraft })
    }

    fn seal(&mut self) {
        let Some(page) = self.open.take() else {
            return;
        };
        self.counts.open = 0;
        self.counts.queued += 1;
        self.written += page.count() as u64;
        self.announced = self.watermark;
        self.queue.push_back(Body::Data { page: page.seal(), watermark: self.watermark });
    }

    fn announce(&mut self) {
        self.announced = self.watermark;
        match self.queue.back_mut() {
            Some(Body::Watermark(watermark) | Body::Data { watermark, .. }) => {
                *watermark = self.watermark;
            }
            _ => self.queue.push_back(Body::Watermark(self.watermark)),
        }
    }

    /// Queues a turn to idle or active; one that undoes the turn before it cancels both.
    fn turn(&mut self, body: Body) {
        match (self.queue.back(), &body) {
            (Some(Body::Idle), Body::Active) | (Some(Body::Active), Body::Idle) => {
                self.queue.pop_back();
            }
            _ => self.queue.push_back(body),
        }
    }

    /// A buffer of the usual size, and whether it is borrowed.
    fn take(&mut self) -> Result<(Buffer, bool), ChannelError> {
        if let Some(buffer) = self.free.pop() {
            self.counts.free -= 1;
            return Ok((buffer, false));
        }
        let buffer = self.borrow_buffer(self.buffer_size as u64)?;
        self.borrowed_usual += 1;
        Ok((buffer, true))
    }

    fn untake(&mut self, buffer: Buffer, borrowed: bool) {
        if borrowed {
            self.borrowed_usual -= 1;
            self.pay_back(buffer);
        } else {
            self.counts.free += 1;
            self.free.push(buffer);
        }
    }

    fn borrow_buffer(&mut self, bytes: u64) -> Result<Buffer, ChannelError> {
        let (owed, limit) = (self.counts.borrowed_bytes, self.slack() + self.overdraft);
        if owed + bytes > limit {
            return Err(ChannelError::OverdraftExhausted { channel: self.id, owed, limit });
        }
        let buffer = Buffer::new(bytes as usize);
        self.counts.borrowed += 1;
        self.counts.borrowed_bytes += buffer.capacity() as u64;
        Ok(buffer)
    }

    /// Drops a borrowed buffer.
    fn pay_back(&mut self, buffer: Buffer) {
        self.counts.borrowed -= 1;
        self.counts.borrowed_bytes -= buffer.capacity() as u64;
    }

    /// Bytes that may be borrowed while the channel still has credit: as many as the credits stand
    /// for.
    #[inline]
    fn slack(&self) -> u64 {
        self.counts.granted * self.buffer_size as u64
    }
}
