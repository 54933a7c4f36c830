//! "Tools of any MCP server": a server of others (FastMCP), on stdio and on HTTP, is configured and used like a plugin.
//!
//! Calls, errors, progress and cancels pass through; a server that dies is started again, and its tools stay listed.

#![expect(
    clippy::disallowed_methods,
    reason = "the test starts the other side itself"
)]

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use trunkline_tests::daemon::Setup;
use trunkline_tests::driver::CLIENT;
use trunkline_tests::mcp::{folder, python, wait_ready};
use trunkline_tests::wire::{Incoming, Peer, WireError};

/// How long an answer may take: the server is written in Python, on a machine that does other things.
const ANSWER: Duration = Duration::from_secs(20);

/// A server on HTTP, ended with the test.
struct Far(Child);

impl Drop for Far {
    fn drop(&mut self) {
        // It may have ended by itself; waiting tells either way.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn call(peer: &mut Peer, tool: &str, arguments: &Value) -> Result<Value, WireError> {
    let params = json!({"call_id": format!("{tool} once"), "tool": tool, "arguments": arguments});
    peer.call("tool.call", &params, ANSWER)
}

fn names(peer: &mut Peer) -> Vec<String> {
    let listed = peer
        .call("tool.list", &json!({}), ANSWER)
        .expect("tools are listed");
    let tools = listed["tools"].as_array().expect("a list has tools");
    let name = |tool: &Value| tool["name"].as_str().expect("a tool has a name").to_owned();
    tools.iter().map(name).collect()
}

/// The next report of a call, or its answer.
fn next(peer: &mut Peer) -> Incoming {
    let incoming = peer.next(ANSWER).expect("the link holds");
    incoming.expect("the server says something in time")
}

fn code(error: WireError) -> String {
    match error {
        WireError::Refused { code, .. } => code,
        other => panic!("expected a refusal, found {other}"),
    }
}

/// Uses every tool of the server `name`.
fn is_used(setup: &Setup, name: &str) {
    let mut peer = setup.connect(CLIENT).expect("the daemon listens");
    let full = |tool: &str| format!("{name}.{tool}");
    let expected = [
        "add_numbers",
        "cancels",
        "die",
        "fails",
        "hang",
        "secret",
        "steps",
    ];
    assert_eq!(names(&mut peer), expected.map(full));
    let sum = call(&mut peer, &full("add_numbers"), &json!({"a": 1, "b": 2}));
    assert_eq!(
        sum.expect("the server adds")["output"],
        json!({"result": 3})
    );

    let refused = call(&mut peer, &full("add_numbers"), &json!({"a": "one"}));
    assert_eq!(
        code(refused.expect_err("it does not fit")),
        "invalid_arguments"
    );
    let failed = call(&mut peer, &full("fails"), &json!({})).expect_err("it fails");
    let text = failed.to_string();
    assert!(
        text.contains("tool_failed") && text.contains("the shelf is empty"),
        "{text}"
    );

    let params = json!({"call_id": "s", "tool": full("steps"), "arguments": {}});
    let id = peer.request("tool.call", &params).expect("the link holds");
    let mut reports = Vec::new();
    loop {
        match next(&mut peer) {
            Incoming::Other { method, params, .. } if method == "tool.progress" => {
                reports.push(params);
            }
            Incoming::Reply { id: found, result } if found == id => {
                assert_eq!(
                    result.expect("it is done")["output"],
                    json!({"result": "done"})
                );
                break;
            }
            _ => {}
        }
    }
    let last = reports.last().expect("progress is told");
    assert_eq!((&last["done"], &last["total"]), (&json!(3.0), &json!(3.0)));
    assert_eq!(last["message"], "step 3");

    let params = json!({"call_id": "h", "tool": full("hang"), "arguments": {}});
    let id = peer.request("tool.call", &params).expect("the link holds");
    while !matches!(next(&mut peer), Incoming::Other { method, .. } if method == "tool.progress") {}
    peer.notify("tool.cancel", &json!({"call_id": "h"}))
        .expect("the link holds");
    loop {
        if let Incoming::Reply { id: found, result } = next(&mut peer)
            && found == id
        {
            assert_eq!(code(result.expect_err("it was cancelled")), "cancelled");
            break;
        }
    }
    let count = |peer: &mut Peer| {
        let told = call(peer, &full("cancels"), &json!({})).expect("the server counts");
        told["output"]["result"]
            .as_u64()
            .expect("a count is a number")
    };
    while count(&mut peer) == 0 {}
}

/// Proves LN66 (in): a server on stdio.
#[test]
fn a_server_on_stdio_is_used_and_started_again() {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let (home, data) = (directory.path().join("home"), directory.path().join("data"));
    fs::create_dir_all(&home).expect("a directory can be made");
    fs::write(home.join("secret"), "hush hush").expect("the home can be written");
    let config = format!(
        "[[mcp.servers]]\nname = \"near\"\ncommand = {}\nexclude = [\"s*y\"]\n\
         env = {{ OTHERS_SECRET = {{ file = \"secret\" }}, FASTMCP_LOG_LEVEL = \"ERROR\" }}\n",
        json!([python(), folder().join("server.py")])
    );
    let setup = Setup::new(&home, &data, &config);
    let daemon = setup.start().expect("the daemon starts");
    wait_ready(&setup, &["near"]);
    is_used(&setup, "near");
    let mut peer = setup.connect(CLIENT).expect("the daemon listens");
    let told = call(&mut peer, "near.secret", &json!({})).expect("the server tells it");
    assert_eq!(told["output"], json!({"result": "hush hush"}));

    let died = call(&mut peer, "near.die", &json!({})).expect_err("it died");
    let died = code(died);
    assert!(
        ["unavailable", "outcome_unknown"].contains(&died.as_str()),
        "{died}"
    );
    assert!(names(&mut peer).contains(&"near.add_numbers".to_owned()));
    // It is started again in a moment.
    let sum = loop {
        match call(&mut peer, "near.add_numbers", &json!({"a": 2, "b": 2})) {
            Ok(sum) => break sum,
            Err(error) => assert_eq!(code(error), "unavailable"),
        }
    };
    assert_eq!(sum["output"], json!({"result": 4}));

    // Known from before, also while it cannot be started.
    daemon.kill();
    let gone = config.replace(&python().display().to_string(), "/nowhere/python");
    let setup = Setup::new(&home, &data, &gone);
    let _daemon = setup.start().expect("the daemon starts");
    let mut peer = setup.connect(CLIENT).expect("the daemon listens");
    while !names(&mut peer).contains(&"near.add_numbers".to_owned()) {}
    let refused = call(&mut peer, "near.add_numbers", &json!({"a": 2, "b": 2}));
    assert_eq!(
        code(refused.expect_err("there is no server")),
        "unavailable"
    );
}

/// Proves LN66 (in): a server on HTTP.
#[test]
fn a_server_on_http_is_used() {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let (home, data) = (directory.path().join("home"), directory.path().join("data"));
    let file = directory.path().join("port");
    let far = Command::new(python())
        .arg(folder().join("server.py"))
        .arg("http")
        .arg(&file)
        .env("FASTMCP_LOG_LEVEL", "ERROR")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let _far = Far(far.expect("the server can be started"));
    let port = loop {
        match fs::read_to_string(&file) {
            Ok(text) if !text.is_empty() => break text,
            _ => std::thread::yield_now(),
        }
    };
    let config = format!(
        "[[mcp.servers]]\nname = \"far\"\nurl = \"http://127.0.0.1:{port}/mcp\"\nexclude = [\"say\"]\n"
    );
    let setup = Setup::new(&home, &data, &config);
    let _daemon = setup.start().expect("the daemon starts");
    wait_ready(&setup, &["far"]);
    is_used(&setup, "far");
}
