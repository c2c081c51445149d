//! Standard output for data, standard error for the rest.

use std::io::{IsTerminal, Write};

use super::cli::{Color, LogFormat, Output};
use super::progress::suspended;
use crate::Error;

/// How to print.
#[derive(Debug, Clone, Default)]
pub(super) struct Terminal {
    output: Output,
}

impl Terminal {
    pub(super) fn set(&mut self, output: &Output) {
        self.output = output.clone();
    }

    /// Prints data; a reader that has gone away is no failure. Returns the exit code.
    pub(super) fn data(&self, text: &str) -> i32 {
        let mut out = std::io::stdout().lock();
        let end = if text.ends_with('\n') { "" } else { "\n" };
        let result = out.write_all(text.as_bytes()).and_then(|()| out.write_all(end.as_bytes()));
        match result.and_then(|()| out.flush()) {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
                self.error(&Error::io("cannot write to standard output", error));
                1
            }
            _ => 0,
        }
    }

    /// Prints rows: aligned on a terminal, separated by tabs elsewhere.
    pub(super) fn table(&self, header: &[&str], rows: &[Vec<String>]) -> i32 {
        if !self.is_read() {
            return self.data(&rows.iter().map(|row| row.join("\t") + "\n").collect::<String>());
        }
        self.data(&aligned(header, rows))
    }

    /// Whether a person reads the data: standard output is a terminal.
    pub(super) fn is_read(&self) -> bool {
        std::io::stdout().is_terminal()
    }

    /// Says something to a person, unless they asked for quiet.
    pub(super) fn say(&self, text: &str) {
        if self.output.quiet {
            return;
        }
        match self.output.log_format {
            LogFormat::Json => text.lines().for_each(|line| tracing::info!("{}", line.trim())),
            LogFormat::Human => suspended(|| {
                let _ = writeln!(std::io::stderr(), "{}", text.trim_end());
            }),
        }
    }

    /// Prints an error in its documented form.
    pub(super) fn error(&self, error: &Error) {
        let report = error.report();
        let text = match report.split_once(": ") {
            Some((code, rest)) if self.colored() => {
                let rest = rest.replace("\nhint:", "\n\x1b[36mhint:\x1b[0m");
                format!("\x1b[1;31m{code}\x1b[0m: {rest}")
            }
            _ => report,
        };
        suspended(|| {
            let _ = writeln!(std::io::stderr(), "{text}");
        });
    }

    pub(super) fn is_quiet(&self) -> bool {
        self.output.quiet
    }

    pub(super) fn is_verbose(&self) -> bool {
        self.output.verbose > 0
    }

    /// Whether standard error shows a person a screen.
    pub(super) fn is_screen(&self) -> bool {
        std::io::stderr().is_terminal() && self.output.log_format == LogFormat::Human
    }

    pub(super) fn colored(&self) -> bool {
        match self.output.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => {
                let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
                !refused && std::io::stderr().is_terminal()
            }
        }
    }
}

/// Rows below a header, each column as wide as its widest cell.
pub(super) fn aligned(header: &[&str], rows: &[Vec<String>]) -> String {
    let header = header.iter().map(|cell| (*cell).to_owned()).collect();
    let all: Vec<&Vec<String>> = std::iter::once(&header).chain(rows).collect();
    let width = |column: usize| {
        all.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
    };
    let widths: Vec<_> = (0..header.len()).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in &all {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}
