//! Runs a source reader and the chain fused to it.

mod watched;

use std::rc::Rc;

use thalweg_checkpoint::SectionKind;

use super::cut::{Recording, Restoring};
use super::poison::Head;
use super::{Core, Ran, splits};
use crate::Result;
use crate::operator::{Feed, SplitEvent};
use crate::source::{SourceOutput, SourceReader, SourceStatus};
use crate::time::{MAX, Stamp, Timestamp};

/// A source as the worker sees it.
pub(crate) trait SourceTask {
    /// Reads up to `budget` records.
    fn run(&mut self, budget: usize) -> Result<Ran>;
    /// When the reader wants to be called again, in engine nanoseconds; `None`: when its doorbell
    /// rings.
    fn wake_at(&self) -> Option<u64>;
    /// Whether it would read more at once.
    fn has_more(&self) -> bool;
    /// Ends the source as if its input were exhausted.
    fn stop(&mut self);
    /// An output is out of credit, so the source is not read in this turn.
    fn hold(&mut self);
    /// Whether everything was read and passed on.
    fn ended(&self) -> bool;
    /// Records what it and its chain keep and where its splits stand; `place` is its own among the
    /// sources.
    fn record(&mut self, place: u32, recording: &mut Recording) -> Result<()>;
    /// Makes its chain what it was; the reader was made from the recorded splits.
    fn restore(&mut self, place: u32, image: &Restoring<'_>) -> Result<()>;
}

/// Task sections of sources are numbered from here: gates have numbers of edges.
const SOURCES: u32 = 1 << 31;

/// A reader and what its records go through.
pub(crate) struct Reading<R, N> {
    core: Rc<Core>,
    head: Head,
    name: Rc<str>,
    reader: R,
    next: N,
    /// The split that the reader has named last, while records are watched.
    current: Option<u32>,
    wake_at: Option<u64>,
    has_more: bool,
    /// Since when an output keeps the source from being read.
    held_since: Option<u64>,
    stopping: bool,
    started: bool,
    ended: bool,
}

impl<R, N> Reading<R, N> {
    /// `place` is its own among the sources.
    pub(crate) fn new(core: Rc<Core>, place: u32, name: Rc<str>, reader: R, next: N) -> Self {
        Self {
            core,
            head: Head::Source(place),
            name,
            reader,
            next,
            current: None,
            wake_at: None,
            has_more: true,
            held_since: None,
            stopping: false,
            started: false,
            ended: false,
        }
    }
}

impl<R: SourceReader, N: Feed<R::Out>> Reading<R, N> {
    /// Reads up to `budget` records; tells how many.
    fn poll(&mut self, budget: usize) -> Result<(SourceStatus, usize)> {
        let mut output = Collecting { core: &self.core, next: &mut self.next, left: budget };
        if !self.started {
            self.started = true;
            let open = self.reader.open(&mut output);
            open.map_err(|error| error.in_operator(&self.name))?;
        }
        let status = self.reader.poll(&mut output);
        let status = status.map_err(|error| error.in_operator(&self.name))?;
        Ok((status, budget - output.left))
    }

    fn end(&mut self) -> Result<Ran> {
        self.ended = true;
        self.next.watermark(MAX)?;
        self.next.flush()?;
        self.next.end()?;
        Ok(Ran::Ended)
    }
}

impl<R: SourceReader, N: Feed<R::Out>> SourceTask for Reading<R, N> {
    fn run(&mut self, budget: usize) -> Result<Ran> {
        if self.ended {
            return Ok(Ran::Ended);
        }
        if self.stopping {
            return self.end();
        }
        let core = &self.core;
        if let Some(since) = self.held_since.take() {
            self.next.split(SplitEvent::Paused(core.now().saturating_sub(since)))?;
        }
        if let Some(warden) = core.warden() {
            warden.enter(self.head);
        }
        let watched = core.warden().is_some_and(|warden| warden.watches(self.head));
        let (status, read) = if watched { self.poll_watched(budget)? } else { self.poll(budget)? };
        let core = &self.core;
        core.metrics.records_in.add(read as u64);
        self.next.split(SplitEvent::Tick)?;
        self.next.flush()?;
        if core.pressure.get() {
            self.held_since = Some(core.now());
        }
        self.has_more = status == SourceStatus::More;
        self.wake_at = match status {
            SourceStatus::Finished => return self.end(),
            SourceStatus::WaitUntil(nanos) => Some(nanos),
            SourceStatus::More | SourceStatus::Wait => None,
        };
        Ok(match status {
            _ if read > 0 => Ran::Worked,
            _ if core.pressure.get() => Ran::Blocked,
            SourceStatus::More => Ran::Worked,
            _ => Ran::Idle,
        })
    }

    fn wake_at(&self) -> Option<u64> {
        self.wake_at
    }

    fn has_more(&self) -> bool {
        self.has_more && !self.ended
    }

    fn stop(&mut self) {
        self.stopping = true;
    }

    fn hold(&mut self) {
        self.held_since.get_or_insert(self.core.now());
    }

    fn ended(&self) -> bool {
        self.ended
    }

    fn record(&mut self, place: u32, recording: &mut Recording) -> Result<()> {
        let mut snapshot = recording.snapshot();
        snapshot.bool(&mut self.ended)?;
        self.next.snapshot(&mut snapshot)?;
        recording.add(SectionKind::Task, &self.name, SOURCES + place, 0, snapshot.finish()?);
        let splits = splits::encode(&self.reader.snapshot())?;
        recording.add(SectionKind::Splits, &self.name, place, 0, splits);
        Ok(())
    }

    fn restore(&mut self, place: u32, image: &Restoring<'_>) -> Result<()> {
        let section = image.section(SectionKind::Task, SOURCES + place, 0)?;
        let mut snapshot = image.snapshot(section.to_vec());
        snapshot.bool(&mut self.ended)?;
        self.next.snapshot(&mut snapshot)?;
        snapshot.finish().map(drop)
    }
}

/// The reader's way into the chain.
struct Collecting<'a, N> {
    core: &'a Core,
    next: &'a mut N,
    left: usize,
}

impl<T, N: Feed<T>> SourceOutput<T> for Collecting<'_, N> {
    #[inline(always)]
    fn collect(&mut self, record: T, timestamp: Timestamp, origin: u64) -> Result<()> {
        self.left = self.left.saturating_sub(1);
        self.next.feed(record, Stamp { timestamp, origin })
    }

    #[inline]
    fn is_full(&self) -> bool {
        self.left == 0 || self.core.pressure.get()
    }

    fn split(&mut self, event: SplitEvent) -> Result<()> {
        self.next.split(event)
    }

    fn watermark(&mut self, watermark: Timestamp) -> Result<()> {
        self.next.watermark(watermark)
    }

    fn idle(&mut self, idle: bool) -> Result<()> {
        self.next.idle(idle)
    }

    #[inline]
    fn now(&self) -> u64 {
        self.core.now()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::operator::Snapshot;
    use crate::time::{Clock, ManualClock};

    /// Has one record a poll.
    struct Endless;

    impl SourceReader for Endless {
        type Out = ();
        type Split = u64;
        fn open<O: SourceOutput<()>>(&mut self, _out: &mut O) -> Result<()> {
            Ok(())
        }
        fn poll<O: SourceOutput<()>>(&mut self, out: &mut O) -> Result<SourceStatus> {
            out.collect((), 0, 0)?;
            Ok(SourceStatus::More)
        }
        fn snapshot(&self) -> Vec<(u32, u64)> {
            Vec::new()
        }
    }

    struct Recorder(Rc<RefCell<Vec<SplitEvent>>>);

    impl Feed<()> for Recorder {
        fn feed(&mut self, _record: (), _stamp: Stamp) -> Result<()> {
            Ok(())
        }
        fn watermark(&mut self, _watermark: Timestamp) -> Result<()> {
            Ok(())
        }
        fn idle(&mut self, _idle: bool) -> Result<()> {
            Ok(())
        }
        fn split(&mut self, event: SplitEvent) -> Result<()> {
            self.0.borrow_mut().push(event);
            Ok(())
        }
        fn flush(&mut self) -> Result<()> {
            Ok(())
        }
        fn end(&mut self) -> Result<()> {
            Ok(())
        }
        fn snapshot(&mut self, _snapshot: &mut Snapshot) -> Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_time_without_credit_is_told_to_the_chain() {
        let clock = ManualClock::new(0);
        let core = Core::new(0, 1, Rc::new(clock.clone()) as Rc<dyn Clock>);
        let events = Rc::new(RefCell::new(Vec::new()));
        let recorder = Recorder(Rc::clone(&events));
        let mut task = Reading::new(Rc::clone(&core), 0, "source".into(), Endless, recorder);
        core.pressure.set(true);
        task.run(1).unwrap();
        for _ in 0..2 {
            clock.advance(5);
            core.refresh();
            task.hold();
        }
        core.pressure.set(false);
        task.run(1).unwrap();
        task.run(1).unwrap();
        let (tick, paused) = (SplitEvent::Tick, SplitEvent::Paused(10));
        assert_eq!(*events.borrow(), [tick, paused, tick, tick]);
    }
}
