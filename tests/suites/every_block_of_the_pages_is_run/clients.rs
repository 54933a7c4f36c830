//! What a page tells a program that is not ours to say: its request is made, its answer looked at.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use serde_json::Value;
use trunkline_tests::daemon::{Setup, program};
use trunkline_tests::pages::{self, Block};

fn block<'a>(blocks: &'a [Block], language: &str) -> &'a Block {
    let mut of_it = blocks.iter().filter(|block| block.language == language);
    of_it.next().expect("the page has it")
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn members(value: &Value) -> BTreeSet<&str> {
    let object = value.as_object().expect("an object");
    object.keys().map(String::as_str).collect()
}

/// Proves: the request of the page is taken, and a refusal has the form that the page shows.
#[test]
fn the_page_on_http_shows_what_is_asked_and_refused() {
    let blocks = pages::of("docs/http.md");
    let home = tempfile::tempdir().expect("a directory");
    let setup = Setup::new(home.path(), &home.path().join("data"), "");
    let _daemon = setup.start().unwrap_or_else(|error| panic!("{error}"));
    let address = fs::read_to_string(setup.data.join("http.addr")).expect("it listens");
    let shown = &block(&blocks, "sh").text;
    let asked = shown.replace("http://127.0.0.1:7711", address.trim());
    assert_ne!(&asked, shown, "the page asks the daemon's own address");
    let ask = |script: &str, token: &str| {
        let mut shell = Command::new("bash");
        let shell = shell.args(["-euc", script]).env("TOKEN", token);
        let done = shell.output().expect("there is a shell");
        assert!(done.status.success(), "{done:?}");
        json(&String::from_utf8_lossy(&done.stdout))
    };
    let published = ask(&asked, &setup.token());
    assert!(published["seq"].as_u64() > Some(0), "{published}");

    // A topic that is none, and a token that is none.
    let refusal = json(&block(&blocks, "json").text);
    for refused in [
        ask(&asked.replace("agent.done", "agent..done"), &setup.token()),
        ask(&asked, "wrong"),
    ] {
        assert_eq!(members(&refused), members(&refusal), "{refused}");
        let found = members(&refused["error"]);
        let shown = members(&refusal["error"]);
        assert!(shown.is_subset(&found), "{refused}");
    }
}

/// Proves: what a client of MCP is told to start is a command that there is.
#[test]
fn the_page_on_mcp_names_a_command_that_there_is() {
    let config = json(&block(&pages::of("docs/mcp.md"), "json").text);
    let server = &config["mcpServers"]["trunkline"];
    assert_eq!(server["command"], "trunkline");
    let arguments = server["args"].as_array().expect("arguments");
    let arguments = arguments.iter().map(|each| each.as_str().expect("a word"));
    let done = Command::new(program())
        .args(arguments)
        .output()
        .expect("it is built");
    // The example's config is nobody's: that is said, and not that it is used wrongly.
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(said.contains("/path/to/trunkline.toml"), "{said}");
    assert_ne!(done.status.code(), Some(2), "{said}");
}
