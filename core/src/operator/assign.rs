//! Timestamps and watermarks, one generator per split.
//!
//! The watermark of the stream is the minimum over the splits that are neither idle nor finished.
//! It never goes back. When all splits are idle the largest of their watermarks goes out, then the
//! idleness itself, so the result does not depend on the order in which they fell silent.

use std::rc::Rc;

use super::{Blame, Chain, Feed, Snapshot, SplitEvent, named};
use crate::Result;
use crate::runtime::Core;
use crate::time::{Emission, Generator, MAX, MIN, Stamp, Timestamp, WatermarkStrategy};

/// A chain whose records get timestamps and watermarks.
pub struct AssignTimestamps<C, T> {
    pub(crate) chain: C,
    pub(crate) name: Rc<str>,
    pub(crate) strategy: WatermarkStrategy<T>,
    pub(crate) core: Rc<Core>,
}

impl<T: 'static, C: Chain<T>> Chain<T> for AssignTimestamps<C, T> {
    fn install<N: Feed<T>>(self, next: N) {
        self.chain.install(AssignFeed {
            name: self.name,
            strategy: self.strategy,
            core: self.core,
            splits: Vec::new(),
            current: usize::MAX,
            emitted: MIN,
            emitted_at: 0,
            idle: false,
            steady: false,
            next,
        });
    }
    named!();
}

struct AssignFeed<T, N> {
    name: Rc<str>,
    strategy: WatermarkStrategy<T>,
    core: Rc<Core>,
    splits: Vec<Split>,
    current: usize,
    emitted: Timestamp,
    emitted_at: u64,
    idle: bool,
    /// Whether a record of the current split is taken without a further look: nothing is idle, and
    /// nobody asks when the last one came. Looked at anew after every event.
    steady: bool,
    next: N,
}

struct Split {
    id: u32,
    generator: Generator,
    last_record: u64,
    idle: bool,
}

impl<T, N: Feed<T>> AssignFeed<T, N> {
    #[inline(always)]
    fn stamped(&self, record: T, stamp: Stamp) -> Result<(T, Stamp)> {
        let Some(read) = &self.strategy.timestamps else {
            return self.checked(record, stamp);
        };
        // The record has an address in here only: elsewhere it may stay in registers.
        let timestamp = Blame::call(&self.name, || read(&record, stamp.timestamp));
        self.checked(record, Stamp { timestamp, ..stamp })
    }

    #[inline(always)]
    fn checked(&self, record: T, stamp: Stamp) -> Result<(T, Stamp)> {
        match stamp.timestamp {
            MIN => Err(no_timestamp(&self.name)),
            _ => Ok((record, stamp)),
        }
    }

    /// Without a source in front (behind a union or an exchange) everything is one split.
    #[cold]
    fn only_split(&mut self) {
        self.add(u32::MAX);
        self.current = self.splits.len() - 1;
    }

    /// A record of the current split has come: it is not idle.
    #[inline(never)]
    fn wake(&mut self) -> Result<()> {
        if self.current >= self.splits.len() {
            self.only_split();
        }
        if self.idle {
            self.idle = false;
            self.next.idle(false)?;
        }
        let split = &mut self.splits[self.current];
        split.idle = false;
        split.last_record = self.core.now();
        self.steady = self.strategy.idle_after.is_none();
        Ok(())
    }

    /// A split is announced; one that a restore has brought back stays as it is.
    fn add(&mut self, id: u32) {
        if self.splits.iter().any(|split| split.id == id) {
            return;
        }
        let generator = Generator::new(self.strategy.delay_ms);
        self.splits.push(Split { id, generator, last_record: self.core.now(), idle: false });
    }

    /// Hands out the combined watermark if it has moved.
    fn emit(&mut self) -> Result<()> {
        let active = self.splits.iter().filter(|split| !split.idle);
        let Some(watermark) = active.map(|split| split.generator.watermark()).min() else {
            return Ok(());
        };
        if watermark > self.emitted {
            self.emitted = watermark;
            self.next.watermark(watermark)?;
        }
        Ok(())
    }

    fn tick(&mut self) -> Result<()> {
        let now = self.core.now();
        if let Some(after) = self.strategy.idle_after {
            self.mark_idle(now, after.as_nanos() as u64)?;
        }
        if let Emission::Periodic(interval) = self.strategy.emission
            && now.saturating_sub(self.emitted_at) >= interval
        {
            self.emitted_at = now;
            self.emit()?;
        }
        self.want_tick();
        Ok(())
    }

    /// A core that sleeps wakes for the watermark that is held back, and for a split's idleness.
    fn want_tick(&self) {
        let active = || self.splits.iter().filter(|split| !split.idle);
        if let Emission::Periodic(interval) = self.strategy.emission {
            let watermark = active().map(|split| split.generator.watermark()).min();
            if watermark.is_some_and(|watermark| watermark > self.emitted) {
                self.core.want_tick(self.emitted_at.saturating_add(interval));
            }
        }
        if let Some(after) = self.strategy.idle_after
            && let Some(oldest) = active().map(|split| split.last_record).min()
        {
            self.core.want_tick(oldest.saturating_add(after.as_nanos() as u64));
        }
    }

    fn mark_idle(&mut self, now: u64, after: u64) -> Result<()> {
        let silent = |split: &Split| now.saturating_sub(split.last_record) >= after;
        let mut changed = false;
        for split in self.splits.iter_mut().filter(|split| !split.idle) {
            split.idle = silent(split);
            changed |= split.idle;
        }
        if changed { self.settle() } else { Ok(()) }
    }

    /// Some split has fallen silent or finished: the others decide, or all that are left are idle.
    fn settle(&mut self) -> Result<()> {
        if self.splits.iter().all(|split| split.idle) && !self.idle {
            self.idle = true;
            let largest = self.splits.iter().map(|split| split.generator.watermark()).max();
            if let Some(watermark) = largest.filter(|&watermark| watermark > self.emitted) {
                self.emitted = watermark;
                self.next.watermark(watermark)?;
            }
            return self.next.idle(true);
        }
        self.emit()
    }

    fn snapshot_splits(&mut self, snapshot: &mut Snapshot) -> Result<()> {
        let mut count = self.splits.len();
        snapshot.usize(&mut count)?;
        for at in 0..count {
            if at == self.splits.len() {
                let (generator, now) = (Generator::new(self.strategy.delay_ms), self.core.now());
                self.splits.push(Split { id: 0, generator, last_record: now, idle: false });
            }
            let split = &mut self.splits[at];
            let mut id = u64::from(split.id);
            snapshot.u64(&mut id)?;
            split.id = id as u32;
            split.generator.snapshot(snapshot)?;
            snapshot.bool(&mut split.idle)?;
        }
        Ok(())
    }

    fn finish(&mut self, id: u32) -> Result<()> {
        self.splits.retain(|split| split.id != id);
        self.current = usize::MAX;
        if self.splits.is_empty() { Ok(()) } else { self.settle() }
    }
}

impl<T: 'static, N: Feed<T>> Feed<T> for AssignFeed<T, N> {
    #[inline(always)]
    fn feed(&mut self, record: T, stamp: Stamp) -> Result<()> {
        let (record, stamp) = self.stamped(record, stamp)?;
        if !self.steady {
            self.wake()?;
        }
        let moved = self.splits[self.current].generator.observe(stamp.timestamp);
        self.next.feed(record, stamp)?;
        if moved && self.strategy.emission == Emission::EveryRecord {
            self.emit()?;
        }
        Ok(())
    }

    /// Upstream watermarks end here; only the one that closes the stream goes on.
    fn watermark(&mut self, watermark: Timestamp) -> Result<()> {
        if watermark != MAX || self.emitted == MAX {
            return Ok(());
        }
        self.emitted = MAX;
        self.next.watermark(MAX)
    }

    fn idle(&mut self, idle: bool) -> Result<()> {
        self.steady = false;
        if self.idle == idle {
            return Ok(());
        }
        self.idle = idle;
        self.next.idle(idle)
    }

    fn split(&mut self, event: SplitEvent) -> Result<()> {
        self.steady = false;
        match event {
            SplitEvent::Added(id) => self.add(id),
            SplitEvent::Current(id) => {
                let found = self.splits.iter().position(|split| split.id == id);
                self.current = found.unwrap_or(usize::MAX);
            }
            SplitEvent::Finished(id) => self.finish(id)?,
            SplitEvent::Tick => {
                self.tick()?;
                self.next.split(event)?;
            }
            SplitEvent::Paused(nanos) => {
                let now = self.core.now();
                for split in &mut self.splits {
                    split.last_record = split.last_record.saturating_add(nanos).min(now);
                }
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        self.next.flush()
    }

    fn end(&mut self) -> Result<()> {
        self.next.end()
    }

    fn snapshot(&mut self, snapshot: &mut Snapshot) -> Result<()> {
        self.snapshot_splits(snapshot)?;
        snapshot.usize(&mut self.current)?;
        snapshot.i64(&mut self.emitted)?;
        snapshot.bool(&mut self.idle)?;
        self.next.snapshot(snapshot)
    }
}

#[cold]
fn no_timestamp(name: &str) -> crate::Error {
    crate::Error::new(crate::error::Kind::User, "a record has no timestamp")
        .in_operator(name)
        .with_hint("give the strategy one: WatermarkStrategy::…(…).with_timestamps(|record| …)")
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::time::Duration;

    use super::*;
    use crate::operator::pass_nothing;
    use crate::time::{Clock, ManualClock};

    #[derive(Debug, PartialEq, Eq)]
    enum Out {
        Watermark(Timestamp),
        Idle(bool),
    }

    struct Recorder(Rc<RefCell<Vec<Out>>>);

    impl Feed<i64> for Recorder {
        fn feed(&mut self, _record: i64, _stamp: Stamp) -> Result<()> {
            Ok(())
        }
        fn watermark(&mut self, watermark: Timestamp) -> Result<()> {
            self.0.borrow_mut().push(Out::Watermark(watermark));
            Ok(())
        }
        fn idle(&mut self, idle: bool) -> Result<()> {
            self.0.borrow_mut().push(Out::Idle(idle));
            Ok(())
        }
        pass_nothing!();
    }

    struct Bench {
        clock: ManualClock,
        core: Rc<Core>,
        feed: AssignFeed<i64, Recorder>,
        out: Rc<RefCell<Vec<Out>>>,
    }

    impl Bench {
        fn new(strategy: WatermarkStrategy<i64>, splits: u32) -> Self {
            let clock = ManualClock::new(0);
            let core = Core::new(0, 1, Rc::new(clock.clone()) as Rc<dyn Clock>);
            let out = Rc::new(RefCell::new(Vec::new()));
            let mut feed = AssignFeed {
                name: "assign".into(),
                strategy: strategy.with_timestamps(|at| *at),
                core: Rc::clone(&core),
                splits: Vec::new(),
                current: usize::MAX,
                emitted: MIN,
                emitted_at: 0,
                idle: false,
                steady: false,
                next: Recorder(Rc::clone(&out)),
            };
            (0..splits).for_each(|id| feed.split(SplitEvent::Added(id)).unwrap());
            Self { clock, core, feed, out }
        }

        fn record(&mut self, split: u32, at: i64) {
            self.feed.split(SplitEvent::Current(split)).unwrap();
            self.feed.feed(at, Stamp { timestamp: MIN, origin: 0 }).unwrap();
        }

        fn pass(&mut self, seconds: u64) {
            self.clock.advance(seconds * 1_000_000_000);
            self.core.refresh();
        }

        fn tick(&mut self) -> Vec<Out> {
            self.feed.split(SplitEvent::Tick).unwrap();
            self.take()
        }

        fn take(&mut self) -> Vec<Out> {
            std::mem::take(&mut *self.out.borrow_mut())
        }
    }

    fn idle_after_a_second() -> WatermarkStrategy<i64> {
        WatermarkStrategy::monotonous().with_idleness(Duration::from_secs(1))
    }

    #[test]
    fn the_last_active_split_ends_and_the_idle_rest_holds_nothing_back() {
        let mut bench = Bench::new(idle_after_a_second(), 2);
        bench.record(1, 5);
        bench.pass(2);
        bench.record(0, 10);
        assert_eq!(bench.tick(), [Out::Watermark(4), Out::Watermark(9)]);
        bench.feed.split(SplitEvent::Finished(0)).unwrap();
        assert_eq!(bench.take(), [Out::Idle(true)]);
        bench.record(1, 20);
        assert_eq!(bench.take(), [Out::Idle(false), Out::Watermark(19)]);
    }

    #[test]
    fn time_without_credit_does_not_make_a_split_idle() {
        let mut bench = Bench::new(idle_after_a_second(), 1);
        bench.record(0, 10);
        assert_eq!(bench.take(), [Out::Watermark(9)]);
        bench.pass(60);
        bench.feed.split(SplitEvent::Paused(59_500_000_000)).unwrap();
        assert_eq!(bench.tick(), []);
        bench.pass(1);
        assert_eq!(bench.tick(), [Out::Idle(true)]);
    }

    #[test]
    fn nothing_follows_the_last_watermark() {
        let mut bench = Bench::new(WatermarkStrategy::monotonous().periodic(Duration::ZERO), 1);
        bench.record(0, 10);
        bench.feed.watermark(MAX).unwrap();
        bench.feed.watermark(MAX).unwrap();
        assert_eq!(bench.tick(), [Out::Watermark(MAX)]);
    }

    #[test]
    fn a_core_that_sleeps_is_woken_for_a_held_watermark_and_for_idleness() {
        let periodic = WatermarkStrategy::monotonous().periodic(Duration::from_millis(5));
        let mut bench = Bench::new(periodic.with_idleness(Duration::from_millis(20)), 1);
        bench.clock.advance(7_000_000);
        bench.core.refresh();
        bench.feed.split(SplitEvent::Tick).unwrap();
        assert_eq!(bench.core.tick_at(), Some(20_000_000), "no watermark is held back yet");
        bench.record(0, 10);
        bench.feed.split(SplitEvent::Tick).unwrap();
        assert_eq!(bench.core.tick_at(), Some(12_000_000));
        bench.clock.advance(5_000_000);
        bench.core.refresh();
        assert_eq!(bench.core.tick_at(), None, "asked for anew in each turn");
        bench.feed.split(SplitEvent::Tick).unwrap();
        assert_eq!(bench.core.tick_at(), Some(27_000_000), "the watermark is out");
    }
}
