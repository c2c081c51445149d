//! What tests of real processes share: a job that is started, killed and started again, its log,
//! and what a reader sees of its output.

pub mod committed;
pub mod disk;
pub mod episode;
pub mod process;

pub use committed::{Committed, Differences};
pub use disk::{Fate, Tree};
pub use episode::Episode;
pub use process::{Place, Running};
