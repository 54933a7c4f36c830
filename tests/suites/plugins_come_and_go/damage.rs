//! Files that are damaged, and commands that are killed.

use std::fs::{OpenOptions, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::fs::{FileType, Mode, mknodat};
use serde_json::{Value, json};
use trunkline_tests::wire::Incoming;

use crate::rig::{PATIENCE, Rig, cli, command, text};

/// Proves T3: the list tells what the last check found and when, and hashes nothing itself; `plugins verify` looks now,
/// with and without a daemon, and its exit status says what it found.
#[test]
fn the_list_tells_of_the_last_check_and_verify_looks_now() {
    let mut rig = Rig::start();
    let source = rig.source("1.0.0", "good");
    rig.cli(&["plugins", "add", text(&source)]).ok();
    assert_eq!(rig.listed("guest")["package"]["state"], "unchecked");
    let said = rig.cli(&["plugins", "verify"]).ok();
    assert!(said.stdout.contains("intact"), "{}", said.stdout);
    let before = rig.listed("guest")["package"].clone();
    assert_eq!(before["state"], "intact", "{before}");
    assert!(before["checked_at"].is_string(), "{before}");

    rig.change_a_byte();
    assert_eq!(rig.listed("guest")["package"], before, "nobody looked");
    let said = rig.cli(&["plugins", "verify", "guest"]);
    assert_eq!(said.status, 1, "{}{}", said.stdout, said.stderr);
    assert!(said.stdout.contains("helper.py"), "{}", said.stdout);
    let after = rig.listed("guest")["package"].clone();
    assert_eq!(after["state"], "changed", "{after}");
    rig.cli(&["plugins", "verify", "other"])
        .refused("not_found", "no package of other");
    rig.check_neighbour();

    let Rig { home, daemon, .. } = rig;
    drop(daemon);
    let said = cli(home.path(), &["plugins", "verify", "--json"]);
    assert_eq!(said.status, 1, "{}{}", said.stdout, said.stderr);
    let found: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(found["plugins"][0]["package"]["state"], "changed");
    cli(home.path(), &["plugins", "add", text(&source)]).ok();
    cli(home.path(), &["plugins", "verify", "guest"]).ok();
}

/// Proves T3: a manifest that is edited or deleted in an installed package keeps neither the daemon from starting nor its
/// config from being read again: the instances of that package alone are refused, until it is added again.
#[test]
fn a_damaged_manifest_refuses_its_own_instances_alone() {
    let mut rig = Rig::start();
    let source = rig.source("1.0.0", "good");
    rig.cli(&["plugins", "add", text(&source)]).ok();
    rig.configure("[[plugins.guest]]\ninstance = \"a\"\n");
    rig.reload();
    assert_eq!(rig.ask("guest", "a"), "1.0.0");
    let tree = PathBuf::from(rig.listed("guest")["path"].as_str().unwrap());
    let manifest = tree.join("plugin.toml");
    for edit in [Some("[plugin]\nid = \"guest\" and so on"), None] {
        std::fs::set_permissions(&tree, Permissions::from_mode(0o755)).unwrap();
        std::fs::remove_file(&manifest).unwrap();
        if let Some(text) = edit {
            std::fs::write(&manifest, text).unwrap();
        }
        // What runs goes on, and the rest of the config can be changed.
        let more = "[[plugins.guest]]\ninstance = \"a\"\n[[plugins.neighbour]]\ninstance = \"b\"\n";
        rig.configure(more);
        rig.reload();
        assert_eq!(rig.ask("neighbour", "b"), "1.0.0");
        assert_eq!(rig.ask("guest", "a"), "1.0.0");
        rig.configure("[[plugins.guest]]\ninstance = \"a\"\n");
        rig.reload();

        rig.start_again();
        assert_eq!(rig.ask("neighbour", "a"), "1.0.0");
        let failed = rig.until("a", "failed");
        let reason = failed["reason"].as_str().unwrap();
        assert!(
            reason.starts_with("package_changed: plugin.toml"),
            "{failed}"
        );
        let number = rig.tell("guest", "a", json!({}));
        let mended = rig.cli(&["plugins", "add", text(&source)]).ok();
        assert!(mended.stderr.contains("put right"), "{}", mended.stderr);
        rig.cli(&["plugins", "restart", "guest/a"]).ok();
        assert_eq!(rig.hear(number), "1.0.0");
    }
}

/// Proves T3: an upgrade whose command is killed is finished by the daemon, and the next start of that removes the files
/// that nothing runs from any more.
#[test]
fn the_files_that_a_killed_command_leaves_go_with_the_next_start() {
    let mut rig = Rig::start();
    let source = rig.source("1.0.0", "good");
    rig.cli(&["plugins", "add", text(&source)]).ok();
    rig.configure("[[plugins.guest]]\ninstance = \"a\"\n");
    rig.reload();
    rig.ask("guest", "a");
    let path = rig.make_gate("a");
    let slow = rig.source("2.0.0", "gate:initialize");
    let args = ["plugins", "upgrade", "guest", "--from", text(&slow)];
    let mut upgrade = command(rig.home.path(), &args);
    let mut upgrade = upgrade.stderr(Stdio::null()).spawn().unwrap();
    let gate = OpenOptions::new().write(true).open(&path).unwrap();
    upgrade.kill().unwrap();
    upgrade.wait().unwrap();
    drop(gate);
    let began = Instant::now();
    while rig.locked()["guest"]["version"] != "2.0.0" {
        assert!(began.elapsed() < PATIENCE, "{}", rig.daemon.stderr());
        rig.instance("guest", "a");
    }
    assert_eq!(rig.directories().len(), 2, "{:?}", rig.directories());

    // From now on nobody waits there.
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "").unwrap();
    rig.start_again();
    let left = rig.directories();
    assert_eq!(left.len(), 1, "{left:?}");
    assert!(left[0].starts_with("2.0.0-"), "{left:?}");
    assert_eq!(rig.ask("guest", "a"), "2.0.0");
}

/// Proves T3: a reload that is asked for while the daemon starts, and tidies up, comes after its start and holds.
#[test]
fn what_is_reloaded_during_a_start_stays() {
    let mut rig = Rig::start();
    let source = rig.source("1.0.0", "good");
    rig.cli(&["plugins", "add", text(&source)]).ok();
    std::fs::create_dir(rig.path("data/packages/guest/0.0.0-dead")).unwrap();
    rig.configure("[[plugins.guest]]\ninstance = \"a\"\n");
    let file = rig.path("trunkline.toml");
    let with_guest = std::fs::read_to_string(&file).unwrap();
    rig.configure("");
    // Whoever tidies up takes this first, and waits for somebody who reads it.
    let busy = rig.path("data/packages/.busy/guest");
    std::fs::remove_file(&busy).unwrap();
    let mode = Mode::RUSR | Mode::WUSR;
    mknodat(rustix::fs::CWD, &busy, FileType::Fifo, mode, 0).unwrap();
    rig.start_again_while(|client| {
        std::fs::write(&file, with_guest).unwrap();
        let asked = client.request("admin.config.reload", &json!({}));
        asked.unwrap();
        // Time for a daemon that would do it before it is through.
        let early = client.next(Duration::from_secs(1)).unwrap();
        drop(std::fs::File::open(&busy).unwrap());
        if early.is_none() {
            let answer = client.next(PATIENCE).unwrap();
            assert!(matches!(
                answer,
                Some(Incoming::Reply { result: Ok(_), .. })
            ));
        }
    });
    assert_eq!(rig.directories().len(), 1, "{:?}", rig.directories());
    assert_eq!(rig.ask("guest", "a"), "1.0.0");
}
