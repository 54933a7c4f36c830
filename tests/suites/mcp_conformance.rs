//! "`/mcp` speaks MCP": the conformance tests of MCP itself, against the real daemon with a plugin on the bare wire.
//!
//! Every server scenario of both eras runs on its own wire version, those too that the suite does not score. What may
//! fail stands in `tests/mcp/expected-<version>.yml` with its reason: only what is not offered (completion, logging,
//! prompts, resources, sampling, elicitation, tasks, skills). A failure that is not named there fails the test, and so
//! does a line there that passes.

#![expect(
    clippy::disallowed_methods,
    reason = "the test starts the other side itself"
)]

use std::fmt::Write;
use std::process::{Command, Stdio};

use trunkline_tests::daemon::Setup;
use trunkline_tests::mcp::{Relay, folder, install, installed, node, wait_ready};

/// Tools that the scenarios call by these very names.
const TOOLS: [&str; 12] = [
    "json_schema_2020_12_tool",
    "test_audio_content",
    "test_embedded_resource",
    "test_error_handling",
    "test_headers",
    "test_image_content",
    "test_logging_tool",
    "test_multiple_content_types",
    "test_reconnection",
    "test_simple_text",
    "test_streaming_elicitation",
    "test_tool_with_progress",
];

/// How long one scenario may take.
const SCENARIO_MS: &str = "20000";

fn conforms_to(version: &str) {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let (home, data) = (directory.path().join("home"), directory.path().join("data"));
    std::fs::create_dir_all(&data).expect("a directory can be made");
    let relay = Relay::start(&data);
    let mut config = install(&home, "fixture", "conformance");
    // A browser is refused unless its page is known: the scenarios send the origin of the address they were given.
    write!(
        config,
        "[http]\nlisten = \"127.0.0.1:0\"\norigins = [\"http://127.0.0.1:{}\"]\n[mcp.names]\n",
        relay.port
    )
    .expect("a String takes every write");
    for tool in TOOLS {
        writeln!(config, "{tool} = \"conformance.{tool}\"").expect("a String takes every write");
    }
    let setup = Setup::new(&home, &data, &config);
    let daemon = setup.start().expect("the daemon starts");
    wait_ready(&setup, &["conformance"]);
    let done = Command::new(node())
        .arg(installed(
            "node/node_modules/@modelcontextprotocol/conformance/dist/index.js",
        ))
        .args(["server", "--suite", "all", "--spec-version", version])
        .args(["--url", &relay.url(), "--timeout", SCENARIO_MS])
        .arg("--expected-failures")
        .arg(folder().join(format!("expected-{version}.yml")))
        .arg("--output-dir")
        .arg(directory.path().join("results"))
        .current_dir(directory.path())
        .stdin(Stdio::null())
        .output()
        .expect("the conformance tests run");
    let said = String::from_utf8_lossy(&done.stdout);
    let wrong = String::from_utf8_lossy(&done.stderr);
    assert!(
        done.status.success(),
        "{said}\n{wrong}\n--- daemon\n{}",
        daemon.stderr()
    );
    println!("{said}");
}

/// Proves LN66 (out): the stateless era, as MCP's own tests see it.
#[test]
fn the_tools_conform_to_2026_07_28() {
    conforms_to("2026-07-28");
}

/// Proves LN66 (out): the era of sessions, as MCP's own tests see it.
#[test]
fn the_tools_conform_to_2025_11_25() {
    conforms_to("2025-11-25");
}
