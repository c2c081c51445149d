//! The built-in jobs as a program that tests start and kill: what `thalweg` is, in a package whose
//! tests can name its path.

use thalweg::Launcher;
use thalweg_jobs::fraud::fraud;
use thalweg_jobs::fraud_p::fraud_p;

fn main() {
    Launcher::new().job("fraud", fraud).job("fraud-p", fraud_p).launch()
}
