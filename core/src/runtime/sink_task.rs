//! The end of a chain that leads into a sink.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::Core;
use super::exchange::Outlet;
use crate::Result;
use crate::operator::{Blame, Feed, SplitEvent};
use crate::sink::SinkWriter;
use crate::time::{Stamp, Timestamp};

/// A sink as the worker sees it.
pub(crate) trait SinkPort: Outlet {
    /// Called after the end of the input until it says that everything is out.
    fn finish(&self) -> Result<bool>;
}

/// The writer of one sink on one core.
pub(crate) struct Writing<W> {
    name: Rc<str>,
    core: Rc<Core>,
    writer: RefCell<W>,
    /// The due time of the batch's last record, and how many in a row have it.
    origin: Cell<(u64, u64)>,
    /// Due times of the batch's records before those, equal neighbours counted together.
    origins: RefCell<Vec<(u64, u64)>>,
}

impl<W> Writing<W> {
    pub(crate) fn new(name: Rc<str>, core: Rc<Core>, writer: W) -> Self {
        let (origin, origins) = (Cell::default(), RefCell::default());
        Self { name, core, writer: RefCell::new(writer), origin, origins }
    }

    #[inline(always)]
    fn note_origin(&self, origin: u64) {
        let (last, count) = self.origin.get();
        if last == origin {
            self.origin.set((last, count + 1));
        } else {
            self.turn_origin(origin);
        }
    }

    #[inline(never)]
    fn turn_origin(&self, origin: u64) {
        let before = self.origin.replace((origin, 1));
        if before.1 > 0 {
            self.origins.borrow_mut().push(before);
        }
    }

    /// The batch has passed the sink: its latencies end now.
    fn record_latencies(&self) {
        let last = self.origin.take();
        if last.1 == 0 {
            return;
        }
        let mut origins = self.origins.borrow_mut();
        let now = self.core.refresh_nanos();
        let mut records = 0;
        for (origin, count) in origins.drain(..).chain([last]) {
            self.core.metrics.latency.record(now.saturating_sub(origin), count);
            records += count;
        }
        self.core.metrics.records_out.add(records);
    }
}

/// The calls that do not depend on the record type.
pub(crate) trait WriterControl: 'static {
    fn ready(&mut self) -> Result<bool>;
    fn finish(&mut self) -> Result<bool>;
}

impl<W: WriterControl> Outlet for Writing<W> {
    fn ready(&self) -> Result<bool> {
        let ready = Blame::call(&self.name, || self.writer.borrow_mut().ready());
        ready.map_err(|error| error.in_operator(&self.name))
    }
}

impl<W: WriterControl> SinkPort for Writing<W> {
    fn finish(&self) -> Result<bool> {
        let finished = Blame::call(&self.name, || self.writer.borrow_mut().finish());
        finished.map_err(|error| error.in_operator(&self.name))
    }
}

/// Ties a writer to its record type.
pub(crate) struct Typed<W, T> {
    pub(crate) writer: W,
    pub(crate) input: std::marker::PhantomData<fn(T)>,
}

impl<T: 'static, W: SinkWriter<T>> WriterControl for Typed<W, T> {
    fn ready(&mut self) -> Result<bool> {
        self.writer.ready()
    }
    fn finish(&mut self) -> Result<bool> {
        self.writer.finish()
    }
}

/// Feeds a writer.
pub(crate) struct SinkFeed<W, T>(pub(crate) Rc<Writing<Typed<W, T>>>);

impl<T: 'static, W: SinkWriter<T>> SinkFeed<W, T> {
    #[inline(always)]
    fn call(&self, call: impl FnOnce(&mut W) -> Result<()>) -> Result<()> {
        let result = Blame::call(&self.0.name, || call(&mut self.0.writer.borrow_mut().writer));
        result.map_err(|error| error.in_operator(&self.0.name))
    }
}

impl<T: 'static, W: SinkWriter<T>> Feed<T> for SinkFeed<W, T> {
    #[inline(always)]
    fn feed(&mut self, record: T, stamp: Stamp) -> Result<()> {
        self.0.note_origin(stamp.origin);
        self.call(|writer| writer.write(record, stamp))
    }
    fn watermark(&mut self, watermark: Timestamp) -> Result<()> {
        self.call(|writer| writer.watermark(watermark))
    }
    fn idle(&mut self, idle: bool) -> Result<()> {
        self.call(|writer| writer.idle(idle))
    }
    fn split(&mut self, _event: SplitEvent) -> Result<()> {
        Ok(())
    }
    fn flush(&mut self) -> Result<()> {
        self.call(SinkWriter::flush)?;
        self.0.record_latencies();
        Ok(())
    }
    fn end(&mut self) -> Result<()> {
        self.call(SinkWriter::end)
    }
}
