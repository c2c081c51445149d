//! Exactly once at every step of the protocol: a real process kills itself at each fail point, is
//! started again, and what a reader of the output sees is what an undisturbed run writes.
//!
//! Each point is met once, or `THALWEG_ROUNDS` times; `THALWEG_POINT` chooses one by its name. A
//! point that is never met is a failure. The list is `thalweg_checkpoint::fail::POINTS`.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};

use thalweg_checkpoint::fail::{POINTS, Point, Reached};
use thalweg_tests::attempt::cores;
use thalweg_tests::crash::committed::Sequences;
use thalweg_tests::crash::process::Ended;
use thalweg_tests::crash::{Differences, Place};
use thalweg_tests::sim::Random;

/// Records of the job, and how many of them come in a second.
const RECORDS: u64 = 20_000;
const RATE: u64 = 50_000;

/// So slow that more checkpoints are made than segments are kept side by side.
const RATE_LATE: u64 = 4_000;

/// Where there is no disk that each file would wait for: a killed process loses nothing that was
/// written.
fn folder(name: &str) -> PathBuf {
    let shared = Path::new("/dev/shm");
    let root = if shared.is_dir() { shared } else { Path::new(env!("CARGO_TARGET_TMPDIR")) };
    root.join(format!("thalweg-fail-{name}-{}", std::process::id()))
}

fn place(name: &str, options: &[&str], rate: Option<u64>) -> Place {
    let words = "run fraud-p -p 2 -D data.dir=data -D runtime.rim=thread";
    let job = format!("-- --generate {RECORDS} --users 2000 --assign user --seed 7");
    let rate = rate.map(|rate| format!(" --rate {rate}")).unwrap_or_default();
    let options: String = options.iter().map(|option| format!(" -D {option}")).collect();
    let all = format!("{words}{options} {job}{rate}");
    let words: Vec<String> = all.split(' ').map(str::to_owned).collect();
    Place::new(env!("CARGO_BIN_EXE_job"), &folder(name), &words)
}

fn reference() -> Sequences {
    let mut place = place("reference", &[], None);
    let Ended { status, said } = place.run();
    assert!(status.success(), "the reference: {status}\n{said}");
    let reference = place.committed().sequences();
    assert!(reference.len() > 500, "{} keys are too few", reference.len());
    place.remove();
    reference
}

/// A trial with a count that the round draws; if the machine was so busy that the job had finished
/// before, with the first hit and a slower job.
fn trial(point: Point, round: u64, reference: &Sequences) -> u64 {
    let mut random = Random::new(round).fork(point.name);
    let count = match point.reached {
        Reached::Once | Reached::Late | Reached::Restart => 1,
        Reached::Often if round == 0 => random.between(1, 6),
        Reached::Often => random.magnitude(60),
    };
    let rate = if point.reached == Reached::Late { RATE_LATE } else { RATE };
    match die_and_go_on(point, round, (count, rate), reference) {
        0 => die_and_go_on(point, round, (1, rate / 5), reference),
        deaths => deaths,
    }
}

/// Runs a job that dies at a point, once or twice, and to its end then; how often it has died.
fn die_and_go_on(
    point: Point,
    round: u64,
    (count, rate): (u64, u64),
    reference: &Sequences,
) -> u64 {
    let mut random = Random::new(round).fork("before");
    let interval = if point.reached == Reached::Late { 10 } else { 20 };
    let options = ["checkpoint.dir=checkpoints", &format!("checkpoint.interval={interval}ms")];
    let mut place = place(point.name, &options, Some(rate));
    let mut deaths = 0;
    let mut die = |place: &mut Place, at: String| {
        let Ended { status, said } = place.start_with(Some(&at)).wait();
        let died = status.signal() == Some(9);
        assert!(died || status.success(), "{at}, round {round}: {status}\n{said}");
        let differences = Differences::so_far(reference, &place.committed().sequences());
        assert!(differences.is_none(), "{at}, round {round}: {differences:?}");
        deaths += u64::from(died && at.starts_with(point.name));
    };
    if point.reached == Reached::Restart {
        // Something is complete, and a hidden part belongs to nothing that is.
        die(&mut place, format!("part-durable:{}", random.between(9, 16)));
    }
    die(&mut place, format!("{}:{count}", point.name));
    // Once more, in the process that goes on.
    die(&mut place, format!("{}:1", point.name));
    let Ended { status, said } = place.run();
    assert!(status.success(), "{}, round {round}: {status}\n{said}", point.name);
    assert!(place.history().is_finished(), "{}, round {round}: exit 0 unfinished", point.name);
    let committed = place.committed();
    let differences = Differences::of_all(reference, &committed.sequences());
    assert!(differences.is_none(), "{}, round {round}: {differences:?}", point.name);
    assert!(committed.hidden().is_empty(), "{}: left {:?}", point.name, committed.hidden());
    place.remove();
    deaths
}

#[test]
fn a_process_may_die_at_every_step() {
    let _cores = cores();
    let reference = reference();
    let rounds = std::env::var("THALWEG_ROUNDS").map_or(1, |text| text.parse().unwrap());
    let only = std::env::var("THALWEG_POINT").ok();
    let mut deaths: BTreeMap<&str, u64> = BTreeMap::new();
    for round in 0..rounds {
        for point in POINTS.iter().filter(|it| only.as_ref().is_none_or(|only| it.name == only)) {
            *deaths.entry(point.name).or_default() += trial(*point, round, &reference);
        }
    }
    let all: u64 = deaths.values().sum();
    println!("{} points, {all} deaths: {deaths:?}", deaths.len());
    let never: Vec<_> = deaths.iter().filter(|(_, deaths)| **deaths == 0).collect();
    assert!(never.is_empty() && all > 0, "never reached: {never:?}");
}

#[test]
fn every_point_is_in_the_documentation() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/testing.md");
    let page = std::fs::read_to_string(path).unwrap();
    for point in POINTS {
        assert!(page.contains(&format!("`{}`", point.name)), "{} is missing", point.name);
    }
}
