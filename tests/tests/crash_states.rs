//! Whenever the power fails, the job goes on from the newest checkpoint that was complete, whole.
//!
//! All operations on the disk of one run are recorded. Behind each of them, and for each choice of
//! what was not durable and is lost, the disk is made as the failure leaves it, and the job goes
//! on: from the last checkpoint whose entry was durable or from the one being completed, with
//! exactly the output of that checkpoint committed, and to the end with the right output.
//! `THALWEG_STATES` says how many states are carried to the end.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use thalweg_checkpoint::PartName;
use thalweg_checkpoint::disk::record;
use thalweg_tests::crash::committed::{Committed, Sequences};
use thalweg_tests::crash::disk::History;
use thalweg_tests::crash::episode::{self, Episode};
use thalweg_tests::crash::{Differences, Tree};
use thalweg_tests::sim::Random;

/// States that are carried on to the job's end, unless one asks for more.
const TO_THE_END: u64 = 150;

/// Length and hash of each part.
type Marks = BTreeMap<String, (usize, u64)>;

/// A directory that goes at the end.
struct Folder(PathBuf);

impl Folder {
    /// In memory where that is possible: the states themselves need no disk.
    fn new(name: &str) -> Self {
        let shared = Path::new("/dev/shm");
        let root = if shared.is_dir() { shared } else { Path::new(env!("CARGO_TARGET_TMPDIR")) };
        let path = root.join(format!("thalweg-states-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The undisturbed run.
struct Run {
    history: History,
    /// Each checkpoint, with the prefix at which its entry appears and that at which it is durable.
    completed: Vec<(u64, usize, usize)>,
    parts: Marks,
    sequences: Sequences,
}

impl Run {
    fn record(base: &Path) -> Self {
        let (ran, operations) = record(|| episode::run(base));
        ran.unwrap();
        let history = History::new(base, operations);
        let entries = episode::completed(base).into_iter().map(|(checkpoint, path)| {
            let appears = (1..=history.len()).find(|prefix| {
                let there = history.tree(*prefix, &|_| thalweg_tests::crash::Fate::Kept);
                there.has(path.strip_prefix(base).unwrap())
            });
            (checkpoint, appears.unwrap(), history.durable(|it| it == path).unwrap())
        });
        let completed = entries.collect();
        let committed = Committed::read(&episode::output(base));
        let (parts, sequences) = (committed.marks(), committed.sequences());
        assert!(episode::merged(base) > 0, "no segments were merged");
        Self { history, completed, parts, sequences }
    }

    /// The oldest and the newest checkpoint from which the job may go on behind a prefix.
    fn bounds(&self, prefix: usize) -> (u64, u64) {
        let newest = |is: &dyn Fn(&(u64, usize, usize)) -> bool| {
            self.completed.iter().filter(|it| is(it)).map(|it| it.0).max().unwrap_or(0)
        };
        (newest(&|it| it.2 <= prefix), newest(&|it| it.1 <= prefix))
    }

    /// The parts that are committed when a checkpoint is.
    fn parts_of(&self, checkpoint: u64) -> Marks {
        let of = |name: &str| {
            let name = name.rsplit('/').next().unwrap();
            PartName::parse(name).unwrap().checkpoint
        };
        let parts = self.parts.iter().filter(|(name, _)| of(name) <= checkpoint);
        parts.map(|(name, mark)| (name.clone(), *mark)).collect()
    }

    /// Goes on from a state; the checkpoint that it went on from, 0 for none.
    fn check(&self, prefix: usize, tree: &Tree, to_the_end: bool) -> Result<u64, String> {
        let folder = Folder::new("state");
        let base = folder.0.join("base");
        tree.make(&base);
        let (oldest, newest) = self.bounds(prefix);
        let Some(episode) = Episode::begin(&base)? else {
            let committed = Committed::read(&episode::output(&base));
            let is_whole = committed.marks() == self.parts && committed.hidden().is_empty();
            return if is_whole { Ok(newest) } else { Err("finished, not whole".to_owned()) };
        };
        let from = episode.from.unwrap_or(0);
        if from != oldest && from != newest {
            return Err(format!("it goes on from {from}, not from {oldest} or {newest}"));
        }
        let committed = Committed::read(&episode::output(&base));
        let (expected, found) = (self.parts_of(from), committed.marks());
        if found != expected {
            return Err(format!("at checkpoint {from} committed is {found:?}, not {expected:?}"));
        }
        if !committed.hidden().is_empty() {
            return Err(format!("hidden parts are left: {:?}", committed.hidden()));
        }
        if to_the_end {
            episode.run()?;
            let committed = Committed::read(&episode::output(&base));
            let differences = Differences::of_all(&self.sequences, &committed.sequences());
            if !differences.is_none() {
                return Err(format!("at the end, from checkpoint {from}: {differences:?}"));
            }
        }
        Ok(from)
    }
}

#[test]
fn a_power_failure_anywhere_leaves_a_whole_checkpoint() {
    let folder = Folder::new("run");
    let run = Run::record(&folder.0);
    assert!(run.completed.len() > 3, "{:?}", run.completed);
    let wanted = std::env::var("THALWEG_STATES");
    let wanted = wanted.map_or(TO_THE_END, |text| text.parse().expect("a number"));
    let (mut states, mut ended, mut from) = (0, 0, BTreeMap::<u64, u64>::new());
    let mut random = Random::new(1);
    let mut violations = Vec::new();
    let trees: Vec<_> = (0..=run.history.len())
        .flat_map(|prefix| {
            let trees = run.history.trees(prefix, &mut random);
            trees.into_iter().map(move |(rule, tree)| (prefix, rule, tree))
        })
        .collect();
    let every = (trees.len() as u64 / wanted.max(1)).max(1);
    for (prefix, rule, tree) in &trees {
        let to_the_end = states % every == 0;
        states += 1;
        ended += u64::from(to_the_end);
        match run.check(*prefix, tree, to_the_end) {
            Ok(checkpoint) => *from.entry(checkpoint).or_default() += 1,
            Err(what) => {
                let last = run.history.last(*prefix);
                violations.push(format!("behind {prefix} operations ({last:?}), {rule}: {what}"));
            }
        }
    }
    let operations = run.history.len();
    println!("{operations} operations, {states} states, {ended} to the end, from {from:?}");
    assert!(violations.is_empty(), "{} of {states}:\n{}", violations.len(), violations[0]);
    assert!(from.len() == run.completed.len() + 1, "not from every checkpoint: {from:?}");
}
