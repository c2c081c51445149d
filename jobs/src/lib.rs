//! The built-in jobs.

mod arguments;
pub mod fraud;
pub mod fraud_p;
pub mod wordcount;
