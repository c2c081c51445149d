//! What a job needs: `use thalweg::prelude::*`.

pub use crate::dataflow::{Collected, Dataflow, KeyedStream, Stream, Tag};
pub use crate::job::Args;
pub use crate::operator::Rejected;
pub use crate::sink::{Blackhole, FileSink, Print};
pub use crate::source::{BadLine, FileSource, Generator, Line, LineParser, SocketSource};
pub use crate::state::ValueSpec;
pub use crate::time::{Timestamp, WatermarkStrategy};
pub use crate::{Key, Record, State, record};
