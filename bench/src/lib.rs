//! What the benchmarks share: the workload, the baselines, and how a figure is taken and reported.
//!
//! One binary per question under `src/bin`. A ratio is only ever taken between two contestants that
//! alternate in one process, and the raw runs are kept.

pub mod bare;
pub mod digest;
pub mod durable;
pub mod engine;
pub mod handwritten;
pub mod machine;
pub mod report;
#[cfg(feature = "rocksdb")]
pub mod rocks;
pub mod workload;
pub mod zipf;
