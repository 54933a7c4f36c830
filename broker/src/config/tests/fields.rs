//! Tests of typed and nested values, from the text to the plugin.

#![allow(
    clippy::needless_raw_string_hashes,
    reason = "expect-test writes them so"
)]

use super::*;

const PLUGIN: &str = r#"
[plugin]
id = "bots"
version = "1.0.0"
command = ["./bots"]
[[channels]]
kind = "bots"
[config.mode]
type = "string"
options = ["poll", "webhook"]
default = "poll"
[config.url]
type = "string"
required = true
when = { mode = "webhook" }
[config.logo]
type = "file"
max_size = 8
[config.session]
type = "file"
[config.headers]
type = "object"
values = { type = "string", secret = true }
[config.proxy]
type = "object"
[config.proxy.fields.host]
type = "string"
required = true
[config.proxy.fields.port]
type = "integer"
default = 3128
min = 1
[config.proxy.fields.password]
type = "string"
secret = true
unique = true
[config.accounts]
type = "array"
max_items = 2
[config.accounts.items]
type = "object"
[config.accounts.items.fields.name]
type = "string"
required = true
[config.accounts.items.fields.key]
type = "string"
secret = true
"#;

const ENV: &[(&str, &str)] = &[("PW", "s3cret-pw"), ("KEY", "s3cret-key")];

fn load_bots(name: &str, text: &str) -> Loaded {
    let files = [
        (name, text),
        ("plugins/bots/plugin.toml", PLUGIN),
        ("logo.png", "12345678"),
        ("big.png", "123456789"),
        (".trunkline/state/bots/a/session.json", "{}"),
    ];
    load_named(&files, ENV, &[])
}

const YAML: &str = "
plugin_defaults:
  bots:
    logo: logo.png
    proxy: { host: proxy.internal, password_env: PW }
plugins:
  bots:
    - instance: a
      mode: webhook
      url: https://example.com
      session: state:session.json
      proxy: { password: null, port: 8080 }
      headers: { X-Key: { env: KEY } }
      accounts:
        - { name: x, key_env: KEY }
    - instance: b
";

/// Proves LN54: nested tables, lists, maps, files and secrets reach the plugin as they are, from
/// what all have in common too.
#[test]
fn nested_values_reach_the_plugin_as_they_are() {
    let loaded = load_bots("trunkline.yaml", YAML);
    assert!(!format!("{loaded:?}").contains("s3cret"));
    let config = loaded
        .config
        .unwrap_or_else(|| panic!("{}", render(&loaded.diagnostics)));
    let a = config.instance("bots", "a").unwrap();
    assert_eq!(
        Value::Object(a.config.clone()),
        json!({
            "mode": "webhook",
            "url": "https://example.com",
            "logo": "/etc/tl/logo.png",
            "session": "/etc/tl/.trunkline/state/bots/a/session.json",
            "headers": {"X-Key": {"$secret": "headers.X-Key"}},
            "proxy": {"host": "proxy.internal", "port": 8080},
            "accounts": [{"name": "x", "key": {"$secret": "accounts[0].key"}}],
        })
    );
    assert_eq!(a.secrets["headers.X-Key"].expose(), "s3cret-key");
    let b = config.instance("bots", "b").unwrap();
    assert_eq!(b.config["proxy"]["port"], json!(3128));
    assert_eq!(b.secrets["proxy.password"].expose(), "s3cret-pw");
    assert_eq!(config.redactor().redact("is s3cret-pw"), "is ***");
    let rows = loaded.explained.iter();
    let rows: Vec<String> = rows
        .filter(|row| row.path.starts_with("plugins."))
        .map(|row| format!("{} = {}  {}", row.path, row.value, row.origin))
        .collect();
    expect![[r#"
        plugins.bots[a].instance = "a"  trunkline.yaml:8:17
        plugins.bots[a].mode = "webhook"  trunkline.yaml:9:13
        plugins.bots[a].url = "https://example.com"  trunkline.yaml:10:12
        plugins.bots[a].session = "state:session.json"  trunkline.yaml:11:16
        plugins.bots[a].proxy.password = null  trunkline.yaml:12:26 (takes away what is in common)
        plugins.bots[a].proxy.port = 8080  trunkline.yaml:12:38
        plugins.bots[a].proxy.host = "proxy.internal"  trunkline.yaml:5:20 (plugin_defaults.bots)
        plugins.bots[a].headers.X-Key = *** (env KEY)  trunkline.yaml:13:25
        plugins.bots[a].accounts = ***  trunkline.yaml:15:9
        plugins.bots[a].logo = "logo.png"  trunkline.yaml:4:11 (plugin_defaults.bots)
        plugins.bots[b].instance = "b"  trunkline.yaml:16:17
        plugins.bots[b].logo = "logo.png"  trunkline.yaml:4:11 (plugin_defaults.bots)
        plugins.bots[b].proxy.host = "proxy.internal"  trunkline.yaml:5:20 (plugin_defaults.bots)
        plugins.bots[b].proxy.password_env = env PW  trunkline.yaml:5:50 (plugin_defaults.bots)
        plugins.bots[b].mode = "poll"  default of the manifest
        plugins.bots[b].proxy.port = 3128  default of the manifest"#]]
    .assert_eq(&rows.join("\n").replace("/etc/tl/", ""));
}

/// Proves LN54: every error at once, with its path and place, what was expected and what was found.
#[test]
fn every_error_of_nested_values_is_said_at_once() {
    let text = r#"
[[plugins.bots]]
instance = "b"
url = "https://example.com"
logo = "big.png"
session = "state:../a/session.json"
headers = { "X-Key" = "s3cret-literal" }
proxy = { port = 0, passwrd = "x", password = "s3cret-literal" }
accounts = [{ name = 5 }, { key_env = "NONE" }, {}]
[[plugins.bots]]
instance = "c"
mode = "webhok"
session = "gone"
proxy = "http://s3cret-literal"
accounts = [1, inf]
"#;
    let loaded = load_bots("trunkline.toml", text);
    assert!(loaded.config.is_none());
    assert!(!format!("{loaded:?}").contains("s3cret-"));
    expect![[r#"
        trunkline.toml:4:1: url counts only with mode = "webhook", and is given
        hint: leave it out; unset it where it is in common
        trunkline.toml:5:1: logo has to have at most 8 bytes, found 9
        trunkline.toml:6:1: session has to stay in the state directory, found "state:../a/session.json"
        trunkline.toml:7:13: headers.X-Key is secret and stands in the file
        hint: write X-Key_env = "NAME_OF_A_VARIABLE" or X-Key = { file = "secrets/X-Key" }
        trunkline.toml:8:1: proxy.host is required and missing
        hint: add host = … (string)
        trunkline.toml:8:11: proxy.port has to be at least 1, found 0
        trunkline.toml:8:21: unknown config key "proxy.passwrd"
        hint: did you mean "password"?
        trunkline.toml:8:36: proxy.password is secret and stands in the file
        hint: write password_env = "NAME_OF_A_VARIABLE" or password = { file = "secrets/password" }
        trunkline.toml:9:15: accounts[0].name has to be string, found integer
        trunkline.toml:9:27: accounts[1].name is required and missing
        hint: add name = … (string)
        trunkline.toml:9:39: accounts[1].key: environment variable NONE is not set
        trunkline.toml:9:49: accounts[2].name is required and missing
        hint: add name = … (string)
        trunkline.toml:12:1: mode has to be one of "poll", "webhook", found another
        hint: did you mean "webhook"?
        trunkline.toml:13:1: session has to be a file: gone: entity not found
        trunkline.toml:14:1: proxy has to be object, found string
        trunkline.toml:15:13: accounts[0] has to be object, found integer
        trunkline.toml:15:16: accounts[1] has to be a finite number, found inf"#]].assert_eq(&render(&loaded.diagnostics));
}

/// Proves P8c: a nested credential in two instances is refused, whether it is in common or not, in
/// TOML and in YAML.
#[test]
fn a_nested_credential_in_two_instances_is_refused() {
    let yaml = "
plugin_defaults:
  bots:
    proxy: { host: h, password_env: PW }
plugins:
  bots: [{ instance: a }, { instance: b, proxy: { port: 1 } }]
";
    let toml = r#"
[[plugins.bots]]
instance = "a"
proxy = { host = "h", password_env = "PW" }
[[plugins.bots]]
instance = "b"
proxy = { host = "i", password = { env = "PW" } }
"#;
    for (name, text, place) in [
        ("trunkline.yaml", yaml, "trunkline.yaml:4:23"),
        ("trunkline.toml", toml, "trunkline.toml:7:23"),
    ] {
        let loaded = load_bots(name, text);
        assert_eq!(
            render(&loaded.diagnostics),
            format!("{place}: bots/a and bots/b have one value of proxy.password, which is unique")
        );
        assert!(loaded.config.is_none());
    }
}

/// Proves T6: reading a manifest runs nothing of the plugin and writes nothing beside it.
#[cfg(unix)]
#[test]
fn reading_a_manifest_never_runs_code() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let plugin = dir.path().join("plugins/bots");
    std::fs::create_dir_all(&plugin).unwrap();
    std::fs::write(plugin.join("plugin.toml"), PLUGIN).unwrap();
    for name in ["bots", "bots.py", "build.rs", "setup.py", "plugin.toml.sh"] {
        let file = plugin.join(name);
        std::fs::write(&file, "#!/bin/sh\ntouch \"$(dirname \"$0\")/ran\"\n").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let file = dir.path().join("trunkline.toml");
    std::fs::write(&file, "[[plugins.bots]]\n").unwrap();
    let count = || std::fs::read_dir(&plugin).unwrap().count();
    let before = count();
    let sources = Sources {
        file,
        ..Sources::default()
    };
    let loaded = super::super::load(&sources, &DiskFiles);
    assert_eq!(loaded.config.unwrap().instances.len(), 1);
    assert_eq!(count(), before);
}

/// Proves O5: every port and address that the daemon listens on is a setting, and a bad one is
/// refused.
#[test]
fn what_the_daemon_listens_on_can_be_chosen() {
    let config = config("[http]\nlisten = \"127.0.0.1:9321\"\n[broker]\nsocket = \"run/t.sock\"\n");
    assert_eq!(config.broker.socket, Path::new("/etc/tl/run/t.sock"));
    let HttpConfig { listen, .. } = config.http;
    assert!(format!("{listen:?}").contains("9321"), "{listen:?}");
    assert!(load("[http]\nlisten = \"127.0.0.1\"\n").config.is_none());
}
