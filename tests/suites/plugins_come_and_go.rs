//! Packages are added, upgraded, changed behind the daemon's back and removed, by the real command on a real daemon,
//! while another plugin serves.
//!
//! The plugin is a few lines of Python on the bare wire. It may stop at one request until the test lets it go on: it
//! opens a pipe in its state directory there, which the test opens from the other side.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::disallowed_methods, reason = "it runs the operator's commands")]

use std::fs::OpenOptions;
use std::path::PathBuf;
use std::process::Stdio;

use serde_json::{Value, json};
use trunkline_tests::daemon::Setup;
use trunkline_tests::wire::WireError;

#[path = "plugins_come_and_go/damage.rs"]
mod damage;
#[path = "plugins_come_and_go/rig.rs"]
mod rig;
#[path = "plugins_come_and_go/together.rs"]
mod together;

use rig::{PATIENCE, Rig, cli, command, text, write_plugin};

/// Proves L9: a plugin is installed, configured, upgraded, sent back to its old version when the new one is no good,
/// and removed while the daemon runs, and the other plugin keeps its process and loses nothing.
///
/// Proves LN46 (layout only): the package is one packed archive, made by `plugins pack`.
#[test]
fn a_package_is_added_upgraded_and_removed_while_another_plugin_serves() {
    let mut rig = Rig::start();
    let one = rig.source("1.0.0", "good");
    std::fs::create_dir(one.join("__pycache__")).unwrap();
    std::fs::write(one.join("__pycache__/main.pyc"), "old").unwrap();
    let packed = rig.cli(&["plugins", "pack", text(&one)]).ok();
    assert_eq!(packed.stdout.trim(), "guest-1.0.0.trunkline.tgz");
    assert!(
        packed.stderr.contains("left out: __pycache__/"),
        "{}",
        packed.stderr
    );
    let added = rig
        .cli(&["plugins", "add", "guest-1.0.0.trunkline.tgz"])
        .ok();
    assert!(
        added.stdout.contains("[[plugins.guest]]"),
        "{}",
        added.stdout
    );
    assert!(added.stderr.contains("unsigned"), "{}", added.stderr);
    let again = rig.cli(&["plugins", "add", text(&one)]).ok();
    assert!(again.stderr.contains("already"), "{}", again.stderr);
    let two = rig.source("2.0.0", "good");
    rig.cli(&["plugins", "add", text(&two)])
        .refused("package_exists", "upgrade guest --from");

    let instances = "[[plugins.guest]]\ninstance = \"a\"\n[[plugins.guest]]\ninstance = \"b\"\n";
    rig.configure(instances);
    rig.reload();
    assert_eq!(
        (rig.ask("guest", "a"), rig.ask("guest", "b")),
        ("1.0.0".into(), "1.0.0".into())
    );
    rig.check_neighbour();

    // Events go on while it is replaced.
    let sent: Vec<u64> = (0..10).map(|_| rig.tell("guest", "a", json!({}))).collect();
    let done = rig
        .cli(&["plugins", "upgrade", "guest", "--from", text(&two)])
        .ok();
    assert!(
        done.stdout.contains("guest/a  1.0.0 → 2.0.0  overlap"),
        "{}",
        done.stdout
    );
    for number in sent {
        rig.hear(number);
    }
    assert_eq!(
        (rig.ask("guest", "a"), rig.ask("guest", "b")),
        ("2.0.0".into(), "2.0.0".into())
    );
    assert_eq!(rig.locked()["guest"]["version"], "2.0.0");
    assert_eq!(rig.directories().len(), 1, "{:?}", rig.directories());
    rig.check_neighbour();

    // The first instance is replaced, the second is not: both go back.
    let before = (rig.locked(), rig.directories());
    for mode in ["crash:a", "crash:b"] {
        let bad = rig.source("3.0.0", mode);
        let said = rig.cli(&["plugins", "upgrade", "guest", "--from", text(&bad)]);
        let said = said.refused("unavailable", "Rply");
        assert!(
            said.stderr.contains("guest stays at 2.0.0"),
            "{}",
            said.stderr
        );
        assert_eq!(
            (rig.ask("guest", "a"), rig.ask("guest", "b")),
            ("2.0.0".into(), "2.0.0".into())
        );
        assert_eq!((rig.locked(), rig.directories()), before, "{mode}");
        let listed = rig.listed("guest");
        assert_eq!(listed["version"], "2.0.0", "{listed}");
    }
    rig.check_neighbour();

    rig.cli(&["plugins", "remove", "guest"])
        .refused("package_in_use", "guest/a, guest/b");
    rig.configure("");
    rig.cli(&["plugins", "remove", "guest"])
        .refused("package_in_use", "config reload");
    assert_eq!(rig.ask("guest", "a"), "2.0.0");
    rig.reload();
    let gone = rig.cli(&["plugins", "remove", "guest"]).ok();
    assert!(
        gone.stderr.contains("kept: what its instances saved"),
        "{}",
        gone.stderr
    );
    assert!(rig.path("data/state/guest/a").is_dir());
    assert!(!rig.path("data/packages/guest").exists());
    assert_eq!(
        (rig.locked(), rig.listed("guest")),
        (json!({}), Value::Null)
    );
    rig.cli(&["plugins", "remove", "guest"])
        .refused("not_found", "no package of guest");
    rig.check_neighbour();

    // The config names it first: then adding it starts it.
    rig.configure(instances);
    let added = rig.cli(&["plugins", "add", text(&two)]).ok();
    assert!(added.stdout.contains("guest/a added"), "{}", added.stdout);
    assert_eq!(rig.ask("guest", "b"), "2.0.0");
    rig.check_neighbour();
}

/// Proves T3 (checked at start): a byte that changed in an installed package is found at the next start, which is
/// refused with the file's name; other plugins go on, and adding the package again puts it right.
///
/// Proves LN57: one call lists what is installed and what is not configured, with source, version, hash, what is wanted and
/// what is, and the last error; while one change runs, another is refused with `instance_busy`, which is 409.
#[test]
fn a_changed_package_is_not_started_and_one_call_tells_everything() {
    let mut rig = Rig::start();
    let source = rig.source("1.0.0", "good");
    rig.cli(&["plugins", "add", text(&source)]).ok();
    let candidate = rig.listed("guest");
    assert_eq!(candidate["instances"], json!([]), "{candidate}");
    write_plugin(&rig.path("plugins/other"), "other", "0.1.0", "good");
    assert_eq!(rig.listed("other")["version"], "0.1.0");

    rig.configure("[[plugins.guest]]\ninstance = \"a\"\n[[plugins.guest]]\ninstance = \"off\"\nenabled = false\n");
    rig.reload();
    rig.ask("guest", "a");
    let listed = rig.listed("guest");
    let package = &listed["package"];
    assert_eq!(package["source"], text(&source), "{listed}");
    assert_eq!(package["sha256"], rig.locked()["guest"]["sha256"]);
    assert_eq!(
        (&package["state"], &package["signed"]),
        (&json!("intact"), &json!(false))
    );
    let [on, off] = &listed["instances"].as_array().unwrap()[..] else {
        panic!("{listed}");
    };
    assert_eq!(
        (&on["desired"], &on["state"]),
        (&json!("running"), &json!("ready"))
    );
    assert_eq!(
        (&off["desired"], &off["state"]),
        (&json!("disabled"), &json!("disabled"))
    );
    // Python left no byte code there, which would be a change.
    let tree = PathBuf::from(listed["path"].as_str().unwrap());
    assert!(!tree.join("__pycache__").exists());

    rig.tamper();
    let failed = rig.until("a", "failed");
    let reason = failed["reason"].as_str().unwrap();
    assert!(reason.starts_with("package_changed: helper.py"), "{failed}");
    assert!(reason.contains("plugins add"), "{failed}");
    let listed = rig.listed("guest");
    assert_eq!(listed["package"]["state"], "changed", "{listed}");
    let problem = listed["package"]["problem"].as_str().unwrap();
    assert!(problem.contains("helper.py"), "{listed}");
    assert!(listed["package"]["checked_at"].is_string(), "{listed}");
    let last = listed["instances"][0]["last_error"].as_str();
    assert!(
        last.is_some_and(|text| text.contains("helper.py")),
        "{listed}"
    );
    rig.check_neighbour();

    let mended = rig.cli(&["plugins", "add", text(&source)]).ok();
    assert!(mended.stderr.contains("put right"), "{}", mended.stderr);
    rig.cli(&["plugins", "restart", "guest/a"]).ok();
    assert_eq!(rig.ask("guest", "a"), "1.0.0");

    // One change at a time.
    let gate = rig.make_gate("a");
    let slow = rig.source("2.0.0", "gate:initialize");
    let mut upgrade = command(
        rig.home.path(),
        &["plugins", "upgrade", "guest", "--from", text(&slow)],
    )
    .stdout(Stdio::null())
    .stderr(Stdio::null())
    .spawn()
    .unwrap();
    let gate = OpenOptions::new().write(true).open(gate).unwrap();
    rig.cli(&["plugins", "remove", "guest"])
        .refused("instance_busy", "another command");
    let third = rig.source("3.0.0", "good");
    rig.cli(&["plugins", "upgrade", "guest", "--from", text(&third)])
        .refused("instance_busy", "guest");
    let which = json!({ "plugin": "neighbour" });
    let refused = rig
        .client
        .call("admin.plugins.upgrade", &which, PATIENCE)
        .unwrap_err();
    let WireError::Refused { code, .. } = &refused else {
        panic!("{refused}");
    };
    assert_eq!(code, "instance_busy");
    drop(gate);
    assert!(upgrade.wait().unwrap().success());
    assert_eq!(rig.ask("guest", "a"), "2.0.0");

    // Another package is the other way out.
    rig.tamper();
    rig.until("a", "failed");
    let number = rig.tell("guest", "a", json!({}));
    rig.cli(&["plugins", "upgrade", "guest", "--from", text(&third)])
        .ok();
    assert_eq!(rig.hear(number), "3.0.0", "what came meanwhile is not lost");
    assert_eq!(rig.listed("guest")["package"]["state"], "intact");
    rig.check_neighbour();
}

/// Proves T3: commands that run at once lose no entry of the lock; without a daemon, an upgrade is taken by its next
/// start, and refused if the config has errors with it.
#[test]
fn packages_that_are_added_at_once_are_all_there() {
    let home = tempfile::tempdir().unwrap();
    let setup = Setup::new(home.path(), &home.path().join("data"), "");
    let names: Vec<String> = (0..6).map(|number| format!("guest{number}")).collect();
    let mut adding = Vec::new();
    for name in &names {
        let dir = home.path().join(name);
        write_plugin(&dir, name, "1.0.0", "good");
        let mut command = command(home.path(), &["plugins", "add", text(&dir)]);
        adding.push(
            command
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap(),
        );
    }
    for one in adding {
        let output = one.wait_with_output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let lock = std::fs::read_to_string(home.path().join("data/packages.lock")).unwrap();
    let lock: Value = serde_json::from_str(&lock).unwrap();
    let found: Vec<&String> = lock["packages"].as_object().unwrap().keys().collect();
    assert_eq!(found, names.iter().collect::<Vec<_>>());

    let two = home.path().join("two");
    write_plugin(&two, "guest0", "2.0.0", "good");
    cli(
        home.path(),
        &["plugins", "upgrade", "guest0", "--from", text(&two)],
    )
    .ok();

    // One that the config does not fit would keep the next start from everybody.
    let file = home.path().join("trunkline.toml");
    let config = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{config}\n[[plugins.guest0]]\n")).unwrap();
    let three = home.path().join("three");
    write_plugin(&three, "guest0", "3.0.0", "good");
    let manifest = std::fs::read_to_string(three.join("plugin.toml")).unwrap();
    let key = "[config.token]\ntype = \"string\"\nrequired = true\n";
    std::fs::write(three.join("plugin.toml"), format!("{manifest}{key}")).unwrap();
    let said = cli(
        home.path(),
        &["plugins", "upgrade", "guest0", "--from", text(&three)],
    )
    .refused("config_invalid", "token");
    assert_eq!(said.status, 78, "{}", said.stderr);
    assert!(said.stderr.contains("stays at 2.0.0"), "{}", said.stderr);
    let placed = std::fs::read_dir(home.path().join("data/packages/guest0")).unwrap();
    assert_eq!(placed.count(), 1, "the files of the refused one are gone");

    let daemon = setup.start().unwrap_or_else(|error| panic!("{error}"));
    let mut client = setup.connect("client").unwrap();
    let listed = client
        .call("admin.plugins.list", &json!({}), PATIENCE)
        .unwrap();
    assert_eq!(listed["plugins"][0]["version"], "2.0.0", "{listed}");
    drop(daemon);
}

/// Proves L9: whether a package is in use is judged by each instance: the first may have a directory of its own, and the
/// next the package.
#[test]
fn a_package_is_in_use_whichever_instance_runs_from_it() {
    let mut rig = Rig::start();
    let source = rig.source("1.0.0", "good");
    rig.cli(&["plugins", "add", text(&source)]).ok();
    let own = format!("[[plugins.guest]]\ninstance = \"a\"\npath = {source:?}\n");
    rig.configure(&format!("{own}[[plugins.guest]]\ninstance = \"b\"\n"));
    rig.reload();
    assert_eq!(rig.ask("guest", "b"), "1.0.0");
    let listed = rig.listed("guest");
    assert_eq!(listed["instances"][0]["path"], text(&source), "{listed}");
    // The config names it no longer, and what runs does.
    rig.configure(&own);
    rig.cli(&["plugins", "remove", "guest"])
        .refused("package_in_use", "guest/b");
    rig.reload();
    rig.cli(&["plugins", "remove", "guest"]).ok();
    assert_eq!(rig.ask("guest", "a"), "1.0.0");
}

/// Proves L9: an account that needs a login keeps the others from no upgrade, and takes it as well; nor does it keep them
/// from going back.
#[test]
fn one_that_did_not_serve_before_does_not_have_to_after() {
    let mut rig = Rig::start();
    let one = rig.source("1.0.0", "login:b");
    rig.cli(&["plugins", "add", text(&one)]).ok();
    rig.configure("[[plugins.guest]]\ninstance = \"b\"\n[[plugins.guest]]\ninstance = \"a\"\n");
    rig.reload();
    assert_eq!(rig.ask("guest", "a"), "1.0.0");
    rig.until("b", "needs_auth");
    let two = rig.source("2.0.0", "login:b");
    let done = rig
        .cli(&["plugins", "upgrade", "guest", "--from", text(&two)])
        .ok();
    assert!(
        done.stdout.contains("guest/b  1.0.0 → 2.0.0"),
        "{}",
        done.stdout
    );
    assert_eq!(rig.ask("guest", "a"), "2.0.0");
    rig.until("b", "needs_auth");
    assert_eq!(rig.directories().len(), 1, "{:?}", rig.directories());

    // In this one the account serves, and its neighbour does not.
    let bad = rig.source("3.0.0", "crash:a");
    let said = rig.cli(&["plugins", "upgrade", "guest", "--from", text(&bad)]);
    let said = said.refused("unavailable", "guest/b is back at 2.0.0");
    assert!(
        said.stderr.contains("guest stays at 2.0.0"),
        "{}",
        said.stderr
    );
    assert_eq!(rig.ask("guest", "a"), "2.0.0");
    rig.until("b", "needs_auth");
    assert_eq!(rig.locked()["guest"]["version"], "2.0.0");
    rig.check_neighbour();
}

/// Proves LN12: installed, starting, ready, degraded, crashed (`backing_off`), draining, stopped (`disabled`) and
/// quarantined (`failed`) are shown as they are entered, each with its reason and since when; `frozen` is reserved.
#[test]
fn every_state_is_shown_with_its_reason_and_since_when() {
    let mut rig = Rig::start();
    let gate = rig.make_gate("a");
    let source = rig.source("1.0.0", "gate:initialize:shutdown");
    rig.cli(&["plugins", "add", text(&source)]).ok();
    let installed = rig.listed("guest");
    assert_eq!(installed["instances"], json!([]), "{installed}");
    assert!(installed["package"]["added_at"].is_string(), "{installed}");
    rig.configure("[[plugins.guest]]\ninstance = \"a\"\n");
    rig.reload();

    let mut seen: Vec<(String, String, String)> = Vec::new();
    let mut note = |one: &Value| {
        let word = |name: &str| one[name].as_str().unwrap_or_default().to_owned();
        seen.push((word("state"), word("reason"), word("since")));
    };
    let at_gate = OpenOptions::new().write(true).open(&gate).unwrap();
    note(&rig.until("a", "starting"));
    drop(at_gate);
    note(&rig.until("a", "ready"));
    let slow = json!({ "state": { "state": "degraded", "reason": "the upstream is slow" } });
    rig.tell("guest", "a", slow);
    note(&rig.until("a", "degraded"));
    rig.tell("guest", "a", json!({ "state": { "state": "ready" } }));
    rig.until("a", "ready");
    rig.tell("guest", "a", json!({ "exit": 7 }));
    note(&rig.until("a", "backing_off"));
    let at_gate = OpenOptions::new().write(true).open(&gate).unwrap();
    drop(at_gate);
    rig.until("a", "ready");
    let fatal = json!({ "state": { "state": "fatal", "reason": "the token was revoked" } });
    rig.tell("guest", "a", fatal);
    let at_gate = OpenOptions::new().write(true).open(&gate).unwrap();
    note(&rig.until("a", "draining"));
    drop(at_gate);
    note(&rig.until("a", "failed"));
    let which = json!({ "plugin": "guest" });
    rig.client
        .call("admin.plugins.disable", &which, PATIENCE)
        .unwrap();
    note(&rig.until("a", "disabled"));

    let states: Vec<&str> = seen.iter().map(|one| one.0.as_str()).collect();
    let all = [
        "starting",
        "ready",
        "degraded",
        "backing_off",
        "draining",
        "failed",
        "disabled",
    ];
    assert_eq!(states, all);
    let reason = |state: &str| &seen.iter().find(|one| one.0 == state).unwrap().1;
    assert_eq!(reason("degraded"), "the upstream is slow");
    assert!(reason("backing_off").contains('7'), "{seen:?}");
    assert_eq!(reason("failed"), "the token was revoked");
    let mut since: Vec<&str> = seen.iter().map(|one| one.2.as_str()).collect();
    assert!(since.iter().all(|at| at.ends_with('Z')), "{seen:?}");
    let told = since.clone();
    since.sort_unstable();
    assert_eq!(since, told, "each later than the one before");
    let said = rig.cli(&["plugins", "list"]).ok();
    assert!(said.stdout.contains("disabled"), "{}", said.stdout);
    rig.check_neighbour();
}
