//! The end of the daemon: asked for, and not asked for.

use std::path::{Path, PathBuf};
use std::time::Duration;

use trunkline_broker::supervisor::{LogLimits, State, SupervisorError};

use crate::fake::{READY_PY, READY_SH, WAIT_SH, World, eventually, is_alive, read};

/// Proves L7 (asked): all instances end in parallel, deaf ones by force, within the deadline.
#[tokio::test(flavor = "multi_thread")]
async fn a_drain_ends_polite_and_deaf_processes_in_parallel_within_its_time() {
    let world = World::new();
    let deaf = format!("trap '' TERM\n{READY_SH} while :; do read -r word <&3 || :; done");
    let mut specs: Vec<_> = (0..5)
        .map(|n| world.sh(&format!("polite{n}"), &format!("{READY_SH}{WAIT_SH}")))
        .collect();
    specs.extend((0..5).map(|n| world.sh(&format!("deaf{n}"), &deaf)));
    world.supervisor.apply(specs.clone()).await.unwrap();
    world
        .nth(10, |told| told.report.state == State::Ready)
        .await;
    let mut pids = Vec::new();
    for spec in &specs {
        pids.push(world.pid(&spec.key).await);
    }
    #[expect(
        clippy::disallowed_methods,
        reason = "measures how long real processes take"
    )]
    let start = std::time::Instant::now();
    assert_eq!(world.supervisor.drain(3_000).await.unwrap(), []);
    assert!(
        start.elapsed() < Duration::from_secs(3),
        "took {:?}",
        start.elapsed()
    );
    assert!(pids.iter().all(|pid| !is_alive(*pid)));
    let refused = world.supervisor.apply(specs).await;
    assert_eq!(refused, Err(SupervisorError::Draining));
}

/// The process that plays the daemon in the tests below; it never ends by itself.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "runs only as the daemon of other tests"]
async fn plays_the_daemon() {
    let root = PathBuf::from(std::env::var("TEST_ROOT").expect("started by another test"));
    let world = World::at(root.clone(), LogLimits::default(), |setup| {
        setup.adopts_orphans = true;
    });
    // A child in the group, one that left the session, and one that left it and its parent.
    let text = "import subprocess\n\
        group = subprocess.Popen(['sleep', '1000'])\n\
        session = subprocess.Popen(['setsid', 'sleep', '1000'])\n\
        double = subprocess.Popen(['sh', '-c', 'setsid sh -c \"echo \\\\$\\\\$ > $HOME/d; \
         mv $HOME/d $HOME/double; exec sleep 1000\" &'])\n\
        double.wait()\n\
        while not os.path.exists(os.environ['HOME'] + '/double'): pass\n\
        with open(os.environ['HOME'] + '/pids', 'w') as file:\n\
        \x20   print(os.getpid(), group.pid, session.pid, file=file)\n";
    let text = format!("import os\n{text}{READY_PY}link.readline()\n");
    let key = world.start(world.python("family", &text)).await;
    world.until(&key, State::Ready).await;
    let state = root.join("state/family");
    let pids = format!(
        "{} {}",
        read(state.join("pids")).trim(),
        read(state.join("double")).trim()
    );
    std::fs::write(root.join("all"), pids).unwrap();
    std::fs::rename(root.join("all"), root.join("ready")).unwrap();
    if std::env::var("TEST_END").as_deref() == Ok("drain") {
        eventually("asked to drain", || root.join("drain").exists()).await;
        assert_eq!(world.supervisor.drain(5_000).await.unwrap(), []);
        std::fs::write(
            root.join("drained"),
            children_of(std::process::id()).join(" "),
        )
        .unwrap();
    }
    std::future::pending::<()>().await;
}

/// Lists the children of a process, zombies included, but not the guard.
fn children_of(parent: u32) -> Vec<String> {
    let all = std::fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let pid = entry.ok()?.file_name().into_string().ok()?;
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let of = stat
            .rsplit_once(')')?
            .1
            .split_whitespace()
            .nth(1)?
            .to_owned();
        let is_guard = read(format!("/proc/{pid}/cmdline")).contains("__guard");
        (of == parent.to_string() && !is_guard).then(|| stat.trim().to_owned())
    });
    all.collect()
}

fn start_daemon(root: &Path, end: &str) -> std::process::Child {
    #[expect(
        clippy::disallowed_methods,
        reason = "a daemon of its own, to be killed"
    )]
    std::process::Command::new(std::env::current_exe().unwrap())
        .args([
            "ends::plays_the_daemon",
            "--exact",
            "--ignored",
            "--nocapture",
        ])
        .env("TEST_ROOT", root)
        .env("TEST_END", end)
        .spawn()
        .unwrap()
}

fn pids(root: &Path) -> Vec<u32> {
    read(root.join("ready"))
        .split_whitespace()
        .map(|pid| pid.parse().unwrap())
        .collect()
}

/// Proves L7 (not asked): after SIGKILL of the daemon no process of a plugin is left, whatever
/// group, session or parent it gave itself.
#[tokio::test]
async fn nothing_is_left_after_the_daemon_is_killed() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().canonicalize().unwrap();
    let mut daemon = start_daemon(&root, "kill");
    eventually("ready", || root.join("ready").exists()).await;
    let pids = pids(&root);
    assert_eq!(pids.len(), 4);
    assert!(pids.iter().all(|pid| is_alive(*pid)));
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    for pid in pids {
        eventually("ended with the daemon", || !is_alive(pid)).await;
    }
}

/// Proves L7 (asked): a drain leaves no orphan and no zombie, not even of a process that left
/// its group and its parent.
#[tokio::test]
async fn a_drain_leaves_no_orphan_and_no_zombie() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().canonicalize().unwrap();
    let mut daemon = start_daemon(&root, "drain");
    eventually("ready", || root.join("ready").exists()).await;
    std::fs::write(root.join("drain"), "").unwrap();
    eventually("drained", || root.join("drained").exists()).await;
    let left = pids(&root).into_iter().filter(|pid| is_alive(*pid)).count();
    let children = read(root.join("drained"));
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    assert_eq!(left, 0);
    assert_eq!(children, "");
}
