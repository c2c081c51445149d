//! The `thalweg` binary: the engine's verbs and its built-in jobs.

use thalweg::Launcher;
use thalweg_jobs::fraud::{demo, fraud};
use thalweg_jobs::fraud_p::fraud_p;
use thalweg_jobs::wordcount::wordcount;

fn main() {
    Launcher::new()
        .job("fraud", fraud)
        .about("judge purchases: an alert for each that a rule flags, hourly sums per user")
        .example("--input purchases.csv --output out")
        .demo(demo)
        .job("fraud-p", fraud_p)
        .about("judge generated purchases of one fixed size, a verdict on each")
        .example("--generate 20000000 --users 1000000 --output blackhole")
        .job("wordcount", wordcount)
        .about("count the words of text files")
        .example("--input book.txt --output counts")
        .launch()
}
