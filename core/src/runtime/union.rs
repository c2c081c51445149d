//! Several chains of one core that lead into one.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::Port;
use super::valve::{Change, Valve};
use crate::Result;
use crate::operator::{Feed, Snapshot, SplitEvent};
use crate::time::{Stamp, Timestamp};

/// A union of `n` chains.
pub(crate) struct Union<T>(Rc<Merge<T>>);

struct Merge<T> {
    port: Rc<Port<T>>,
    valve: RefCell<Valve>,
    /// The last cut that it took part in.
    seen: Cell<u64>,
}

impl<T: 'static> Union<T> {
    pub(crate) fn new(inputs: usize) -> Self {
        let valve = RefCell::new(Valve::new(inputs));
        Self(Rc::new(Merge { port: Rc::new(Port::new()), valve, seen: Cell::new(0) }))
    }

    pub(crate) fn input(&self, index: usize) -> UnionFeed<T> {
        UnionFeed { merge: Rc::clone(&self.0), index }
    }

    pub(crate) fn port(&self) -> Rc<Port<T>> {
        Rc::clone(&self.0.port)
    }
}

/// One input of a union.
pub(crate) struct UnionFeed<T> {
    merge: Rc<Merge<T>>,
    index: usize,
}

impl<T: 'static> UnionFeed<T> {
    fn apply(&self, change: Change) -> Result<()> {
        if let Some(watermark) = change.watermark {
            self.merge.port.watermark(watermark)?;
        }
        change.idle.map_or(Ok(()), |idle| self.merge.port.idle(idle))
    }
}

impl<T: 'static> Feed<T> for UnionFeed<T> {
    fn feed(&mut self, record: T, stamp: Stamp) -> Result<()> {
        self.merge.port.push(record, stamp)
    }
    fn watermark(&mut self, watermark: Timestamp) -> Result<()> {
        let change = self.merge.valve.borrow_mut().watermark(self.index, watermark);
        self.apply(change)
    }
    fn idle(&mut self, idle: bool) -> Result<()> {
        let change = self.merge.valve.borrow_mut().idle(self.index, idle);
        self.apply(change)
    }
    fn split(&mut self, event: SplitEvent) -> Result<()> {
        // The splits are those of the sources in front, but time moves on for all.
        if event == SplitEvent::Tick { self.merge.port.split(event) } else { Ok(()) }
    }
    fn flush(&mut self) -> Result<()> {
        self.merge.port.flush()
    }
    fn end(&mut self) -> Result<()> {
        let change = self.merge.valve.borrow_mut().end(self.index);
        self.apply(change)?;
        let ended = self.merge.valve.borrow().all_ended();
        if ended {
            self.merge.port.flush()?;
            self.merge.port.end()?;
        }
        Ok(())
    }
    fn snapshot(&mut self, snapshot: &mut Snapshot) -> Result<()> {
        if snapshot.is_new_to(&self.merge.seen) {
            self.merge.valve.borrow_mut().snapshot(snapshot)?;
        }
        self.merge.port.snapshot(snapshot)
    }
}
