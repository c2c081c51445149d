//! Operators: what happens to records between two exchanges.
//!
//! A chain is built in continuation style: an operator is given the operator behind it, and the
//! whole run of them is one loop that the compiler sees at once. [`Feed`] is the calling protocol
//! inside a chain, [`Chain`] describes a chain that has no end yet.

mod aggregate;
mod assign;
mod basic;
pub(crate) mod connect;
mod downstream;
mod fallible;
mod guard;
pub(crate) mod keyed;
pub(crate) mod plain;
pub(crate) mod process;
mod snapshot;
mod timers;
pub(crate) mod window;

pub use aggregate::{AggregateFn, Fold};
pub use assign::AssignTimestamps;
pub use basic::{Filter, FlatMap, Inspect, Map};

pub use connect::{
    BroadcastContext, BroadcastProcess, KeyedBroadcastProcess, KeyedCoProcess,
    StreamBroadcastContext,
};
pub(crate) use fallible::{Letters, chain_text};
pub use fallible::{Rejected, TryFilter, TryFlatMap};
pub(crate) use guard::{Blame, blamed};
pub use plain::{StreamContext, StreamProcess};
pub use process::{KeyedProcess, ProcessContext, TimeDomain, Timer};
pub use snapshot::Snapshot;
pub use window::{
    EventTimeTrigger, TimeWindow, Trigger, TriggerContext, TriggerResult, TumblingWindows,
    WindowAssigner,
};

use std::rc::Rc;

use crate::Result;
use crate::time::{Stamp, Timestamp};

/// One end of a chain: takes records and control events, in order.
///
/// `feed` and `watermark` may come in any number and order; `flush` ends a batch (what is staged
/// goes on); `end` comes once, after a watermark of [`crate::time::MAX`], and nothing after it.
pub trait Feed<T>: 'static {
    /// Takes a record.
    fn feed(&mut self, record: T, stamp: Stamp) -> Result<()>;
    /// Takes a watermark; it is above all earlier ones.
    fn watermark(&mut self, watermark: Timestamp) -> Result<()>;
    /// The stream becomes idle or active again.
    fn idle(&mut self, idle: bool) -> Result<()>;
    /// A split of the source in front of the chain changes.
    fn split(&mut self, event: SplitEvent) -> Result<()>;
    /// Passes on what is staged.
    fn flush(&mut self) -> Result<()>;
    /// No more records.
    fn end(&mut self) -> Result<()>;
    /// Writes what it keeps at a cut, or reads it back; nothing is staged then.
    fn snapshot(&mut self, snapshot: &mut Snapshot) -> Result<()>;
}

/// What a source says about its splits to the watermark generators behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SplitEvent {
    /// The split exists and may bring records.
    Added(u32),
    /// The records that follow come from this split.
    Current(u32),
    /// The split is exhausted.
    Finished(u32),
    /// Engine time has moved on.
    Tick,
    /// For so many nanoseconds the source was not read, because an output was out of credit: no
    /// reason to call a split idle.
    Paused(u64),
}

/// A chain without an end: `install` fuses it with what comes behind and puts it in place.
pub trait Chain<T>: Sized + 'static {
    /// Ends the chain with `next`.
    fn install<N: Feed<T>>(self, next: N);
    /// Gives the last operator of the chain another name.
    fn rename(&mut self, _name: &Rc<str>) {}
}

/// Passes control events on to `self.next` unchanged.
macro_rules! pass_control {
    () => {
        fn watermark(&mut self, watermark: $crate::time::Timestamp) -> $crate::Result<()> {
            self.next.watermark(watermark)
        }
        pass_control!(but watermark);
    };
    (but watermark) => {
        fn idle(&mut self, idle: bool) -> $crate::Result<()> {
            self.next.idle(idle)
        }
        fn split(&mut self, event: $crate::operator::SplitEvent) -> $crate::Result<()> {
            self.next.split(event)
        }
        fn flush(&mut self) -> $crate::Result<()> {
            self.next.flush()
        }
        fn end(&mut self) -> $crate::Result<()> {
            self.next.end()
        }
        fn snapshot(&mut self, snapshot: &mut $crate::operator::Snapshot) -> $crate::Result<()> {
            self.next.snapshot(snapshot)
        }
    };
}
pub(crate) use pass_control;

/// Ignores what a test's recorder does not look at.
#[cfg(test)]
macro_rules! pass_nothing {
    () => {
        fn split(&mut self, _event: $crate::operator::SplitEvent) -> $crate::Result<()> {
            Ok(())
        }
        fn flush(&mut self) -> $crate::Result<()> {
            Ok(())
        }
        fn end(&mut self) -> $crate::Result<()> {
            Ok(())
        }
        fn snapshot(&mut self, _snapshot: &mut $crate::operator::Snapshot) -> $crate::Result<()> {
            Ok(())
        }
    };
}
#[cfg(test)]
pub(crate) use pass_nothing;

/// Lets a chain's last operator be renamed.
macro_rules! named {
    () => {
        fn rename(&mut self, name: &std::rc::Rc<str>) {
            self.name = std::rc::Rc::clone(name);
        }
    };
}
pub(crate) use named;
