//! A source that plays scripts: several splits, each with events that are due at certain times.
//!
//! Splits fall silent and wake up again, timestamps are out of order within a bound, and the reader
//! returns early now and then, as readers of real connectors do.

use std::rc::Rc;

use thalweg::operator::SplitEvent;
use thalweg::record;
use thalweg::source::{Source, SourceContext, SourceOutput, SourceReader, SourceStatus};
use thalweg::{Error, Result};

use super::Random;

/// One event of a script.
#[record]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// The split that it comes from.
    pub split: u32,
    /// Its place in the split.
    pub index: u32,
    /// Event time in milliseconds.
    pub ts: i64,
    /// Engine time in nanoseconds at which it is due, counted from the reader's first poll.
    pub due: u64,
}

/// What kind of script to write.
#[derive(Debug, Clone, Copy)]
pub struct Manner {
    /// How many splits.
    pub splits: usize,
    /// Events of a split at the most.
    pub events_max: u64,
    /// Milliseconds by which timestamps lag behind the newest of their split.
    pub disorder_ms: u64,
    /// Nanoseconds that a split falls silent for at the most, now and then.
    pub silence_max: u64,
}

/// A source that plays a script.
#[derive(Debug, Clone)]
pub struct Script {
    splits: Rc<Vec<Vec<Event>>>,
    random: Random,
}

impl Script {
    /// Writes a script.
    pub fn draw(mut random: Random, manner: &Manner) -> Self {
        let splits = (0..manner.splits as u32).map(|split| draw_split(&mut random, split, manner));
        Self { splits: Rc::new(splits.collect()), random: random.fork("reader") }
    }

    /// All events, split by split.
    pub fn events(&self) -> impl Iterator<Item = &Event> {
        self.splits.iter().flatten()
    }
}

fn draw_split(random: &mut Random, split: u32, manner: &Manner) -> Vec<Event> {
    let count = random.below(manner.events_max + 1) as u32;
    let (mut newest, mut due) = (1_000_000_i64, 0);
    let event = |index| {
        newest += random.below(40) as i64;
        due += random.below(2_000);
        if random.chance(3) {
            due += random.magnitude(manner.silence_max);
        }
        let ts = newest - random.below(manner.disorder_ms + 1) as i64;
        Event { split, index, ts, due }
    };
    (0..count).map(event).collect()
}

impl Source for Script {
    type Out = Event;
    type Split = u64;
    type Reader = Playing;

    fn kind(&self) -> &'static str {
        "script"
    }

    fn bounded(&self) -> bool {
        true
    }

    fn splits(&self, _parallelism: usize) -> Result<Vec<u64>> {
        Ok(vec![0; self.splits.len()])
    }

    fn reader(self, splits: Vec<(u32, u64)>, cx: SourceContext) -> Result<Playing> {
        let random = self.random.fork(&cx.core.index().to_string());
        let open = splits.iter().map(|(split, at)| (*split, *at as usize)).collect();
        Ok(Playing { script: self, open, turn: 0, start: None, random })
    }
}

/// Plays the splits of one core.
#[derive(Debug)]
pub struct Playing {
    script: Script,
    /// Splits that are not finished, with the next event.
    open: Vec<(u32, usize)>,
    turn: usize,
    start: Option<u64>,
    random: Random,
}

impl Playing {
    fn event(&self, place: usize) -> Option<Event> {
        let (split, at) = self.open[place];
        self.script.splits[split as usize].get(at).copied()
    }

    /// Plays what is due of one split, a few events at the most; true if it is finished.
    fn play<O: SourceOutput<Event>>(&mut self, place: usize, out: &mut O) -> Result<bool> {
        let start = self.start.unwrap_or_default();
        out.split(SplitEvent::Current(self.open[place].0))?;
        let most = self.random.magnitude(64);
        for _ in 0..most {
            let Some(event) = self.event(place) else {
                return Ok(true);
            };
            if out.is_full() || start + event.due > out.now() {
                return Ok(false);
            }
            self.open[place].1 += 1;
            out.collect(event, event.ts, start + event.due)?;
        }
        Ok(false)
    }
}

impl SourceReader for Playing {
    type Out = Event;
    type Split = u64;

    fn open<O: SourceOutput<Event>>(&mut self, out: &mut O) -> Result<()> {
        if self.start.replace(out.now()).is_some() {
            return Err(Error::usage("a reader is opened once"));
        }
        for (split, _) in &self.open {
            out.split(SplitEvent::Added(*split))?;
        }
        if self.open.is_empty() { out.idle(true) } else { Ok(()) }
    }

    fn poll<O: SourceOutput<Event>>(&mut self, out: &mut O) -> Result<SourceStatus> {
        let turns = self.random.between(1, 4);
        for _ in 0..turns {
            if self.open.is_empty() {
                return Ok(SourceStatus::Finished);
            }
            self.turn = (self.turn + 1) % self.open.len();
            if self.play(self.turn, out)? {
                let (split, _) = self.open.remove(self.turn);
                out.split(SplitEvent::Finished(split))?;
            }
        }
        let start = self.start.unwrap_or_default();
        let next = (0..self.open.len()).map(|place| self.event(place).map_or(0, |e| e.due)).min();
        match next.map(|due| start + due) {
            None => Ok(SourceStatus::Finished),
            Some(due) if due > out.now() => Ok(SourceStatus::WaitUntil(due)),
            Some(_) => Ok(SourceStatus::More),
        }
    }

    fn snapshot(&self) -> Vec<(u32, u64)> {
        self.open.iter().map(|(split, at)| (*split, *at as u64)).collect()
    }
}
