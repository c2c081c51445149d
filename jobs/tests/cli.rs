//! What a person or script at a terminal meets: the built program, its texts, exit codes and JSON.
#![allow(clippy::unwrap_used)]

mod schema;

use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// The program without the caller's configuration.
fn thalweg(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_thalweg"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("THALWEG_") {
            command.env_remove(name);
        }
    }
    command.args(words).current_dir(env!("CARGO_TARGET_TMPDIR")).stdin(Stdio::null());
    command
}

fn output(words: &[&str]) -> Output {
    thalweg(words).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Asserts that the words are refused: exit code, code, and what message and hint contain.
fn refused(words: &[&str], exit: i32, code: &str, message: &str, hint: &str) {
    let output = output(words);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(exit), "{words:?}: {stderr}");
    let (first, rest) = stderr.split_once('\n').unwrap();
    assert!(first.starts_with(&format!("error[{code}]: ")), "{words:?}: {stderr}");
    assert!(first.contains(message), "{words:?}: {stderr}");
    assert!(!first.ends_with('.'), "{words:?}: {stderr}");
    let found = rest.lines().find_map(|line| line.strip_prefix("hint: "));
    assert!(found.is_some_and(|found| found.contains(hint)), "{words:?}: {stderr}");
    assert!(output.stdout.is_empty(), "{words:?}: {}", text(&output.stdout));
}

const SMALL: [&str; 6] = ["--generate", "1000", "--users", "100", "--output", "blackhole"];

#[test]
fn every_mistake_has_its_sentence_hint_and_exit_code() {
    let usage = |words: &[&str], message: &str, hint: &str| {
        refused(words, 2, "THW-0001", message, hint);
    };
    refused(&["run", "fruad-p"], 3, "THW-0002", "unknown job \"fruad-p\"", "\"fraud-p\"");
    let config = ["run", "fraud-p", "--config", "/nowhere.toml"];
    refused(&config, 3, "THW-0002", "/nowhere.toml", "TOML");
    usage(&["rnu"], "rnu", "did you mean \"run\"?");
    usage(&["fraud-p"], "fraud-p", "run fraud-p");
    usage(&["run", "fraud-p", "--paralelism", "2"], "--paralelism", "--parallelism");
    usage(&["run", "fraud-p", "--input", "x"], "--input", "follow `--`");
    usage(&["run", "fraud-p", "-p", "two"], "'two'", "run --help");
    usage(&["run", "fraud-p", "-p", "0"], "job.parallelism", "explain");
    usage(&["-q", "run", "fraud-p", "-p", "two"], "'two'", "run --help");
    let splits =
        ["run", "fraud-p", "--", "--generate", "1", "--output", "blackhole", "--splits", "0"];
    usage(&splits, "0 splits", "above 0");
    let onto_file = ["run", "fraud-p", "--", "--generate", "1", "--output", "/proc/version"];
    usage(&onto_file, "it is no directory", "name a directory");
    usage(&["run", "fraud-p", "--", "--users", "many"], "'many'", "--help");
    usage(&["run", "fraud-p", "--", "--outptu", "x"], "--outptu", "'--output'");
    usage(&["run", "fraud-p", "--"], "--output", "run fraud-p -- --help");
    usage(&["run", "fraud-p", "-D", "runtime.idel=spin"], "runtime.idel", "\"runtime.idle\"");
    usage(&["run", "fraud-p", "-D", "runtime.idle=doze"], "park or spin", "runtime.idle");
    let two = ["run", "fraud-p", "-D", "checkpoint.max-concurrent=2"];
    usage(&two, "one checkpoint at a time", "leave checkpoint.max-concurrent at 1");
    usage(&["run", "fraud-p", "--job-id", "nightly"], "nightly", "32");
    usage(&["run", "fraud-p", "-s", "/savepoint"], "not built yet", "leave it out");
    usage(&["config", "explain", "runtime.idel"], "runtime.idel", "\"runtime.idle\"");
    let many = ["run", "fraud-p", "-p", "4096", "--"];
    usage(&[&many[..], &SMALL].concat(), "cannot run on 4096 cores", "use -p 1");
}

#[test]
fn help_is_short_goes_to_standard_output_and_has_examples() {
    let verbs: [&[&str]; 14] = [
        &[],
        &["--help"],
        &["run", "--help"],
        &["plan", "--help"],
        &["jobs", "--help"],
        &["demo", "--help"],
        &["config", "--help"],
        &["config", "show", "--help"],
        &["config", "check", "--help"],
        &["config", "explain", "--help"],
        &["checkpoint", "--help"],
        &["checkpoint", "list", "--help"],
        &["checkpoint", "inspect", "--help"],
        &["checkpoint", "verify", "--help"],
    ];
    for words in verbs {
        let output = output(words);
        let help = text(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{words:?}");
        assert!(help.lines().count() < 60, "{words:?}: {}", help.lines().count());
        let examples = help.split_once("Examples:\n").unwrap().1.lines();
        let examples = examples.take_while(|line| line.starts_with("  thalweg "));
        assert_eq!(examples.count(), 2, "{words:?}: {help}");
    }
    let help = output(&["run", "fraud-p", "--", "--help"]);
    assert_eq!(help.status.code(), Some(0));
    assert!(text(&help.stdout).contains("Usage: thalweg run fraud-p -- "), "{help:?}");
    assert!(text(&help.stdout).contains("--generate"), "{help:?}");
}

#[test]
fn json_is_one_object_of_the_documented_form() {
    let output = output(&[&["run", "fraud-p", "-p", "1", "--json", "--"][..], &SMALL].concat());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let object: Value = serde_json::from_slice(&output.stdout).unwrap();
    schema::check(&schema::documented("run --json"), &object, "run");
    assert_eq!((&object["records_in"], &object["records_out"]), (&1000.into(), &1000.into()));
    assert_eq!(object["fingerprints"]["verdicts"]["count"], 1000);
    assert_eq!(object["busy"].as_array().unwrap().len(), 1);
    assert!(object["peak_rss_bytes"].as_u64().unwrap() > 1 << 20);
}

#[test]
fn people_get_a_summary_on_standard_error_and_quiet_gets_none() {
    let words = [&["run", "fraud-p", "-p", "1", "--"][..], &SMALL].concat();
    let run = output(&words);
    assert!(run.stdout.is_empty());
    assert!(text(&run.stderr).contains("1,000 in, 1,000 out"), "{}", text(&run.stderr));
    let quiet = output(&[&["-q"][..], &words].concat());
    assert_eq!((quiet.status.code(), quiet.stdout, quiet.stderr), (Some(0), vec![], vec![]));
}

#[test]
fn the_plan_is_a_text_a_graph_and_an_object() {
    let plan = |flag: &[&str]| {
        let words = [&["plan", "fraud-p", "-p", "4"][..], flag, &["--"], &SMALL].concat();
        let output = output(&words);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    let words = plan(&[]);
    assert!(words.contains("source purchases (generator) -> "), "{words}");
    assert!(words.contains("=> hash to task 2"), "{words}");
    assert!(words.contains("state judge.profile (value)"), "{words}");
    assert!(plan(&["--dot"]).starts_with("digraph \"fraud-p\" {"));
    let object: Value = serde_json::from_str(&plan(&["--json"])).unwrap();
    schema::check(&schema::documented("plan --json"), &object, "plan");
    assert_eq!(
        (&object["parallelism"], &object["nodes"][0]["expected_records"]),
        (&4.into(), &1000.into(),)
    );
}

#[test]
fn tables_are_separated_by_tabs_away_from_a_terminal() {
    let jobs = text(&output(&["jobs"]).stdout);
    assert!(jobs.lines().any(|line| line.split('\t').next() == Some("fraud-p")), "{jobs}");
    let words = ["config", "show", "--origin", "-D", "parallelism.default=1"];
    let show = output(&words);
    let settings = text(&show.stdout);
    assert!(settings.contains("job.parallelism\t1\t-D\n"), "{settings}");
    assert!(settings.contains("runtime.idle\tpark\tdefault\n"), "{settings}");
    assert!(text(&show.stderr).contains("alias of job.parallelism"), "{}", text(&show.stderr));
    let explain = output(&["config", "explain", "execution.checkpointing.timeout"]);
    assert!(text(&explain.stdout).starts_with("checkpoint.timeout: "));
}

#[test]
fn what_flink_needs_and_this_does_not_is_said() {
    let flags = ["run", "fraud-p", "-p", "1", "--jobmanager-memory", "1g", "--"];
    let run = output(&[&flags[..], &SMALL].concat());
    assert_eq!(run.status.code(), Some(0));
    assert!(text(&run.stderr).contains("no job manager"), "{}", text(&run.stderr));
}

/// RocksDB's constructors need the CPU of the build, so a check in `main` would come too late.
#[test]
fn an_older_processor_gets_its_sentence_before_any_constructor_runs() {
    if !cfg!(all(target_arch = "x86_64", target_feature = "avx2")) {
        return;
    }
    let program = std::fs::read(env!("CARGO_BIN_EXE_thalweg")).unwrap();
    let number = |at: u64, bytes: usize| {
        let field = &program[at as usize..at as usize + bytes];
        field.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
    };
    // The section headers of a 64-bit ELF file, and of those the type SHT_PREINIT_ARRAY.
    let (first, bytes, count) = (number(0x28, 8), number(0x3a, 2), number(0x3c, 2));
    let mut sections = (0..count).map(|index| first + index * bytes);
    let before = sections.find(|at| number(at + 4, 4) == 16);
    assert_eq!(before.map(|at| number(at + 0x20, 8)), Some(8), "the check runs first");

    for emulator in ["qemu-x86_64-static", "qemu-x86_64"] {
        let words = ["-cpu", "Nehalem", env!("CARGO_BIN_EXE_thalweg"), "--version"];
        if let Ok(old) = Command::new(emulator).args(words).output() {
            assert_eq!(old.status.code(), Some(7), "{old:?}");
            assert!(text(&old.stderr).starts_with("error[THW-0701]: "), "{old:?}");
        }
    }
}

#[test]
fn a_signal_stops_in_order_with_a_summary_and_its_exit_code() {
    for (signal, exit) in [("INT", 130), ("TERM", 143)] {
        let words = ["-v", "run", "fraud-p", "-p", "1", "--json", "--", "--output", "blackhole"];
        let endless = thalweg(&[&words[..], &["--rate", "1000"]].concat())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut endless = endless.unwrap();
        // This line comes once signals are listened to.
        let mut log = BufReader::new(endless.stderr.take().unwrap()).lines();
        assert!(log.any(|line| line.unwrap().contains("starting")));
        let id = endless.id().to_string();
        let kill = Command::new("kill").args(["-s", signal, &id]).status().unwrap();
        assert!(kill.success());
        assert!(log.any(|line| line.unwrap().contains("stopping in order")));
        let output = endless.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(exit));
        let object: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(object["stopped_by"], format!("SIG{signal}"));
        assert_eq!(object["records_in"], object["records_out"]);
    }
}
