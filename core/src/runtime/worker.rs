//! The worker of one core: a synchronous state machine.
//!
//! `step` takes frames, commands and time in and gives frames out. It does no I/O, reads no clock
//! but its core's, and has no threads: production parks and wakes it, the simulator calls the very
//! same code.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use thalweg_net::{Frame, LinkReceiver, LinkSender, Page, Parcel};

use super::audit::{GateView, OutputView};
use super::cut::{Cuts, MergeLimits};
use super::exchange::{Outlet, OutputPort};
use super::gate::GatePort;
use super::pulse::Pulse;
use super::sink_task::SinkPort;
use super::source_task::SourceTask;
use super::{Core, Ran};
use crate::config::NetworkConfig;
use crate::operator::Blame;
use crate::state::OperatorState;
use crate::{Error, Result};

/// Records that a task may take in one turn.
const BUDGET: usize = 1024;

/// A source reads this fraction of the budget while input that has arrived waits on its core: were
/// it to read as much as is consumed, a backlog would never go away, and the cores that send to
/// this one would live from one returned buffer to the next. It is not nothing, since the other
/// cores wait for this source's watermarks.
const BUDGET_BEHIND: usize = 8;

/// What a step did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Some task, link or output did something.
    pub worked: bool,
    /// Everything has ended, every output is with its receiver and every sink has finished.
    pub done: bool,
}

/// One core's part of a job.
pub struct Worker {
    pub(super) core: Rc<Core>,
    pub(super) network: NetworkConfig,
    pub(super) sources: Vec<Task<Box<dyn SourceTask>>>,
    pub(super) gates: Vec<Option<Task<Rc<RefCell<dyn GatePort>>>>>,
    pub(super) outputs: Vec<Option<Rc<dyn OutputPort>>>,
    pub(super) sinks: Vec<Rc<dyn SinkPort>>,
    pub(super) states: Vec<Rc<dyn OperatorState>>,
    /// How many of the sinks have finished: none is asked again.
    finished: usize,
    pub(super) links: Vec<Option<Link>>,
    pub(super) cuts: Cuts,
    /// Order in which gates run: sinks first, so buffers come home before sources fill new ones.
    order: Vec<usize>,
    pub(super) budget: usize,
    pulse: Arc<Pulse>,
    flushed_at: u64,
    /// Whether rows are leaving for the cold tier.
    tending: bool,
    /// Whether tasks with state wait until they have left.
    choked: bool,
    /// Engine time at which the turn began.
    pub(super) turned_at: u64,
    done: bool,
}

/// A task, its name for messages, and what it writes to.
pub(crate) struct Task<K> {
    pub(crate) name: Rc<str>,
    pub(crate) node: usize,
    pub(crate) inner: K,
    pub(crate) outlets: Vec<Rc<dyn Outlet>>,
}

impl<K> Task<K> {
    fn ready(&self) -> Result<bool> {
        for outlet in &self.outlets {
            if !outlet.ready()? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Both directions between this core and another.
pub struct Link {
    /// To the other core.
    pub sender: LinkSender,
    /// From the other core.
    pub receiver: LinkReceiver,
}

/// What a job function has made on a core.
pub(crate) struct Parts {
    pub(crate) core: Rc<Core>,
    pub(crate) network: NetworkConfig,
    pub(crate) sources: Vec<Task<Box<dyn SourceTask>>>,
    pub(crate) gates: Vec<Option<Task<Rc<RefCell<dyn GatePort>>>>>,
    pub(crate) outputs: Vec<Option<Rc<dyn OutputPort>>>,
    pub(crate) sinks: Vec<Rc<dyn SinkPort>>,
    /// States that belong to no key.
    pub(crate) states: Vec<Rc<dyn OperatorState>>,
    /// Whether there are checkpoints.
    pub(crate) checkpoints: bool,
    /// When segments are merged.
    pub(crate) merge: MergeLimits,
}

impl Worker {
    /// Puts the parts together with the links to the other cores; the own core's entry is `None`.
    pub(crate) fn new(parts: Parts, links: Vec<Option<Link>>) -> Self {
        let order = (0..parts.gates.len()).rev().collect();
        Self {
            core: parts.core,
            network: parts.network,
            sources: parts.sources,
            gates: parts.gates,
            outputs: parts.outputs,
            sinks: parts.sinks,
            states: parts.states,
            finished: 0,
            cuts: Cuts::new(parts.checkpoints, links.len(), parts.merge),
            links,
            order,
            budget: BUDGET,
            pulse: Arc::default(),
            flushed_at: 0,
            tending: false,
            choked: false,
            turned_at: 0,
            done: false,
        }
    }

    /// The core that this worker runs.
    pub fn core(&self) -> &Rc<Core> {
        &self.core
    }

    /// Limits how many records a task may take in one turn (at least one): for the simulator.
    pub fn set_budget(&mut self, records: usize) {
        self.budget = records.max(1);
    }

    /// Where this worker leaves signs of life.
    pub(crate) fn set_pulse(&mut self, pulse: Arc<Pulse>) {
        self.pulse = pulse;
    }

    /// Does one turn: links in, tasks, links out.
    ///
    /// # Errors
    /// An error of user code, a connector or the protocol; the attempt is over then.
    pub fn step(&mut self) -> Result<Progress> {
        self.step_links(usize::MAX)
    }

    /// As [`Worker::step`], but sees at most `frames` frames of each link: for the simulator.
    pub fn step_links(&mut self, frames: usize) -> Result<Progress> {
        self.core.refresh();
        self.turned_at = self.core.now();
        let result = self.turn(frames);
        result.map_err(|error| error.on_core(self.core.index()))
    }

    fn turn(&mut self, frames: usize) -> Result<Progress> {
        let mut worked = self.receive_frames(frames)?;
        worked |= self.receive_commands()?;
        worked |= self.receive_rows()?;
        let (ran, more) = self.run_tasks()?;
        worked |= ran;
        worked |= self.tend_state(worked)?;
        self.flush_outputs(ran && more);
        worked |= self.send_frames()?;
        worked |= self.advance_cut()?;
        let done = self.advance_end()?;
        Ok(Progress { worked, done })
    }

    /// Ends all sources as if their input were exhausted: an orderly stop.
    pub fn stop_sources(&mut self) {
        self.sources.iter_mut().for_each(|source| source.inner.stop());
    }

    /// Engine time, in nanoseconds, at which a source or timer wants to be served; `None`: only on
    /// input.
    pub fn wake_at(&self) -> Option<u64> {
        let sources = self.sources.iter().filter_map(|source| source.inner.wake_at()).min();
        let sources = sources.filter(|_| !self.core.held.get());
        let gates = self.gates.iter().flatten();
        let timer = gates.filter_map(|gate| gate.inner.borrow().next_processing_timer()).min();
        let timer = timer.map(|at| {
            let ahead = at.saturating_sub(self.core.wall_millis()).max(0) as u64;
            self.core.now().saturating_add(ahead.saturating_mul(1_000_000))
        });
        let aged = self.outputs.iter().flatten().any(|output| output.dirty());
        let flush = aged.then(|| self.flushed_at + self.network.flush_after);
        [sources, timer, flush, self.core.tick_at()].into_iter().flatten().min()
    }

    /// Whether a task waits for a credit, or a frame for its place on a link.
    ///
    /// # Errors
    /// As [`Worker::step`].
    pub(crate) fn wants_room(&self) -> Result<bool> {
        if self.outputs.iter().flatten().any(|output| output.queued() > 0) {
            return Ok(true);
        }
        for source in self.sources.iter().filter(|source| !source.inner.ended()) {
            if !source.ready()? {
                return Ok(true);
            }
        }
        for gate in self.gates.iter().flatten() {
            if !gate.ready()? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Says whether this core, when it sleeps, is to be woken for room at other cores; before
    /// [`prepare_sleep`](thalweg_net::Doorbell::prepare_sleep).
    pub(crate) fn wake_for_room(&self, wanted: bool) {
        self.links.iter().flatten().for_each(|link| link.sender.wake_for_room(wanted));
    }

    /// Memory that the declared state of its operators takes up.
    pub fn state_bytes(&self) -> usize {
        let gates = self.gates.iter().flatten().map(|gate| gate.inner.borrow().state_bytes());
        gates.chain(self.states.iter().map(|state| state.bytes())).sum()
    }

    fn receive_frames(&mut self, limit: usize) -> Result<bool> {
        let mut worked = false;
        for peer in 0..self.links.len() {
            let Some(link) = &mut self.links[peer] else { continue };
            while let Some((channel, buffer)) = link.sender.home() {
                let output = self.outputs[channel.0 as usize].as_ref();
                output.ok_or_else(|| no_edge(channel.0))?.home(peer, buffer);
                worked = true;
            }
            for _ in 0..limit {
                let Some(link) = &mut self.links[peer] else { break };
                let Some(parcel) = link.receiver.receive() else { break };
                worked = true;
                match parcel {
                    Parcel::Frame(frame) => self.receive_frame(peer, frame)?,
                    Parcel::Barrier(barrier) => self.receive_barrier(peer, barrier)?,
                }
            }
        }
        Ok(worked)
    }

    fn receive_frame(&mut self, peer: usize, frame: Frame) -> Result<()> {
        let edge = frame.channel.0;
        if self.cuts.records(peer)
            && let Some(recording) = self.cuts.recording()
        {
            recording.add_frame(edge, peer as u32, &frame.body)?;
        }
        let gate = self.gates.get(edge as usize).and_then(Option::as_ref);
        gate.ok_or_else(|| no_edge(edge))?.inner.borrow_mut().receive(peer, frame)
    }

    /// Takes what the cold tier has answered.
    fn receive_rows(&mut self) -> Result<bool> {
        if !self.core.budget.is_cold() || !self.core.budget.poll()? {
            return Ok(false);
        }
        for gate in self.gates.iter().flatten() {
            let settled = gate.inner.borrow_mut().settle();
            settled.map_err(|error| error.in_operator(&gate.name))?;
        }
        Ok(true)
    }

    /// Keeps state within its budget: rows that are too many leave for the cold tier. True if it
    /// made progress and is not done.
    fn tend_state(&mut self, worked: bool) -> Result<bool> {
        let budget = &self.core.budget;
        if !budget.is_bounded() || !(worked || self.tending) {
            return Ok(false);
        }
        self.tending = false;
        self.choked = false;
        if !budget.measure(self.state_bytes()) {
            return Ok(false);
        }
        for gate in self.gates.iter().flatten() {
            let inner = &mut *gate.inner.borrow_mut();
            let more = inner.evict().map_err(|error| error.in_operator(&gate.name))?;
            self.tending |= more;
            self.choked |= inner.is_choked();
        }
        self.choked |= budget.is_overdrawn();
        // Where nothing can leave, waiting would not help.
        self.choked &= self.tending || budget.is_storing();
        self.core.budget.counts.stalls.add(u64::from(self.choked));
        Ok(self.tending)
    }

    /// Runs each task; tells whether one did something, and whether one has more to do at once.
    /// Time is read anew behind tasks that did something.
    fn run_tasks(&mut self) -> Result<(bool, bool)> {
        let (mut worked, mut behind) = (false, false);
        for &edge in &self.order {
            let Some(gate) = &self.gates[edge] else { continue };
            let mut inner = gate.inner.borrow_mut();
            let choked = (self.choked || self.cuts.is_choked) && inner.state_bytes() > 0;
            if !inner.ended() && !choked && gate.ready()? {
                self.core.pressure.set(false);
                if worked {
                    self.core.refresh_nanos();
                }
                self.pulse.enter(gate.node);
                let ran = Blame::call(&gate.name, || inner.run(self.budget));
                let ran = ran.map_err(|error| error.in_operator(&gate.name))?;
                worked |= ran.worked();
                behind |= ran == Ran::Behind;
            }
            while let Some((sender, channel, buffer)) = inner.next_return() {
                worked = true;
                give_back(&mut self.links, &self.outputs, sender, channel, buffer);
            }
        }
        let budget = if behind { self.budget.div_ceil(BUDGET_BEHIND) } else { self.budget };
        let held = self.core.held.get();
        for source in &mut self.sources {
            if !held && source.ready()? {
                self.core.pressure.set(false);
                if worked {
                    self.core.refresh_nanos();
                }
                self.pulse.enter(source.node);
                let ran = Blame::call(&source.name, || source.inner.run(budget));
                worked |= ran.map_err(|error| error.in_operator(&source.name))?.worked();
            } else {
                source.inner.hold();
            }
        }
        self.pulse.leave();
        let more = behind || (!held && self.sources.iter().any(|source| source.inner.has_more()));
        Ok((worked, more))
    }

    /// Partly filled pages leave when the core has nothing better to do than to send them, or after
    /// a small bound.
    fn flush_outputs(&mut self, busy: bool) {
        let now = self.core.now();
        let aged = now.saturating_sub(self.flushed_at) >= self.network.flush_after;
        if busy && !aged {
            return;
        }
        self.flushed_at = now;
        self.outputs.iter().flatten().for_each(|output| output.flush(busy));
    }

    fn send_frames(&mut self) -> Result<bool> {
        let own = self.core.index();
        let mut worked = false;
        worked |= self.send_barriers();
        for (edge, output) in self.outputs.iter().enumerate() {
            let Some(output) = output else { continue };
            for receiver in 0..output.receivers() {
                worked |= match &mut self.links[receiver] {
                    // What was not sent before the cut comes behind its barrier.
                    Some(_) if self.cuts.barrier_waits(receiver) => false,
                    Some(link) => send(&**output, receiver, &mut link.sender)?,
                    None => {
                        debug_assert_eq!(receiver, own, "only the own core has no link");
                        let gate = self.gates[edge].as_ref().ok_or_else(|| no_edge(edge as u32))?;
                        receive_own(&**output, own, &mut *gate.inner.borrow_mut())?
                    }
                };
            }
        }
        for link in self.links.iter_mut().flatten() {
            link.sender.ring_bell();
            link.receiver.ring_bell();
        }
        Ok(worked)
    }

    /// Lets sinks finish once all input is consumed.
    fn advance_end(&mut self) -> Result<bool> {
        if self.done {
            return Ok(true);
        }
        // A source that is fused to its sink has neither gate nor output.
        let sources_ended = self.sources.iter().all(|source| source.inner.ended());
        let gates_ended = self.gates.iter().flatten().all(|gate| gate.inner.borrow().ended());
        let drained = self.outputs.iter().flatten().all(|output| output.drained());
        if !sources_ended || !gates_ended || !drained {
            return Ok(false);
        }
        if !self.is_committed() {
            return Ok(false);
        }
        while let Some(sink) = self.sinks.get(self.finished) {
            if !sink.finish()? {
                return Ok(false);
            }
            self.finished += 1;
        }
        self.done = true;
        Ok(true)
    }

    /// What this worker's outputs look like, one entry per edge and receiving core: for the
    /// simulator.
    pub fn outputs(&self) -> impl Iterator<Item = OutputView> {
        let outputs = self.outputs.iter().flatten();
        outputs.flat_map(|output| (0..output.receivers()).map(|to| output.view(to)))
    }

    /// What this worker's gates look like: for the simulator.
    pub fn gates(&self) -> impl Iterator<Item = GateView> {
        self.gates.iter().flatten().map(|gate| gate.inner.borrow().view())
    }

    /// Shows every page that has arrived at the gate of `edge` and is not consumed: for the
    /// simulator.
    pub fn pages(&self, edge: u32, show: &mut dyn FnMut(&Page)) {
        if let Some(gate) = self.gates.get(edge as usize).and_then(Option::as_ref) {
            gate.inner.borrow().pages(show);
        }
    }

    /// Asserts the credit invariant of every channel from this worker to `peers` while nothing else
    /// runs: granted = free + open + queued + in flight, and what a receiver holds is in flight.
    /// For the simulator.
    pub fn check_credits(&self, peers: &[&Worker]) {
        for (edge, output) in self.outputs.iter().enumerate() {
            let Some(output) = output else { continue };
            for (receiver, peer) in peers.iter().enumerate().take(output.receivers()) {
                let gate = peer.gates[edge].as_ref().expect("an edge has a gate at its receiver");
                let held = gate.inner.borrow().held(self.core.index());
                let away = output.check_credits(receiver);
                assert!(
                    held as u64 <= away,
                    "edge {edge} to core {receiver}: {held} held of {away} sent"
                );
            }
        }
    }
}

/// Sends what the link takes.
fn send(output: &dyn OutputPort, receiver: usize, link: &mut LinkSender) -> Result<bool> {
    let mut worked = false;
    while link.free() > 0 {
        let Some(frame) = output.next_frame(receiver) else { break };
        let sent = link.send(frame);
        assert!(sent.is_ok(), "a link with room refused a frame");
        worked = true;
    }
    Ok(worked)
}

/// Hands the own core's frames over.
fn receive_own(output: &dyn OutputPort, own: usize, gate: &mut dyn GatePort) -> Result<bool> {
    let mut worked = false;
    while let Some(frame) = output.next_frame(own) {
        gate.receive(own, frame)?;
        worked = true;
    }
    Ok(worked)
}

fn give_back(
    links: &mut [Option<Link>],
    outputs: &[Option<Rc<dyn OutputPort>>],
    sender: usize,
    channel: thalweg_net::ChannelId,
    buffer: thalweg_net::Buffer,
) {
    match &mut links[sender] {
        Some(link) => link.receiver.give_back(channel, buffer),
        None => {
            if let Some(output) = &outputs[channel.0 as usize] {
                output.home(sender, buffer);
            }
        }
    }
}

#[cold]
fn no_edge(edge: u32) -> Error {
    Error::new(
        crate::error::Kind::Invariant,
        format!("a frame names edge {edge}, which is not here"),
    )
}
