//! Promise: what waits and may no longer be received is listed, and put back once it may.

use crate::operator::{Home, plugin};

/// Proves LN10: what waits for an instance that may no longer receive it, because of a reload, is a dead letter, and what
/// it had in hand when the daemon was killed is one as well.
#[test]
fn what_may_not_be_received_any_more_is_listed_as_dead() {
    let granted = "[grants.slow]\nsubscribe = [\"agent.job\"]\n\n[[plugins.slow]]\n";
    let home = Home::new(granted);
    home.plugin("slow", &plugin("slow", "", "            pass\n"));
    let manifest = home.path().join("plugins/slow/plugin.toml");
    let mut text = std::fs::read_to_string(&manifest).unwrap();
    text.push_str("\n[capabilities]\nsubscribe = [\"agent.job\"]\n");
    std::fs::write(manifest, text).unwrap();
    let up = home.up();
    up.wait_for("slow/default   ready");
    for text in ["{\"n\":1}", "{\"n\":2}", "{\"n\":3}"] {
        let ran = home.run(&["publish", "agent.job", text, "--session", "one"]);
        assert_eq!(ran.status, 0, "{ran:?}");
    }
    home.write("trunkline.toml", "[[plugins.slow]]\n");
    let ran = home.run(&["config", "reload"]);
    assert_eq!(ran.status, 0, "{ran:?}");
    let list = ["dlq", "list", "--json"];
    home.until(&list, |ran| ran.json()["total"] == 2);
    up.kill();
    let up = home.up();
    up.wait_for("slow/default   ready");
    let listed = home.until(&list, |ran| ran.json()["total"] == 3).json();
    for letter in listed["letters"].as_array().unwrap() {
        assert_eq!(letter["reason"], "removed", "{letter}");
        assert_eq!(letter["code"], "topic_not_granted", "{letter}");
        assert_eq!(letter["subscription"], "instance.slow.default", "{letter}");
    }
    let id = listed["letters"][0]["id"].as_str().unwrap();
    let ran = home.run(&["dlq", "replay", id]);
    assert!(
        ran.stderr.contains("no longer selects agent.job"),
        "{ran:?}"
    );
}
