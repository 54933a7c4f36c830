//! Promise: an operator does everything with one program, whose words and exit statuses are stable.
//!
//! Each test starts a real `trunkline up` in a directory of its own, with small plugins that speak the bare
//! wire. It waits for lines and answers; nothing sleeps.

#[path = "cli/acts.rs"]
mod acts;
#[path = "cli/config.rs"]
mod config;
#[path = "cli/http.rs"]
mod http;
#[path = "cli/new.rs"]
mod new;
mod operator;
#[path = "cli/packages.rs"]
mod packages;
#[path = "cli/publish.rs"]
mod publish;
#[path = "cli/reload.rs"]
mod reload;
#[path = "cli/starts.rs"]
mod starts;
#[path = "cli/tools.rs"]
mod tools;
#[path = "cli/withdrawn.rs"]
mod withdrawn;

use expect_test::expect;
use operator::{Home, signal};

#[test]
fn without_a_daemon_a_command_says_so_and_what_to_do() {
    let home = Home::new("");
    let ran = home.run(&["status"]);
    assert_eq!(ran.status, 3);
    assert_eq!(ran.stdout, "");
    expect![[r"
        error: no_daemon: no daemon runs: there is no <home>/.trunkline/trunkline.sock

        hint: trunkline up
    "]]
    .assert_eq(&ran.stderr);
    // However full the disk is that the test runs on.
    let home = Home::new("[store]\ndisk_warn_percent = 100\ndisk_full_percent = 100\n");
    let ran = home.run(&["doctor"]);
    assert_eq!(ran.status, 0, "{ran:?}");
    expect![[r"
        info: no_daemon: no daemon runs: there is no <home>/.trunkline/trunkline.sock
          hint: trunkline up
    "]]
    .assert_eq(&ran.stdout);
    let ran = home.run(&["status", "--no-such-flag"]);
    assert_eq!(ran.status, 2);
}

/// Proves X6: the doctor finds what is wrong without a daemon, with codes and remedies.
#[test]
fn the_doctor_finds_a_bad_config_and_a_readable_token_without_a_daemon() {
    use std::os::unix::fs::PermissionsExt;
    let home = Home::new("[[plugins.echo]]\n");
    let data = home.path().join(".trunkline");
    std::fs::create_dir_all(&data).unwrap();
    let token = data.join("token");
    std::fs::write(&token, "x".repeat(64)).unwrap();
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o644)).unwrap();
    let ran = home.run(&["doctor", "--json"]);
    assert_eq!(ran.status, 1, "{ran:?}");
    let findings = ran.json()["findings"].clone();
    let codes: Vec<&str> = findings
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| finding["code"].as_str().unwrap())
        .collect();
    assert!(codes.contains(&"token_readable"), "{codes:?}");
    let errors = findings.as_array().unwrap().iter();
    let errors: Vec<_> = errors.filter(|f| f["severity"] == "error").collect();
    assert!(errors.len() >= 2, "{errors:?}");
    assert!(
        errors
            .iter()
            .all(|f| !f["hint"].as_str().unwrap().is_empty())
    );
}

#[test]
fn status_publish_and_tail_tell_of_one_conversation() {
    let home = Home::with_echo(&["default"]);
    let up = home.up();
    up.wait_for("echo/default   ready");
    let ran = home.run(&["status", "--json"]);
    assert_eq!(ran.json()["instances"][0]["state"], "ready", "{ran:?}");
    assert!(home.run(&["status"]).stdout.contains("echo/default"));

    let ran = home.run(&["publish", "plugin.outbound.echo", "hello"]);
    assert_eq!(ran.status, 2);
    assert!(ran.stderr.contains("hint: for a text write"), "{ran:?}");
    let mut tail = home.spawn(&[
        "tail",
        "plugin.inbound.>",
        "--start",
        "earliest",
        "--limit",
        "2",
    ]);
    for payload in ["{\"text\":\"one\"}", "{\"text\":\"two\"}"] {
        let ran = home.run(&["publish", "plugin.outbound.echo", payload, "--session", "s"]);
        assert_eq!(ran.status, 0, "{ran:?}");
        assert!(ran.stdout.contains("1 subscription"), "{ran:?}");
    }
    let tailed = tail.finish();
    assert_eq!(tailed.status, 0, "{tailed:?}");
    let ends: Vec<&str> = tailed
        .stdout
        .lines()
        .map(|line| {
            line.split("  ").skip(2).collect::<Vec<_>>()[..3]
                .join("  ")
                .leak() as &str
        })
        .collect();
    assert_eq!(
        ends,
        [
            "plugin.inbound.echo.default  echo/default  one",
            "plugin.inbound.echo.default  echo/default  two"
        ]
    );
    let ran = home.run(&[
        "tail",
        "plugin.outbound.>",
        "--start",
        "earliest",
        "--no-follow",
        "--json",
    ]);
    assert_eq!(ran.stdout.lines().count(), 2, "{ran:?}");

    let ran = home.run(&["publish", "a.b", "1", "--id", "x", "--correlation-id", "y"]);
    assert_eq!(ran.status, 0, "{ran:?}");
    let ran = home.run(&["publish", "a.b", "1", "--id", "x"]);
    assert!(ran.stdout.contains("stored before"), "{ran:?}");
    let ran = home.run(&["publish", "a.b", "2", "--id", "x"]);
    assert_eq!(ran.status, 65, "{ran:?}");
    assert!(ran.stderr.starts_with("error: id_conflict: "), "{ran:?}");
    let ran = home.run(&["publish", "a.b", "3", "--ephemeral"]);
    assert!(ran.stdout.starts_with("ephemeral"), "{ran:?}");
}

/// Proves L13: states with their reasons are visible in the command line and on the lifecycle topic.
#[test]
fn a_failed_start_is_seen_with_its_reason() {
    let home = Home::new("[[plugins.broken]]\n");
    home.plugin(
        "broken",
        "import sys\nprint('no token', file=sys.stderr)\nsys.exit(3)\n",
    );
    let up = home.up();
    up.wait_for("broken/default   backing_off   exited with code 3");
    let ran = home.run(&["status", "--json"]);
    let instance = ran.json()["instances"][0].clone();
    assert!(
        ["backing_off", "starting", "failed"].contains(&instance["state"].as_str().unwrap()),
        "{instance}"
    );
    // The line on stderr may be ahead of the disk.
    let lifecycle = [
        "tail",
        "plugin.lifecycle.broken.default",
        "--start",
        "earliest",
        "--no-follow",
        "--json",
    ];
    let ran = home.until(&lifecycle, |ran| ran.stdout.contains("\"exit\":"));
    let told: Vec<serde_json::Value> = ran
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let crash = told
        .iter()
        .map(|event| &event["event"]["payload"])
        .find(|payload| payload["exit"]["code"] == 3)
        .expect("the exit is told");
    assert_eq!(crash["exit"]["stderr_tail"], "no token");
}

/// Proves L3: a plugin starts in its own directory, so a relative program works from any directory of the
/// daemon.
#[test]
fn a_relative_program_is_found_from_any_directory_of_the_daemon() {
    use std::os::unix::fs::PermissionsExt;
    let home = Home::new("[[plugins.echo]]\n");
    home.echo();
    let program = format!(
        "#!/usr/bin/env python3\n{}",
        operator::plugin("echo", "", "")
    );
    home.write("plugins/echo/bin/x", &program);
    let path = home.path().join("plugins/echo/bin/x");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    home.write(
        "plugins/echo/plugin.toml",
        "[plugin]\nid = \"echo\"\nversion = \"0.1.0\"\ncommand = [\"./bin/x\"]\n",
    );
    let up = home.up_from(std::path::Path::new("/"));
    up.wait_for("echo/default   ready");
    let ran = home.run(&["check", "plugins/echo"]);
    assert_eq!(ran.status, 0, "{}", ran.stdout);
}

/// Proves LN18: disable takes effect at once: after the ack no event reaches the plugin, and what was
/// published meanwhile waits for it.
#[test]
fn after_a_disable_nothing_reaches_the_plugin_until_it_is_enabled() {
    let home = Home::with_echo(&["default"]);
    let up = home.up();
    up.wait_for("echo/default   ready");
    let ran = home.run(&["plugins", "disable", "echo"]);
    assert_eq!(ran.status, 0, "{ran:?}");
    let ran = home.run(&[
        "publish",
        "plugin.outbound.echo.default",
        "{\"text\":\"late\"}",
    ]);
    assert_eq!(ran.status, 0, "{ran:?}");
    up.wait_for("echo/default   disabled");
    let ran = home.run(&["status", "--json"]);
    let instance = ran.json()["instances"][0].clone();
    assert_eq!(instance["state"], "disabled");
    assert_eq!(instance["reason"], "by operator");
    assert_eq!(instance["pending"], 1);
    let inbound = [
        "tail",
        "plugin.inbound.>",
        "--start",
        "earliest",
        "--no-follow",
    ];
    assert_eq!(home.run(&inbound).stdout, "");
    let ran = home.run(&["plugins", "restart", "echo"]);
    assert_eq!(ran.status, 64, "{ran:?}");

    let mut tail = home.spawn(&["tail", "plugin.inbound.>", "--start", "earliest", "-n", "1"]);
    assert_eq!(home.run(&["plugins", "enable", "echo"]).status, 0);
    assert!(tail.finish().stdout.contains("late"));
}

/// Proves LN20: a restart of the daemon brings plugins and subscriptions back, leaves no orphans, and an
/// operator's disable outlives it.
#[test]
fn a_restarted_daemon_has_its_plugins_again_and_leaves_no_orphans() {
    let home = Home::with_echo(&["default", "off"]);
    let up = home.up();
    up.wait_for("echo/default   ready");
    up.wait_for("echo/off   ready");
    let before = home.run(&["status", "--json"]).json();
    let pid = before["instances"][0]["pid"].as_i64().unwrap();
    let generation = before["instances"][0]["generation"].as_u64().unwrap();
    assert_eq!(home.run(&["plugins", "disable", "echo/off"]).status, 0);
    let published = ["publish", "plugin.outbound.echo.off", "{\"text\":\"kept\"}"];
    assert_eq!(home.run(&published).status, 0);
    up.kill();
    operator::wait_until_gone(pid);

    let up = home.up();
    up.wait_for("echo/default   ready");
    up.wait_for("echo/off   disabled");
    let after = home.run(&["status", "--json"]).json();
    assert_ne!(after["instances"][0]["pid"], before["instances"][0]["pid"]);
    assert!(after["instances"][0]["generation"].as_u64().unwrap() > generation);
    assert_eq!(after["instances"][1]["state"], "disabled");
    assert_eq!(after["instances"][1]["reason"], "by operator");
    assert_eq!(after["instances"][1]["pending"], 1);
    let names = |status: &serde_json::Value| -> Vec<String> {
        let all = status["subscriptions"].as_array().unwrap();
        all.iter().map(|sub| sub["name"].to_string()).collect()
    };
    assert_eq!(names(&after), names(&before));
    let pid = after["instances"][0]["pid"].as_i64().unwrap();
    assert_eq!(up.stop(), 0);
    operator::wait_until_gone(pid);
}

/// Proves L9: editing one instance's config leaves the processes of all others alone; instances come and go
/// without a restart of the daemon.
#[test]
fn a_reload_touches_only_what_changed() {
    let config = |greeting: &str, more: &str| {
        format!(
            "[[plugins.echo]]\ninstance = \"a\"\n\n[[plugins.echo]]\ninstance = \"b\"\n\
             greeting = \"{greeting}\"\n\n{more}"
        )
    };
    let home = Home::new(&config("hello", ""));
    home.echo();
    let up = home.up();
    up.wait_for("echo/a   ready");
    up.wait_for("echo/b   ready");
    let before = home.run(&["status", "--json"]).json();

    home.write(
        "trunkline.toml",
        &config("hi", "[[plugins.echo]]\ninstance = \"c\"\n"),
    );
    let ran = home.run(&["config", "reload"]);
    assert_eq!(ran.status, 0, "{ran:?}");
    expect![[r"
        echo/c added
        echo/b changed: config
    "]]
    .assert_eq(&ran.stdout);
    up.wait_for("echo/c   ready");
    up.wait_for_again("echo/b   ready");
    let after = home.run(&["status", "--json"]).json();
    let pid = |status: &serde_json::Value, n: usize| status["instances"][n]["pid"].as_u64();
    assert_eq!(pid(&before, 0), pid(&after, 0), "a was not touched");
    assert_ne!(pid(&before, 1), pid(&after, 1), "b has a new process");

    home.write("trunkline.toml", &config("hi", ""));
    up.signal(signal::HUP);
    up.wait_for("config   echo/c removed");
    let last = home.run(&["plugins", "list", "--json"]).json();
    assert_eq!(last["plugins"][0]["instances"].as_array().unwrap().len(), 2);
    assert_eq!(home.run(&["config", "reload"]).stderr, "nothing changed\n");
}

/// Proves L9: a bad file leaves the old config in force.
/// Proves O5: a reload validates first; a bad file changes nothing and its errors are shown.
#[test]
fn a_bad_file_changes_nothing() {
    let home = Home::with_echo(&["default"]);
    let up = home.up();
    up.wait_for("echo/default   ready");
    let before = home.run(&["status", "--json"]).json()["instances"][0]["pid"].clone();
    home.write(
        "trunkline.toml",
        "[[plugins.echo]]\ninstance = \"default\"\nenabeld = true\n",
    );
    let ran = home.run(&["config", "reload"]);
    assert_eq!(ran.status, 78, "{ran:?}");
    assert!(
        ran.stderr
            .starts_with("error: config_invalid: the old config stays in force:")
    );
    assert!(ran.stderr.contains("trunkline.toml:3:1"), "{ran:?}");
    up.signal(signal::HUP);
    up.wait_for("error: config_invalid: ");
    let status = home.run(&["status", "--json"]).json();
    assert_eq!(status["instances"][0]["pid"], before);
    assert_eq!(status["instances"][0]["state"], "ready");
}

/// Proves LN55: one log per plugin with stdout, stderr and records, a filter by level, a live tail, and
/// files that rotate.
#[test]
fn logs_hold_stdout_stderr_and_records_and_can_be_followed() {
    let home = Home::new("[[plugins.chatty]]\n[limits.logs]\nbytes = 65536\nfiles = 2\n");
    home.plugin(
        "chatty",
        &operator::plugin(
            "chatty",
            "        print('to stdout', flush=True)\n        print('to stderr', file=sys.stderr, flush=True)\n        \
             send(method='log', params={'level': 'warn', 'message': 'a record'})\n",
            "            for n in range(2000): print('x' * 100, flush=True)\n            \
             print('the last', flush=True)\n",
        ),
    );
    let up = home.up();
    up.wait_for("chatty/default   ready");
    let mut tail = home.spawn(&["logs", "chatty", "-f", "--level", "warn"]);
    tail.wait_for("a record");
    let all = home.follow_until(
        &["logs", "chatty/default", "-f"],
        &["to stdout", "to stderr", "a record"],
    );
    assert!(
        all.iter()
            .any(|line| line.contains("stdout  info   to stdout")),
        "{all:?}"
    );
    assert!(
        all.iter()
            .any(|line| line.contains("stderr  info   to stderr")),
        "{all:?}"
    );
    assert!(
        all.iter()
            .any(|line| line.contains("log     warn   a record")),
        "{all:?}"
    );
    let severe = home.run(&["logs", "chatty", "--level", "warn"]);
    assert!(!severe.stdout.contains("to stdout"), "{severe:?}");
    let ran = home.run(&["logs", "chatty", "-n", "1", "--json"]);
    assert_eq!(ran.stdout.lines().count(), 1, "{ran:?}");
    assert_eq!(home.run(&["logs", "nobody"]).status, 1);
    let records = home.follow_until(&["logs", "chatty", "-f", "--json"], &["a record"]);
    let records = records.iter().map(|line| serde_json::from_str(line));
    let records: Vec<serde_json::Value> = records.map(Result::unwrap).collect();
    assert!(records.iter().any(|record| record["stream"] == "log"));

    let mut live = home.spawn(&["logs", "chatty", "-f"]);
    // From here on it follows.
    live.wait_for("a record");
    let published = ["publish", "plugin.outbound.chatty.default", "{}"];
    assert_eq!(home.run(&published).status, 0);
    live.wait_for("the last");
    // Answered after everything before it is written and rotated.
    assert_eq!(home.run(&["logs", "chatty", "-n", "1"]).status, 0);
    let logs = home.path().join(".trunkline/logs/chatty");
    let files: Vec<_> = std::fs::read_dir(&logs)
        .unwrap()
        .map(|f| f.unwrap())
        .collect();
    assert_eq!(files.len(), 2, "{files:?}");
    assert!(
        files
            .iter()
            .all(|file| file.metadata().unwrap().len() <= 65_536)
    );
}

/// Proves P7d: dead letters are listed, shown, put back and deleted by item, plugin and target from the command line.
#[test]
fn dead_letters_are_listed_shown_put_back_and_discarded() {
    let home = Home::new("[[plugins.picky]]\n");
    let reject = "            send(method='broker.reject', params={'deliveries': \
                  [params['delivery']['id']], 'code': 'bad', 'reason': 'never'})\n";
    home.plugin("picky", &operator::plugin("picky", "", reject));
    let up = home.up();
    up.wait_for("picky/default   ready");
    let mut dead = home.spawn(&["tail", "plugin.inbound.>"]);
    let published = [
        "publish",
        "plugin.outbound.picky.default",
        "{\"text\":\"x\"}",
        "--session",
        "ann",
    ];
    assert_eq!(home.run(&published).status, 0);
    let listed = home.until(&["dlq", "list", "--json"], |ran| ran.json()["total"] == 1);
    let id = listed.json()["letters"][0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(home.run(&["dlq", "list"]).stdout.contains("rejected"));
    let said = "picky/default  broker  error  event ";
    let logs = home.until(&["logs", "picky"], |ran| ran.stdout.contains(said));
    let end =
        "on plugin.outbound.picky.default was rejected at attempt 1 and is a dead letter: never";
    assert!(logs.stdout.contains(end), "{logs:?}");
    let doctor = home.run(&["doctor"]).stdout;
    assert!(
        doctor.contains("warning: events_failing: picky/default failed") && doctor.contains(end)
    );
    let shown = home.run(&["dlq", "show", &id, "--json"]).json();
    assert_eq!(shown["event"]["payload"]["text"], "x");
    assert_eq!(home.run(&["dlq", "discard"]).status, 2);
    let ran = home.run(&["dlq", "replay", &id]);
    assert_eq!(ran.stdout, "1 put back\n", "{ran:?}");
    // It is rejected again: a record of its repeat.
    home.until(&["dlq", "list", "--json"], |ran| {
        let letter = ran.json()["letters"][0].clone();
        letter["event"]["metadata"]["replay_of"] == id.as_str()
    });
    let to_ann = ["--plugin", "picky", "--session", "ann"];
    let to_bob = ["--plugin", "picky", "--session", "bob"];
    let nobodys = ["--plugin", "pick"];
    let listed = |which: &[&str]| {
        home.run(&[&["dlq", "list", "--json"], which].concat())
            .json()
    };
    let count = |which: &[&str]| listed(which)["letters"].as_array().map(Vec::len);
    assert_eq!(
        [count(&to_ann), count(&to_bob), count(&nobodys)],
        [Some(1), Some(0), Some(0)]
    );
    let none = home.run(&[&["dlq", "list"], &to_bob[..]].concat());
    assert_eq!(none.stderr, "no dead letters\n");
    let ran = home.run(&[&["dlq", "discard"], &to_bob[..]].concat());
    assert_eq!(ran.stdout, "0 discarded\n", "{ran:?}");
    let before = listed(&to_ann)["letters"][0]["id"].clone();
    let ran = home.run(&[&["dlq", "replay"], &to_ann[..]].concat());
    assert_eq!(ran.stdout, "1 put back\n", "{ran:?}");
    home.until(&["dlq", "list", "--json", "--plugin", "picky"], |ran| {
        let letter = ran.json()["letters"][0].clone();
        letter["event"]["metadata"]["replay_of"] == before
    });
    for wrong in [
        &["--session", "ann"][..],
        &["--all", "--plugin", "picky"],
        &[&id, "--session", "ann"],
    ] {
        assert_eq!(
            home.run(&[&["dlq", "discard"], wrong].concat()).status,
            2,
            "{wrong:?}"
        );
    }
    let ran = home.run(&["dlq", "discard", "--plugin", "picky", "--json"]);
    assert_eq!(ran.json()["count"], 1, "{ran:?}");
    assert_eq!(home.run(&["dlq", "list"]).stderr, "no dead letters\n");
    dead.kill();
}

#[test]
fn a_stranger_is_not_served() {
    let home = Home::new("");
    let _up = home.up();
    home.write("other-token", &"0".repeat(64));
    let ran = home.run(&["status", "--token-file", "other-token"]);
    assert_eq!(ran.status, 3, "{ran:?}");
    assert!(ran.stderr.starts_with("error: unauthorized: "), "{ran:?}");
    let ran = home.run(&[
        "status",
        "--socket",
        ".trunkline/trunkline.sock",
        "--config",
        "none",
    ]);
    assert_eq!(ran.status, 0, "the token lies beside the socket: {ran:?}");
}

#[test]
fn a_plugin_that_keeps_the_contract_passes_the_check() {
    let home = Home::with_echo(&["default"]);
    let ran = home.run(&["check", "plugins/echo", "--json"]);
    let report = ran.json();
    assert_eq!(ran.status, 0, "{}", ran.stdout);
    assert_eq!(report["ok"], true);
    let skipped: Vec<&str> = report["rules"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|rule| rule["verdict"] == "skip")
        .map(|rule| rule["rule"].as_str().unwrap())
        .collect();
    assert_eq!(skipped, ["standby.opens_nothing"]);
}

#[test]
fn a_plugin_that_breaks_the_contract_is_told_where() {
    let home = Home::new("");
    // It answers everything with {}, settles nothing, and goes on when its link has ended.
    home.plugin(
        "bad",
        "import json, os, signal, socket\n\
         signal.signal(signal.SIGTERM, signal.SIG_IGN)\n\
         link = socket.socket(fileno=int(os.environ['TRUNKLINE_LINK_FD']))\n\
         frames = link.makefile('rwb')\n\
         for line in frames:\n    \
             frame = json.loads(line)\n    \
             if 'id' in frame: frames.write(json.dumps({'jsonrpc': '2.0', 'id': frame['id'], 'result': \
             {'manifest': {'plugin': {'id': 'other'}}, 'protocol': 'trunkline/2.0'}}).encode() + b'\\n'); frames.flush()\n",
    );
    let ran = home.run(&["check", "plugins/bad", "--json", "--timeout", "5"]);
    assert_eq!(ran.status, 1, "{ran:?}");
    let report = ran.json();
    let failed: Vec<&str> = report["rules"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|rule| rule["verdict"] == "fail")
        .map(|rule| rule["rule"].as_str().unwrap())
        .collect();
    assert_eq!(
        failed,
        ["initialize.id", "initialize.protocol", "activate.ready"]
    );
    let ran = home.run(&["check", "--timeout", "1", "--", "./no-such-program"]);
    assert_eq!(ran.status, 1, "{ran:?}");
    assert!(ran.stdout.contains("fail  start.runs"), "{ran:?}");
    assert_eq!(home.run(&["check", "."]).status, 2);
}

/// Proves LN16: a plugin whose loop blocks is shown as degraded with the reason, is restarted by the
/// operator's policy, and serves again; the event that blocks it every time ends as a dead letter.
#[test]
fn a_plugin_that_blocks_is_degraded_then_restarted_by_policy() {
    let home = Home::new("[[plugins.stuck]]\nrestart_degraded_after = \"100ms\"\n");
    let block = "            if params['event']['payload'] == 'block':
                import signal
                send(method='instance.status', params={'state': 'degraded',
                    'reason': 'the event loop has been blocked for 6000 ms'})
                signal.pause()
            send(method='broker.ack', params={'deliveries': [params['delivery']['id']]})
";
    home.plugin("stuck", &operator::plugin("stuck", "", block));
    let manifest = home.path().join("plugins/stuck/plugin.toml");
    let text =
        std::fs::read_to_string(&manifest).unwrap() + "[supervisor]\nstop_timeout = \"1s\"\n";
    std::fs::write(&manifest, text).unwrap();
    let up = home.up();
    up.wait_for("stuck/default   ready");
    let ran = home.run(&["publish", "plugin.outbound.stuck", "\"block\""]);
    assert_eq!(ran.status, 0, "{ran:?}");
    let listed = home.until(&["dlq", "list", "--json"], |ran| ran.json()["total"] == 1);
    assert_eq!(listed.json()["letters"][0]["reason"], "crashed");
    let is_back = |ran: &operator::Ran| ran.json()["instances"][0]["state"] == "ready";
    let status = home.until(&["status", "--json"], is_back).json();
    assert_eq!(status["instances"][0]["restarts"], 2);
    let told = home.run(&[
        "tail",
        "plugin.lifecycle.stuck.default",
        "--start",
        "earliest",
        "--no-follow",
        "--json",
    ]);
    let told: Vec<(String, String)> = told
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|event| event["event"]["payload"].clone())
        .map(|payload| (payload["state"].to_string(), payload["reason"].to_string()))
        .collect();
    let reason = "the event loop has been blocked for 6000 ms";
    for (state, text) in [
        ("degraded", reason.to_owned()),
        ("draining", format!("degraded for 100 ms: {reason}")),
        (
            "backing_off",
            format!("degraded for 100 ms: {reason}; ended by signal 15"),
        ),
    ] {
        let wanted = told
            .iter()
            .filter(|(is, why)| is.contains(state) && why.contains(&text));
        assert!(wanted.count() >= 2, "{state} {text}: {told:?}");
    }
}

#[test]
fn help_and_completions_name_every_command() {
    let home = Home::new("");
    let help = home.run(&["--help"]);
    insta::assert_snapshot!("help", help.stdout);
    for command in [
        "tail", "publish", "logs", "dlq", "plugins", "config", "check",
    ] {
        let help = home.run(&[command, "--help"]);
        insta::assert_snapshot!(format!("help_{command}"), help.stdout);
    }
    for shell in ["bash", "zsh", "fish"] {
        let ran = home.run(&["completions", shell]);
        assert_eq!(ran.status, 0);
        assert!(ran.stdout.contains("publish"), "{shell}");
    }
}
