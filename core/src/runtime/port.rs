//! A named point of a chain inside one core: fan-out, union, side output.
//!
//! Records are staged and handed to every consumer in batches, one dynamic call a batch.

use std::cell::{Cell, RefCell};

use crate::Result;
use crate::operator::{Feed, Snapshot, SplitEvent};
use crate::time::{Stamp, Timestamp};

/// How many records are staged before they go on.
const BATCH: usize = 256;

/// Records that travel together through a port.
pub(crate) type Batch<T> = Vec<(T, Stamp)>;

/// A fan-out point of one core.
pub struct Port<T> {
    staged: RefCell<Batch<T>>,
    consumers: RefCell<Vec<Box<dyn BatchFeed<T>>>>,
    /// Takes the records if nobody else does.
    fallback: RefCell<Option<Box<dyn BatchFeed<T>>>>,
    clone: Cell<Option<fn(&T) -> T>>,
    /// The last cut that it took part in.
    seen: Cell<u64>,
}

impl<T: 'static> Port<T> {
    pub(crate) fn new() -> Self {
        Self {
            staged: RefCell::new(Vec::new()),
            consumers: RefCell::new(Vec::new()),
            fallback: RefCell::new(None),
            clone: Cell::new(None),
            seen: Cell::new(0),
        }
    }

    /// Allows more than one consumer.
    pub(crate) fn allow_clones(&self)
    where
        T: Clone,
    {
        self.clone.set(Some(T::clone));
    }

    pub(crate) fn attach<N: Feed<T>>(&self, next: N) {
        let mut consumers = self.consumers.borrow_mut();
        assert!(
            consumers.is_empty() || self.clone.get().is_some(),
            "a second consumer needs records that can be cloned"
        );
        consumers.push(Box::new(Unbatched(next)));
    }

    /// Says who takes the records if nobody is attached; it gets records only.
    pub(crate) fn fall_back_to<N: Feed<T>>(&self, next: N) {
        *self.fallback.borrow_mut() = Some(Box::new(Unbatched(next)));
    }

    #[inline]
    pub(crate) fn push(&self, record: T, stamp: Stamp) -> Result<()> {
        let mut staged = self.staged.borrow_mut();
        staged.push((record, stamp));
        if staged.len() < BATCH {
            return Ok(());
        }
        self.deliver(&mut staged)
    }

    fn deliver(&self, staged: &mut Batch<T>) -> Result<()> {
        if staged.is_empty() {
            return Ok(());
        }
        let mut consumers = self.consumers.borrow_mut();
        let Some((last, others)) = consumers.split_last_mut() else {
            if let Some(fallback) = &mut *self.fallback.borrow_mut() {
                return fallback.feed_batch(staged);
            }
            staged.clear();
            return Ok(());
        };
        if let Some(clone) = self.clone.get() {
            for consumer in others {
                let mut copy = staged.iter().map(|(record, at)| (clone(record), *at)).collect();
                consumer.feed_batch(&mut copy)?;
            }
        }
        last.feed_batch(staged)
    }

    /// Delivers what is staged, then calls every consumer.
    fn control(&self, call: impl Fn(&mut dyn BatchFeed<T>) -> Result<()>) -> Result<()> {
        self.deliver(&mut self.staged.borrow_mut())?;
        let mut consumers = self.consumers.borrow_mut();
        consumers.iter_mut().try_for_each(|consumer| call(&mut **consumer))
    }

    pub(crate) fn watermark(&self, watermark: Timestamp) -> Result<()> {
        self.control(|consumer| consumer.watermark(watermark))
    }

    pub(crate) fn idle(&self, idle: bool) -> Result<()> {
        self.control(|consumer| consumer.idle(idle))
    }

    pub(crate) fn split(&self, event: SplitEvent) -> Result<()> {
        self.control(|consumer| consumer.split(event))
    }

    pub(crate) fn flush(&self) -> Result<()> {
        self.control(|consumer| consumer.flush())
    }

    pub(crate) fn end(&self) -> Result<()> {
        self.control(|consumer| consumer.end())
    }

    pub(crate) fn snapshot(&self, snapshot: &mut Snapshot) -> Result<()> {
        assert!(self.staged.borrow().is_empty(), "a cut finds records staged at a port");
        if !snapshot.is_new_to(&self.seen) {
            return Ok(());
        }
        let mut consumers = self.consumers.borrow_mut();
        consumers.iter_mut().try_for_each(|consumer| consumer.snapshot(snapshot))
    }
}

/// A chain that takes whole batches: the rim between chains.
pub(crate) trait BatchFeed<T> {
    /// Takes all records of the batch and leaves it empty.
    fn feed_batch(&mut self, batch: &mut Batch<T>) -> Result<()>;
    fn watermark(&mut self, watermark: Timestamp) -> Result<()>;
    fn idle(&mut self, idle: bool) -> Result<()>;
    fn split(&mut self, event: SplitEvent) -> Result<()>;
    fn flush(&mut self) -> Result<()>;
    fn end(&mut self) -> Result<()>;
    fn snapshot(&mut self, snapshot: &mut Snapshot) -> Result<()>;
}

struct Unbatched<N>(N);

impl<T, N: Feed<T>> BatchFeed<T> for Unbatched<N> {
    fn feed_batch(&mut self, batch: &mut Batch<T>) -> Result<()> {
        for (record, stamp) in batch.drain(..) {
            self.0.feed(record, stamp)?;
        }
        Ok(())
    }
    fn watermark(&mut self, watermark: Timestamp) -> Result<()> {
        self.0.watermark(watermark)
    }
    fn idle(&mut self, idle: bool) -> Result<()> {
        self.0.idle(idle)
    }
    fn split(&mut self, event: SplitEvent) -> Result<()> {
        self.0.split(event)
    }
    fn flush(&mut self) -> Result<()> {
        self.0.flush()
    }
    fn end(&mut self) -> Result<()> {
        self.0.end()
    }
    fn snapshot(&mut self, snapshot: &mut Snapshot) -> Result<()> {
        self.0.snapshot(snapshot)
    }
}

/// The end of a chain that leads into a port.
pub(crate) struct PortFeed<T>(pub(crate) std::rc::Rc<Port<T>>);

impl<T: 'static> Feed<T> for PortFeed<T> {
    #[inline]
    fn feed(&mut self, record: T, stamp: Stamp) -> Result<()> {
        self.0.push(record, stamp)
    }
    fn watermark(&mut self, watermark: Timestamp) -> Result<()> {
        self.0.watermark(watermark)
    }
    fn idle(&mut self, idle: bool) -> Result<()> {
        self.0.idle(idle)
    }
    fn split(&mut self, event: SplitEvent) -> Result<()> {
        self.0.split(event)
    }
    fn flush(&mut self) -> Result<()> {
        self.0.flush()
    }
    fn end(&mut self) -> Result<()> {
        self.0.end()
    }
    fn snapshot(&mut self, snapshot: &mut Snapshot) -> Result<()> {
        self.0.snapshot(snapshot)
    }
}
