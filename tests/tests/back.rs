//! A damaged checkpoint: the job goes back to the one before, output and all, or says why not.

use std::path::{Path, PathBuf};
use std::time::Duration;

use thalweg_checkpoint::FileInfo;
use thalweg_tests::attempt::{cores, wait_until};
use thalweg_tests::crash::process::Ended;
use thalweg_tests::crash::{Differences, Place};

/// Something that takes longer hangs: generous, since the machine may have other work.
const PATIENCE: Duration = Duration::from_secs(300);

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("back-{name}-{}", std::process::id()))
}

fn place(name: &str, options: &[&str], arguments: &[&str]) -> Place {
    let run = ["run", "fraud-p", "-p", "2", "-D", "data.dir=data", "-D", "runtime.rim=thread"];
    let job = ["--", "--generate", "60000", "--users", "1000", "--assign", "user", "--seed", "3"];
    let words = run.iter().chain(options).chain(&job).chain(arguments);
    let words: Vec<_> = words.map(|word| (*word).to_owned()).collect();
    Place::new(env!("CARGO_BIN_EXE_job"), &folder(name), &words)
}

const CHECKPOINTS: &[&str] =
    &["-D", "checkpoint.interval=30ms", "-D", "checkpoint.dir=checkpoints"];

/// A job with some checkpoints that was killed.
fn killed(name: &str) -> Place {
    let mut place = place(name, CHECKPOINTS, &["--rate", "40000"]);
    let mut running = place.start();
    wait_until("checkpoints are complete", PATIENCE, || place.completed() >= 5);
    assert!(running.kill(), "it had ended before");
    place
}

type Damage = fn(&mut Vec<u8>, &FileInfo);

/// Damages the file of a checkpoint.
fn damage(place: &Place, named: &FileInfo, how: Damage) -> (PathBuf, Vec<u8>) {
    let path = place.checkpoints().join(&named.path);
    let whole = std::fs::read(&path).expect("a file of a complete checkpoint");
    let mut bytes = whole.clone();
    how(&mut bytes, named);
    std::fs::write(&path, bytes).expect("a damaged file");
    (path, whole)
}

#[expect(clippy::ptr_arg, reason = "one of several ways to damage a file")]
fn flip(bytes: &mut Vec<u8>, named: &FileInfo) {
    bytes[(named.offset + named.bytes / 2) as usize] ^= 1;
}

fn truncate(bytes: &mut Vec<u8>, named: &FileInfo) {
    bytes.truncate((named.offset + named.bytes - 1) as usize);
}

fn is_gone(bytes: &mut Vec<u8>, _: &FileInfo) {
    bytes.clear();
}

/// The newest file that only the newest checkpoint names: a core's part, or a segment.
fn newest_file(place: &Place, segment: bool) -> FileInfo {
    let core = &place.newest().cores[1];
    let files = core.files.last().expect("a segment");
    if segment { files.clone() } else { core.part.clone() }
}

#[test]
fn a_job_goes_back_behind_a_damaged_checkpoint_and_takes_its_output_back() {
    let _cores = cores();
    let mut reference = place("reference", &[], &[]);
    let Ended { status, said } = reference.run();
    assert!(status.success(), "{said}");
    let expected = reference.committed().sequences();
    let ways: [(&str, Damage, bool); 4] = [
        ("segment", flip, true),
        ("part", flip, false),
        ("short", truncate, true),
        ("gone", is_gone, true),
    ];
    for (name, how, segment) in ways {
        let mut place = killed(name);
        let named = newest_file(&place, segment);
        damage(&place, &named, how);
        // It dies on its way back, just when that is decided, and goes back again.
        let mut back = place.start();
        let entries = place.history().next() + if segment && name == "segment" { 2 } else { 1 };
        wait_until("it goes back", PATIENCE, || place.has_entries(entries));
        back.kill();
        let said = back.wait().said;
        assert!(said.contains("a checkpoint is damaged") && said.contains(&named.path), "{said}");
        assert!(said.contains("goes back behind its newest checkpoint"), "{name}: {said}");
        let Ended { status, said } = place.run();
        assert!(status.success() && place.history().is_finished(), "{name}: {said}");
        assert!(!said.contains("damaged"), "{name}: it is void: {said}");
        let committed = place.committed();
        let differences = Differences::of_all(&expected, &committed.sequences());
        assert!(differences.is_none(), "{name}: {differences:?}\n{said}");
        assert!(committed.hidden().is_empty(), "{name}: {:?}", committed.hidden());
        place.remove();
    }
    reference.remove();
}

#[test]
fn a_job_whose_checkpoints_are_all_damaged_waits_for_their_files() {
    let _cores = cores();
    let mut place = killed("all");
    let history = place.history();
    let mut wholes = Vec::new();
    for completed in history.live().take(2) {
        let manifest = place.manifest(completed);
        wholes.push(damage(&place, &manifest.cores[0].part, flip));
    }
    let before = place.committed().marks();
    let Ended { status, said } = place.run();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(
        said.contains("error[THW-0602]") && said.matches("its checksum is").count() >= 2,
        "{said}"
    );
    assert_eq!(place.committed().marks(), before, "output was touched");
    for (path, whole) in wholes {
        std::fs::write(path, whole).expect("the file as it was");
    }
    let Ended { status, said } = place.run();
    assert!(status.success() && place.history().is_finished(), "{said}");
    assert!(!said.contains("goes back"), "{said}");
    place.remove();
}
