//! What a process sees and can do while it takes an element of a broadcast stream.

use std::rc::Rc;

use thalweg_state::{Key, KeyRef};

use crate::Result;
use crate::dataflow::Tag;
use crate::metrics::{Counter, Distribution};
use crate::operator::ProcessContext;
use crate::state::{KeyedState, MayWrite, Sealed};
use crate::time::Timestamp;

/// The surroundings of one call of
/// [`process_broadcast`](super::KeyedBroadcastProcess::process_broadcast): it may write broadcast
/// state and visit the keys of keyed state. There is no current key.
pub struct BroadcastContext<'a, K: Key, O> {
    inner: ProcessContext<'a, K, O>,
}

impl<K: Key, O> MayWrite for BroadcastContext<'_, K, O> {}
impl<K: Key, O> Sealed for BroadcastContext<'_, K, O> {}

impl<'a, K: Key, O> BroadcastContext<'a, K, O> {
    pub(super) fn new(inner: ProcessContext<'a, K, O>) -> Self {
        Self { inner }
    }

    /// Calls `visit` for every key of this core that has something in `state`, in the order of the
    /// keys' encodings; the context that it is given is that key's. So over all cores every key
    /// that there is when the element comes is visited once.
    ///
    /// The core does nothing else meanwhile. The cost is that of a walk over the state, a copy of
    /// its keys, and a look-up of each; keys whose rows are in the cold tier are visited, too, each
    /// at the cost of a read that is waited for, and their rows are in memory until the end of
    /// the turn.
    ///
    /// ```
    /// # use thalweg::prelude::*;
    /// # fn f(count: &mut ValueState<u64>, cx: &mut BroadcastContext<u64, (u64, u64)>)
    /// # -> thalweg::Result<()> {
    /// cx.apply_to_keyed_state(count, |count, cx| {
    ///     let last = count.take().unwrap_or_default();
    ///     cx.emit((*cx.key(), last));
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of `visit`, and a cold tier that cannot be read.
    pub fn apply_to_keyed_state<S: KeyedState>(
        &mut self,
        state: &mut S,
        mut visit: impl FnMut(&mut S, &mut ProcessContext<'_, K, O>) -> Result<()>,
    ) -> Result<()> {
        let mut keys = Vec::new();
        state.keys(&mut keys)?;
        keys.sort_unstable();
        keys.dedup();
        for key in &keys {
            let mut cx = self.inner.at_key(KeyRef::new(key));
            // What has expired is not there any more.
            let visited = if state.is_present() { visit(state, &mut cx) } else { Ok(()) };
            self.inner.leave_key();
            visited?;
        }
        Ok(())
    }

    /// The element's timestamp ([`crate::time::MIN`] if it has none).
    pub fn timestamp(&self) -> Timestamp {
        self.inner.timestamp()
    }

    /// The watermark before this element: the lower one of both inputs.
    pub fn watermark(&self) -> Timestamp {
        self.inner.watermark()
    }

    /// Wall-clock time in milliseconds since the epoch as of this turn.
    pub fn processing_time(&self) -> i64 {
        self.inner.processing_time()
    }

    /// Emits a record with the timestamp of the element. Every core does so.
    pub fn emit(&mut self, record: O) {
        self.inner.emit(record);
    }

    /// Emits a record with a timestamp of its own.
    pub fn emit_at(&mut self, timestamp: Timestamp, record: O) {
        self.inner.emit_at(timestamp, record);
    }

    /// Sends a record to a side output; it is dropped if the job does not use that output.
    ///
    /// # Errors
    /// The tag is used with another type, or what comes behind it fails.
    pub fn side<S: 'static>(&mut self, tag: &Tag<S>, record: S) -> Result<()> {
        self.inner.side(tag, record)
    }

    /// The counter `name` of this core; the run's summary adds the cores up.
    pub fn counter(&self, name: &str) -> Rc<Counter> {
        self.inner.counter(name)
    }

    /// The histogram `name` of this core.
    pub fn histogram(&self, name: &str) -> Rc<Distribution> {
        self.inner.histogram(name)
    }
}
