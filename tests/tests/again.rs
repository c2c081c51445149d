//! What starts a job again: a parent that supervises it, and an operator who wants it from the
//! beginning.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use thalweg_tests::attempt::{cores, wait_until};
use thalweg_tests::crash::process::Ended;
use thalweg_tests::crash::{Differences, Place};

/// Something that takes longer hangs: generous, since the machine may have other work.
const PATIENCE: Duration = Duration::from_secs(300);

const JOB: &[&str] =
    &["--generate", "100000", "--users", "1000", "--assign", "user", "--seed", "7"];

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("again-{name}-{}", std::process::id()))
}

/// The words of a run with these options and arguments.
fn words(options: &[&str], arguments: &[&str]) -> Vec<String> {
    let run = ["run", "fraud-p", "-p", "2", "-D", "data.dir=data", "-D", "runtime.rim=thread"];
    let words = run.iter().chain(options).chain(&["--"]).chain(JOB).chain(arguments);
    words.map(|word| (*word).to_owned()).collect()
}

fn place(name: &str, words: &[String]) -> Place {
    Place::new(env!("CARGO_BIN_EXE_job"), &folder(name), words)
}

const CHECKPOINTS: &[&str] =
    &["-D", "checkpoint.interval=30ms", "-D", "checkpoint.dir=checkpoints"];

fn send(process: u32, signal: Signal) {
    let process = i32::try_from(process).ok().and_then(Pid::from_raw).expect("a process");
    let _ = kill_process(process, signal);
}

/// The process that a supervising one has started; `None` between two.
fn child_of(parent: u32) -> Option<u32> {
    let children = format!("/proc/{parent}/task/{parent}/children");
    std::fs::read_to_string(children).ok()?.split_whitespace().next()?.parse().ok()
}

#[test]
fn a_supervised_job_survives_its_processes_and_heeds_a_signal() {
    let _cores = cores();
    let mut reference = place("reference", &words(&[], &[]));
    let Ended { status, said } = reference.run();
    assert!(status.success(), "{said}");
    let options = [&["--supervise", "-D", "restart.initial-delay=10ms"], CHECKPOINTS].concat();
    let mut supervised = place("supervised", &words(&options, &["--rate", "50000"]));

    let mut running = supervised.start();
    for kills in 1..=2 {
        let complete = supervised.completed();
        wait_until("a checkpoint is complete", PATIENCE, || supervised.completed() > complete);
        let child = child_of(running.id()).expect("a child while checkpoints are made");
        send(child, Signal::KILL);
        wait_until("another child runs", PATIENCE, || {
            running.has_ended() || child_of(running.id()).is_some_and(|next| next != child)
        });
        assert!(!running.has_ended(), "after {kills} kills");
    }
    let complete = supervised.completed();
    wait_until("a checkpoint is complete", PATIENCE, || supervised.completed() > complete);
    send(running.id(), Signal::INT);
    let Ended { status, said } = running.wait();
    assert_eq!(status.code(), Some(130), "{said}");
    assert_eq!(said.matches("signal 9 has ended the job").count(), 2, "{said}");
    assert!(!supervised.history().is_finished());

    let Ended { status, said } = supervised.run();
    assert!(status.success() && supervised.history().is_finished(), "{said}");
    let (expected, found) = (reference.committed().sequences(), supervised.committed().sequences());
    let differences = Differences::of_all(&expected, &found);
    assert!(differences.is_none(), "{differences:?}");
    [reference, supervised].into_iter().for_each(Place::remove);
}

/// Runs a verb in a job's directory; the exit code and what it said.
fn verb(place: &Place, words: &[&str]) -> (Option<i32>, String) {
    let program = env!("CARGO_BIN_EXE_job");
    let mut command = Command::new(program);
    command.args(words).args(["-D", "data.dir=data"]).current_dir(place.folder());
    let Output { status, stdout, stderr } = command.output().expect("the program of the jobs");
    let text = [stdout, stderr].concat();
    (status.code(), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn a_job_is_asked_stopped_and_cancelled() {
    let _cores = cores();
    let slow = words(CHECKPOINTS, &["--rate", "20000"]);
    let mut place = place("asked", &slow);
    let mut running = place.start();
    wait_until("a checkpoint is complete", PATIENCE, || place.completed() > 0);
    let (code, listed) = verb(&place, &["list"]);
    assert!(code == Some(0) && listed.contains("fraud-p\trunning"), "{listed}");
    let (code, said) = verb(&place, &["checkpoint", "trigger", "fraud-p"]);
    assert!(code == Some(0) && said.contains("completed. Path: checkpoints/"), "{said}");
    let (code, said) = verb(&place, &["stop", "fraud-p"]);
    assert!(code == Some(0) && said.contains("Stopped job "), "{said}");
    let Ended { status, said } = running.wait();
    assert!(status.success() && said.contains("stopped in order"), "{said}");
    assert!(!place.history().is_finished() && place.committed().hidden().is_empty());
    // Nothing was in flight, and what was read is committed.
    let stopped = place.committed().sequences();

    running = place.start();
    let complete = place.completed();
    wait_until("another is complete", PATIENCE, || place.completed() > complete);
    let (code, said) = verb(&place, &["cancel", "fraud-p"]);
    assert!(code == Some(0) && said.contains("Cancelled job "), "{said}");
    assert_eq!(running.wait().status.code(), Some(8));
    assert!(Differences::so_far(&place.committed().sequences(), &stopped).is_none());
    assert!(place.committed().hidden().is_empty(), "{:?}", place.committed().hidden());
    assert_eq!(place.history().next(), 0, "its checkpoints are deleted");
    let (code, said) = verb(&place, &["cancel", "fraud-p"]);
    assert!(code == Some(3) && said.contains("no job \"fraud-p\" runs"), "{said}");
    place.remove();
}

#[test]
fn a_job_that_waits_to_start_again_heeds_a_stop() {
    let _cores = cores();
    // No checkpoint is as quick as that, and none may fail.
    let options = ["-D", "checkpoint.timeout=1ms", "-D", "restart.initial-delay=10m"];
    let options = [CHECKPOINTS, &options].concat();
    let mut place = place("waits", &words(&options, &["--rate", "20000"]));
    let running = place.start();
    let waits = || running.said().contains("the attempt has failed and is repeated");
    wait_until("an attempt has failed", PATIENCE, waits);
    let (code, said) = verb(&place, &["stop", "fraud-p"]);
    assert!(code == Some(0) && said.contains("Stopped job "), "{said}");
    let Ended { status, said } = running.wait();
    assert!(status.success() && said.contains("stopped in order"), "{said}");
    place.remove();
}

#[test]
fn a_job_begins_afresh_where_no_output_stands_in_its_way() {
    let _cores = cores();
    let mut first = place("afresh", &words(CHECKPOINTS, &[]));
    let Ended { status, said } = first.run();
    assert!(status.success() && first.history().is_finished(), "{said}");
    let before = first.committed().sequences();

    let afresh = [CHECKPOINTS, &["--restart-from", "none"]].concat();
    let Ended { status, said } = first.run_with(&words(&afresh, &[]));
    assert_eq!(status.code(), Some(2), "{said}");
    assert!(said.contains("the directory is not empty") && first.history().is_finished());

    let Ended { status, said } = first.run_with(&words(&afresh, &["--overwrite"]));
    assert!(status.success() && !said.contains("has finished before"), "{said}");
    let history = first.history();
    assert!(history.is_finished() && history.attempt() == 2, "{history:?}");
    let differences = Differences::of_all(&before, &first.committed().sequences());
    assert!(differences.is_none(), "{differences:?}");
    let newest = first.newest();
    assert!(newest.cores.iter().all(|core| core.part.path.contains("att-2")), "{newest:?}");
    first.remove();
}

/// What is visible stays, nothing is lost, and nothing is there that should not be.
#[test]
fn at_least_once_output_is_visible_before_its_checkpoint_and_never_lost() {
    let _cores = cores();
    let mut reference = place("least-reference", &words(&[], &[]));
    let Ended { status, said } = reference.run();
    assert!(status.success(), "{said}");
    let expected = reference.committed().sequences();
    let mode = ["-D", "checkpoint.mode=at-least-once"];
    let options = [CHECKPOINTS, &mode].concat();
    let mut place = place("least", &words(&options, &["--rate", "50000"]));
    let mut marks = place.committed().marks();
    for _ in 0..4 {
        let mut running = place.start();
        let complete = place.completed();
        wait_until("a checkpoint is complete", PATIENCE, || {
            running.has_ended() || place.completed() > complete
        });
        running.kill();
        let now = place.committed().marks();
        for (part, mark) in &marks {
            assert_eq!(now.get(part), Some(mark), "{part} has changed");
        }
        assert!(now.len() > marks.len(), "nothing became visible");
        marks = now;
    }
    let Ended { status, said } = place.run();
    assert!(status.success() && place.history().is_finished(), "{said}");
    assert!(said.contains("checkpoint.mode=at-least-once"), "{said}");
    let differences = Differences::at_least(&expected, &place.committed().sequences());
    assert!(differences.is_none(), "{differences:?}");
    [reference, place].into_iter().for_each(Place::remove);
}
