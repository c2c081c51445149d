//! A worker that becomes what its core was at a cut.

use std::io::{self, Read};

use thalweg_checkpoint::store::Checked;
use thalweg_checkpoint::{Store, fail_point};
use thalweg_state::segment::{BlockReader, OP_HEAD, SegmentError, SegmentHead, SegmentStream};

use super::open::Segment;
use super::{Restore, Restoring, damaged, invalid};
use crate::control::refused;
use crate::runtime::Worker;
use crate::runtime::poison::refuse_leftovers;
use crate::{Error, Result};

impl Worker {
    /// Makes a new worker what the core was at a cut. No worker of the job may be stepped before
    /// all are restored and [settled](Self::is_settled).
    ///
    /// # Errors
    /// The image or a segment is damaged, or was written by another job.
    pub fn restore(&mut self, restore: &Restore, store: &dyn Store) -> Result<()> {
        self.core.refresh();
        let restored = self.restore_parts(restore, store);
        restored.map_err(|error| error.on_core(self.core.index()))
    }

    fn restore_parts(&mut self, restore: &Restore, store: &dyn Store) -> Result<()> {
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
        if self.core.warden().is_none() {
            refuse_leftovers(&image)?;
        }
        self.cuts.last = restore.image.checkpoint;
        if restore.is_final {
            self.cuts.told_end = true;
            self.cuts.last_cut = Some(restore.image.checkpoint);
        }
        fail_point!("before-core-state");
        self.restore_state(restore, store)
    }

    /// Replays all segments, the oldest first.
    fn restore_state(&mut self, restore: &Restore, store: &dyn Store) -> Result<()> {
        let bytes: u64 = restore.segments.iter().map(|file| file.bytes).sum();
        let rows_max = bytes / OP_HEAD as u64;
        let mut block = Vec::new();
        for file in &restore.segments {
            let damaged = |what: &str| damaged(restore.image.checkpoint, file, what);
            let opened = store.read(&file.path, file.offset).map_err(refused)?;
            let opened = opened.ok_or_else(|| damaged("it is missing"))?;
            let mut opened = Checked::new(opened.take(file.bytes));
            let replayed = self.replay(
                &mut opened,
                &mut block,
                usize::try_from(rows_max).unwrap_or(usize::MAX),
                &damaged,
            );
            // Whoever was cut short by damage may have missed some: it is the whole that counts.
            let rest = io::copy(&mut opened, &mut io::sink());
            rest.map_err(|error| Error::io(format!("cannot read {}", file.path), error))?;
            if let Some(seen) = opened.complaint(file) {
                return Err(damaged(&seen));
            }
            let SegmentHead { header, is_sorted, .. } = replayed?;
            self.core.epoch.set(header.epoch + 1);
            self.cuts.number = header.number;
            self.cuts.segments.push(Segment::restored(file.clone(), is_sorted));
        }
        for (core, bytes) in &*restore.unions {
            let block = BlockReader::read(&mut &bytes[..])?;
            self.states.iter().try_for_each(|state| state.restore_of(*core, &block))?;
        }
        for gate in self.gates.iter().flatten() {
            gate.inner.borrow_mut().end_restore()?;
        }
        let mut ended = Ok(());
        self.journals(|state| {
            if ended.is_ok() {
                ended = state.end_restore();
            }
        });
        ended
    }

    /// Replays a segment, in which no column has more than `rows_max` rows; returns its head.
    fn replay(
        &mut self,
        opened: &mut impl Read,
        block: &mut Vec<u8>,
        rows_max: usize,
        damaged: &dyn Fn(&str) -> Error,
    ) -> Result<SegmentHead> {
        let damaged = |error: SegmentError| damaged(&error.found);
        let mut stream = SegmentStream::open(opened, std::mem::take(block)).map_err(damaged)?;
        let bounded = self.core.budget.is_bounded();
        while let Some(read) = stream.next_block().map_err(damaged)? {
            self.restore_block(&read.with_rows_max(rows_max))?;
            if bounded {
                self.core.budget.measure(self.state_bytes());
            }
        }
        let head = *stream.head();
        *block = stream.into_block();
        Ok(head)
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
