//! What a user writes: a job is a function over a [`Dataflow`].
//!
//! The function is called once in plan mode, where it records the graph and nothing opens, and once
//! on every core in run mode, where it makes the operators of that core. It must be deterministic
//! and free of effects.

mod build;
mod connect;
mod iter;
mod keyed;
mod roots;
mod side;
mod stream;
mod window;

pub(crate) use build::{Environment, Flow, Mode};
pub use connect::{
    BroadcastStreams, ConnectKeyed, ConnectedRoot, KeyedBroadcastStreams, KeyedStreams,
};
pub use iter::{Collected, FromIter};
pub use keyed::{KeyedRoot, KeyedStream};
pub use roots::{GateRoot, PortRoot, SourceRoot};
pub use side::Tag;
pub use stream::Stream;
pub use window::WindowedStream;

use std::rc::Rc;

use crate::graph::Role;
use crate::source::Source;

/// A job under construction: makes streams from sources.
///
/// ```
/// use thalweg::prelude::*;
/// fn job(flow: &Dataflow, _args: &Args) -> thalweg::Result<()> {
///     flow.from_iter("numbers", 0..10u64).map(|n| n * 2).sink("out", Print::new());
///     Ok(())
/// }
/// # let _ = thalweg::plan(&job, &Args::default(), 1).unwrap();
/// ```
#[derive(Clone)]
pub struct Dataflow {
    pub(crate) flow: Rc<Flow>,
}

impl Dataflow {
    /// A stream of what `source` reads, one reader per core.
    pub fn source<S: Source>(&self, name: &str, source: S) -> Stream<S::Out, SourceRoot<S>> {
        let flow = Rc::clone(&self.flow);
        if flow.mode == Mode::Plan
            && let Err(error) = source.validate()
        {
            flow.fail(error.in_operator(name));
        }
        flow.graph.borrow_mut().guarantees.extend(source.guarantee());
        let node = flow.add_head(source.kind(), Some(name));
        let role = Role::Source { expected: source.expected() };
        flow.graph.borrow_mut().nodes[node].role = role;
        let root = SourceRoot { flow: Rc::clone(&flow), node, source };
        Stream::new(flow, node, root)
    }

    /// A stream of the items of an iterator, read on core 0. For tests and examples: a restore
    /// reads the iterator from its start and skips what was read.
    pub fn from_iter<I>(&self, name: &str, items: I) -> Stream<I::Item, SourceRoot<FromIter<I>>>
    where
        I: IntoIterator + 'static,
        I::IntoIter: 'static,
        I::Item: 'static,
    {
        self.source(name, FromIter::new(items))
    }

    /// A digest of hashes that does not depend on their order, kept per core and summed up at the
    /// end.
    pub fn fingerprint(&self, name: &str) -> Rc<crate::metrics::Fingerprint> {
        self.flow.core.metrics.fingerprint(name)
    }

    /// A counter of this core; the run's summary adds the cores up.
    pub fn counter(&self, name: &str) -> Rc<crate::metrics::Counter> {
        self.flow.core.metrics.counter(name)
    }

    /// The histogram `name` of this core; the run's summary adds the cores up.
    pub fn histogram(&self, name: &str) -> Rc<crate::metrics::Distribution> {
        self.flow.core.metrics.histogram(name)
    }

    /// How many cores the job runs on.
    pub fn parallelism(&self) -> usize {
        self.flow.parallelism()
    }

    /// The core for which this call builds operators (0 in plan mode).
    pub fn core(&self) -> usize {
        self.flow.core.index()
    }
}
