//! What starts a job again: a parent that supervises it, and an operator who wants it from the
//! beginning.

use std::path::{Path, PathBuf};
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
