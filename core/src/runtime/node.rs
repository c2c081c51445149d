//! The node: one pinned thread per core, and the thread that watches over them.
//!
//! glommio pins each thread and runs its executor; the worker is one task on it that never awaits
//! on its own account. The second form of the rim is a plain pinned thread, for places that refuse
//! io_uring; it is chosen explicitly.

mod attempt;
mod seat;
mod watch;

use std::sync::Arc;
use std::sync::atomic::AtomicI32;

pub use self::attempt::CheckpointOptions;
use self::attempt::House;
use super::{Meter, SideCpus, Summary, Totals};
use crate::config::{Cpus, RuntimeConfig, state_home};
use crate::console::{Checkpoints, Console, JobStatus};
use crate::graph::JobGraph;
use crate::job::{Args, Job, Planned};
use crate::{Error, Result};

/// Shows the totals of a run so far.
pub type ShowTotals = Arc<dyn Fn(&Totals) + Send + Sync>;

/// How to run a job on this machine.
#[derive(Clone)]
pub struct RunOptions {
    /// How many cores; each is pinned to an allowed CPU.
    pub parallelism: usize,
    /// Buffers, parking, rim.
    pub runtime: RuntimeConfig,
    /// Set to a signal's number to stop the job in order.
    pub stop: Arc<AtomicI32>,
    /// Live counts and the pause button.
    pub meter: Arc<Meter>,
    /// Called about once a second with the totals so far.
    pub progress: Option<ShowTotals>,
    /// Names the job's own directory; `None`: it has one of its own for this run.
    pub job_id: Option<String>,
    /// The job's name, for those who ask what runs.
    pub job_name: String,
    /// Whether others may ask and command the job on a socket in its own directory.
    pub console: bool,
    /// Checkpoints; `None`: there are none, and a job that fails begins again at the beginning.
    pub checkpoints: Option<CheckpointOptions>,
}

impl RunOptions {
    /// Runs on `parallelism` cores with the default configuration.
    pub fn new(parallelism: usize) -> Self {
        Self {
            parallelism,
            runtime: RuntimeConfig::default(),
            stop: Arc::default(),
            meter: Arc::new(Meter::new(parallelism)),
            progress: None,
            job_id: None,
            job_name: String::new(),
            console: false,
            checkpoints: None,
        }
    }
}

/// Runs a job to its end, one pinned thread per core.
///
/// # Errors
/// Bad arguments, more cores than allowed CPUs, a refused io_uring, and whatever ends the job: an
/// error or a panic of user code names its operator and core.
pub fn run<J>(job: J, args: &Args, options: &RunOptions) -> Result<Summary>
where
    J: Job + Clone + Send + 'static,
{
    let (cpus, spare) = allowed_cpus(options.parallelism, &options.runtime.cpus)?;
    let planned = plan_with(&job, args, options)?;
    let side_cpus = match spare.is_empty() {
        true => SideCpus::floating(cpus.clone()),
        false => SideCpus::spare(spare),
    };
    let console = open_console(options, &side_cpus);
    let house = House { job, args, options, planned, cpus, side_cpus, console };
    match &options.checkpoints {
        Some(checkpoints) => house.run_durably(checkpoints),
        None => house.run_once(),
    }
}

/// Opens the job's socket; a job runs without it as well.
fn open_console(options: &RunOptions, cpus: &SideCpus) -> Option<Console> {
    let job_id = options.job_id.as_ref().filter(|_| options.console)?;
    let data = options.runtime.state.directory.clone().unwrap_or_else(state_home);
    let status = JobStatus {
        job_id: job_id.clone(),
        job: options.job_name.clone(),
        process: std::process::id(),
        parallelism: options.parallelism,
        checkpoints: options.checkpoints.as_ref().map(|it| Checkpoints {
            directory: it.directory.display().to_string(),
            ..Checkpoints::default()
        }),
        ..JobStatus::default()
    };
    let directory = data.join(job_id);
    let opened = Console::open(&directory, status, cpus.clone());
    opened
        .inspect_err(|error| {
            let directory = directory.display();
            tracing::warn!("the job cannot be asked or stopped by others: {directory}: {error}");
        })
        .ok()
}

/// Says at the start what the user should know of this run.
fn announce(graph: &JobGraph, side_cpus: &SideCpus) {
    for guarantee in &graph.guarantees {
        tracing::warn!("{guarantee}");
    }
    if side_cpus.is_floating() {
        tracing::info!(
            "every allowed CPU carries a core: side threads float over them, nice and in batches"
        );
    }
}

/// The graph of a job as it would run with these options; nothing is opened.
///
/// # Errors
/// Bad arguments, a graph that cannot run, fewer key groups than cores.
pub fn planned(job: &dyn Job, args: &Args, options: &RunOptions) -> Result<JobGraph> {
    plan_with(job, args, options).map(|planned| planned.graph)
}

fn plan_with(job: &dyn Job, args: &Args, options: &RunOptions) -> Result<Planned> {
    // A plan says nothing of too many cores: those of another machine may be asked about.
    if options.parallelism == 0 {
        return Err(Error::usage("cannot run on 0 cores").with_hint("use -p 1 or more"));
    }
    let mut planned = Planned::new(job, args, options.parallelism)?;
    if let Some(groups) = options.runtime.max_parallelism {
        if (groups as usize) < options.parallelism {
            let cores = options.parallelism;
            let text = format!("cannot share {groups} key groups among {cores} cores");
            return Err(Error::usage(text).with_hint("raise job.max-parallelism"));
        }
        planned.graph.max_parallelism = groups;
    }
    Ok(planned)
}

/// On how many cores a job runs that does not say it: all that it may use.
#[cfg(feature = "cli")]
pub(crate) fn default_parallelism(choice: &Cpus) -> Result<usize> {
    allowed(choice).map(|(cpus, _)| cpus.len().max(1))
}

/// The CPUs of the cores, and those that are left for side threads.
fn allowed_cpus(wanted: usize, choice: &Cpus) -> Result<(Vec<usize>, Vec<usize>)> {
    let (mut cpus, whose) = allowed(choice)?;
    let count = cpus.len();
    if wanted == 0 || wanted > count {
        let (plural, most) = (if count == 1 { "" } else { "s" }, count.max(1));
        let text = format!("cannot run on {wanted} cores: {whose} {count} CPU{plural}");
        let range = if most == 1 { "-p 1".into() } else { format!("-p 1 to -p {most}") };
        return Err(Error::usage(text).with_hint(format!("use {range}; a core is a pinned thread")));
    }
    let spare = cpus.split_off(wanted);
    Ok((cpus, spare))
}

/// The CPUs that the configuration leaves of those that this process may use, and who says so.
fn allowed(choice: &Cpus) -> Result<(Vec<usize>, &'static str)> {
    let set = rustix::thread::sched_getaffinity(None)
        .map_err(|error| Error::io("cannot read the allowed CPUs", error.into()))?;
    let cpus = (0..rustix::thread::CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu));
    // From the highest down: interrupts and other programs prefer the first CPU.
    let mut cpus: Vec<usize> = cpus.rev().collect();
    match choice {
        Cpus::All => Ok((cpus, "this process may use")),
        Cpus::Count(count) => {
            cpus.truncate(*count);
            Ok((cpus, "worker.cores and the process leave"))
        }
        Cpus::List(listed) => match listed.iter().find(|cpu| !cpus.contains(cpu)) {
            None => Ok((listed.clone(), "worker.cores lists")),
            Some(cpu) => {
                let text = format!("worker.cores lists CPU {cpu}, which this process may not use");
                Err(Error::usage(text).with_hint("`taskset -pc $$` lists those that it may"))
            }
        },
    }
}
