//! Tests of the whole way from texts to a config.

#![allow(
    clippy::needless_raw_string_hashes,
    reason = "expect-test writes them so"
)]

mod change;
mod common;
mod fields;
mod mcp;
mod pollers;
mod secrecy;
mod setup;
mod yaml;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::Duration;

use expect_test::{Expect, expect};
use serde_json::{Value, json};
use trunkline_contract::manifest::RestartPolicy;

use super::*;

struct MemoryFiles(BTreeMap<String, String>);

impl Files for MemoryFiles {
    fn read(&self, path: &Path) -> io::Result<String> {
        let path = path.to_str().unwrap();
        self.0
            .get(path)
            .cloned()
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }

    fn size(&self, path: &Path) -> io::Result<u64> {
        self.read(path).map(|text| text.len() as u64)
    }
}

const TELEGRAM: &str = r#"
[plugin]
id = "telegram"
version = "1.0.0"
command = ["./telegram"]
[[channels]]
kind = "telegram"
[config.bot_token]
type = "string"
secret = true
required = true
unique = true
[config.poll]
type = "duration"
default = "25s"
hot = true
[config.chats]
type = "array"
[supervisor]
limits = { memory_mb = 256, open_files = 64 }
[capabilities]
publish = ["agent.notes.>"]
"#;

const RIVAL: &str = r#"
[plugin]
id = "rival"
version = "1.0.0"
command = ["./rival"]
[[channels]]
kind = "telegram"
"#;

const NEXO: &str = r#"
[plugin]
id = "old"
version = "0.1.0"
shiny = true
[[plugin.channels.register]]
kind = "old"
adapter = "Old"
[plugin.entrypoint]
command = "./old"
env = { RUST_LOG = "info" }
"#;

fn load_with(text: &str, env: &[(&str, &str)], flags: &[&str]) -> Loaded {
    load_named(&[("trunkline.toml", text)], env, flags)
}

/// Loads with files beside those that are always there.
fn load_named(own: &[(&str, &str)], env: &[(&str, &str)], flags: &[&str]) -> Loaded {
    let files = [
        ("/etc/tl/plugins/telegram/plugin.toml", TELEGRAM),
        ("/etc/tl/elsewhere/plugin.toml", RIVAL),
        ("/etc/tl/plugins/old/nexo-plugin.toml", NEXO),
        (
            "/etc/tl/plugins/broken/plugin.toml",
            "[plugin]\nid = \"broken\"\nverison = \"1.0.0\"\n",
        ),
        ("/etc/tl/tokens/agent", "0123456789abcdef\r\n"),
    ];
    let own = own
        .iter()
        .map(|(name, text)| (format!("/etc/tl/{name}"), (*text).to_owned()));
    let files = files
        .iter()
        .map(|(path, text)| ((*path).to_owned(), (*text).to_owned()))
        .chain(own);
    let sources = Sources {
        file: "/etc/tl/trunkline.toml".into(),
        env: env
            .iter()
            .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
            .collect(),
        flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
    };
    super::load(&sources, &MemoryFiles(files.collect()))
}

const TOKENS: &[(&str, &str)] = &[
    ("TG_SUPPORT", "s3cret-support"),
    ("TG_SALES", "s3cret-sales"),
];

fn load(text: &str) -> Loaded {
    load_with(text, TOKENS, &[])
}

fn config(text: &str) -> Config {
    let loaded = load(text);
    loaded
        .config
        .unwrap_or_else(|| panic!("{}", render(&loaded.diagnostics)))
}

fn render(diagnostics: &[trunkline_contract::toml::Diagnostic]) -> String {
    let text: Vec<String> = diagnostics.iter().map(ToString::to_string).collect();
    text.join("\n").replace("/etc/tl/", "")
}

fn refused(text: &str, expected: Expect) {
    let loaded = load(text);
    assert!(loaded.config.is_none(), "{text}");
    let all = format!("{:?} {}", loaded.explained, render(&loaded.diagnostics));
    assert!(!all.contains("s3cret"), "{all}");
    expected.assert_eq(&render(&loaded.diagnostics));
}

const TWO: &str = r#"
[[clients]]
name = "agent"
token = { file = "tokens/agent" }
scopes = ["read:plugin.inbound.>", "publish:plugin.outbound.>", "kv:"]

[grants.telegram]
publish = ["agent.notes.>"]

[[plugins.telegram]]
instance = "support-bot"
bot_token_env = "TG_SUPPORT"
chats = [1, 2]
limits = { memory_mb = 512 }
restart_degraded_after = "30s"

[[plugins.telegram]]
instance = "sales-bot"
enabled = false
restart = "never"
bot_token = { env = "TG_SALES" }
poll = "5s"
"#;

#[test]
fn a_full_file_gives_everything_an_instance_needs() {
    let config = config(TWO);
    let support = &config.instances[0];
    assert_eq!(support.key(), "telegram/support-bot");
    assert_eq!(support.dir, Path::new("/etc/tl/plugins/telegram"));
    assert_eq!(
        Value::Object(support.config.clone()),
        json!({"bot_token": {"$secret": "bot_token"}, "chats": [1, 2], "poll": "25s"})
    );
    assert_eq!(
        Value::Object(support.secrets_json()),
        json!({"bot_token": "s3cret-support"})
    );
    assert_eq!(
        (support.limits.memory_mb, support.limits.open_files),
        (Some(512), Some(64))
    );
    assert!(support.enabled && support.restart == RestartPolicy::Always);
    assert_eq!(
        support.restart_degraded_after,
        Some(Duration::from_secs(30))
    );
    let limit_ms = config.launch_spec(support).restart.degraded_ms;
    assert_eq!(limit_ms, Some(30_000));
    assert!(
        support
            .grants
            .may_publish("plugin.inbound.telegram.support-bot")
            .is_ok()
    );
    assert!(support.grants.may_publish("agent.notes.x").is_ok());
    let sales = config.instance("telegram", "sales-bot").unwrap();
    assert!(!sales.enabled && sales.restart == RestartPolicy::Never);
    assert_eq!(config.launch_spec(sales).restart.degraded_ms, None);
    let client = &config.clients[0];
    assert_eq!(client.token, Some(Secret::new("0123456789abcdef")));
    assert!(client.scopes.may_kv("x") && !client.scopes.is_admin());
}

/// Proves Q3: with every section missing, the daemon behaves as the table of defaults says.
#[test]
fn an_empty_file_has_the_defaults_of_the_table() {
    let config = config("");
    assert_eq!(config.plugin_dirs, [Path::new("/etc/tl/plugins")]);
    assert_eq!(config.broker.data_dir, Path::new("/etc/tl/.trunkline"));
    assert_eq!(
        config.broker.socket,
        Path::new("/etc/tl/.trunkline/trunkline.sock")
    );
    assert_eq!(config.broker.log_level, LogLevel::Info);
    assert_eq!(config.broker.drain_timeout, Duration::from_secs(25));
    assert_eq!(config.store.kind, StoreKind::Sqlite);
    assert_eq!(
        config.store.retention,
        Retention {
            events_age: Duration::from_hours(7 * 24),
            events_bytes: 4 << 30,
            blobs_age: Duration::from_hours(24),
            blobs_bytes: 8 << 30,
            blobs_source_bytes: 4 << 30,
            dedupe_age: Duration::from_hours(72),
            dedupe_ids: 100_000,
            dead_letters_count: 100_000,
            dead_letters_bytes: 1 << 30,
        }
    );
    assert_eq!(
        (
            config.store.disk_warn_percent,
            config.store.disk_full_percent
        ),
        (85, 92)
    );
    assert_eq!(
        config.limits,
        LimitsConfig {
            frame_bytes_max: 1 << 20,
            log_bytes: 10 << 20,
            log_files: 5,
            source_events_per_second: None,
        }
    );
    assert!(config.clients.is_empty() && config.instances.is_empty());
}

/// Proves Q3: the defaults in the code are the defaults in the documentation.
#[test]
fn the_documentation_has_the_table_of_settings() {
    let documentation = include_str!("../../../docs/config.md");
    let table = markdown();
    assert!(
        documentation.contains(&table),
        "docs/config.md has to contain this table:\n{table}"
    );
    let protocol = trunkline_contract::limits::FRAME_BYTES_MAX;
    assert_eq!(
        config("").limits.frame_bytes_max,
        protocol,
        "one limit, one default"
    );
}

/// Proves Q3: a section that is there with some keys missing keeps the other defaults.
#[test]
fn a_section_with_one_key_keeps_the_defaults_of_the_others() {
    let config = config("[store.retention]\nevents = { age = \"1d\" }\n[limits.logs]\nfiles = 2\n");
    assert_eq!(config.store.retention.events_age, Duration::from_hours(24));
    assert_eq!(config.store.retention.events_bytes, 4 << 30);
    assert_eq!(
        (config.limits.log_files, config.limits.log_bytes),
        (2, 10 << 20)
    );
}

#[test]
fn flags_lie_over_the_environment_over_the_file_over_the_defaults() {
    let text = "[broker]\nlog_level = 'warn'\ndrain_timeout = '1s'\ndata_dir = 'here'\n";
    let env = [
        ("TRUNKLINE_BROKER__LOG_LEVEL", "debug"),
        ("TRUNKLINE_BROKER__DRAIN_TIMEOUT", "2s"),
        ("TRUNKLINE_LIMITS__LOGS__BYTES", "4096"),
        ("TRUNKLINE_PLUGIN_DIRS", "/opt/plugins"),
        ("TRUNKLINE_LINK_FD", "3"),
    ];
    let loaded = load_with(
        text,
        &env,
        &["broker.log_level=trace", "limits.logs.bytes=1MiB"],
    );
    let config = loaded.config.unwrap();
    assert_eq!(config.broker.log_level, LogLevel::Trace);
    assert_eq!(config.broker.drain_timeout, Duration::from_secs(2));
    assert_eq!(config.broker.data_dir, Path::new("/etc/tl/here"));
    assert_eq!(config.limits.log_bytes, 1 << 20);
    assert_eq!(config.plugin_dirs, [Path::new("/opt/plugins")]);
    let of = |path: &str| {
        let found = loaded.explained.iter().find(|e| e.path == path).unwrap();
        format!(
            "{} from {}",
            found.value,
            found.origin.replace("/etc/tl/", "")
        )
    };
    assert_eq!(
        of("broker.log_level"),
        r#""trace" from --set broker.log_level"#
    );
    assert_eq!(
        of("broker.drain_timeout"),
        r#""2s" from TRUNKLINE_BROKER__DRAIN_TIMEOUT"#
    );
    assert_eq!(of("broker.data_dir"), r#""here" from trunkline.toml:4:12"#);
    assert_eq!(of("store.kind"), r#""sqlite" from default"#);
}

#[test]
fn a_variable_or_flag_that_is_no_setting_is_refused() {
    let env = [
        ("TRUNKLINE_BROKER__LOGLEVEL", "debug"),
        ("TRUNKLINE_PLUGINS__TELEGRAM__X", "1"),
        ("TRUNKLINE_LIMITS__LOGS__FILES", "many"),
    ];
    let loaded = load_with("", &env, &["store.knd=memory", "verbose"]);
    assert!(loaded.config.is_none());
    expect![[r#"
        --set store.knd: unknown setting "store.knd"
        hint: did you mean "store.kind"?
        --set verbose: expected key=value, found no =
        hint: write --set broker.log_level=debug
        TRUNKLINE_BROKER__LOGLEVEL: unknown setting "broker.loglevel"
        hint: did you mean "broker.log_level"?
        TRUNKLINE_LIMITS__LOGS__FILES: limits.logs.files has to be an integer, found a string
        hint: leave it out for the default, 5
        TRUNKLINE_PLUGINS__TELEGRAM__X: unknown setting "plugins.telegram.x"
        hint: plugins, clients and grants are given in the file alone"#]]
    .assert_eq(&render(&loaded.diagnostics));
}

#[test]
fn everything_wrong_is_reported_at_once() {
    refused(
        r#"
plugin_dirs = "plugins"
[broker]
log_level = "verbose"
drain_timeout = 25
sockt = "x"
[store]
disk_warn_percent = 95
retention = { events = { age = "7 days", bytes = "4GB" }, dedup = {} }
[limits]
frame_bytes_max = 1024
logs = { bytes = "1KiB" }
[[clients]]
name = "Bad Name"
token = "s3cret"
scopes = ["read:a..b", "write:x", "kv:*"]
[[clients]]
name = "no-token"
[[clients]]
name = "lost"
token = { file = "tokens/none" }
scopes = []
[grants.telegrm]
publish = ["x"]
[[plugins.nowhere]]
[[plugins.broken]]
[plugin]
"#,
        expect![[r#"
            trunkline.toml:2:15: plugin_dirs has to be an array of strings, found a string
            hint: leave it out for the default, ["plugins"]
            trunkline.toml:4:13: broker.log_level has to be one of "error", "warn", "info", "debug", "trace", found "verbose"
            hint: leave it out for the default, "info"
            trunkline.toml:5:17: broker.drain_timeout has to be a duration with a unit, found 25
            hint: a bare number is seconds to one reader and milliseconds to the next: write "30s" or "250ms"
            trunkline.toml:6:1: unknown key "sockt" in [broker]
            hint: did you mean "socket"?
            trunkline.toml:8:21: store.disk_warn_percent has to be at most disk_full_percent (92), found 95
            hint: leave it out for the default, 85
            trunkline.toml:9:32: store.retention.events.age: expected a whole number and a unit (ms, s, m, h, d), found "7 days"
            hint: write "250ms", "30s", "5m", "2h" or "7d"
            trunkline.toml:9:50: store.retention.events.bytes has to be a size, found "4GB"
            hint: write "512B", "64KiB", "10MiB", "4GiB" or a whole number of bytes
            trunkline.toml:9:59: unknown key "dedup" in [store.retention]
            hint: did you mean "dedupe"?
            trunkline.toml:11:19: limits.frame_bytes_max has to be between 65536 and 16777216, found 1024
            hint: leave it out for the default, 1048576
            trunkline.toml:12:18: limits.logs.bytes has to be at least 4096 bytes, found 1024
            hint: leave it out for the default, "10MiB"
            trunkline.toml:14:8: clients.name "Bad Name" is not a client name
            hint: 1 to 64 of a-z, 0-9, _, . and -, a letter or digit first
            trunkline.toml:15:9: clients.token is secret and stands in the file
            hint: write token = { env = "NAME" } or { file = "secrets/token" }
            trunkline.toml:16:11: scope "read:a..b": expected letters, digits, `_` or `-` in segment 2 of "a..b", found nothing
            trunkline.toml:16:24: expected a scope (read:<filter>, publish:<filter>, call:<tool filter>, kv:<prefix>, lock:<prefix>, blob, admin), found "write:x"
            trunkline.toml:16:35: scope "kv:*": expected a prefix, found a filter
            trunkline.toml:17:1: "token" is missing in [clients]
            hint: add token = { file = "tokens/agent" }, or token_sha256 = ["…"] with what trunkline token shows
            trunkline.toml:17:1: "scopes" is missing in [clients]
            hint: add scopes = ["read:plugin.inbound.>"] (read:<filter>, publish:<filter>, call:<tool filter>, kv:<prefix>, lock:<prefix>, blob, admin)
            trunkline.toml:21:9: clients.token: file tokens/none cannot be read: entity not found
            trunkline.toml:23:9: grants for no plugin: telegrm
            hint: there is no [[plugins.telegrm]]
            trunkline.toml:25:11: no manifest of plugin "nowhere" found in no directory
            hint: put plugin.toml there, give path = "…" or plugin_dirs, or install it: trunkline plugins add
            trunkline.toml:26:11: no manifest of plugin "broken" found in no directory
            hint: put plugin.toml there, give path = "…" or plugin_dirs, or install it: trunkline plugins add
            trunkline.toml:27:2: unknown key "plugin"
            hint: did you mean "plugins"?"#]],
    );
}

/// Proves W13, in place: the problems of a manifest are reported with its own path and position.
#[test]
fn the_problems_of_a_manifest_are_reported_with_its_path() {
    refused(
        "[[plugins.broken]]\n[[plugins.broken]]\ninstance = \"b\"\n",
        expect![[r#"
            plugins/broken/plugin.toml:1:1: "version" is missing in [plugin]
            hint: add version = "0.1.0"
            plugins/broken/plugin.toml:1:1: "command" is missing in [plugin]
            hint: add command = ["python3", "plugin.py"]
            plugins/broken/plugin.toml:3:1: unknown key "verison" in [plugin]
            hint: did you mean "version"?
            trunkline.toml:1:1: "instance" is missing in [plugins.broken]
            hint: only a plugin's single instance may go without a name"#]],
    );
}

#[test]
fn instances_that_collide_are_refused() {
    refused(
        r#"
[[plugins.telegram]]
instance = "a"
bot_token_env = "TG_SUPPORT"
[[plugins.telegram]]
instance = "b"
bot_token_env = "TG_SUPPORT"
[[plugins.telegram]]
instance = "a"
bot_token_env = "TG_SALES"
[[plugins.telegram]]
bot_token_env = "TG_SALES"
[[plugins.telegram]]
instance = "Bad"
bot_tokn_env = "TG_SALES"
poll = 5
[[plugins.rival]]
instance = "b"
path = "elsewhere"
"#,
        expect![[r#"
            trunkline.toml:2:11: warning: plugin telegram asks to publish "agent.notes.>" and is not granted it
            hint: add [grants.telegram] publish = ["agent.notes.>"] to grant it
            trunkline.toml:7:1: telegram/a and telegram/b have one value of bot_token, which is unique
            trunkline.toml:9:12: instance telegram/a is there twice
            trunkline.toml:11:1: "instance" is missing in [plugins.telegram]
            hint: only a plugin's single instance may go without a name
            trunkline.toml:13:1: bot_token is required and missing
            hint: add bot_token_env = "NAME_OF_A_VARIABLE"
            trunkline.toml:14:12: instance "Bad" is not an instance name
            hint: 1 to 64 of a-z, 0-9, _ and -, a letter or digit first, no __ inside and no _ at the end
            trunkline.toml:15:1: unknown config key "bot_tokn"
            hint: did you mean "bot_token"?
            trunkline.toml:16:1: poll has to be a duration with a unit: a bare number is seconds to one reader and milliseconds to the next: write "30s" or "250ms"
            trunkline.toml:18:12: channel telegram, instance b is served by plugin telegram and by plugin rival
            hint: give one of the instances another name"#]],
    );
}

#[test]
fn a_limit_of_being_degraded_that_cannot_count_is_refused() {
    refused(
        "[[plugins.old]]\ninstance = \"a\"\nrestart = \"never\"\nrestart_degraded_after = \"30s\"\n\
         [[plugins.old]]\ninstance = \"b\"\nrestart_degraded_after = \"0s\"\n\
         [[plugins.old]]\ninstance = \"c\"\nrestart_degraded_after = 30\n",
        expect![[r#"
            plugins/old/nexo-plugin.toml:5:1: warning: unknown key "shiny" in [plugin]
            hint: known keys: id, version, name, description, min_nexo_version, entrypoint, channels, capabilities, supervisor, tools, advisors, agents, skills, config, capability_gates, contracts, extends, meta, ui, enabled_by_default, requires
            trunkline.toml:4:26: plugins.old.restart_degraded_after has to go with restart = "always" or "on_failure", found "never"
            trunkline.toml:7:26: plugins.old.restart_degraded_after has to be longer than nothing
            trunkline.toml:10:26: plugins.old.restart_degraded_after has to be a duration with a unit, found 30
            hint: a bare number is seconds to one reader and milliseconds to the next: write "30s" or "250ms""#]],
    );
}

#[test]
fn grants_are_compared_with_what_the_manifest_asks_for() {
    let plugin = "[[plugins.telegram]]\nbot_token_env = \"TG_SALES\"\n";
    let loaded = load(plugin);
    assert!(loaded.config.is_some());
    expect![[r#"
        trunkline.toml:1:11: warning: plugin telegram asks to publish "agent.notes.>" and is not granted it
        hint: add [grants.telegram] publish = ["agent.notes.>"] to grant it"#]].assert_eq(&render(&loaded.diagnostics));
    refused(
        &format!("{plugin}[grants.telegram]\npublish = [\"billing.>\"]\nsend = [\"slack\"]\n"),
        expect![[r#"
            trunkline.toml:1:11: warning: plugin telegram asks to publish "agent.notes.>" and is not granted it
            hint: add [grants.telegram] publish = ["agent.notes.>"] to grant it
            trunkline.toml:3:9: grants.telegram.publish has "billing.>", which its manifest does not ask for
            hint: a grant counts where the plugin's [capabilities] ask for it; leave it out
            trunkline.toml:3:9: grants.telegram.send has "slack", which its manifest does not ask for
            hint: a grant counts where the plugin's [capabilities] ask for it; leave it out"#]],
    );
}

#[test]
fn a_foreign_plugin_takes_any_config_and_its_warnings_are_shown() {
    let loaded = load("[[plugins.old]]\nanything = 1\ntoken_env = \"TG_SALES\"\n");
    expect![[r#"
        plugins/old/nexo-plugin.toml:5:1: warning: unknown key "shiny" in [plugin]
        hint: known keys: id, version, name, description, min_nexo_version, entrypoint, channels, capabilities, supervisor, tools, advisors, agents, skills, config, capability_gates, contracts, extends, meta, ui, enabled_by_default, requires"#]].assert_eq(&render(&loaded.diagnostics));
    let config = loaded.config.unwrap();
    let old = config.instance("old", "default").unwrap();
    assert_eq!(
        Value::Object(old.config.clone()),
        json!({"anything": 1, "token": {"$secret": "token"}})
    );
}

#[test]
fn what_is_not_built_is_refused_and_not_ignored() {
    refused(
        r#"
[cluster]
port = 1
[sandbox]
[store]
kind = "nats"
durability = "os"
[[clients]]
name = "agent"
token = { file = "tokens/agent" }
scopes = ["blob"]
"#,
        expect![[r#"
            trunkline.toml:2:2: cluster is not built yet, and is not ignored
            hint: one daemon owns one store
            trunkline.toml:4:2: sandbox is not built yet, and is not ignored
            hint: plugins are bounded by [supervisor.limits] alone
            trunkline.toml:6:1: store.kind is not built yet, and is not ignored
            hint: use kind = "sqlite"
            trunkline.toml:7:1: store.durability is not built yet, and is not ignored
            hint: use durability = "fsync": an ack means it survived"#]],
    );
}

#[test]
fn a_tool_whose_schema_cannot_be_used_is_refused_at_load() {
    let plugin = |schema: &str| {
        format!(
            "[plugin]\nid = \"pay\"\nversion = \"1.0.0\"\ncommand = [\"./pay\"]\n\
             [[tools]]\nname = \"refund\"\n{schema}\n"
        )
    };
    let load = |manifest: String, schema: &str| {
        let files = MemoryFiles(BTreeMap::from([
            (
                "/etc/tl/trunkline.toml".into(),
                "[[plugins.pay]]\npath = \"pay\"\n".to_owned(),
            ),
            ("/etc/tl/pay/plugin.toml".into(), manifest),
            ("/etc/tl/pay/refund.json".into(), schema.to_owned()),
        ]));
        let sources = Sources {
            file: "/etc/tl/trunkline.toml".into(),
            ..Sources::default()
        };
        super::load(&sources, &files)
    };
    let inline = plugin("input_schema = { \"$ref\" = \"https://example.com/a.json\" }");
    let found = load(inline, "").diagnostics.remove(0).to_string();
    assert!(found.contains("pay/plugin.toml:6:8: tool \"refund\": expected a usable input_schema"));
    let file = || plugin("input_schema_file = \"refund.json\"");
    let found = load(file(), "{\"type\": 5}")
        .diagnostics
        .remove(0)
        .to_string();
    assert!(found.contains("plugin.toml:6:8"), "{found}");
    let config = load(file(), "{\"title\": \"T\"}").config.unwrap();
    let spec = config.instance("pay", "default").unwrap();
    assert_eq!(
        spec.manifest.tool_declarations()[0].input_schema()["title"],
        "T"
    );
    assert_eq!(config.instance_setup(spec).tools.len(), 1);
}

#[test]
fn a_file_that_is_not_there_or_no_toml_is_one_error() {
    let sources = Sources {
        file: "/etc/tl/other.toml".into(),
        ..Sources::default()
    };
    let loaded = super::load(&sources, &MemoryFiles(BTreeMap::new()));
    assert_eq!(loaded.diagnostics[0].code, "unreadable");
    refused(
        "a = \n",
        expect![
            "trunkline.toml:1:5: not TOML: string values must be quoted, expected literal string"
        ],
    );
}

#[test]
fn a_file_on_the_disk_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("trunkline.toml");
    std::fs::write(&file, "[broker]\nlog_level = \"warn\"\n").unwrap();
    let loaded = super::load(
        &Sources {
            file,
            ..Sources::default()
        },
        &DiskFiles,
    );
    assert_eq!(loaded.config.unwrap().broker.log_level, LogLevel::Warn);
}

mod properties {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_file_with_a_piece_missing_is_judged_without_a_panic(
            from in 0..super::TWO.len(),
            length in 0..40usize,
            filling in "[a-z\\[\\]{}=\",.\n0-9]{0,6}",
        ) {
            let mut text = super::TWO.to_owned();
            let end = (from + length).min(text.len());
            text.replace_range(from..end, &filling);
            let loaded = super::load(&text);
            let has_error = loaded.diagnostics.iter().any(|found| found.is_error());
            prop_assert_eq!(loaded.config.is_none(), has_error);
            let shown = format!("{loaded:?}");
            prop_assert!(!shown.contains("s3cret"), "{}", shown);
        }
    }
}
