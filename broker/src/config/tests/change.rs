//! Tests of what an edit of the file changes.

use super::*;

/// Proves L9, config part: an edit names the instances it touches, and no other.
#[test]
fn an_edit_touches_only_the_instances_it_names() {
    let old = config(TWO);
    assert!(diff(&old, &config(TWO)).is_empty());

    let hot = TWO.replace("poll = \"5s\"", "poll = \"6s\"");
    let changes = diff(&old, &config(&hot));
    assert_eq!(changes.changed.len(), 1);
    let change = &changes.changed[0];
    assert_eq!(change.key, "telegram/sales-bot");
    assert!(change.config && change.is_hot && !change.process && !change.grants);

    let cold = TWO.replace("chats = [1, 2]", "chats = [1]");
    let change = diff(&old, &config(&cold)).changed.remove(0);
    assert_eq!(change.key, "telegram/support-bot");
    assert!(change.config && !change.is_hot && !change.process);

    let enabled = TWO.replace("enabled = false", "enabled = true");
    let change = diff(&old, &config(&enabled)).changed.remove(0);
    assert_eq!((change.enabled, change.config), (Some(true), false));

    let limits = TWO.replace("memory_mb = 512", "memory_mb = 513");
    assert!(diff(&old, &config(&limits)).changed[0].process);

    let grants = TWO.replace("agent.notes.>", "agent.notes.x");
    let changes = diff(&old, &config(&grants));
    assert!(changes.changed.len() == 2 && changes.changed.iter().all(|c| c.grants && !c.process));

    let renamed = TWO
        .replace("sales-bot", "shop-bot")
        .replace("\"kv:\"", "\"admin\"")
        + "[limits]\nframe_bytes_max = 2097152\n[broker]\nlog_level = \"debug\"\n";
    let changes = diff(&old, &config(&renamed));
    assert_eq!(changes.added, ["telegram/shop-bot"]);
    assert_eq!(changes.removed, ["telegram/sales-bot"]);
    assert!(changes.changed.is_empty());
    assert_eq!(changes.clients, ["agent"]);
    assert_eq!(
        changes.settings,
        ["broker.log_level", "limits.frame_bytes_max"]
    );
    assert_eq!(changes.needs_daemon_restart(), ["limits.frame_bytes_max"]);
}

/// Proves S2, config part: a secret that was rotated changes its instance alone.
#[test]
fn a_rotated_secret_is_a_change_of_config() {
    let old = config(TWO);
    let env = [
        ("TG_SUPPORT", "rotated-value"),
        ("TG_SALES", "s3cret-sales"),
    ];
    let new = load_with(TWO, &env, &[]).config.unwrap();
    let changes = diff(&old, &new);
    assert_eq!(changes.changed.len(), 1);
    assert!(changes.changed[0].config && changes.changed[0].key == "telegram/support-bot");
}
