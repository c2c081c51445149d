//! A worker that becomes what its core was at a cut.

use std::slice;

use thalweg_checkpoint::{FileInfo, Store, fail_point};
use thalweg_state::segment::{BlockReader, SegmentHead};

use super::open::Segment;
use super::segments::{Part, Segments, Take};
use super::{Restore, Restoring, invalid};
use crate::runtime::poison::refuse_leftovers;
use crate::runtime::{SideCpus, Worker};
use crate::{Error, Result};

/// What a row takes, or less: room is made for no more rows than could have so many bytes.
const ROW_BYTES: u64 = 16;

/// State with fewer bytes is read where it is replayed.
const AHEAD_LEAST: u64 = 4 << 20;

/// Reads segments and hands on what is in them.
type Read<'a> = dyn Fn(Segments<'_>, &mut Take<'_>) -> Result<()> + 'a;

impl Worker {
    /// Makes a new worker what the core was at a cut. No worker of the job may be stepped before
    /// all are restored and [settled](Self::is_settled).
    ///
    /// # Errors
    /// The image or a segment is damaged, or was written by another job.
    pub fn restore(&mut self, restore: &Restore, store: &dyn Store) -> Result<()> {
        self.restore_by(restore, &|segments, take| segments.read(store, take))
    }

    /// As [`Worker::restore`], where much is to be read by a thread on `cpus`.
    ///
    /// # Errors
    /// As [`Worker::restore`].
    pub(in crate::runtime) fn restore_ahead(
        &mut self,
        restore: &Restore,
        store: &(dyn Store + Sync),
        cpus: &SideCpus,
    ) -> Result<()> {
        if restore.bytes() < AHEAD_LEAST {
            return self.restore(restore, store);
        }
        self.restore_by(restore, &|segments, take| segments.read_ahead(store, cpus, take))
    }

    fn restore_by(&mut self, restore: &Restore, read: &Read<'_>) -> Result<()> {
        self.core.refresh();
        let restored = self.restore_parts(restore, read);
        restored.map_err(|error| error.on_core(self.core.index()))
    }

    fn restore_parts(&mut self, restore: &Restore, read: &Read<'_>) -> Result<()> {
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
        self.restore_state(restore, read)
    }

    /// Replays all segments, the oldest first.
    fn restore_state(&mut self, restore: &Restore, read: &Read<'_>) -> Result<()> {
        let (checkpoint, files) = (restore.image.checkpoint, &restore.segments[..]);
        let bytes: u64 = files.iter().map(|file| file.bytes).sum();
        let rows_max = usize::try_from(bytes / ROW_BYTES).unwrap_or(usize::MAX);
        let mut replay = Replay { files: files.iter(), rows_max, failed: None };
        read(Segments { checkpoint, files }, &mut |part| replay.take(self, part))?;
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

    fn replay(&mut self, block: &BlockReader<'_>) -> Result<()> {
        self.restore_block(block)?;
        if self.core.budget.is_bounded() {
            self.core.budget.measure(self.state_bytes());
        }
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

/// A replay of segments.
struct Replay<'a> {
    /// Those that did not come to their end.
    files: slice::Iter<'a, FileInfo>,
    /// No column has more rows.
    rows_max: usize,
    /// Why a block could not be replayed: told when its segment is known to be whole.
    failed: Option<Error>,
}

impl Replay<'_> {
    /// Takes a part in and gives its memory back.
    fn take(&mut self, worker: &mut Worker, part: Part) -> Result<Vec<u8>> {
        match part {
            Part::Block(block) => {
                if self.failed.is_none() {
                    let reader = block.reader().with_rows_max(self.rows_max);
                    self.failed = worker.replay(&reader).err();
                }
                Ok(block.into_bytes())
            }
            Part::End(SegmentHead { header, is_sorted, .. }) => {
                if let Some(error) = self.failed.take() {
                    return Err(error);
                }
                worker.core.epoch.set(header.epoch + 1);
                worker.cuts.number = header.number;
                let file = self.files.next().cloned();
                let segment = file.map(|file| Segment::restored(file, is_sorted));
                worker.cuts.segments.extend(segment);
                Ok(Vec::new())
            }
        }
    }
}
