//! A process is started once its package is found to be what was installed, and never where its config says why it cannot
//! run.
//!
//! The check is no part of the start: the time that a start may take begins when the check is done, however large the
//! package is and however many wait for theirs. A start that is not wanted any more waits for no check.
//!
//! Invariant: nothing of a package runs unless a check that began after its start was asked for found it intact.

use super::Engine;
use crate::instance::InstanceKey;
use crate::supervisor::instance::Input;
use crate::supervisor::launcher::LaunchFailure;
use crate::supervisor::process::{News, Teller};
use crate::supervisor::spawn::{refusal, start};

impl Engine {
    /// Starts the process of an instance, after a check where it comes from a package; of one that is not fit to run, nothing.
    pub(super) fn start_process(&mut self, key: &InstanceKey) {
        let teller = self.teller(key);
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        let spec = entry.spec.clone();
        let outcome = match (&spec.unfit, &spec.package) {
            (Some(_), _) => None,
            (None, Some(package)) => Some(self.checker.ask(package)),
            (None, None) => return self.launch(key),
        };
        self.checks += 1;
        let number = self.checks;
        entry.check = Some(number);
        tokio::spawn(async move {
            let failure = if let Some(outcome) = outcome {
                let outcome = outcome.await;
                let failure = outcome.as_ref().as_ref().err();
                failure.map(|error| refusal(&spec, error))
            } else {
                let why = spec.unfit.clone();
                why.map(|why| LaunchFailure::refused(&spec.dir, why))
            };
            teller.tell(News::Checked(number, failure)).await;
        });
    }

    /// A check has ended.
    pub(super) fn checked(
        &mut self,
        key: &InstanceKey,
        number: u64,
        failure: Option<LaunchFailure>,
    ) {
        let entry = self.entries.get_mut(key);
        let Some(entry) = entry.filter(|entry| entry.check == Some(number)) else {
            // Of a start that was given up.
            return;
        };
        entry.check = None;
        match failure {
            None => {
                self.launch(key);
                self.feed(key, Input::Checked);
            }
            Some(failure) => {
                self.teller(key).log_not_spawned(&failure);
                self.hear(key, News::NotSpawned(failure));
            }
        }
    }

    /// Gives a start up that is not wanted any more and waits for its check.
    pub(super) fn settle_check(&mut self, key: &InstanceKey) {
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        if entry.check.is_some() && !entry.machine.wants_start() {
            entry.check = None;
            self.feed(key, Input::SpawnFailed("not wanted any more".to_owned()));
        }
    }

    fn launch(&mut self, key: &InstanceKey) {
        let Some(entry) = self.entries.get(key) else {
            return;
        };
        let answer = start(self.spawner.clone(), entry.spec.clone());
        tokio::spawn(self.teller(key).accompany(answer));
    }

    fn teller(&self, key: &InstanceKey) -> Teller {
        Teller {
            key: key.clone(),
            news: self.news.clone(),
            logs: self.logs.clone(),
        }
    }
}
