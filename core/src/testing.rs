//! Helpers for tests of jobs and operators.
//!
//! [`Harness`] drives the engine's own workers with event time, processing time and watermarks by
//! hand; [`outputs`] runs a bounded stream to its end.

mod again;
mod harness;
mod input;
mod options;
mod output;

#[cfg(test)]
mod matrix;

pub use harness::Harness;
pub use input::Input;
pub use options::HarnessOptions;

#[cfg(test)]
mod folder;

#[cfg(test)]
pub(crate) use folder::{Folder, cpus};

mod cluster;

pub use cluster::{Cluster, ClusterOptions, StateBound};

use crate::dataflow::{Collected, Dataflow, Stream};
use crate::job::{Args, run_local};
use crate::operator::Chain;

/// Runs a bounded stream on one core in this thread and returns its records in order.
///
/// # Panics
/// If the job fails.
pub fn outputs<T, C>(make: impl Fn(&Dataflow) -> Stream<T, C>) -> Vec<T>
where
    T: Send + 'static,
    C: Chain<T>,
{
    let all = Collected::new();
    let out = all.clone();
    let job = move |flow: &Dataflow, _: &Args| {
        make(flow).collect_into("outputs", &out);
        Ok(())
    };
    run_local(job, 1).expect("the job fails");
    all.take()
}
