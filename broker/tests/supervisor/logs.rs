//! What processes print.

use trunkline_broker::supervisor::{Followed, State};

use crate::fake::{READY_PY, READY_SH, WAIT_SH, World};

fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = statm.split_whitespace().nth(1).unwrap().parse().unwrap();
    pages * 4_096
}

/// Proves W9: 100 MB of stderr without a line end stall neither the process nor the daemon, and
/// the daemon does not grow.
#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_megabytes_without_a_line_end_stall_and_grow_nothing() {
    let world = World::new();
    let text = READY_PY.replace(
        "say(\"ready\")",
        "for n in range(100): os.write(2, b'x' * 1000000)\nsay(\"ready\")",
    ) + "link.readline()\n";
    let before = resident_bytes();
    let mut spec = world.python("loud", &text);
    spec.timeouts.start_ms = 30_000;
    let key = world.start(spec).await;
    world.until(&key, State::Ready).await;
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < 48 << 20, "grew by {grown} bytes");
    world.supervisor.disable(&key).await.unwrap();
    world.until(&key, State::Disabled).await;
    let lines = world.logs.last(&key, 10_000).await.unwrap();
    assert!(lines.iter().all(|line| line.line.len() <= 16 * 1024));
    let kept: usize = lines
        .iter()
        .filter(|line| line.line.starts_with("xx"))
        .count();
    let suppressed: u64 = lines
        .iter()
        .filter_map(|line| line.fields.get("suppressed")?.as_u64())
        .sum();
    assert_eq!(
        kept as u64 + suppressed,
        100_000_000_u64.div_ceil(16 * 1024),
        "kept {kept}"
    );
    assert!(suppressed > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn output_is_logged_redacted_and_followed_live() {
    let world = World::new();
    let text = format!("{READY_SH} echo token hunter2; echo wrong >&2; {WAIT_SH}");
    let spec = world.sh("echo", &text);
    let mut follower = world.logs.follow(&spec.key);
    let key = world.start(spec).await;
    let mut followed = Vec::new();
    for _ in 0..2 {
        let Some(Followed::Line(line)) = follower.next().await else {
            panic!("a line")
        };
        followed.push(line.line.clone());
    }
    followed.sort();
    assert_eq!(followed, ["token ***", "wrong"]);
    assert_eq!(world.logs.last(&key, 10).await.unwrap().len(), 2);
    let file = world.root.join("logs/echo/default.log");
    let text = std::fs::read_to_string(file).unwrap();
    assert!(!text.contains("hunter2"));
    let first: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert!(first["at"].is_string() && first["stream"].is_string() && first["level"] == "info");
}

#[tokio::test(flavor = "multi_thread")]
async fn last_words_without_a_line_end_are_not_lost() {
    let world = World::new();
    let mut spec = world.sh("echo", "printf 'no end' ; printf 'neither' >&2; exit 1");
    // Once, so that the last line is the last.
    spec.restart.initial_ms = 60_000;
    let key = world.start(spec).await;
    world.until(&key, State::BackingOff).await;
    let lines = world.logs.last(&key, 10).await.unwrap();
    let texts: Vec<&str> = lines.iter().map(|line| line.line.as_str()).collect();
    assert!(
        texts.contains(&"no end") && texts.contains(&"neither"),
        "{texts:?}"
    );
    assert_eq!(texts.last(), Some(&"exited with code 1"));
}
