//! What is started from a package, once its files were compared.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};

use trunkline_broker::clock::{Clock, Now, SystemClock};
use trunkline_broker::install::{Checker, PackageRef};
use trunkline_broker::supervisor::{LaunchSpec, State};

use crate::fake::{READY_SH, WAIT_SH, World};

/// The machine's time, and what a test adds to it.
#[derive(Default)]
struct Ahead {
    clock: SystemClock,
    ms: AtomicU64,
}

impl Clock for Ahead {
    fn now(&self) -> Now {
        let mut now = self.clock.now();
        now.mono_ms += self.ms.load(Ordering::SeqCst);
        now
    }
}

/// A check that runs. It ends when this is dropped: several run at a time, so each is told by itself.
struct Running(#[expect(dead_code, reason = "it is there to be dropped")] mpsc::SyncSender<()>);

/// A world whose checks say that they began, and end when they are told.
struct Checked {
    world: World,
    clock: Arc<Ahead>,
    began: tokio::sync::mpsc::Receiver<Running>,
}

fn checked() -> Checked {
    let clock = Arc::new(Ahead::default());
    let (tell, began) = tokio::sync::mpsc::channel(64);
    let check = move |_: &PackageRef| {
        let (running, ends) = mpsc::sync_channel(0);
        // When the test is over, nobody is told, and the check ends at once.
        drop(tell.blocking_send(Running(running)));
        assert!(ends.recv().is_err(), "nothing is sent");
        Ok(())
    };
    let checker = Checker::with(clock.clone(), check);
    let its = clock.clone();
    let world = World::with(|setup| {
        setup.clock = its;
        setup.checker = checker;
    });
    Checked {
        world,
        clock,
        began,
    }
}

impl Checked {
    fn spec(&self, name: &str) -> LaunchSpec {
        let mut spec = self.world.sh(name, &format!("{READY_SH}{WAIT_SH}"));
        spec.package = Some(PackageRef {
            root: spec.dir.clone(),
            sha256: String::new(),
        });
        spec
    }

    /// Lets more time pass than a start may take, and the supervisor see it.
    async fn much_later(&self) {
        self.clock.ms.fetch_add(3_600_000, Ordering::SeqCst);
        for _ in 0..20 {
            self.world.supervisor.list().await.unwrap();
        }
    }
}

/// Proves T3 (checked at start): the check of a large package takes nothing of the time that its start may take.
#[tokio::test(flavor = "multi_thread")]
async fn the_time_to_start_begins_when_the_check_is_done() {
    let mut rig = checked();
    let key = rig.world.start(rig.spec("large")).await;
    let check = rig.began.recv().await.unwrap();
    rig.much_later().await;
    drop(check);
    rig.world.until(&key, State::Ready).await;
    let told = rig.world.told();
    let states: Vec<State> = told.iter().map(|told| told.report.state).collect();
    let start = [
        State::Starting,
        State::Standby,
        State::Starting,
        State::Ready,
    ];
    assert_eq!(states, start);
}

/// Proves T3 (checked at start): a start that is given up does not wait for its check, and nothing runs afterwards; one
/// that is asked for anew meanwhile is checked anew.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_is_given_up_waits_for_no_check() {
    let mut rig = checked();
    let key = rig.world.start(rig.spec("large")).await;
    let given_up = rig.began.recv().await.unwrap();
    rig.world.supervisor.disable(&key).await.unwrap();
    rig.world.until(&key, State::Disabled).await;
    rig.world.supervisor.enable(&key).await.unwrap();
    let anew = rig.began.recv().await.unwrap();
    rig.world.supervisor.restart(&key).await.unwrap();
    drop(given_up);
    // What the restart asks for begins when a check ended, so the one that was given up is over.
    let last = rig.began.recv().await.unwrap();
    drop(anew);
    for _ in 0..20 {
        let listed = rig.world.supervisor.list().await.unwrap();
        assert_eq!(listed[0].report.pid, None, "what was given up does not run");
    }
    drop(last);
    rig.world.until(&key, State::Ready).await;
    let left = rig.world.supervisor.drain(10_000).await.unwrap();
    assert_eq!(left, []);
}
