//! Who may import whom, in `use` lines, in paths, and in Cargo.toml files.

use toml_edit::{DocumentMut, Item};

use super::code::words;
use super::{Finding, Severity, Source};

/// What code below a folder must not name.
struct Rule {
    /// Folder, from the root.
    dir: &'static str,
    /// Modules of its own crate that it may name; `None` is any.
    own: Option<&'static [&'static str]>,
    /// Items of other modules of its own crate that it may name: plain data, no behaviour.
    data: &'static [(&'static str, &'static [&'static str])],
    /// Other crates that it must not name.
    crates: &'static [&'static str],
    /// Paths that it must not name, without the crate: any part of a path.
    parts: &'static [&'static str],
}

/// What the router may take from elsewhere: numbers, keys and records, nothing that can be called.
const ROUTER_DATA: [(&str, &[&str]); 2] = [
    ("instance", &["InstanceKey"]),
    (
        "store",
        &[
            "EventPage",
            "Expect",
            "ReadLimit",
            "Seq",
            "StateEntry",
            "StateOp",
            "StoredEvent",
            "Trailer",
        ],
    ),
];

const RULES: [Rule; 9] = [
    Rule {
        dir: "contract/src/",
        own: None,
        data: &[],
        crates: &[
            "tokio",
            "trunkline",
            "trunkline_patterns",
            "trunkline_broker",
        ],
        parts: &[],
    },
    Rule {
        dir: "patterns/src/",
        own: None,
        data: &[],
        crates: &["tokio", "trunkline", "trunkline_broker"],
        parts: &[],
    },
    Rule {
        dir: "broker/src/",
        own: None,
        data: &[],
        crates: &["trunkline"],
        parts: &[],
    },
    Rule {
        dir: "broker/src/router/",
        own: Some(&["router", "clock", "planted"]),
        data: &ROUTER_DATA,
        crates: &["tokio", "rusqlite", "rustix"],
        parts: &[],
    },
    Rule {
        dir: "broker/src/store/",
        own: Some(&["store", "clock", "planted"]),
        data: &[],
        crates: &["tokio"],
        parts: &[],
    },
    Rule {
        dir: "broker/src/supervisor/",
        own: None,
        data: &[],
        crates: &[],
        parts: &["topic"],
    },
    Rule {
        dir: "broker/src/gateway/",
        own: None,
        data: &[],
        crates: &["rusqlite"],
        parts: &["store"],
    },
    Rule {
        dir: "sdk-rust/src/",
        own: None,
        data: &[],
        crates: &["rusqlite"],
        parts: &[],
    },
    Rule {
        dir: "tests/src/checker/",
        own: Some(&["checker", "history"]),
        data: &[],
        crates: &["trunkline", "trunkline_broker"],
        parts: &[],
    },
];

pub(super) fn check(source: &Source<'_>, findings: &mut Vec<Finding>) {
    if source.path.ends_with("Cargo.toml") {
        dependencies(source, findings);
    }
    if source.code.is_empty() || source.is_test() && !source.path.starts_with("tests/src/") {
        return;
    }
    for rule in RULES
        .iter()
        .filter(|rule| source.path.starts_with(rule.dir))
    {
        for name in rule.crates {
            for at in paths_of(&source.shipped, name) {
                let text = format!("{} must not use the crate {name}", rule.dir);
                findings.push(source.find(at, Severity::Error, text));
            }
        }
        for (at, path) in used_paths(&source.shipped) {
            if let Some(part) = rule
                .parts
                .iter()
                .find(|part| path.iter().any(|p| p == *part))
            {
                let text = format!("{} must not know {part}", rule.dir);
                findings.push(source.find(at, Severity::Error, text));
            }
            if let Some(own) = rule.own {
                own_modules(source, rule, own, at, &path, findings);
            }
        }
    }
    testing_broker(source, findings);
}

/// The SDK may use the broker in its module `testing` alone.
fn testing_broker(source: &Source<'_>, findings: &mut Vec<Finding>) {
    let is_sdk = source.path.starts_with("sdk-rust/src/");
    if !is_sdk || source.path.starts_with("sdk-rust/src/testing") {
        return;
    }
    for at in paths_of(&source.shipped, "trunkline_broker") {
        let text = "the SDK uses the broker in its module testing alone".to_owned();
        findings.push(source.find(at, Severity::Error, text));
    }
}

fn own_modules(
    source: &Source<'_>,
    rule: &Rule,
    own: &[&str],
    at: usize,
    path: &[String],
    findings: &mut Vec<Finding>,
) {
    let Some(module) = module_of_crate(source.path, path) else {
        return;
    };
    let names = |items: &[&str]| path.iter().any(|part| items.contains(&part.as_str()));
    let is_data = rule
        .data
        .iter()
        .any(|(from, items)| *from == module && names(items));
    if !is_data && !own.contains(&module.as_str()) {
        let (dir, own) = (rule.dir, own.join(", "));
        let text = format!(
            "{dir} may use {own} of its crate, found {}",
            path.join("::")
        );
        findings.push(source.find(at, Severity::Error, text));
    }
}

/// The first module below the crate that a path leads to; `None` when it leads out of the crate or stays inside.
fn module_of_crate(file: &str, path: &[String]) -> Option<String> {
    match path.first().map(String::as_str) {
        Some("crate") => path.get(1).cloned(),
        Some("super") => {
            let ups = path.iter().take_while(|part| *part == "super").count();
            let inside = file.split_once("/src/").map_or(file, |(_, inside)| inside);
            let mut depth = inside.split('/').count();
            let name = inside.rsplit('/').next().unwrap_or_default();
            if ["mod.rs", "lib.rs", "main.rs"].contains(&name) {
                depth -= 1;
            }
            (ups >= depth).then(|| path.get(ups).cloned()).flatten()
        }
        _ => None,
    }
}

/// Places where a path begins with the crate `name`.
fn paths_of<'a>(code: &'a str, name: &'a str) -> impl Iterator<Item = usize> + 'a {
    words(code, name).filter(move |at| {
        let before = code[..*at].trim_end();
        let after = code[at + name.len()..].trim_start();
        let is_path =
            after.starts_with("::") || before.ends_with("use") && after.starts_with([';', ' ']);
        is_path && !before.ends_with("::") && !before.ends_with('.')
    })
}

/// Every path in the code with its parts; groups in braces are unfolded.
fn used_paths(code: &str) -> Vec<(usize, Vec<String>)> {
    let mut found = Vec::new();
    for root in ["crate", "super", "trunkline_contract"] {
        for at in words(code, root) {
            let before = code[..at].trim_end();
            let is_first = !before.ends_with("::");
            if is_first && code[at + root.len()..].starts_with("::") {
                unfold(code, at, at, Vec::new(), &mut found);
            }
        }
    }
    found
}

/// Reads the path that begins at `from`; returns where it ends.
fn unfold(
    code: &str,
    from: usize,
    place: usize,
    mut parts: Vec<String>,
    found: &mut Vec<(usize, Vec<String>)>,
) -> usize {
    let mut at = from;
    loop {
        let rest = &code[at..];
        let name: String = rest
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_' || *c == '*')
            .collect();
        at += name.len();
        parts.push(name);
        if !code[at..].starts_with("::") {
            // A macro of the crate is named from its root, wherever it stands.
            if !code[at..].starts_with('!') {
                found.push((place, parts));
            }
            return at;
        }
        at += 2;
        if code[at..].starts_with('{') {
            at += 1;
            loop {
                at += code[at..].len() - code[at..].trim_start_matches([' ', '\n', ',']).len();
                if at >= code.len() || code[at..].starts_with('}') {
                    return (at + 1).min(code.len());
                }
                let end = unfold(code, at, at, parts.clone(), found);
                let stop = code[end..]
                    .find([',', '}'])
                    .map_or(code.len(), |found| end + found);
                at = stop.max(at + 1);
            }
        }
    }
}

/// Crates that a Cargo.toml must not name, by its folder.
const DEPENDENCIES: [(&str, &[&str]); 3] = [
    (
        "contract/",
        &[
            "tokio",
            "trunkline",
            "trunkline-patterns",
            "trunkline-broker",
        ],
    ),
    ("patterns/", &["tokio", "trunkline", "trunkline-broker"]),
    ("broker/", &["trunkline"]),
];

fn dependencies(source: &Source<'_>, findings: &mut Vec<Finding>) {
    let Ok(document) = source.text.parse::<DocumentMut>() else {
        findings.push(source.find(0, Severity::Error, "expected TOML".to_owned()));
        return;
    };
    let sections = ["dependencies", "dev-dependencies", "build-dependencies"];
    for (dir, refused) in DEPENDENCIES
        .iter()
        .filter(|(dir, _)| source.path.starts_with(dir))
    {
        for name in *refused {
            if sections
                .iter()
                .any(|section| document.get(section).is_some_and(|s| s.get(name).is_some()))
            {
                let text = format!("{dir} must not depend on {name}");
                findings.push(source.find(0, Severity::Error, text));
            }
        }
    }
    if source.path == "sdk-rust/Cargo.toml" {
        sdk(source, &document, findings);
    }
}

/// The SDK has the broker for its feature `testing` alone.
fn sdk(source: &Source<'_>, document: &DocumentMut, findings: &mut Vec<Finding>) {
    let broker = document
        .get("dependencies")
        .and_then(|all| all.get("trunkline-broker"));
    let is_optional = broker.is_none_or(|entry| {
        entry
            .get("optional")
            .and_then(Item::as_bool)
            .unwrap_or_default()
    });
    let features = document.get("features").and_then(Item::as_table);
    let others = features
        .into_iter()
        .flat_map(|table| table.iter())
        .filter(|(name, value)| {
            *name != "testing" && value.to_string().contains("trunkline-broker")
        });
    if !is_optional || others.count() > 0 {
        let text = "the SDK may depend on the broker in its feature testing alone".to_owned();
        findings.push(source.find(0, Severity::Error, text));
    }
}
