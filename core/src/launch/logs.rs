//! The log: for people or as JSON, on standard error, never through the progress bar.

use std::io::Write;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use super::cli::{LogFormat, Output};
use super::progress::suspended;
use super::terminal::Terminal;

/// Starts the log. `THALWEG_LOG` takes directives like `thalweg=debug` and wins over -q and -v.
pub(super) fn start(output: &Output, terminal: &Terminal) {
    let usual = match (output.quiet, output.verbose) {
        (true, _) => "error",
        (false, 0) => "warn,thalweg=info",
        (false, 1) => "info,thalweg=debug",
        (false, _) => "trace",
    };
    let filter = std::env::var("THALWEG_LOG").ok().filter(|directives| !directives.is_empty());
    let filter = EnvFilter::new(filter.as_deref().unwrap_or(usual));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(Lines);
    // A program that has set up a log of its own keeps it.
    let _ = match output.log_format {
        LogFormat::Json => log.json().flatten_event(true).try_init(),
        LogFormat::Human => {
            let log = log.with_ansi(terminal.colored());
            log.without_time().with_target(output.verbose > 0).compact().try_init()
        }
    };
}

/// Writes whole lines between two drawings of the bar.
#[derive(Debug, Clone, Copy)]
struct Lines;

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;
    fn make_writer(&'a self) -> Self {
        *self
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        suspended(|| std::io::stderr().write_all(bytes)).map(|()| bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
