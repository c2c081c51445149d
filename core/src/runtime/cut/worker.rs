//! What a worker does for its cuts.

use thalweg_checkpoint::fail_point;
use thalweg_net::Barrier;

use super::Recording;
use super::messages::{CutCommand, CutReport};
use super::open::{Hold, Times};
use crate::Result;
use crate::control::FINAL;
use crate::runtime::Worker;
use crate::runtime::poison::Warden;
use crate::state::Journalled;

/// Rows that a turn encodes, more or less, unless it was long.
const ROWS_PER_TURN: usize = 256;

/// What a row takes, or a little less.
const NANOS_PER_ROW: u64 = 100;

/// Rows that are encoded between two looks at the clock.
const ROWS_BETWEEN_LOOKS: usize = 64;

/// How long rows are encoded in a turn: a short one, and the longest.
const SLICE_NANOS: u64 = 50_000;
const SLICE_NANOS_MAX: u64 = 1_000_000;

impl Worker {
    /// Tells the worker something about checkpoints; it hears it in its next turn.
    pub fn command(&mut self, command: CutCommand) {
        self.cuts.command(command);
    }

    /// What the worker has to say about checkpoints, the oldest first.
    pub fn report(&mut self) -> Option<CutReport> {
        self.cuts.report()
    }

    /// The highest checkpoint that this core has heard of.
    pub fn highest_checkpoint(&self) -> u64 {
        self.cuts.last
    }

    pub(in crate::runtime) fn receive_commands(&mut self) -> Result<bool> {
        let mut worked = false;
        while let Some(command) = self.cuts.commands.pop_front() {
            worked = true;
            match command {
                CutCommand::Trigger(trigger) => self.open_cut(trigger)?,
                CutCommand::Abort(checkpoint) => self.cuts.abort(checkpoint),
                CutCommand::Drain { round, keep } => self.drain(round, keep),
                CutCommand::Resume => self.hold(Hold::No),
                CutCommand::Commit(checkpoint) => self.commit(checkpoint)?,
                CutCommand::Stored(number, file) => {
                    self.cuts.stored(number, &file);
                    self.cuts.merge_some();
                }
                CutCommand::Spare(blocks) => {
                    blocks.into_iter().for_each(|block| self.core.blocks.give(block));
                }
                CutCommand::Merged(file) => self.cuts.merged(file),
            }
        }
        Ok(worked)
    }

    /// A peer has cut: so does this core, before it takes anything that the peer sent afterwards.
    pub(in crate::runtime) fn receive_barrier(
        &mut self,
        peer: usize,
        barrier: Barrier,
    ) -> Result<()> {
        self.open_cut(barrier)?;
        self.cuts.close_link(peer, barrier.checkpoint);
        Ok(())
    }

    /// The instant of a cut: all of the core is recorded or set aside.
    fn open_cut(&mut self, trigger: Barrier) -> Result<()> {
        if !self.cuts.is_news(trigger.checkpoint) {
            return Ok(());
        }
        fail_point!("before-instant");
        let from = self.core.refresh_nanos();
        self.end_segment()?;
        let mut recording = Recording::new(self.core.index(), trigger.checkpoint);
        for (edge, output) in self.outputs.iter().enumerate() {
            let Some(output) = output else { continue };
            let name = self.gates[edge].as_ref().map_or("", |gate| &gate.name);
            for receiver in 0..output.receivers() {
                output.record(receiver, name, &mut recording)?;
            }
        }
        for gate in self.gates.iter().flatten() {
            gate.inner.borrow_mut().record(&gate.name, &mut recording)?;
        }
        for (place, source) in (0u32..).zip(&mut self.sources) {
            source.inner.record(place, &mut recording)?;
        }
        for (place, sink) in (0u32..).zip(&self.sinks) {
            sink.seal(trigger.checkpoint)?;
            fail_point!("sink-sealed");
            sink.record(place, &mut recording)?;
        }
        self.release();
        let peers = self.links.iter().map(Option::is_some).collect();
        let times = Times { from, to: self.core.refresh_nanos(), ..Times::default() };
        self.core.metrics.instants.record(times.to.saturating_sub(from), 1);
        self.cuts.begin(trigger, recording, peers, times);
        self.cuts.last_cut = (trigger.kind == FINAL).then_some(trigger.checkpoint);
        fail_point!("behind-instant");
        Ok(())
    }

    /// Ends the segment of this epoch; the one before it, should it not be encoded yet, is now.
    fn end_segment(&mut self) -> Result<()> {
        while self.cuts.encoding.is_some() {
            self.encode_segment(usize::MAX)?;
        }
        let epoch = self.core.epoch.get();
        let mut can_tell_all =
            self.gates.iter().flatten().all(|it| it.inner.borrow_mut().can_tell_all());
        self.journals(|state| can_tell_all &= state.can_tell_all());
        let all = self.cuts.tells_all(can_tell_all);
        for gate in self.gates.iter().flatten() {
            gate.inner.borrow_mut().end_segment(all);
        }
        self.journals(|state| state.end_segment(all));
        self.core.epoch.set(epoch + 1);
        self.cuts.encoding = Some(epoch);
        Ok(())
    }

    /// Encodes some rows of the segment that was ended; hands it over when that is all.
    fn encode_segment(&mut self, rows: usize) -> Result<()> {
        let Some(epoch) = self.cuts.encoding else { return Ok(()) };
        for gate in self.gates.iter().flatten() {
            let done = gate.inner.borrow_mut().advance_segment(rows);
            if !done.map_err(|error| error.in_operator(&gate.name))? {
                return Ok(());
            }
        }
        let (mut blocks, mut all, mut left) = (Vec::new(), true, rows);
        let mut encoded = Ok(true);
        self.journals(|state| {
            if encoded.is_ok() {
                encoded = state.advance_segment(&mut left);
            }
        });
        encoded?;
        for gate in self.gates.iter().flatten() {
            all &= gate.inner.borrow_mut().take_blocks(&mut blocks);
        }
        self.journals(|state| all &= state.take_blocks(&mut blocks));
        self.cuts.encoded(epoch, blocks, all);
        Ok(())
    }

    /// Hands over what was encoded since the last cut, if it is more than there is room for.
    fn spill(&mut self) {
        if !self.core.budget.is_bounded() {
            return;
        }
        let gates = || self.gates.iter().flatten();
        let mut bytes: usize = gates().map(|gate| gate.inner.borrow_mut().encoded_bytes()).sum();
        self.journals(|state| bytes += state.encoded_bytes());
        let most = self.core.budget.encoded_bytes_max();
        let (may, too_many) = self.cuts.may_spill();
        self.cuts.is_choked = bytes > 2 * most && too_many || bytes > 8 * most;
        if !may || bytes <= most {
            return;
        }
        let mut blocks = Vec::new();
        gates().for_each(|gate| gate.inner.borrow_mut().take_encoded(&mut blocks));
        self.journals(|state| state.take_encoded(&mut blocks));
        self.cuts.spilled(self.core.epoch.get(), blocks);
    }

    /// Encodes for about as long as is right at the end of this turn.
    ///
    /// Where turns are long, those of a state on disk, a fixed number of rows would take forever:
    /// a turn may become a quarter longer. And there a row may cost several microseconds, so the
    /// clock is looked at.
    fn encode_slice(&mut self, from: u64) -> Result<()> {
        // One turn that was long, as when the machine had other work, is no reason for more.
        let (turn, usual) = (from.saturating_sub(self.turned_at), self.cuts.usual_turn);
        self.cuts.usual_turn = turn.min(usual + turn.saturating_sub(usual) / 8);
        let most = self.cuts.usual_turn / 4;
        let rows = usize::try_from(most / NANOS_PER_ROW).unwrap_or(usize::MAX);
        let mut left = ROWS_PER_TURN.min(self.budget).max(rows);
        let until = from + most.clamp(SLICE_NANOS, SLICE_NANOS_MAX);
        while left > 0 && self.cuts.encoding.is_some() && self.core.refresh_nanos() < until {
            let rows = left.min(ROWS_BETWEEN_LOOKS);
            left -= rows;
            self.encode_segment(rows)?;
        }
        Ok(())
    }

    /// Calls `visit` with each state that belongs to no key.
    pub(super) fn journals(&self, mut visit: impl FnMut(&mut dyn Journalled)) {
        self.states.iter().for_each(|state| state.journal(&mut visit));
    }

    /// Does a slice of what the open cut has left to do; true if it made progress and has more.
    pub(in crate::runtime) fn advance_cut(&mut self) -> Result<bool> {
        if !self.cuts.enabled {
            return Ok(false);
        }
        self.answer_drain();
        let encoding = self.cuts.encoding.is_some();
        if encoding {
            let from = self.core.refresh_nanos();
            self.encode_slice(from)?;
            let now = self.core.refresh_nanos();
            self.cuts.note_slice(from, now);
            self.core.metrics.slices.record(now.saturating_sub(from), 1);
            fail_point!("slice-encoded");
        }
        self.spill();
        let now = self.core.now();
        self.cuts.deliver(now);
        if self.sinks_settled()? {
            self.cuts.acknowledge(self.core.index(), now);
            if let Some(checkpoint) = self.cuts.committing.take() {
                self.sinks.iter().for_each(|sink| sink.confirm(checkpoint));
                self.cuts.finished |= self.cuts.last_cut.is_some_and(|cut| cut <= checkpoint);
                fail_point!("before-committed");
                self.cuts.tell(CutReport::Committed(checkpoint));
            }
        }
        Ok(encoding)
    }

    fn sinks_settled(&self) -> Result<bool> {
        if !self.cuts.waits_for_sinks() {
            return Ok(false);
        }
        for sink in &self.sinks {
            if !sink.settled()? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Makes output visible that was sealed for a checkpoint and those before it.
    fn commit(&mut self, checkpoint: u64) -> Result<()> {
        fail_point!("before-commit");
        self.sinks.iter().try_for_each(|sink| sink.commit(checkpoint))?;
        self.cuts.committing = Some(self.cuts.committing.unwrap_or(0).max(checkpoint));
        self.core.warden().into_iter().for_each(Warden::committed);
        Ok(())
    }

    /// Sends the barriers of an open cut, ahead of all that was not sent.
    pub(in crate::runtime) fn send_barriers(&mut self) -> bool {
        let mut worked = false;
        for (link, barrier) in self.links.iter_mut().zip(&mut self.cuts.barriers) {
            let (Some(link), Some(waiting)) = (link, *barrier) else { continue };
            if link.sender.send_barrier(waiting) {
                *barrier = None;
                worked = true;
            }
        }
        worked
    }

    /// Whether the end of the job is committed; says that it is reached. True without checkpoints.
    pub(in crate::runtime) fn is_committed(&mut self) -> bool {
        if !self.cuts.enabled {
            return true;
        }
        if !self.cuts.told_end {
            self.cuts.told_end = true;
            self.cuts.tell(CutReport::Ended);
        }
        self.cuts.finished
    }
}
