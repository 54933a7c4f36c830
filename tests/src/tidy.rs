//! The rules of the source tree that no compiler holds: who may import whom, how large a file may be, and what
//! never stands in it.
//!
//! It reads text, not syntax trees: comments and the contents of strings are blanked first, so that a rule sees
//! code alone. That is enough for the rules here and keeps them free of dependencies.

mod code;
mod direction;
mod forbidden;
mod size;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// Folders that are no sources of ours.
const SKIPPED_DIRS: [&str; 8] = [
    "target",
    "node_modules",
    ".git",
    ".venv",
    ".trunkline",
    "__pycache__",
    "dist",
    "build",
];
/// Endings of files that are read.
const READ_ENDINGS: [&str; 12] = [
    "rs", "toml", "md", "py", "pyi", "ts", "js", "mjs", "json", "jsonl", "yml", "sh",
];

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It is printed.
    Warning,
    /// It fails the check.
    Error,
}

/// A place where a rule is broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Path from the root, with `/`.
    pub path: String,
    /// Line from 1.
    pub line: usize,
    /// How bad it is.
    pub severity: Severity,
    /// What was expected and what was found.
    pub text: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}: {}", self.path, self.line, self.text)
    }
}

/// A file as the rules see it.
#[derive(Debug)]
struct Source<'a> {
    /// Path from the root, with `/`.
    path: &'a str,
    text: &'a str,
    /// The text with comments and strings blanked; empty unless it is Rust.
    code: String,
    /// The code without its unit tests.
    shipped: String,
}

impl<'a> Source<'a> {
    fn new(path: &'a str, text: &'a str) -> Self {
        let is_rust = has_ending(path, "rs");
        let code = if is_rust {
            code::code_only(text)
        } else {
            String::new()
        };
        let shipped = code::without_tests(&code);
        Self {
            path,
            text,
            code,
            shipped,
        }
    }

    /// Says whether all of it is test code.
    fn is_test(&self) -> bool {
        let name = self.path.rsplit('/').next().unwrap_or_default();
        self.path.starts_with("tests/")
            || self.path.split('/').any(|part| part == "tests")
            || name == "tests.rs"
    }

    fn find(&self, at: usize, severity: Severity, text: String) -> Finding {
        let line = 1 + self.text[..at.min(self.text.len())].matches('\n').count();
        Finding {
            path: self.path.to_owned(),
            line,
            severity,
            text,
        }
    }
}

fn has_ending(path: &str, ending: &str) -> bool {
    path.rsplit_once('.')
        .is_some_and(|(_, found)| found == ending)
}

/// Checks one file, given by its path from the root and its text.
pub fn check_file(path: &str, text: &str) -> Vec<Finding> {
    let source = Source::new(path, text);
    let mut findings = Vec::new();
    size::check(&source, &mut findings);
    forbidden::check(&source, &mut findings);
    direction::check(&source, &mut findings);
    findings
}

/// Checks every file below `root`.
///
/// # Panics
/// When a folder cannot be read.
pub fn check_tree(root: &Path) -> Vec<Finding> {
    let mut files = Vec::new();
    collect(root, &mut files);
    files.sort();
    let mut findings = Vec::new();
    for file in files {
        // What is not UTF-8 is no source.
        let Ok(text) = fs::read_to_string(&file) else {
            continue;
        };
        let path = file
            .strip_prefix(root)
            .expect("it was found below the root");
        findings.extend(check_file(
            &path.to_string_lossy().replace('\\', "/"),
            &text,
        ));
    }
    findings
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir)
        .expect("the sources can be read")
        .flatten()
    {
        let path = entry.path();
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            if !SKIPPED_DIRS.contains(&&*name) {
                collect(&path, files);
            }
        } else if READ_ENDINGS.iter().any(|ending| has_ending(&name, ending)) {
            files.push(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(path: &str, text: &str) -> Vec<String> {
        let errors = check_file(path, text).into_iter();
        errors
            .filter(|f| f.severity == Severity::Error)
            .map(|f| f.to_string())
            .collect()
    }

    #[test]
    fn a_direction_is_held_in_sources() {
        let bad = [
            ("broker/src/router/a.rs", "use tokio::sync::mpsc;"),
            ("broker/src/router/a.rs", "use crate::store::Store;"),
            (
                "broker/src/router/a.rs",
                "use crate::{\n    clock::Clock,\n    store::Store,\n};",
            ),
            ("broker/src/router/mod.rs", "use super::store::Store;"),
            ("broker/src/router/a.rs", "use super::super::store::Reader;"),
            ("broker/src/store/a.rs", "use crate::supervisor::Spec;"),
            (
                "broker/src/supervisor/a.rs",
                "use trunkline_contract::topic::Filter;",
            ),
            (
                "broker/src/supervisor/a.rs",
                "use trunkline_contract::{Error, topic};",
            ),
            (
                "broker/src/gateway/a.rs",
                "fn f(store: &dyn crate::store::Store) {}",
            ),
            ("broker/src/link/a.rs", "use trunkline::Plugin;"),
            ("contract/src/a.rs", "use tokio::io;"),
            ("contract/src/a.rs", "use trunkline_patterns::x;"),
            (
                "patterns/src/a.rs",
                "use std::net::TcpStream;\nuse tokio::net;",
            ),
            ("sdk-rust/src/link/a.rs", "use trunkline_broker::Broker;"),
        ];
        for (path, text) in bad {
            assert_eq!(
                errors(path, text).len(),
                1,
                "{path}: {text}: {:?}",
                errors(path, text)
            );
        }
        let good = [
            (
                "broker/src/router/a.rs",
                "use crate::clock::Clock;\nuse super::lease::Lease;",
            ),
            (
                "broker/src/router/a.rs",
                "// use tokio::sync;\nconst A: &str = \"crate::store\";",
            ),
            (
                "broker/src/router/a.rs",
                "#[cfg(test)]\nmod tests {\n    use crate::store::Seq;\n}",
            ),
            (
                "broker/src/store/a.rs",
                "use super::Seq;\nuse crate::clock::Clock;",
            ),
            ("broker/src/link/a.rs", "use trunkline_contract::Event;"),
            ("sdk-rust/src/testing/a.rs", "use trunkline_broker::Broker;"),
        ];
        for (path, text) in good {
            assert!(
                errors(path, text).is_empty(),
                "{path}: {:?}",
                errors(path, text)
            );
        }
    }

    #[test]
    fn a_direction_is_held_in_cargo_files() {
        let bad = [
            (
                "contract/Cargo.toml",
                "[dependencies]\ntokio.workspace = true\n",
            ),
            (
                "contract/Cargo.toml",
                "[dependencies]\ntrunkline-patterns.workspace = true\n",
            ),
            (
                "patterns/Cargo.toml",
                "[dependencies]\ntrunkline-broker.workspace = true\n",
            ),
            (
                "broker/Cargo.toml",
                "[dependencies]\ntrunkline = { path = \"../sdk-rust\" }\n",
            ),
            (
                "sdk-rust/Cargo.toml",
                "[dependencies]\ntrunkline-broker.workspace = true\n",
            ),
        ];
        for (path, text) in bad {
            assert_eq!(errors(path, text).len(), 1, "{path}: {text}");
        }
        let optional = "[dependencies]\ntrunkline-broker = { workspace = true, optional = true }\n";
        assert!(errors("sdk-rust/Cargo.toml", optional).is_empty());
        let default = format!("[features]\ndefault = [\"dep:trunkline-broker\"]\n{optional}");
        assert_eq!(errors("sdk-rust/Cargo.toml", &default).len(), 1);
    }

    #[test]
    fn a_large_file_warns_and_a_huge_one_fails() {
        let large = check_file("broker/src/a.rs", &"//\n".repeat(501));
        assert_eq!(large.len(), 1);
        assert_eq!(large[0].severity, Severity::Warning);
        assert_eq!(errors("broker/src/a.rs", &"//\n".repeat(701)).len(), 1);
        assert!(errors("contract/schemas/a.json", &"\n".repeat(2_000)).is_empty());
        let long = format!("fn long() {{\n{}}}\n", "    work();\n".repeat(99));
        assert_eq!(check_file("broker/src/a.rs", &long).len(), 1);
    }

    #[test]
    fn what_never_stands_in_a_source_is_found() {
        let macros = ["todo", "unimplemented"].map(|name| format!("fn f() {{ {name}!() }}"));
        let path = format!("//! See /{}/someone/x.", "home");
        let bad = [
            ("broker/src/a.rs", macros[0].as_str()),
            ("broker/src/a.rs", macros[1].as_str()),
            ("broker/src/a.rs", "#[test]\n#[ignore]\nfn f() {}"),
            ("broker/src/a.rs", "#[ignore = \"slow\"]\nfn f() {}"),
            ("docs/a.md", path.as_str()),
            ("broker/src/link/mod.rs", "mod a;\nfn logic() -> u8 { 1 }"),
            (
                "broker/src/lib.rs",
                "pub mod a;\nimpl A { fn logic(&self) { x() } }",
            ),
            ("tests/suites/a.rs", "fn f() { std::thread::sleep(x) }"),
            (
                "broker/src/a.rs",
                "#[cfg(test)]\nmod tests {\n  fn f() { tokio::time::sleep(x) }\n}",
            ),
        ];
        for (path, text) in bad {
            assert_eq!(
                errors(path, text).len(),
                1,
                "{path}: {text}: {:?}",
                errors(path, text)
            );
        }
        let good = [
            (
                "broker/src/a.rs",
                "// todo!() and #[ignore] in a comment\nfn f() {}",
            ),
            (
                "broker/src/link/mod.rs",
                "//! fn f() {}\nmod a;\npub trait T { fn f(&self) -> u8; }",
            ),
            (
                "broker/src/link/mod.rs",
                "mod a;\n#[cfg(test)]\nmod tests { fn f() {} }",
            ),
            (
                "broker/src/backoff.rs",
                "async fn f() { tokio::time::sleep(x).await }",
            ),
            (
                "tests/suites/a.rs",
                "const PYTHON: &str = \"time.sleep(60)\";",
            ),
            ("docs/a.md", "see https://example.org/work/x and a/home/b"),
        ];
        for (path, text) in good {
            assert!(
                errors(path, text).is_empty(),
                "{path}: {:?}",
                errors(path, text)
            );
        }
    }
}
