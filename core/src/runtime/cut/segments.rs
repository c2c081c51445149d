//! The segments of a restore, read ahead of who replays them.
//!
//! A disk answers when it can, and a core that replays has no use for waiting: a thread reads and
//! checks blocks while the core takes in those before. Inline, each is handed on as it is read: for
//! tests and the simulator.

use std::io::{self, Read};

use crossbeam::channel::{bounded, unbounded};
use thalweg_checkpoint::store::Checked;
use thalweg_checkpoint::{FileInfo, Store};
use thalweg_state::segment::{Block, SegmentError, SegmentHead, SegmentStream};

use super::damaged;
use crate::control::refused;
use crate::runtime::SideCpus;
use crate::{Error, Result};

/// Blocks that are read and not replayed: 4 MiB.
const AHEAD_MAX: usize = 32;

/// What is read of segments.
pub(super) enum Part {
    /// The next block of a segment.
    Block(Block),
    /// It is whole, and this was its head.
    End(SegmentHead),
}

/// Who takes the parts, in order, and gives memory for the next block.
pub(super) type Take<'a> = dyn FnMut(Part) -> Result<Vec<u8>> + 'a;

/// Segments of a checkpoint, the oldest first.
#[derive(Clone, Copy)]
pub(super) struct Segments<'a> {
    pub(super) checkpoint: u64,
    pub(super) files: &'a [FileInfo],
}

impl Segments<'_> {
    /// Reads them all.
    ///
    /// # Errors
    /// Those of `take`; one is missing, damaged or cannot be read.
    pub(super) fn read(self, store: &dyn Store, take: &mut Take<'_>) -> Result<()> {
        let mut outcome = Ok(());
        let mut give = |part| match take(part) {
            Ok(memory) => Some(memory),
            Err(error) => {
                outcome = Err(error);
                None
            }
        };
        self.read_each(store, &mut give)?;
        outcome
    }

    /// As [`Segments::read`], on a thread of its own.
    ///
    /// # Errors
    /// As [`Segments::read`], or there is no thread to be had.
    #[allow(clippy::disallowed_methods, reason = "this is the rim")]
    pub(super) fn read_ahead(
        self,
        store: &(dyn Store + Sync),
        cpus: &SideCpus,
        take: &mut Take<'_>,
    ) -> Result<()> {
        std::thread::scope(|scope| {
            let (parts, coming) = bounded(AHEAD_MAX);
            let (spare, empty) = unbounded();
            let body = move || {
                cpus.spread();
                self.read_each(store, &mut |part| {
                    parts.send(part).ok()?;
                    Some(empty.try_recv().unwrap_or_default())
                })
            };
            let thread = std::thread::Builder::new().name("restore".into());
            let reader = thread
                .spawn_scoped(scope, body)
                .map_err(|error| Error::io("cannot start a thread that reads state", error))?;
            let taken = coming.iter().try_for_each(|part| {
                let _ = spare.send(take(part)?);
                Ok(())
            });
            drop(coming);
            // What is wrong with a file explains why its blocks could not be replayed.
            reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)).and(taken)
        })
    }

    /// Reads them all; `give` returns memory for the next block, or nothing to stop.
    fn read_each(
        self,
        store: &dyn Store,
        give: &mut dyn FnMut(Part) -> Option<Vec<u8>>,
    ) -> Result<()> {
        let mut memory = Vec::new();
        for file in self.files {
            let damaged = |what: &str| damaged(self.checkpoint, file, what);
            let opened = store.read(&file.path, file.offset).map_err(refused)?;
            let opened = opened.ok_or_else(|| damaged("it is missing"))?;
            let mut opened = Checked::new(opened.take(file.bytes));
            let read = blocks(&mut opened, memory, give);
            if matches!(read, Ok(None)) {
                return Ok(());
            }
            // Whoever was cut short by damage may have missed some: it is the whole that counts.
            let rest = io::copy(&mut opened, &mut io::sink());
            rest.map_err(|error| Error::io(format!("cannot read {}", file.path), error))?;
            if let Some(seen) = opened.complaint(file) {
                return Err(damaged(&seen));
            }
            let Some(head) = read.map_err(|error| damaged(&error.found))? else { return Ok(()) };
            let Some(spare) = give(Part::End(head)) else { return Ok(()) };
            memory = spare;
        }
        Ok(())
    }
}

/// Hands the blocks of a segment on; returns its head, or nothing if nobody takes them.
fn blocks(
    opened: &mut impl Read,
    memory: Vec<u8>,
    give: &mut dyn FnMut(Part) -> Option<Vec<u8>>,
) -> Result<Option<SegmentHead>, SegmentError> {
    let mut stream = SegmentStream::open(opened, memory)?;
    let mut memory = Vec::new();
    while let Some(block) = stream.take_block(memory)? {
        let Some(spare) = give(Part::Block(block)) else { return Ok(None) };
        memory = spare;
    }
    Ok(Some(*stream.head()))
}
