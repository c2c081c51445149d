//! When checkpoints are made, where they go, and what follows a failure.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use thalweg_checkpoint::coordinator;
use thalweg_checkpoint::restart::Strategy;

use super::value::Value;
use super::{Config, PoisonConfig, state_home};

/// Checkpoints of a job.
#[derive(Debug, Clone)]
pub struct CheckpointConfig {
    /// The directory that holds them, each job's below its id.
    pub directory: PathBuf,
    /// When they are made and how many are kept.
    pub coordinator: coordinator::Config,
    /// What follows a failure.
    pub restarts: Strategy,
    /// Whether a record that fails again and again is set aside.
    pub poison: Option<PoisonConfig>,
    /// Whether they stay when the job is cancelled.
    pub retain_on_cancel: bool,
    /// Whether output does not wait for them.
    pub at_least_once: bool,
}

impl Config {
    /// The checkpoints of a job; `None`: it makes none.
    pub fn checkpoints(&self) -> Option<CheckpointConfig> {
        let Value::Duration(interval) = self.setting("checkpoint.interval").value else {
            return None;
        };
        let retained = u32::try_from(self.number("checkpoint.retained")).unwrap_or(u32::MAX);
        let tolerable = self.number("checkpoint.tolerable-failures");
        Some(CheckpointConfig {
            directory: self.checkpoint_directory(),
            coordinator: coordinator::Config {
                interval_ms: Some(millis(interval)),
                timeout_ms: self.millis("checkpoint.timeout"),
                min_pause_ms: self.millis("checkpoint.min-pause"),
                tolerable_failed: u32::try_from(tolerable).unwrap_or(u32::MAX),
                retained: NonZeroU32::new(retained).unwrap_or(NonZeroU32::MIN),
                aligned_timeout_ms: match self.setting("checkpoint.unaligned").value {
                    Value::Flag(false) => u64::MAX,
                    _ => self.millis("checkpoint.aligned-timeout"),
                },
                ..coordinator::Config::default()
            },
            restarts: self.restarts(),
            poison: self.poison(),
            retain_on_cancel: self.setting("checkpoint.retention").text == "retain-on-cancel",
            at_least_once: self.setting("checkpoint.mode").text == "at-least-once",
        })
    }

    /// Where checkpoints lie, whether or not any are made.
    pub fn checkpoint_directory(&self) -> PathBuf {
        if let Value::Directory(directory) = &self.setting("checkpoint.dir").value {
            return directory.clone();
        }
        match &self.setting("data.dir").value {
            Value::Directory(directory) => directory.join("checkpoints"),
            _ => state_home().join("checkpoints"),
        }
    }

    fn restarts(&self) -> Strategy {
        let delay_ms = self.millis("restart.delay");
        let few = |name| u32::try_from(self.number(name)).unwrap_or(u32::MAX);
        match self.setting("restart.strategy").text.as_str() {
            "none" => Strategy::None,
            "fixed-delay" => {
                Strategy::FixedDelay { restarts_max: few("restart.attempts"), delay_ms }
            }
            "failure-rate" => Strategy::FailureRate {
                failures_max: few("restart.failures"),
                interval_ms: self.millis("restart.interval"),
                delay_ms,
            },
            _ => Strategy::ExponentialDelay {
                initial_ms: self.millis("restart.initial-delay"),
                max_ms: self.millis("restart.max-delay"),
                multiplier: self.fraction("restart.multiplier"),
                jitter: self.fraction("restart.jitter"),
                reset_ms: self.millis("restart.reset-after"),
            },
        }
    }

    fn millis(&self, name: &str) -> u64 {
        millis(self.duration(name))
    }

    fn fraction(&self, name: &str) -> f64 {
        match self.setting(name).value {
            Value::Number(number) => number,
            ref other => panic!("{name} is no number: {other:?}"),
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sources;

    fn defined(definitions: &[&str]) -> Option<CheckpointConfig> {
        let definitions = definitions.iter().map(|text| (*text).to_owned()).collect();
        let config = Config::load(&Sources { definitions, ..Sources::default() });
        config.unwrap().checkpoints()
    }

    #[test]
    fn without_an_interval_there_are_none() {
        assert!(defined(&[]).is_none() && defined(&["checkpoint.timeout=5s"]).is_none());
    }

    #[test]
    fn flinks_words_and_ours_say_the_same() {
        let flink = defined(&[
            "execution.checkpointing.interval=100ms",
            "execution.checkpointing.dir=/c",
            "execution.checkpointing.timeout=30000",
            "execution.checkpointing.num-retained=3",
            "restart-strategy.type=fixeddelay",
            "restart-strategy.fixed-delay.attempts=7",
        ]);
        let ours = defined(&[
            "checkpoint.interval=100ms",
            "checkpoint.dir=/c",
            "checkpoint.timeout=30s",
            "checkpoint.retained=3",
            "restart.strategy=fixed-delay",
            "restart.attempts=7",
        ]);
        let (flink, ours) = (flink.unwrap(), ours.unwrap());
        assert_eq!((&flink.coordinator, &flink.restarts), (&ours.coordinator, &ours.restarts));
        assert_eq!(flink.directory, ours.directory);
        assert_eq!(ours.coordinator.interval_ms, Some(100));
        assert_eq!(ours.coordinator.timeout_ms, 30_000);
        assert_eq!(ours.coordinator.retained.get(), 3);
        let fixed = Strategy::FixedDelay { restarts_max: 7, delay_ms: 1_000 };
        assert_eq!(ours.restarts, fixed);
        assert_eq!(ours.directory, PathBuf::from("/c"));
    }

    #[test]
    fn the_defaults_are_flinks_but_for_two_retained() {
        let config = defined(&["checkpoint.interval=1s", "data.dir=/data"]).unwrap();
        assert_eq!(config.restarts, Strategy::EXPONENTIAL_DELAY);
        assert_eq!(config.directory, PathBuf::from("/data/checkpoints"));
        let defaults = coordinator::Config::default();
        assert_eq!(config.coordinator.interval_ms, Some(1_000));
        let config = coordinator::Config { interval_ms: None, ..config.coordinator };
        assert_eq!(config, defaults);
    }
}
