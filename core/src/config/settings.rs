//! Every key with its value and where it came from, and what the runtime makes of them.

use std::time::Duration;

use super::keys::{Effect, Key, keys};
use super::layers::{Layers, Sources};
use super::value::Value;
use super::{Backend, Cpus, Idle, NetworkConfig, Rim, RuntimeConfig, Share, StateConfig};
use crate::{Error, Result};

/// The configuration: all layers merged and checked.
#[derive(Debug, Clone)]
pub struct Config {
    settings: Vec<Setting>,
    notices: Vec<String>,
}

/// A key's value and its origin.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    /// The key.
    pub key: &'static Key,
    /// Its value as text.
    pub text: String,
    /// Its value.
    pub value: Value,
    /// The layer that it came from: `default`, a file, a variable, `-D`, a flag.
    pub origin: String,
}

impl Setting {
    /// Whether some layer above the defaults has set it.
    pub fn is_given(&self) -> bool {
        self.origin != "default"
    }
}

impl Config {
    /// Reads and merges all layers.
    ///
    /// # Errors
    /// An unknown key, a value that does not fit, a file that cannot be read, a feature that is not
    /// built.
    pub fn load(sources: &Sources) -> Result<Self> {
        let Layers { figment, mut notices } = Layers::read(sources)?;
        let mut settings = Vec::new();
        for key in keys() {
            let raw = figment.find_value(key.name).ok();
            let text = raw.as_ref().and_then(|value| value.as_str()).unwrap_or(key.default);
            let origin = figment.find_metadata(key.name);
            let origin = origin.map_or("default".into(), |metadata| metadata.name.to_string());
            let value = match key.auto {
                Some(auto) if auto == text => Value::Auto,
                _ => key.shape.parse(text).map_err(|wanted| {
                    Error::usage(format!("cannot set {} to \"{text}\": wants {wanted}", key.name))
                })?,
            };
            settings.push(Setting { key, text: text.to_owned(), value, origin });
        }
        for setting in settings.iter().filter(|setting| setting.is_given()) {
            notices.extend(effect(setting)?);
        }
        let config = Self { settings, notices };
        config.check()?;
        Ok(config)
    }

    /// All settings in the order of the table.
    pub fn settings(&self) -> &[Setting] {
        &self.settings
    }

    /// What the user should know: aliases that were used, keys without effect.
    pub fn notices(&self) -> &[String] {
        &self.notices
    }

    /// The setting of a key of the table.
    pub fn setting(&self, name: &str) -> &Setting {
        let found = self.settings.iter().find(|setting| setting.key.name == name);
        found.unwrap_or_else(|| panic!("there is no key {name} in the table"))
    }

    /// On how many cores a job is to run; `None`: on all that it may use.
    pub fn parallelism(&self) -> Option<usize> {
        match self.setting("job.parallelism").value {
            Value::Count(count) => Some(count as usize),
            _ => None,
        }
    }

    /// How cores run.
    pub fn runtime(&self) -> RuntimeConfig {
        let is = |name: &str, word: &str| self.setting(name).text == word;
        RuntimeConfig {
            network: self.network(),
            idle: if is("runtime.idle", "spin") { Idle::Spin } else { Idle::Park },
            spin: self.duration("runtime.spin"),
            warm_up: self.duration("runtime.warm-up"),
            rim: if is("runtime.rim", "thread") { Rim::Thread } else { Rim::Glommio },
            cpus: match &self.setting("worker.cores").value {
                Value::Count(count) => Cpus::Count(*count as usize),
                Value::Cores(cpus) => Cpus::List(cpus.clone()),
                _ => Cpus::All,
            },
            max_parallelism: match self.setting("job.max-parallelism").value {
                Value::Count(count) => Some(count as u32),
                _ => None,
            },
            state: self.state(),
        }
    }

    fn state(&self) -> StateConfig {
        let hashmap = self.setting("state.backend").text == "hashmap";
        StateConfig {
            backend: if hashmap { Backend::Hashmap } else { Backend::Rocksdb },
            memory: match self.setting("state.memory").value {
                Value::Size(bytes) => Share::Bytes(bytes),
                Value::Number(fraction) => Share::Fraction(fraction),
                ref other => panic!("state.memory is no share: {other:?}"),
            },
            limit: match self.setting("memory.limit").value {
                Value::Size(bytes) => Some(bytes),
                _ => None,
            },
            directory: match &self.setting("data.dir").value {
                Value::Directory(directory) => Some(directory.clone()),
                _ => None,
            },
        }
    }

    fn network(&self) -> NetworkConfig {
        NetworkConfig {
            buffer_size: self.number("network.buffer-size") as usize,
            credits: self.number("network.buffers-per-channel") as usize,
            overdraft: self.number("network.overdraft") as usize,
            flush_after: self.duration("network.flush-after").as_nanos() as u64,
        }
    }

    pub(super) fn duration(&self, name: &str) -> Duration {
        match self.setting(name).value {
            Value::Duration(duration) => duration,
            ref other => panic!("{name} is no duration: {other:?}"),
        }
    }

    pub(super) fn number(&self, name: &str) -> u64 {
        match self.setting(name).value {
            Value::Count(number) | Value::Size(number) => number,
            ref other => panic!("{name} is no number: {other:?}"),
        }
    }

    /// What bounds a value besides its shape.
    fn check(&self) -> Result<()> {
        let size = self.number("network.buffer-size");
        if !(4 << 10..=1 << 20).contains(&size) || !size.is_multiple_of(64) {
            let text = &self.setting("network.buffer-size").text;
            return Err(Error::usage(format!("cannot set network.buffer-size to \"{text}\""))
                .with_hint("a buffer is a multiple of 64 bytes from 4KiB to 1MiB"));
        }
        if self.number("checkpoint.max-concurrent") > 1 {
            return Err(Error::usage("cannot make more than one checkpoint at a time")
                .with_hint("leave checkpoint.max-concurrent at 1: a second one would only wait"));
        }
        if self.number("network.overdraft") < size {
            return Err(Error::usage("network.overdraft is less than network.buffer-size")
                .with_hint("it is what one record may fill: at least a buffer"));
        }
        self.check_poison()
    }
}

/// What is said about a key that was set and does not do what it says.
fn effect(setting: &Setting) -> Result<Option<String>> {
    let Setting { key, text, origin, .. } = setting;
    match key.effect {
        Effect::Works => Ok(None),
        Effect::Refused(_) if key.auto == Some(text.as_str()) => Ok(None),
        Effect::NotYet(why) | Effect::Nothing(why) => {
            Ok(Some(format!("{} = {text} ({origin}) has no effect: {why}", key.name)))
        }
        Effect::Refused(why) => {
            Err(Error::usage(format!("cannot set {} to {text} ({origin}): {why}", key.name))
                .with_hint(format!(
                    "leave it out, or set it to {}; after a failure the job starts from its \
                     beginning",
                    key.auto.unwrap_or(key.default)
                )))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn defined(definitions: &[&str]) -> Result<Config> {
        let definitions = definitions.iter().map(|text| (*text).to_owned()).collect();
        Config::load(&Sources { definitions, ..Sources::default() })
    }

    #[test]
    fn without_layers_the_runtime_has_its_defaults() {
        let config = defined(&[]).unwrap();
        assert_eq!(config.runtime(), RuntimeConfig::default());
        assert_eq!((config.parallelism(), config.notices().len()), (None, 0));
    }

    #[test]
    fn a_later_layer_wins_whatever_its_name_for_the_key_and_the_origin_tells() {
        let directory = std::env::temp_dir().join(format!("thalweg-config-{}", std::process::id()));
        std::fs::create_dir_all(directory.join("thalweg.d")).unwrap();
        let write = |name: &str, text: &str| std::fs::write(directory.join(name), text).unwrap();
        write("thalweg.toml", "[job]\nparallelism = 3\n[runtime]\nspin = \"1ms\"\n");
        write("thalweg.d/b.toml", "parallelism.default = 5\nruntime.idle = \"park\"\n");
        write("thalweg.d/a.toml", "runtime.idle = \"spin\"\n");
        let environment = vec![("THALWEG_RUNTIME__SPIN".to_owned(), "2ms".to_owned())];
        let directory = Some(directory);
        let mut sources = Sources { directory, environment, ..Sources::default() };
        let config = Config::load(&sources).unwrap();
        assert_eq!(config.parallelism(), Some(5));
        assert!(config.setting("job.parallelism").origin.ends_with("b.toml"));
        assert_eq!(config.setting("runtime.spin").origin, "environment THALWEG_RUNTIME__SPIN");
        assert_eq!(config.runtime().idle, Idle::Park);
        assert!(config.notices()[0].contains("alias of job.parallelism"));
        sources.definitions.push("job.parallelism=7".into());
        sources.flags.push(("-p", "job.parallelism", "8".into()));
        let setting = Config::load(&sources).unwrap().setting("job.parallelism").clone();
        assert_eq!((setting.text.as_str(), setting.origin.as_str()), ("8", "-p"));
        std::fs::remove_dir_all(sources.directory.unwrap()).unwrap();
    }

    #[test]
    fn an_unknown_key_is_an_error_with_what_was_meant() {
        let error = defined(&["runtime.idel=spin"]).unwrap_err();
        assert_eq!(error.hint(), Some("did you mean \"runtime.idle\"?"));
        let error = defined(&["parallelism.defaul=2"]).unwrap_err();
        assert_eq!(error.hint(), Some("did you mean \"parallelism.default\"?"));
    }

    #[test]
    fn a_key_without_effect_is_checked_and_says_so() {
        let config = defined(&["execution.checkpointing.timeout=300000"]).unwrap();
        assert_eq!(config.setting("checkpoint.timeout").text, "300000ms");
        let config = defined(&["rest.port=0"]).unwrap();
        assert!(config.notices()[0].contains("has no effect"), "{:?}", config.notices());
        assert!(defined(&["checkpoint.timeout=5"]).is_err());
        let config = defined(&["execution.checkpointing.mode=EXACTLY_ONCE"]).unwrap();
        assert_eq!(config.setting("checkpoint.mode").text, "exactly-once");
        let retained = "execution.checkpointing.externalized-checkpoint-retention";
        let config = defined(&[&format!("{retained}=RETAIN_ON_CANCELLATION")]).unwrap();
        assert_eq!(config.setting("checkpoint.retention").text, "retain-on-cancel");
    }

    #[test]
    fn values_that_do_not_fit_are_usage_errors() {
        for text in [
            "job.parallelism=0",
            "job.parallelism=two",
            "runtime.idle=sleep",
            "runtime.spin=100",
            "network.buffer-size=1KiB",
            "network.overdraft=4KiB",
            "state.memory=1.5",
            "rest.port=99999",
            "nonsense",
        ] {
            let error = defined(&[text]).unwrap_err();
            assert_eq!(error.kind().exit_code(), 2, "{text}");
        }
    }
}
