//! What never stands in a source.

use super::code::words;
use super::{Finding, Severity, Source};

/// Beginnings of paths that exist on one machine alone.
const MACHINE_DIRS: [&str; 4] = ["home", "Users", "root", "work"];
/// Ways to wait for time instead of for an event.
const SLEEPS: [&str; 2] = ["thread::sleep", "time::sleep"];

/// Places where a rule does not hold, with the word that the rule is about and the reason.
const ALLOWED: [(&str, &str, &str); 2] = [
    (
        "broker/tests/supervisor/ends.rs",
        "ignore",
        "a process that other tests start, no test",
    ),
    (
        "broker/tests/supervisor/fake.rs",
        "time::sleep",
        "what another process does, no event tells",
    ),
];

fn is_allowed(source: &Source<'_>, word: &str) -> bool {
    ALLOWED
        .iter()
        .any(|(path, about, _)| *path == source.path && *about == word)
}

pub(super) fn check(source: &Source<'_>, findings: &mut Vec<Finding>) {
    unfinished(source, findings);
    machine_paths(source, findings);
    logic_in_mod(source, findings);
    sleeps(source, findings);
}

fn unfinished(source: &Source<'_>, findings: &mut Vec<Finding>) {
    for name in ["todo", "unimplemented"] {
        for at in words(&source.code, name) {
            if source.code[at + name.len()..].starts_with('!') {
                let text = format!("{name}! is a promise, not code");
                findings.push(source.find(at, Severity::Error, text));
            }
        }
    }
    for (at, _) in source.code.match_indices("#[ignore") {
        if is_allowed(source, "ignore") {
            continue;
        }
        let text = "a test that is ignored proves nothing; see tests/skips.toml".to_owned();
        findings.push(source.find(at, Severity::Error, text));
    }
}

fn machine_paths(source: &Source<'_>, findings: &mut Vec<Finding>) {
    for dir in MACHINE_DIRS {
        let begin = format!("/{dir}/");
        for (at, _) in source.text.match_indices(&begin) {
            let before = source.text[..at].chars().next_back();
            let is_inside = before.is_some_and(|c| c.is_alphanumeric() || "._-~/}>$)*".contains(c));
            if !is_inside {
                let text = format!("{begin} exists on one machine alone");
                findings.push(source.find(at, Severity::Error, text));
            }
        }
    }
}

/// `mod.rs` and `lib.rs` hold documentation, declarations and re-exports.
fn logic_in_mod(source: &Source<'_>, findings: &mut Vec<Finding>) {
    let name = source.path.rsplit('/').next().unwrap_or_default();
    // The module function of a binding is what its framework asks for.
    let is_binding = ["sdk-python/", "sdk-node/"]
        .iter()
        .any(|dir| source.path.starts_with(dir));
    if !["mod.rs", "lib.rs"].contains(&name) || is_binding {
        return;
    }
    for at in words(&source.shipped, "fn") {
        let sign = source.shipped[at..]
            .find(['{', ';'])
            .map(|found| at + found);
        if sign.is_some_and(|sign| source.shipped.as_bytes()[sign] == b'{') {
            let text = format!("{name} is for documentation and re-exports; give this a file");
            findings.push(source.find(at, Severity::Error, text));
        }
    }
}

fn sleeps(source: &Source<'_>, findings: &mut Vec<Finding>) {
    for name in SLEEPS.into_iter().filter(|name| !is_allowed(source, name)) {
        for at in words(&source.code, name) {
            let is_shipped = source.shipped[at..].starts_with(name);
            if source.is_test() || !is_shipped {
                let text = format!("{name} in a test; wait for an event, or simulate time");
                findings.push(source.find(at, Severity::Error, text));
            }
        }
    }
}
