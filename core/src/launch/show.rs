//! The verbs that only show: `plan`, `jobs`, `config`.

use serde_json::{Map, Value, json};

use super::Context;
use super::cli::{ConfigVerb, Configuration, Plan};
use crate::config::keys::{find, find_alias, keys};
use crate::config::{Setting, explain};
use crate::nearest::nearest;
use crate::runtime::{RunOptions, default_parallelism, planned};
use crate::{Error, Result};

impl Context<'_> {
    /// Prints the graph of a job.
    pub(super) fn plan(&self, verb: &Plan) -> Result<i32> {
        let entry = self.launcher.entry(&verb.job)?;
        let config = self.configuration(&verb.common)?;
        let runtime = config.runtime();
        let parallelism = match config.parallelism() {
            Some(cores) => cores,
            None => default_parallelism(&runtime.cpus)?,
        };
        let options = RunOptions { runtime, ..RunOptions::new(parallelism) };
        let args = self.arguments("plan", entry.name, &verb.arguments);
        let graph = planned(&entry.job, &args, &options)?;
        if verb.dot {
            return Ok(self.terminal.data(&graph.dot(entry.name)));
        }
        if verb.common.json {
            let json = graph.json(entry.name, parallelism);
            return Ok(self.terminal.data(&format!("{json:#}")));
        }
        let cores = if parallelism == 1 { "core" } else { "cores" };
        let text = format!(
            "{} on {parallelism} {cores}, {} key groups, digest {:016x}\n\n{}",
            entry.name,
            graph.max_parallelism,
            graph.digest(),
            graph.text()
        );
        Ok(self.terminal.data(&text))
    }

    /// Lists the jobs.
    pub(super) fn jobs(&self, as_json: bool) -> i32 {
        let entries = &self.launcher.entries;
        if as_json {
            let jobs = entries.iter().map(|entry| {
                json!({ "job": entry.name, "about": entry.about, "demo": entry.demo.is_some() })
            });
            return self.terminal.data(&Value::Array(jobs.collect()).to_string());
        }
        let rows: Vec<_> = entries
            .iter()
            .map(|entry| {
                let demo = if entry.demo.is_some() { "demo" } else { "" };
                vec![entry.name.to_owned(), demo.to_owned(), entry.about.to_owned()]
            })
            .collect();
        self.terminal.table(&["JOB", "", "WHAT IT DOES"], &rows)
    }

    /// Shows, checks or explains the configuration.
    pub(super) fn config(&self, verb: &Configuration) -> Result<i32> {
        match &verb.verb {
            ConfigVerb::Show { common, origin } => {
                let config = self.configuration(common)?;
                if common.json {
                    let values = config.settings().iter().map(|setting| {
                        let value = json!({ "value": setting.text, "origin": setting.origin });
                        (setting.key.name.to_owned(), value)
                    });
                    let values = Value::Object(values.collect::<Map<_, _>>());
                    return Ok(self.terminal.data(&format!("{values:#}")));
                }
                let row = |setting: &Setting| {
                    let mut row = vec![setting.key.name.to_owned(), setting.text.clone()];
                    row.extend(origin.then(|| setting.origin.clone()));
                    row
                };
                let rows: Vec<_> = config.settings().iter().map(row).collect();
                let columns = if *origin { 3 } else { 2 };
                Ok(self.terminal.table(&["KEY", "VALUE", "ORIGIN"][..columns], &rows))
            }
            ConfigVerb::Check { common } => {
                let config = self.configuration(common)?;
                let given = config.settings().iter().filter(|setting| setting.is_given()).count();
                let text = if common.json {
                    json!({ "ok": true, "given": given }).to_string()
                } else {
                    format!("ok: {given} of {} keys are set", config.settings().len())
                };
                Ok(self.terminal.data(&text))
            }
            ConfigVerb::Explain { key } => self.explain(key),
        }
    }

    fn explain(&self, name: &str) -> Result<i32> {
        let key = find(name).or_else(|| find_alias(name).map(|(key, _)| key));
        let key = key.ok_or_else(|| {
            let aliases = keys().flat_map(|key| key.aliases).map(|alias| alias.name);
            let hint = match nearest(name, keys().map(|key| key.name).chain(aliases)) {
                Some(meant) => format!("did you mean \"{meant}\"?"),
                None => format!("`{} config show` lists all keys", self.program),
            };
            Error::usage(format!("unknown key \"{name}\"")).with_hint(hint)
        })?;
        let text = explain(key).replace('`', "").replace("- ", "  ");
        Ok(self.terminal.data(&format!("{}: {text}", key.name)))
    }
}
