//! What a job needs: `use thalweg::prelude::*`.

pub use crate::dataflow::{Collected, Dataflow, KeyedStream, Stream, Tag, WindowedStream};
pub use crate::job::Args;
pub use crate::operator::{
    AggregateFn, BroadcastContext, BroadcastProcess, EventTimeTrigger, Fold, KeyedBroadcastProcess,
    KeyedCoProcess, KeyedProcess, ProcessContext, Rejected, StreamBroadcastContext, StreamContext,
    StreamProcess, TimeDomain, TimeWindow, Timer, Trigger, TriggerContext, TriggerResult,
    TumblingWindows, WindowAssigner,
};
pub use crate::sink::{Blackhole, FileSink, Print};
pub use crate::source::{BadLine, FileSource, Generator, Line, LineParser, SocketSource};
pub use crate::state::{
    AggregatingState, BroadcastState, ListState, MapState, OperatorList, ReducingState, StateSpec,
    States, Ttl, UnionList, UpdateType, ValueSpec, ValueState, Visibility,
};
pub use crate::time::{Timestamp, WatermarkStrategy};
pub use crate::{Key, Record, State, record};
