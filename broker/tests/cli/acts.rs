//! Promise: what an operator does to an instance takes effect at once, by command and over HTTP alike.

use serde_json::{Value, json};

use crate::http::post;
use crate::operator::{Home, plugin};

fn pid(home: &Home) -> Value {
    home.run(&["status", "--json"]).json()["instances"][0]["pid"].clone()
}

/// Proves O3: the commands that act on plugins say as JSON what they did.
#[test]
fn what_acts_on_a_plugin_says_so_as_json() {
    let home = Home::with_echo(&["one", "two"]);
    let up = home.up();
    up.wait_for("echo/one   ready");
    up.wait_for("echo/two   ready");
    for (verb, target, instance, done) in [
        ("restart", "echo/one", json!("one"), "restarting"),
        ("disable", "echo/one", json!("one"), "disabled"),
        ("enable", "echo", json!(null), "enabled"),
    ] {
        let ran = home.run(&["plugins", verb, target, "--json"]);
        assert_eq!(ran.status, 0, "{ran:?}");
        let expected = json!({ "plugin": "echo", "instance": instance, "done": done });
        assert_eq!(ran.json(), expected, "{verb}");
    }
    let ran = home.run(&["plugins", "upgrade", "echo/two", "--json"]);
    assert_eq!(ran.status, 0, "{ran:?}");
    let expected = json!({ "instance": "two", "from": "0.1.0", "to": "0.1.0", "how": "overlap" });
    assert_eq!(ran.json(), json!({ "instances": [expected] }));
}

/// Proves LN57: an instance is restarted, switched off and on over HTTP, and one that is not there is 404.
#[test]
fn an_instance_is_restarted_and_switched_over_http() {
    let home = Home::with_echo(&["one"]);
    let up = home.up();
    up.wait_for("echo/one   ready");
    let first = pid(&home);
    let act = |verb: &str| post(&home, &format!("/v1/instances/echo/one/{verb}"), "");
    assert_eq!(act("restart"), (200, json!({})));
    up.wait_for_again("echo/one   ready");
    let second = pid(&home);
    assert_ne!(second, first, "it has another process");
    assert_eq!(act("disable"), (200, json!({})));
    up.wait_for("echo/one   disabled");
    let (status, problem) = act("restart");
    let found = (status, problem["error"]["code"].as_str());
    assert_eq!(found, (400, Some("invalid_arguments")), "{problem}");
    assert_eq!(act("enable"), (200, json!({})));
    home.until(&["status", "--json"], |ran| {
        let one = ran.json()["instances"][0].clone();
        one["state"] == "ready" && one["pid"] != second
    });
    for verb in ["restart", "enable", "disable"] {
        let (status, problem) = post(&home, &format!("/v1/instances/echo/two/{verb}"), "");
        let found = (status, problem["error"]["code"].as_str());
        assert_eq!(found, (404, Some("not_found")), "{verb}: {problem}");
    }
}

/// Proves LN18: a tool that is called as soon as `plugins disable` has answered is not called in the plugin.
#[test]
fn after_a_disable_no_call_reaches_the_plugin() {
    let home = Home::new("[[plugins.till]]\n");
    let calls = "    elif method == 'tool.call':
        with open('calls', 'a') as file:
            file.write('x')
        send(id=frame['id'], result={'output': 7})
";
    let program = plugin("till", "", "            pass\n").replace(
        "    elif method in (",
        &format!("{calls}    elif method in ("),
    );
    home.plugin("till", &program);
    let manifest = "[plugin]\nid = \"till\"\nversion = \"0.1.0\"\ncommand = [\"python3\", \"main.py\"]\n\n\
                    [[tools]]\nname = \"count\"\n";
    home.write("plugins/till/plugin.toml", manifest);
    let counted = || std::fs::read_to_string(home.path().join("plugins/till/calls"));
    let call = || post(&home, "/v1/tools/till.count", "{\"arguments\": {}}");
    let up = home.up();
    up.wait_for("till/default   ready");
    let (status, answer) = call();
    assert_eq!(status, 200, "{answer}");
    assert_eq!(counted().unwrap(), "x");
    for _ in 0..3 {
        assert_eq!(home.run(&["plugins", "disable", "till"]).status, 0);
        let (status, problem) = call();
        let found = (status, problem["error"]["code"].as_str());
        assert_eq!(found, (503, Some("unavailable")), "{problem}");
        home.run(&["plugins", "enable", "till"]);
        home.until(&["status", "--json"], |ran| {
            ran.json()["instances"][0]["state"] == "ready"
        });
    }
    assert_eq!(
        counted().unwrap(),
        "x",
        "only what was called while it was on"
    );
}

/// Proves P8a: two instances of one plugin keep their files apart, in a running daemon.
#[test]
fn each_instance_has_a_state_directory_of_its_own() {
    let home = Home::with_echo(&["one", "two"]);
    let open = "    if method == 'initialize':\n";
    let mark = "        with open(os.path.join(params['state_dir'], 'mark'), 'a') as file:
            file.write(params['instance'])
";
    let program = plugin("echo", "", "").replace(open, &format!("{open}{mark}"));
    home.write("plugins/echo/main.py", &program);
    let up = home.up();
    for name in ["one", "two"] {
        up.wait_for(&format!("echo/{name}   ready"));
        let mark = home.path().join(".trunkline/state/echo").join(name);
        assert_eq!(std::fs::read_to_string(mark.join("mark")).unwrap(), name);
    }
}
