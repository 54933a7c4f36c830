//! Many instances, and changes to some of them.

use trunkline_broker::instance::InstanceKey;
use trunkline_broker::supervisor::{State, SupervisorError};

use crate::fake::{READY_SH, Told, WAIT_SH, World, is_alive};

fn ordinary() -> String {
    format!("{READY_SH}{WAIT_SH}")
}

/// Proves L9 (the process's part): instances come, change and go without touching any other.
#[tokio::test(flavor = "multi_thread")]
async fn applying_touches_only_what_changed() {
    let world = World::new();
    let [a, b, c] = ["a", "b", "c"].map(|name| world.sh(name, &ordinary()));
    let (first, second) = (a.key.clone(), b.key.clone());
    world
        .supervisor
        .apply(vec![a.clone(), b.clone()])
        .await
        .unwrap();
    world.until(&first, State::Ready).await;
    world.until(&second, State::Ready).await;
    let (first_pid, second_pid) = (world.pid(&first).await, world.pid(&second).await);

    let mut changed = b.clone();
    changed.revision = "2".to_owned();
    let applied = world
        .supervisor
        .apply(vec![a.clone(), changed, c.clone()])
        .await
        .unwrap();
    assert_eq!(applied.untouched, std::slice::from_ref(&first));
    assert_eq!(applied.changed, std::slice::from_ref(&second));
    assert_eq!(applied.started, std::slice::from_ref(&c.key));
    world
        .nth(2, |told| {
            told.key == second && told.report.state == State::Ready
        })
        .await;
    world.until(&c.key, State::Ready).await;
    assert_eq!(world.pid(&first).await, first_pid);
    assert_ne!(world.pid(&second).await, second_pid);
    assert!(!is_alive(second_pid));

    let applied = world.supervisor.apply(vec![a]).await.unwrap();
    assert_eq!(applied.stopped.len(), 2);
    world.until(&c.key, State::Stopped).await;
    world.until(&second, State::Stopped).await;
    assert_eq!(world.pid(&first).await, first_pid);
    let told = world.told();
    assert_eq!(
        told.iter().filter(|told| told.key == first).count(),
        4,
        "starting, standby, starting again once it is activated, ready"
    );
}

/// Proves LN18 (the process's part): a disabled instance ends at once and stays ended.
#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_instance_ends_and_can_be_enabled_again() {
    let world = World::new();
    let key = world.start(world.sh("echo", &ordinary())).await;
    world.until(&key, State::Ready).await;
    let pid = world.pid(&key).await;
    world.supervisor.disable(&key).await.unwrap();
    world.until(&key, State::Disabled).await;
    assert!(!is_alive(pid));
    let refused = world.supervisor.restart(&key).await;
    assert_eq!(refused, Err(SupervisorError::Disabled(key.clone())));
    world.supervisor.enable(&key).await.unwrap();
    world.nth(2, |told| told.report.state == State::Ready).await;
    let unknown = InstanceKey::new("no", "such");
    let refused = world.supervisor.restart(&unknown).await;
    assert_eq!(refused, Err(SupervisorError::Unknown(unknown)));
}

/// Proves LN17 (the process's part): a restart by the operator gives a new process at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_replaces_the_process() {
    let world = World::new();
    let key = world.start(world.sh("echo", &ordinary())).await;
    world.until(&key, State::Ready).await;
    let pid = world.pid(&key).await;
    world.supervisor.restart(&key).await.unwrap();
    world.nth(2, |told| told.report.state == State::Ready).await;
    assert_ne!(world.pid(&key).await, pid);
    assert!(world.told().iter().all(|told| told.report.exits == 0));
}

/// Proves L11: instances start in parallel; one that hangs and one that crashes delay nobody.
#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_instances_start_in_parallel_whatever_some_do() {
    let world = World::new();
    let mut hangs = world.sh("hangs", "while :; do read -r word <&3 || :; done");
    // Longer than anybody waits here.
    hangs.timeouts.start_ms = 600_000;
    // Nobody is ready before the gate opens, so that all of them have to be there at the same time.
    let gate = world.root.join("gate");
    let (fifo, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU);
    rustix::fs::mknodat(rustix::fs::CWD, &gate, fifo, mode, 0).unwrap();
    let gated = format!(
        "echo standby >&3\nread -r word <&3\n: < {}\necho ready >&3\n{WAIT_SH}",
        gate.display()
    );
    let mut specs = vec![hangs, world.sh("dies", "exit 1")];
    specs.extend((0..100).map(|n| {
        let mut spec = world.sh(&format!("echo{n}"), &gated);
        spec.timeouts.start_ms = 600_000;
        spec
    }));
    world.supervisor.apply(specs).await.unwrap();
    let first = world
        .nth(100, |told| told.report.state == State::Standby)
        .await;
    let is_ready = |told: &Told| told.report.state == State::Ready;
    assert!(!world.told().iter().any(is_ready), "{first:?}");
    // Whoever opens it for both waits for nobody, and whoever reads waits no longer.
    let mut both = std::fs::OpenOptions::new();
    let _open = both.read(true).write(true).open(&gate).unwrap();
    world.nth(100, is_ready).await;
    let hanging = |told: &&Told| &*told.key.plugin == "hangs";
    let hanging: Vec<_> = world.told().iter().filter(hanging).cloned().collect();
    let is_starting = |told: &Told| told.report.state == State::Starting;
    assert!(hanging.iter().all(is_starting), "{hanging:#?}");
}

/// Proves L12: a crash loop costs the daemon next to nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_crash_loop_is_started_rarely_with_the_ordinary_policy() {
    let world = World::new();
    let key = world.start(world.sh("dies", "exit 1")).await;
    world
        .nth(1, |told| {
            told.report.retry_in_ms.is_some_and(|ms| ms > 1_500)
        })
        .await;
    let told = world.told();
    let starts = told
        .iter()
        .filter(|told| told.report.state == State::Starting)
        .count();
    assert_eq!(starts, 3, "the third wait is two seconds");
    world.supervisor.disable(&key).await.unwrap();
    world.until(&key, State::Disabled).await;
}
