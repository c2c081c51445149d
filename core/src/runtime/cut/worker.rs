//! What a worker does for its cuts.

use thalweg_checkpoint::fail_point;
use thalweg_net::Barrier;
use thalweg_state::segment::{BlockReader, SegmentReader};

use super::messages::{CutCommand, CutReport};
use super::open::{Handed, Hold, ROWS_PER_TURN, Times};
use super::{Recording, Restore, Restoring, invalid};
use crate::Result;
use crate::control::FINAL;
use crate::runtime::Worker;
use crate::state::Journalled;

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

    /// Calls `visit` with each state that belongs to no key.
    fn journals(&self, mut visit: impl FnMut(&mut dyn Journalled)) {
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
            self.encode_segment(ROWS_PER_TURN.min(self.budget))?;
            let now = self.core.refresh_nanos();
            self.cuts.note_slice(from, now);
            fail_point!("slice-encoded");
        }
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

    /// Makes a new worker what the core was at a cut. No worker of the job may be stepped before
    /// all are restored and [settled](Self::is_settled).
    ///
    /// # Errors
    /// The image or a segment is damaged, or was written by another job.
    pub fn restore(&mut self, restore: &Restore) -> Result<()> {
        self.core.refresh();
        let restored = self.restore_parts(restore);
        restored.map_err(|error| error.on_core(self.core.index()))
    }

    fn restore_parts(&mut self, restore: &Restore) -> Result<()> {
        let image = Restoring::new(&restore.image, self.network.buffer_size);
        for output in self.outputs.iter().flatten() {
            for receiver in 0..output.receivers() {
                output.restore(receiver, &image)?;
            }
        }
        for gate in self.gates.iter().flatten() {
            let restored = gate.inner.borrow_mut().restore(&image);
            restored.map_err(|error| error.in_operator(&gate.name))?;
        }
        for (place, source) in (0u32..).zip(&mut self.sources) {
            let restored = source.inner.restore(place, &image);
            restored.map_err(|error| error.in_operator(&source.name))?;
        }
        for (place, sink) in (0u32..).zip(&self.sinks) {
            fail_point!("before-core-commits");
            sink.restore(place, &image)?;
        }
        self.cuts.last = restore.image.checkpoint;
        if restore.is_final {
            self.cuts.told_end = true;
            self.cuts.last_cut = Some(restore.image.checkpoint);
        }
        fail_point!("before-core-state");
        self.restore_state(restore)
    }

    /// Replays all segments, the oldest first.
    fn restore_state(&mut self, restore: &Restore) -> Result<()> {
        for (file, bytes) in &restore.segments {
            let segment = SegmentReader::new(bytes)?;
            for block in segment.blocks() {
                self.restore_block(&block?)?;
            }
            self.core.epoch.set(segment.header().epoch + 1);
            self.cuts.segments.push(Handed::Stored(file.clone()));
        }
        for (core, bytes) in &*restore.unions {
            let block = BlockReader::read(&mut &bytes[..])?;
            self.states.iter().try_for_each(|state| state.restore_of(*core, &block))?;
        }
        for gate in self.gates.iter().flatten() {
            gate.inner.borrow_mut().end_restore();
        }
        self.journals(|state| state.end_restore());
        Ok(())
    }

    fn restore_block(&mut self, block: &BlockReader<'_>) -> Result<()> {
        for gate in self.gates.iter().flatten() {
            if gate.inner.borrow_mut().restore_block(block)? {
                return Ok(());
            }
        }
        let mut found = Ok(false);
        self.journals(|state| {
            if matches!(found, Ok(false)) {
                found = state.restore_block(block);
            }
        });
        if found? {
            return Ok(());
        }
        Err(invalid(&format!("no operator has the state {}", block.name())))
    }

    /// Whether output that was sealed before the restore is committed.
    ///
    /// # Errors
    /// It cannot be committed.
    pub fn is_settled(&self) -> Result<bool> {
        for sink in &self.sinks {
            if !sink.settled()? {
                return Ok(false);
            }
            sink.confirm(self.cuts.last);
        }
        Ok(true)
    }
}
