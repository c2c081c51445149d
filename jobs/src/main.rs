//! The `thalweg` binary.

use thalweg::Launcher;
use thalweg_jobs::fraud_p::fraud_p;

fn main() {
    Launcher::new()
        .job("fraud-p", fraud_p)
        .about("judge generated purchases of one fixed size, a verdict on each")
        .example("--generate 20000000 --users 1000000 --output blackhole")
        .launch()
}
