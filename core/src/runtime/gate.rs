//! The input of an operator: one channel per sending core, merged.
//!
//! A gate reads pages in place and hands runs of records to its consumers. Consumers of one
//! exchange share the gate. Inside a run they move event time on themselves, as far as the other
//! inputs allow, and a task may stop between any two records: the unread rest of a page stays here
//! with a cursor.

mod cold;
mod consumer;
mod cut;
mod input;
mod run;
mod watched;

use std::collections::VecDeque;
use std::rc::Rc;

use thalweg_net::channel::Received;
use thalweg_net::{Body, Buffer, ChannelId, Frame, InputChannel, Page};
use thalweg_state::segment::{Block, BlockReader};

pub(crate) use self::cold::HoldPages;
pub use self::consumer::{PageConsumer, Run};
use self::input::{Cursor, Input, OpenPage, Prepared};
use super::audit::{GateView, InputView};
use super::cut::{Recording, Restoring};
use super::poison::Head;
use super::valve::{Change, Valve};
use super::{Core, Ran};
use crate::Result;
use crate::config::NetworkConfig;
use crate::record::Record;
use crate::state::Held;
use crate::time::{MIN, Timestamp};

/// A gate as the worker sees it.
pub(crate) trait GatePort {
    /// Sets the number of sending cores, and what each may send; before the first frame.
    fn open(&mut self, senders: usize, network: &NetworkConfig);
    /// Stores a frame of the core `sender`.
    fn receive(&mut self, sender: usize, frame: Frame) -> Result<()>;
    /// Consumes what has arrived, up to `budget` records.
    fn run(&mut self, budget: usize) -> Result<Ran>;
    /// The next buffer that goes home, and to whom.
    fn next_return(&mut self) -> Option<(usize, ChannelId, Buffer)>;
    /// The next processing-time timer of its operators.
    fn next_processing_timer(&self) -> Option<i64>;
    /// Memory that the state of its operators takes up.
    fn state_bytes(&self) -> usize;
    /// Takes in what the cold tier has answered.
    fn settle(&mut self) -> Result<()>;
    /// Lets some rows leave for the cold tier, if there are too many; true if it made progress and
    /// is not done.
    fn evict(&mut self) -> Result<bool>;
    /// Whether it had better not run until rows that are on their way have left.
    fn is_choked(&mut self) -> bool;
    /// Whether every input has ended and all of it is consumed.
    fn ended(&self) -> bool;
    /// Frames queued and pages held, per sender: for the credit invariant.
    fn held(&self, sender: usize) -> usize;
    /// What a simulator sees of the gate.
    fn view(&self) -> GateView;
    /// Shows every page that has arrived and is not consumed.
    fn pages(&self, show: &mut dyn FnMut(&Page));
    /// Records what it and its operators keep, and every channel with what has arrived on it.
    fn record(&mut self, name: &str, recording: &mut Recording) -> Result<()>;
    /// Whether nothing waits here.
    fn is_quiet(&self) -> bool;
    /// Ends the epoch for the state of its operators; see [`PageConsumer`] for this and what
    /// follows.
    fn can_tell_all(&mut self) -> bool;
    fn end_segment(&mut self, all: bool);
    fn advance_segment(&mut self, rows: usize) -> Result<bool>;
    fn take_blocks(&mut self, out: &mut Vec<Block>) -> bool;
    fn encoded_bytes(&mut self) -> usize;
    fn take_encoded(&mut self, out: &mut Vec<Block>);
    fn restore_block(&mut self, block: &BlockReader<'_>) -> Result<bool>;
    fn end_restore(&mut self) -> Result<()>;
    /// Makes it what it was when it was recorded; before the first frame.
    fn restore(&mut self, image: &Restoring<'_>) -> Result<()>;
}

/// The input of one edge on one core.
pub(crate) struct Gate<T: Record> {
    channel: ChannelId,
    core: Rc<Core>,
    inputs: Vec<Input>,
    valve: Valve,
    consumers: Vec<Box<dyn PageConsumer<T>>>,
    returns: VecDeque<(usize, ChannelId, Buffer)>,
    turn: usize,
    advancing: Option<Timestamp>,
    /// How many consumers have done so.
    advanced: usize,
    idling: Option<bool>,
    /// Whether timers may have emitted something that is not flushed.
    stirred: bool,
    ended: bool,
    /// Rows that pages here need.
    needed: Held,
}

impl<T: Record> Gate<T> {
    pub(crate) fn new(channel: ChannelId, core: Rc<Core>) -> Self {
        Self {
            channel,
            core,
            inputs: Vec::new(),
            valve: Valve::new(0),
            consumers: Vec::new(),
            returns: VecDeque::new(),
            turn: 0,
            advancing: None,
            advanced: 0,
            idling: None,
            stirred: false,
            ended: false,
            needed: Held::new(),
        }
    }

    pub(crate) fn attach(&mut self, consumer: Box<dyn PageConsumer<T>>) {
        self.consumers.push(consumer);
    }

    pub(crate) fn core(&self) -> &Rc<Core> {
        &self.core
    }

    fn stopped(&self) -> bool {
        self.core.pressure.get()
    }

    /// Takes pages and control frames of the inputs, the oldest first; false when there is nothing
    /// to do.
    fn run_inputs(&mut self, budget: &mut usize) -> Result<bool> {
        let mut worked = false;
        self.inputs.iter_mut().for_each(|input| input.stuck = false);
        if self.core.budget.is_cold() {
            (0..self.inputs.len()).try_for_each(|index| self.look_ahead(index))?;
        }
        while *budget > 0 && !self.stopped() && self.advancing.is_none() {
            let Some(index) = self.choose() else { break };
            worked |= self.run_input(index, budget)?;
            self.turn = (self.turn + 1) % self.inputs.len();
        }
        Ok(worked)
    }

    /// Takes one input's next page or control frame.
    fn run_input(&mut self, index: usize, budget: &mut usize) -> Result<bool> {
        if self.inputs[index].open.is_none() && !self.next_frame(index)? {
            self.inputs[index].stuck = true;
            return Ok(false);
        }
        if self.inputs[index].open.is_none() {
            return Ok(true);
        }
        let taken = self.run_page(index, *budget)?;
        *budget -= taken.min(*budget);
        let input = &mut self.inputs[index];
        input.stuck = taken == 0 && input.open.is_some();
        // What one consumer has taken must be flushed, though the others have yet to take it.
        Ok(!input.stuck || input.apart())
    }

    /// The input whose turn it is, of those that can go on; one that is several pages of event time
    /// behind comes first.
    ///
    /// When there is more than this core can take, the channels that are ahead in event time wait,
    /// and soon their senders: sources keep together, and windows open no longer than they must.
    fn choose(&self) -> Option<usize> {
        let count = self.inputs.len();
        let order = (0..count).map(|offset| (self.turn + offset) % count);
        let mut fronts = order.filter_map(|index| Some((self.inputs[index].front::<T>()?, index)));
        let (first, turn) = fronts.next()?;
        let oldest = fronts.min_by_key(|(front, _)| front.at);
        let behind = oldest.filter(|(oldest, _)| oldest.at < first.at.saturating_sub(first.slack));
        Some(behind.map_or(turn, |(_, index)| index))
    }

    /// Whether records wait that are not far ahead of what comes from this core itself.
    fn is_behind(&self) -> bool {
        let own = self.inputs.get(self.core.index()).map_or(Timestamp::MAX, |input| input.seen);
        let mut fronts = self.inputs.iter().filter_map(Input::front::<T>);
        fronts.any(|front| front.at.saturating_sub(front.slack) <= own)
    }

    /// Opens the next page or applies the next control frame; false when the queue is empty.
    fn next_frame(&mut self, index: usize) -> Result<bool> {
        let input = &mut self.inputs[index];
        let Some(Received { body, restored }) = input.channel.pop() else {
            return Ok(false);
        };
        let change = match body {
            Body::Data { page, watermark } => {
                input.ahead = input.ahead.saturating_sub(1);
                input.open = Some(OpenPage {
                    page,
                    trailing: watermark,
                    restored,
                    cursor: Cursor { at: 0, prepared: Prepared::No },
                });
                return Ok(true);
            }
            Body::Watermark(watermark) => self.raise(index, watermark),
            Body::Idle => self.valve.idle(index, true),
            Body::Active => self.valve.idle(index, false),
            Body::End => self.valve.end(index),
        };
        self.apply(change)?;
        Ok(true)
    }

    fn raise(&mut self, index: usize, watermark: Timestamp) -> Change {
        self.inputs[index].watermark = self.inputs[index].watermark.max(watermark);
        self.valve.watermark(index, watermark)
    }

    fn apply(&mut self, change: Change) -> Result<()> {
        if change.watermark.is_some() {
            self.advancing = change.watermark;
        }
        if change.idle.is_some() {
            self.idling = change.idle;
        }
        self.advance().map(drop)
    }

    /// Moves event time on in all consumers; false while one of them is out of credit.
    fn advance(&mut self) -> Result<bool> {
        if let Some(watermark) = self.advancing {
            self.stirred = true;
            while let Some(consumer) = self.consumers.get_mut(self.advanced) {
                if !consumer.advance(watermark)? {
                    return Ok(false);
                }
                self.advanced += 1;
            }
            self.advancing = None;
            self.advanced = 0;
        }
        if let Some(idle) = self.idling.take() {
            self.consumers.iter_mut().try_for_each(|consumer| consumer.idle(idle))?;
        }
        Ok(true)
    }

    /// Whether a consumer is to go on with what the other input of its operator has begun.
    fn lags(&self) -> bool {
        self.consumers.iter().any(|consumer| consumer.lags())
    }

    fn finish(&mut self) -> Result<()> {
        let is_behind = self.advancing.is_some() || self.lags();
        if !self.ended && !is_behind && self.valve.all_ended() {
            self.ended = true;
            self.consumers.iter_mut().try_for_each(|consumer| consumer.end())?;
        }
        Ok(())
    }
}

impl<T: Record> GatePort for Gate<T> {
    fn open(&mut self, senders: usize, network: &NetworkConfig) {
        assert!(self.inputs.is_empty(), "a gate is opened once");
        let input = |_| Input {
            channel: InputChannel::with_overdraft(self.channel, network.credits, network.overdraft),
            open: None,
            watermark: MIN,
            seen: MIN,
            stuck: false,
            records: 0,
            cursors: vec![0; self.consumers.len()],
            ahead: 0,
        };
        self.inputs = (0..senders).map(input).collect();
        self.valve = Valve::new(senders);
    }

    fn receive(&mut self, sender: usize, frame: Frame) -> Result<()> {
        Ok(self.inputs[sender].channel.receive(frame)?)
    }

    fn run(&mut self, mut budget: usize) -> Result<Ran> {
        if self.ended {
            return Ok(Ran::Ended);
        }
        let mut worked = false;
        if let Some(warden) = self.core.warden() {
            warden.enter(Head::Input(self.channel.0));
        }
        self.core.budget.take_waits();
        if self.advancing.is_none() && self.lags() {
            self.advancing = Some(self.valve.output());
        }
        if self.advancing.is_some() {
            worked = true;
            if !self.advance()? {
                self.consumers.iter_mut().try_for_each(|consumer| consumer.flush())?;
                // The timers' rows are on their way: the doorbell rings when they are here.
                let waits = self.core.budget.take_waits();
                return Ok(if waits { Ran::Idle } else { Ran::Worked });
            }
        }
        self.consumers.iter_mut().try_for_each(|consumer| consumer.tick())?;
        worked |= self.run_processing_timers()?;
        worked |= self.run_inputs(&mut budget)?;
        // Some timers have fired, the others go on in the next turn.
        worked |= self.advancing.is_some() && !self.core.budget.take_waits();
        if std::mem::take(&mut self.stirred) || worked {
            self.consumers.iter_mut().try_for_each(|consumer| consumer.flush())?;
        }
        self.finish()?;
        Ok(if self.ended {
            Ran::Ended
        } else if budget == 0 && self.is_behind() {
            Ran::Behind
        } else if worked {
            Ran::Worked
        } else if self.stopped() {
            Ran::Blocked
        } else {
            Ran::Idle
        })
    }

    fn next_return(&mut self) -> Option<(usize, ChannelId, Buffer)> {
        self.returns.pop_front()
    }

    fn next_processing_timer(&self) -> Option<i64> {
        if self.core.held.get() {
            return None;
        }
        self.consumers.iter().filter_map(|consumer| consumer.next_processing_timer()).min()
    }

    fn state_bytes(&self) -> usize {
        self.consumers.iter().map(|consumer| consumer.state_bytes()).sum()
    }

    fn settle(&mut self) -> Result<()> {
        self.settle_states()
    }

    fn evict(&mut self) -> Result<bool> {
        self.evict_rows()
    }

    fn is_choked(&mut self) -> bool {
        self.states().any(|state| state.is_choked())
    }

    fn ended(&self) -> bool {
        self.ended
    }

    fn held(&self, sender: usize) -> usize {
        let input = &self.inputs[sender];
        let returning = self.returns.iter().filter(|(to, ..)| *to == sender).count();
        let open = input.open.as_ref().is_some_and(|open| !open.restored);
        input.channel.queued_pages() as usize + usize::from(open) + returning
    }

    fn view(&self) -> GateView {
        let input = |(index, input): (usize, &Input)| InputView {
            frames: input.channel.received(),
            merged: input.channel.merged(),
            queued: input.channel.queued(),
            pages: input.channel.queued_pages() as usize + input.channel.restored_pages(),
            open: input.open.as_ref().map(|open| (open.cursor.at, open.page.count())),
            records: input.records,
            watermark: self.valve.input(index).0,
            idle: self.valve.input(index).1,
        };
        GateView {
            edge: self.channel.0,
            watermark: self.valve.output(),
            idle: self.valve.is_idle(),
            ended: self.ended,
            advancing: self.advancing.is_some(),
            consumers: self.consumers.len(),
            apart: self.inputs.iter().any(Input::apart),
            inputs: self.inputs.iter().enumerate().map(input).collect(),
        }
    }

    fn record(&mut self, name: &str, recording: &mut Recording) -> Result<()> {
        self.record_all(name, recording)
    }

    fn restore(&mut self, image: &Restoring<'_>) -> Result<()> {
        self.restore_all(image)
    }

    fn is_quiet(&self) -> bool {
        let empty = |input: &Input| input.open.is_none() && input.channel.front().is_none();
        let is_behind = self.advancing.is_some() || self.idling.is_some() || self.lags();
        !is_behind && self.inputs.iter().all(empty)
    }

    fn can_tell_all(&mut self) -> bool {
        self.consumers.iter_mut().all(|consumer| consumer.can_tell_all())
    }

    fn end_segment(&mut self, all: bool) {
        self.consumers.iter_mut().for_each(|consumer| consumer.end_segment(all));
    }

    fn advance_segment(&mut self, rows: usize) -> Result<bool> {
        for consumer in &mut self.consumers {
            if !consumer.advance_segment(rows)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn take_blocks(&mut self, out: &mut Vec<Block>) -> bool {
        let taken = self.consumers.iter_mut().map(|consumer| consumer.take_blocks(out));
        taken.fold(true, |all, this| all & this)
    }

    fn encoded_bytes(&mut self) -> usize {
        self.consumers.iter_mut().map(|consumer| consumer.encoded_bytes()).sum()
    }

    fn take_encoded(&mut self, out: &mut Vec<Block>) {
        self.consumers.iter_mut().for_each(|consumer| consumer.take_encoded(out));
    }

    fn restore_block(&mut self, block: &BlockReader<'_>) -> Result<bool> {
        for consumer in &mut self.consumers {
            if consumer.restore_block(block)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn end_restore(&mut self) -> Result<()> {
        self.consumers.iter_mut().try_for_each(|consumer| consumer.end_restore())
    }

    fn pages(&self, show: &mut dyn FnMut(&Page)) {
        for input in &self.inputs {
            input.open.iter().for_each(|open| show(&open.page));
            for body in input.channel.frames() {
                if let Body::Data { page, .. } = body {
                    show(page);
                }
            }
        }
    }
}

impl<T: Record> Gate<T> {
    fn run_processing_timers(&mut self) -> Result<bool> {
        let now = self.core.wall_millis();
        let due = |at: i64| at <= now;
        if !self.next_processing_timer().is_some_and(due) {
            return Ok(false);
        }
        self.stirred = true;
        for consumer in &mut self.consumers {
            if !consumer.advance_processing(now)? {
                break;
            }
        }
        Ok(!self.core.budget.take_waits())
    }
}
