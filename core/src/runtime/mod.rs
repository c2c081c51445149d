//! What runs a job: tasks, gates, exchanges, the worker of a core and the node around it.

mod aside;
mod audit;
mod core;
mod cut;
mod drive;
mod exchange;
mod gate;
mod keeping;
mod mesh;
mod meter;
mod node;
mod panics;
pub(crate) mod poison;
mod port;
mod preflight;
mod pulse;
mod scratch;
mod sealed;
mod side;
mod sink_task;
mod source_task;
pub(crate) mod splits;
mod summary;
mod union;
mod valve;
mod voice;
mod worker;

pub(crate) use aside::{Aside, Chore, SideCpus, SideThread};
pub use audit::{GateView, InputView, OutputView};
pub use core::Core;
pub use cut::{ChannelOutline, Outline, SinkOutline, SourceOutline};
pub use cut::{Content, CutCommand, CutReport, MergeLimits, Restore, Restores};
pub(crate) use cut::{Restoring, damaged};
pub(crate) use exchange::{Broadcast, ByKey, Exchange, ExchangeFeed, Outlet, OutputPort};
pub(crate) use exchange::{Rescale, RoundRobin, Route, To};
pub(crate) use gate::{Gate, GatePort, HoldPages, PageConsumer, Run};
pub(crate) use mesh::{MeshNode, mesh};
pub use meter::Meter;
#[cfg(feature = "cli")]
pub(crate) use node::default_parallelism;
pub use node::{CheckpointOptions, RunOptions, ShowTotals, planned, run};
pub use port::Port;
pub(crate) use port::PortFeed;
pub(crate) use side::{Captured, SideOutputs};
pub(crate) use sink_task::{SinkFeed, SinkPort, Typed, Writing};
pub(crate) use source_task::{Reading, SourceTask};
pub use summary::{Stopped, Summary, Totals};
pub(crate) use union::Union;
pub(crate) use valve::{Change, Valve};
pub(crate) use voice::WatchLine;
pub use worker::{Link, Progress, Worker};
pub(crate) use worker::{Parts, Task};

/// What a task did in its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ran {
    /// Nothing was there.
    Idle,
    /// It took something.
    Worked,
    /// It used its whole budget: more is waiting.
    Behind,
    /// It stopped because an output is out of credit.
    Blocked,
    /// Its input has ended.
    Ended,
}

impl Ran {
    pub(crate) fn worked(self) -> bool {
        matches!(self, Ran::Worked | Ran::Behind)
    }
}
