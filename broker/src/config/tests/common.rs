//! Tests of what the instances of a plugin have in common.

#![allow(
    clippy::needless_raw_string_hashes,
    reason = "expect-test writes them so"
)]

use super::*;

const COMMON: &str = r#"
[plugin_defaults.telegram]
poll = "9s"
chats = [7]
restart = "on_failure"
limits = { memory_mb = 300, open_files = 90 }

[grants.telegram]
publish = ["agent.notes.>"]

[[plugins.telegram]]
instance = "support-bot"
bot_token_env = "TG_SUPPORT"
limits = { memory_mb = 512 }

[[plugins.telegram]]
instance = "sales-bot"
bot_token_env = "TG_SALES"
chats = [8]
unset = ["poll", "limits.open_files", "restart"]
grants = { publish = ["agent.notes.sales"] }
"#;

fn rows(loaded: &Loaded, prefix: &str) -> String {
    let rows = loaded.explained.iter();
    let rows: Vec<String> = rows
        .filter(|row| row.path.starts_with(prefix))
        .map(|row| {
            let (path, value) = (&row.path[prefix.len()..], &row.value);
            format!("{path} = {value}  {}", row.origin.replace("/etc/tl/", ""))
        })
        .collect();
    rows.join("\n")
}

/// Proves P8d: what instances have in common is merged with each one's own key by key, a list is
/// replaced, what an instance unsets is gone; limits, restart and grants merge like the rest.
#[test]
fn an_instance_is_laid_over_what_all_have_in_common() {
    let config = config(COMMON);
    let of = |name: &str| config.instance("telegram", name).unwrap();
    let (support, sales) = (of("support-bot"), of("sales-bot"));
    assert_eq!(
        (&support.config["poll"], &support.config["chats"]),
        (&json!("9s"), &json!([7]))
    );
    assert_eq!(
        (support.limits.memory_mb, support.limits.open_files),
        (Some(512), Some(90))
    );
    assert_eq!(support.restart, RestartPolicy::OnFailure);
    assert!(support.grants.may_publish("agent.notes.x").is_ok());
    // What is unset comes from the manifest again.
    assert_eq!(
        (&sales.config["poll"], &sales.config["chats"]),
        (&json!("25s"), &json!([8]))
    );
    assert_eq!(
        (sales.limits.memory_mb, sales.limits.open_files),
        (Some(300), Some(64))
    );
    assert_eq!(sales.restart, RestartPolicy::Always);
    assert!(sales.grants.may_publish("agent.notes.sales").is_ok());
    assert!(sales.grants.may_publish("agent.notes.x").is_err());
    assert!(
        support.enabled && sales.enabled,
        "all start, the unnamed one is none of them"
    );
}

#[test]
fn each_value_is_explained_by_where_it_stands() {
    let loaded = load(COMMON);
    expect![[r#"
        instance = "support-bot"  trunkline.toml:12:12
        bot_token_env = env TG_SUPPORT  trunkline.toml:13:17
        limits.memory_mb = 512  trunkline.toml:14:24
        limits.open_files = 90  trunkline.toml:6:42 (plugin_defaults.telegram)
        poll = "9s"  trunkline.toml:3:8 (plugin_defaults.telegram)
        chats = [7]  trunkline.toml:4:9 (plugin_defaults.telegram)
        restart = "on_failure"  trunkline.toml:5:11 (plugin_defaults.telegram)"#]]
    .assert_eq(&rows(&loaded, "plugins.telegram[support-bot]."));
    expect![[r#"
        instance = "sales-bot"  trunkline.toml:17:12
        bot_token_env = env TG_SALES  trunkline.toml:18:17
        chats = [8]  trunkline.toml:19:9
        unset = ["poll","limits.open_files","restart"]  trunkline.toml:20:9
        grants.publish = ["agent.notes.sales"]  trunkline.toml:21:22
        poll = null  trunkline.toml:20:10 (takes away what is in common)
        limits.open_files = null  trunkline.toml:20:18 (takes away what is in common)
        limits.memory_mb = 300  trunkline.toml:6:24 (plugin_defaults.telegram)
        restart = null  trunkline.toml:20:39 (takes away what is in common)
        poll = "25s"  default of the manifest"#]]
    .assert_eq(&rows(&loaded, "plugins.telegram[sales-bot]."));
    assert!(!format!("{:?}", loaded.explained).contains("plugin_defaults["));
}

/// Proves P8c: a credential that two instances take from what they have in common is refused,
/// however each spells it.
#[test]
fn a_credential_in_common_is_refused() {
    for (common, own) in [
        ("bot_token_env = \"TG_SALES\"", ""),
        ("bot_token = { env = \"TG_SALES\" }", ""),
        (
            "bot_token_env = \"TG_SALES\"",
            "bot_token = { file = \"tokens/sales\" }\n",
        ),
    ] {
        let text = format!(
            "[plugin_defaults.telegram]\n{common}\n[[plugins.telegram]]\ninstance = \"a\"\n\
             [[plugins.telegram]]\ninstance = \"b\"\n{own}"
        );
        let files = [
            ("trunkline.toml", text.as_str()),
            ("tokens/sales", "s3cret-sales\n"),
        ];
        let loaded = load_named(&files, TOKENS, &[]);
        let said = render(&loaded.diagnostics);
        let expected = "telegram/a and telegram/b have one value of bot_token, which is unique";
        assert!(loaded.config.is_none() && said.contains(expected), "{said}");
        assert!(!format!("{:?}{said}", loaded.explained).contains("s3cret"));
    }
}

/// Proves P8c: no two instances have one state directory.
#[test]
fn every_instance_has_a_state_directory_of_its_own() {
    let config = config(COMMON);
    let dirs = config.instances.iter().map(|spec| config.state_dir(spec));
    let dirs: std::collections::BTreeSet<_> = dirs.collect();
    assert_eq!(dirs.len(), config.instances.len());
    let twice = COMMON.replace("sales-bot", "support-bot");
    let said = render(&load(&twice).diagnostics);
    assert!(
        said.contains("instance telegram/support-bot is there twice"),
        "{said}"
    );
}

/// An instance spells a credential in another way than what it takes the place of.
#[test]
fn a_credential_of_its_own_replaces_the_common_one() {
    for own in [
        "bot_token = { env = \"TG_SUPPORT\" }",
        "bot_token_env = \"TG_SUPPORT\"",
    ] {
        for common in [
            "bot_token = { file = \"none\" }",
            "bot_token_env = \"NONE\"",
        ] {
            let text =
                format!("[plugin_defaults.telegram]\n{common}\n[[plugins.telegram]]\n{own}\n");
            let loaded = load(&text);
            let config = loaded.config.unwrap_or_else(|| {
                panic!("{text}\n{}", render(&loaded.diagnostics));
            });
            let secret = &config.instances[0].secrets["bot_token"];
            assert_eq!(secret.expose(), "s3cret-support");
        }
    }
}

#[test]
fn what_is_wrong_in_common_is_said_once_and_all_of_it() {
    refused(
        r#"
[plugin_defaults.telegram]
instance = "a"
pol = "5s"
chats = 5
grants = { publish = [] }
unset = ["poll"]
[plugin_defaults.telegrm]
poll = "5s"
[plugin_defaults]
old = 1
[grants.telegram]
publish = ["agent.notes.>"]
[[plugins.telegram]]
instance = "a"
bot_token_env = "TG_SUPPORT"
poll = "5s"
unset = ["poll", "chts", "bot_token_env", "", "poll.x", 5]
[[plugins.telegram]]
instance = "b"
bot_token_env = "TG_SALES"
grants = { publish = ["billing.>"], subscrib = [] }
[[plugins.old]]
"#,
        expect![[r#"
            plugins/old/nexo-plugin.toml:5:1: warning: unknown key "shiny" in [plugin]
            hint: known keys: id, version, name, description, min_nexo_version, entrypoint, channels, capabilities, supervisor, tools, advisors, agents, skills, config, capability_gates, contracts, extends, meta, ui, enabled_by_default, requires
            trunkline.toml:3:1: plugin_defaults.telegram.instance cannot be in common
            hint: each instance has a name of its own
            trunkline.toml:4:1: unknown config key "pol"
            hint: did you mean "poll"?
            trunkline.toml:5:1: chats has to be array, found integer
            trunkline.toml:6:1: plugin_defaults.telegram.grants cannot be in common
            hint: what all instances may do stands in [grants.<plugin>]
            trunkline.toml:7:1: plugin_defaults.telegram.unset cannot be in common
            hint: leave the key out here
            trunkline.toml:8:18: plugin_defaults.telegrm is for no plugin
            hint: did you mean "telegram"?
            trunkline.toml:11:7: plugin_defaults.old has to be a table, found an integer
            trunkline.toml:18:10: poll is given and unset
            trunkline.toml:18:18: unknown config key "chts"
            hint: did you mean "chats"?
            trunkline.toml:18:26: bot_token_env is given and unset
            trunkline.toml:18:43: plugins.telegram.unset has to name keys, found ""
            trunkline.toml:18:47: poll.x cannot be unset: poll is no table
            trunkline.toml:18:57: plugins.telegram.unset has to be an array of strings, found an integer
            trunkline.toml:22:10: plugins.telegram.grants.publish has "billing.>", which its manifest does not ask for
            hint: a grant counts where the plugin's [capabilities] ask for it; leave it out
            trunkline.toml:22:10: warning: plugin telegram asks to publish "agent.notes.>" and is not granted it
            hint: add [grants.telegram] publish = ["agent.notes.>"] to grant it
            trunkline.toml:22:37: unknown key "subscrib" in [plugins.telegram.grants]
            hint: did you mean "subscribe"?"#]],
    );
}

#[test]
fn an_edit_in_common_touches_the_instances_that_take_it() {
    let old = config(COMMON);
    let changes = diff(&old, &config(&COMMON.replace("\"9s\"", "\"8s\"")));
    let touched: Vec<&str> = changes.changed.iter().map(|c| c.key.as_str()).collect();
    assert_eq!(touched, ["telegram/support-bot"]);
    assert!(changes.changed[0].is_hot);
    let narrower = COMMON.replace("[\"agent.notes.>\"]", "[\"agent.notes.x\"]");
    let changes = diff(&old, &config(&narrower));
    let touched: Vec<&str> = changes.changed.iter().map(|c| c.key.as_str()).collect();
    assert_eq!(touched, ["telegram/support-bot"]);
}
