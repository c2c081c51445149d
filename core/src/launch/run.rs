//! The verbs `run` and `demo`.

use super::cli::{Common, DemoVerb, Flink, RestartFromWord, Run};
use super::report::{self, Ran};
use super::running::runs;
use super::supervise::{Supervised, supervise};
use super::{Context, Demo, progress, signals};
use crate::config::{CheckpointConfig, Config, state_home};
use crate::control::RestartFrom;
use crate::error::Kind;
use crate::runtime::{CheckpointOptions, RunOptions, Stopped, Summary, default_parallelism};
use crate::{Error, Result, run};

impl Context<'_> {
    /// Runs a job and prints its summary; the exit code tells a signal.
    pub(super) fn run(&self, verb: Run) -> Result<i32> {
        let entry = self.launcher.entry(&verb.job)?;
        self.explain_flink(&verb.flink)?;
        let config = self.configuration(&verb.common)?;
        let supervised = Supervised::look();
        let job_id = match &supervised {
            Some(supervised) => supervised.job_id.clone(),
            None => job_id(verb.job_id)?,
        };
        if supervised.is_none() {
            refuse_second(&config, &job_id, entry.name)?;
        }
        let again = supervised.as_ref().is_some_and(|it| it.again);
        let from = match verb.restart_from {
            RestartFromWord::None if !again => RestartFrom::Nothing,
            _ => RestartFrom::Newest,
        };
        let checkpoints = config.checkpoints().map(|it| CheckpointOptions {
            allow_output_replay: verb.allow_output_replay,
            ..checkpoints(it, entry.name, &job_id, from)
        });
        if verb.supervise && supervised.is_none() {
            let checkpoints = checkpoints.ok_or_else(nothing_to_go_on_from)?;
            return supervise(&job_id, checkpoints.restarts);
        }
        if supervised.is_some_and(|it| it.is_orphan()) {
            return Ok(128 + signal_hook::consts::SIGTERM);
        }
        let options = RunOptions {
            job_id: Some(job_id.clone()),
            job_name: entry.name.to_owned(),
            console: true,
            checkpoints,
            ..self.options(&config)?
        };
        let args = self.arguments("run", entry.name, &verb.arguments);
        signals::watch(&options.stop, self.terminal)?;
        tracing::debug!(job = entry.name, job_id, parallelism = options.parallelism, "starting");
        let result = run(entry.job, &args, &options);
        progress::clear();
        let ran = Ran { job: entry.name, job_id: &job_id, parallelism: options.parallelism };
        let summary = result?;
        if summary.already_finished && !verb.common.json {
            self.terminal
                .say(&format!("{} {job_id} has finished before: nothing to do\n", ran.job));
            return Ok(0);
        }
        Ok(self.summary(&ran, &summary, &verb.common))
    }

    /// Shows a job at work on data of its own.
    pub(super) fn demo(&self, verb: &DemoVerb) -> Result<i32> {
        let entry = match &verb.job {
            Some(name) => self.launcher.entry(name)?,
            None => {
                let first = self.launcher.entries.iter().find(|entry| entry.demo.is_some());
                first.ok_or_else(|| self.no_demo("no job has a demonstration"))?
            }
        };
        let show = entry
            .demo
            .ok_or_else(|| self.no_demo(&format!("\"{}\" has no demonstration", entry.name)))?;
        let config = self.configuration(&verb.common)?;
        let options = self.options(&config)?;
        let parallelism = options.parallelism;
        signals::watch(&options.stop, self.terminal)?;
        let args = self.arguments("demo", entry.name, &verb.arguments);
        let demo = Demo { args, options, json: verb.common.json, terminal: self.terminal };
        let summary = show(&demo)?;
        let ran = Ran { job: entry.name, job_id: &job_id(None)?, parallelism };
        Ok(self.summary(&ran, &summary, &verb.common))
    }

    fn no_demo(&self, what: &str) -> Error {
        let demos = self.launcher.entries.iter().filter(|entry| entry.demo.is_some());
        let names: Vec<_> = demos.map(|entry| entry.name).collect();
        let hint = match names.as_slice() {
            [] => format!("run a job instead: {} jobs lists them", self.program),
            names => format!("there is one of: {}", names.join(", ")),
        };
        Error::new(Kind::NotFound, what).with_hint(hint)
    }

    fn options(&self, config: &Config) -> Result<RunOptions> {
        let runtime = config.runtime();
        let parallelism = match config.parallelism() {
            Some(cores) => cores,
            None => default_parallelism(&runtime.cpus)?,
        };
        let progress = progress::hook(self.terminal);
        Ok(RunOptions { runtime, progress, ..RunOptions::new(parallelism) })
    }

    /// Prints the summary and gives the exit code.
    fn summary(&self, ran: &Ran<'_>, summary: &Summary, common: &Common) -> i32 {
        let printed = if common.json {
            self.terminal.data(&report::Object::new(ran, summary).text())
        } else {
            self.terminal.say(&report::text(ran, summary, self.terminal.is_verbose()));
            0
        };
        match (summary.signal, summary.stopped) {
            (0, Some(Stopped::Cancel)) => CANCELLED,
            (0, _) => printed,
            (signal, _) => 128 + signal,
        }
    }

    /// Flags of Flink's launcher and of later versions: what is done instead, or that it cannot be
    /// done.
    fn explain_flink(&self, flink: &Flink) -> Result<()> {
        let instead = [
            (
                flink.jobmanager_memory.as_ref(),
                "--jobmanager-memory",
                "there is no job manager: a thread of this process does its work",
            ),
            (
                flink.taskmanager_memory.as_ref(),
                "--taskmanager-memory",
                "the process takes what it needs; -D memory.limit=SIZE is the key for it",
            ),
            (
                flink.taskmanager_slots.as_ref(),
                "--taskmanager-slots",
                "there are no slots: a job runs on -p cores, each a pinned thread",
            ),
        ];
        for (value, flag, what) in instead {
            if let Some(value) = value {
                tracing::info!("{flag} {value} has no effect: {what}");
            }
        }
        if flink.allow_non_restored_state {
            tracing::info!("-n has no effect: a job goes on from its own checkpoints, whole");
        }
        let later = [
            (flink.savepoint.is_some(), "-s", "savepoints are not built yet"),
            (flink.detached, "-d", "there is no coordinator to hand the job to yet"),
            (flink.master.is_some(), "-m", "there is no coordinator to hand the job to yet"),
        ];
        match later.iter().find(|(given, ..)| *given) {
            Some((_, flag, why)) => {
                let text = format!("cannot use {flag}: {why} in this version");
                Err(Error::usage(text).with_hint("leave it out to run the job in this process"))
            }
            None => Ok(()),
        }
    }
}

/// The checkpoints of a run of `job`.
fn checkpoints(
    config: CheckpointConfig,
    job: &str,
    job_id: &str,
    from: RestartFrom,
) -> CheckpointOptions {
    CheckpointOptions {
        directory: config.directory,
        job_name: job.to_owned(),
        job_id: job_id.to_owned(),
        coordinator: config.coordinator,
        restarts: config.restarts,
        poison: config.poison,
        from,
        retain_on_cancel: config.retain_on_cancel,
        at_least_once: config.at_least_once,
        allow_output_replay: false,
    }
}

/// The exit code of a run that was cancelled.
const CANCELLED: i32 = 8;

/// Two processes would fight for the job's log; the older one would lose.
fn refuse_second(config: &Config, job_id: &str, job: &str) -> Result<()> {
    let data = config.runtime().state.directory.unwrap_or_else(state_home);
    let Some(other) = runs(&data, job_id) else { return Ok(()) };
    let process = other.process;
    let what = format!("cannot run {job}: process {process} runs the job {job_id} already");
    Err(Error::usage(what).with_hint("stop that one first, or give this one another --job-id"))
}

#[cold]
fn nothing_to_go_on_from() -> Error {
    Error::usage(
        "cannot supervise a job without checkpoints: it would begin again at its beginning",
    )
    .with_hint("add -D checkpoint.interval=1s")
}

/// The run's identity: what was given, or 32 random digits.
fn job_id(given: Option<String>) -> Result<String> {
    let Some(id) = given else {
        let random = std::fs::read_to_string("/proc/sys/kernel/random/uuid");
        let random = random.map_err(|error| Error::io("cannot draw a job id", error))?;
        return Ok(random.trim().replace('-', ""));
    };
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if id.len() == 32 && id.bytes().all(is_digit) {
        return Ok(id);
    }
    Err(Error::usage(format!("cannot use the job id \"{id}\""))
        .with_hint("it is 32 lower-case hexadecimal digits: echo NAME | md5sum | cut -c 1-32"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_id_is_32_hexadecimal_digits() {
        let id = "0123456789abcdef0123456789abcdef";
        assert_eq!(job_id(Some(id.into())).unwrap(), id);
        assert!(job_id(Some(id.to_uppercase())).is_err());
        assert!(job_id(Some("nightly".into())).is_err());
        assert_eq!(job_id(None).unwrap().len(), 32);
        assert_ne!(job_id(None).unwrap(), job_id(None).unwrap());
    }
}
