//! Whether records on which user code fails again and again are set aside.

use std::num::NonZeroU32;
use std::path::PathBuf;

use thalweg_checkpoint::restart::Strategy;

use super::Config;
use super::value::Value;
use crate::{Error, Result};

/// When a record is poison, and where it goes then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoisonConfig {
    /// After how many failures in a row of which it is known that they are this record's.
    pub after: NonZeroU32,
    /// The directory that gets it, as a line of JSON in parts like those of a file sink.
    pub output: PathBuf,
}

impl PoisonConfig {
    /// Checks that a job with this restart strategy lives to see a record set aside.
    ///
    /// # Errors
    /// A usage error that names the key to change.
    pub fn check(&self, restarts: Strategy) -> Result<()> {
        // The failure before the counted ones only tells where to look.
        let needed = u64::from(self.after.get()) + 1;
        let hint = match restarts {
            Strategy::None => "set restart.strategy=exponential-delay, or leave it out".to_owned(),
            Strategy::FixedDelay { restarts_max, .. } if u64::from(restarts_max) < needed => {
                format!("set restart.attempts={needed} or more")
            }
            Strategy::FailureRate { failures_max, .. } if u64::from(failures_max) < needed => {
                format!("set restart.failures={needed} or more")
            }
            _ => return Ok(()),
        };
        let after = self.after;
        Err(Error::usage(format!(
            "cannot set a record aside after {after} failures: the restart strategy gives up \
             before the {needed} restarts that it takes"
        ))
        .with_hint(hint))
    }
}

impl Config {
    /// Whether and when records are set aside.
    pub(super) fn poison(&self) -> Option<PoisonConfig> {
        let after = u32::try_from(self.number("restart.poison-after")).unwrap_or(u32::MAX);
        match (NonZeroU32::new(after), &self.setting("restart.poison-output").value) {
            (Some(after), Value::Directory(output)) => {
                Some(PoisonConfig { after, output: output.clone() })
            }
            _ => None,
        }
    }

    /// Refuses keys that say to set records aside where that cannot happen.
    pub(super) fn check_poison(&self) -> Result<()> {
        if self.number("restart.poison-after") == 0 {
            return Ok(());
        }
        let refused = |why| Error::usage(format!("cannot set restart.poison-after: {why}"));
        let Some(poison) = self.poison() else {
            return Err(refused("nothing says where records go that are set aside")
                .with_hint("name a directory of its own: -D restart.poison-output=DIRECTORY"));
        };
        match self.checkpoints() {
            Some(checkpoints) => poison.check(checkpoints.restarts),
            None => Err(refused("without checkpoints a job that fails is not repeated")
                .with_hint("add -D checkpoint.interval=1s")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sources;

    fn defined(definitions: &[&str]) -> Result<Config> {
        let definitions = definitions.iter().map(|text| (*text).to_owned()).collect();
        Config::load(&Sources { definitions, ..Sources::default() })
    }

    const CHECKPOINTS: &str = "checkpoint.interval=1s";
    const AFTER: &str = "restart.poison-after=2";
    const OUTPUT: &str = "restart.poison-output=/poison";

    fn hint(definitions: &[&str]) -> String {
        let error = defined(definitions).unwrap_err();
        assert_eq!(error.kind().exit_code(), 2, "{definitions:?}");
        error.hint().unwrap_or_default().to_owned()
    }

    #[test]
    fn records_are_set_aside_only_if_someone_asks_for_it() {
        let poison = |definitions: &[&str]| {
            defined(definitions).unwrap().checkpoints().and_then(|it| it.poison)
        };
        assert_eq!(poison(&[CHECKPOINTS]), None);
        assert_eq!(poison(&[CHECKPOINTS, OUTPUT]), None);
        let after = NonZeroU32::new(2).unwrap();
        let wanted = PoisonConfig { after, output: "/poison".into() };
        assert_eq!(poison(&[CHECKPOINTS, AFTER, OUTPUT]), Some(wanted));
    }

    #[test]
    fn what_cannot_set_records_aside_is_refused_and_says_what_to_do() {
        assert!(hint(&[CHECKPOINTS, AFTER]).contains("restart.poison-output=DIRECTORY"));
        assert!(hint(&[AFTER, OUTPUT]).contains("checkpoint.interval=1s"));
        let base = [CHECKPOINTS, AFTER, OUTPUT];
        let with = |more: &[&str]| hint(&[&base, more].concat());
        assert!(with(&["restart.strategy=none"]).contains("exponential-delay"));
        let fixed = "restart.strategy=fixed-delay";
        assert_eq!(with(&[fixed, "restart.attempts=2"]), "set restart.attempts=3 or more");
        let rate = "restart.strategy=failure-rate";
        assert_eq!(with(&[rate, "restart.failures=2"]), "set restart.failures=3 or more");
        for enough in [[fixed, "restart.attempts=3"], [rate, "restart.failures=3"]] {
            assert!(defined(&[&base[..], &enough].concat()).is_ok(), "{enough:?}");
        }
    }
}
