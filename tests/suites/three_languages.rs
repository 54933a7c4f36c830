//! "The three SDKs are one implementation": each conversation with a plugin is the same, byte for byte, whether
//! the plugin is written in Rust, Python or JavaScript.
//!
//! `TRUNKLINE_BLESS=1` writes what the plugin in Rust says into the transcripts; read what changed.

#![expect(
    clippy::disallowed_methods,
    reason = "the kit for other SDKs is started as its users start it"
)]
use std::path::Path;
use std::process::{Command, Output};

use trunkline_tests::golden::{Subject, folder, play};
use trunkline_tests::sdk::Language;
use trunkline_tests::tool::profile_dir;

fn in_three_languages(name: &str) {
    in_languages(name, &Language::ALL);
}

fn in_languages(name: &str, languages: &[Language]) {
    let path = folder().join(name);
    if std::env::var_os("TRUNKLINE_BLESS").is_some() {
        let said = play(&path, &Subject::Sdk(languages[0]));
        std::fs::write(&path, said.join("\n") + "\n").expect("the transcript can be written");
    }
    let expected = std::fs::read_to_string(&path).expect("the transcript is there");
    let mut differences = Vec::new();
    for language in languages.iter().copied() {
        let said = in_order(play(&path, &Subject::Sdk(language)));
        for (number, (expected, found)) in expected.lines().zip(&said).enumerate() {
            if expected != found {
                let place = format!("{name}:{}", number + 1);
                differences.push(format!(
                    "{place}, {}\n  expected {expected}\n  found    {found}",
                    language.name()
                ));
            }
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// A caller that is cancelled answers and cancels what it has called, in two tasks: which of the two frames goes first is
/// not promised. The transcripts have the cancelling first.
fn in_order(mut said: Vec<String>) -> Vec<String> {
    for at in 1..said.len() {
        let cancels =
            said[at].starts_with(r#"{"peer":"#) && said[at].contains(r#""method":"tool.cancel""#);
        let before = &said[at - 1];
        if cancels && before.starts_with(r#"{"peer":"#) && before.contains(r#""code":"cancelled""#)
        {
            said.swap(at - 1, at);
        }
    }
    said
}

/// Proves P1: the handshake, what is declared in it, and the start are the same in each SDK.
#[test]
fn a_handshake_is_the_same_in_three_languages() {
    in_three_languages("handshake");
}

/// Proves P1 and W2: one identical echo in three languages gives identical frames, ids that are derived from the
/// event included.
#[test]
fn an_echo_is_the_same_in_three_languages() {
    in_three_languages("echo.jsonl");
}

/// Proves P1: the plugin of the page about echo, at most twenty lines in each language, says the same frames, and answers
/// under the instance that was asked.
#[test]
fn the_echo_of_the_page_is_the_same_in_three_languages() {
    in_three_languages("echo_page.jsonl");
    let path = folder().join("echo_page.jsonl");
    let said = std::fs::read_to_string(path).expect("the transcript is there");
    assert_eq!(said.matches("\"plugin.inbound.echo.sales\"").count(), 2);
}

/// Proves P1: what the transcripts are played with is what the page shows.
#[test]
fn the_echo_of_the_page_is_the_one_that_is_tested() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let read = |path: &str| std::fs::read_to_string(root.join(path)).expect("it is there");
    let page = read("docs/patterns/echo.md");
    for (mark, path) in [
        ("```python\n", "tests/sdk/echo.py"),
        ("```ts\n", "tests/sdk/echo.mjs"),
        ("```rust,no_run\n", "tests/src/bin/echo_plugin.rs"),
    ] {
        let (_, rest) = page.split_once(mark).expect("the page has it");
        let (shown, _) = rest.split_once("```").expect("the block ends");
        assert_eq!(shown, read(path), "{path}");
        assert!(shown.lines().count() <= 20, "{path}");
    }
}

/// Proves W16: what a handler returns or raises is the same frame in each SDK, with the same code and message.
#[test]
fn what_a_handler_returns_or_raises_is_the_same_in_three_languages() {
    in_three_languages("outcomes.jsonl");
}

/// Proves W16: what stops an instance is told in the same words from each SDK.
#[test]
fn what_stops_an_instance_is_the_same_in_three_languages() {
    in_three_languages("reports.jsonl");
}

/// Proves W16: a return value that means nothing there settles the event, the same from each SDK.
#[test]
fn an_invalid_return_is_the_same_in_three_languages() {
    in_three_languages("invalid_returns.jsonl");
}

/// Proves W16 and H1 (publish, kv): calls and the errors of calls are the same in each SDK.
#[test]
fn a_call_and_its_error_is_the_same_in_three_languages() {
    in_three_languages("publishes.jsonl");
}

/// Proves W4 and W5: integers beyond 2^53, `{}` vs `[]`, null, strings, arrays and nested unicode go round unchanged,
/// and NaN and Infinity are errors in the caller, with one text; nothing of them reaches the wire.
#[test]
fn a_value_of_any_kind_is_the_same_in_three_languages() {
    in_three_languages("values.jsonl");
}

/// Proves LN13 (config_change with rollback): a config that is accepted, one that is refused, one whose hook fails.
#[test]
fn a_config_change_is_the_same_in_three_languages() {
    in_three_languages("config.jsonl");
}

/// Proves L14 (pause and resume): the hooks of a pause are called, the same in each SDK.
#[test]
fn a_pause_is_the_same_in_three_languages() {
    in_three_languages("pause.jsonl");
}

/// Proves L8: a handler in flight is awaited when the instance drains, then the stop hook runs, exactly once.
#[test]
fn a_drain_with_a_handler_in_flight_is_the_same_in_three_languages() {
    in_three_languages("drain.jsonl");
}

/// Proves L8: the stop hook runs on EOF, exactly once.
#[test]
fn an_end_of_the_link_is_the_same_in_three_languages() {
    in_three_languages("eof.jsonl");
}

/// Proves L8: the stop hook runs on SIGTERM, exactly once, and the process ends in order.
#[test]
fn a_sigterm_is_the_same_in_three_languages() {
    in_three_languages("sigterm.jsonl");
}

/// Proves L8: a stop hook that fails is an error with -32000.
#[test]
fn a_stop_hook_that_fails_is_the_same_in_three_languages() {
    in_three_languages("stop_fails.jsonl");
}

/// Proves W16: a start that needs a login says so, in the same words.
#[test]
fn a_start_that_needs_a_login_is_the_same_in_three_languages() {
    in_three_languages("start_needs_auth.jsonl");
}

/// Proves W16: a start that can be tried later says so, in the same words.
#[test]
fn a_start_that_is_too_early_is_the_same_in_three_languages() {
    in_three_languages("start_retry_later.jsonl");
}

/// Proves W16: a start that can never work says so, in the same words.
#[test]
fn a_start_that_is_fatal_is_the_same_in_three_languages() {
    in_three_languages("start_fatal.jsonl");
}

/// Proves W16: a start whose hook fails says so, in the same words.
#[test]
fn a_start_whose_hook_fails_is_the_same_in_three_languages() {
    in_three_languages("start_fail.jsonl");
}

/// Proves H3: a plugin publishes before the first event, in all three.
#[test]
fn a_publish_before_the_first_event_is_the_same_in_three_languages() {
    in_three_languages("start_publishes.jsonl");
}

/// Proves LN15: a start tells how far it is, with the data that a person needs for it, in the same frames.
#[test]
fn a_start_that_tells_how_far_it_is_is_the_same_in_three_languages() {
    in_three_languages("start_progress.jsonl");
}

/// Proves W7: malformed JSON, `5`, `[1]`, invalid UTF-8, an empty line, CRLF: the plugin goes on, and answers -32700 or
/// -32600 with a null id.
#[test]
fn a_bad_frame_is_the_same_in_three_languages() {
    in_three_languages("bad_frames.jsonl");
}

/// Proves W8: what is printed without a newline, by the language, to the descriptor, or by a child process, never
/// corrupts or swallows a frame.
#[test]
fn what_is_printed_is_the_same_in_three_languages() {
    in_three_languages("prints.jsonl");
}

/// Proves W8 on stdio, where the link and the prints share a descriptor.
#[test]
fn what_is_printed_on_a_stdio_link_is_the_same_in_three_languages() {
    in_three_languages("prints_stdio.jsonl");
}

/// Proves LN9 (handlers): a handler that never returns ends at its timeout, with the same words.
#[test]
fn a_handler_that_never_returns_is_the_same_in_three_languages() {
    in_three_languages("timeout.jsonl");
}

/// Proves X4 (place of an error): an error of the catalogue that a handler raises or lets through carries its place to
/// the dead letter, in each SDK; what it returned has none.
#[test]
fn the_place_of_an_error_is_told_in_three_languages() {
    in_three_languages("places.jsonl");
}

/// Proves H1 (names in a handler): the kind of a channel's event, and that another event has none, in each SDK.
#[test]
fn the_kind_of_an_event_is_the_same_in_three_languages() {
    in_three_languages("kinds.jsonl");
}

/// Proves W4 (lone surrogates): half of a pair, which no Rust text can hold, is an error in the caller, with one text.
#[test]
fn a_lone_surrogate_is_refused_the_same_in_python_and_node() {
    in_languages("surrogates.jsonl", &[Language::Python, Language::Node]);
}

/// Proves W15 and W16 (tools): a call's result, each kind of error, progress, and what it publishes are the same from
/// each SDK; an unknown tool is an error.
#[test]
fn a_tool_is_served_the_same_in_three_languages() {
    in_three_languages("tools.jsonl");
}

/// Proves W16 and LN44 (tools): chunks of a result come in order, wait for the caller's window, and are one output for a
/// caller that wants no stream.
#[test]
fn a_streamed_result_is_the_same_in_three_languages() {
    in_three_languages("tool_streams.jsonl");
}

/// Proves LN9 (tools): a cancel ends the handler, also one that came before its call; so does the end of its time.
#[test]
fn a_cancelled_call_is_the_same_in_three_languages() {
    in_three_languages("tool_cancels.jsonl");
}

/// Proves W16 (calling a tool): results, errors, progress and chunks reach the caller alike; a caller that is cancelled
/// cancels its own call.
#[test]
fn a_tool_is_called_the_same_in_three_languages() {
    in_three_languages("tool_calls.jsonl");
}

/// A transcript that nothing plays proves nothing.
#[test]
fn every_transcript_of_a_plugin_is_played() {
    let source = include_str!("three_languages.rs");
    for entry in std::fs::read_dir(folder()).expect("the folder is there") {
        let name = entry.expect("readable").file_name();
        let name = name.to_str().expect("plain names");
        assert!(
            name == "README.md" || source.contains(&format!("\"{name}\"")),
            "{name} is not played by any test"
        );
    }
}

fn conformance(arguments: &[&str]) -> Output {
    let programs = profile_dir().expect("tests run from a target directory");
    let mut kit = Command::new(programs.join("conformance"));
    kit.args(arguments)
        .output()
        .expect("the kit is built beside the tests")
}

/// Proves X2: the same conversations are a kit for an SDK that is not ours: a program that speaks the contract passes, one
/// that is silent, or says another thing, does not, and the kit says where.
#[test]
fn anybody_can_hold_a_program_to_the_conversations() {
    let programs = profile_dir().expect("tests run from a target directory");
    let ours = format!("exec {}/\"$1\"_plugin", programs.display());
    let good = conformance(&["--only", "echo,outcomes", "sh", "-c", &ours, "sh"]);
    let said = String::from_utf8_lossy(&good.stdout).into_owned();
    assert!(good.status.success(), "{said}");
    assert!(said.ends_with("2 passed, 0 failed\n"), "{said}");

    let silent = conformance(&["--only", "echo", "true"]);
    let said = String::from_utf8_lossy(&silent.stdout).into_owned();
    assert_eq!(silent.status.code(), Some(1), "{said}");
    assert!(said.contains("echo.jsonl:"), "{said}");
    assert!(said.ends_with("0 passed, 1 failed\n"), "{said}");

    let other = ours.replace("\"$1\"", "tools");
    let other = conformance(&["--only", "echo", "sh", "-c", &other, "sh"]);
    let said = String::from_utf8_lossy(&other.stdout).into_owned();
    assert_eq!(other.status.code(), Some(1), "{said}");
    assert!(said.contains("expected "), "{said}");

    for wrong in [&["--only", "nothing", "true"][..], &[]] {
        let output = conformance(wrong);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
    }
}
