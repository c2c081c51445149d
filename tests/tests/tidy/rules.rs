//! The rules: each is a pure function from text to complaints.

use std::collections::BTreeSet;

use crate::source::{Source, block_end, is_word, words};

pub const FILE_LINES_MAX: usize = 500;
pub const FUNCTION_LINES_MAX: usize = 70;
pub const COLUMNS_MAX: usize = 100;
pub const SCRIPT_LINES_MAX: usize = 100;

/// Which of our packages a package may depend on, in any way.
const LAYERS: &[(&str, &[&str])] = &[
    ("thalweg-derive", &[]),
    ("thalweg-net", &[]),
    ("thalweg-state", &["thalweg-derive"]),
    ("thalweg-checkpoint", &["thalweg-state"]),
    ("thalweg", &["thalweg-net", "thalweg-state", "thalweg-checkpoint", "thalweg-derive"]),
    ("thalweg-jobs", &["thalweg"]),
    ("thalweg-examples", &["thalweg"]),
    ("thalweg-bench", DOWN),
    ("thalweg-tests", DOWN),
];

/// What the programs that measure and test the engine may reach.
const DOWN: &[&str] =
    &["thalweg", "thalweg-jobs", "thalweg-net", "thalweg-state", "thalweg-checkpoint"];

/// Files that may hold `unsafe`: each of these, as `NAME.rs` or anything below `NAME/`.
const UNSAFE: &[&str] = &[
    "net/src/pool",
    "net/src/batch",
    "net/src/ring",
    "net/src/uring",
    "state/src/codec/scratch",
    "state/src/table",
    "core/src/launch/cpu",
    "bench/src/handwritten",
    "bench/src/bin/handwritten",
];

/// One broken rule, at a line that counts from 1.
#[derive(Debug, PartialEq)]
pub struct Complaint {
    pub rule: &'static str,
    pub line: usize,
    pub what: String,
}

pub fn complaint(rule: &'static str, line: usize, what: impl Into<String>) -> Complaint {
    Complaint { rule, line, what: what.into() }
}

/// Lines that a merge leaves behind in any file.
pub fn merge_marks(text: &str) -> Vec<Complaint> {
    let is_mark = |line: &str| line.starts_with("<<<<<<< ") || line.starts_with(">>>>>>> ");
    let marks = text.lines().enumerate().filter(|(_, line)| is_mark(line));
    marks.map(|(at, _)| complaint("merge", at + 1, "an unfinished merge")).collect()
}

pub fn shape(text: &str) -> Vec<Complaint> {
    let mut found = Vec::new();
    if !text.starts_with("//! ") {
        found.push(complaint("header", 1, "the file does not open with `//!` and what it is"));
    }
    let count = text.lines().count();
    if count > FILE_LINES_MAX {
        found.push(complaint("file-length", 1, format!("{count} lines of {FILE_LINES_MAX}")));
    }
    for (i, line) in text.lines().enumerate() {
        let columns = line.chars().count();
        if columns > COLUMNS_MAX {
            found.push(complaint("width", i + 1, format!("{columns} columns of {COLUMNS_MAX}")));
        }
    }
    found
}

pub fn functions(source: &Source) -> Vec<Complaint> {
    let mut found = Vec::new();
    for at in words(&source.code, "fn") {
        let name = source.code[at + 2..].trim_start();
        let name = &name[..name.find(|c| !is_word(c)).unwrap_or(name.len())];
        let (first, last) = (source.line(at), source.line(block_end(&source.code, at)));
        let lines = last - first + 1;
        // A `fn` without a name is a type.
        if lines > FUNCTION_LINES_MAX && !name.is_empty() {
            let what = format!("`{name}` has {lines} lines of {FUNCTION_LINES_MAX}");
            found.push(complaint("function-length", first, what));
        }
    }
    found
}

pub fn unsafe_code(path: &str, source: &Source) -> Vec<Complaint> {
    let listed =
        |name: &&str| path.strip_prefix(*name).is_some_and(|rest| rest.starts_with(['.', '/']));
    if UNSAFE.iter().any(listed) {
        return Vec::new();
    }
    let unlisted = |at| complaint("unsafe", source.line(at), "this file may not hold `unsafe`");
    words(&source.code, "unsafe").map(unlisted).collect()
}

pub fn forbidden(path: &str, source: &Source) -> Vec<Complaint> {
    let mut found = Vec::new();
    for word in ["dbg", "todo", "unimplemented"] {
        for at in words(&source.code, word) {
            if source.code[at + word.len()..].starts_with('!') {
                found.push(complaint("word", source.line(at), format!("`{word}!`")));
            }
        }
    }
    for word in ["TODO", "FIXME"] {
        for at in words(&source.comments, word) {
            let line = source.comments[..at].matches('\n').count() + 1;
            found.push(complaint("word", line, format!("`{word}`: do it, or open an issue")));
        }
    }
    let only_tests = path.starts_with("tests/") || path.contains("/tests/");
    let tests = source.test_lines();
    for at in words(&source.code, "unwrap").filter(|_| !only_tests && !path.ends_with("tests.rs")) {
        let line = source.line(at);
        // In a constant it fails the build, not the job.
        let before = source.code[..at].rsplit('\n').next().unwrap();
        let constant = words(before, "const").next().is_some() && !before.contains("fn ");
        if source.code[at..].starts_with("unwrap()") && !tests.contains(&line) && !constant {
            found.push(complaint("unwrap", line, "`unwrap` outside tests"));
        }
    }
    found
}

pub fn layers(metadata: &serde_json::Value) -> Vec<Complaint> {
    let mut found = Vec::new();
    for package in metadata["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        let Some((_, allowed)) = LAYERS.iter().find(|(layer, _)| *layer == name) else {
            found.push(complaint("layer", 1, format!("package {name} has no layer")));
            continue;
        };
        for dependency in package["dependencies"].as_array().unwrap() {
            let to = dependency["name"].as_str().unwrap();
            let ours = dependency["path"].is_string();
            if ours && !allowed.contains(&to) {
                found.push(complaint("layer", 1, format!("{name} may not depend on {to}")));
            }
        }
    }
    found
}

/// The links of a page that lead nowhere. `read` gives a file's text by its path from the page.
pub fn links(page: &str, read: impl Fn(&str) -> Option<String>) -> Vec<Complaint> {
    let mut found = Vec::new();
    let mut fenced = false;
    for (i, line) in page.lines().enumerate() {
        fenced ^= line.trim_start().starts_with("```");
        for target in line.split("](").skip(1).filter(|_| !fenced) {
            let target = target.split([')', ' ']).next().unwrap();
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let text = if file.is_empty() { Some(page.to_owned()) } else { read(file) };
            if !text.is_some_and(|text| anchor.is_empty() || anchors(&text).contains(anchor)) {
                found.push(complaint("link", i + 1, format!("`{target}` does not resolve")));
            }
        }
    }
    found
}

/// The anchors of a page's headings, as GitHub makes them.
fn anchors(page: &str) -> BTreeSet<String> {
    let headings = page.lines().filter(|line| line.starts_with('#'));
    let kept = |c: &char| is_word(*c) || matches!(c, ' ' | '-');
    let anchor = |line: &str| -> String {
        line.trim_start_matches('#').trim().to_lowercase().chars().filter(kept).collect()
    };
    headings.map(|line| anchor(line).replace(' ', "-")).collect()
}

/// The library that `.cargo/config.toml` links must be the one that Cargo.lock's bindings fit.
pub fn rocksdb_version(config: &str, lock: &str) -> Vec<Complaint> {
    let version = lock.split("name = \"librocksdb-sys\"\nversion = \"").nth(1);
    let version = version.and_then(|rest| rest.split('"').next()).unwrap_or("none");
    if config.contains(&format!("/librocksdb-sys-{version}/")) {
        return Vec::new();
    }
    vec![complaint("rocksdb", 1, format!("Cargo.lock has librocksdb-sys {version}"))]
}

/// Whether the place says why it breaks the rule.
pub fn excused(text: &str, complaint: &Complaint) -> bool {
    let excuse = format!("tidy: allow({}): ", complaint.rule);
    let first = complaint.line.saturating_sub(2);
    text.lines().skip(first).take(complaint.line - first).any(|line| line.contains(&excuse))
}
