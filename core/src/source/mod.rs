//! Sources: where records come from.
//!
//! A source is a description: path, format, options. In plan mode it validates its arguments and
//! lists its splits, and opens nothing; on each core it makes a reader for that core's splits. A
//! split carries its own position, so a snapshot of a reader is the list of its splits, and a
//! restore is a reader made from them.

mod file;
mod generator;
pub(crate) mod position;
mod socket;

pub use file::{BadLine, BadLines, Csv, FilePosition, FileReader, FileSource, FileSplit};
pub use file::{JsonLines, Line, LineParser, Lines};
pub use generator::{AssignBy, Assignment, Generating, Generator, GeneratorSplit, NoAssignment};
pub use socket::{SocketReader, SocketSource};

use std::rc::Rc;

use thalweg_net::Doorbell;

use crate::Result;
use crate::operator::SplitEvent;
use crate::runtime::{Aside, Core};
use crate::time::Timestamp;

/// The description of a source.
pub trait Source: 'static {
    /// What it produces.
    type Out: 'static;
    /// A part of the input with the position from which to read it.
    type Split: thalweg_state::State + Clone + Send;
    /// Reads splits on one core.
    type Reader: SourceReader<Out = Self::Out, Split = Self::Split>;

    /// A word for plans and messages: `generator`, `file`.
    fn kind(&self) -> &'static str;
    /// Checks the arguments without opening anything; called in plan mode.
    fn validate(&self) -> Result<()> {
        Ok(())
    }
    /// Whether the input ends by itself.
    fn bounded(&self) -> bool;
    /// How many records all splits hold together, if that is known beforehand: progress counts up
    /// to it.
    fn expected(&self) -> Option<u64> {
        None
    }
    /// What is not exactly once for the sake of this source: printed when the job starts.
    fn guarantee(&self) -> Option<String> {
        None
    }
    /// All splits with their starting positions, in a fixed order; split `i` goes to core `i %
    /// parallelism`.
    fn splits(&self, parallelism: usize) -> Result<Vec<Self::Split>>;
    /// Makes the reader of one core.
    fn reader(self, splits: Vec<(u32, Self::Split)>, cx: SourceContext) -> Result<Self::Reader>;
}

/// What a reader gets to know about the core that it runs on.
#[derive(Clone)]
pub struct SourceContext {
    /// The core.
    pub core: Rc<Core>,
    /// Rings the core when input has arrived from another thread.
    pub doorbell: Option<Doorbell>,
    /// Read inline instead of on side threads: tests and the simulator.
    pub inline_io: bool,
    /// Where side threads run; `None`: inline.
    pub(crate) aside: Option<Aside>,
}

/// What a reader says after a poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceStatus {
    /// There is more right now.
    More,
    /// Nothing until this engine time, in nanoseconds.
    WaitUntil(u64),
    /// Nothing until the doorbell rings.
    Wait,
    /// The input is exhausted.
    Finished,
}

/// Reads the splits of one core. Called only by its core; never blocks.
pub trait SourceReader: 'static {
    /// What it produces.
    type Out: 'static;
    /// See [`Source::Split`].
    type Split: thalweg_state::State;

    /// Called once before the first poll: announces the splits (`SplitEvent::Added`), or idleness
    /// if there is none.
    fn open<O: SourceOutput<Self::Out>>(&mut self, out: &mut O) -> Result<()>;
    /// Reads until the output is full or nothing is there.
    fn poll<O: SourceOutput<Self::Out>>(&mut self, out: &mut O) -> Result<SourceStatus>;
    /// The unfinished splits with their positions as of now; finished ones carry their end.
    fn snapshot(&self) -> Vec<(u32, Self::Split)>;
}

/// Takes a reader's records.
pub trait SourceOutput<T> {
    /// Hands over a record: its timestamp in milliseconds ([`crate::time::MIN`] if it has none),
    /// and the engine time at which it was due.
    fn collect(&mut self, record: T, timestamp: Timestamp, origin: u64) -> Result<()>;
    /// Whether the reader has to stop now; asked before each record.
    fn is_full(&self) -> bool;
    /// Tells the watermark generators about splits.
    fn split(&mut self, event: SplitEvent) -> Result<()>;
    /// Moves event time on by itself; only for sources whose records need no watermark strategy. An
    /// output that takes none ignores it.
    fn watermark(&mut self, _watermark: Timestamp) -> Result<()> {
        Ok(())
    }
    /// Declares this core's part of the source idle or active.
    fn idle(&mut self, idle: bool) -> Result<()>;
    /// Engine time in nanoseconds as of this batch.
    fn now(&self) -> u64;
}
