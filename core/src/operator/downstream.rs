//! What stands behind a keyed operator: its main output and its side outputs.
//!
//! While records emit nothing, nobody hears of each single watermark. Whoever is emitted to has
//! heard of the one that the emitting record saw, and of the last one behind every run.

use std::marker::PhantomData;
use std::rc::Rc;

use super::{Feed, Snapshot, SplitEvent};
use crate::Result;
use crate::runtime::SideOutputs;
use crate::time::{MIN, Stamp, Timestamp};

/// The outputs of an operator, and what watermark they have heard of.
pub(super) struct Downstream<U, N> {
    next: N,
    sides: Rc<SideOutputs>,
    told: Timestamp,
    record: PhantomData<fn(U)>,
}

impl<U, N: Feed<U>> Downstream<U, N> {
    pub(super) fn new(next: N, sides: Rc<SideOutputs>) -> Self {
        Self { next, sides, told: MIN, record: PhantomData }
    }

    /// Emits a record to the main output; [`tell`](Self::tell) comes first.
    #[inline]
    pub(super) fn feed(&mut self, record: U, stamp: Stamp) -> Result<()> {
        self.next.feed(record, stamp)
    }

    /// Tells all outputs of a watermark, unless they have heard of it.
    #[inline]
    pub(super) fn tell(&mut self, watermark: Timestamp) -> Result<()> {
        if watermark > self.told {
            self.told = watermark;
            self.sides.watermark(watermark)?;
            self.next.watermark(watermark)?;
        }
        Ok(())
    }

    /// The last watermark that the outputs have heard of.
    #[inline]
    pub(super) fn told(&self) -> Timestamp {
        self.told
    }

    pub(super) fn idle(&mut self, idle: bool) -> Result<()> {
        self.sides.idle(idle)?;
        self.next.idle(idle)
    }

    /// Tells the chain behind of the source in front; side outputs have no watermarks of their own
    /// to make.
    pub(super) fn split(&mut self, event: SplitEvent) -> Result<()> {
        self.next.split(event)
    }

    pub(super) fn flush(&mut self) -> Result<()> {
        self.sides.flush()?;
        self.next.flush()
    }

    pub(super) fn snapshot(&mut self, snapshot: &mut Snapshot) -> Result<()> {
        snapshot.i64(&mut self.told)?;
        self.sides.snapshot(snapshot)?;
        self.next.snapshot(snapshot)
    }

    pub(super) fn end(&mut self) -> Result<()> {
        self.sides.end()?;
        self.next.flush()?;
        self.next.end()
    }
}
