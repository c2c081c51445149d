//! Exactly once under SIGKILL: real processes are killed at any moment and started again, and what
//! a reader of the output directory sees is what an undisturbed run writes.
//!
//! At every kill each key has a beginning of its lines, and a part that was committed never
//! changes. `THALWEG_KILLS` says how many kills there are; `THALWEG_SEED` the first round's seed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use thalweg_checkpoint::log::Step;
use thalweg_checkpoint::{FileInfo, Kind};
use thalweg_tests::attempt::{cores, wait_until};
use thalweg_tests::crash::committed::Sequences;
use thalweg_tests::crash::process::Ended;
use thalweg_tests::crash::{Differences, Place, Running};
use thalweg_tests::sim::Random;

/// Kills of a run of the tests that was not asked for more.
const KILLS: u64 = 20;

/// Kills of one round at the most; then its job is left alone.
const KILLS_OF_ROUND: u64 = 12;

/// Something that takes longer hangs: generous, since the machine may have other work.
const PATIENCE: Duration = Duration::from_secs(300);

const PURCHASES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../jobs/data/cdnow.csv");

/// What happened in all rounds.
#[derive(Debug, Default)]
struct Totals {
    rounds: u64,
    kills: u64,
    stops: u64,
    /// Attempts that went on from a checkpoint.
    restores: u64,
    /// Kills by how far the killed process had come.
    phases: BTreeMap<Phase, u64>,
    /// At the ends of rounds.
    records: u64,
    /// At kills, when less was committed.
    records_so_far: u64,
}

/// How far a process had come by its log when it was killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    /// It had not begun its attempt.
    Start,
    /// No checkpoint of its attempt was complete: it restored, or ran.
    Begun,
    /// A checkpoint was complete, and perhaps not committed.
    Running,
    /// The last checkpoint was complete, by it or before it.
    Final,
    /// The job had finished.
    Finished,
}

/// A job and what is right for it.
struct Trial {
    name: &'static str,
    /// The words of an undisturbed run, and those that make it slow enough to be killed.
    job: Vec<String>,
    slower: Vec<String>,
}

impl Trial {
    fn generated(seed: u64) -> Self {
        let seed = (seed + 1).to_string();
        let job = ["fraud-p", "--generate", "150000", "--users", "5000", "--assign", "user"];
        let job = job.iter().map(|word| (*word).to_owned()).chain(["--seed".to_owned(), seed]);
        let slower = vec!["--rate".to_owned(), "100000".to_owned()];
        Self { name: "fraud-p", job: job.collect(), slower }
    }

    fn purchases() -> Self {
        let job = ["fraud", "--input", PURCHASES].map(str::to_owned).to_vec();
        Self { name: "fraud", job, slower: Vec::new() }
    }

    /// Words of a run: the job, options of the engine, arguments of the job.
    fn words(&self, options: &[String], more: &[String]) -> Vec<String> {
        let run = ["run", &self.job[0], "-p", "2", "-D", "data.dir=data"].map(str::to_owned);
        let arguments = self.job[1..].iter().chain(more).cloned();
        run.into_iter()
            .chain(options.iter().cloned())
            .chain(["--".to_owned()])
            .chain(arguments)
            .collect()
    }

    /// What an undisturbed run without checkpoints writes. `None` where io_uring is refused.
    fn reference(&self, rim: &str) -> Option<Sequences> {
        let options = ["-D".to_owned(), format!("runtime.rim={rim}")];
        let folder = folder(&format!("{}-reference", self.name));
        let mut place = Place::new(env!("CARGO_BIN_EXE_job"), &folder, &self.words(&options, &[]));
        let Ended { status, said } = place.run();
        if said.contains("THW-0701") {
            println!("skipped: {said}");
            return None;
        }
        assert!(status.success(), "the reference of {}: {status}\n{said}", self.name);
        let reference = place.committed().sequences();
        assert!(reference.len() > 1_000, "{} keys are too few", reference.len());
        place.remove();
        Some(reference)
    }

    /// The same job with checkpoints in a directory of its own.
    fn place(&self, name: &str, rim: &str, interval_ms: u64) -> Place {
        self.place_that_retains(name, rim, interval_ms, 2)
    }

    /// As [`Trial::place`], with so many checkpoints.
    fn place_that_retains(&self, name: &str, rim: &str, interval_ms: u64, count: u32) -> Place {
        let options = [
            format!("runtime.rim={rim}"),
            format!("checkpoint.interval={interval_ms}ms"),
            format!("checkpoint.retained={count}"),
            "checkpoint.dir=checkpoints".to_owned(),
        ];
        let options: Vec<_> =
            options.into_iter().flat_map(|option| ["-D".to_owned(), option]).collect();
        let words = self.words(&options, &self.slower);
        Place::new(env!("CARGO_BIN_EXE_job"), &folder(name), &words)
    }
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("crash-{name}-{}", std::process::id()))
}

/// One job that is killed again and again.
struct Round<'a> {
    seed: u64,
    place: Place,
    reference: &'a Sequences,
    random: Random,
    /// Committed parts, with their length and hash, when they were seen first.
    marks: BTreeMap<String, (usize, u64)>,
}

impl Round<'_> {
    /// Kills the job at random moments until there were `kills` of them or it has finished, and
    /// leaves it alone then.
    fn run(mut self, kills: u64, totals: &mut Totals) {
        let before = totals.kills;
        let mut stopped = 0;
        while totals.kills < before + kills && !self.place.history().is_finished() {
            let mut running = self.place.start();
            self.wait_for_moment(&mut running);
            if self.random.chance(10) && stopped < 3 {
                stopped += 1;
                totals.stops += u64::from(self.interrupt(running));
            } else if running.kill() {
                totals.kills += 1;
                *totals.phases.entry(self.phase()).or_default() += 1;
            } else {
                self.must_have_finished(running.wait());
            }
            totals.records_so_far += self.check_so_far();
        }
        let ended = self.place.run();
        self.must_have_finished(ended);
        totals.records += self.check_end();
        let ended = self.place.run();
        self.must_have_finished(ended);
        assert_eq!(self.place.committed().marks(), self.marks, "{}: run once more", self.at());
        let history = self.place.history();
        let restored = |step: &Step| matches!(step, Step::Attempt { from: Some(_), .. });
        let unfinished = self.place.unfinished();
        assert!(unfinished.is_empty(), "{}: left {unfinished:?}", self.at());
        totals.restores +=
            history.marks().iter().filter(|mark| restored(&mark.step)).count() as u64;
        totals.rounds += 1;
        self.place.remove();
    }

    /// Waits until the process may be killed: soon after its start, behind some entries of the log
    /// or behind the job's last checkpoint.
    fn wait_for_moment(&mut self, running: &mut Running) {
        let entries = self.place.history().next();
        match self.random.below(10) {
            0..=3 => running.live(Duration::from_micros(self.random.below(150_000))),
            4..=8 => {
                let more = entries + self.random.between(1, 5);
                let place = &self.place;
                let behind = || running.has_ended() || place.has_entries(more);
                wait_until(&self.at(), PATIENCE, behind);
                running.live(Duration::from_micros(self.random.magnitude(300_000)));
            }
            _ => {
                let place = &self.place;
                let last = || running.has_ended() || is_final(place);
                wait_until(&self.at(), PATIENCE, last);
                running.live(Duration::from_micros(self.random.magnitude(20_000)));
            }
        }
    }

    /// How far the process has come that was started last and is dead.
    fn phase(&self) -> Phase {
        let history = self.place.history();
        let marks = history.marks();
        let began = |step: &Step| matches!(step, Step::Attempt { .. });
        // Old entries are gone; the attempts are numbered.
        let attempts = history.attempt() as usize;
        let said = self.place.starts() as usize;
        if history.is_finished() {
            Phase::Finished
        } else if is_final(&self.place) {
            Phase::Final
        } else if attempts < said {
            Phase::Start
        } else if marks.last().is_some_and(|mark| began(&mark.step)) {
            Phase::Begun
        } else {
            Phase::Running
        }
    }

    /// Stops the process in order; false if it could not hear that yet, or ended by itself.
    fn interrupt(&self, mut running: Running) -> bool {
        if running.has_ended() {
            self.must_have_finished(running.wait());
            return false;
        }
        let Ended { status, said } = stop(running);
        use std::os::unix::process::ExitStatusExt;
        let orderly = matches!(status.code(), Some(0 | 130)) || status.signal() == Some(2);
        assert!(orderly, "{}: {status}\n{said}", self.at());
        status.code() == Some(130)
    }

    fn must_have_finished(&self, ended: Ended) {
        let Ended { status, said } = ended;
        assert!(status.success(), "{}: {status}\n{said}", self.at());
        assert!(self.place.history().is_finished(), "{}: exit 0 unfinished\n{said}", self.at());
    }

    /// Compares committed output when the process is dead; returns how many lines there are.
    fn check_so_far(&mut self) -> u64 {
        let committed = self.place.committed();
        let marks = committed.marks();
        for (name, mark) in &self.marks {
            assert_eq!(marks.get(name), Some(mark), "{}: committed {name} has changed", self.at());
        }
        self.marks = marks;
        let differences = Differences::so_far(self.reference, &committed.sequences());
        assert!(differences.is_none(), "{}: {differences:?}", self.at());
        differences.records
    }

    fn check_end(&mut self) -> u64 {
        self.check_so_far();
        let committed = self.place.committed();
        let differences = Differences::of_all(self.reference, &committed.sequences());
        assert!(differences.is_none(), "{}: {differences:?}", self.at());
        assert!(committed.hidden().is_empty(), "{}: left {:?}", self.at(), committed.hidden());
        differences.records
    }

    fn at(&self) -> String {
        let (folder, starts) = (self.place.folder().display(), self.place.starts());
        format!("seed {}, start {starts}, see {folder}", self.seed)
    }
}

/// Whether the log ends with the job's last checkpoint, or it has finished.
fn is_final(place: &Place) -> bool {
    let history = place.history();
    let last = |step: &Step| matches!(step, Step::Complete { kind: Kind::Final, .. });
    history.marks().iter().any(|mark| last(&mark.step))
}

/// Sends SIGINT and waits for the end.
fn stop(running: Running) -> Ended {
    let id = i32::try_from(running.id()).expect("a process's number");
    let id = Pid::from_raw(id).expect("a process's number is not 0");
    kill_process(id, Signal::INT).expect("a process of ours that was not waited for");
    running.wait()
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

/// Both forms of a core's thread in turn.
fn rim(seed: u64) -> &'static str {
    if seed.is_multiple_of(2) { "glommio" } else { "thread" }
}

fn kill_at_random(trial: impl Fn(u64) -> Trial, kills: u64) -> Totals {
    let _cores = cores();
    let mut totals = Totals::default();
    let first = number("THALWEG_SEED", 0);
    for seed in first.. {
        let left = kills.saturating_sub(totals.kills);
        if left == 0 {
            break;
        }
        let trial = trial(seed);
        let Some(reference) = trial.reference(rim(seed)) else { continue };
        let mut random = Random::new(seed).fork(trial.name);
        let interval_ms = random.between(20, 100);
        let place = trial.place(&format!("{}-{seed}", trial.name), rim(seed), interval_ms);
        let marks = BTreeMap::new();
        let round = Round { seed, place, reference: &reference, random, marks };
        round.run(left.min(KILLS_OF_ROUND), &mut totals);
    }
    println!("{totals:#?}");
    assert!(totals.restores > 0 && totals.records > 0, "nothing was tested: {totals:?}");
    totals
}

#[test]
fn generated_purchases_are_judged_exactly_once() {
    let totals = kill_at_random(Trial::generated, number("THALWEG_KILLS", KILLS) * 2 / 3);
    assert!(totals.phases.contains_key(&Phase::Running), "no kill hit a running job");
}

#[test]
fn real_purchases_are_judged_exactly_once() {
    kill_at_random(|_| Trial::purchases(), number("THALWEG_KILLS", KILLS) / 3);
}

#[test]
fn a_signal_makes_a_checkpoint_and_the_same_command_goes_on() {
    let _cores = cores();
    let trial = Trial::generated(1);
    let Some(reference) = trial.reference("thread") else { return };
    // So long an interval that the checkpoint behind the first one is the signal's.
    let mut place = trial.place("signal", "thread", 500);
    let running = place.start();
    wait_until("a checkpoint is complete", PATIENCE, || place.completed() > 0);
    let before = place.completed();
    let Ended { status, said } = stop(running);
    assert_eq!(status.code(), Some(130), "{said}");
    assert!(place.completed() > before, "no checkpoint was made\n{said}");
    assert!(!place.history().is_finished());
    let committed = place.committed();
    let newest = place.newest().checkpoint;
    let (part, next) = (format!("part-{newest:010}-"), format!(".part-{:010}-", newest + 1));
    assert!(committed.marks().keys().any(|name| name.starts_with(&part)), "checkpoint {newest}");
    // What was written behind the last cut is nobody's, and goes at the next start.
    let hidden = committed.hidden();
    assert!(hidden.iter().all(|name| **name >= *next), "{hidden:?} behind {newest}");
    let (marks, sequences) = (committed.marks(), committed.sequences());
    assert!(Differences::so_far(&reference, &sequences).is_none());
    let Ended { status, said } = place.run();
    assert!(status.success() && said.contains("going on from a checkpoint"), "{status}\n{said}");
    let committed = place.committed();
    assert!(marks.iter().all(|(name, mark)| committed.marks().get(name) == Some(mark)));
    let differences = Differences::of_all(&reference, &committed.sequences());
    assert!(differences.is_none(), "{differences:?}");
    place.remove();
}

#[test]
fn a_damaged_checkpoint_is_refused_by_the_name_of_its_file() {
    let _cores = cores();
    let trial = Trial::generated(2);
    let Some(reference) = trial.reference("thread") else { return };
    // No other one is there to go back to.
    let mut place = trial.place_that_retains("damage", "thread", 50, 1);
    let mut running = place.start();
    wait_until("checkpoints are complete", PATIENCE, || place.completed() > 1);
    assert!(running.kill(), "it ended too early: {}", running.said());
    let newest = place.newest();
    let files = newest.cores.iter().flat_map(|core| [&core.part].into_iter().chain(&core.files));
    let files: Vec<FileInfo> = files.cloned().collect();
    assert!(files.len() > 2, "a part and a segment of each core: {files:?}");
    let committed = place.committed().marks();
    for file in &files {
        let path = place.checkpoints().join(&file.path);
        let whole = std::fs::read(&path).expect("a file that the newest manifest names");
        let mut flipped = whole.clone();
        flipped[(file.offset + file.bytes / 2) as usize] ^= 4;
        let end = (file.offset + file.bytes) as usize;
        let damages = [Some(flipped), Some(whole[..end - 1].to_vec()), None];
        for damage in damages {
            match &damage {
                Some(bytes) => std::fs::write(&path, bytes).expect("a file to damage"),
                None => std::fs::remove_file(&path).expect("a file to delete"),
            }
            let Ended { status, said } = place.run();
            assert!(status.code().is_some_and(|code| code > 0), "{status}\n{said}");
            assert!(said.contains(&file.path), "{file:?} in\n{said}");
            // What the checkpoint holds may be committed: it is complete.
            let now = place.committed().marks();
            for (part, mark) in &committed {
                assert_eq!(now.get(part), Some(mark), "{part} has changed");
            }
        }
        std::fs::write(&path, whole).expect("a file to mend");
    }
    let Ended { status, said } = place.run();
    assert!(status.success(), "{status}\n{said}");
    let differences = Differences::of_all(&reference, &place.committed().sequences());
    assert!(differences.is_none(), "{differences:?}");
    place.remove();
}

#[test]
fn a_start_that_was_refused_is_refused_again() {
    let _cores = cores();
    let mut place = Trial::generated(3).place("refused", "thread", 50);
    let output = place.folder().join("output");
    std::fs::create_dir(&output).expect("a directory of output");
    std::fs::write(output.join("part-of-another-job"), "stale\n").expect("a file in the way");
    for _ in 0..2 {
        let Ended { status, said } = place.run();
        assert_eq!(status.code(), Some(2), "{said}");
        assert!(said.contains("the directory is not empty"), "{said}");
        assert_eq!(place.committed().marks().len(), 1);
    }
    place.remove();
}
