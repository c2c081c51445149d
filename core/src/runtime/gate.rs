//! The input of an operator: one channel per sending core, merged.
//!
//! A gate reads pages in place and hands runs of records to its consumers. Consumers of one
//! exchange share the gate. A run never spans a watermark, and a task may stop between any two
//! records: the unread rest of a page stays here with a cursor.

use std::collections::VecDeque;
use std::ops::Range;
use std::rc::Rc;

use thalweg_net::{Body, Buffer, ChannelId, Frame, InputChannel, Page, PageView};

use super::audit::{GateView, InputView};
use super::valve::{Change, Valve};
use super::{Core, Ran};
use crate::Result;
use crate::config::NetworkConfig;
use crate::operator::keyed::AHEAD;
use crate::record::Record;
use crate::state::{ColdState, Held};
use crate::time::{MIN, Timestamp};

/// How many records a consumer gets at once, at most.
const RUN: usize = 256;

/// Queued pages of a channel whose cold rows are asked for ahead of their turn.
const PAGES_AHEAD: usize = 4;

/// A consumer of a gate's pages.
///
/// `consume` and `advance` may stop early when an output is out of credit; the gate calls them
/// again with what is left. `prepare` comes before the first run of a page, and again when rows
/// have left their table since; `flush` after the last run of a turn.
pub trait PageConsumer<T: Record> {
    /// Makes sure that the keys of the page's records from `from` on can be served without waiting;
    /// false: they are on their way, try again when something has arrived.
    fn prepare(&mut self, _page: &PageView<'_, T>, _from: usize) -> Result<bool> {
        Ok(true)
    }
    /// Names the rows that those records need: they stay.
    fn hold(&self, _page: &PageView<'_, T>, _from: usize, _held: &mut Held) {}
    /// Names the rows that timers wait for.
    fn hold_timers(&self, _held: &mut Held) {}
    /// Its state, if it has any whose rows may be cold.
    fn cold_state(&mut self) -> Option<&mut dyn ColdState> {
        None
    }
    /// Asks for what these records need: the first ones of a page. Later ones are up to `consume`.
    fn prefetch(&mut self, _page: &PageView<'_, T>, _range: Range<usize>) {}
    /// Takes records from `range.start` on; returns the first that it has not taken.
    fn consume(&mut self, page: &PageView<'_, T>, range: Range<usize>) -> Result<usize>;
    /// Moves event time on; false when it has to be called again.
    fn advance(&mut self, watermark: Timestamp) -> Result<bool>;
    /// Fires processing-time timers due at `now` (milliseconds); false when it has to be called
    /// again.
    fn advance_processing(&mut self, _now: i64) -> Result<bool> {
        Ok(true)
    }
    /// The next processing-time timer, in milliseconds since the epoch.
    fn next_processing_timer(&self) -> Option<i64> {
        None
    }
    /// Memory that its state takes up.
    fn state_bytes(&self) -> usize {
        0
    }
    /// Engine time may have moved on; called in every turn.
    fn tick(&mut self) -> Result<()> {
        Ok(())
    }
    fn idle(&mut self, idle: bool) -> Result<()>;
    fn flush(&mut self) -> Result<()>;
    fn end(&mut self) -> Result<()>;
}

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
    ended: bool,
    /// Rows that pages here need.
    needed: Held,
}

struct Input {
    channel: InputChannel,
    open: Option<OpenPage>,
    watermark: Timestamp,
    /// Records that all consumers have taken.
    records: u64,
    /// Per consumer, the first record of the open page's current run that it has not taken: one may
    /// be ahead of another when it ran out of credit later.
    cursors: Vec<usize>,
    /// How many of the queued pages were looked at for cold rows.
    ahead: usize,
}

struct OpenPage {
    page: Page,
    trailing: Timestamp,
    cursor: Cursor,
}

/// How far a page has been read.
struct Cursor {
    /// The first record that is not consumed by all.
    at: usize,
    prepared: Prepared,
}

/// Whether the rows of a page's rest are at hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Prepared {
    /// Nobody has looked.
    No,
    /// Some were not when the cold tier had given so many answers.
    Waits(u64),
    /// They were when rows had left so many times.
    Yes(u64),
}

impl Input {
    /// Whether one consumer is ahead of another on the open page.
    fn apart(&self) -> bool {
        self.cursors.iter().any(|cursor| *cursor != self.cursors[0])
    }
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

    /// Takes one input's next page or control frames; false when there is nothing to do.
    fn run_input(&mut self, index: usize, budget: &mut usize) -> Result<bool> {
        let mut worked = false;
        if self.core.budget.is_cold() {
            self.look_ahead(index)?;
        }
        while *budget > 0 && !self.stopped() && self.advancing.is_none() {
            if self.inputs[index].open.is_none() && !self.next_frame(index)? {
                break;
            }
            if self.inputs[index].open.is_some() {
                let taken = self.run_page(index, *budget)?;
                // What one consumer has taken must be flushed, though the others have yet to take
                // it.
                worked |= self.inputs[index].apart();
                *budget -= taken.min(*budget);
                worked |= taken > 0;
                if taken == 0 && self.inputs[index].open.is_some() {
                    break;
                }
            }
            worked = true;
        }
        Ok(worked)
    }

    /// Opens the next page or applies the next control frame; false when the queue is empty.
    fn next_frame(&mut self, index: usize) -> Result<bool> {
        let input = &mut self.inputs[index];
        let Some(frame) = input.channel.pop() else {
            return Ok(false);
        };
        let change = match frame.body {
            Body::Data { page, watermark } => {
                input.ahead = input.ahead.saturating_sub(1);
                input.open = Some(OpenPage {
                    page,
                    trailing: watermark,
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

    /// Consumes runs of the open page; returns how many records were taken by all consumers.
    fn run_page(&mut self, index: usize, budget: usize) -> Result<usize> {
        let Some(mut open) = self.inputs[index].open.take() else {
            return Ok(0);
        };
        let start = open.cursor.at;
        let finished = self.run_records(index, &open.page, &mut open.cursor, budget)?;
        let taken = open.cursor.at - start;
        self.inputs[index].records += taken as u64;
        if !finished {
            self.inputs[index].open = Some(open);
            return Ok(taken);
        }
        self.returns.push_back((index, self.channel, open.page.into_buffer()));
        if open.trailing > self.inputs[index].watermark {
            let change = self.raise(index, open.trailing);
            self.apply(change)?;
        }
        Ok(taken)
    }

    /// Consumes runs until the page, the budget or the credit ends; true when the page is consumed.
    fn run_records(
        &mut self,
        index: usize,
        page: &Page,
        cursor: &mut Cursor,
        budget: usize,
    ) -> Result<bool> {
        let page = page.typed::<T>();
        let len = page.len();
        if cursor.prepared != Prepared::Yes(self.core.budget.departures())
            && !self.prepare(&page, cursor)?
        {
            return Ok(false);
        }
        let stop = len.min(cursor.at + budget);
        while cursor.at < stop {
            if self.stopped() {
                return Ok(false);
            }
            let watermark = page.head(cursor.at).watermark;
            if watermark > self.inputs[index].watermark {
                let change = self.raise(index, watermark);
                self.apply(change)?;
                if self.advancing.is_some() {
                    return Ok(false);
                }
            }
            let ahead = self.inputs[index].cursors.iter().copied().max().unwrap_or(0);
            let end = run_end(&page, cursor.at, watermark).min(stop).max(ahead);
            if !self.run_consumers(index, &page, cursor, end)? {
                return Ok(false);
            }
        }
        Ok(cursor.at == len)
    }

    /// Makes sure of the rows of a page's rest; false while some are on their way.
    #[cold]
    fn prepare(&mut self, page: &PageView<'_, T>, cursor: &mut Cursor) -> Result<bool> {
        let (answers, departures) = (self.core.budget.answers(), self.core.budget.departures());
        let mut ready = cursor.prepared != Prepared::Waits(answers);
        if ready {
            for consumer in &mut self.consumers {
                ready &= consumer.prepare(page, cursor.at)?;
            }
        }
        if !ready {
            cursor.prepared = Prepared::Waits(answers);
            self.core.budget.wait();
            return Ok(false);
        }
        let first = cursor.at..page.len().min(cursor.at + AHEAD);
        self.consumers.iter_mut().for_each(|consumer| consumer.prefetch(page, first.clone()));
        cursor.prepared = Prepared::Yes(departures);
        Ok(true)
    }

    /// Asks for the cold rows of the next queued pages, so that they come while others are read.
    #[cold]
    fn look_ahead(&mut self, index: usize) -> Result<()> {
        let most = self.core.budget.rows_ahead_max() / self.inputs.len();
        let input = &mut self.inputs[index];
        let mut rows = 0;
        let pages = input.channel.frames().filter_map(|frame| match &frame.body {
            Body::Data { page, .. } => Some(page),
            _ => None,
        });
        for (at, page) in pages.take(PAGES_AHEAD).enumerate() {
            rows += page.count();
            if rows > most {
                break;
            }
            if at < input.ahead {
                continue;
            }
            for consumer in &mut self.consumers {
                consumer.prepare(&page.typed::<T>(), 0)?;
            }
            input.ahead += 1;
        }
        Ok(())
    }

    /// Names the rows that open pages, pages that were looked at and due timers need.
    fn hold(&mut self) {
        self.needed.clear();
        for consumer in &self.consumers {
            for input in &self.inputs {
                if let Some(open) = &input.open {
                    consumer.hold(&open.page.typed::<T>(), open.cursor.at, &mut self.needed);
                }
                let pages = input.channel.frames().filter_map(|frame| match &frame.body {
                    Body::Data { page, .. } => Some(page),
                    _ => None,
                });
                for page in pages.take(input.ahead) {
                    consumer.hold(&page.typed::<T>(), 0, &mut self.needed);
                }
            }
            consumer.hold_timers(&mut self.needed);
        }
        self.needed.seal();
    }

    /// Hands one run to every consumer that has not taken it yet.
    fn run_consumers(
        &mut self,
        index: usize,
        page: &PageView<'_, T>,
        open: &mut Cursor,
        end: usize,
    ) -> Result<bool> {
        let cursors = &mut self.inputs[index].cursors;
        for (consumer, cursor) in self.consumers.iter_mut().zip(cursors.iter_mut()) {
            let start = (*cursor).max(open.at);
            if start < end {
                *cursor = consumer.consume(page, start..end)?;
            }
        }
        let slowest = cursors.iter().copied().min().unwrap_or(end);
        open.at = slowest.max(open.at).min(end);
        if open.at == end {
            cursors.fill(0);
        }
        Ok(open.at == end)
    }

    fn finish(&mut self) -> Result<()> {
        if !self.ended && self.advancing.is_none() && self.valve.all_ended() {
            self.ended = true;
            self.consumers.iter_mut().try_for_each(|consumer| consumer.end())?;
        }
        Ok(())
    }
}

/// The end of the run that starts at `start`: at most [`RUN`] records, none behind a newer
/// watermark.
#[inline]
fn run_end<T: Record>(page: &PageView<'_, T>, start: usize, watermark: Timestamp) -> usize {
    let limit = page.len().min(start + RUN);
    let mut end = start + 1;
    while end < limit && page.head(end).watermark <= watermark {
        end += 1;
    }
    end
}

impl<T: Record> GatePort for Gate<T> {
    fn open(&mut self, senders: usize, network: &NetworkConfig) {
        assert!(self.inputs.is_empty(), "a gate is opened once");
        let input = |_| Input {
            channel: InputChannel::with_overdraft(self.channel, network.credits, network.overdraft),
            open: None,
            watermark: MIN,
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
        self.core.budget.take_waits();
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
        let inputs = self.inputs.len();
        for offset in 0..inputs {
            worked |= self.run_input((self.turn + offset) % inputs, &mut budget)?;
        }
        // Some timers have fired, the others go on in the next turn.
        worked |= self.advancing.is_some() && !self.core.budget.take_waits();
        self.turn = (self.turn + 1) % inputs.max(1);
        if worked {
            self.consumers.iter_mut().try_for_each(|consumer| consumer.flush())?;
        }
        self.finish()?;
        Ok(if self.ended {
            Ran::Ended
        } else if budget == 0 {
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
        self.consumers.iter().filter_map(|consumer| consumer.next_processing_timer()).min()
    }

    fn state_bytes(&self) -> usize {
        self.consumers.iter().map(|consumer| consumer.state_bytes()).sum()
    }

    fn settle(&mut self) -> Result<()> {
        let states = self.consumers.iter_mut().filter_map(|consumer| consumer.cold_state());
        states.map(|state| state.settle()).collect()
    }

    fn evict(&mut self) -> Result<bool> {
        let mut states = self.consumers.iter_mut().filter_map(|consumer| consumer.cold_state());
        if !states.any(|state| state.has_leavers()) {
            return Ok(false);
        }
        self.hold();
        let mut more = false;
        for state in self.consumers.iter_mut().filter_map(|consumer| consumer.cold_state()) {
            more |= state.evict(&self.needed)?;
        }
        Ok(more)
    }

    fn is_choked(&mut self) -> bool {
        let mut states = self.consumers.iter_mut().filter_map(|consumer| consumer.cold_state());
        states.any(|state| state.is_choked())
    }

    fn ended(&self) -> bool {
        self.ended
    }

    fn held(&self, sender: usize) -> usize {
        let input = &self.inputs[sender];
        let returning = self.returns.iter().filter(|(to, ..)| *to == sender).count();
        input.channel.queued_pages() as usize + usize::from(input.open.is_some()) + returning
    }

    fn view(&self) -> GateView {
        let input = |(index, input): (usize, &Input)| InputView {
            frames: input.channel.received(),
            merged: input.channel.merged(),
            queued: input.channel.queued(),
            pages: input.channel.queued_pages() as usize,
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

    fn pages(&self, show: &mut dyn FnMut(&Page)) {
        for input in &self.inputs {
            input.open.iter().for_each(|open| show(&open.page));
            for frame in input.channel.frames() {
                if let Body::Data { page, .. } = &frame.body {
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
        for consumer in &mut self.consumers {
            if !consumer.advance_processing(now)? {
                break;
            }
        }
        Ok(!self.core.budget.take_waits())
    }
}
