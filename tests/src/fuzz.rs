//! Damaged bytes for whatever reads bytes: mutations of valid ones, by number.
//!
//! Every input follows from the target's name and the input's number, so a number is all that is
//! needed to see it again.

pub mod corpus;
mod mutator;
pub mod repair;

pub use mutator::mutate;
