//! The sink of simulated jobs: keeps rows, checks the order of calls, and refuses records now and
//! then.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

use thalweg::sink::{Sink, SinkContext, SinkWriter};
use thalweg::time::{MAX, MIN, Stamp, Timestamp};
use thalweg::{Result, record};

use super::Random;
use crate::seen;

/// An output record as it is compared: a key within which order counts, and every field as text.
#[record]
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    /// Records of one key are compared in order.
    pub key: u64,
    /// The whole record.
    pub text: String,
}

/// Rows by sink.
pub type Rows = BTreeMap<String, Vec<Row>>;

/// Rows that a checkpoint promises: they become visible together, however often they are committed.
#[record]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// No two are alike, in whatever attempt they were sealed.
    pub id: u64,
    /// The sink's name.
    pub sink: String,
    /// What becomes visible.
    pub rows: Vec<Row>,
}

/// What the sinks of one run have kept, through all attempts; copies share it.
#[derive(Debug, Clone, Default)]
pub struct Outputs(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    rows: Rows,
    sealed: u64,
    committed: BTreeSet<u64>,
}

impl Outputs {
    /// Takes everything.
    pub fn take(&self) -> Rows {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner).rows)
    }

    fn seal(&self, sink: &str, rows: Vec<Row>) -> Sealed {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.sealed += 1;
        Sealed { id: kept.sealed, sink: sink.to_owned(), rows }
    }

    fn commit(&self, Sealed { id, sink, mut rows }: Sealed) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = kept.committed.insert(id);
        drop(kept);
        seen!("output was committed again", if !is_new);
        if is_new {
            self.append(&sink, &mut rows);
        }
    }

    fn append(&self, sink: &str, rows: &mut Vec<Row>) {
        let all = &mut self.0.lock().unwrap_or_else(PoisonError::into_inner).rows;
        match all.get_mut(sink) {
            Some(kept) => kept.append(rows),
            None => drop(all.insert(sink.to_owned(), std::mem::take(rows))),
        }
    }
}

/// How a sink behaves and what it demands.
#[derive(Debug, Clone)]
pub struct Manners {
    /// Percentage of `ready` that it refuses.
    pub refuses: u64,
    /// Demands that no record comes behind a watermark that has passed its timestamp.
    pub punctual: bool,
    /// Called with each watermark but the last.
    pub on_watermark: fn(),
    /// Chooses when it refuses.
    pub random: Random,
}

/// A sink that keeps what it is given.
#[derive(Clone)]
pub struct Probe<F> {
    name: Rc<str>,
    outputs: Outputs,
    manners: Manners,
    row: F,
}

impl<F> Probe<F> {
    /// Keeps the rows that `row` makes of records, under the sink's name.
    pub fn new(name: &str, outputs: &Outputs, manners: &Manners, row: F) -> Self {
        let (outputs, manners) = (outputs.clone(), manners.clone());
        Self { name: name.into(), outputs, manners, row }
    }
}

impl<T: 'static, F: Fn(&T) -> (u64, String) + 'static> Sink<T> for Probe<F> {
    type Writer = Probing<F>;

    fn kind(&self) -> &'static str {
        "probe"
    }

    fn writer(self, cx: SinkContext) -> Result<Self::Writer> {
        let random = self.manners.random.fork(&format!("{} {}", self.name, cx.core.index()));
        Ok(Probing {
            probe: self,
            random,
            staged: Vec::new(),
            unsealed: Vec::new(),
            checkpoints: cx.checkpoints,
            attempt: cx.attempt,
            watermark: MIN,
            is_ready: false,
            ended: false,
            finished: false,
            asked: 0,
        })
    }
}

/// The probe of one core.
pub struct Probing<F> {
    probe: Probe<F>,
    random: Random,
    staged: Vec<Row>,
    /// Flushed and not yet promised by a checkpoint.
    unsealed: Vec<Row>,
    checkpoints: bool,
    attempt: u64,
    watermark: Timestamp,
    /// It has said that it is ready, and no record has come since: it does not take that back, so
    /// that a source in front of several sinks finds all of them ready at some time.
    is_ready: bool,
    ended: bool,
    finished: bool,
    /// How often `finish` was called.
    asked: u64,
}

impl<T: 'static, F: Fn(&T) -> (u64, String) + 'static> SinkWriter<T> for Probing<F> {
    type Committable = Sealed;

    fn ready(&mut self) -> Result<bool> {
        self.is_ready |= !self.random.chance(self.probe.manners.refuses);
        seen!("a sink refused records", if !self.is_ready && !self.ended);
        Ok(self.is_ready)
    }

    fn write(&mut self, record: T, stamp: Stamp) -> Result<()> {
        let name = &self.probe.name;
        assert!(!self.ended, "sink {name}: a record came after the end");
        assert!(self.watermark < MAX, "sink {name}: a record came after the last watermark");
        if self.probe.manners.punctual && stamp.timestamp != MIN {
            let (at, watermark) = (stamp.timestamp, self.watermark);
            assert!(at > watermark, "sink {name}: a record of {at} came behind {watermark}");
        }
        let (key, text) = (self.probe.row)(&record);
        self.staged.push(Row { key, text });
        self.is_ready = false;
        Ok(())
    }

    fn watermark(&mut self, watermark: Timestamp) -> Result<()> {
        let (name, last) = (&self.probe.name, self.watermark);
        assert!(watermark > last, "sink {name}: watermark {watermark} after {last}");
        assert!(!self.ended, "sink {name}: watermark {watermark} after the end");
        self.watermark = watermark;
        if watermark != MAX {
            (self.probe.manners.on_watermark)();
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        if self.checkpoints {
            self.unsealed.append(&mut self.staged);
        } else {
            self.probe.outputs.append(&self.probe.name, &mut self.staged);
        }
        Ok(())
    }

    fn seal(&mut self, _checkpoint: u64) -> Result<Vec<Sealed>> {
        let unflushed = self.staged.len();
        assert_eq!(unflushed, 0, "sink {}: cut with records not flushed", self.probe.name);
        if self.unsealed.is_empty() {
            return Ok(Vec::new());
        }
        let rows = std::mem::take(&mut self.unsealed);
        Ok(vec![self.probe.outputs.seal(&self.probe.name, rows)])
    }

    fn commit(&mut self, committables: Vec<Sealed>) -> Result<()> {
        committables.into_iter().for_each(|sealed| self.probe.outputs.commit(sealed));
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        let name = &self.probe.name;
        assert!(!self.ended, "sink {name}: a second end");
        // A restored sink may have heard of it before.
        let heard = self.watermark == MAX || self.attempt > 1;
        assert!(heard, "sink {name}: an end without the last watermark");
        let unflushed = self.staged.len();
        assert_eq!(unflushed, 0, "sink {name}: an end with records that were not flushed");
        self.ended = true;
        Ok(())
    }

    fn finish(&mut self) -> Result<bool> {
        let ended = self.ended || self.attempt > 1;
        assert!(ended, "sink {}: asked to finish before its end", self.probe.name);
        assert!(!self.finished, "sink {}: asked again after it had finished", self.probe.name);
        self.asked += 1;
        let finished = !self.random.chance(self.probe.manners.refuses);
        seen!("a sink needed several calls to finish", if finished && self.asked > 1);
        self.finished = finished;
        Ok(finished)
    }
}
