//! What a keyed process can see and do while it is called.

use std::cell::OnceCell;
use std::rc::Rc;

use thalweg_state::{Key, KeyRef};

use crate::Result;
use crate::dataflow::Tag;
use crate::metrics::{Counter, Distribution};
use crate::operator::timers::TimerSet;
use crate::runtime::{Core, SideOutputs};
use crate::state::Scope;
use crate::time::{Stamp, Timestamp};

/// The surroundings of one call of a [`KeyedProcess`](super::KeyedProcess): its key, time, outputs
/// and timers.
pub struct ProcessContext<'a, K: Key, O> {
    parts: Parts<'a, K, O>,
    key: OnceCell<K>,
    stamp: Stamp,
    timestamp: Timestamp,
    watermark: Timestamp,
}

/// The operator's parts that a call borrows.
pub(in crate::operator) struct Parts<'a, K: Key, O> {
    pub(in crate::operator) core: &'a Core,
    pub(in crate::operator) scope: &'a Scope,
    pub(in crate::operator) event: &'a mut TimerSet<K>,
    pub(in crate::operator) processing: &'a mut TimerSet<K>,
    pub(in crate::operator) sides: &'a SideOutputs,
    pub(in crate::operator) outputs: &'a mut Vec<(O, Stamp)>,
}

impl<'a, K: Key, O> ProcessContext<'a, K, O> {
    #[inline]
    pub(in crate::operator) fn new(
        parts: Parts<'a, K, O>,
        stamp: Stamp,
        timestamp: Timestamp,
        watermark: Timestamp,
    ) -> Self {
        Self { parts, key: OnceCell::new(), stamp, timestamp, watermark }
    }

    /// The same surroundings, for a while.
    pub(in crate::operator) fn reborrow(&mut self) -> ProcessContext<'_, K, O> {
        let Parts { core, scope, event, processing, sides, outputs } = &mut self.parts;
        let parts = Parts { core, scope, event, processing, sides, outputs };
        ProcessContext::new(parts, self.stamp, self.timestamp, self.watermark)
    }

    /// Makes `key` the current key and gives its surroundings; until [`Self::leave_key`].
    pub(in crate::operator) fn at_key(&mut self, key: KeyRef<'_>) -> ProcessContext<'_, K, O> {
        self.parts.scope.enter::<K>(key);
        self.reborrow()
    }

    /// There is no current key any more.
    pub(in crate::operator) fn leave_key(&self) {
        self.parts.scope.leave();
    }

    /// The current key; decoded when it is first asked for.
    #[inline]
    pub fn key(&self) -> &K {
        self.key.get_or_init(|| self.parts.scope.with(|key| decode(key.bytes)))
    }

    /// The record's timestamp ([`crate::time::MIN`] if it has none), or the timer's.
    #[inline]
    pub fn timestamp(&self) -> Timestamp {
        self.timestamp
    }

    /// The watermark before this record; for a timer the one that made it fire.
    #[inline]
    pub fn watermark(&self) -> Timestamp {
        self.watermark
    }

    /// Wall-clock time in milliseconds since the epoch as of this turn.
    #[inline]
    pub fn processing_time(&self) -> i64 {
        self.parts.core.wall_millis()
    }

    /// Emits a record with the timestamp of the record or event-time timer that is being processed;
    /// behind a processing-time timer it has none.
    #[inline]
    pub fn emit(&mut self, record: O) {
        self.parts.outputs.push((record, self.stamp));
    }

    /// Emits a record with a timestamp of its own.
    #[inline]
    pub fn emit_at(&mut self, timestamp: Timestamp, record: O) {
        let stamp = Stamp { timestamp, ..self.stamp };
        self.parts.outputs.push((record, stamp));
    }

    /// Sends a record to a side output; it is dropped if the job does not use that output.
    ///
    /// # Errors
    /// The tag is used with another type, or what comes behind it fails.
    pub fn side<S: 'static>(&mut self, tag: &Tag<S>, record: S) -> Result<()> {
        self.parts.sides.push(tag, record, self.stamp)
    }

    /// Registers an event-time timer of the current key. It fires once, however often it is
    /// registered; one for the past fires at the next watermark.
    pub fn register_event_timer(&mut self, timestamp: Timestamp) {
        let Parts { scope, event, .. } = &mut self.parts;
        scope.with(|key| event.register(key, 0, timestamp));
    }

    /// Takes an event-time timer of the current key back.
    pub fn delete_event_timer(&mut self, timestamp: Timestamp) {
        let Parts { scope, event, .. } = &mut self.parts;
        scope.with(|key| event.delete(key, 0, timestamp));
    }

    /// Registers a processing-time timer of the current key, in milliseconds since the epoch; one
    /// for the past fires in the next turn.
    pub fn register_processing_timer(&mut self, timestamp: i64) {
        let Parts { scope, processing, .. } = &mut self.parts;
        scope.with(|key| processing.register(key, 0, timestamp));
    }

    /// Takes a processing-time timer of the current key back.
    pub fn delete_processing_timer(&mut self, timestamp: i64) {
        let Parts { scope, processing, .. } = &mut self.parts;
        scope.with(|key| processing.delete(key, 0, timestamp));
    }

    /// The counter `name` of this core; the run's summary adds the cores up.
    pub fn counter(&self, name: &str) -> Rc<Counter> {
        self.parts.core.metrics.counter(name)
    }

    /// The histogram `name` of this core.
    pub fn histogram(&self, name: &str) -> Rc<Distribution> {
        self.parts.core.metrics.histogram(name)
    }

    /// Counts the record as late in the run's summary.
    pub fn count_late(&self) {
        self.parts.core.metrics.late.add(1);
    }
}

#[inline]
fn decode<K: Key>(bytes: &[u8]) -> K {
    match K::decode(bytes) {
        Ok(key) => key,
        Err(error) => panic!("key {bytes:02x?} of {}: {error}", std::any::type_name::<K>()),
    }
}
