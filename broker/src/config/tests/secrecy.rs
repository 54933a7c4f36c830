//! Tests of how secrets come in and stay hidden.

#![allow(
    clippy::needless_raw_string_hashes,
    reason = "expect-test writes them so"
)]

use super::*;

/// Proves S2, config part: a secret that stands in the file is refused, and shown nowhere.
#[test]
fn a_secret_in_the_file_is_refused_and_not_shown() {
    refused(
        "[[plugins.telegram]]\ninstance = \"a\"\nbot_token = \"s3cret\"\n",
        expect![[r#"
            trunkline.toml:1:11: warning: plugin telegram asks to publish "agent.notes.>" and is not granted it
            hint: add [grants.telegram] publish = ["agent.notes.>"] to grant it
            trunkline.toml:3:1: bot_token is secret and stands in the file
            hint: write bot_token_env = "NAME_OF_A_VARIABLE" or bot_token = { file = "secrets/bot_token" }"#]],
    );
}

/// Proves S2, config part: a secret that was written where a variable's name belongs stays hidden.
#[test]
fn a_secret_in_the_place_of_a_variable_name_is_not_shown() {
    for secret in ["123456:s3cret", "s3cret_live", "s3cret"] {
        let text = format!("[[plugins.telegram]]\nbot_token_env = \"{secret}\"\n");
        let loaded = load(&text);
        let shown = format!("{:?} {}", loaded.explained, render(&loaded.diagnostics));
        assert!(
            loaded.config.is_none() && !shown.contains("s3cret"),
            "{shown}"
        );
    }
}

/// Proves S2, config part: secrets come from variables and files, and are `***` when explained.
#[test]
fn no_secret_is_explained_or_debugged() {
    let loaded = load(TWO);
    let text = format!("{loaded:?}");
    assert!(
        !text.contains("s3cret") && !text.contains("0123456789abcdef"),
        "{text}"
    );
    let rows: Vec<String> = loaded
        .explained
        .iter()
        .filter(|row| row.path.contains('['))
        .map(|row| {
            format!(
                "{} = {}  {}",
                row.path,
                row.value,
                row.origin.replace("/etc/tl/", "")
            )
        })
        .collect();
    expect![[r#"
        clients[agent].name = "agent"  trunkline.toml:3:8
        clients[agent].token = *** (file tokens/agent)  trunkline.toml:4:9
        clients[agent].scopes = ["read:plugin.inbound.>","publish:plugin.outbound.>","kv:"]  trunkline.toml:5:10
        plugins.telegram[support-bot].instance = "support-bot"  trunkline.toml:11:12
        plugins.telegram[support-bot].bot_token_env = env TG_SUPPORT  trunkline.toml:12:17
        plugins.telegram[support-bot].chats = [1,2]  trunkline.toml:13:9
        plugins.telegram[support-bot].limits.memory_mb = 512  trunkline.toml:14:24
        plugins.telegram[support-bot].restart_degraded_after = "30s"  trunkline.toml:15:26
        plugins.telegram[sales-bot].instance = "sales-bot"  trunkline.toml:18:12
        plugins.telegram[sales-bot].enabled = false  trunkline.toml:19:11
        plugins.telegram[sales-bot].restart = "never"  trunkline.toml:20:11
        plugins.telegram[sales-bot].bot_token = *** (env TG_SALES)  trunkline.toml:21:13
        plugins.telegram[sales-bot].poll = "5s"  trunkline.toml:22:8
        plugins.telegram[support-bot].poll = "25s"  default of the manifest"#]].assert_eq(&rows.join("\n"));
    let redactor = loaded.config.unwrap().redactor();
    assert_eq!(
        redactor.redact("x s3cret-sales 0123456789abcdef"),
        "x *** ***"
    );
}

#[test]
fn a_missing_secret_stops_an_enabled_instance_alone() {
    let text =
        "[[plugins.telegram]]\ninstance = \"a\"\nenabled = ENABLED\nbot_token_env = \"NO\"\n";
    refused(
        &text.replace("ENABLED", "true"),
        expect![[r#"
        trunkline.toml:1:11: warning: plugin telegram asks to publish "agent.notes.>" and is not granted it
        hint: add [grants.telegram] publish = ["agent.notes.>"] to grant it
        trunkline.toml:4:17: bot_token: environment variable NO is not set"#]],
    );
    let loaded = load(&text.replace("ENABLED", "false"));
    assert!(loaded.config.is_some(), "{}", render(&loaded.diagnostics));
}
