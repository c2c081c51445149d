//! The job `fraud`: judges purchases by how many there are in an hour and by how large they are.
//!
//! The modules here are pure: they read no file and no clock, and know nothing of the engine.

pub mod account;
#[cfg(test)]
mod known_answer;
pub mod purchase;
pub mod rules;
