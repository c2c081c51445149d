//! Flags users who buy more than five times within an hour: a job in a crate of its own.
//!
//! `cargo run -p thalweg-examples -- run velocity -p 2 -- --input purchases.csv --output out`

use std::path::PathBuf;

use clap::Parser;
use serde::{Deserialize, Serialize};
use thalweg::prelude::*;

#[derive(Parser)]
struct Options {
    /// CSV files with the columns user, ts (milliseconds) and cents.
    #[arg(long, num_args = 1.., required = true)]
    input: Vec<PathBuf>,
    /// Directory for the alerts.
    #[arg(long)]
    output: PathBuf,
}

#[record]
#[derive(Debug, Clone, Copy, Deserialize)]
struct Purchase {
    user: u64,
    ts: i64,
    cents: i64,
}

#[derive(Debug, Serialize)]
struct Alert {
    user: u64,
    ts: i64,
    cents: i64,
    count: u64,
}

fn velocity(flow: &Dataflow, args: &Args) -> thalweg::Result<()> {
    let options: Options = args.parse()?;
    flow.source("purchases", FileSource::csv::<Purchase>(&options.input))
        .key_by(|purchase| purchase.user)
        .flat_map_with_state(
            "count",
            ValueSpec::new("hour"),
            |_, purchase, hour: &mut (i64, u64)| {
                let start = purchase.ts - purchase.ts.rem_euclid(3_600_000);
                *hour = (start, if hour.0 == start { hour.1 + 1 } else { 1 });
                let Purchase { user, ts, cents } = purchase;
                (hour.1 > 5).then_some(Alert { user, ts, cents, count: hour.1 })
            },
        )
        .sink("alerts", FileSink::json_lines(&options.output));
    Ok(())
}

fn main() {
    thalweg::launch(&[("velocity", velocity)])
}
