//! A job and its arguments; planning one, and running one in the caller's thread.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use crate::config::NetworkConfig;
use crate::dataflow::{Dataflow, Environment, Flow, Mode};
use crate::graph::JobGraph;
use crate::runtime::poison::Warden;
use crate::runtime::{Core, Link, Restores, Worker};
use crate::sink::Place;
use crate::time::{Clock, MachineClock};
use crate::{Error, Result};

/// A job: called once in plan mode and once on every core.
pub trait Job: Fn(&Dataflow, &Args) -> Result<()> {}

impl<F: Fn(&Dataflow, &Args) -> Result<()>> Job for F {}

/// The arguments behind `--`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Args {
    words: Vec<String>,
    /// The command line in front of the words, for help and messages.
    program: String,
}

impl Args {
    /// Arguments as words, without a program name.
    pub fn new<W: Into<String>>(words: impl IntoIterator<Item = W>) -> Self {
        Self { words: words.into_iter().map(Into::into).collect(), program: "job".into() }
    }

    /// Names the command line that stands in front of the words.
    #[cfg(feature = "cli")]
    pub(crate) fn of(self, program: String) -> Self {
        Self { program, ..self }
    }

    /// The words.
    pub fn words(&self) -> &[String] {
        &self.words
    }

    /// Parses the words as a clap struct.
    ///
    /// # Errors
    /// A usage error: an unknown flag with a suggestion, a missing or malformed value. `--help`
    /// comes as an error of [`crate::error::Kind::Help`] with the job's own help as its text.
    #[cfg(feature = "cli")]
    pub fn parse<P: clap::Parser>(&self) -> Result<P> {
        let mut command = P::command().no_binary_name(true).bin_name(&self.program);
        let parsed = command.try_get_matches_from_mut(&self.words);
        parsed.and_then(|matches| P::from_arg_matches(&matches)).map_err(|error| {
            let help = format!("{} --help", self.program);
            crate::launch::usage::refused("cannot use the job's arguments: ", &error, &help)
        })
    }
}

/// Records the graph of a job without opening anything.
///
/// # Errors
/// Bad arguments, a graph that cannot run.
pub fn plan(job: &dyn Job, args: &Args, parallelism: usize) -> Result<JobGraph> {
    Planned::new(job, args, parallelism).map(|planned| planned.graph)
}

/// A job's graph, and what its sinks do once before any core starts.
pub(crate) struct Planned {
    pub(crate) graph: JobGraph,
    places: Vec<Box<dyn Place>>,
}

impl Planned {
    pub(crate) fn new(job: &dyn Job, args: &Args, parallelism: usize) -> Result<Self> {
        let core = Core::new(0, parallelism, Rc::new(MachineClock::new()));
        let env = Environment::new(parallelism, NetworkConfig::default());
        let flow = Flow::new(Mode::Plan, core, env);
        job(&Dataflow { flow: Rc::clone(&flow) }, args)?;
        flow.take_error()?;
        let graph = flow.graph.borrow().clone();
        graph.validate()?;
        let mut planned = Self { graph, places: Vec::new() };
        flow.take_places().into_iter().try_for_each(|place| planned.add_place(place))?;
        Ok(planned)
    }

    /// Adds a place that is written to.
    ///
    /// # Errors
    /// It is the directory of another one: each would take the other's parts for its own.
    pub(crate) fn add_place(&mut self, place: Box<dyn Place>) -> Result<()> {
        let real = place.directory().map(resolved);
        let mut others = self.places.iter().filter(|_| real.is_some());
        let other = others.find(|other| other.directory().map(resolved) == real);
        if let (Some(other), Some(directory)) = (other, place.directory()) {
            let (directory, names) = (directory.display(), [other.name(), place.name()]);
            let what = format!("cannot write to \"{directory}\": {names:?} both do");
            return Err(Error::usage(what).with_hint("give each of them a directory of its own"));
        }
        self.places.push(place);
        Ok(())
    }

    /// Lets the sinks prepare the places that they write to, once all of them may.
    pub(crate) fn prepare(&self) -> Result<()> {
        self.places.iter().try_for_each(|place| place.vacant())?;
        self.places.iter().try_for_each(|place| place.prepare())
    }

    /// Lets the sinks remove what attempts before this one have left behind, and take back what was
    /// committed for checkpoints above `checkpoint`.
    pub(crate) fn resume(&self, attempt: u64, checkpoint: u64) -> Result<()> {
        self.places.iter().try_for_each(|place| place.resume(attempt, checkpoint))
    }

    /// The name of a sink that cannot take committed output back, if there is one.
    pub(crate) fn keeps_output(&self) -> Option<&str> {
        self.places.iter().find_map(|place| place.keeps_output())
    }
}

/// A path without links and relative parts, as far as it exists.
fn resolved(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let existing = absolute.ancestors().find_map(|it| Some((it, it.canonicalize().ok()?)));
    let Some((ancestor, real)) = existing else { return absolute };
    absolute.strip_prefix(ancestor).map_or_else(|_| real.clone(), |rest| real.join(rest))
}

/// Builds the worker of one core.
pub(crate) fn build(
    job: &dyn Job,
    args: &Args,
    core: Rc<Core>,
    env: Environment,
    links: Vec<Option<Link>>,
) -> Result<(Worker, JobGraph)> {
    core.budget.bound(&env.memory);
    core.journal.set(env.checkpoints);
    if let Some(ledger) = &env.poison {
        let warden = Warden::new(Arc::clone(ledger), core.index(), env.attempt);
        core.set_warden(warden);
    }
    let flow = Flow::new(Mode::Run, core, env);
    job(&Dataflow { flow: Rc::clone(&flow) }, args)?;
    let graph = flow.graph.borrow().clone();
    Ok((Worker::new(flow.finish()?, links), graph))
}

/// Runs a job to its end with all cores in the calling thread: for tests and examples. Nothing is
/// pinned, nothing parks.
///
/// # Errors
/// Whatever ends the job.
pub fn run_local(job: impl Job, parallelism: usize) -> Result<()> {
    let clock: Rc<dyn Clock> = Rc::new(MachineClock::new());
    let env = Environment::new(parallelism, NetworkConfig::default());
    let mut workers = local_workers(&job, &Args::default(), parallelism, &clock, &env, None)?;
    loop {
        let mut done = true;
        for worker in &mut workers {
            done &= worker.step()?.done;
        }
        if done {
            return Ok(());
        }
    }
}

/// The workers of all cores of a job, linked to each other, for one thread.
pub(crate) fn local_workers(
    job: &dyn Job,
    args: &Args,
    parallelism: usize,
    clock: &Rc<dyn Clock>,
    env: &Environment,
    restores: Option<Restores<'_>>,
) -> Result<Vec<Worker>> {
    let planned = Planned::new(job, args, parallelism)?;
    let restores = restores.filter(|restores| !restores.cores.is_empty());
    if restores.is_none() {
        planned.prepare()?;
    }
    let channels = planned.graph.channels();
    let links = crate::runtime::mesh(parallelism, channels, &env.network)?;
    let cores = (0..parallelism).map(|index| Core::new(index, parallelism, Rc::clone(clock)));
    let build = |(core, mesh): (Rc<Core>, crate::runtime::MeshNode)| {
        let restore = restores.and_then(|restores| restores.cores.get(core.index()).cloned());
        let env =
            Environment { doorbell: Some(mesh.doorbell), restore: restore.clone(), ..env.clone() };
        let (mut worker, _) = build(job, args, core, env, mesh.links)?;
        if let (Some(restore), Some(from)) = (restore, restores) {
            worker.restore(&restore, from.store)?;
        }
        Ok(worker)
    };
    cores.zip(links).map(build).collect()
}
