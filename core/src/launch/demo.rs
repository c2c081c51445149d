//! What a demonstration works with.

use super::JobFn;
use super::terminal::Terminal;
use crate::job::Args;
use crate::runtime::{RunOptions, Summary};
use crate::{Result, run};

/// Shows a job at work: prints what people should see and returns the summary of the run.
pub type DemoFn = fn(&Demo<'_>) -> Result<Summary>;

/// A demonstration's options and its way to run jobs.
pub struct Demo<'a> {
    pub(super) args: Args,
    pub(super) options: RunOptions,
    pub(super) json: bool,
    pub(super) terminal: &'a Terminal,
}

impl Demo<'_> {
    /// The words behind `--`.
    pub fn args(&self) -> &Args {
        &self.args
    }

    /// On how many cores jobs run; a demonstration whose output depends on order may ask for one.
    pub fn parallelism(&self) -> usize {
        self.options.parallelism
    }

    /// Runs a job with these words behind `--`; signals stop it, and progress is shown.
    ///
    /// # Errors
    /// Whatever ends the job.
    pub fn run<W: Into<String>>(
        &self,
        job: JobFn,
        words: impl IntoIterator<Item = W>,
    ) -> Result<Summary> {
        let summary = run(job, &Args::new(words), &self.options);
        super::progress::clear();
        summary
    }

    /// Prints for people on standard output; nothing with `--json`.
    pub fn show(&self, text: &str) {
        if !self.json {
            self.terminal.data(text);
        }
    }
}
