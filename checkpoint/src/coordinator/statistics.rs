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
    /// From there until every core had made its output visible; `None` until then.
    pub commit_ms: Option<u64>,
    /// The longest of each phase over the cores.
    pub phases: Phases,
    /// Records in recorded frames.
    pub in_flight: u64,
    /// What it has written; 0 if it failed.
    pub new_bytes: u64,
    /// What all its files hold, those of earlier checkpoints too; 0 if it failed.
    pub bytes: u64,
}

/// The newest checkpoints of an attempt, and counts of all.
#[derive(Debug, Clone, Default)]
pub struct Statistics {
    newest: VecDeque<Statistic>,
    completed_count: u64,
    failed_count: u64,
    committed_count: u64,
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

    /// Rises whenever something here changes.
    pub fn changes(&self) -> u64 {
        self.completed_count + self.failed_count + self.committed_count
    }

    /// Every core has made visible what the newest complete checkpoint holds.
    pub(super) fn committed(&mut self, checkpoint: u64, commit_ms: u64) {
        let newest = self.newest.iter_mut().rev().find(|it| it.id == checkpoint);
        if let Some(newest) = newest.filter(|it| it.commit_ms.is_none()) {
            newest.commit_ms = Some(commit_ms);
            self.committed_count += 1;
        }
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
