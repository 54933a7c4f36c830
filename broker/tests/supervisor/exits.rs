//! What happens when a process ends by itself, or hangs.

use std::time::Duration;

use trunkline_broker::supervisor::{Incident, Signal, State};

use crate::fake::{End, READY_PY, READY_SH, WAIT_SH, World, is_alive, read};

/// Proves L1: a process that ends is started again with growing waits; each crash is told with
/// its exit and last words, giving up is told once.
#[tokio::test(flavor = "multi_thread")]
async fn a_crash_loop_is_told_crash_by_crash_and_given_up_once() {
    let world = World::new();
    let mut spec = world.sh(
        "echo",
        &format!("{READY_SH} echo last words of hunter2 >&2; exit 3"),
    );
    spec.restart.initial_ms = 20;
    spec.restart.exits_max = 4;
    spec.restart.trial_ms = 50;
    let key = world.start(spec).await;
    let crashed = world
        .nth(6, |told| told.report.incident == Some(Incident::Crashed))
        .await;
    let exit = crashed.report.exit.unwrap();
    assert_eq!((exit.code, exit.signal), (Some(3), None));
    assert_eq!(exit.stderr_tail, "last words of ***");
    assert_eq!(crashed.report.exits, 6);
    let waits: Vec<u64> = world
        .told()
        .iter()
        .filter(|told| told.key == key && told.report.state == State::BackingOff)
        .filter_map(|told| told.report.retry_in_ms)
        .collect();
    assert_eq!(waits.len(), 3);
    assert!(waits[0] < waits[1] && waits[1] < waits[2], "{waits:?}");
    let gave_up = world.told();
    let gave_up = gave_up
        .iter()
        .filter(|told| told.report.incident == Some(Incident::GaveUp));
    assert_eq!(gave_up.count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clean_exit_is_started_again_but_is_no_crash() {
    let world = World::new();
    let mut spec = world.sh("echo", &format!("{READY_SH} exit 0"));
    spec.restart.initial_ms = 10;
    let key = world.start(spec).await;
    world
        .nth(2, |told| {
            told.key == key && told.report.state == State::Ready
        })
        .await;
    let told = world.told();
    assert!(
        told.iter()
            .any(|told| told.report.incident == Some(Incident::Exited))
    );
    assert!(
        told.iter()
            .all(|told| told.report.incident != Some(Incident::Crashed))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn exits_blamed_on_a_suspect_do_not_make_a_crash_loop() {
    let world = World::new();
    let mut spec = world.sh("echo", &format!("{READY_SH} exit 1"));
    spec.restart.initial_ms = 10;
    world.links.suspects.lock().unwrap().push(spec.key.clone());
    let key = world.start(spec).await;
    world
        .nth(8, |told| {
            told.key == key && told.report.state == State::Ready
        })
        .await;
    assert!(
        world
            .told()
            .iter()
            .all(|told| told.report.state != State::Failed)
    );
}

/// Proves L2: a child that dies in the handshake is reported at once, with its last words.
#[tokio::test(flavor = "multi_thread")]
async fn a_death_in_the_handshake_is_reported_within_200_ms() {
    let world = World::new();
    // The file's time of writing is the moment of the death, as the process saw it.
    let text = "echo ImportError: no module >&2; : > \"$HOME/death\"; exit 1";
    // The least of some: the machine may have other work.
    let mut least = Duration::MAX;
    for n in 0..8 {
        let mut spec = world.sh(&format!("echo{n}"), text);
        spec.restart.initial_ms = 60_000;
        let death = spec.state_dir.join("death");
        let key = world.start(spec).await;
        let told = world
            .nth(1, |told| {
                told.key == key && told.report.incident == Some(Incident::Crashed)
            })
            .await;
        assert_eq!(
            told.report.exit.unwrap().stderr_tail,
            "ImportError: no module"
        );
        let died = std::fs::metadata(death).unwrap().modified().unwrap();
        least = least.min(died.elapsed().unwrap().saturating_sub(told.at.elapsed()));
        if least < Duration::from_millis(200) {
            break;
        }
    }
    assert!(least < Duration::from_millis(200), "took {least:?}");
}

/// Proves L5 (given a lost ping): a stopped process is ended and replaced.
#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_process_is_ended_and_replaced_after_a_lost_ping() {
    let world = World::new();
    let mut spec = world.sh("echo", &format!("{READY_SH}{WAIT_SH}"));
    spec.restart.initial_ms = 10;
    let key = world.start(spec).await;
    world.until(&key, State::Ready).await;
    let pid = world.pid(&key).await;
    let process = rustix::process::Pid::from_raw(pid as i32).unwrap();
    rustix::process::kill_process(process, rustix::process::Signal::STOP).unwrap();
    world.links.signal(&key, Signal::PingLost);
    world
        .nth(2, |told| {
            told.key == key && told.report.state == State::Ready
        })
        .await;
    assert!(!is_alive(pid));
    let told = world
        .nth(1, |told| told.report.incident == Some(Incident::Crashed))
        .await;
    assert!(
        told.report
            .reason
            .unwrap()
            .starts_with("hangs: pings stay unanswered; ended by")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hanging_process_that_ignores_the_abort_is_killed() {
    let world = World::new();
    let text = READY_PY.to_owned()
        + "import signal\nsignal.signal(signal.SIGABRT, signal.SIG_IGN)\nsay('progress')\n\
           while True: signal.pause()\n";
    let mut spec = world.python("deaf", &text);
    spec.timeouts.kill_grace_ms = 100;
    let key = world.start(spec).await;
    world.until(&key, State::Ready).await;
    world.links.signal(&key, Signal::PingLost);
    let told = world
        .nth(1, |told| told.report.incident == Some(Incident::Crashed))
        .await;
    assert!(matches!(told.report.exit.unwrap().signal, Some(6 | 9)));
}

#[tokio::test(flavor = "multi_thread")]
async fn grandchildren_that_hold_the_pipes_delay_no_report_and_do_not_survive() {
    let world = World::new();
    let text = format!("{READY_SH} sleep 1000 & echo $! > \"$HOME/grandchild\"; exit 7");
    let spec = world.sh("echo", &text);
    let file = spec.state_dir.join("grandchild");
    world.start(spec).await;
    let told = world
        .nth(1, |told| told.report.incident == Some(Incident::Crashed))
        .await;
    assert_eq!(told.report.exit.unwrap().code, Some(7));
    let grandchild: u32 = read(file).trim().parse().unwrap();
    // Killed before the report; it may still be on its way out.
    if let Some(end) = End::of(grandchild) {
        end.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_never_gets_ready_is_ended() {
    let world = World::new();
    let mut spec = world.sh(
        "slow",
        "echo standby >&3; while :; do read -r word <&3 || :; done",
    );
    spec.timeouts.start_ms = 300;
    world.start(spec).await;
    let told = world
        .nth(1, |told| told.report.incident == Some(Incident::Crashed))
        .await;
    assert!(
        told.report
            .reason
            .unwrap()
            .starts_with("not ready 300 ms after")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_asks_to_be_started_later_is_started_then() {
    let world = World::new();
    let text = format!(
        "if [ -e \"$HOME/again\" ]; then {READY_SH} {WAIT_SH} fi\n\
         : > \"$HOME/again\"; echo standby >&3; read -r word <&3; echo retry_later 120 >&3; {WAIT_SH}"
    );
    let key = world.start(world.sh("later", &text)).await;
    let waiting = world
        .nth(1, |told| told.report.retry_in_ms == Some(120))
        .await;
    assert_eq!(
        (waiting.report.state, waiting.report.incident),
        (State::BackingOff, None)
    );
    let ready = world.until(&key, State::Ready).await;
    assert!(ready.at - waiting.at >= Duration::from_millis(120));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exit_is_told_after_the_last_frame_the_process_wrote() {
    let world = World::new();
    // More than is read at once.
    let text = format!("{READY_PY}link.write('progress\\n' * 1200)\nlink.flush()\nos._exit(1)\n");
    world.start(world.python("hasty", &text)).await;
    world
        .nth(1, |told| told.report.incident == Some(Incident::Crashed))
        .await;
    assert_eq!(*world.links.lines_at_exits.lock().unwrap(), [1202]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_somebody_else_holds_open_delays_an_exit_only_shortly() {
    let world = World::new();
    let text = format!("{READY_SH} setsid sleep 1000 & echo $! > \"$HOME/holder\"; exit 7");
    let spec = world.sh("echo", &text);
    let file = spec.state_dir.join("holder");
    world.start(spec).await;
    let told = world
        .nth(1, |told| told.report.incident == Some(Incident::Crashed))
        .await;
    assert_eq!(told.report.exit.unwrap().code, Some(7));
    let holder: i32 = read(file).trim().parse().unwrap();
    let holder = rustix::process::Pid::from_raw(holder).unwrap();
    // It may have died with its group, before it left it.
    let _best_effort = rustix::process::kill_process(holder, rustix::process::Signal::KILL);
}
