//! Thalweg: a thread-per-core, shared-nothing dataflow engine with exactly-once guarantees.
//!
//! A job is a function over a [`Dataflow`]; it is called once to plan and once on every core to
//! run. Linux only.
//!
//! ```
//! use thalweg::prelude::*;
//!
//! fn job(flow: &Dataflow, _args: &Args) -> thalweg::Result<()> {
//!     flow.from_iter("words", ["to", "be", "to"].map(String::from))
//!         .key_by(|word| word.clone())
//!         .flat_map_with_state("count", ValueSpec::new("n"), |word: &String, _, n: &mut u64| {
//!             *n += 1;
//!             Some((word.clone(), *n))
//!         })
//!         .sink("out", Print::new());
//!     Ok(())
//! }
//! thalweg::run_local(|flow: &Dataflow, args: &Args| job(flow, args), 1).unwrap();
//! ```

#![deny(unsafe_code)]

extern crate self as thalweg;

pub mod config;
pub mod console;
pub mod control;
pub mod dataflow;
pub mod error;
pub mod graph;
mod job;
#[cfg(feature = "cli")]
mod launch;
pub mod metrics;
mod nearest;
pub mod operator;
pub mod prelude;
mod record;
pub mod runtime;
pub mod sink;
pub mod source;
pub mod state;
pub mod testing;
pub mod time;

pub use dataflow::{Dataflow, KeyedStream, Stream};
pub use error::{BoxError, Error, Result};
pub use job::{Args, Job, plan, run_local};
#[cfg(feature = "cli")]
pub use launch::{Demo, DemoFn, JobFn, Launcher, launch};
pub use record::Record;
pub use runtime::{Meter, RunOptions, Summary, Totals, run};
pub use thalweg_state::{
    CodecError, Key, KeyError, KeyRef, KeySink, State, key, macros, record, rkyv,
};
