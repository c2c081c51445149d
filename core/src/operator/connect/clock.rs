//! The event time of two inputs.
//!
//! A pure state machine: it says how far time has moved, its owner fires what is due by then. While
//! something is due that has not fired, neither input goes on.

use crate::Result;
use crate::operator::Snapshot;
use crate::runtime::{Change, Valve};
use crate::time::{MAX, MIN, Timestamp};

/// Time that two inputs move.
pub(super) struct TwoInputClock {
    valve: Valve,
    /// The last watermark that each input has told of.
    heard: [Timestamp; 2],
    ended: [bool; 2],
    /// Whether time has moved, and not all that is due by then is known to have fired.
    moving: bool,
    /// Whether who stands behind is to be told that the stream has become idle, or active again.
    idling: Option<bool>,
}

impl TwoInputClock {
    pub(super) fn new() -> Self {
        let (heard, ended) = ([MIN; 2], [false; 2]);
        Self { valve: Valve::new(2), heard, ended, moving: false, idling: None }
    }

    /// The time that both inputs have reached.
    #[inline]
    pub(super) fn now(&self) -> Timestamp {
        self.valve.output()
    }

    /// Whether its owner has something to do before an input goes on.
    #[inline]
    pub(super) fn lags(&self) -> bool {
        self.moving || self.idling.is_some()
    }

    /// Follows the watermark in front of a record, and says where time is then. `None`: it does not
    /// in passing; the input's gate tells of the watermark.
    #[inline]
    pub(super) fn follow(
        &mut self,
        input: usize,
        watermark: Timestamp,
        next_timer: Timestamp,
    ) -> Option<Timestamp> {
        if watermark <= self.heard[input] {
            return Some(MIN);
        }
        let reached = watermark.min(self.valve.bound(input)?);
        if reached > self.now() && next_timer <= reached {
            return None;
        }
        self.heard[input] = watermark;
        let change = self.valve.watermark(input, watermark);
        debug_assert_eq!(change.idle, None, "an input that leads makes nobody idle");
        Some(self.now())
    }

    /// The gate of an input tells of a watermark; the last one closes the input.
    pub(super) fn hear(&mut self, input: usize, watermark: Timestamp) {
        if watermark <= self.heard[input] {
            return;
        }
        self.heard[input] = watermark;
        let change = match watermark {
            MAX => self.valve.end(input),
            _ => self.valve.watermark(input, watermark),
        };
        self.note(change);
    }

    pub(super) fn idle(&mut self, input: usize, idle: bool) {
        let change = self.valve.idle(input, idle);
        self.note(change);
    }

    /// An input has ended; true if that was the last one.
    pub(super) fn end(&mut self, input: usize) -> bool {
        assert_eq!(self.heard[input], MAX, "input {input} ends before its last watermark");
        self.ended[input] = true;
        self.ended == [true; 2]
    }

    /// All that was due has fired.
    pub(super) fn has_fired(&mut self) {
        self.moving = false;
    }

    /// What who stands behind is to be told once that is so.
    pub(super) fn take_idling(&mut self) -> Option<bool> {
        self.idling.take()
    }

    /// Writes it at a cut, or reads it back.
    pub(super) fn snapshot(&mut self, snapshot: &mut Snapshot) -> Result<()> {
        self.valve.snapshot(snapshot)?;
        for (heard, ended) in self.heard.iter_mut().zip(&mut self.ended) {
            snapshot.i64(heard)?;
            snapshot.bool(ended)?;
        }
        snapshot.bool(&mut self.moving)?;
        let mut idling = self.idling.map(i64::from);
        snapshot.option(&mut idling)?;
        self.idling = idling.map(|idling| idling != 0);
        Ok(())
    }

    fn note(&mut self, change: Change) {
        self.moving |= change.watermark.is_some();
        if change.idle.is_some() {
            self.idling = change.idle;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_the_lower_one_of_both_inputs() {
        let mut clock = TwoInputClock::new();
        clock.hear(0, 10);
        assert!(!clock.lags());
        clock.hear(1, 7);
        assert!(clock.lags() && clock.now() == 7);
        clock.has_fired();
        clock.hear(1, MAX);
        assert_eq!(clock.now(), 10);
        assert!(!clock.end(1));
        clock.hear(0, MAX);
        assert!(clock.now() == MAX && clock.end(0));
    }

    #[test]
    fn it_stops_in_front_of_a_timer_and_follows_otherwise() {
        let mut clock = TwoInputClock::new();
        clock.hear(1, 20);
        assert_eq!(clock.follow(0, 5, 9), Some(5));
        assert_eq!(clock.follow(0, 5, 3), Some(MIN), "no news");
        assert_eq!(clock.follow(0, 9, 9), None);
        clock.hear(0, 9);
        assert!(clock.lags() && clock.now() == 9);
        clock.has_fired();
        assert_eq!(clock.follow(0, 30, 25), Some(20), "no further than the other input");
        assert_eq!(clock.follow(1, 26, 25), None, "input 0 is beyond the timer");
    }

    #[test]
    fn an_idle_input_holds_nothing_back_and_its_gate_tells_when_it_wakes() {
        let mut clock = TwoInputClock::new();
        clock.hear(0, 10);
        clock.idle(1, true);
        assert!(clock.lags() && clock.now() == 10);
        clock.has_fired();
        clock.idle(1, false);
        assert_eq!(clock.follow(1, 4, MAX), None, "it is behind");
        clock.hear(1, 4);
        assert_eq!((clock.now(), clock.follow(1, 4, MAX)), (10, Some(MIN)));
        clock.hear(1, 12);
        assert_eq!((clock.now(), clock.lags()), (10, false));
    }

    #[test]
    fn the_end_of_one_input_leaves_an_idle_other_one_idle() {
        let mut clock = TwoInputClock::new();
        clock.hear(0, 10);
        clock.hear(1, 5);
        clock.has_fired();
        clock.idle(1, true);
        clock.has_fired();
        clock.hear(0, MAX);
        assert_eq!((clock.now(), clock.take_idling()), (10, Some(true)));
        clock.hear(1, MAX);
        assert_eq!(clock.now(), MAX);
    }

    fn restored(clock: &mut TwoInputClock) -> TwoInputClock {
        let mut cut = Snapshot::of_cut(1);
        clock.snapshot(&mut cut).unwrap();
        let mut restored = TwoInputClock::new();
        let mut snapshot = Snapshot::to_restore(1, cut.finish().unwrap());
        restored.snapshot(&mut snapshot).unwrap();
        snapshot.finish().unwrap();
        restored
    }

    #[test]
    fn it_is_the_same_behind_a_restore() {
        let mut clock = TwoInputClock::new();
        clock.hear(0, 10);
        clock.idle(1, true);
        clock.idle(0, true);
        let mut restored = restored(&mut clock);
        assert!(restored.lags());
        assert_eq!((restored.now(), restored.take_idling()), (10, Some(true)));
    }

    #[test]
    fn time_that_has_moved_lags_behind_a_restore_until_all_has_fired() {
        let mut clock = TwoInputClock::new();
        clock.hear(0, 10);
        clock.hear(1, 7);
        assert!(restored(&mut clock).lags());
        clock.has_fired();
        assert!(!restored(&mut clock).lags());
    }
}
