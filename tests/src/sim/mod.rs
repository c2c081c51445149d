//! The simulator: the workers of production, stepped in one thread in an order that a seed chooses.
//!
//! A seed decides everything: the job and its input, how many cores run it, how small buffers and
//! credits are, which worker steps next, how many records its tasks may take, how many frames it
//! sees, how far the clock moves. After every step invariants are checked; at the end the output
//! must be that of one core with large buffers, and where a job brings its own account of what is
//! right, that one. Equal seeds give equal traces.
//!
//! To add a job, write a function that makes a [`jobs::Case`]'s instance and list it in
//! [`jobs::CASES`].

pub mod checkpoints;
pub mod checks;
pub mod clocks;
pub mod faults;
pub mod jobs;
pub mod marks;
pub mod oracle;
pub mod probe;
pub mod random;
pub mod run;
pub mod schedule;
pub mod script;
pub mod trace;
pub mod trap;
pub mod world;
pub mod zombies;

pub use random::Random;
pub use run::{Failure, Report, run_case, run_seed};
