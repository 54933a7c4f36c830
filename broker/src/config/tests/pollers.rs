//! Tests of pollers that cannot be followed.

use super::*;

const GOOD: &str = "[plugin]\nid = \"news\"\nversion = \"0.1.0\"\n\
    [[channels]]\nkind = \"rss\"\n[[pollers]]\nkind = \"rss\"\nfeed = \"https://a.example\"\n";
const BAD: &str = "[plugin]\nid = \"odd\"\nversion = \"0.1.0\"\n\
    [[channels]]\nkind = \"atom\"\n[[pollers]]\nkind = \"atom\"\nfeed = \"https://a.example\"\nevery = \"5s\"\n";
const BOTH: &str = "plugin_dirs = [\"plugins\"]\n[[plugins.news]]\n\
    [[plugins.odd]]\ninstance = \"a\"\n[[plugins.odd]]\ninstance = \"b\"\n";

/// What is wrong, beside that the program that runs pollers may not be built.
fn found(loaded: &Loaded) -> Vec<String> {
    let found = loaded.diagnostics.iter();
    let found = found.filter(|one| one.is_error() && one.code != "not_found");
    found.map(ToString::to_string).collect()
}

fn load_both(config: &str) -> Loaded {
    let files = [
        ("trunkline.toml", config),
        ("plugins/news/plugin.toml", GOOD),
        ("plugins/odd/plugin.toml", BAD),
    ];
    load_named(&files, &[], &[])
}

/// Proves P4d: a poller of a manifest that cannot be followed is an error of the instances of its plugin, said once, and
/// no error of the config.
#[test]
fn a_bad_poller_stops_the_instances_of_its_plugin_alone() {
    let loaded = load_both(BOTH);
    let found = found(&loaded);
    assert_eq!(found.len(), 1, "{found:?}");
    let said = "/etc/tl/plugins/odd/plugin.toml:6:1: poll \"atom\": expected at least 10s";
    assert!(found[0].starts_with(said), "{found:?}");

    let config = loaded.config.expect("the others start");
    let why = |plugin: &str, instance: &str| {
        let spec = config.instance(plugin, instance).unwrap();
        config.launch_spec(spec).unfit.unwrap_or_default()
    };
    assert!(!why("news", "default").contains("poll "));
    for instance in ["a", "b"] {
        let why = why("odd", instance);
        assert!(why.starts_with(&format!("config_invalid: {said}")), "{why}");
    }
}

/// Proves P4d: what is wrong in the operator's own file is refused as ever.
#[test]
fn an_error_of_the_file_itself_refuses_the_config() {
    let loaded = load_both(&format!("{BOTH}shiny = true\n"));
    assert!(loaded.config.is_none());
    assert_eq!(found(&loaded).len(), 2, "{:?}", loaded.diagnostics);
}
