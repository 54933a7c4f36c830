//! Tests of the same file in YAML.

#![allow(
    clippy::needless_raw_string_hashes,
    reason = "expect-test writes them so"
)]

use super::*;

const FLEET: &str = "
broker:
  log_level: debug
plugin_defaults:
  telegram:
    poll: 9s
    chats: [7]
    limits: { memory_mb: 300 }
grants:
  telegram:
    publish: [agent.notes.>]
store:
plugins:
  telegram:
    - instance: support-bot
      bot_token_env: TG_SUPPORT
    - instance: sales-bot
      bot_token_env: TG_SALES
      poll: null
      limits: { memory_mb: ~ }
";

const SAME: &str = r#"
broker = { log_level = "debug" }
grants = { telegram = { publish = ["agent.notes.>"] } }
[plugin_defaults.telegram]
poll = "9s"
chats = [7]
limits = { memory_mb = 300 }
[[plugins.telegram]]
instance = "support-bot"
bot_token_env = "TG_SUPPORT"
[[plugins.telegram]]
instance = "sales-bot"
bot_token_env = "TG_SALES"
unset = ["poll", "limits.memory_mb"]
"#;

fn load_yaml(text: &str) -> Loaded {
    load_named(&[("trunkline.yaml", text)], TOKENS, &[])
}

/// Proves P8d: an explicit null of an instance takes away what all have in common; the file in YAML
/// is the file in TOML.
#[test]
fn a_fleet_in_yaml_is_the_same_in_toml() {
    let loaded = load_yaml(FLEET);
    let said = render(&loaded.diagnostics);
    let mut yaml = loaded.config.unwrap_or_else(|| panic!("{said}"));
    assert_eq!(said, "");
    assert_eq!(yaml.file, Path::new("/etc/tl/trunkline.yaml"));
    let sales = yaml.instance("telegram", "sales-bot").unwrap();
    assert_eq!(sales.config["poll"], json!("25s"));
    assert_eq!(sales.limits.memory_mb, Some(256), "the manifest's");
    yaml.file = "/etc/tl/trunkline.toml".into();
    assert_eq!(yaml, config(SAME));
}

#[test]
fn the_shape_of_the_design_is_read_as_written() {
    let text = "
plugins:
  telegram:
    - instance: support-bot
      bot_token_env: TG_SUPPORT
    - instance: sales-bot
      bot_token_env: TG_SALES
";
    let config = load_yaml(text).config.unwrap();
    assert_eq!(config.instances.len(), 2);
    let secret = &config.instances[1].secrets["bot_token"];
    assert_eq!(secret.expose(), "s3cret-sales");
}

#[test]
fn every_error_of_a_yaml_file_is_said_at_once_with_its_place() {
    let text = "
broker:
  log_level: verbose
  sockt: x
plugins:
  telegram:
    - instance: a
      bot_token: s3cret
      pol: ~
      chats: {}
    - instance: b
      bot_token: { env: TG_SALES }
      poll: 5
";
    let loaded = load_yaml(text);
    assert!(loaded.config.is_none());
    assert!(!format!("{loaded:?}").contains("s3cret"));
    expect![[r#"
        trunkline.yaml:3:14: broker.log_level has to be one of "error", "warn", "info", "debug", "trace", found "verbose"
        hint: leave it out for the default, "info"
        trunkline.yaml:4:3: unknown key "sockt" in [broker]
        hint: did you mean "socket"?
        trunkline.yaml:6:3: warning: plugin telegram asks to publish "agent.notes.>" and is not granted it
        hint: add [grants.telegram] publish = ["agent.notes.>"] to grant it
        trunkline.yaml:8:7: bot_token is secret and stands in the file
        hint: write bot_token_env = "NAME_OF_A_VARIABLE" or bot_token = { file = "secrets/bot_token" }
        trunkline.yaml:9:7: unknown config key "pol"
        hint: did you mean "poll"?
        trunkline.yaml:10:7: chats has to be array, found object
        trunkline.yaml:13:7: poll has to be a duration with a unit: a bare number is seconds to one reader and milliseconds to the next: write "30s" or "250ms""#]].assert_eq(&render(&loaded.diagnostics));
    let loaded = load_yaml("broker:\n  log_level: info\n  log_level: warn\n");
    expect!["trunkline.yaml:3:3: not YAML: duplicate mapping key: log_level"]
        .assert_eq(&render(&loaded.diagnostics));
}

#[test]
fn a_null_and_where_a_value_comes_from_are_explained() {
    let loaded = load_yaml(FLEET);
    let rows = loaded.explained.iter();
    let rows: Vec<String> = rows
        .filter(|row| row.path.contains("[sales-bot]") || row.path == "broker.log_level")
        .map(|row| format!("{} = {}  {}", row.path, row.value, row.origin))
        .collect();
    expect![[r#"
        broker.log_level = "debug"  trunkline.yaml:3:14
        plugins.telegram[sales-bot].instance = "sales-bot"  trunkline.yaml:17:17
        plugins.telegram[sales-bot].bot_token_env = env TG_SALES  trunkline.yaml:18:22
        plugins.telegram[sales-bot].poll = null  trunkline.yaml:19:13 (takes away what is in common)
        plugins.telegram[sales-bot].limits.memory_mb = null  trunkline.yaml:20:28 (takes away what is in common)
        plugins.telegram[sales-bot].chats = [7]  trunkline.yaml:7:12 (plugin_defaults.telegram)
        plugins.telegram[sales-bot].poll = "25s"  default of the manifest"#]].assert_eq(&rows.join("\n").replace("/etc/tl/", ""));
}

#[test]
fn the_file_in_both_languages_is_refused() {
    for other in ["trunkline.yaml", "trunkline.yml"] {
        let files = [("trunkline.toml", ""), (other, "")];
        let loaded = load_named(&files, &[], &[]);
        let said = render(&loaded.diagnostics);
        assert!(loaded.config.is_none(), "{other}");
        assert_eq!(
            said,
            format!(
                "{other}:1:1: expected one config, found trunkline.toml and {other}\n\
                 hint: remove one of them"
            )
        );
    }
}
