//! Promise: what a config says, and what is wrong with it, is told without a daemon.

use expect_test::expect;

use crate::operator::Home;

/// Proves X6: every error of a config at once, each with code, place and remedy.
#[test]
fn config_check_says_everything_that_is_wrong() {
    let home = Home::new("plugin_dir = [\"plugins\"]\n[broker]\nlog_level = \"loud\"\n");
    let ran = home.run(&["config", "check"]);
    assert_eq!(ran.status, 1, "{ran:?}");
    expect![[r#"
        error: unknown_key: <home>/trunkline.toml:1:1: unknown key "plugin_dir"
          hint: did you mean "plugin_dirs"?
        error: invalid_value: <home>/trunkline.toml:3:13: broker.log_level has to be one of "error", "warn", "info", "debug", "trace", found "loud"
          hint: leave it out for the default, "info"
    "#]]
    .assert_eq(&ran.stdout);
    let ran = home.run(&["config", "check", "--json"]);
    let found = ran.json();
    assert_eq!(found["ok"], false);
    let diagnostics = found["diagnostics"].as_array().unwrap();
    assert_eq!(diagnostics.len(), 2);
    for (one, (code, line, column)) in diagnostics
        .iter()
        .zip([("unknown_key", 1, 1), ("invalid_value", 3, 13)])
    {
        assert_eq!(one["code"], code);
        assert!(one["file"].as_str().unwrap().ends_with("trunkline.toml"));
        assert_eq!(
            (&one["line"], &one["column"]),
            (&line.into(), &column.into())
        );
        assert!(!one["hint"].as_str().unwrap().is_empty(), "{one}");
    }
}

/// Proves LN54: the JSON Schema of a plugin's config is printed, without a daemon.
#[test]
fn config_schema_prints_what_a_plugin_takes() {
    let home = Home::with_echo(&["default"]);
    let ran = home.run(&["config", "schema", "echo"]);
    assert_eq!(ran.status, 0, "{ran:?}");
    let schema = ran.json();
    assert_eq!(schema["title"], "echo");
    assert_eq!(schema["additionalProperties"], false);
    assert!(schema["properties"]["greeting"].is_object(), "{schema}");
    assert_eq!(home.run(&["config", "schema", "nothing"]).status, 2);
}

#[test]
fn config_explain_says_where_each_value_comes_from() {
    let home = Home::new("[broker]\nlog_level = \"warn\"\n");
    let ran = home.run(&["config", "explain", "--set", "broker.drain_timeout=3s"]);
    assert_eq!(ran.status, 0, "{ran:?}");
    let line = |name: &str| {
        let line = ran.stdout.lines().find(|line| line.starts_with(name));
        let words: Vec<&str> = line.unwrap_or_default().split_whitespace().collect();
        words.join(" ")
    };
    assert_eq!(
        line("broker.log_level"),
        "broker.log_level \"warn\" <home>/trunkline.toml:2:13"
    );
    assert_eq!(
        line("broker.drain_timeout"),
        "broker.drain_timeout \"3s\" --set broker.drain_timeout"
    );
    assert_eq!(line("store.kind"), "store.kind \"sqlite\" default");
}
