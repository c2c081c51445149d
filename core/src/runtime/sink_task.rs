//! The end of a chain that leads into a sink.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use thalweg_checkpoint::SectionKind;
use thalweg_state::{Encoder, State};

use super::cut::{Recording, Restoring};
use super::exchange::Outlet;
use super::{Core, sealed};
use crate::Result;
use crate::operator::{Blame, Feed, Snapshot, SplitEvent};
use crate::sink::SinkWriter;
use crate::time::{Stamp, Timestamp};

/// A sink as the worker sees it.
pub(crate) trait SinkPort: Outlet {
    /// Called after the end of the input until it says that everything is out.
    fn finish(&self) -> Result<bool>;
    /// Closes what was written for a checkpoint.
    fn seal(&self, checkpoint: u64) -> Result<()>;
    /// Records what is sealed and not known to be committed; `place` is its own among the sinks.
    fn record(&self, place: u32, recording: &mut Recording) -> Result<()>;
    /// Whether what was sealed is durable and what was committed is visible.
    fn settled(&self) -> Result<bool>;
    /// Makes visible what was sealed for `checkpoint` and before.
    fn commit(&self, checkpoint: u64) -> Result<()>;
    /// What was committed is visible: it is forgotten.
    fn confirm(&self, checkpoint: u64);
    /// Takes what a checkpoint holds of sealed output, and commits it again.
    fn restore(&self, place: u32, image: &Restoring<'_>) -> Result<()>;
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
    /// Sealed output by checkpoint, the oldest first, until it is known to be visible.
    sealed: RefCell<Vec<(u64, Vec<Vec<u8>>)>>,
}

impl<W> Writing<W> {
    pub(crate) fn new(name: Rc<str>, core: Rc<Core>, writer: W) -> Self {
        let (origin, origins) = (Cell::default(), RefCell::default());
        let sealed = RefCell::default();
        Self { name, core, writer: RefCell::new(writer), origin, origins, sealed }
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

impl<T: 'static, W: SinkWriter<T>> Writing<Typed<W, T>> {
    /// Writes a record that did not come through the job: it is none of its output.
    pub(crate) fn write(&self, record: T, stamp: Stamp) -> Result<()> {
        self.call_writer(|typed| typed.writer.write(record, stamp))
    }
}

/// The calls that do not depend on the record type.
pub(crate) trait WriterControl: 'static {
    fn ready(&mut self) -> Result<bool>;
    fn finish(&mut self) -> Result<bool>;
    fn restored(&mut self, checkpoint: u64);
    fn seal(&mut self, checkpoint: u64) -> Result<Vec<Vec<u8>>>;
    fn commit(&mut self, committables: &[Vec<u8>]) -> Result<()>;
    fn settled(&mut self) -> Result<bool>;
}

impl<W: WriterControl> Writing<W> {
    fn call_writer<R>(&self, call: impl FnOnce(&mut W) -> Result<R>) -> Result<R> {
        let result = Blame::call(&self.name, || call(&mut self.writer.borrow_mut()));
        result.map_err(|error| error.in_operator(&self.name))
    }
}

impl<W: WriterControl> Writing<W> {
    /// The job goes on from a checkpoint that knows nothing of this sink.
    pub(crate) fn begin_behind(&self, checkpoint: u64) {
        self.writer.borrow_mut().restored(checkpoint);
    }
}

impl<W: WriterControl> Outlet for Writing<W> {
    fn ready(&self) -> Result<bool> {
        self.call_writer(WriterControl::ready)
    }
}

impl<W: WriterControl> SinkPort for Writing<W> {
    fn finish(&self) -> Result<bool> {
        self.call_writer(WriterControl::finish)
    }

    fn seal(&self, checkpoint: u64) -> Result<()> {
        let sealed = self.call_writer(|writer| writer.seal(checkpoint))?;
        if !sealed.is_empty() {
            self.sealed.borrow_mut().push((checkpoint, sealed));
        }
        Ok(())
    }

    fn record(&self, place: u32, recording: &mut Recording) -> Result<()> {
        let bytes = sealed::encode(&self.sealed.borrow());
        recording.add(SectionKind::Committables, &self.name, place, 0, bytes);
        Ok(())
    }

    fn settled(&self) -> Result<bool> {
        self.call_writer(WriterControl::settled)
    }

    fn commit(&self, checkpoint: u64) -> Result<()> {
        let sealed = self.sealed.borrow();
        let due = sealed.iter().take_while(|(sealed_for, _)| *sealed_for <= checkpoint);
        due.into_iter().try_for_each(|(_, due)| self.call_writer(|writer| writer.commit(due)))
    }

    fn confirm(&self, checkpoint: u64) {
        self.sealed.borrow_mut().retain(|(sealed_for, _)| *sealed_for > checkpoint);
    }

    fn restore(&self, place: u32, image: &Restoring<'_>) -> Result<()> {
        let sealed = sealed::decode(image.section(SectionKind::Committables, place, 0)?)?;
        *self.sealed.borrow_mut() = sealed;
        self.writer.borrow_mut().restored(image.checkpoint());
        self.commit(u64::MAX)
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
    fn restored(&mut self, checkpoint: u64) {
        self.writer.restored(checkpoint);
    }
    fn seal(&mut self, checkpoint: u64) -> Result<Vec<Vec<u8>>> {
        let mut encoder = Encoder::new();
        let encode = |committable: &W::Committable| {
            let mut bytes = Vec::new();
            encoder.encode(committable, &mut bytes)?;
            Ok(bytes)
        };
        self.writer.seal(checkpoint)?.iter().map(encode).collect()
    }
    fn commit(&mut self, committables: &[Vec<u8>]) -> Result<()> {
        let decoded = committables.iter().map(|bytes| W::Committable::decode(bytes));
        let decoded = decoded.collect::<Result<Vec<_>, _>>()?;
        self.writer.commit(decoded)
    }
    fn settled(&mut self) -> Result<bool> {
        self.writer.settled()
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
    fn snapshot(&mut self, _snapshot: &mut Snapshot) -> Result<()> {
        Ok(())
    }
}
