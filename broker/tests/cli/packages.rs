//! Promise: what a plugin is can be seen before it is added, and what has to be built is built with one command.

use crate::operator::Home;

const MANIFEST: &str = r#"
[plugin]
id = "guest"
version = "1.2.0"
description = "Answers guests."
command = ["./bin/guest", "--quiet"]
isolation = "shared"

[[channels]]
kind = "guest"
[channels.features]
edits = "full"

[[tools]]
name = "add"
description = "Adds two numbers."
input_schema_file = "schemas/add.json"

[config.token]
type = "string"
required = true
secret = true

[config.greeting]
type = "string"
default = "hello"

[capabilities]
publish = ["room.*"]

[supervisor.limits]
memory_mb = 256
"#;

/// Leaves a mark if anything runs it.
const PROGRAM: &str = "#!/bin/sh\ntouch \"$(dirname \"$0\")/../ran\"\n";
/// Makes the program, and says so.
const MAKE: &str = "mkdir -p bin && cp program bin/guest && chmod +x bin/guest\n";

fn home() -> Home {
    let home = Home::new("[broker]\ndata_dir = \"data\"\n");
    home.write("guest/plugin.toml", MANIFEST);
    home.write("guest/schemas/add.json", "{\"type\": \"object\"}");
    home.write("guest/program", PROGRAM);
    home.write("guest/make", MAKE);
    home
}

/// Proves LN50: a directory, an archive and an installed plugin are told alike before anything of them runs: what they are,
/// serve, ask for and weigh, and in which files they differ from what is installed.
#[test]
fn inspect_tells_what_a_plugin_is_without_running_it() {
    let home = home();
    let inspect = |what: &str| home.run(&["plugins", "inspect", what, "--json"]);
    let ran = inspect("guest");
    assert_eq!(ran.status, 1, "it is not built: {ran:?}");
    assert!(ran.stderr.contains("./bin/guest"), "{ran:?}");
    assert!(!home.path().join("data").exists(), "nothing is made");
    let ran = home.run(&["plugins", "build", "guest", "--command", "sh make"]);
    assert_eq!(ran.status, 0, "{ran:?}");

    let ran = inspect("guest");
    assert_eq!(ran.status, 0, "{ran:?}");
    let seen = ran.json();
    let expected = serde_json::json!({
        "from": "directory", "id": "guest", "version": "1.2.0", "protocol": "1.0", "contract": "native",
        "command": ["./bin/guest", "--quiet"], "isolation": "shared", "transport": "fd",
        "capabilities": {"publish": ["room.*"], "subscribe": [], "send": [], "call": [], "http_server": false},
        "limits": {"memory_mb": 256, "open_files": null, "file_size_mb": null},
        "files": 5, "problem": null, "installed": null,
    });
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&seen[name], value, "{name}: {seen}");
    }
    assert_eq!(seen["channels"][0]["features"]["edits"], "full", "{seen}");
    assert_eq!(seen["tools"][0]["input_schema"]["type"], "object", "{seen}");
    let keys: Vec<(&str, bool, bool)> = seen["config"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| {
            let is = |name: &str| key[name].as_bool().unwrap();
            (key["key"].as_str().unwrap(), is("required"), is("secret"))
        })
        .collect();
    assert_eq!(keys, [("greeting", false, false), ("token", true, true)]);

    let ran = home.run(&["plugins", "pack", "guest"]);
    assert_eq!(ran.status, 0, "{ran:?}");
    assert!(!ran.stderr.contains("replaced"), "{ran:?}");
    let again = home.run(&["plugins", "pack", "guest"]);
    assert_eq!(again.stdout, ran.stdout);
    let said = "replaced the archive that was there: guest-1.2.0.trunkline.tgz";
    assert!(again.stderr.contains(said), "{again:?}");
    home.write("notes.txt", "mine");
    let ran = home.run(&["plugins", "pack", "guest", "--output", "notes.txt"]);
    assert_eq!(ran.status, 1, "{ran:?}");
    assert!(
        ran.stderr
            .contains("error: in_the_way: expected no file or an archive at notes.txt"),
        "{ran:?}"
    );
    let notes = std::fs::read_to_string(home.path().join("notes.txt")).unwrap();
    assert_eq!(notes, "mine");
    let packed = inspect("guest-1.2.0.trunkline.tgz").json();
    assert_eq!(packed["from"], "archive");
    assert_eq!(packed["sha256"], seen["sha256"]);
    assert_eq!(packed["bytes"], seen["bytes"]);
    let ran = home.run(&["plugins", "add", "guest-1.2.0.trunkline.tgz"]);
    assert_eq!(ran.status, 0, "{ran:?}");
    // The directory of this name comes first.
    std::fs::rename(home.path().join("guest"), home.path().join("source")).unwrap();
    let installed = inspect("guest").json();
    assert_eq!(installed["from"], "installed");
    assert_eq!(installed["sha256"], seen["sha256"]);
    assert_eq!(inspect("source").json()["installed"]["is_same"], true);

    home.write("source/program", "another");
    home.write("source/more", "x");
    std::fs::remove_file(home.path().join("source/make")).unwrap();
    let there = &inspect("source").json()["installed"];
    assert_eq!(there["is_same"], false, "{there}");
    let differs = serde_json::json!([["program"], ["more"], ["make"]]);
    let found = serde_json::json!([there["changed"], there["added"], there["removed"]]);
    assert_eq!(found, differs);
    let shown = home.run(&["plugins", "inspect", "source"]);
    for line in [
        "plugin     guest 1.2.0",
        "config     token  string, required, secret",
        "asks for   publish room.*",
        "installed  changed: program",
    ] {
        assert!(shown.stdout.contains(line), "{line}: {}", shown.stdout);
    }
    assert!(!home.path().join("source/ran").exists(), "nothing ran");
    assert_eq!(home.run(&["plugins", "inspect", "nobody"]).status, 1);
    assert_eq!(home.run(&["plugins", "inspect", "./nobody"]).status, 2);
    home.write("data/packages.lock", "{");
    let ran = inspect("source");
    assert_eq!(
        (ran.status, &ran.json()["installed"]),
        (0, &serde_json::Value::Null)
    );
    assert!(ran.stderr.contains("installed is not known"), "{ran:?}");
}

/// Proves LN50: building is a verb: the project's own build, alone or before packing; one that fails says why, and packs
/// nothing.
#[test]
fn a_plugin_is_built_alone_or_before_it_is_packed() {
    let home = home();
    let archive = home.path().join("guest-1.2.0.trunkline.tgz");
    let ran = home.run(&["plugins", "pack", "guest"]);
    assert!(ran.stderr.contains("./bin/guest"), "not built: {ran:?}");
    let ran = home.run(&["plugins", "pack", "--build=sh missing", "guest"]);
    assert_eq!(ran.status, 65, "{ran:?}");
    assert!(ran.stderr.contains("error: build_failed: "), "{ran:?}");
    assert!(!archive.exists());
    let ran = home.run(&["plugins", "pack", "--build=sh make", "guest"]);
    assert_eq!(ran.status, 0, "{ran:?}");
    assert!(archive.exists());
    assert!(!home.path().join("guest/ran").exists(), "nothing else ran");

    // What its files say, as `trunkline dev` has it: of these nothing is to be built.
    home.plugin("plain", "");
    let ran = home.run(&["plugins", "build", "plugins/plain"]);
    assert_eq!(ran.status, 0, "{ran:?}");
    assert!(ran.stderr.contains("nothing to build"), "{ran:?}");
    let ran = home.run(&["plugins", "build", "plugins"]);
    assert!(ran.stderr.contains("no plugin.toml"), "{ran:?}");
}

/// Proves T3: a lock that cannot be read is an error of the config, and says how to make a new one.
#[test]
fn an_unreadable_lock_says_what_to_do() {
    let home = home();
    home.write("data/packages.lock", "{ \"format\": 1");
    for (args, code) in [
        (["config", "check"], "unreadable"),
        (["plugins", "verify"], "lock_invalid"),
    ] {
        let ran = home.run(&args);
        let said = format!("{}{}", ran.stdout, ran.stderr);
        assert_ne!(ran.status, 0, "{said}");
        assert!(said.contains(code), "{said}");
        assert!(
            said.contains("data/packages.lock is not readable"),
            "{said}"
        );
        assert!(
            said.contains("put a copy of it back, or remove it"),
            "{said}"
        );
        let again = "data/packages/<plugin>/<version>-<hash>/tree";
        assert!(said.contains(again), "{said}");
    }
}
