//! What stands above the cores of a job: who begins an attempt, and who keeps its checkpoints.
//!
//! Nothing here does input or output by itself: work is given out and its outcome is heard, so the
//! simulator runs the same code as a thread of the node.

mod begin;
mod draining;
mod examine;
mod keeper;
mod merge;
mod work;

pub(crate) use begin::refused;
pub use begin::{Attempt, Begun, JobDescription, Manner, RestartFrom, begin};
pub use examine::{Bad, Depth, Examined, examine};
pub(crate) use keeper::FINAL;
pub use keeper::{Action, Keeper};
pub use merge::MergedFile;
pub use work::{Done, Upload, Work};
