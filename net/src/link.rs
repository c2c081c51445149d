//! One direction of an ordered pair of cores: frames one way, empty buffers the other.
//!
//! All channels of the pair share the link, in order. Neither side ever waits: a full ring gives
//! the frame back, and buffers that find no room on the way home stay here until they do. The
//! doorbells are rung once per step, and only if something was moved.

use std::collections::VecDeque;

use crate::doorbell::Doorbell;
use crate::frame::{Barrier, ChannelId, Frame, Parcel};
use crate::pool::Buffer;
use crate::ring::{Consumer, Producer, ring};
use crate::sync::{Arc, AtomicBool, Ordering, fence};

/// Makes a link for `capacity` frames on their way; `to` is the receiver's doorbell, `from` the
/// sender's.
pub fn link(capacity: usize, to: Doorbell, from: Doorbell) -> (LinkSender, LinkReceiver) {
    let (frames_in, frames_out) = ring(capacity);
    let (buffers_in, buffers_out) = ring(capacity);
    let wanted = Arc::new(AtomicBool::new(true));
    let sender = LinkSender {
        frames: frames_in,
        buffers: buffers_out,
        bell: to,
        wanted: Arc::clone(&wanted),
        sent: 0,
        rung: 0,
    };
    let receiver = LinkReceiver {
        frames: frames_out,
        buffers: buffers_in,
        waiting: VecDeque::new(),
        bell: from,
        wanted,
        received: 0,
        moved: false,
    };
    (sender, receiver)
}

/// The end of a link that frames go into.
#[derive(Debug)]
pub struct LinkSender {
    frames: Producer<Parcel>,
    buffers: Consumer<(ChannelId, Buffer)>,
    bell: Doorbell,
    wanted: Arc<AtomicBool>,
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
        match self.frames.push(Parcel::Frame(frame)) {
            Ok(()) => {
                self.sent += 1;
                Ok(())
            }
            Err(Parcel::Frame(frame)) => Err(frame),
            Err(Parcel::Barrier(_)) => unreachable!("the ring gives back what it was given"),
        }
    }

    /// Sends a barrier behind all that the link has taken; false if the link is full.
    pub fn send_barrier(&mut self, barrier: Barrier) -> bool {
        let sent = self.frames.push(Parcel::Barrier(barrier)).is_ok();
        self.sent += u64::from(sent);
        sent
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

    /// Says whether this core, when it sleeps, is to be woken for room on the link or a buffer that
    /// came home. It is, unless told otherwise.
    ///
    /// A core that has credit and nothing to send need not be: at low load that saves it a wake-up
    /// for every frame. Say it before [`Doorbell::prepare_sleep`].
    pub fn wake_for_room(&self, wanted: bool) {
        self.wanted.store(wanted, Ordering::Relaxed);
    }

    /// Frames and barriers sent since the link was made.
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
    frames: Consumer<Parcel>,
    buffers: Producer<(ChannelId, Buffer)>,
    /// Buffers that the return ring had no room for: at most as many as the link's channels own.
    waiting: VecDeque<(ChannelId, Buffer)>,
    bell: Doorbell,
    wanted: Arc<AtomicBool>,
    received: u64,
    moved: bool,
}

impl LinkReceiver {
    /// Takes what is oldest: a frame or a barrier.
    #[inline]
    pub fn receive(&mut self) -> Option<Parcel> {
        let parcel = self.frames.pop()?;
        self.received += 1;
        // The place of a frame is something that a sender with a full link waits for.
        self.moved = true;
        Some(parcel)
    }

    /// Whether there is nothing to do here, looked at before the core sleeps: no frame to receive,
    /// and no buffer that has yet to be sent home.
    #[inline]
    pub fn is_empty(&mut self) -> bool {
        self.waiting.is_empty() && self.frames.is_empty()
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

    /// Wakes the sender, if it wants that, when a frame was taken or a buffer sent home since the
    /// last ring.
    pub fn ring_bell(&mut self) {
        self.retry();
        if !self.moved {
            return;
        }
        self.moved = false;
        // The sender stores its wish before the fence of its sleep; so either this reads the wish,
        // or the sender sees what was moved when it looks once more.
        fence(Ordering::SeqCst);
        // A full return ring must be emptied by the sender, whatever it wished.
        if self.wanted.load(Ordering::Relaxed) || !self.waiting.is_empty() {
            self.bell.ring();
        }
    }

    /// Frames and barriers received since the link was made.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Buffers that wait for room on the return ring.
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

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::frame::Body;

    fn pair(capacity: usize) -> (LinkSender, LinkReceiver) {
        let bell = || Doorbell::new().expect("an eventfd");
        link(capacity, bell(), bell())
    }

    fn frame(sequence: u64) -> Frame {
        let channel = ChannelId(0);
        Frame { channel, sequence, body: Body::Watermark(sequence as i64) }
    }

    fn sequence_of(parcel: Option<Parcel>) -> u64 {
        match parcel {
            Some(Parcel::Frame(frame)) => frame.sequence,
            other => panic!("a frame, not {other:?}"),
        }
    }

    #[test]
    fn a_barrier_keeps_its_place_between_frames_and_waits_for_room_like_them() {
        let (mut sender, mut receiver) = pair(2);
        let barrier = Barrier { term: 1, checkpoint: 7, kind: 0, started_ms: 3 };
        sender.send(frame(0)).unwrap();
        assert!(sender.send_barrier(barrier));
        assert!(!sender.send_barrier(barrier), "the link is full");
        assert_eq!(sequence_of(receiver.receive()), 0);
        sender.send(frame(1)).unwrap();
        assert!(matches!(receiver.receive(), Some(Parcel::Barrier(found)) if found == barrier));
        assert_eq!(sequence_of(receiver.receive()), 1);
        assert!(receiver.receive().is_none());
    }

    #[test]
    fn both_ends_and_all_that_travels_may_move_to_another_thread() {
        fn moves<T: Send>() {}
        moves::<(LinkSender, LinkReceiver, Doorbell)>();
        moves::<(crate::OutputChannel<String>, crate::InputChannel)>();
    }

    #[test]
    fn frames_arrive_in_order_and_are_counted_on_both_sides() {
        let (mut sender, mut receiver) = pair(4);
        for sequence in 0..100 {
            sender.send(frame(sequence)).unwrap();
            assert_eq!(sequence_of(receiver.receive()), sequence);
        }
        assert_eq!((sender.sent(), receiver.received()), (100, 100));
        assert!(receiver.is_empty());
    }

    #[test]
    fn a_full_link_gives_the_frame_back() {
        let (mut sender, mut receiver) = pair(2);
        sender.send(frame(0)).unwrap();
        sender.send(frame(1)).unwrap();
        assert_eq!(sender.send(frame(2)).unwrap_err().sequence, 2);
        assert_eq!((sender.sent(), sender.free()), (2, 0));
        receiver.receive().unwrap();
        sender.send(frame(2)).unwrap();
    }

    #[test]
    fn no_buffer_is_lost_when_the_return_ring_is_full() {
        let (mut sender, mut receiver) = pair(2);
        for channel in 0..7 {
            receiver.give_back(ChannelId(channel), Buffer::new(64));
        }
        assert_eq!(receiver.waiting(), 5);
        assert!(!receiver.is_empty(), "a core with buffers to return must not sleep");
        let mut home = Vec::new();
        while home.len() < 7 {
            home.push(sender.home().expect("the return ring was filled up").0.0);
            receiver.ring_bell();
        }
        assert_eq!(home, [0, 1, 2, 3, 4, 5, 6]);
        assert!(sender.is_empty() && receiver.is_empty());
    }

    #[test]
    fn the_bells_ring_only_for_what_was_moved_and_wanted() {
        let (to, from) = (Doorbell::new().unwrap(), Doorbell::new().unwrap());
        let (mut sender, mut receiver) = link(4, to.clone(), from.clone());
        let rung = |bell: &Doorbell, ring: &mut dyn FnMut()| {
            bell.prepare_sleep();
            ring();
            bell.wait(Some(std::time::Duration::ZERO)).unwrap()
        };
        assert!(!rung(&to, &mut || sender.ring_bell()));
        sender.send(frame(0)).unwrap();
        assert!(rung(&to, &mut || sender.ring_bell()));
        assert!(!rung(&to, &mut || sender.ring_bell()));

        assert!(!rung(&from, &mut || receiver.ring_bell()));
        receiver.give_back(ChannelId(0), Buffer::new(64));
        assert!(rung(&from, &mut || receiver.ring_bell()));
        sender.wake_for_room(false);
        receiver.give_back(ChannelId(0), Buffer::new(64));
        assert!(!rung(&from, &mut || receiver.ring_bell()));
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use loom::thread;

    use super::*;

    #[test]
    fn loom_a_sender_that_wants_its_buffer_is_woken_for_it() {
        loom::model(|| {
            let (to, from) = (Doorbell::new().unwrap(), Doorbell::new().unwrap());
            let (mut sender, mut receiver) = link(1, to, from.clone());
            sender.wake_for_room(false);
            let other = thread::spawn(move || {
                receiver.give_back(ChannelId(0), Buffer::new(64));
                receiver.ring_bell();
            });
            sender.wake_for_room(true);
            while sender.is_empty() {
                from.prepare_sleep();
                if !sender.is_empty() {
                    from.cancel_sleep();
                    break;
                }
                from.wait(None).unwrap();
            }
            assert!(sender.home().is_some());
            other.join().unwrap();
        });
    }
}
