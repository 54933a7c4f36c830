//! The end of the daemon: asked for, and not asked for.

use std::io::{BufRead, BufReader, Lines, Write};
use std::path::PathBuf;
use std::process::{ChildStdout, Stdio};

use trunkline_broker::supervisor::{LogLimits, State, SupervisorError};

use crate::fake::{End, READY_PY, READY_SH, WAIT_SH, World, is_alive, read, real_python};

/// Proves L7 (asked): all instances end in parallel, deaf ones by force, within the deadline.
#[tokio::test(flavor = "multi_thread")]
async fn a_drain_ends_polite_and_deaf_processes_in_parallel_within_its_time() {
    let world = World::new();
    let deaf = format!("trap '' TERM\n{READY_SH} while :; do read -r word <&3 || :; done");
    let mut specs: Vec<_> = (0..5)
        .map(|n| world.sh(&format!("polite{n}"), &format!("{READY_SH}{WAIT_SH}")))
        .collect();
    specs.extend((0..5).map(|n| {
        let mut spec = world.sh(&format!("deaf{n}"), &deaf);
        // By themselves they would outlive the wait for their end.
        spec.timeouts.stop_ms = 600_000;
        spec.timeouts.kill_grace_ms = 600_000;
        spec
    }));
    world.supervisor.apply(specs.clone()).await.unwrap();
    world
        .nth(10, |told| told.report.state == State::Ready)
        .await;
    let mut pids = Vec::new();
    for spec in &specs {
        pids.push(world.pid(&spec.key).await);
    }
    let ends: Vec<_> = pids.iter().filter_map(|pid| End::of(*pid)).collect();
    let before = world.told().len();
    // Ended by force before that; a busy machine may see it a moment later.
    let _left = world.supervisor.drain(5_000).await.unwrap();
    ends.into_iter().for_each(End::wait);
    assert!(pids.iter().all(|pid| !is_alive(*pid)));
    // Each was asked before one of them had ended.
    let told = world.told();
    let asked = told[before..].iter().map(|told| told.report.state);
    let asked: Vec<_> = asked
        .take_while(|state| *state == State::Draining)
        .collect();
    assert_eq!(asked.len(), specs.len(), "{told:#?}");
    let refused = world.supervisor.apply(specs).await;
    assert_eq!(refused, Err(SupervisorError::Draining));
}

/// The process that plays the daemon in the tests below. It tells the processes of its plugin's
/// family, drains when it reads a line, tells what children it has left, and goes on.
#[tokio::test(flavor = "multi_thread")]
async fn plays_the_daemon() {
    let Ok(root) = std::env::var("TEST_ROOT") else {
        return;
    };
    let root = PathBuf::from(root);
    // Asked first: afterwards every child of this process that is not a plugin's is an orphan.
    real_python();
    let world = World::at(root.clone(), LogLimits::default(), |setup| {
        setup.adopts_orphans = true;
    });
    // A child in the group, one that left the session, and one that left it and its parent.
    let family = "import os, subprocess\n\
        group = subprocess.Popen(['sleep', '1000'])\n\
        session = subprocess.Popen(['setsid', 'sleep', '1000'])\n\
        double = subprocess.Popen(['sh', '-c', 'setsid sh -c \"echo \\$\\$; exec sleep 1000\" &'],\n\
        \x20   stdout=subprocess.PIPE)\n\
        with open(os.environ['HOME'] + '/pids', 'w') as file:\n\
        \x20   pids = [os.getpid(), group.pid, session.pid, int(double.stdout.readline())]\n\
        \x20   print(*pids, file=file)\n";
    let text = format!("{family}{READY_PY}link.readline()\n");
    let key = world.start(world.python("family", &text)).await;
    world.until(&key, State::Ready).await;
    tell("family", read(root.join("state/family/pids")).trim());
    let wait = || std::io::stdin().lines().next().is_some();
    if tokio::task::spawn_blocking(wait).await.unwrap() {
        assert_eq!(world.supervisor.drain(5_000).await.unwrap(), []);
        tell("children", &children_of(std::process::id()).join(" "));
    }
    std::future::pending::<()>().await;
}

fn tell(word: &str, text: &str) {
    println!("\n{word}: {text}");
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

/// A daemon that another test runs in a process of its own.
struct Daemon {
    process: std::process::Child,
    lines: Lines<BufReader<ChildStdout>>,
    _directory: tempfile::TempDir,
}

impl Daemon {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        #[expect(
            clippy::disallowed_methods,
            reason = "a daemon of its own, to be killed"
        )]
        let mut process = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["ends::plays_the_daemon", "--exact", "--nocapture"])
            .env("TEST_ROOT", directory.path().canonicalize().unwrap())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Self {
            process,
            lines,
            _directory: directory,
        }
    }

    fn hear(&mut self, word: &str) -> String {
        let prefix = format!("{word}: ");
        let mut lines = self.lines.by_ref().map(Result::unwrap);
        let found = lines.find_map(|line| line.strip_prefix(&prefix).map(str::to_owned));
        found.unwrap_or_else(|| panic!("the daemon ended without {word}"))
    }

    fn family(&mut self) -> Vec<u32> {
        let pids = self.hear("family");
        pids.split_whitespace()
            .map(|pid| pid.parse().unwrap())
            .collect()
    }

    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

/// Proves L7 (not asked): after SIGKILL of the daemon no process of a plugin is left, whatever
/// group, session or parent it gave itself.
#[test]
fn nothing_is_left_after_the_daemon_is_killed() {
    let mut daemon = Daemon::start();
    let family = daemon.family();
    let ends: Vec<_> = family.iter().filter_map(|pid| End::of(*pid)).collect();
    assert_eq!(ends.len(), 4);
    daemon.kill();
    for end in ends {
        end.wait();
    }
}

/// Proves L7 (asked): a drain leaves no orphan and no zombie, not even of a process that left
/// its group and its parent.
#[test]
fn a_drain_leaves_no_orphan_and_no_zombie() {
    let mut daemon = Daemon::start();
    let family = daemon.family();
    daemon
        .process
        .stdin
        .as_mut()
        .unwrap()
        .write_all(b"drain\n")
        .unwrap();
    let children = daemon.hear("children");
    let left = family.into_iter().filter(|pid| is_alive(*pid)).count();
    daemon.kill();
    assert_eq!((left, children.as_str()), (0, ""));
}
