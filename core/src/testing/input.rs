//! The source of a harness: what the test pushes.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use crate::Result;
use crate::dataflow::{Dataflow, Stream};
use crate::operator::SplitEvent;
use crate::source::{Source, SourceContext, SourceOutput, SourceReader, SourceStatus};
use crate::time::Timestamp;

/// What a test does to one channel.
pub(super) enum Event<T> {
    Record(T, Timestamp),
    Watermark(Timestamp),
    Idle(bool),
    End,
}

/// What was pushed and not yet read, by channel.
pub(super) type Queues<T> = Rc<Vec<RefCell<VecDeque<Event<T>>>>>;

/// The input of a job under test.
pub struct Input<T> {
    pub(super) flow: Dataflow,
    pub(super) queues: Queues<T>,
    pub(super) name: &'static str,
}

impl<T: 'static> Input<T> {
    /// The records that the test pushes.
    pub fn stream(self) -> Stream<T> {
        self.flow.source(self.name, Pushed { queues: self.queues }).boxed()
    }
}

/// What a split remembers: records are gone from their queue once they are read.
const ACTIVE: u64 = 0;
const IDLE: u64 = 1;

struct Pushed<T> {
    queues: Queues<T>,
}

impl<T: 'static> Source for Pushed<T> {
    type Out = T;
    type Split = u64;
    type Reader = Reader<T>;

    fn kind(&self) -> &'static str {
        "harness"
    }
    fn bounded(&self) -> bool {
        true
    }
    fn splits(&self, _parallelism: usize) -> Result<Vec<u64>> {
        Ok(vec![ACTIVE; self.queues.len()])
    }
    fn reader(self, splits: Vec<(u32, u64)>, _cx: SourceContext) -> Result<Reader<T>> {
        let (channel, state) = splits.first().copied().unwrap_or((0, ACTIVE));
        Ok(Reader { queues: self.queues, channel, idle: state != ACTIVE, is_cut: Cell::new(false) })
    }
}

struct Reader<T> {
    queues: Queues<T>,
    channel: u32,
    idle: bool,
    /// Whether a cut was made. The job begins again from it, so what it read behind it were lost.
    is_cut: Cell<bool>,
}

impl<T: 'static> Reader<T> {
    fn turn<O: SourceOutput<T>>(&mut self, idle: bool, out: &mut O) -> Result<()> {
        if self.idle == idle {
            return Ok(());
        }
        self.idle = idle;
        out.idle(idle)
    }
}

impl<T: 'static> SourceReader for Reader<T> {
    type Out = T;
    type Split = u64;

    fn open<O: SourceOutput<T>>(&mut self, out: &mut O) -> Result<()> {
        out.split(SplitEvent::Added(self.channel))?;
        out.split(SplitEvent::Current(self.channel))
    }

    fn poll<O: SourceOutput<T>>(&mut self, out: &mut O) -> Result<SourceStatus> {
        while !out.is_full() && !self.is_cut.get() {
            let event = self.queues[self.channel as usize].borrow_mut().pop_front();
            let Some(event) = event else {
                return Ok(SourceStatus::Wait);
            };
            match event {
                Event::Record(record, timestamp) => {
                    self.turn(false, out)?;
                    let now = out.now();
                    out.collect(record, timestamp, now)?;
                }
                Event::Watermark(watermark) => {
                    self.turn(false, out)?;
                    out.watermark(watermark)?;
                }
                Event::Idle(idle) => self.turn(idle, out)?,
                Event::End => return Ok(SourceStatus::Finished),
            }
        }
        Ok(if self.is_cut.get() { SourceStatus::Wait } else { SourceStatus::More })
    }

    fn snapshot(&self) -> Vec<(u32, u64)> {
        self.is_cut.set(true);
        vec![(self.channel, if self.idle { IDLE } else { ACTIVE })]
    }
}
