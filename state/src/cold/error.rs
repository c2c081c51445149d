//! Errors of the cold tier.
//!
//! An error names the directory and says what the user can do; the tier is of no use afterwards.

use thiserror::Error;

/// Cold rows can no longer be read or written.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{what}")]
pub struct ColdError {
    /// What was attempted and with what, and the cause: lower case, no full stop.
    pub what: String,
    /// What the user can do about it.
    pub hint: Option<String>,
}

impl ColdError {
    /// An error without a hint.
    #[cold]
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), hint: None }
    }

    /// Adds what the user can do about it.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}
