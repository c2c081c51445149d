//! The built-in jobs.

pub mod fraud_p;
