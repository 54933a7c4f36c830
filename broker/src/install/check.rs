//! Checks of installed packages: a few at a time, one for all who ask for the same, and what the last ones found.
//!
//! A check reads every file of a package, which may be a GiB. With one for each start, instances that start together
//! would read the same files again and again, on every thread that the daemon has for work that blocks.
//!
//! A result is never good for a later start: times, sizes and inode numbers of files can all be as they were although a
//! byte is not (a disk that decays, a file written through another mount, a clock that was set), and the promise is that
//! the bytes are compared.
//!
//! Invariants: whoever asks is answered by a check that began after they asked; at most [`CHECKS_MAX`] run at a time;
//! what was found before is for showing only.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Semaphore, watch};
use trunkline_contract::envelope::rfc3339;
use trunkline_contract::rpc::admin::{PackageState, PackageStatus};

use super::error::InstallError;
use super::lock::Installed;
use super::tree::PackageRef;
use crate::clock::Clock;

/// Checks that run at a time; more wait. The daemon has eight threads for work that blocks, and blobs and logs need them
/// too.
pub const CHECKS_MAX: usize = 2;
/// Packages whose last check is remembered; beyond them the oldest is forgotten.
const FOUND_MAX: usize = 1_024;

/// How a check ended.
pub type Outcome = Arc<Result<(), InstallError>>;

/// What the last check of a package found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// When it ended, in milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// What differs, if anything does.
    pub problem: Option<String>,
}

/// Tells of an installed package, with what its last check found.
pub fn status(installed: &Installed, found: Option<Found>) -> PackageStatus {
    PackageStatus {
        source: installed.source.clone(),
        version: installed.version.clone(),
        sha256: installed.sha256.clone(),
        added_at: installed.added_at.clone(),
        signed: false,
        state: match &found {
            None => PackageState::Unchecked,
            Some(found) if found.problem.is_none() => PackageState::Intact,
            Some(_) => PackageState::Changed,
        },
        checked_at: found.as_ref().map(|found| rfc3339(found.at_ms)),
        problem: found.and_then(|found| found.problem),
    }
}

type Check = dyn Fn(&PackageRef) -> Result<(), InstallError> + Send + Sync;

/// Checks packages; clones share the work.
#[derive(Clone)]
pub struct Checker(Arc<Inner>);

struct Inner {
    check: Box<Check>,
    clock: Arc<dyn Clock>,
    slots: Semaphore,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Checks that have not begun: they answer whoever asks until then.
    waiting: HashMap<PackageRef, watch::Receiver<Option<Outcome>>>,
    found: HashMap<PackageRef, Found>,
}

impl Checker {
    /// Makes one that compares the files with their hashes.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self::with(clock, PackageRef::check)
    }

    /// Makes one that checks in another way, for tests.
    pub fn with(
        clock: Arc<dyn Clock>,
        check: impl Fn(&PackageRef) -> Result<(), InstallError> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(Inner {
            check: Box::new(check),
            clock,
            slots: Semaphore::new(CHECKS_MAX),
            state: Mutex::default(),
        }))
    }

    /// Asks for a check; those who ask for one package before its check began share it. Needs a tokio runtime.
    ///
    /// # Cancel safety
    /// The check goes on without whoever asked for it.
    pub fn ask(&self, package: &PackageRef) -> impl Future<Output = Outcome> + Send + use<> {
        let mut answer = self.joined(package);
        let root = package.root.clone();
        async move {
            let found = answer.wait_for(Option::is_some).await;
            let found = found.ok().and_then(|outcome| outcome.clone());
            found.unwrap_or_else(|| {
                let source = io::Error::other("its check did not end");
                Arc::new(Err(InstallError::Io { path: root, source }))
            })
        }
    }

    /// Asks for several, each once the one before is answered: what is to start meanwhile has the other places.
    pub async fn ask_in_turn(&self, packages: &[PackageRef]) {
        for package in packages {
            drop(self.ask(package).await);
        }
    }

    /// What the last check of a package found, if it was checked in this life of the daemon.
    pub fn found(&self, package: &PackageRef) -> Option<Found> {
        self.state().found.get(package).cloned()
    }

    fn joined(&self, package: &PackageRef) -> watch::Receiver<Option<Outcome>> {
        let mut state = self.state();
        if let Some(waiting) = state.waiting.get(package) {
            return waiting.clone();
        }
        let (tell, told) = watch::channel(None);
        state.waiting.insert(package.clone(), told.clone());
        tokio::spawn(self.clone().run(package.clone(), tell));
        told
    }

    async fn run(self, package: PackageRef, tell: watch::Sender<Option<Outcome>>) {
        // Nobody closes it.
        let _slot = self.0.slots.acquire().await;
        let (checker, meant) = (self.clone(), package.clone());
        let checked = tokio::task::spawn_blocking(move || {
            // Whoever asks from here on may mean a change of a file that is read already: they get a check of their own.
            checker.state().waiting.remove(&meant);
            (checker.0.check)(&meant)
        });
        let outcome = checked.await.unwrap_or_else(|error| {
            Err(InstallError::Io {
                path: package.root.clone(),
                source: io::Error::other(error),
            })
        });
        self.note(package, &outcome);
        tell.send_replace(Some(Arc::new(outcome)));
    }

    fn note(&self, package: PackageRef, outcome: &Result<(), InstallError>) {
        let found = Found {
            at_ms: self.0.clock.now().wall_ms,
            problem: outcome.as_ref().err().map(ToString::to_string),
        };
        let mut state = self.state();
        state.found.insert(package, found);
        if state.found.len() > FOUND_MAX {
            let oldest = state.found.iter().min_by_key(|(_, found)| found.at_ms);
            if let Some(oldest) = oldest.map(|(package, _)| package.clone()) {
                state.found.remove(&oldest);
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Checker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Checker").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use super::*;
    use crate::clock::VirtualClock;

    /// A checker whose checks say that they began and end when they are told.
    struct Rig {
        checker: Checker,
        began: tokio::sync::mpsc::UnboundedReceiver<String>,
        end: mpsc::Sender<()>,
        most: Arc<AtomicUsize>,
    }

    #[expect(clippy::disallowed_methods, reason = "a test counts what there is")]
    fn rig() -> Rig {
        let (tell, began) = tokio::sync::mpsc::unbounded_channel();
        let (end, ends) = mpsc::channel();
        let ends = Mutex::new(ends);
        let (running, most) = (AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
        let seen = most.clone();
        let check = move |package: &PackageRef| {
            let now = running.fetch_add(1, Ordering::SeqCst) + 1;
            seen.fetch_max(now, Ordering::SeqCst);
            tell.send(package.sha256.clone()).unwrap();
            ends.lock().unwrap().recv().unwrap();
            running.fetch_sub(1, Ordering::SeqCst);
            Ok(())
        };
        Rig {
            checker: Checker::with(Arc::new(VirtualClock::new(0)), check),
            began,
            end,
            most,
        }
    }

    fn package(name: &str) -> PackageRef {
        PackageRef {
            root: PathBuf::from(name),
            sha256: name.to_owned(),
        }
    }

    /// Proves T3 (checked at start): starts that come together share one check; one that comes while it runs is answered
    /// by the next, since files that were read already may have changed.
    #[tokio::test]
    async fn those_who_ask_together_share_a_check_that_begins_after_they_asked() {
        let mut rig = rig();
        let together: Vec<_> = (0..20).map(|_| rig.checker.ask(&package("a"))).collect();
        assert_eq!(rig.began.recv().await.unwrap(), "a");
        let late: Vec<_> = (0..20).map(|_| rig.checker.ask(&package("a"))).collect();
        // Both checks may run by now, and either may be the one that is told first.
        rig.end.send(()).unwrap();
        rig.end.send(()).unwrap();
        for one in together {
            assert!(one.await.is_ok());
        }
        assert_eq!(rig.began.recv().await.unwrap(), "a");
        for one in late {
            assert!(one.await.is_ok());
        }
        assert!(rig.began.try_recv().is_err(), "two checks for forty");
        assert!(rig.checker.found(&package("a")).is_some());
        assert!(rig.checker.found(&package("b")).is_none());
    }

    /// Proves T3 (checked at start): whoever has every package checked holds up no start: it has one place at a time.
    #[tokio::test]
    async fn those_who_ask_in_turn_leave_the_other_places() {
        let mut rig = rig();
        let all: Vec<PackageRef> = (0..10).map(|number| package(&number.to_string())).collect();
        let checker = rig.checker.clone();
        let verifying = tokio::spawn(async move { checker.ask_in_turn(&all).await });
        assert_eq!(rig.began.recv().await.unwrap(), "0");
        let start = rig.checker.ask(&package("start"));
        // Second of all, and not behind the ten.
        assert_eq!(rig.began.recv().await.unwrap(), "start");
        for _ in 0..11 {
            rig.end.send(()).unwrap();
        }
        assert!(start.await.is_ok());
        verifying.await.unwrap();
        assert_eq!(rig.most.load(Ordering::SeqCst), 2);
    }

    /// Proves T3 (checked at start): a hundred packages leave the daemon's other blocking work its threads.
    #[tokio::test]
    async fn a_few_checks_run_at_a_time() {
        let mut rig = rig();
        let names: Vec<String> = (0..100).map(|number| number.to_string()).collect();
        let asked: Vec<_> = names
            .iter()
            .map(|name| rig.checker.ask(&package(name)))
            .collect();
        for _ in &names {
            rig.end.send(()).unwrap();
        }
        for one in asked {
            assert!(one.await.is_ok());
        }
        assert!(rig.most.load(Ordering::SeqCst) <= CHECKS_MAX);
        let mut began = Vec::new();
        while let Ok(name) = rig.began.try_recv() {
            began.push(name);
        }
        assert_eq!(began.len(), names.len());
    }
}
