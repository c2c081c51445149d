//! The verbs that speak to running jobs: `list`, `stop`, `cancel`, and who is asked for a
//! checkpoint.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;

use super::cli::{JobVerb, Layers, ListVerb};
use super::{Context, figures};
use crate::config::state_home;
use crate::console::{
    Answer, CheckpointStatus, Checkpoints, JobStatus, Refused, Request, SOCKET, ask, find,
};
use crate::error::Kind;
use crate::{Error, Result};

/// How long a job may take to say what it does.
const STATUS: Option<Duration> = Some(Duration::from_secs(5));

/// A running job and its socket.
pub(super) struct Running {
    pub(super) status: JobStatus,
    socket: PathBuf,
}

/// The jobs that run below a data directory, by their sockets.
fn running(data: &Path) -> Vec<Running> {
    let status = |socket: PathBuf| match ask(&socket, Request::Status, STATUS) {
        Ok(Answer::Status(status)) => Some(Running { status: *status, socket }),
        _ => None,
    };
    find(data).into_iter().filter_map(status).collect()
}

/// The process that runs a job, if one does.
pub(super) fn runs(data: &Path, job_id: &str) -> Option<JobStatus> {
    match ask(&data.join(job_id).join(SOCKET), Request::Status, STATUS) {
        Ok(Answer::Status(status)) => Some(*status),
        _ => None,
    }
}

impl Context<'_> {
    /// Lists the jobs that run.
    pub(super) fn list(&self, verb: &ListVerb) -> Result<i32> {
        let data = self.data_directory(&verb.layers)?;
        let jobs = running(&data);
        if verb.json {
            let lines = jobs.iter().map(|job| json!(job.status).to_string() + "\n");
            return Ok(self.terminal.data(&lines.collect::<String>()));
        }
        if jobs.is_empty() {
            return Ok(self.terminal.data("No running jobs."));
        }
        let rows: Vec<_> = jobs.iter().map(|job| row(&job.status)).collect();
        let header = ["JOB-ID", "JOB", "STATE", "PID", "CORES", "UP", "IN", "OUT", "CHECKPOINTS"];
        let code = self.terminal.table(&header, &rows);
        if verb.checkpoints {
            for job in &jobs {
                self.checkpoints_of(&job.status);
            }
        }
        Ok(code)
    }

    /// Prints the newest checkpoints of a job.
    fn checkpoints_of(&self, status: &JobStatus) {
        let Some(checkpoints) = &status.checkpoints else { return };
        self.terminal.data(&format!("\n{} in {}", status.job_id, checkpoints.directory));
        let rows: Vec<_> = checkpoints.newest.iter().map(checkpoint_row).collect();
        self.terminal.table(&CHECKPOINT_HEADER, &rows);
    }

    /// Has a job work off what it has read, make a checkpoint and end.
    pub(super) fn stop(&self, verb: &JobVerb) -> Result<i32> {
        let job = self.find_job(verb)?;
        let id = &job.status.job_id;
        self.terminal.say(&format!("{id}: working off what was read, then a last checkpoint"));
        self.command(&job, Request::Stop, "stop", verb.timeout())?;
        Ok(self.terminal.data(&format!("Stopped job {id}.")))
    }

    /// Ends a job at once.
    pub(super) fn cancel(&self, verb: &JobVerb) -> Result<i32> {
        let job = self.find_job(verb)?;
        self.command(&job, Request::Cancel, "cancel", verb.timeout())?;
        Ok(self.terminal.data(&format!("Cancelled job {}.", job.status.job_id)))
    }

    /// Has a job make a checkpoint.
    pub(super) fn trigger(&self, verb: &JobVerb) -> Result<i32> {
        let job = self.find_job(verb)?;
        let answer = self.command(&job, Request::Checkpoint, "checkpoint", verb.timeout())?;
        let Answer::Checkpoint(checkpoint) = answer else { return Ok(0) };
        let id = &job.status.job_id;
        let directory = job.status.checkpoints.map_or_else(String::new, |it| it.directory);
        let path = format!("{directory}/{id}/chk-{checkpoint}");
        Ok(self.terminal.data(&format!("Checkpoint {checkpoint} completed. Path: {path}")))
    }

    fn command(
        &self,
        job: &Running,
        request: Request,
        verb: &str,
        patience: Option<Duration>,
    ) -> Result<Answer> {
        let id = &job.status.job_id;
        let failed = |why: &str| Error::new(Kind::Io, format!("cannot {verb} job {id}: {why}"));
        match ask(&job.socket, request, patience) {
            Ok(Answer::Refused(why)) => Err(failed(&why)),
            Ok(answer) => Ok(answer),
            Err(Refused::Nobody) => Err(failed("it has ended meanwhile")),
            Err(Refused::NoAnswer) => {
                Err(failed("its process ended without an answer").with_hint("see its log"))
            }
            Err(Refused::Failed(error)) if is_timeout(&error) => {
                Err(failed("no answer within the time limit")
                    .with_hint("it may yet do it: thalweg list shows what runs"))
            }
            Err(Refused::Failed(error)) => Err(failed(&error.to_string())),
        }
    }

    /// The running job that an id, the beginning of one, or a name means.
    fn find_job(&self, verb: &JobVerb) -> Result<Running> {
        let data = self.data_directory(&verb.layers)?;
        let wanted = verb.job.as_str();
        let means =
            |job: &Running| job.status.job_id.starts_with(wanted) || job.status.job == wanted;
        let mut found: Vec<_> = running(&data).into_iter().filter(means).collect();
        let data = data.display();
        match found.len() {
            1 => Ok(found.remove(0)),
            0 => Err(Error::new(Kind::NotFound, format!("no job \"{wanted}\" runs below {data}"))
                .with_hint("`list` shows what runs; name its data directory with -D data.dir=DIR")),
            count => {
                let ids: Vec<_> = found.iter().map(|job| job.status.job_id.as_str()).collect();
                let hint = format!("name one by its id: {}", ids.join(", "));
                Err(Error::usage(format!("\"{wanted}\" means {count} running jobs"))
                    .with_hint(hint))
            }
        }
    }

    fn data_directory(&self, layers: &Layers) -> Result<PathBuf> {
        let config = self.layered(layers, None)?;
        Ok(config.runtime().state.directory.unwrap_or_else(state_home))
    }
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
}

fn row(status: &JobStatus) -> Vec<String> {
    let checkpoints = match &status.checkpoints {
        None => "none".to_owned(),
        Some(it) => {
            let newest = it.newest.iter().rev().find(|it| it.failure.is_none());
            let newest = newest.map_or_else(String::new, |it| {
                format!(", {} in {} ms, {}", it.id, it.duration_ms, figures::bytes(it.bytes))
            });
            format!("{} complete, {} failed{newest}", it.completed, it.failed)
        }
    };
    vec![
        status.job_id.clone(),
        status.job.clone(),
        status.state.clone(),
        status.process.to_string(),
        status.parallelism.to_string(),
        figures::seconds(status.up_ms / 1_000),
        figures::count(status.records_in),
        figures::count(status.records_out),
        checkpoints,
    ]
}

const CHECKPOINT_HEADER: [&str; 13] = [
    "ID",
    "KIND",
    "TOOK",
    "INSTANT",
    "ENCODE",
    "RECORD",
    "WRITE",
    "MANIFEST",
    "COMMIT",
    "PAUSE",
    "BYTES",
    "NEW",
    "IN FLIGHT",
];

/// A checkpoint's phases, bytes and records in flight; or why it failed.
fn checkpoint_row(it: &CheckpointStatus) -> Vec<String> {
    let micros = |us: u64| figures::nanos(us * 1_000);
    let millis = |ms: u64| figures::nanos(ms * 1_000_000);
    let kind = json!(it.kind).as_str().unwrap_or_default().to_owned();
    if let Some(why) = &it.failure {
        return vec![it.id.to_string(), kind, millis(it.duration_ms), format!("failed: {why}")];
    }
    vec![
        it.id.to_string(),
        kind,
        millis(it.duration_ms),
        micros(it.instant_us),
        micros(it.encode_us),
        micros(it.record_us),
        micros(it.write_us),
        millis(it.manifest_ms),
        it.commit_ms.map_or_else(|| "waits".to_owned(), millis),
        micros(it.pause_us),
        figures::bytes(it.bytes),
        figures::bytes(it.new_bytes),
        figures::count(it.in_flight),
    ]
}

/// The checkpoints of a run: a line of its summary, and with `verbose` one for each.
pub(super) fn summarized(
    checkpoints: &Checkpoints,
    verbose: bool,
) -> impl Iterator<Item = (&'static str, String)> {
    let complete = || checkpoints.newest.iter().filter(|it| it.failure.is_none());
    let mut took: Vec<u64> = complete().map(|it| it.duration_ms).collect();
    took.sort_unstable();
    let of = |at: usize| figures::nanos(took.get(at).map_or(0, |ms| ms * 1_000_000));
    let (middle, most) = (of(took.len() / 2), of(took.len().saturating_sub(1)));
    let pause = figures::nanos(complete().map(|it| it.pause_us * 1_000).max().unwrap_or(0));
    let (completed, failed) = (checkpoints.completed, checkpoints.failed);
    let whole = format!(
        "{completed} complete, {failed} failed, p50 {middle}, max {most}, longest pause {pause}"
    );
    let each = checkpoints.newest.iter().map(|it| ("", checkpoint_row(it).join(" | ")));
    let header = ("", CHECKPOINT_HEADER.map(str::to_lowercase).join(" | "));
    let each = std::iter::once(header).chain(each).filter(|_| verbose);
    let all = std::iter::once(("checkpoints", whole)).chain(each);
    let all: Vec<_> = all.filter(|_| completed + failed > 0).collect();
    all.into_iter()
}
