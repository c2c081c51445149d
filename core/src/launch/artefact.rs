//! The verbs `checkpoint list`, `inspect` and `verify`: what lies in a checkpoint directory.
//!
//! They need no running process and write nothing. The log says what is complete and what a restart
//! goes on from; copies of manifests are believed only where there is no log.

mod find;
mod inspect;
mod list;
mod names;
mod object;
mod shelf;
mod verify;

use std::path::PathBuf;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::Context;
use super::cli::{CheckpointVerb, Checkpoints, Shelf as Place};
use crate::Result;

impl Context<'_> {
    /// Carries out a verb of `checkpoint`.
    pub(super) fn checkpoint(&self, verb: &Checkpoints) -> Result<i32> {
        match &verb.verb {
            CheckpointVerb::Trigger(verb) => self.trigger(verb),
            CheckpointVerb::List { job_id, all, shelf } => {
                self.list_checkpoints(job_id.as_deref(), *all, shelf)
            }
            CheckpointVerb::Inspect { which, key_groups } => {
                self.inspect_checkpoint(which, *key_groups)
            }
            CheckpointVerb::Verify { which } => self.verify_checkpoint(which),
        }
    }

    /// The directory of checkpoints that is meant.
    fn checkpoint_directory(&self, place: &Place) -> Result<PathBuf> {
        if let Some(directory) = &place.dir {
            return Ok(directory.clone());
        }
        Ok(self.layered(&place.layers, None)?.checkpoint_directory())
    }
}

/// Milliseconds of the wall clock as a date and a time in UTC.
fn moment(millis: u64) -> String {
    i64::try_from(millis).map_or_else(|_| millis.to_string(), event_time)
}

/// Milliseconds of event time, likewise.
fn event_time(millis: i64) -> String {
    match (millis, Timestamp::from_millisecond(millis)) {
        (i64::MIN, _) => "none".to_owned(),
        (i64::MAX, _) => "the end of time".to_owned(),
        (_, Ok(time)) => time.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d %H:%M:%S%.3f").to_string(),
        (_, Err(_)) => millis.to_string(),
    }
}

/// A name from a file for a terminal: control characters are escaped.
fn clean(name: &str) -> String {
    if name.contains(char::is_control) { name.escape_debug().to_string() } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_dates_and_what_is_none_is_a_number() {
        assert_eq!(moment(1_795_434_793_003), "2026-11-23 11:53:13.003");
        assert_eq!(moment(u64::MAX), u64::MAX.to_string());
        assert_eq!(event_time(i64::MIN + 1), (i64::MIN + 1).to_string());
        assert_eq!((event_time(i64::MIN), event_time(0).len()), ("none".to_owned(), 23));
        assert_eq!(clean("a\tb\u{1b}[1m"), "a\\tb\\u{1b}[1m");
    }
}
