//! Merges the watermarks of several inputs.
//!
//! The output is the minimum over the inputs that are active and aligned, and never goes back. An
//! input that wakes up behind the output is unaligned: it neither holds nor regresses it until it
//! has caught up. When all inputs are idle the largest of their watermarks goes out, then the
//! idleness, whatever the order was.

use crate::Result;
use crate::operator::Snapshot;
use crate::time::{MAX, MIN, Timestamp};

/// The merge of `n` inputs.
#[derive(Debug, Clone)]
pub(crate) struct Valve {
    inputs: Vec<Input>,
    output: Timestamp,
    idle: bool,
}

#[derive(Debug, Clone)]
struct Input {
    watermark: Timestamp,
    idle: bool,
    aligned: bool,
    ended: bool,
}

/// What a change of one input means for the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Change {
    /// The output watermark has moved here.
    pub(crate) watermark: Option<Timestamp>,
    /// The output became idle (true) or active again (false), after the watermark.
    pub(crate) idle: Option<bool>,
}

impl Valve {
    pub(crate) fn new(inputs: usize) -> Self {
        let input = Input { watermark: MIN, idle: false, aligned: true, ended: false };
        Self { inputs: vec![input; inputs], output: MIN, idle: false }
    }

    pub(crate) fn output(&self) -> Timestamp {
        self.output
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.idle
    }

    /// An input's watermark and whether it is idle.
    pub(crate) fn input(&self, index: usize) -> (Timestamp, bool) {
        (self.inputs[index].watermark, self.inputs[index].idle)
    }

    pub(crate) fn all_ended(&self) -> bool {
        self.inputs.iter().all(|input| input.ended)
    }

    /// How far the output follows the watermark of an input while the others stay where they are;
    /// `None` if it does not follow: the input is idle, closed or behind.
    #[inline]
    pub(crate) fn bound(&self, index: usize) -> Option<Timestamp> {
        let leads = |input: &Input| !input.idle && input.aligned && input.watermark < MAX;
        let others = self.inputs.iter().enumerate().filter(|(other, _)| *other != index);
        let others = others.map(|(_, input)| input).filter(|input| leads(input));
        let bound = others.map(|input| input.watermark).min().unwrap_or(MAX);
        leads(&self.inputs[index]).then_some(bound)
    }

    /// A watermark arrives on one input; lower ones than before are ignored. The last one closes
    /// the input: like an ended one it holds nothing back, and is no reason to end the time of
    /// others that are merely idle.
    #[inline]
    pub(crate) fn watermark(&mut self, index: usize, watermark: Timestamp) -> Change {
        let output = self.output;
        let input = &mut self.inputs[index];
        if watermark <= input.watermark || input.idle {
            return Change::default();
        }
        input.watermark = watermark;
        if !input.aligned {
            if watermark < output {
                return Change::default();
            }
            input.aligned = true;
        }
        self.merge()
    }

    pub(crate) fn idle(&mut self, index: usize, idle: bool) -> Change {
        let output = self.output;
        let input = &mut self.inputs[index];
        if input.idle == idle || input.ended {
            return Change::default();
        }
        input.idle = idle;
        if idle {
            return self.merge();
        }
        input.aligned = input.watermark >= output;
        let was_idle = std::mem::replace(&mut self.idle, false);
        Change { watermark: None, idle: was_idle.then_some(false) }
    }

    /// An input has ended: it holds nothing back any more.
    pub(crate) fn end(&mut self, index: usize) -> Change {
        let input = &mut self.inputs[index];
        input.watermark = MAX;
        input.aligned = true;
        input.idle = false;
        input.ended = true;
        self.merge()
    }

    /// Writes the merge at a cut, or reads it back.
    pub(crate) fn snapshot(&mut self, snapshot: &mut Snapshot) -> Result<()> {
        snapshot.expect(self.inputs.len())?;
        for input in &mut self.inputs {
            snapshot.i64(&mut input.watermark)?;
            snapshot.bool(&mut input.idle)?;
            snapshot.bool(&mut input.aligned)?;
            snapshot.bool(&mut input.ended)?;
        }
        snapshot.i64(&mut self.output)?;
        snapshot.bool(&mut self.idle)
    }

    fn merge(&mut self) -> Change {
        let mut change = Change::default();
        let active = |input: &&Input| !input.idle && input.watermark < MAX;
        if let Some(lowest) =
            self.inputs.iter().filter(active).filter(|i| i.aligned).map(|i| i.watermark).min()
        {
            change.watermark = self.raise(lowest);
        } else if self.inputs.iter().all(|input| input.watermark == MAX) {
            change.watermark = self.raise(MAX);
        } else if !self.inputs.iter().any(|input| active(&input)) {
            let idle = self.inputs.iter().filter(|input| input.watermark < MAX);
            let largest = idle.map(|input| input.watermark).max().unwrap_or(MIN);
            change.watermark = self.raise(largest);
            if !self.idle {
                self.idle = true;
                change.idle = Some(true);
            }
        }
        change
    }

    fn raise(&mut self, watermark: Timestamp) -> Option<Timestamp> {
        if watermark <= self.output {
            return None;
        }
        self.output = watermark;
        Some(watermark)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moved(watermark: Timestamp) -> Change {
        Change { watermark: Some(watermark), idle: None }
    }

    #[test]
    fn the_output_is_the_minimum() {
        let mut valve = Valve::new(2);
        assert_eq!(valve.watermark(0, 10), Change::default());
        assert_eq!(valve.watermark(1, 5), moved(5));
        assert_eq!(valve.watermark(1, 20), moved(10));
    }

    #[test]
    fn the_output_follows_an_input_up_to_its_bound() {
        let mut valve = Valve::new(3);
        valve.watermark(1, 5);
        valve.watermark(2, 7);
        assert_eq!(valve.bound(0), Some(5));
        assert_eq!(valve.watermark(0, 4), moved(4));
        assert_eq!(valve.watermark(0, 6), moved(5));
        assert_eq!((valve.bound(1), valve.bound(2)), (Some(6), Some(5)));
        valve.idle(1, true);
        valve.end(2);
        assert_eq!((valve.bound(0), valve.bound(1), valve.bound(2)), (Some(MAX), None, None));
        valve.watermark(0, 20);
        valve.idle(1, false);
        assert_eq!((valve.bound(0), valve.bound(1)), (Some(MAX), None));
    }

    #[test]
    fn an_idle_input_holds_nothing_back() {
        let mut valve = Valve::new(2);
        valve.watermark(0, 10);
        assert_eq!(valve.idle(1, true), moved(10));
    }

    #[test]
    fn all_idle_is_the_same_in_any_order() {
        for order in [[0, 1], [1, 0]] {
            let mut valve = Valve::new(2);
            valve.watermark(0, 10);
            valve.watermark(1, 5);
            valve.idle(order[0], true);
            let last = valve.idle(order[1], true);
            assert_eq!((valve.output, last.idle), (10, Some(true)), "{order:?}");
        }
    }

    #[test]
    fn a_woken_input_that_is_behind_neither_holds_nor_regresses() {
        let mut valve = Valve::new(2);
        valve.watermark(0, 10);
        valve.idle(1, true);
        assert_eq!(valve.idle(1, false), Change::default());
        assert_eq!(valve.watermark(1, 7), Change::default());
        assert_eq!(valve.watermark(0, 12), moved(12));
        assert_eq!(valve.watermark(1, 12), Change::default());
        assert_eq!(valve.watermark(0, 20), Change::default());
        assert_eq!(valve.watermark(1, 15), moved(15));
    }

    #[test]
    fn an_unaligned_input_that_is_the_only_active_one_drives_the_output_once_caught_up() {
        let mut valve = Valve::new(2);
        valve.watermark(0, 10);
        valve.idle(1, true);
        valve.idle(1, false);
        valve.idle(0, true);
        assert_eq!(valve.watermark(1, 9), Change::default());
        assert_eq!(valve.watermark(1, 11), moved(11));
    }

    #[test]
    fn the_last_watermark_of_one_input_does_not_end_the_time_of_an_idle_one() {
        let mut valve = Valve::new(2);
        valve.watermark(0, 10);
        valve.watermark(1, 5);
        valve.idle(1, true);
        assert_eq!(valve.watermark(0, MAX), Change { watermark: None, idle: Some(true) });
        assert_eq!(valve.end(0), Change::default());
        assert_eq!(valve.idle(1, false), Change { watermark: None, idle: Some(false) });
        assert_eq!(valve.watermark(1, 20), moved(20));
        assert_eq!(valve.watermark(1, MAX), moved(MAX));
        assert!(!valve.all_ended());
    }

    #[test]
    fn an_ended_input_holds_nothing_back_and_all_ended_is_the_end_of_time() {
        let mut valve = Valve::new(2);
        valve.watermark(0, 10);
        assert_eq!(valve.end(1), moved(10));
        assert_eq!(valve.end(0), moved(MAX));
        assert!(valve.all_ended());
    }
}
