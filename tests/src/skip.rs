//! Tests that cannot run here. They are never silent: a loud line at home, a failure in CI unless the skip is
//! named with its reason in `tests/skips.toml`.

use std::collections::BTreeMap;

use toml_edit::DocumentMut;

/// What becomes of a test that cannot run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is left out, and this line is printed.
    Skip(String),
    /// It fails with this message.
    Fail(String),
}

/// Leaves out the test `name` because of `why`.
///
/// The caller returns afterwards.
///
/// # Panics
/// When `CI=true` and `tests/skips.toml` does not name the test.
pub fn skip(name: &str, why: &str) {
    let is_ci = std::env::var("CI").is_ok_and(|value| value == "true");
    match judge(name, why, is_ci, &named(include_str!("../skips.toml"))) {
        Verdict::Skip(line) => eprintln!("\n!!! {line} !!!\n"),
        Verdict::Fail(line) => panic!("{line}"),
    }
}

/// Says whether this process may do what a power cut needs; skips the test `name` if not.
pub fn has_root(name: &str) -> bool {
    let has = rustix::process::geteuid().is_root();
    if !has {
        skip(name, "root is needed for mounts and loop devices");
    }
    has
}

/// Decides without touching anything.
pub fn judge(name: &str, why: &str, is_ci: bool, named: &BTreeMap<String, String>) -> Verdict {
    match (is_ci, named.get(name)) {
        (false, _) => Verdict::Skip(format!("SKIPPED {name}: {why}")),
        (true, Some(reason)) => Verdict::Skip(format!("SKIPPED {name}: {why} (allowed: {reason})")),
        (true, None) => Verdict::Fail(format!(
            "{name} cannot run: {why}; in CI only what tests/skips.toml names may be skipped"
        )),
    }
}

/// Reads the table of allowed skips.
///
/// # Panics
/// When it is no table of test names with a reason each.
pub fn named(text: &str) -> BTreeMap<String, String> {
    let document: DocumentMut = text.parse().expect("skips.toml is TOML");
    let table = document["skips"]
        .as_table()
        .expect("skips.toml holds the table [skips]");
    table
        .iter()
        .map(|(name, reason)| {
            let reason = reason.as_str().filter(|text| !text.trim().is_empty());
            let reason = reason.unwrap_or_else(|| panic!("skips.toml: {name} needs a reason"));
            (name.to_owned(), reason.to_owned())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_skip_is_loud_at_home_and_fails_in_ci() {
        let none = BTreeMap::new();
        assert!(matches!(
            judge("x", "no root", false, &none),
            Verdict::Skip(_)
        ));
        let Verdict::Fail(text) = judge("x", "no root", true, &none) else {
            panic!()
        };
        assert!(text.contains("x cannot run: no root"), "{text}");
    }

    #[test]
    fn a_named_skip_with_its_reason_passes_in_ci() {
        let named = named("[skips]\nx = \"the runner has no loop devices\"\n");
        let Verdict::Skip(text) = judge("x", "no root", true, &named) else {
            panic!()
        };
        assert!(text.contains("the runner has no loop devices"), "{text}");
    }

    #[test]
    #[should_panic(expected = "x needs a reason")]
    fn a_named_skip_without_a_reason_is_refused() {
        named("[skips]\nx = \" \"\n");
    }

    #[test]
    fn the_committed_table_can_be_read() {
        named(include_str!("../skips.toml"));
    }
}
