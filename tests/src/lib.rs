//! Tests of the whole engine: the simulator, and what the promises' tests share.

pub mod attempt;
pub mod crash;
pub mod fuzz;
pub mod sim;
