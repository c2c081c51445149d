//! What an operator meets who looks into a checkpoint directory: lists, contents, damage.
#![allow(clippy::unwrap_used)]

mod schema;

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

const ID: &str = "00000000000000000000000000a47e1f";

/// What a run of the program has printed, and how it ended.
struct Said {
    exit: i32,
    out: String,
    err: String,
}

fn thalweg(words: &[&str]) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_thalweg"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("THALWEG_") {
            command.env_remove(name);
        }
    }
    command.args(words).current_dir(env!("CARGO_TARGET_TMPDIR")).stdin(Stdio::null());
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let exit = output.status.code().unwrap();
    let said = Said { exit, out: text(&output.stdout), err: text(&output.stderr) };
    assert!(!said.err.contains("panicked") && [0, 1, 2, 3].contains(&exit), "{}", said.err);
    said
}

/// A directory with the checkpoints of a job that has finished.
struct Shelf {
    root: PathBuf,
}

impl Shelf {
    fn new(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("shelf-{name}"));
        let _ = std::fs::remove_dir_all(&folder);
        let (root, output) = (folder.join("checkpoints"), folder.join("output"));
        let dir = format!("checkpoint.dir={}", root.display());
        let data = format!("data.dir={}", folder.join("data").display());
        let run = ["run", "fraud-p", "-p", "1", "--job-id", ID, "-D", &dir, "-D", &data];
        let often = ["-D", "checkpoint.interval=10ms", "-D", "checkpoint.retained=2", "--"];
        let job = ["--generate", "30000", "--users", "500", "--rate", "200000", "--output"];
        let output = [output.to_str().unwrap()];
        let ran = thalweg(&[&run[..], &often, &job, &output].concat());
        assert_eq!(ran.exit, 0, "{}", ran.err);
        Self { root }
    }

    fn dir(&self) -> &str {
        self.root.to_str().unwrap()
    }

    fn job(&self) -> PathBuf {
        self.root.join(ID)
    }

    /// Carries out a verb on the job, by its id.
    fn of_job(&self, verb: &str, more: &[&str]) -> Said {
        thalweg(&[&["checkpoint", verb, ID, "--dir", self.dir()][..], more].concat())
    }

    /// The lines of `list --json`.
    fn listed(&self) -> Vec<Value> {
        let listed = self.of_job("list", &["--json"]);
        assert_eq!(listed.exit, 0, "{}", listed.err);
        listed.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Files of the newest checkpoint, by `inspect --json`: the pack and where in it.
    fn files(&self) -> Vec<(PathBuf, Range<usize>)> {
        let object: Value = serde_json::from_str(&self.of_job("inspect", &["--json"]).out).unwrap();
        let files = object["cores"][0]["files"].as_array().unwrap().iter();
        let number = |value: &Value| usize::try_from(value.as_u64().unwrap()).unwrap();
        let place = |file: &Value| {
            let from = number(&file["offset"]);
            (self.root.join(file["path"].as_str().unwrap()), from..from + number(&file["bytes"]))
        };
        files.map(place).collect()
    }
}

#[test]
fn a_finished_job_is_listed_inspected_and_verified() {
    let shelf = Shelf::new("finished");
    let lines = shelf.listed();
    lines.iter().for_each(|line| {
        schema::check(&schema::documented("checkpoint list --json"), line, "list");
    });
    let last = lines.last().unwrap();
    let is = |name: &str, value: Value| assert_eq!(last[name], value, "{last}");
    is("kind", "final".into());
    is("standing", "finished".into());
    is("finished", true.into());
    is("damage", Value::Null);
    is("records_in_flight", 0.into());
    let (full, new) = (last["bytes"].as_u64().unwrap(), last["new_bytes"].as_u64().unwrap());
    assert!(0 < new && new <= full, "{last}");
    let all = thalweg(&["checkpoint", "list", "--dir", shelf.dir()]);
    let row = all.out.lines().last().unwrap();
    assert!(row.starts_with(&format!("fraud-p\t{ID}\t")) && row.ends_with("\tfinished"), "{row}");

    let object: Value =
        serde_json::from_str(&shelf.of_job("inspect", &["--json", "--key-groups"]).out).unwrap();
    schema::check(&schema::documented("checkpoint inspect --json"), &object, "inspect");
    assert_eq!(object["bad"], Value::Array(Vec::new()));
    let state = &object["state"][0];
    assert_eq!((&state["operator"], &state["state"]), (&"judge".into(), &"profile".into()));
    let groups = state["key_groups"].as_array().unwrap();
    let sum: u64 = groups.iter().map(|group| group["entries"].as_u64().unwrap()).sum();
    assert_eq!((Some(sum), sum > 300), (state["entries"].as_u64(), true), "{state}");
    let position = object["splits"][0]["position"].as_str().unwrap();
    assert!(position.contains("split 0 of 1"), "{position}");

    let text = shelf.of_job("inspect", &[]);
    assert_eq!(text.exit, 0, "{}", text.err);
    for part in ["the job has finished with it", "judge", "profile", "purchases", "FILES"] {
        assert!(text.out.contains(part), "{part}: {}", text.out);
    }
    let verified = shelf.of_job("verify", &["--json"]);
    let object: Value = serde_json::from_str(&verified.out).unwrap();
    schema::check(&schema::documented("checkpoint verify --json"), &object, "verify");
    assert_eq!((verified.exit, &object["ok"], &object["bytes"]), (0, &true.into(), &full.into()));
}

#[test]
fn every_form_of_a_path_leads_to_the_checkpoint() {
    let shelf = Shelf::new("paths");
    let id = shelf.listed().last().unwrap()["checkpoint"].to_string();
    let job = shelf.job();
    let copy = job.join(format!("chk-{id}"));
    let line = format!("checkpoint {id} of fraud-p: ok; ");
    let verify = |path: &Path| {
        let said = thalweg(&["checkpoint", "verify", path.to_str().unwrap()]);
        assert_eq!(said.exit, 0, "{}{}", said.out, said.err);
        assert!(said.out.starts_with(&line), "{}", said.out);
    };
    [&job, &copy, &copy.join("_metadata")].into_iter().for_each(|path| verify(path));
    std::fs::remove_dir_all(job.join("log")).unwrap();
    verify(&copy);
    let without = thalweg(&["checkpoint", "inspect", copy.to_str().unwrap()]);
    assert!(without.out.contains("there is no log"), "{}", without.out);
}

#[test]
fn mistakes_are_told_with_what_to_do() {
    let shelf = Shelf::new("mistakes");
    let refused = |words: &[&str], exit: i32, message: &str, hint: &str| {
        let said = thalweg(&[&["checkpoint"][..], words].concat());
        assert_eq!(said.exit, exit, "{words:?}: {}{}", said.out, said.err);
        let (first, rest) = said.err.split_once('\n').unwrap();
        assert!(first.contains(message), "{words:?}: {}", said.err);
        let found = rest.lines().find_map(|line| line.strip_prefix("hint: "));
        assert!(found.is_some_and(|found| found.contains(hint)), "{words:?}: {}", said.err);
        assert_eq!(said.out, "", "{words:?}");
    };
    let dir = shelf.dir();
    let other = ID.replace('a', "b");
    refused(&["list", "--dir", "/nowhere"], 3, "/nowhere", "checkpoint.dir");
    refused(&["list", &other, "--dir", dir], 3, "has no log", "checkpoint list --dir");
    refused(&["inspect", &other, "--dir", dir], 3, "has no log", "checkpoint list --dir");
    refused(&["verify", "/nowhere"], 3, "/nowhere", "chk-N");
    refused(&["verify", dir], 2, "the checkpoints of 1 job", ID);
    refused(&["verify", env!("CARGO_MANIFEST_DIR")], 2, "neither log/ nor chk-N/", "job id");
    refused(&["inspect", "/proc/version"], 2, "no _metadata", "chk-N");
    refused(&["inspect", ID, "4711", "--dir", dir], 3, "checkpoint 4711 is not", "it has 1 to ");
    refused(&["verify", ID, "two"], 2, "'two'", "--help");
    refused(&["lst"], 2, "'lst'", "list");
    std::fs::write(shelf.job().join("log/00000000000000000001"), "{\"version\":2}\n").unwrap();
    refused(&["list", "--dir", dir], 1, "its version is 2", "the build that wrote it");
}

#[test]
fn each_damaged_file_is_named_and_nothing_panics() {
    let shelf = Shelf::new("damage");
    let files = shelf.files();
    assert!(files.len() >= 2, "{files:?}");
    // The part, the first segment and the last one.
    for (file, range) in [&files[0], &files[1], &files[files.len() - 1]] {
        let whole = std::fs::read(file).unwrap();
        let middle = range.start + range.len() / 2;
        let mut flipped = whole.clone();
        flipped[middle] ^= 1;
        for (damaged, said) in
            [(&flipped[..], "its checksum is "), (&whole[..middle], " bytes of "), (b"", " bytes")]
        {
            std::fs::write(file, damaged).unwrap();
            let verified = shelf.of_job("verify", &[]);
            let name = file.strip_prefix(&shelf.root).unwrap().to_str().unwrap();
            let complaint = |line: &&str| line.starts_with(name) && line.contains(said);
            assert_eq!(verified.exit, 1, "{}", verified.out);
            assert!(verified.out.lines().any(|line| complaint(&line)), "{}", verified.out);
            let alone = damaged.len() < whole.len() || verified.out.contains(": 1 bad; ");
            assert!(alone, "{}", verified.out);
            assert_eq!(shelf.of_job("inspect", &[]).exit, 1);
        }
        std::fs::write(file, &whole).unwrap();
    }
    assert_eq!(shelf.of_job("verify", &[]).exit, 0);
    let packs: BTreeSet<_> = files.iter().map(|(file, _)| file).collect();
    packs.into_iter().for_each(|pack| std::fs::remove_file(pack).unwrap());
    let said = format!(": {} bad; ", files.len());
    assert!(shelf.of_job("verify", &[]).out.contains(&said));
    assert!(shelf.listed().last().unwrap()["damage"].as_str().unwrap().contains("missing"));
}

#[test]
fn a_log_with_a_hole_does_not_seem_to_end_there() {
    let shelf = Shelf::new("hole");
    let last = shelf.listed().last().unwrap().clone();
    std::fs::remove_file(shelf.job().join("log/00000000000000000002")).unwrap();
    let listed = shelf.of_job("list", &[]);
    assert_eq!(listed.exit, 1, "{}", listed.out);
    assert!(listed.err.contains("00000000000000000002"), "{}", listed.err);
    assert!(listed.err.contains("later entries are there"), "{}", listed.err);
    assert!(!listed.out.contains("finished"), "{}, before: {last}", listed.out);
    assert_eq!(shelf.of_job("verify", &[]).exit, 1);
}
