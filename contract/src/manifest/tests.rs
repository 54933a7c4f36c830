//! Tests of both manifest readers.

#![allow(
    clippy::needless_raw_string_hashes,
    reason = "expect-test writes them so"
)]

mod enforced;

use std::time::Duration;

use expect_test::{Expect, expect};

use super::*;
use crate::config_schema::ConfigType;

const FULL: &str = r#"
[plugin]
id = "telegram"
version = "1.2.3-rc.1"
name = "Telegram"
description = "A bot channel."
protocol = "1"
command = ["python3", "plugin.py"]
isolation = "process"

[[channels]]
kind = "telegram"
features = { text_chars_max = 4096, edits = "full", threads = "partial", files = { bytes_max = 52428800 } }

[[channels]]
kind = "telegram-business"

[config.bot_token]
type = "string"
required = true
secret = true
unique = true
label = "Bot token"

[config.poll_timeout]
type = "duration"
default = "25s"
hot = true

[capabilities]
publish = ["agent.notes.>"]
subscribe = ["agent.tasks.*"]
send = ["email"]

[supervisor]
restart = "on_failure"
start_timeout = "2m"
ping_interval = "5s"
stop_timeout = "1500ms"
limits = { memory_mb = 512, open_files = 1024, file_size_mb = 100 }

[link]
transport = "stdio"
"#;

fn render(diagnostics: &[Diagnostic]) -> String {
    diagnostics
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}

fn refused(text: &str, expected: Expect) {
    expected.assert_eq(&render(&Manifest::parse(text).unwrap_err()));
}

#[test]
fn a_full_manifest_is_read() {
    let parsed = Manifest::parse(FULL).unwrap();
    assert_eq!(parsed.warnings, []);
    let manifest = parsed.value;
    assert_eq!(manifest.id, "telegram");
    assert_eq!(manifest.command, ["python3", "plugin.py"]);
    assert_eq!(
        manifest.kinds().collect::<Vec<_>>(),
        ["telegram", "telegram-business"]
    );
    assert_eq!(manifest.channels[0].features.text_chars_max, Some(4096));
    assert_eq!(
        manifest.channels[0]
            .features
            .files
            .as_ref()
            .unwrap()
            .bytes_max,
        Some(50 * 1024 * 1024)
    );
    let token = &manifest.config.keys["bot_token"];
    assert!(token.required && token.secret && token.unique && !token.hot);
    assert_eq!(
        manifest.config.keys["poll_timeout"].kind,
        ConfigType::Duration
    );
    assert_eq!(manifest.capabilities.publish[0].as_str(), "agent.notes.>");
    assert_eq!(
        manifest.supervisor,
        Supervisor {
            restart: RestartPolicy::OnFailure,
            start_timeout: Duration::from_mins(2),
            ping_interval: Duration::from_secs(5),
            stop_timeout: Duration::from_millis(1500),
            limits: Limits {
                memory_mb: Some(512),
                open_files: Some(1024),
                file_size_mb: Some(100)
            },
        }
    );
    assert_eq!(manifest.transport, Transport::Stdio);
}

#[test]
fn the_shortest_manifest_has_the_defaults() {
    let text = "[plugin]\nid = \"echo\"\nversion = \"0.1.0\"\ncommand = [\"./echo\"]\n";
    let manifest = Manifest::parse(text).unwrap().value;
    assert_eq!(manifest.supervisor, Supervisor::default());
    assert_eq!(manifest.transport, Transport::Fd);
    assert_eq!(manifest.protocol, PROTOCOL);
    assert!(manifest.channels.is_empty() && manifest.config.keys.is_empty());
}

/// Proves W13: an unknown key of `plugin.toml` is an error with position and hint, all at once.
#[test]
fn unknown_keys_of_a_native_manifest_are_errors_with_position_and_hint() {
    refused(
        r#"[plugin]
id = "echo"
verison = "0.1.0"
version = "0.1.0"
command = ["x"]
[[channels]]
kind = "echo"
feature = {}
[config.token]
type = "string"
requird = true
[capabilities]
publsh = []
filesystem = []
[supervisor]
restrat = "always"
limits = { memory = 1 }
[links]
transport = "fd"
"#,
        expect![[r#"
            plugin.toml:3:1: unknown key "verison" in [plugin]
            hint: did you mean "version"?
            plugin.toml:8:1: unknown key "feature" in [channels]
            hint: did you mean "features"?
            plugin.toml:11:1: unknown key "requird" in [config.token]
            hint: did you mean "required"?
            plugin.toml:13:1: unknown capability "publsh"
            hint: did you mean "publish"?
            plugin.toml:14:1: unknown capability "filesystem"
            hint: known capabilities: publish, subscribe, send, call, http_server
            plugin.toml:16:1: unknown key "restrat" in [supervisor]
            hint: did you mean "restart"?
            plugin.toml:17:12: unknown key "memory" in [supervisor.limits]
            hint: did you mean "memory_mb"?
            plugin.toml:18:2: unknown key "links"
            hint: did you mean "link"?"#]],
    );
}

#[test]
fn wrong_values_are_reported_all_at_once() {
    refused(
        r#"[plugin]
id = "Echo__x"
version = "1"
protocol = "2.0"
command = "python3 echo.py"
[[channels]]
kind = "tele.gram"
[[channels]]
kind = "a"
features = { edits = "ful" }
[[channels]]
kind = "a"
[[channels]]
[config.Token]
type = "string"
[config.instance]
type = "string"
[config.token_env]
type = "string"
[config.a]
type = "text"
[config.b]
type = "integer"
default = "x"
[config.c]
type = "integer"
secret = true
[config.d]
type = "string"
secret = true
default = "hunter2"
[config.e]
required = true
[config.f]
type = "array"
unique = true
[config.g]
type = "string"
required = true
default = "x"
[config]
h = 1
[capabilities]
publish = ["agent..x", 5]
send = ["Bad Kind"]
[supervisor]
restart = "sometimes"
start_timeout = 30
ping_interval = "0s"
limits = { memory_mb = 1 }
[link]
transport = "tcp"
"#,
        expect![[r#"
            plugin.toml:2:6: plugin.id "Echo__x" is not a plugin id
            hint: 1 to 30 of a-z, 0-9, _ and -, a letter first, no __ inside and no _ at the end
            plugin.toml:3:11: plugin.version "1" is not a semantic version: unexpected end of input while parsing major version number
            hint: write three numbers, such as "0.1.0"
            plugin.toml:4:12: plugin.protocol is "2.0", this broker speaks "1.0"
            hint: leave protocol out, or install a broker that speaks it
            plugin.toml:5:11: plugin.command has to be an array of strings, found a string
            hint: no shell reads it: write command = ["python3", "echo.py"]
            plugin.toml:7:8: channels.kind "tele.gram" is not a channel kind
            hint: 1 to 64 of a-z, 0-9, _ and -, a letter or digit first, no __ inside and no _ at the end
            plugin.toml:10:22: channels.features.edits has to be one of "none", "partial", "full", found "ful"
            hint: did you mean "full"?
            plugin.toml:12:8: channel kind "a" is declared twice
            plugin.toml:13:1: "kind" is missing in [channels]
            hint: add kind = "telegram"
            plugin.toml:14:9: config key "Token" cannot be declared
            hint: 1 to 64 of a-z, 0-9 and _, a letter first
            plugin.toml:16:9: config key "instance" cannot be declared
            hint: the broker reads this key of an instance itself; choose another name
            plugin.toml:18:9: config key "token_env" cannot be declared
            hint: the suffix _env names an environment variable in the operator's file; drop it
            plugin.toml:21:8: config.a.type has to be another word than "text"
            hint: write type = "string"
            plugin.toml:24:1: config.b.default has to be integer, found string
            plugin.toml:27:1: config.c is secret and has to be a string, found integer
            plugin.toml:31:1: config.d is secret and cannot have a default
            hint: every reader of this file knows it
            plugin.toml:32:1: "type" is missing in [config.e]
            hint: add type = "string"
            plugin.toml:36:1: config.f is unique and has to be a single value, found array
            plugin.toml:40:1: config.g is required and has a default
            hint: drop required, or the default
            plugin.toml:42:5: config.h has to be a table, found an integer
            hint: write [config.h] and type = "string"
            plugin.toml:44:12: capabilities.publish: expected letters, digits, `_` or `-` in segment 2 of "agent..x", found nothing
            plugin.toml:44:24: capabilities.publish has to be an array of strings, found an integer
            plugin.toml:45:9: capabilities.send "Bad Kind" is not a channel kind
            hint: 1 to 64 of a-z, 0-9, _ and -, a letter or digit first, no __ inside and no _ at the end
            plugin.toml:47:11: supervisor.restart has to be one of "always", "on_failure", "never", found "sometimes"
            plugin.toml:48:17: supervisor.start_timeout has to be a duration with a unit, found 30
            hint: a bare number is seconds to one reader and milliseconds to the next: write "30s" or "250ms"
            plugin.toml:49:17: supervisor.ping_interval has to be longer than nothing
            plugin.toml:50:24: supervisor.limits.memory_mb has to be between 16 and 16777216, found 1
            plugin.toml:52:13: link.transport has to be one of "fd", "stdio", found "tcp""#]],
    );
}

#[test]
fn a_manifest_without_its_identity_says_what_is_missing() {
    refused(
        "",
        expect![[r#"
            plugin.toml:1:1: "plugin" is missing
            hint: begin with [plugin], id, version and command"#]],
    );
    refused(
        "[plugin]\ncommand = []\n",
        expect![[r#"
            plugin.toml:1:1: "id" is missing in [plugin]
            hint: add id = "name-of-the-plugin"
            plugin.toml:1:1: "version" is missing in [plugin]
            hint: add version = "0.1.0"
            plugin.toml:2:11: plugin.command has to begin with a program, found none"#]],
    );
}

#[test]
fn what_is_not_built_is_refused_and_not_ignored() {
    let text = r#"[plugin]
id = "stripe"
version = "0.1.0"
command = ["x"]
[capabilities]
network = ["api.stripe.com:443"]
[supervisor]
hang = "30s"
"#;
    let diagnostics = Manifest::parse(text).unwrap_err();
    assert!(
        diagnostics
            .iter()
            .all(|found| found.code == "not_implemented")
    );
    expect![[r#"
        plugin.toml:6:1: capabilities.network is not built yet, and is not ignored
        hint: the network of a plugin is not restricted; leave it out
        plugin.toml:8:1: supervisor.hang is not built yet, and is not ignored
        hint: a loop that lags is shown as degraded; the operator may set restart_degraded_after"#]]
    .assert_eq(&render(&diagnostics));
}

#[test]
fn instances_share_a_process_where_the_manifest_says_so() {
    let text = r#"[plugin]
id = "telegram"
version = "0.1.0"
command = ["x"]
isolation = "shared"
"#;
    let isolation = |text: &str| Manifest::parse(text).unwrap().value.isolation;
    assert_eq!(isolation(text), Isolation::Shared);
    assert_eq!(
        isolation(&text.replace("isolation = \"shared\"", "")),
        Isolation::Process
    );
    let both = format!("{text}[capabilities]\nhttp_server = true\n[link]\ntransport = \"stdio\"\n");
    expect![[r#"
        plugin.toml:5:13: plugin.isolation is "shared" and capabilities.http_server is true
        hint: an HTTP server belongs to one instance: leave one of them out
        plugin.toml:5:13: plugin.isolation is "shared" and link.transport is "stdio"
        hint: instances that share a process need transport = "fd""#]]
    .assert_eq(&render(&Manifest::parse(&both).unwrap_err()));
}

const TOOLS: &str = r#"
[plugin]
id = "stripe"
version = "0.1.0"
command = ["x"]

[[tools]]
name = "refund"
description = "Gives money back."
kind = "command"
timeout = "30s"
concurrency = 4
idempotent = true
input_schema = { type = "object", required = ["id"], properties = { id = { type = "string" } } }
output_schema = '''{"type": "object"}'''

[[tools]]
name = "search"
streaming = true
input_schema_file = "schemas/search.json"

[capabilities]
call = ["mail.*"]
"#;

#[test]
fn tools_are_read_with_their_schemas() {
    let mut manifest = Manifest::parse(TOOLS).unwrap().value;
    assert_eq!(manifest.capabilities.call[0].as_str(), "mail.*");
    let refund = &manifest.tools[0].declaration;
    assert_eq!((refund.timeout_ms(), refund.concurrency()), (30_000, 4));
    assert!(refund.idempotent && !refund.streaming);
    assert_eq!(refund.input_schema()["required"][0], "id");
    assert_eq!(refund.output_schema.as_ref().unwrap()["type"], "object");
    manifest
        .read_schemas(|path| {
            assert_eq!(path, "schemas/search.json");
            Ok(r#"{"type":"object","title":"Search"}"#.to_owned())
        })
        .unwrap();
    let search = &manifest.tool_declarations()[1];
    assert_eq!(search.input_schema()["title"], "Search");
    assert_eq!((search.timeout_ms(), search.concurrency()), (60_000, 16));

    let mut manifest = Manifest::parse(TOOLS).unwrap().value;
    let diagnostics = manifest.read_schemas(|_| Ok("{".to_owned())).unwrap_err();
    assert!(render(&diagnostics).contains("search.json has to hold a JSON Schema"));
}

/// Proves P3c: two tools of one name are refused when the plugin is loaded, with the place of the second.
#[test]
fn what_is_wrong_with_a_tool_is_said_where_it_stands() {
    let text = r#"[plugin]
id = "stripe"
version = "0.1.0"
command = ["x"]
[[tools]]
name = "Refund"
[[tools]]
name = "a"
timeout = "2h"
concurrency = 0
[[tools]]
name = "a"
input_schema = "{"
[[tools]]
name = "b"
input_schema_file = "../b.json"
output_schema = [1]
[capabilities]
call = ["everything"]
"#;
    expect![[r#"
        plugin.toml:6:8: expected a tool name (1 to 32 of a-z, 0-9, _ and -, a letter first, no __ inside, no _ at the end, not "reply"), found "Refund"
        plugin.toml:9:11: tools.timeout has to be between 1ms and 1h
        plugin.toml:10:15: tools.concurrency has to be between 1 and 1024, found 0
        plugin.toml:12:8: tool "a" is declared twice
        plugin.toml:13:16: tools.input_schema has to be a JSON Schema: EOF while parsing an object at line 1 column 1
        hint: write a table, or JSON between three single quotes
        plugin.toml:16:21: tools.input_schema_file "../b.json" leads out of the plugin
        hint: write a path relative to the plugin's directory
        plugin.toml:17:17: tools.output_schema has to be a table, or JSON as text, found an array
        plugin.toml:19:9: capabilities.call: expected <plugin>.<tool>, <plugin>.* or *, found "everything""#]]
    .assert_eq(&render(&Manifest::parse(text).unwrap_err()));
}

#[test]
fn a_foreign_manifest_under_the_native_name_is_recognised() {
    let text = "[plugin]\nid = \"x\"\nversion = \"0.1.0\"\n[plugin.entrypoint]\ncommand = \"x\"\n";
    let diagnostics = Manifest::parse(text).unwrap_err();
    let found = diagnostics
        .iter()
        .find(|found| found.message.contains("entrypoint"))
        .unwrap();
    assert!(
        found.hint.as_ref().unwrap().contains("nexo-plugin.toml"),
        "{found}"
    );
}

#[test]
fn a_text_that_is_no_toml_is_one_error() {
    refused(
        "[plugin\nid = 1",
        expect!["plugin.toml:1:8: not TOML: unclosed table, expected `]`"],
    );
}

const FOREIGN: &str = r#"[plugin]
id = "template_plugin_python"
version = "0.1.0"
name = "Template"
description = "Skeleton."
min_nexo_version = ">=0.1.0"

[plugin.requires]
nexo_capabilities = ["broker"]

[[plugin.channels.register]]
kind = "template_echo_py"
adapter = "TemplateEchoAdapter"

[plugin.entrypoint]
command = "./bin/template_plugin_python"
args = ["--stdio"]
env = { RUST_LOG = "info" }
"#;

#[test]
fn a_foreign_manifest_is_read_as_it_is() {
    let parsed = Manifest::parse_foreign(FOREIGN).unwrap();
    assert_eq!(parsed.warnings, []);
    let manifest = parsed.value;
    assert_eq!(manifest.flavor, Flavor::Foreign);
    assert_eq!(manifest.transport, Transport::Stdio);
    assert_eq!(
        manifest.command,
        ["./bin/template_plugin_python", "--stdio"]
    );
    assert_eq!(manifest.env["RUST_LOG"], "info");
    assert_eq!(manifest.kinds().collect::<Vec<_>>(), ["template_echo_py"]);
    assert!(manifest.config.is_open);
}

/// Proves W13: an unknown key of `nexo-plugin.toml` is a warning, and the plugin still loads.
#[test]
fn unknown_keys_of_a_foreign_manifest_are_warnings() {
    let text = format!(
        "{FOREIGN}
[plugin.extends]
tools = [\"x\"]
[plugin.supervisor]
respawn = false
max_attempts = 3
shiny = 1
[plugin.futuristic]
a = 1
[plugin.capabilities.broker]
publish = [\"plugin.inbound.wa\", \"plugin.inbound.wa.>\", \"agent.notes\"]
[other]
"
    );
    let parsed = Manifest::parse_foreign(&text).unwrap();
    assert_eq!(
        parsed.value.kinds().collect::<Vec<_>>(),
        ["template_echo_py", "wa"]
    );
    assert_eq!(parsed.value.capabilities.publish[0].as_str(), "agent.notes");
    assert_eq!(parsed.value.supervisor.restart, RestartPolicy::Never);
    assert!(parsed.warnings.iter().all(|found| !found.is_error()));
    expect![[r#"
        nexo-plugin.toml:20:9: warning: plugin.extends has no effect here
        nexo-plugin.toml:24:1: warning: plugin.supervisor.max_attempts has no effect here
        nexo-plugin.toml:25:1: warning: unknown key "shiny" in [plugin.supervisor]
        hint: known keys: respawn, max_attempts, backoff_ms, stderr_tail_lines
        nexo-plugin.toml:26:9: warning: unknown key "futuristic" in [plugin]
        hint: known keys: id, version, name, description, min_nexo_version, entrypoint, channels, capabilities, supervisor, tools, advisors, agents, skills, config, capability_gates, contracts, extends, meta, ui, enabled_by_default, requires
        nexo-plugin.toml:30:2: warning: unknown key "other"
        hint: known keys: plugin"#]].assert_eq(&render(&parsed.warnings));
}

#[test]
fn a_foreign_manifest_that_cannot_run_is_an_error() {
    let text = "[plugin]\nid = \"x__y\"\nversion = \"0.1.0\"\nmin_nexo_version = \">=9\"\n\
                [plugin.requires]\nnexo_capabilities = [\"broker\", \"memory\"]\n\
                [plugin.entrypoint]\nenv = { NEXO_STATE = \"x\" }\n";
    expect![[r#"
        nexo-plugin.toml:1:1: warning: the manifest registers no channel: the plugin receives nothing
        hint: add [[plugin.channels.register]] with kind and adapter
        nexo-plugin.toml:2:6: plugin.id "x__y" is not a plugin id
        hint: 1 to 30 of a-z, 0-9, _ and -, a letter first, no __ inside and no _ at the end
        nexo-plugin.toml:4:20: warning: the plugin asks for nexo ">=9", this broker stands for 0.1.5
        nexo-plugin.toml:6:32: warning: the plugin requires "memory", which this broker does not offer
        nexo-plugin.toml:7:1: no program to run: plugin.entrypoint.command is missing
        hint: add [plugin.entrypoint] and command = "./bin/plugin"
        nexo-plugin.toml:8:9: variable "NEXO_STATE" is set by the host"#]].assert_eq(&render(&Manifest::parse_foreign(text).unwrap_err()));
}

mod properties {
    use proptest::prelude::*;

    use super::{FOREIGN, FULL, Manifest};

    proptest! {
        #[test]
        fn a_manifest_with_a_piece_missing_is_judged_without_a_panic(
            from in 0..FULL.len(),
            length in 0..40usize,
            filling in "[a-z\\[\\]{}=\",.\n0-9]{0,6}",
        ) {
            for whole in [FULL, FOREIGN] {
                let mut text = whole.to_owned();
                let from = from.min(text.len());
                let end = (from + length).min(text.len());
                text.replace_range(from..end, &filling);
                for read in [Manifest::parse(&text), Manifest::parse_foreign(&text)] {
                    match read {
                        Ok(parsed) => prop_assert!(parsed.warnings.iter().all(|w| !w.is_error())),
                        Err(found) => prop_assert!(found.iter().any(|d| d.is_error())),
                    }
                }
            }
        }
    }
}

const SERVER: &str = r#"
[plugin]
id = "board"
version = "0.1.0"
command = ["x"]
[capabilities]
http_server = true
[http]
socket = "tcp"
health = "/healthz"
health_interval = "1s"
timeout = "5s"
"#;

#[test]
fn a_server_of_its_own_is_asked_for_and_described() {
    let manifest = Manifest::parse(SERVER).unwrap().value;
    assert!(manifest.capabilities.http_server);
    let server = &manifest.own_server;
    assert_eq!(server.socket, HttpSocket::Tcp);
    assert_eq!(server.health.as_deref(), Some("/healthz"));
    assert_eq!(server.health_interval.as_secs(), 1);
    assert_eq!(server.timeout.as_secs(), 5);
}

#[test]
fn what_is_wrong_with_a_server_of_its_own_is_said() {
    let text = SERVER
        .replace("http_server = true", "http_server = false")
        .replace("\"tcp\"", "\"udp\"")
        .replace("/healthz", "healthz")
        .replace("\"1s\"", "\"1ms\"");
    let diagnostics = Manifest::parse(&text).unwrap_err();
    expect![[r#"
        plugin.toml:8:1: [http] is given without the capability http_server
        hint: add http_server = true to [capabilities], or drop [http]
        plugin.toml:9:10: http.socket has to be one of "unix", "tcp", found "udp"
        plugin.toml:10:10: http.health has to be a path of the server, found "healthz"
        hint: write health = "/healthz"
        plugin.toml:11:1: http.health_interval has to be 100ms to 3600s, found 1ms"#]]
    .assert_eq(&render(&diagnostics));
}
