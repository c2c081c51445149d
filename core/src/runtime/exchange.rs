//! The output of one edge on one core: a channel per receiving core.
//!
//! A record is written once, straight into the page that its receiver will read. Own-core records
//! take the same way. When a channel has used its last credit the running task is told to stop.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use thalweg_checkpoint::SectionKind;
use thalweg_net::channel::OutputState;
use thalweg_net::{Buffer, ChannelId, Frame, Head, OutputChannel, recorded};

use super::Core;
use super::audit::OutputView;
use super::cut::{Recording, Restoring};
use crate::Result;
use crate::config::NetworkConfig;
use crate::operator::{Blame, Feed, Snapshot, SplitEvent};
use crate::record::Record;
use crate::time::{Stamp, Timestamp};
use thalweg_state::key::hash;
use thalweg_state::{Key, OwnerTable};

/// Something that a task writes to and that may have to wait.
pub(crate) trait Outlet {
    /// Whether a task that writes here may run.
    fn ready(&self) -> Result<bool>;
}

/// The output of an edge as the worker sees it.
pub(crate) trait OutputPort: Outlet {
    /// Sets the number of receiving cores; before the first record.
    fn open(&self, receivers: usize);
    fn receivers(&self) -> usize;
    /// Seals open pages; with `aged_only` those that were open already at the last call.
    fn flush(&self, aged_only: bool);
    /// Whether [`OutputPort::flush`] would send something.
    fn dirty(&self) -> bool;
    /// The next frame for a core.
    fn next_frame(&self, receiver: usize) -> Option<Frame>;
    /// Frames that no link has taken yet.
    fn queued(&self) -> usize;
    /// A buffer came home.
    fn home(&self, receiver: usize, buffer: Buffer);
    /// Whether all frames have been taken and the edge has ended.
    fn drained(&self) -> bool;
    /// Asserts that no buffer is lost or doubled; returns how many are with the link or the
    /// receiver.
    fn check_credits(&self, receiver: usize) -> u64;
    /// What a simulator sees of the channel to a core.
    fn view(&self, receiver: usize) -> OutputView;
    /// Records the channel to a core with all that has not left.
    fn record(&self, receiver: usize, name: &str, recording: &mut Recording) -> Result<()>;
    /// Makes the channel to a core what it was when it was recorded; before the first record.
    fn restore(&self, receiver: usize, image: &Restoring<'_>) -> Result<()>;
}

/// The sending side of an edge.
pub(crate) struct Exchange<T: Record> {
    id: ChannelId,
    core: Rc<Core>,
    network: NetworkConfig,
    channels: RefCell<Vec<OutputChannel<T>>>,
    /// Per channel, what had left when the page that is open now was first seen open by `flush`.
    marks: RefCell<Vec<Option<u64>>>,
    ended: Cell<bool>,
}

impl<T: Record> Exchange<T> {
    pub(crate) fn new(id: ChannelId, core: Rc<Core>, network: NetworkConfig) -> Self {
        let channels = RefCell::new(Vec::new());
        let marks = RefCell::new(Vec::new());
        Self { id, core, network, channels, marks, ended: Cell::new(false) }
    }

    #[inline(always)]
    fn write(&self, to: usize, hash: u64, key: &[u8], record: &T, stamp: Stamp) -> Result<()> {
        let head = Head { hash, timestamp: stamp.timestamp, watermark: 0, origin: stamp.origin };
        let mut channels = self.channels.borrow_mut();
        let channel = &mut channels[to];
        if !channel.write(head, key, record)? {
            self.core.pressure.set(true);
        }
        Ok(())
    }

    fn each(&self, call: impl FnMut(&mut OutputChannel<T>)) {
        self.channels.borrow_mut().iter_mut().for_each(call);
    }
}

impl<T: Record> Outlet for Exchange<T> {
    fn ready(&self) -> Result<bool> {
        Ok(self.channels.borrow().iter().all(OutputChannel::has_credit))
    }
}

impl<T: Record> OutputPort for Exchange<T> {
    fn open(&self, receivers: usize) {
        let mut channels = self.channels.borrow_mut();
        assert!(channels.is_empty(), "an exchange is opened once");
        let network = &self.network;
        self.marks.borrow_mut().resize(receivers, None);
        channels.extend((0..receivers).map(|_| {
            OutputChannel::new(self.id, network.buffer_size, network.credits, network.overdraft)
        }));
    }

    fn receivers(&self) -> usize {
        self.channels.borrow().len()
    }

    fn flush(&self, aged_only: bool) {
        let mut marks = self.marks.borrow_mut();
        for (channel, mark) in self.channels.borrow_mut().iter_mut().zip(marks.iter_mut()) {
            let frames = channel.sent() + channel.queued() as u64;
            if !channel.is_dirty() {
                *mark = None;
            } else if !aged_only || *mark == Some(frames) {
                channel.flush();
                *mark = None;
            } else {
                *mark = Some(frames);
            }
        }
    }

    fn dirty(&self) -> bool {
        self.channels.borrow().iter().any(OutputChannel::is_dirty)
    }

    fn next_frame(&self, receiver: usize) -> Option<Frame> {
        self.channels.borrow_mut()[receiver].next_frame()
    }

    fn queued(&self) -> usize {
        self.channels.borrow().iter().map(OutputChannel::queued).sum()
    }

    fn home(&self, receiver: usize, buffer: Buffer) {
        self.channels.borrow_mut()[receiver].home(buffer);
    }

    fn drained(&self) -> bool {
        self.ended.get() && self.channels.borrow().iter().all(|channel| channel.queued() == 0)
    }

    fn check_credits(&self, receiver: usize) -> u64 {
        let channel = &self.channels.borrow()[receiver];
        channel.check();
        channel.counts().in_flight
    }

    fn view(&self, receiver: usize) -> OutputView {
        let channel = &self.channels.borrow()[receiver];
        OutputView {
            edge: self.id.0,
            to: receiver,
            counts: channel.counts(),
            records: channel.written(),
            frames: channel.sent(),
            queued: channel.queued(),
            watermark: channel.current_watermark(),
            idle: channel.is_idle(),
            ended: channel.is_ended(),
            has_credit: channel.has_credit(),
        }
    }

    fn record(&self, receiver: usize, name: &str, recording: &mut Recording) -> Result<()> {
        let channel = &mut self.channels.borrow_mut()[receiver];
        let mut state = channel.freeze();
        let mut snapshot = recording.snapshot();
        visit(&mut state, &mut snapshot)?;
        let mut bytes = Recording::headed(snapshot)?;
        let unsent = channel.frames().map(|body| recorded::record(body, &mut bytes)).sum();
        recording.add(SectionKind::Output, name, self.id.0, receiver as u32, bytes);
        recording.count_sent(self.id.0, receiver, state.written, unsent);
        Ok(())
    }

    fn restore(&self, receiver: usize, image: &Restoring<'_>) -> Result<()> {
        let section = image.section(SectionKind::Output, self.id.0, receiver as u32)?;
        let (head, frames) = Restoring::split_head(section)?;
        let mut snapshot = image.snapshot(head.to_vec());
        let channel = &mut self.channels.borrow_mut()[receiver];
        let mut state = channel.freeze();
        visit(&mut state, &mut snapshot)?;
        snapshot.finish()?;
        let bodies = image.frames::<T>(frames)?;
        channel.restore(state, bodies);
        self.ended.set(state.ended);
        Ok(())
    }
}

/// Writes a channel's numbers at a cut, or reads them back.
fn visit(state: &mut OutputState, snapshot: &mut Snapshot) -> Result<()> {
    snapshot.i64(&mut state.watermark)?;
    snapshot.i64(&mut state.announced)?;
    snapshot.bool(&mut state.idle)?;
    snapshot.bool(&mut state.ended)?;
    snapshot.u64(&mut state.written)
}

/// Decides which core a record goes to.
pub(crate) trait Route<T>: 'static {
    /// Tells the name of the node behind the exchange, for errors of user code.
    fn named(&mut self, _name: Rc<str>) {}
    /// Calls `write(core, hash, key)` for every receiver of the record.
    fn route(
        &mut self,
        record: &T,
        receivers: usize,
        write: impl FnMut(usize, u64, &[u8]) -> Result<()>,
    ) -> Result<()>;
}

/// By key: the hash of the key's canonical encoding, its group, the group's owner.
pub(crate) struct ByKey<F> {
    pub(crate) name: Rc<str>,
    pub(crate) key: F,
    pub(crate) max_parallelism: u32,
    /// Owner of each key group; made at the first record, when the receivers are known.
    pub(crate) owners: Option<OwnerTable>,
}

impl<T, K: Key, F: Fn(&T) -> K + 'static> Route<T> for ByKey<F> {
    fn named(&mut self, name: Rc<str>) {
        self.name = name;
    }

    #[inline(always)]
    fn route(
        &mut self,
        record: &T,
        receivers: usize,
        mut write: impl FnMut(usize, u64, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let max_parallelism = self.max_parallelism;
        let owners =
            self.owners.get_or_insert_with(|| OwnerTable::new(receivers as u32, max_parallelism));
        let key = Blame::call(&self.name, || (self.key)(record));
        key.with_encoded(|bytes| {
            let hash = hash(bytes);
            write(owners.owner_of_hash(hash) as usize, hash, bytes)
        })
    }
}

/// To one core after another.
pub(crate) struct RoundRobin(pub(crate) usize);

impl<T: 'static> Route<T> for RoundRobin {
    #[inline(always)]
    fn route(
        &mut self,
        _record: &T,
        receivers: usize,
        mut write: impl FnMut(usize, u64, &[u8]) -> Result<()>,
    ) -> Result<()> {
        self.0 = if self.0 + 1 >= receivers { 0 } else { self.0 + 1 };
        write(self.0, 0, &[])
    }
}

/// Round robin over the receivers that stand next to this sender.
pub(crate) struct Rescale {
    pub(crate) sender: usize,
    pub(crate) senders: usize,
    pub(crate) turn: usize,
}

impl<T: 'static> Route<T> for Rescale {
    #[inline(always)]
    fn route(
        &mut self,
        _record: &T,
        receivers: usize,
        mut write: impl FnMut(usize, u64, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let first = self.sender * receivers / self.senders;
        let end = ((self.sender + 1) * receivers / self.senders).max(first + 1);
        self.turn = (self.turn + 1) % (end - first);
        write(first + self.turn, 0, &[])
    }
}

/// To every core.
pub(crate) struct Broadcast;

impl<T: 'static> Route<T> for Broadcast {
    fn route(
        &mut self,
        _record: &T,
        receivers: usize,
        mut write: impl FnMut(usize, u64, &[u8]) -> Result<()>,
    ) -> Result<()> {
        (0..receivers).try_for_each(|core| write(core, 0, &[]))
    }
}

/// To one core: the own one for an unfused forward edge, the first for a global one.
pub(crate) struct To(pub(crate) usize);

impl<T: 'static> Route<T> for To {
    #[inline(always)]
    fn route(
        &mut self,
        _record: &T,
        _receivers: usize,
        mut write: impl FnMut(usize, u64, &[u8]) -> Result<()>,
    ) -> Result<()> {
        write(self.0, 0, &[])
    }
}

/// The end of a chain that leads into an exchange.
pub(crate) struct ExchangeFeed<T: Record, R> {
    pub(crate) exchange: Rc<Exchange<T>>,
    pub(crate) route: R,
    pub(crate) receivers: Option<usize>,
}

impl<T: Record, R: Route<T>> Feed<T> for ExchangeFeed<T, R> {
    #[inline(always)]
    fn feed(&mut self, record: T, stamp: Stamp) -> Result<()> {
        let exchange = &self.exchange;
        let receivers = *self.receivers.get_or_insert_with(|| exchange.receivers());
        self.route.route(&record, receivers, |core, hash, key| {
            exchange.write(core, hash, key, &record, stamp)
        })
    }

    #[inline]
    fn watermark(&mut self, watermark: Timestamp) -> Result<()> {
        self.exchange.each(|channel| channel.watermark(watermark));
        Ok(())
    }

    fn idle(&mut self, idle: bool) -> Result<()> {
        self.exchange.each(|channel| if idle { channel.idle() } else { channel.active() });
        Ok(())
    }

    fn split(&mut self, _event: SplitEvent) -> Result<()> {
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        self.exchange.each(OutputChannel::end);
        self.exchange.ended.set(true);
        Ok(())
    }

    /// The exchange is the worker's.
    fn snapshot(&mut self, _snapshot: &mut Snapshot) -> Result<()> {
        Ok(())
    }
}
