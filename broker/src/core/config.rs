//! Another config for an instance that runs: offered to its plugin, and in force once that took it.
//!
//! Invariant: what a handshake gives a plugin is the config in force, which is the last that its plugin took, or, where none ran,
//! the last that was configured. One that was refused, or never answered by a process that has ended, is not.

use serde_json::value::RawValue;
use serde_json::{Map, Value};
use trunkline_contract::error::Error;
use trunkline_contract::rpc::admin::{Finding, Severity};
use trunkline_contract::rpc::{self, method};

use crate::instance::InstanceKey;
use crate::router::LinkId;

use super::doctor::FINDINGS_MAX;
use super::instance::InstanceSetup;
use super::limits::REASON_BYTES_MAX;
use super::peer::{Call, Peer, Phase};
use super::state::{Core, Output};

/// What a running plugin made of another config.
#[derive(Debug, Clone, PartialEq)]
pub enum ConfigAnswer {
    /// It took it.
    Taken,
    /// It went before its handshake was done: the next process is given it.
    AtNextStart,
    /// It refused it, and keeps what it has.
    Refused(Error),
    /// It went before it answered: the next process is given what was in force before.
    Gone,
}

/// What was sent with one `config.update`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Offer {
    revision: u64,
    /// Which configured state of the instance it was made for.
    epoch: u64,
    config: Map<String, Value>,
    secrets: rpc::Secrets,
}

impl Core {
    /// Changes what is known of an instance, as [`Core::configure`] does, but offers its config and secrets to the plugin that
    /// runs, if one does, instead of taking them into force. True if so: [`Output::ConfigAnswered`] follows.
    ///
    /// # Errors
    /// As [`Core::configure`].
    pub fn change_config(&mut self, setup: InstanceSetup, revision: u64) -> Result<bool, Error> {
        let key = setup.key.clone();
        let link = self.link_of(&key);
        let peer = link.and_then(|link| Some((link, self.peers.get(&link)?)));
        let link = peer.filter(|(_, peer)| peer.phase != Phase::Closing);
        let link = link.map(|(link, _)| link);
        let (Some(link), Some(instance)) = (link, self.instances.get(&key)) else {
            return self.configure(setup).map(|()| false);
        };
        let offer = Offer {
            revision,
            epoch: instance.config_epoch,
            config: setup.config.clone(),
            secrets: rpc::Secrets(setup.secrets.clone()),
        };
        let in_force = &instance.setup;
        let (config, secrets) = (in_force.config.clone(), in_force.secrets.clone());
        self.set_up(InstanceSetup {
            config,
            secrets,
            ..setup
        })?;
        let params = rpc::ConfigUpdateParams {
            config: offer.config.clone(),
            secrets: offer.secrets.clone(),
            revision,
        };
        let call = Call::ConfigUpdate(Box::new(offer));
        self.call(link, call, method::CONFIG_UPDATE, &params);
        Ok(true)
    }

    /// The answer to `config.update`.
    pub(crate) fn config_answered(
        &mut self,
        link: LinkId,
        offer: &Offer,
        answer: Result<&RawValue, Error>,
    ) {
        let peer = self.peers.get(&link);
        let Some(key) = peer.and_then(|peer| peer.instance().cloned()) else {
            return;
        };
        let revision = offer.revision;
        let answer = match answer {
            Ok(_) => {
                self.log_line(&key, "info", format!("took config revision {revision}"));
                self.take_config(&key, offer);
                ConfigAnswer::Taken
            }
            Err(error) => {
                let text =
                    format!("refused config revision {revision}, the old one stays: {error}");
                self.log_line(&key, "error", text);
                self.note_refused(&key, offer, error.to_string());
                ConfigAnswer::Refused(error)
            }
        };
        self.tell_answer(&key, offer, answer);
    }

    /// A link ended: what its plugin did not answer is decided.
    pub(crate) fn offers_end(&mut self, key: &InstanceKey, peer: &Peer) {
        let calls = peer.calls.iter();
        let mut offers: Vec<(&u64, &Offer)> = calls
            .filter_map(|(id, call)| match call {
                Call::ConfigUpdate(offer) => Some((id, &**offer)),
                _ => None,
            })
            .collect();
        offers.sort_unstable_by_key(|(id, _)| **id);
        for (_, offer) in offers {
            let answer = if peer.phase == Phase::Opening {
                self.take_config(key, offer);
                ConfigAnswer::AtNextStart
            } else {
                self.note_refused(key, offer, "it ended before it answered".to_owned());
                ConfigAnswer::Gone
            };
            self.tell_answer(key, offer, answer);
        }
    }

    fn tell_answer(&mut self, key: &InstanceKey, offer: &Offer, answer: ConfigAnswer) {
        let told = Output::ConfigAnswered(key.clone(), offer.revision, answer);
        self.outputs.push(told);
    }

    fn take_config(&mut self, key: &InstanceKey, offer: &Offer) {
        let instance = self.instances.get_mut(key);
        let Some(instance) = instance.filter(|one| one.config_epoch == offer.epoch) else {
            // It was configured anew since: what was offered before that counts no longer.
            return;
        };
        instance.refused_config = None;
        let setup = InstanceSetup {
            config: offer.config.clone(),
            secrets: offer.secrets.0.clone(),
            ..instance.setup.clone()
        };
        if let Err(error) = self.set_up(setup) {
            tracing::warn!(instance = %key, %error, "The config that was taken is not in force.");
        }
    }

    fn note_refused(&mut self, key: &InstanceKey, offer: &Offer, text: String) {
        let mut text = self.without_secrets(key, text);
        for secret in offer.secrets.0.values().filter(|one| !one.is_empty()) {
            text = text.replace(secret.as_str(), "***");
        }
        crate::router::cut(&mut text, REASON_BYTES_MAX);
        let instance = self.instances.get_mut(key);
        if let Some(instance) = instance.filter(|one| one.config_epoch == offer.epoch) {
            instance.refused_config = Some(text);
        }
    }

    /// One finding for each instance that goes on with another config than the one that was read.
    pub(super) fn config_findings(&self) -> Vec<Finding> {
        let refused = self.instances.iter().filter_map(|(key, instance)| {
            let why = instance.refused_config.as_ref()?;
            Some((key, why))
        });
        let mut refused: Vec<_> = refused.collect();
        refused.sort_unstable_by_key(|(key, _)| *key);
        let finding = |(key, why): (&InstanceKey, &String)| Finding {
            code: "config_refused".into(),
            severity: Severity::Warning,
            text: format!("{key} did not take its last config, the one before is in force: {why}"),
            hint: "change the config, then `trunkline config reload`".into(),
        };
        refused
            .into_iter()
            .take(FINDINGS_MAX)
            .map(finding)
            .collect()
    }
}
