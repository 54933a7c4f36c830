//! Which webhooks there are: those of manifests, and those that instances declared beside them.
//!
//! | key | value |
//! |---|---|
//! | `h/<plugin>/<instance>` | what the instance declared beyond its manifest, as JSON |
//!
//! They hold while the plugin is down, also over a restart of the broker.

use std::sync::Arc;

use rustc_hash::FxHashMap;
use trunkline_contract::error::{Code, Error};
use trunkline_contract::limits::WEBHOOKS_MAX;
use trunkline_contract::webhook::Webhook;
use trunkline_patterns::signature::Verifier;

use crate::clock::Now;
use crate::core::batch::Ticket;
use crate::core::boot::scan_all;
use crate::core::instance::InstanceSetup;
use crate::core::state::Core;
use crate::instance::InstanceKey;
use crate::store::{Commit, Expect, Failed, Reader, Seq, StateOp};

use super::waiting::Waiting;

/// One webhook of one instance, ready to take requests.
#[derive(Debug)]
pub struct Endpoint {
    /// Whose it is.
    pub key: InstanceKey,
    /// What is declared.
    pub webhook: Webhook,
    /// Checks its requests.
    pub verifier: Verifier,
    /// Where its requests go.
    pub(super) topic: Box<str>,
    /// Who publishes them.
    pub(super) source: Arc<str>,
}

/// Every webhook, and the requests that wait.
#[derive(Debug, Default)]
pub(crate) struct Hooks {
    /// Of each configured instance; why not, where one cannot be served.
    endpoints: FxHashMap<InstanceKey, Vec<Result<Arc<Endpoint>, Unusable>>>,
    /// What instances declared beyond their manifests.
    declared: FxHashMap<InstanceKey, Vec<Webhook>>,
    pub(super) waiting: FxHashMap<Seq, Waiting>,
    /// Begins the addresses of webhooks.
    pub(super) url: Option<String>,
}

#[derive(Debug, Clone)]
struct Unusable {
    kind: String,
    name: Option<String>,
    why: String,
}

/// Reads what earlier lives were told.
pub(crate) fn restore(reader: &mut dyn Reader, now: Now) -> Result<Hooks, Failed> {
    let mut hooks = Hooks::default();
    for entry in scan_all(reader, b"h/", now)? {
        let key = InstanceKey::parse(&String::from_utf8_lossy(&entry.key[2..]));
        let declared = serde_json::from_slice(&entry.value).map_err(|error| Failed {
            reason: format!("expected webhooks at h/{key}, found something else: {error}"),
        })?;
        hooks.declared.insert(key, declared);
    }
    Ok(hooks)
}

impl Core {
    /// Notes what the addresses of webhooks begin with, such as `https://bots.example.com/hooks`.
    pub fn set_hooks_url(&mut self, url: String) {
        self.hooks.url = Some(url);
    }

    pub(crate) fn hooks_url(&self) -> Option<String> {
        self.hooks.url.clone()
    }

    /// Adds to a setup what its instance declared in an earlier life.
    pub(crate) fn with_declared_webhooks(&self, mut setup: InstanceSetup) -> InstanceSetup {
        for webhook in self.hooks.declared.get(&setup.key).into_iter().flatten() {
            if setup.kinds.contains(&webhook.kind) {
                setup.grants.add_webhook(&webhook.kind, &setup.key.instance);
            }
        }
        setup
    }

    /// Makes the webhooks of an instance anew: its setup or its declarations changed.
    pub(crate) fn open_webhooks(&mut self, key: &InstanceKey) {
        let Some(instance) = self.instances.get(key) else {
            self.hooks.endpoints.remove(key);
            return;
        };
        let setup = &instance.setup;
        let declared = self.hooks.declared.get(key).into_iter().flatten();
        // What the manifest has in the meantime counts more than what was declared before.
        let declared = declared.filter(|webhook| {
            let is_its = |other: &Webhook| other.label() == webhook.label();
            setup.kinds.contains(&webhook.kind) && !setup.webhooks.iter().any(is_its)
        });
        let opened: Vec<_> = setup
            .webhooks
            .iter()
            .chain(declared)
            .map(|webhook| open(setup, webhook))
            .collect();
        let problems: Vec<String> = opened
            .iter()
            .filter_map(|opened| opened.as_ref().err())
            .map(|unusable| format!("webhook {}: {}", unusable.kind, unusable.why))
            .collect();
        if opened.is_empty() {
            self.hooks.endpoints.remove(key);
        } else {
            self.hooks.endpoints.insert(key.clone(), opened);
        }
        for problem in problems {
            self.log_line(key, "error", problem);
        }
    }

    /// Finds a webhook by the parts of its path, and says what time it is.
    ///
    /// # Errors
    /// `not_found` when there is none, `unrouted` when several instances have it and none was named,
    /// `unavailable` when its secrets cannot be used.
    pub fn webhook(
        &self,
        kind: &str,
        instance: Option<&str>,
        name: Option<&str>,
    ) -> Result<(Arc<Endpoint>, Now), Error> {
        let of_kind = self.hooks.endpoints.iter().filter(|(key, endpoints)| {
            instance.is_none_or(|instance| &*key.instance == instance)
                && endpoints.iter().any(|found| is_named(found, kind, name))
        });
        let mut found = of_kind.flat_map(|(_, endpoints)| endpoints);
        let Some(first) = found.find(|found| is_named(found, kind, name)) else {
            return Err(Error::new(Code::NotFound, "there is no such webhook"));
        };
        if found.any(|other| is_named(other, kind, name)) {
            let text = "expected the instance in the path: several have this webhook";
            return Err(Error::new(Code::Unrouted, text));
        }
        match first {
            Ok(endpoint) => Ok((endpoint.clone(), self.now)),
            Err(_) => {
                let text = "the secrets of this webhook cannot be used; see the instance's log";
                Err(Error::new(Code::Unavailable, text).retry_after(30_000))
            }
        }
    }

    /// The secret that requests to a webhook are signed with first, for who plays its provider.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn webhook_secret(&self, endpoint: &Endpoint) -> Option<String> {
        let setup = &self.instances.get(&endpoint.key)?.setup;
        secrets_of(setup, &endpoint.webhook).into_iter().next()
    }

    /// `declares.webhooks` of an answer to `initialize`.
    pub(crate) fn declared_webhooks(
        &mut self,
        key: &InstanceKey,
        value: Option<&serde_json::Value>,
    ) -> Result<(), Error> {
        let conflict = |text: String| Error::new(Code::DeclarationConflict, text);
        let webhooks: Vec<Webhook> = match value {
            None => Vec::new(),
            Some(value) => serde_json::from_value(value.clone())
                .map_err(|error| conflict(format!("expected webhooks, found {error}")))?,
        };
        let instance = self.instances.get_mut(key).expect("bound to its link");
        let setup = &mut instance.setup;
        if webhooks.len() + setup.webhooks.len() > WEBHOOKS_MAX {
            let found = webhooks.len();
            return Err(conflict(format!(
                "expected at most {WEBHOOKS_MAX} webhooks, found {found}"
            )));
        }
        let mut added: Vec<Webhook> = Vec::new();
        for webhook in webhooks {
            let label = webhook.label();
            if let Err((field, text)) = webhook.check() {
                return Err(conflict(format!("webhook {label}: {field}: {text}")));
            }
            if webhook.source().is_some() {
                return Err(conflict(format!(
                    "webhook {label}: part and receipt are the manifest's alone; handle its requests"
                )));
            }
            if !setup.kinds.contains(&webhook.kind) {
                let kinds = setup.kinds.join(", ");
                return Err(conflict(format!(
                    "expected a kind of the manifest ({kinds}), found {:?}",
                    webhook.kind
                )));
            }
            let known = setup.webhooks.iter().find(|other| other.label() == label);
            match known {
                Some(known) if *known == webhook => {}
                Some(_) => {
                    return Err(conflict(format!(
                        "expected webhook {label} as in the manifest, found another"
                    )));
                }
                None if added.iter().any(|other| other.label() == label) => {
                    return Err(conflict(format!("webhook {label} is declared twice")));
                }
                None => added.push(webhook),
            }
        }
        let is_known = self.hooks.declared.get(key).map_or(&[][..], Vec::as_slice) == added;
        if is_known {
            return Ok(());
        }
        for webhook in &added {
            setup.grants.add_webhook(&webhook.kind, &key.instance);
        }
        let setup = setup.clone();
        self.remember(key, added);
        self.subscribe_main(&setup)?;
        self.open_webhooks(key);
        Ok(())
    }

    fn remember(&mut self, key: &InstanceKey, added: Vec<Webhook>) {
        let value = (!added.is_empty())
            .then(|| serde_json::to_vec(&added).expect("texts and numbers have a JSON form"));
        let commit = Commit {
            state: vec![StateOp {
                key: format!("h/{}/{}", key.plugin, key.instance).into_bytes(),
                value,
                expect: Expect::Any,
                expires_at_ms: None,
            }],
            ..Commit::default()
        };
        self.stage(commit, Ticket::Nothing);
        if added.is_empty() {
            self.hooks.declared.remove(key);
        } else {
            self.hooks.declared.insert(key.clone(), added);
        }
    }
}

fn is_named(found: &Result<Arc<Endpoint>, Unusable>, kind: &str, name: Option<&str>) -> bool {
    match found {
        Ok(endpoint) => endpoint.webhook.kind == kind && endpoint.webhook.name.as_deref() == name,
        Err(unusable) => unusable.kind == kind && unusable.name.as_deref() == name,
    }
}

/// The secrets of a webhook that its instance's config has; a second one need not be there: it is,
/// while the two are changed over.
fn secrets_of(setup: &InstanceSetup, webhook: &Webhook) -> Vec<String> {
    let secrets = webhook.secret.iter();
    secrets
        .filter_map(|text| Webhook::filled(text, |key| value_of(setup, key)).ok())
        .filter(|secret| !secret.is_empty())
        .collect()
}

fn value_of(setup: &InstanceSetup, key: &str) -> Option<String> {
    match setup.secrets.get(key) {
        Some(secret) => Some(secret.clone()),
        None => setup.config.get(key)?.as_str().map(str::to_owned),
    }
}

fn open(setup: &InstanceSetup, webhook: &Webhook) -> Result<Arc<Endpoint>, Unusable> {
    let unusable = |why: String| Unusable {
        kind: webhook.kind.clone(),
        name: webhook.name.clone(),
        why,
    };
    let secrets = secrets_of(setup, webhook);
    if secrets.is_empty() {
        let keys: Vec<&str> = webhook.config_keys().collect();
        let text = format!(
            "expected a secret in config.{}, found none",
            keys.join(" or config.")
        );
        return Err(unusable(text));
    }
    let verify_token = webhook.verify_token.as_ref();
    let verify_token =
        verify_token.and_then(|text| Webhook::filled(text, |key| value_of(setup, key)).ok());
    let verifier = Verifier::of(webhook, &secrets, verify_token);
    let verifier = verifier.map_err(|error| unusable(error.to_string()))?;
    let (kind, instance) = (&webhook.kind, &setup.key.instance);
    Ok(Arc::new(Endpoint {
        key: setup.key.clone(),
        topic: format!("plugin.hook.{kind}.{instance}").into(),
        source: format!("hook:{kind}/{instance}").into(),
        webhook: webhook.clone(),
        verifier,
    }))
}
