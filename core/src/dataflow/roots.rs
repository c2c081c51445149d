//! Where chains begin: a source, a gate, a port.

use std::cell::RefCell;
use std::rc::Rc;

use thalweg_net::PageView;

use super::build::Flow;
use crate::Result;
use crate::graph::NodeId;
use crate::operator::keyed::stamp_of;
use crate::operator::{Chain, Feed, Snapshot, SplitEvent};
use crate::record::Record;
use crate::runtime::{Core, Gate, PageConsumer, Port, Reading, Run};
use crate::source::Source;
use crate::time::{MIN, Timestamp};

/// A chain that begins at a source: reader and operators become one loop.
pub struct SourceRoot<S> {
    pub(crate) flow: Rc<Flow>,
    pub(crate) node: NodeId,
    pub(crate) source: S,
}

impl<S: Source> Chain<S::Out> for SourceRoot<S> {
    fn install<N: Feed<S::Out>>(self, next: N) {
        let flow = &self.flow;
        if !flow.runs(self.node) {
            return;
        }
        let name = flow.name(self.node);
        let parallelism = flow.graph.borrow().nodes[self.node].parallelism;
        let core = flow.core.index();
        let fresh = || {
            let numbered = (0u32..).zip(self.source.splits(parallelism)?);
            let own = numbered.filter(|(split, _)| *split as usize % parallelism == core);
            Ok(own.collect())
        };
        let splits = flow.restored_splits().and_then(|splits| splits.map_or_else(fresh, Ok));
        let reader = splits.and_then(|splits| self.source.reader(splits, flow.source_context()));
        match reader {
            Ok(reader) => {
                let core = Rc::clone(&flow.core);
                let reading = Reading::new(core, flow.next_source(), name, reader, next);
                flow.add_source(self.node, Box::new(reading));
            }
            Err(error) => flow.fail(error.in_operator(&name)),
        }
    }
}

/// A chain that begins at a point where records are handed on in batches.
pub struct PortRoot<T>(pub(crate) Rc<Port<T>>);

impl<T: 'static> Chain<T> for PortRoot<T> {
    fn install<N: Feed<T>>(self, next: N) {
        self.0.attach(next);
    }
}

/// A chain that begins at the receiving side of an exchange.
pub struct GateRoot<T: Record> {
    pub(crate) node: NodeId,
    pub(crate) gate: Rc<RefCell<Gate<T>>>,
}

impl<T: Record> Clone for GateRoot<T> {
    fn clone(&self) -> Self {
        Self { node: self.node, gate: Rc::clone(&self.gate) }
    }
}

impl<T: Record> Chain<T> for GateRoot<T> {
    fn install<N: Feed<T>>(self, next: N) {
        let core = Rc::clone(self.gate.borrow().core());
        self.gate.borrow_mut().attach(Box::new(Decoding { core, next, watermark: MIN }));
    }
}

/// Feeds a chain with the records of pages.
struct Decoding<N> {
    core: Rc<Core>,
    next: N,
    watermark: Timestamp,
}

impl<T: Record, N: Feed<T>> PageConsumer<T> for Decoding<N> {
    fn consume(&mut self, page: &PageView<'_, T>, run: Run) -> Result<usize> {
        for index in run.range.clone() {
            if self.core.pressure.get() {
                return Ok(index);
            }
            let record = page.at(index);
            let watermark = run.watermark(record.head());
            if watermark > self.watermark {
                self.watermark = watermark;
                self.next.watermark(watermark)?;
            }
            self.next.feed(record.record(), stamp_of(record))?;
        }
        Ok(run.range.end)
    }
    fn advance(&mut self, watermark: Timestamp) -> Result<bool> {
        if watermark > self.watermark {
            self.watermark = watermark;
            self.next.watermark(watermark)?;
        }
        Ok(true)
    }
    fn tick(&mut self) -> Result<()> {
        self.next.split(SplitEvent::Tick)
    }
    fn idle(&mut self, idle: bool) -> Result<()> {
        self.next.idle(idle)
    }
    fn flush(&mut self) -> Result<()> {
        self.next.flush()
    }
    fn end(&mut self) -> Result<()> {
        self.next.flush()?;
        self.next.end()
    }
    fn snapshot(&mut self, snapshot: &mut Snapshot) -> Result<()> {
        snapshot.i64(&mut self.watermark)?;
        self.next.snapshot(snapshot)
    }
}
