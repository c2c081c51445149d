//! What became of the newest checkpoints: for lists and metrics.

use std::collections::VecDeque;

use super::message::Phases;
use crate::manifest::Kind;

/// How many checkpoints are remembered.
pub const STATISTICS_MAX: usize = 100;

/// What became of one checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statistic {
    /// Its id.
    pub id: u64,
    /// What it was for.
    pub kind: Kind,
    /// Why it failed; `None` if it is complete.
    pub failure: Option<String>,
    /// When it was triggered, in milliseconds of the wall clock.
    pub started_ms: u64,
    /// From the trigger to the end.
    pub duration_ms: u64,
    /// The part of it that the log took.
    pub log_ms: u64,
    /// The longest of each phase over the cores.
    pub phases: Phases,
    /// What all its files hold, those of earlier checkpoints too; 0 if it failed.
    pub bytes: u64,
}

/// The newest checkpoints of an attempt, and counts of all.
#[derive(Debug, Clone, Default)]
pub struct Statistics {
    newest: VecDeque<Statistic>,
    completed_count: u64,
    failed_count: u64,
}

impl Statistics {
    /// The newest checkpoints that are over, oldest first, [`STATISTICS_MAX`] at most.
    pub fn list(&self) -> impl Iterator<Item = &Statistic> {
        self.newest.iter()
    }

    /// How many are complete.
    pub fn completed_count(&self) -> u64 {
        self.completed_count
    }

    /// How many failed.
    pub fn failed_count(&self) -> u64 {
        self.failed_count
    }

    pub(super) fn push(&mut self, statistic: Statistic) {
        match statistic.failure {
            None => self.completed_count += 1,
            Some(_) => self.failed_count += 1,
        }
        if self.newest.len() == STATISTICS_MAX {
            self.newest.pop_front();
        }
        self.newest.push_back(statistic);
    }
}
