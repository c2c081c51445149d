//! When a window's result is emitted.

use thalweg_state::State;

use super::TimeWindow;
use crate::time::Timestamp;

/// What a trigger decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TriggerResult {
    /// Nothing.
    Continue,
    /// Emit the result and keep the window.
    Fire,
    /// Forget the window's records.
    Purge,
    /// Emit the result, then forget the window's records.
    FireAndPurge,
}

impl TriggerResult {
    /// Whether the result is emitted.
    #[inline]
    pub fn fires(self) -> bool {
        matches!(self, TriggerResult::Fire | TriggerResult::FireAndPurge)
    }

    /// Whether the records are forgotten.
    #[inline]
    pub fn purges(self) -> bool {
        matches!(self, TriggerResult::Purge | TriggerResult::FireAndPurge)
    }
}

/// Decides when the windows of an operator emit.
///
/// Called for every record of a window behind its aggregation, and for every timer that it
/// registered.
pub trait Trigger: 'static {
    /// What it keeps per key and window; gone with the window's records.
    type State: State + Default;

    /// A record with this timestamp was added.
    fn on_element(
        &self,
        timestamp: Timestamp,
        window: &TimeWindow,
        state: &mut Self::State,
        cx: &mut TriggerContext<'_>,
    ) -> TriggerResult;

    /// The watermark has reached a timer of this window: one of the trigger's, or the one at which
    /// the window's row goes.
    fn on_event_time(
        &self,
        timestamp: Timestamp,
        window: &TimeWindow,
        state: &mut Self::State,
        cx: &mut TriggerContext<'_>,
    ) -> TriggerResult;
}

/// What a trigger can see and do.
pub struct TriggerContext<'a> {
    watermark: Timestamp,
    first: bool,
    wanted: &'a mut Vec<Timestamp>,
}

impl<'a> TriggerContext<'a> {
    #[inline]
    pub(super) fn new(watermark: Timestamp, first: bool, wanted: &'a mut Vec<Timestamp>) -> Self {
        Self { watermark, first, wanted }
    }

    /// The current watermark.
    #[inline]
    pub fn watermark(&self) -> Timestamp {
        self.watermark
    }

    /// Whether the record is the window's first; a timer that every record would register is
    /// registered then.
    #[inline]
    pub fn is_first(&self) -> bool {
        self.first
    }

    /// Registers an event-time timer of this window.
    #[inline]
    pub fn register_event_timer(&mut self, timestamp: Timestamp) {
        self.wanted.push(timestamp);
    }
}

/// Fires when the watermark reaches the window's last millisecond, and at once for every record
/// behind that.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EventTimeTrigger;

impl Trigger for EventTimeTrigger {
    type State = ();

    #[inline]
    fn on_element(
        &self,
        _timestamp: Timestamp,
        window: &TimeWindow,
        _state: &mut (),
        cx: &mut TriggerContext<'_>,
    ) -> TriggerResult {
        if window.max_timestamp() <= cx.watermark() {
            return TriggerResult::Fire;
        }
        if cx.is_first() {
            cx.register_event_timer(window.max_timestamp());
        }
        TriggerResult::Continue
    }

    #[inline]
    fn on_event_time(
        &self,
        timestamp: Timestamp,
        window: &TimeWindow,
        _state: &mut (),
        _cx: &mut TriggerContext<'_>,
    ) -> TriggerResult {
        if timestamp == window.max_timestamp() {
            TriggerResult::Fire
        } else {
            TriggerResult::Continue
        }
    }
}
