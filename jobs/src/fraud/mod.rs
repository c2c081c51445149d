//! The job `fraud`: judges purchases by how many there are in an hour and by how large they are.
//!
//! `account`, `purchase` and `rules` are pure: they read no file and no clock, and know nothing of
//! the engine.

pub mod account;
mod demo;
mod job;
#[cfg(test)]
mod known_answer;
pub mod purchase;
pub mod rules;

pub use demo::demo;
pub use job::{Alert, Hourly, Late, Options, fraud};
