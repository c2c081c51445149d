//! `checkpoint list`: a line for each checkpoint, the newest last.

use std::path::Path;

use serde::Serialize;
use thalweg_checkpoint::Store;

use super::super::cli::Shelf as Place;
use super::super::{Context, figures};
use super::moment;
use super::shelf::{Row, Shelf, Standing, is_job, kind};
use crate::control::{Depth, examine};
use crate::error::Kind;
use crate::{Error, Result};

const HEADER: [&str; 11] = [
    "JOB",
    "JOB ID",
    "ID",
    "KIND",
    "COMPLETE (UTC)",
    "ATTEMPT",
    "BYTES",
    "NEW",
    "FILES",
    "IN FLIGHT",
    "STANDING",
];

/// A line of `--json`: its schema is in `docs/cli.md`.
#[derive(Debug, Serialize)]
struct Line<'a> {
    job: &'a str,
    job_id: &'a str,
    checkpoint: u64,
    kind: &'static str,
    attempt: u64,
    started_ms: u64,
    completed_ms: u64,
    bytes: u64,
    new_bytes: u64,
    files: u64,
    records_in_flight: Option<u64>,
    standing: &'static str,
    finished: bool,
    damage: Option<String>,
}

impl Context<'_> {
    /// Lists the checkpoints of one job or of all.
    pub(super) fn list_checkpoints(
        &self,
        job_id: Option<&str>,
        all: bool,
        place: &Place,
    ) -> Result<i32> {
        let root = self.checkpoint_directory(place)?;
        let jobs = match job_id {
            Some(job) if is_job(&root.join(job)) => vec![job.to_owned()],
            Some(job) => return Err(self.unknown_job(&root, job)),
            None => Shelf::jobs(&root)?,
        };
        let (shelves, failed) = self.shelves(&root, &jobs)?;
        if jobs.is_empty() {
            let root = root.display();
            self.terminal.say(&format!("no job has made a checkpoint in {root}"));
        }
        let lines = shelves.iter().flat_map(|shelf| {
            let listed = shelf.rows.iter().filter(|row| all || row.standing != Standing::Gone);
            let lines = listed.map(|row| line(shelf, row));
            lines.filter(|line| all || line.standing != Standing::Gone.text())
        });
        let lines: Vec<_> = lines.collect();
        let printed = if lines.is_empty() {
            0
        } else if place.json {
            let object = |line| serde_json::to_string(line).unwrap_or_default() + "\n";
            self.terminal.data(&lines.iter().map(object).collect::<String>())
        } else {
            let is_read = self.terminal.is_read();
            let rows: Vec<_> = lines.iter().map(|line| line.cells(is_read)).collect();
            self.terminal.table(&HEADER, &rows)
        };
        Ok(if failed { 1 } else { printed })
    }

    /// Reads the logs of jobs, and says which of them cannot be read; true if there is one.
    fn shelves(&self, root: &Path, jobs: &[String]) -> Result<(Vec<Shelf>, bool)> {
        let (mut shelves, mut failed) = (Vec::new(), false);
        for job in jobs {
            match Shelf::read(root, job) {
                Ok(shelf) => shelves.push(shelf),
                Err(error) if jobs.len() == 1 => return Err(error),
                Err(error) => {
                    self.terminal.error(&error);
                    failed = true;
                }
            }
        }
        shelves.sort_by_key(|shelf| shelf.rows.iter().map(|row| row.completed_ms).max());
        for shelf in &shelves {
            if shelf.rows.is_empty() {
                let id = &shelf.job_id;
                let text = format!("{id}: none is complete; a restart begins at the beginning");
                self.terminal.say(&text);
            }
        }
        Ok((shelves, failed))
    }

    /// The error for a job that has no log here.
    pub(super) fn unknown_job(&self, root: &Path, job: &str) -> Error {
        let directory = root.display();
        let what = format!("cannot find the job \"{job}\": it has no log in {directory}");
        Error::new(Kind::NotFound, what).with_hint(format!(
            "`{} checkpoint list --dir {directory}` lists what is there; --dir and checkpoint.dir \
             say where to look",
            self.program
        ))
    }
}

fn line<'a>(shelf: &'a Shelf, row: &'a Row) -> Line<'a> {
    let (mut standing, mut records_in_flight, mut damage) = (row.standing, None, None);
    if standing != Standing::Gone {
        match look(shelf, row) {
            Ok(records) => records_in_flight = Some(records),
            // A deletion that has begun: nobody goes on from it.
            Err(Look::Missing(_)) if standing == Standing::Kept => standing = Standing::Gone,
            Err(Look::Missing(what) | Look::Damaged(what)) => damage = Some(what),
        }
    }
    Line {
        job: &row.job,
        job_id: &shelf.job_id,
        checkpoint: row.checkpoint,
        kind: kind(row.kind),
        attempt: row.attempt,
        started_ms: row.started_ms,
        completed_ms: row.completed_ms,
        bytes: row.bytes,
        new_bytes: row.new_bytes,
        files: row.files,
        records_in_flight,
        standing: standing.text(),
        finished: shelf.history.is_finished(),
        damage,
    }
}

/// What is wrong with a checkpoint as far as a look tells.
enum Look {
    Missing(String),
    Damaged(String),
}

/// Counts records on their way; only the parts of cores are read.
fn look(shelf: &Shelf, row: &Row) -> std::result::Result<u64, Look> {
    let manifest = shelf.manifest(row).map_err(|error| Look::Damaged(error.to_string()))?;
    for file in manifest.all_files() {
        let at = |what: &str| format!("{}: {what}", file.path);
        match shelf.store.size(&file.path) {
            Ok(Some(size)) if file.bytes_in(size) == file.bytes => {}
            Ok(Some(size)) => {
                let bytes = file.bytes_in(size);
                return Err(Look::Damaged(at(&format!("it has {bytes} bytes of {}", file.bytes))));
            }
            Ok(None) => return Err(Look::Missing(at("it is missing"))),
            Err(error) => return Err(Look::Damaged(error.what)),
        }
    }
    let seen = examine(&shelf.store, &manifest, Depth::Parts, &mut |_| ());
    match seen.bad.first() {
        Some(bad) => Err(Look::Damaged(format!("{}: {}", bad.path, bad.what))),
        None => Ok(seen.cores.iter().flat_map(|core| &core.channels).map(|it| it.records).sum()),
    }
}

impl Line<'_> {
    /// Cells of a table; figures are exact unless a person reads them.
    fn cells(&self, is_read: bool) -> Vec<String> {
        let bytes = |n| if is_read { figures::bytes(n) } else { n.to_string() };
        let count = |n| if is_read { figures::count(n) } else { n.to_string() };
        let standing = match &self.damage {
            Some(damage) => format!("{}, damaged: {damage}", self.standing),
            None => self.standing.to_owned(),
        };
        vec![
            self.job.to_owned(),
            self.job_id.to_owned(),
            self.checkpoint.to_string(),
            self.kind.to_owned(),
            moment(self.completed_ms),
            self.attempt.to_string(),
            bytes(self.bytes),
            bytes(self.new_bytes),
            self.files.to_string(),
            self.records_in_flight.map_or_else(|| "-".to_owned(), count),
            standing,
        ]
    }
}
