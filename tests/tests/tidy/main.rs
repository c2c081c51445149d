//! The tree is tidy: the rules of style and layering that a machine can check.
//!
//! A place that must break a rule says so on the same line or the one before:
//! `tidy: allow(rule): why`.
#![allow(clippy::unwrap_used)]

mod rules;
mod source;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use rules::*;
use source::Source;

#[test]
fn the_tree_is_tidy() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut paths = Vec::new();
    files(root, root, &mut paths);
    assert!(paths.len() > 20, "only {} files below {}", paths.len(), root.display());
    let mut report = String::new();
    let mut add = |path: &str, found: Vec<Complaint>| {
        for Complaint { rule, line, what } in found {
            writeln!(report, "{path}:{line}: {rule}: {what}").unwrap();
        }
    };
    for path in &paths {
        let (path, text) = (path.to_str().unwrap(), read(&root.join(path)));
        add(path, check(path, &text.unwrap_or_default(), root));
    }
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let arguments = ["metadata", "--no-deps", "--format-version=1", "--offline"];
    let metadata = Command::new(cargo).args(arguments).current_dir(root).output().unwrap();
    add("Cargo.toml", layers(&serde_json::from_slice(&metadata.stdout).unwrap()));
    let text = |path: &str| read(&root.join(path)).unwrap();
    add(".cargo/config.toml", rocksdb_version(&text(".cargo/config.toml"), &text("Cargo.lock")));
    assert!(report.is_empty(), "\n{report}");
}

/// Every file of the tree, by its path from the root. What git does not keep is left out.
fn files(root: &Path, folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap_or("");
        let skipped = matches!(name, "target" | ".git" | ".dev" | "runs");
        if path.is_dir() && !skipped {
            files(root, &path, found);
        } else if path.is_file() {
            found.push(path.strip_prefix(root).unwrap().to_owned());
        }
    }
}

fn read(path: &Path) -> Option<String> {
    std::fs::read(path).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// The rules for one file, by its kind.
fn check(path: &str, text: &str, root: &Path) -> Vec<Complaint> {
    let mut found = match path.rsplit_once('.').map(|(_, extension)| extension) {
        Some("rs") => {
            let source = Source::parse(text);
            let rules = [functions(&source), unsafe_code(path, &source), forbidden(path, &source)];
            shape(text).into_iter().chain(rules.into_iter().flatten()).collect()
        }
        Some("md") => {
            let folder = root.join(path).parent().unwrap().to_owned();
            links(text, |file| {
                let target = folder.join(file);
                if target.is_dir() { Some(String::new()) } else { read(&target) }
            })
        }
        _ if path == "dev" && text.lines().count() > SCRIPT_LINES_MAX => {
            vec![complaint("file-length", 1, format!("more than {SCRIPT_LINES_MAX} lines"))]
        }
        _ => Vec::new(),
    };
    found.extend(merge_marks(text));
    found.retain(|complaint| !excused(text, complaint));
    found
}

/// Each rule can fail.
mod each_rule {
    use super::*;

    /// The rules that a file at `path` breaks, with their lines.
    fn broken(path: &str, text: &str) -> Vec<(&'static str, usize)> {
        check(path, text, Path::new("/")).into_iter().map(|c| (c.rule, c.line)).collect()
    }

    #[test]
    fn a_file_without_a_header_is_found() {
        assert_eq!(broken("net/src/a.rs", "use std::fs;\n"), [("header", 1)]);
        assert_eq!(broken("net/src/a.rs", "//! A file.\n"), []);
    }

    #[test]
    fn marks_of_a_merge_are_found() {
        let text = format!("# A\n{0} HEAD\nB\n=======\nC\n", "<".repeat(7));
        assert_eq!(broken("a.md", &text), [("merge", 2)]);
        assert_eq!(broken("a.toml", &format!("{} main\n", ">".repeat(7))), [("merge", 1)]);
    }

    #[test]
    fn long_files_lines_and_functions_are_found() {
        let body = |lines: usize| "    step();\n".repeat(lines);
        let file = format!("//! A file.\nfn ok() {{\n{}}}\n", body(FUNCTION_LINES_MAX - 2));
        assert_eq!(broken("a.rs", &file), []);
        let file = format!("//! A file.\nfn long() {{\n{}}}\n", body(FUNCTION_LINES_MAX - 1));
        assert_eq!(broken("a.rs", &file), [("function-length", 2)]);
        let file = format!("//! A file.\n{}", "const A: u8 = 1;\n".repeat(FILE_LINES_MAX));
        assert_eq!(broken("a.rs", &file), [("file-length", 1)]);
        let file = format!("//! {}\n", "é".repeat(COLUMNS_MAX - 3));
        assert_eq!(broken("a.rs", &file), [("width", 1)]);
        assert_eq!(broken("dev", &"\n".repeat(SCRIPT_LINES_MAX + 1)), [("file-length", 1)]);
    }

    #[test]
    fn unsafe_is_found_outside_its_files_only() {
        let text = "//! A file with unsafe.\n#![deny(unsafe_op_in_unsafe_fn)]\nunsafe fn f() {}\n";
        for path in ["net/src/ring.rs", "net/src/uring/sys.rs", "state/src/table/slab.rs"] {
            assert_eq!(broken(path, text), [], "{path}");
        }
        for path in ["net/src/link.rs", "net/src/ringlet.rs", "core/src/table.rs"] {
            assert_eq!(broken(path, text), [("unsafe", 3)], "{path}");
        }
    }

    #[test]
    fn forbidden_words_are_found_in_code_and_comments_but_not_in_literals() {
        let text = "//! A file.\nfn f() { dbg!(1); todo!() }\n// TODO later\n/* FIXME */\n";
        assert_eq!(broken("a.rs", text), [("word", 2), ("word", 2), ("word", 3), ("word", 4)]);
        let text = "//! A file.\nconst A: &str = \"// TODO \\\" dbg!()\";\n\
            const B: &str = r#\"todo!\"#;\n";
        assert_eq!(broken("a.rs", text), []);
    }

    #[test]
    fn unwrap_is_found_outside_tests_only() {
        let text = "//! A file.\nfn f<'a>() { g('\"').unwrap(); }\n\
            #[cfg(test)]\nmod tests {\n    fn h() { g().unwrap(); }\n}\nfn i() { g().unwrap() }\n";
        assert_eq!(broken("core/src/a.rs", text), [("unwrap", 2), ("unwrap", 7)]);
        assert_eq!(broken("tests/tests/a.rs", text), []);
        let text = "//! A file.\nconst ONE: NonZero<u8> = NonZero::new(1).unwrap();\n";
        assert_eq!(broken("core/src/a.rs", text), []);
    }

    #[test]
    fn an_excuse_covers_its_own_rule_and_place() {
        let text = "//! A file.\n// tidy: allow(unwrap): why\nfn f() { g().unwrap() }\n\n\
            fn h() { g().unwrap() }\n";
        assert_eq!(broken("core/src/a.rs", text), [("unwrap", 5)]);
        let text = "//! A file.\n// tidy: allow(word): why\nfn f() { g().unwrap() }\n";
        assert_eq!(broken("core/src/a.rs", text), [("unwrap", 3)]);
    }

    #[test]
    fn an_edge_against_the_layers_is_found() {
        let package = |name: &str, to: &str| {
            let edge = serde_json::json!({ "name": to, "path": "/x", "kind": "dev" });
            let outside = serde_json::json!({ "name": "thalweg", "path": null });
            let edges = serde_json::json!([edge, outside]);
            serde_json::json!({ "packages": [{ "name": name, "dependencies": edges }] })
        };
        assert_eq!(layers(&package("thalweg-checkpoint", "thalweg-state")), []);
        assert_eq!(layers(&package("thalweg-net", "thalweg-state")).len(), 1);
        assert_eq!(layers(&package("thalweg-state", "thalweg")).len(), 1);
        assert_eq!(
            layers(&package("thalweg-new", "thalweg"))[0].what,
            "package thalweg-new has no layer"
        );
    }

    #[test]
    fn a_link_to_nowhere_is_found() {
        let read = |path: &str| (path == "b.md").then(|| "# One, and two\n".to_owned());
        let page = "# Here\n[a](b.md) [b](b.md#one-and-two) [c](#here) [d](https://x.org/#y)\n";
        assert_eq!(links(page, read), []);
        let page = "[a](c.md) [b](b.md#three)\n```\n[c](none.md)\n```\n[d](#gone)\n";
        let lines: Vec<usize> = links(page, read).iter().map(|found| found.line).collect();
        assert_eq!(lines, [1, 1, 5]);
    }

    #[test]
    fn a_library_of_another_rocksdb_is_found() {
        let lock = "name = \"librocksdb-sys\"\nversion = \"0.19.0+11.8.1\"\n";
        assert_eq!(
            rocksdb_version("\"../.dev/librocksdb-sys-0.19.0+11.8.1/cargo.toml\"", lock),
            []
        );
        assert_eq!(
            rocksdb_version("\"../.dev/librocksdb-sys-0.18.0+10.4.2/cargo.toml\"", lock).len(),
            1
        );
    }
}
