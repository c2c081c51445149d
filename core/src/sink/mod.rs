//! Sinks: where results go.
//!
//! A sink is a description; each core makes a writer from it. A writer never blocks its core: it
//! says that it is not ready, and the tasks in front of it wait. What a checkpoint promises is
//! sealed into committables, and a commit is idempotent.

mod blackhole;
mod file;
mod print;

pub use blackhole::Blackhole;
pub use file::{FileSink, FileWriter, SealedPart};
pub use print::Print;

use std::marker::PhantomData;
use std::path::Path;
use std::rc::Rc;

use thalweg_net::Doorbell;

use crate::Result;
use crate::runtime::{Aside, Core};
use crate::time::{Stamp, Timestamp};

/// The description of a sink for records of type `T`.
pub trait Sink<T>: 'static {
    /// Writes on one core.
    type Writer: SinkWriter<T>;

    /// A word for plans and messages: `file`, `print`.
    fn kind(&self) -> &'static str;
    /// Checks the arguments without opening anything; called in plan mode.
    fn validate(&self) -> Result<()> {
        Ok(())
    }
    /// What is not exactly once for the sake of this sink: printed when the job starts.
    fn guarantee(&self) -> Option<String> {
        None
    }
    /// The directory that it writes to and that no other sink of the job may write to.
    fn directory(&self) -> Option<&Path> {
        None
    }
    /// Whether a job may begin to write here; asked of all sinks before the first is prepared, and
    /// never for a plan alone.
    fn vacant(&self) -> Result<()> {
        Ok(())
    }
    /// Called once before any core makes its writer, unless the job goes on from an earlier
    /// attempt: makes or clears the place that is written to.
    fn prepare(&self) -> Result<()> {
        Ok(())
    }
    /// Called once where the job goes on, behind the commit of all that the checkpoint holds:
    /// removes what attempts before `attempt` have left behind, and takes back what was committed
    /// for checkpoints above `checkpoint`.
    fn resume(&self, _attempt: u64, _checkpoint: u64) -> Result<()> {
        Ok(())
    }
    /// Whether committed output can be taken back; if not, a job does not go back behind a complete
    /// checkpoint by itself when that is damaged.
    fn can_take_back(&self) -> bool {
        false
    }
    /// Makes the writer of one core.
    fn writer(self, cx: SinkContext) -> Result<Self::Writer>;
}

/// The place that a sink of a plan writes to.
pub(crate) trait Place {
    /// The operator's name.
    fn name(&self) -> &str;
    fn directory(&self) -> Option<&Path>;
    fn vacant(&self) -> Result<()>;
    fn prepare(&self) -> Result<()>;
    fn resume(&self, attempt: u64, checkpoint: u64) -> Result<()>;
    /// Its name, unless committed output can be taken back.
    fn keeps_output(&self) -> Option<&str>;
}

/// A sink of a plan, by its operator's name.
pub(crate) struct Named<S, T> {
    pub(crate) name: String,
    pub(crate) sink: S,
    pub(crate) record: PhantomData<fn(T)>,
}

impl<T: 'static, S: Sink<T>> Place for Named<S, T> {
    fn name(&self) -> &str {
        &self.name
    }
    fn directory(&self) -> Option<&Path> {
        self.sink.directory()
    }
    fn vacant(&self) -> Result<()> {
        self.sink.vacant().map_err(|error| error.in_operator(&self.name))
    }
    fn prepare(&self) -> Result<()> {
        self.sink.prepare().map_err(|error| error.in_operator(&self.name))
    }
    fn resume(&self, attempt: u64, checkpoint: u64) -> Result<()> {
        let resumed = self.sink.resume(attempt, checkpoint);
        resumed.map_err(|error| error.in_operator(&self.name))
    }
    fn keeps_output(&self) -> Option<&str> {
        (!self.sink.can_take_back()).then_some(&self.name)
    }
}

/// What a writer gets to know about the core that it runs on.
#[derive(Clone)]
pub struct SinkContext {
    /// The core.
    pub core: Rc<Core>,
    /// Rings the core when a side thread has made room or finished.
    pub doorbell: Option<Doorbell>,
    /// Write inline instead of on side threads: tests and the simulator.
    pub inline_io: bool,
    /// Whether checkpoints are made; without them a writer commits when it rolls and at the end, as
    /// checkpoint 0.
    pub checkpoints: bool,
    /// Whether output becomes visible without waiting for the checkpoint that holds it: at least
    /// once. What was written before a cut must be visible when it is settled.
    pub write_through: bool,
    /// The attempt that writes: no two attempts write to one file.
    pub attempt: u64,
    /// Where side threads run; `None`: inline.
    pub(crate) aside: Option<Aside>,
}

/// Writes on one core. Called only by its core; never blocks.
///
/// Order of calls: any number of `ready`, `write`, `watermark` and `flush` (the end of a batch); at
/// a cut `seal`, later `commit`; after the last record `end`, then `finish` until it returns true.
pub trait SinkWriter<T>: 'static {
    /// What a checkpoint holds of sealed output, enough to commit it after a restart.
    type Committable: thalweg_state::State;

    /// Whether more records can be taken now.
    fn ready(&mut self) -> Result<bool> {
        Ok(true)
    }
    /// Takes a record.
    fn write(&mut self, record: T, stamp: Stamp) -> Result<()>;
    /// Event time has moved on.
    fn watermark(&mut self, _watermark: Timestamp) -> Result<()> {
        Ok(())
    }
    /// The stream in front has become idle or active again.
    fn idle(&mut self, _idle: bool) -> Result<()> {
        Ok(())
    }
    /// A batch has ended: what is staged may go.
    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
    /// The job goes on from this checkpoint: the next call of `seal` has a higher number.
    fn restored(&mut self, _checkpoint: u64) {}
    /// Closes what was written since the last call and says how to commit it. The core goes on at
    /// once; what was closed is durable when [`SinkWriter::settled`] says so.
    fn seal(&mut self, checkpoint: u64) -> Result<Vec<Self::Committable>>;
    /// Makes sealed output visible, by the time that [`SinkWriter::settled`] says so; doing it
    /// twice is the same as once.
    fn commit(&mut self, committables: Vec<Self::Committable>) -> Result<()>;
    /// Whether all that was sealed is durable and all that was committed is visible: asked until it
    /// is true before a cut is acknowledged or a commit confirmed.
    fn settled(&mut self) -> Result<bool> {
        Ok(true)
    }
    /// No more records.
    fn end(&mut self) -> Result<()> {
        Ok(())
    }
    /// Whether everything is written, durable and, without checkpoints, committed.
    fn finish(&mut self) -> Result<bool> {
        Ok(true)
    }
}
