//! `[[pollers]]` of a manifest: whether their engine can follow them, and the program that runs them.

use std::path::PathBuf;

use serde_json::Value;
use trunkline_contract::manifest::{Manifest, Poller};
use trunkline_contract::toml::{Diagnostic, Severity};
use trunkline_patterns::poller::Options;
use trunkline_patterns::schedule::Schedule;

/// The program that is a plugin without code; it stands beside this one.
const PROGRAM: &str = "trunkline-pollers";

/// Checks what a manifest declares to be polled; a plugin without code gets the program that runs it. What is found stops
/// the instances of that plugin alone.
pub(super) fn check(manifest: &mut Manifest) -> Vec<Diagnostic> {
    let problems = manifest.pollers.iter().filter_map(|poller| {
        let problem = problem(poller)?;
        let problem = Diagnostic::new(Severity::Error, "invalid_value", &poller.place, problem);
        Some(problem)
    });
    let mut problems: Vec<Diagnostic> = problems.collect();
    if manifest.command.is_empty() && !manifest.pollers.is_empty() {
        let program = program();
        if !program.is_file() {
            let message = format!(
                "pollers without code are run by {}, which is not there",
                program.display()
            );
            let first = &manifest.pollers[0].place;
            let problem = Diagnostic::new(Severity::Error, "not_found", first, message);
            problems.push(problem.hint("install it beside trunkline, from the same release"));
        }
        manifest.command = vec![program.display().to_string()];
    }
    problems
}

fn program() -> PathBuf {
    let own = std::env::current_exe().unwrap_or_default();
    let beside = own.with_file_name(PROGRAM);
    // Programs of tests stand one directory deeper than what they start.
    let deps = own.parent().filter(|dir| dir.ends_with("deps"));
    match deps.and_then(std::path::Path::parent) {
        Some(above) if !beside.is_file() => above.join(PROGRAM),
        _ => beside,
    }
}

fn problem(poller: &Poller) -> Option<String> {
    let options = serde_json::from_value::<Options>(Value::Object(poller.options.clone()));
    let options = match options {
        Ok(options) => options,
        Err(error) => return Some(format!("poll {:?}: {error}", poller.kind)),
    };
    if let Err(error) = options.check() {
        return Some(error.to_string());
    }
    let cron = options.cron.as_deref()?;
    let schedule = Schedule::cron(cron, options.tz.as_deref());
    schedule
        .err()
        .map(|error| format!("poll {:?}: {error}", poller.kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves P4d: what an engine cannot follow is refused when the config is read, each poller with its place.
    #[test]
    fn what_the_engine_cannot_follow_is_said_of_each_poller() {
        let channels = ["fast", "odd", "good"]
            .map(|kind| format!("[[channels]]\nkind = \"{kind}\"\n"))
            .concat();
        let text = format!(
            "[plugin]\nid = \"news\"\nversion = \"0.1.0\"\n{channels}\
             [[pollers]]\nkind = \"fast\"\nfeed = \"https://a.example\"\nevery = \"5s\"\n\
             [[pollers]]\nkind = \"odd\"\nfeed = \"https://a.example\"\ncron = \"61 * * * *\"\n\
             [[pollers]]\nkind = \"good\"\nfeed = \"https://a.example\"\n"
        );
        let mut manifest = Manifest::parse(&text).expect("its form is right").value;
        let found = check(&mut manifest);
        let found: Vec<String> = found
            .iter()
            .filter(|found| found.code == "invalid_value")
            .map(ToString::to_string)
            .collect();
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(
            found[0].contains("plugin.toml:10:1: poll \"fast\": expected at least 10s"),
            "{found:?}"
        );
        assert!(
            found[1].contains("plugin.toml:14:1: poll \"odd\": "),
            "{found:?}"
        );
        let program = manifest.command.first().expect("a program runs it");
        assert!(program.ends_with(PROGRAM), "{program}");
    }
}
