//! The job `fraud-p`: the fixed-size variant of `fraud`, whose every purchase goes on to the sink.
//!
//! The rule is pure: it reads no clock and knows nothing of the engine.

pub mod digest;
mod job;
pub mod rule;
pub mod stream;
mod zipf;

pub use job::{Assign, Enriched, Options, Verdict, enrich, fraud_p, verdicts_into};
