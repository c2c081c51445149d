//! The jobs that are simulated.

mod connected;
mod fraud;
mod keyed;
mod mixed;
mod states;
mod text;
mod time;

use thalweg::{Args, Job, record};

use super::Random;
use super::oracle::Equality;
use super::probe::{Manners, Outputs, Row, Rows};
use super::trap;

/// A job that seeds take turns with.
pub struct Case {
    /// Its name.
    pub name: &'static str,
    /// Makes it, with an input and sinks of its own; equal draws make equal jobs.
    pub make: fn(&Random) -> Instance,
}

/// A job that is ready to be built once.
pub struct Instance {
    /// The job function.
    pub job: Box<dyn Job>,
    /// Its arguments.
    pub args: Args,
    /// Where its sinks keep their rows.
    pub outputs: Outputs,
    /// What must be equal.
    pub equality: Equality,
    /// What is right, found without the engine.
    pub fold: Option<Rows>,
    /// Compares the rows of one core with those found, instead of `equality`.
    pub judge: Option<fn(&Rows, &Rows) -> Option<String>>,
}

/// All jobs: seed `s` simulates job `s % CASES.len()`.
pub const CASES: &[Case] = &[
    Case { name: "fraud-p by user", make: fraud::by_user },
    Case { name: "mixed", make: mixed::mixed },
    Case { name: "chained exchanges", make: keyed::chained },
    Case { name: "times", make: time::punctual },
    Case { name: "words", make: text::words },
    Case { name: "consumers", make: keyed::consumers },
    Case { name: "kinds of state", make: states::kinds },
    Case { name: "fraud-p by index", make: fraud::by_index },
    Case { name: "idleness", make: time::idle },
    Case { name: "straight", make: keyed::straight },
    Case { name: "explosion", make: text::explosion },
    Case { name: "windows", make: states::windows },
    Case { name: "late strategy", make: time::behind_an_exchange },
    Case { name: "broadcast effects", make: connected::effects },
    Case { name: "two keyed streams", make: connected::pairs },
];

/// A record of the test jobs.
#[record]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// What it is grouped by.
    pub key: u64,
    /// Its number.
    pub n: u64,
    /// Anything, of any length.
    pub text: String,
}

impl Item {
    /// An item without text.
    pub fn new(key: u64, n: u64) -> Self {
        trap::call();
        Self { key, n, text: String::new() }
    }

    /// The item as it is compared: a long text by length and hash.
    pub fn row(&self) -> (u64, String) {
        trap::call();
        let Self { key, n, text } = self;
        let hash = thalweg::key::hash(text.as_bytes());
        (*key, format!("{n} {} {hash:x}", text.len()))
    }
}

/// A sink's manners: it refuses records now and then.
fn manners(random: &Random) -> Manners {
    let mut own = random.fork("manners");
    let refuses = own.pick(&[0, 0, 10, 50, 90]);
    Manners { refuses, punctual: true, on_watermark: || {}, random: own }
}

/// Rows that a fold has found, under a sink's name.
fn rows(sink: &str, rows: impl IntoIterator<Item = (u64, String)>) -> Rows {
    let rows = rows.into_iter().map(|(key, text)| Row { key, text });
    Rows::from([(sink.to_owned(), rows.collect())])
}
