//! The config read again while the daemon runs.
//!
//! It is judged as a whole before anything is touched, and then only what differs is. A change of `hot` keys alone is offered to the
//! plugin: what it refuses is not in force, neither here nor in the core, so that the next reload of the same file offers it again.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustc_hash::{FxHashMap, FxHashSet};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};
use trunkline_contract::error::{Code, Error};
use trunkline_contract::rpc::admin::ConfigReloadResult;

use crate::config::{Changes, Config, InstanceChange, diff};
use crate::core::{ConfigAnswer, Tokens};
use crate::instance::InstanceKey;
use crate::runtime::Broker;
use crate::supervisor::Supervisor;

use super::shared::Shared;
use super::start::tokens;

/// How long a reload waits for plugins to take another config; then it says which did not answer.
const CONFIG_ANSWER_MAX: Duration = Duration::from_secs(10);

/// Configs that running plugins were offered.
#[derive(Debug, Default)]
pub(super) struct Offers {
    /// Those of the reload that is under way.
    waiting: Mutex<FxHashMap<(InstanceKey, u64), oneshot::Sender<ConfigAnswer>>>,
    /// Instances that were offered one and did not say whether they took it.
    unknown: Mutex<FxHashSet<String>>,
}

impl Offers {
    /// A plugin answered, or will not any more.
    pub(super) fn answered(&self, key: InstanceKey, revision: u64, answer: ConfigAnswer) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let waits = waiting.remove(&(key, revision));
        if waits.is_none_or(|waits| waits.send(answer).is_err()) {
            tracing::debug!("Nobody waits for this answer to a config any more.");
        }
    }

    fn wait(&self, key: &InstanceKey, revision: u64) -> oneshot::Receiver<ConfigAnswer> {
        let (answered, answer) = oneshot::channel();
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.insert((key.clone(), revision), answered);
        answer
    }

    /// Nobody waits any more.
    fn end(&self) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.clear();
    }

    /// Instances of which it is not known which config they have; those are offered theirs again.
    fn take_unknown(&self) -> FxHashSet<String> {
        let mut unknown = self.unknown.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *unknown)
    }

    fn note_unknown(&self, key: &str) {
        let mut unknown = self.unknown.lock().unwrap_or_else(PoisonError::into_inner);
        unknown.insert(key.to_owned());
    }
}

/// One config that a plugin is offered.
struct Offered {
    key: InstanceKey,
    answer: oneshot::Receiver<ConfigAnswer>,
}

/// One config that is not in force, although it was read.
struct NotTaken {
    key: String,
    why: Why,
}

enum Why {
    Refused(Error),
    Gone,
    NoAnswer,
}

impl Shared {
    /// Reads the config again; a bad one changes nothing. Only what differs is touched.
    pub(super) async fn reload(
        &self,
        broker: &Broker,
        supervisor: &Supervisor,
    ) -> Result<ConfigReloadResult, Error> {
        let _one_at_a_time = self.one_at_a_time().await;
        let new = self.read_again()?;
        let old = self.config();
        let mut changes = diff(&old, &new);
        if let Some(path) = changes.needs_daemon_restart().first() {
            let text = format!(
                "the old config stays in force: {path} changed, which needs a new start of the daemon"
            );
            return Err(Error::new(Code::ConfigInvalid, text));
        }
        let tokens = tokens(&new, &self.token)?;
        // Before anything can log one of the new secrets; the old ones are in use still.
        let mut both = new.clone();
        both.instances.extend(old.instances.iter().cloned());
        *self.redactor.write().expect("no panic while held") = both.redactor();
        offer_again(&mut changes, &new, self.offers.take_unknown());
        self.count_epochs(&changes);
        let offered = self.tell_core(broker, &new, &changes, tokens).await?;
        self.apply(broker, supervisor, &new).await?;
        let removed = keys(&changes.removed);
        broker
            .with(move |core| removed.iter().for_each(|key| core.remove(key, true)))
            .await?;
        self.settings.send_replace(new.broker.clone());
        let not_taken = self.answers(offered, &mut changes).await;
        self.put_in_force(without(new, &not_taken, &old));
        if !not_taken.is_empty() {
            // Who refused one has seen its secrets.
            *self.redactor.write().expect("no panic while held") = both.redactor();
        }
        let changes = told(&changes);
        if not_taken.is_empty() {
            Ok(ConfigReloadResult { changes })
        } else {
            Err(self.refusal(&not_taken, &changes))
        }
    }

    /// Notes which instances need a new process, because their config changed and is not hot.
    fn count_epochs(&self, changes: &Changes) {
        let mut epochs = self.epochs.lock().expect("no panic while held");
        for change in &changes.changed {
            if change.config && !change.is_hot {
                *epochs.entry(change.key.clone()).or_default() += 1;
            }
        }
    }

    /// Gives the core what changed, and running plugins what is theirs.
    async fn tell_core(
        &self,
        broker: &Broker,
        new: &Config,
        changes: &Changes,
        tokens: Tokens,
    ) -> Result<Vec<Offered>, Error> {
        let touched: HashSet<&String> = changes
            .added
            .iter()
            .chain(changes.changed.iter().map(|change| &change.key))
            .collect();
        let setups: Vec<_> = new
            .instances
            .iter()
            .filter(|spec| touched.contains(&spec.key()))
            .map(|spec| new.instance_setup(spec))
            .collect();
        let offers = changes.changed.iter().filter(|change| is_offer(change));
        let hot: HashSet<InstanceKey> = offers
            .map(|change| InstanceKey::parse(&change.key))
            .collect();
        let revision = self.revision.fetch_add(1, Ordering::Relaxed) + 1;
        self.offers.end();
        let mut waiting: Vec<Offered> = hot
            .iter()
            .map(|key| Offered {
                key: key.clone(),
                answer: self.offers.wait(key, revision),
            })
            .collect();
        let offered: Result<HashSet<InstanceKey>, Error> = broker
            .with(move |core| {
                core.change_clients(tokens);
                let mut offered = HashSet::new();
                for setup in setups {
                    let key = setup.key.clone();
                    if !hot.contains(&key) {
                        core.configure(setup)?;
                    } else if core.change_config(setup, revision)? {
                        offered.insert(key);
                    }
                }
                Ok(offered)
            })
            .await?;
        let offered = offered?;
        waiting.retain(|one| offered.contains(&one.key));
        Ok(waiting)
    }

    /// Waits for what plugins make of their configs, and notes in the changes which of them took one while it runs.
    async fn answers(&self, offered: Vec<Offered>, changes: &mut Changes) -> Vec<NotTaken> {
        let limit = Instant::now() + CONFIG_ANSWER_MAX;
        let mut not_taken = Vec::new();
        let mut taken = HashSet::new();
        for Offered { key, answer } in offered {
            let name = key.to_string();
            let why = match timeout_at(limit, answer).await {
                Ok(Ok(ConfigAnswer::Taken)) => {
                    taken.insert(name);
                    continue;
                }
                Ok(Ok(ConfigAnswer::AtNextStart)) => continue,
                Ok(Ok(ConfigAnswer::Refused(error))) => Why::Refused(error),
                Ok(Ok(ConfigAnswer::Gone)) => Why::Gone,
                Ok(Err(_)) | Err(_) => {
                    self.offers.note_unknown(&name);
                    Why::NoAnswer
                }
            };
            not_taken.push(NotTaken { key: name, why });
        }
        self.offers.end();
        for change in &mut changes.changed {
            change.is_hot &= taken.contains(&change.key);
            change.config &= not_taken.iter().all(|one| one.key != change.key);
        }
        not_taken.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        not_taken
    }

    /// Says which plugins did not take their config, and what was done beside that.
    fn refusal(&self, not_taken: &[NotTaken], changes: &[String]) -> Error {
        let mut lines = Vec::new();
        let (mut code, mut hint) = (Code::Unavailable, "trunkline config reload offers it again");
        for NotTaken { key, why } in not_taken {
            lines.push(match why {
                Why::Refused(error) => {
                    code = Code::ConfigInvalid;
                    if error.code == Code::NotImplemented {
                        hint = "its manifest calls a key hot that it cannot change while it runs";
                    }
                    format!("{key} refused its new config, the old one stays in force: {error}")
                }
                Why::Gone => format!(
                    "{key} ended before it took its new config, the old one stays in force"
                ),
                Why::NoAnswer => format!(
                    "{key} did not say within {} s whether it takes its new config; until it does, the old one stays in force",
                    CONFIG_ANSWER_MAX.as_secs()
                ),
            });
        }
        lines.extend(changes.iter().map(|line| format!("done: {line}")));
        let text = match lines.as_slice() {
            [one] => one.clone(),
            lines => format!("not everything is in force:\n  {}", lines.join("\n  ")),
        };
        let text = format!("{text}; hint: {hint}");
        let refused: Vec<&str> = not_taken.iter().map(|one| one.key.as_str()).collect();
        let detail = serde_json::json!({ "refused": refused, "changes": changes });
        Error::new(code, self.redactor()(&text).into_owned()).detail(detail)
    }
}

/// Says whether a change is given to the process that runs.
fn is_offer(change: &InstanceChange) -> bool {
    change.is_hot && change.enabled.is_none()
}

/// Has the instances of which it is not known which config they have be offered the one that was read.
fn offer_again(changes: &mut Changes, new: &Config, unknown: FxHashSet<String>) {
    let mut unknown: Vec<String> = unknown.into_iter().collect();
    unknown.sort_unstable();
    for key in unknown {
        if !new.instances.iter().any(|spec| spec.key() == key) {
            continue;
        }
        let known = changes.changed.iter_mut().find(|one| one.key == key);
        match known {
            Some(change) if change.config || change.process => {}
            Some(change) => (change.config, change.is_hot) = (true, true),
            None => changes.changed.push(InstanceChange {
                key,
                enabled: None,
                config: true,
                is_hot: true,
                grants: false,
                process: false,
            }),
        }
    }
}

/// The config as it was read, but with what is in force where that is something else.
fn without(mut new: Config, not_taken: &[NotTaken], old: &Config) -> Config {
    for spec in &mut new.instances {
        if not_taken.iter().all(|one| one.key != spec.key()) {
            continue;
        }
        if let Some(before) = old.instance(&spec.plugin, &spec.instance) {
            spec.config = before.config.clone();
            spec.secrets = before.secrets.clone();
        }
    }
    new
}

fn keys(names: &[String]) -> Vec<InstanceKey> {
    names.iter().map(|name| InstanceKey::parse(name)).collect()
}

/// What changed, a line each.
fn told(changes: &Changes) -> Vec<String> {
    let mut told: Vec<String> = Vec::new();
    told.extend(changes.added.iter().map(|key| format!("{key} added")));
    told.extend(changes.removed.iter().map(|key| format!("{key} removed")));
    for change in &changes.changed {
        let mut what = Vec::new();
        match change.enabled {
            Some(true) => what.push("enabled"),
            Some(false) => what.push("disabled"),
            None => {}
        }
        if change.config {
            what.push(if change.is_hot {
                "config, while it runs"
            } else {
                "config"
            });
        }
        if change.grants {
            what.push("grants");
        }
        if change.process {
            what.push("process");
        }
        if !what.is_empty() {
            told.push(format!("{} changed: {}", change.key, what.join(", ")));
        }
    }
    told.extend(
        changes
            .clients
            .iter()
            .map(|name| format!("client {name} changed")),
    );
    told.extend(
        changes
            .settings
            .iter()
            .map(|path| format!("{path} changed")),
    );
    told
}
