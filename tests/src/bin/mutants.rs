//! `cargo run -p thalweg-tests --bin mutants`: puts bugs into a copy of the tree, one at a time,
//! and says which seed or test notices each.
//!
//! The table of bugs is `tests/mutants.toml`. A mutant that nothing notices means that the tests
//! are too weak: then the exit code is 1.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use clap::Parser;
use serde::Deserialize;
use thalweg::time::{Clock, MachineClock};

/// A detector that takes longer has noticed: the mutant hangs.
const PATIENCE: Duration = Duration::from_secs(900);

/// Seed bugs and see whether the tests notice.
#[derive(Debug, Parser)]
#[command(name = "mutants")]
struct Options {
    /// Only mutants of these numbers.
    #[arg(long, value_delimiter = ',')]
    only: Vec<u32>,
    /// Leaves out mutants below this number.
    #[arg(long, default_value_t = 0)]
    from: u32,
    /// Seeds of the simulator for each.
    #[arg(long, default_value_t = 500)]
    seeds: u64,
    /// Where the copy of the tree and what is built of it go; the default is below `target`.
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
}

/// What stands in the file.
#[derive(Debug, Deserialize)]
struct Table {
    mutant: Vec<Mutant>,
}

/// A seeded bug.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mutant {
    number: u32,
    title: String,
    /// Why there is no such mutant.
    absent: Option<String>,
    #[serde(default)]
    file: PathBuf,
    #[serde(default)]
    search: String,
    #[serde(default)]
    replace: String,
    /// Arguments of `cargo test`; none: the simulator looks for it.
    #[serde(default)]
    test: Vec<String>,
}

/// What became of a mutant.
enum Verdict {
    /// What has noticed it.
    Caught(String),
    Survived,
    Absent(String),
    /// It cannot be tried, and why.
    Broken(String),
}

fn main() -> ExitCode {
    let options = Options::parse();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests has a parent");
    let text = std::fs::read_to_string(root.join("tests/mutants.toml")).expect("the table");
    let table: Table = toml::from_str(&text).expect("a table of mutants");
    let default = || root.join("target").join("mutants");
    let bench = Bench { folder: options.folder.clone().unwrap_or_else(default), root: root.into() };
    bench.copy();
    let chosen = |mutant: &&Mutant| {
        mutant.number >= options.from
            && (options.only.is_empty() || options.only.contains(&mutant.number))
    };
    let (mut caught, mut missed) = (0, Vec::new());
    println!("| # | Mutant | Caught by |\n|--|--|--|");
    for mutant in table.mutant.iter().filter(chosen) {
        let clock = MachineClock::new();
        let verdict = bench.judge(mutant, options.seeds);
        let seconds = clock.nanos() / 1_000_000_000;
        let said = match verdict {
            Verdict::Caught(by) => {
                caught += 1;
                by
            }
            Verdict::Absent(why) => format!("does not apply: {why}"),
            Verdict::Survived => {
                missed.push(mutant.number);
                "**nothing**".to_owned()
            }
            Verdict::Broken(why) => {
                missed.push(mutant.number);
                format!("**cannot be tried**: {why}")
            }
        };
        println!("| {} | {} | {said} |", mutant.number, mutant.title);
        eprintln!("mutant {}: {seconds} s", mutant.number);
    }
    println!("\n{caught} caught, {} not: {missed:?}", missed.len());
    if missed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Where mutants are tried.
struct Bench {
    root: PathBuf,
    folder: PathBuf,
}

impl Bench {
    fn tree(&self) -> PathBuf {
        self.folder.join("tree")
    }

    /// Copies what git knows, changes that are not committed included. What is the same already
    /// keeps its time, so little is built again.
    fn copy(&self) {
        let mut git = Command::new("git");
        git.args(["ls-files", "-co", "--exclude-standard"]).current_dir(&self.root);
        let listed = git.output().expect("git lists the tree").stdout;
        for path in String::from_utf8_lossy(&listed).lines() {
            let (from, to) = (self.root.join(path), self.tree().join(path));
            let Ok(bytes) = std::fs::read(&from) else { continue };
            if std::fs::read(&to).is_ok_and(|there| there == bytes) {
                continue;
            }
            let above = to.parent().expect("a file has a directory");
            std::fs::create_dir_all(above).expect("a directory of the copy");
            std::fs::write(&to, bytes).expect("a file of the copy");
        }
    }

    fn judge(&self, mutant: &Mutant, seeds: u64) -> Verdict {
        if let Some(why) = &mutant.absent {
            return Verdict::Absent(why.clone());
        }
        let path = self.tree().join(&mutant.file);
        let Ok(text) = std::fs::read_to_string(&path) else {
            return Verdict::Broken(format!("{} is not there", mutant.file.display()));
        };
        let found = text.matches(&mutant.search).count();
        if found != 1 {
            return Verdict::Broken(format!("its text stands {found} times in the file"));
        }
        let mutated = text.replacen(&mutant.search, &mutant.replace, 1);
        std::fs::write(&path, mutated).expect("a file of the copy");
        let verdict =
            if mutant.test.is_empty() { self.simulate(seeds) } else { self.test(&mutant.test) };
        std::fs::write(&path, text).expect("a file of the copy");
        verdict
    }

    fn cargo(&self, arguments: &[&str]) -> Command {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
        cargo.args(arguments).current_dir(self.tree());
        // One line differs from build to build: what it does not reach is not compiled again.
        cargo.env("CARGO_TARGET_DIR", self.folder.join("build")).env("CARGO_INCREMENTAL", "1");
        cargo.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1").env("CARGO_PROFILE_RELEASE_DEBUG", "0");
        cargo.env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "64");
        cargo
    }

    fn simulate(&self, seeds: u64) -> Verdict {
        let build = ["build", "-q", "--release", "-p", "thalweg-tests", "--no-default-features"];
        let mut build = self.cargo(&build);
        let Some(built) = output(build.args(["--bin", "sim"])) else {
            return Verdict::Broken("it is never built".to_owned());
        };
        if !built.success {
            return Verdict::Broken(format!("it does not build: {}", built.first("error")));
        }
        let mut sim = Command::new(self.folder.join("build/release/sim"));
        let Some(ran) = output(sim.args(["--seeds", &seeds.to_string()])) else {
            return Verdict::Caught("the simulator, which hangs".to_owned());
        };
        // Marks that are never reached are no proof.
        match ran.first("seed ") {
            "" if ran.success || ran.said.contains("never reached") => Verdict::Survived,
            "" => Verdict::Broken(format!("the simulator ends with {}", ran.said)),
            line => Verdict::Caught(short(line)),
        }
    }

    fn test(&self, arguments: &[String]) -> Verdict {
        let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let mut test = self.cargo(&["test", "-q", "--release"]);
        let Some(ran) = output(test.args(&words)) else {
            return Verdict::Caught(format!("`{}`, which hangs", words.join(" ")));
        };
        if ran.success {
            return Verdict::Survived;
        }
        match ran.said.lines().find(|line| line.starts_with("---- ")) {
            Some(line) => {
                let name = line.trim_start_matches("---- ").trim_end_matches(" stdout ----");
                Verdict::Caught(format!("test `{name}`"))
            }
            None => Verdict::Broken(format!("it does not build: {}", ran.first("error"))),
        }
    }
}

/// A process that has ended.
struct Ran {
    success: bool,
    said: String,
}

impl Ran {
    /// The first line that begins so; empty if there is none.
    fn first(&self, beginning: &str) -> &str {
        self.said.lines().find(|line| line.starts_with(beginning)).unwrap_or("")
    }
}

/// Runs a command to its end; `None`: it has none, and was killed.
#[allow(clippy::disallowed_methods, reason = "lives outside the engine")]
fn output(command: &mut Command) -> Option<Ran> {
    let said = std::env::temp_dir().join(format!("mutants-{}.out", std::process::id()));
    let file = std::fs::File::create(&said).expect("a file for messages");
    let again = file.try_clone().expect("the same file");
    command.stdin(Stdio::null()).stdout(file).stderr(again);
    let mut child = command.spawn().expect("a program that is there");
    let clock = MachineClock::new();
    let status = loop {
        if let Some(status) = child.try_wait().expect("a process of ours") {
            break Some(status);
        }
        if clock.nanos() > PATIENCE.as_nanos() as u64 {
            let _ = child.kill();
            let _ = child.wait();
            break None;
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    let text = String::from_utf8_lossy(&std::fs::read(&said).unwrap_or_default()).into_owned();
    let _ = std::fs::remove_file(&said);
    status.map(|status| Ran { success: status.success(), said: text })
}

/// A line that fits into a table.
fn short(line: &str) -> String {
    let line: String = line.chars().take(110).collect();
    line.replace('|', "/")
}
