//! Instances that share a process: one process, and lives of their own.

use trunkline_broker::instance::InstanceKey;
use trunkline_broker::supervisor::{Incident, LaunchSpec, Signal, State};

use crate::fake::{End, Told, World};

/// A process link has nothing to activate: it is up once it answers.
const PROCESS_SH: &str = r#"
echo standby >&3
while read -r word <&3; do [ "$word" = shutdown ] && exit 0; done
"#;

const NAMES: [&str; 3] = ["a", "b", "c"];

fn key(name: &str) -> InstanceKey {
    InstanceKey::new("guest", name)
}

fn specs(world: &World, text: &str) -> Vec<LaunchSpec> {
    let of = |name: &str| {
        let mut spec = world.sh("guest", text);
        spec.key = key(name);
        spec.state_dir = spec.state_dir.join(name);
        spec.is_shared = true;
        spec.timeouts.kill_grace_ms = 50;
        spec.restart.initial_ms = 20;
        spec
    };
    NAMES.map(of).to_vec()
}

async fn ready(world: &World) -> u32 {
    for name in NAMES {
        world.until(&key(name), State::Ready).await;
    }
    world.pid(&key("a")).await
}

fn told_of(world: &World, name: &str) -> usize {
    let told = world.told();
    told.iter().filter(|told| told.key == key(name)).count()
}

fn nth_ready(name: &'static str) -> impl FnMut(&Told) -> bool {
    move |told| told.key == key(name) && told.report.state == State::Ready
}

/// Proves P8a: instances share one process; each is restarted, disabled and enabled alone, in the same process, which
/// lives as long as one of them is wanted.
#[tokio::test(flavor = "multi_thread")]
async fn instances_of_a_process_are_restarted_and_disabled_alone() {
    let world = World::new();
    world
        .supervisor
        .apply(specs(&world, PROCESS_SH))
        .await
        .unwrap();
    let pid = ready(&world).await;
    for name in NAMES {
        assert_eq!(world.pid(&key(name)).await, pid, "one process");
    }
    let before = told_of(&world, "c");
    world.supervisor.restart(&key("a")).await.unwrap();
    world.nth(2, nth_ready("a")).await;
    world.supervisor.disable(&key("b")).await.unwrap();
    world.until(&key("b"), State::Disabled).await;
    world.supervisor.enable(&key("b")).await.unwrap();
    world.nth(2, nth_ready("b")).await;
    assert_eq!(told_of(&world, "c"), before, "nothing is told of the third");
    for name in NAMES {
        assert_eq!(world.pid(&key(name)).await, pid, "the same process");
    }
    let listed = world.supervisor.list().await.unwrap();
    assert_eq!(listed.len(), 3, "the process itself is no instance");

    let end = End::of(pid).unwrap();
    for name in NAMES {
        world.supervisor.disable(&key(name)).await.unwrap();
    }
    tokio::task::spawn_blocking(|| end.wait()).await.unwrap();
    world.supervisor.enable(&key("c")).await.unwrap();
    world.nth(2, nth_ready("c")).await;
    assert_ne!(world.pid(&key("c")).await, pid, "another process");
}

/// Proves P8a: each of many instances is opened once, however many wait for the process or for one another.
#[tokio::test(flavor = "multi_thread")]
async fn each_of_many_instances_is_opened_once() {
    let world = World::new();
    let one = specs(&world, PROCESS_SH).remove(0);
    let names: Vec<String> = (0..150).map(|number| format!("n{number:03}")).collect();
    let specs = names.iter().map(|name| LaunchSpec {
        key: key(name),
        state_dir: one.state_dir.join(name),
        ..one.clone()
    });
    world.supervisor.apply(specs.collect()).await.unwrap();
    for name in &names {
        world.until(&key(name), State::Ready).await;
    }
    let mut opened = world.links.opened.lock().unwrap().clone();
    opened.sort();
    let wanted: Vec<InstanceKey> = names.iter().map(|name| key(name)).collect();
    assert_eq!(opened, wanted);
}

/// Proves P8a: the end of the process is the fault of no instance: all come back in the next one.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_process_comes_back_with_all_its_instances() {
    let world = World::new();
    world
        .supervisor
        .apply(specs(&world, PROCESS_SH))
        .await
        .unwrap();
    let pid = ready(&world).await;
    let victim = rustix::process::Pid::from_raw(pid as i32).unwrap();
    rustix::process::kill_process(victim, rustix::process::Signal::KILL).unwrap();
    for name in NAMES {
        let crashed =
            |told: &Told| told.key == key(name) && told.report.incident == Some(Incident::Crashed);
        let told = world.nth(1, crashed).await;
        assert_eq!(told.report.exit.unwrap().signal, Some(9));
        world.nth(2, nth_ready(name)).await;
    }
    let next = world.pid(&key("a")).await;
    assert_ne!(next, pid);
    for name in NAMES {
        assert_eq!(world.pid(&key(name)).await, next);
        let told = world.told();
        let mut own = told.iter().filter(|told| told.key == key(name));
        assert!(
            own.all(|told| told.report.incident != Some(Incident::GaveUp)),
            "{name} is not blamed"
        );
    }
}

/// Proves P8a: an instance that hangs, or never gets ready, is ended and started again alone; what cannot be ended is
/// cut off.
#[tokio::test(flavor = "multi_thread")]
async fn a_faulty_instance_is_cut_off_alone() {
    let world = World::new();
    let mut specs = specs(&world, PROCESS_SH);
    specs[1].timeouts.start_ms = 500;
    world.supervisor.apply(specs).await.unwrap();
    let pid = ready(&world).await;
    let before = told_of(&world, "c");

    world.links.deaf.lock().unwrap().push(key("a"));
    world.links.signal(&key("a"), Signal::PingLost);
    world.nth(2, nth_ready("a")).await;

    world.links.mute.lock().unwrap().push(key("b"));
    world.supervisor.restart(&key("b")).await.unwrap();
    world.until(&key("b"), State::BackingOff).await;
    world.links.mute.lock().unwrap().clear();
    world.nth(2, nth_ready("b")).await;

    // One that ends by itself backs off, and comes back.
    world.links.hang_up(&key("b"));
    world.nth(3, nth_ready("b")).await;
    assert_eq!(told_of(&world, "c"), before, "nothing is told of the third");
    assert_eq!(world.pid(&key("a")).await, pid, "the same process");
}

/// Proves P8a: while the process cannot be had, its instances wait, say why, and can be switched off.
#[tokio::test(flavor = "multi_thread")]
async fn instances_wait_for_a_process_that_does_not_start() {
    let world = World::new();
    let mut all = specs(&world, PROCESS_SH);
    for spec in &mut all {
        spec.command = vec!["no-such-program".to_owned()];
    }
    world.supervisor.apply(all).await.unwrap();
    let told = world.until(&key("a"), State::BackingOff).await;
    let reason = told.report.reason.unwrap();
    assert!(
        reason.starts_with("its process does not run: ") && reason.contains("no-such-program"),
        "{reason}"
    );
    // Each try is told, with a time of its own from which that of the next one counts.
    let waits = |told: &Told| told.key == key("a") && told.report.retry_in_ms.is_some();
    let (first, second) = (world.nth(1, waits).await, world.nth(2, waits).await);
    let next_ms = first.report.since_ms + first.report.retry_in_ms.unwrap() as i64;
    assert!(second.report.since_ms >= next_ms, "{first:?} {second:?}");
    let told = world.told();
    let between = told.iter().filter(|told| told.key == key("a"));
    let between = between.filter(|told| told.at > first.at && told.at < second.at);
    let states: Vec<State> = between.map(|told| told.report.state).collect();
    assert_eq!(states, [State::Starting, State::BackingOff]);
    world.supervisor.disable(&key("b")).await.unwrap();
    world.until(&key("b"), State::Disabled).await;
    world
        .supervisor
        .apply(specs(&world, PROCESS_SH))
        .await
        .unwrap();
    world.until(&key("a"), State::Ready).await;
    world.until(&key("c"), State::Ready).await;
    world.supervisor.enable(&key("b")).await.unwrap();
    ready(&world).await;
    let left = world.supervisor.drain(10_000).await.unwrap();
    assert!(left.is_empty(), "{left:?}");
}
