//! "Tools for any MCP client": FastMCP's client, written by others, uses tools of plugins on the bare wire and in each
//! SDK, over HTTP and stdio, in the stateless era and in the era of sessions.
//!
//! It lists, calls, hears progress, cancels (the plugin counts it), and is refused what is not there or does not fit.

#![expect(
    clippy::disallowed_methods,
    reason = "the test starts the other side itself"
)]

use std::fs;
use std::process::{Command, Stdio};

use trunkline_tests::daemon::Setup;
use trunkline_tests::mcp::{folder, install, python, wait_ready};
use trunkline_tests::sdk::Language;
use trunkline_tests::supervised;

/// What the client says it did, era by era.
const DONE: &str = "ok auto http\nok auto stdio\nok legacy http\nok legacy stdio\n";

/// Lets FastMCP's client use the tools of the plugin `id`, which `config` runs.
fn is_used(setup: &Setup, id: &str) {
    let daemon = setup.start().expect("the daemon starts");
    wait_ready(setup, &[id]);
    let address = fs::read_to_string(setup.data.join("http.addr")).expect("the daemon tells it");
    let url = format!("{}/mcp", address.trim());
    let token = setup.data.join("token").display().to_string();
    let config = setup.home.join("trunkline.toml");
    let done = Command::new(python())
        .arg(folder().join("client.py"))
        .args([id, &url, &token])
        .arg(&setup.program)
        .args(["mcp", "--config"])
        .arg(config)
        .stdin(Stdio::null())
        .output()
        .expect("the client runs");
    let said = String::from_utf8_lossy(&done.stdout);
    let wrong = String::from_utf8_lossy(&done.stderr);
    assert!(
        done.status.success() && said == DONE,
        "{said}\n{wrong}\n--- daemon\n{}",
        daemon.stderr()
    );
}

fn is_used_in(language: Language) {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let (home, data) = (directory.path().join("home"), directory.path().join("data"));
    let id = format!("tools-{}", language.name());
    let dir = directory.path().join("plugin");
    fs::create_dir_all(&dir).expect("a directory can be made");
    let command = language.subject("tools", &dir);
    let config = supervised::install(&home, &id, &command, &[]);
    is_used(&Setup::new(&home, &data, &config), &id);
}

/// Proves LN66 (out): a plugin on the bare wire.
#[test]
fn an_mcp_client_uses_the_tools_of_a_plugin_on_the_bare_wire() {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let (home, data) = (directory.path().join("home"), directory.path().join("data"));
    let config = install(&home, "tools", "wire");
    is_used(&Setup::new(&home, &data, &config), "wire");
}

/// Proves LN66 (out): a plugin in Rust.
#[test]
fn an_mcp_client_uses_the_tools_of_a_plugin_in_rust() {
    is_used_in(Language::Rust);
}

/// Proves LN66 (out): a plugin in Python.
#[test]
fn an_mcp_client_uses_the_tools_of_a_plugin_in_python() {
    is_used_in(Language::Python);
}

/// Proves LN66 (out): a plugin in JavaScript.
#[test]
fn an_mcp_client_uses_the_tools_of_a_plugin_in_node() {
    is_used_in(Language::Node);
}
