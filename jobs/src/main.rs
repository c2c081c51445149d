//! The `thalweg` binary.

use thalweg::{Args, RunOptions};

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let cores = words[0].parse().unwrap_or(1);
    let args = Args::new(words[1..].iter().cloned());
    let options = RunOptions::new(cores);
    match thalweg::run(thalweg_jobs::fraud_p::fraud_p, &args, &options) {
        Ok(summary) => {
            let s = summary.seconds();
            println!(
                "in {} out {} s {s:.3} rate {:.0} busy {:?} p50 {} p99 {} p99.99 {} max {} turns p99.99 {} max {}",
                summary.records_in,
                summary.records_out,
                summary.records_in as f64 / s,
                summary.busy,
                summary.latency.value_at_quantile(0.5),
                summary.latency.value_at_quantile(0.99),
                summary.latency.value_at_quantile(0.9999),
                summary.latency.max(),
                summary.turns.value_at_quantile(0.9999),
                summary.turns.max(),
            );
            println!("{:?}", summary.fingerprints);
        }
        Err(error) => eprintln!("{}", error.report()),
    }
}
