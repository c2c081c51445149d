//! A harness's job cut in the middle and begun again, with the keeper and the store of production.

use std::rc::Rc;

use thalweg_checkpoint::MemoryStore;
use thalweg_checkpoint::coordinator::Config;

use crate::control::{Action, Begun, JobDescription, Keeper, Manner, begin};
use crate::dataflow::Environment;
use crate::error::Kind;
use crate::job::{Args, Job, local_workers, plan};
use crate::runtime::{Restore, Restores, Worker};
use crate::time::Clock;
use crate::{Error, Result};

/// Turns in which a checkpoint must be complete.
const TURNS_MAX: usize = 100_000;

/// The token of the harness's requests.
const TOKEN: u64 = 7;

/// What a job is begun again with.
pub(super) struct Again {
    job: Box<dyn Job>,
    description: JobDescription,
    env: Environment,
    clock: Rc<dyn Clock>,
    store: MemoryStore,
    keeper: Keeper,
    attempt: u64,
    cores: Vec<Rc<Restore>>,
}

impl Again {
    /// Begins a job's first attempt.
    pub(super) fn first(
        job: Box<dyn Job>,
        env: Environment,
        clock: Rc<dyn Clock>,
        cores: usize,
    ) -> Result<(Self, Vec<Worker>)> {
        let mut graph = plan(&*job, &Args::default(), cores)?;
        graph.max_parallelism = env.max_parallelism;
        let (name, id) = ("harness".to_owned(), "harness-0".to_owned());
        let description = JobDescription { name, id, graph, parallelism: cores };
        let store = MemoryStore::default();
        let env = Environment { checkpoints: true, ..env };
        let (keeper, attempt, cores) = begun(&store, &description)?;
        let mut again = Self { job, description, env, clock, store, keeper, attempt, cores };
        let workers = again.workers()?;
        Ok((again, workers))
    }

    /// Makes a checkpoint of workers that have nothing to do, and goes on with new ones from there.
    pub(super) fn next(&mut self, workers: &mut Vec<Worker>) -> Result<()> {
        self.cut(workers)?;
        (self.keeper, self.attempt, self.cores) = begun(&self.store, &self.description)?;
        workers.clear();
        *workers = self.workers()?;
        Ok(())
    }

    fn workers(&mut self) -> Result<Vec<Worker>> {
        let env = Environment { attempt: self.attempt, ..self.env.clone() };
        let (args, cores) = (Args::default(), self.description.parallelism);
        let restores = Restores { cores: &self.cores, store: &self.store };
        let made = local_workers(&*self.job, &args, cores, &self.clock, &env, Some(restores));
        for core in 0..cores {
            self.keeper.ready(0, core, 0);
        }
        made
    }

    fn cut(&mut self, workers: &mut [Worker]) -> Result<()> {
        let actions = self.keeper.trigger(0, TOKEN);
        let mut answered = self.act(actions, workers)?;
        for _ in 0..TURNS_MAX {
            if let Some(Some(answer)) = answered {
                return answer.map(drop).map_err(|why| Error::new(Kind::Io, why));
            }
            for worker in &mut *workers {
                worker.step()?;
            }
            answered = self.serve(workers)?;
        }
        Err(Error::new(Kind::Timeout, format!("no checkpoint in {TURNS_MAX} turns")))
    }

    /// Does what workers ask for; what came of the checkpoint is in it, `None`: nothing was asked.
    pub(super) fn serve(&mut self, workers: &mut [Worker]) -> Result<Option<Answered>> {
        let (mut actions, mut heard) = (Vec::new(), false);
        for (core, worker) in workers.iter_mut().enumerate() {
            while let Some(report) = worker.report() {
                heard = true;
                actions.extend(self.keeper.hear(0, core, report));
            }
        }
        if heard { self.act(actions, workers) } else { Ok(None) }
    }

    fn act(
        &mut self,
        mut actions: Vec<Action>,
        workers: &mut [Worker],
    ) -> Result<Option<Answered>> {
        let mut answered = None;
        while let Some(action) = actions.pop() {
            match action {
                Action::Tell(core, command) => workers[core].command(command),
                Action::Do(work) => {
                    let done = work.carry_out(&self.store, &self.description.id);
                    actions.extend(self.keeper.did(0, done));
                }
                Action::Answer(TOKEN, answer) => answered = Some(answer),
                Action::Fail { reason, .. } => return Err(Error::new(Kind::Io, reason)),
                _ => {}
            }
        }
        Ok(Some(answered))
    }
}

/// What came of a checkpoint, if it is over.
type Answered = Option<std::result::Result<u64, String>>;

type Begin = (Keeper, u64, Vec<Rc<Restore>>);

fn begun(store: &MemoryStore, job: &JobDescription) -> Result<Begin> {
    let config = Config { interval_ms: None, min_pause_ms: 0, ..Config::default() };
    match begin(store, job, Manner::newest(config), 1, 0, &|| Ok(()))? {
        Begun::Attempt(attempt) => {
            let cores = attempt.cores.into_iter().map(Rc::new).collect();
            Ok((attempt.keeper, attempt.number, cores))
        }
        Begun::Finished => Err(Error::new(Kind::Invariant, "the job under test has finished")),
    }
}
