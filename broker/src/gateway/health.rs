//! `/healthz` and `/readyz`: for whoever starts and watches the daemon.
//!
//! A plugin that fails does not make the daemon unready by itself: events and webhooks for it are taken and
//! kept. Only the instances of `http.required` do.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trunkline_contract::rpc::InstanceState;

use super::api::Operation;
use super::auth;
use super::error::Failure;
use super::state::Gateway;
use crate::core::metrics::Readiness;
use crate::instance::InstanceKey;

/// Lists what is asked here.
pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new("GET", "/healthz", live)
            .named("about", "health", "Answers as long as the daemon does.")
            .open()
            .answer::<Health>("It lives."),
        Operation::new("GET", "/readyz", ready)
            .named("about", "readiness", "Says whether work can be done.")
            .open()
            .answer::<Ready>("It can.")
            .answer_as::<Ready>(503, "application/json", "It cannot."),
    ]
}

/// Says how the daemon is, in one word.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(super) struct Health {
    /// `ok`.
    pub(super) status: String,
}

/// Says whether work can be done, and what stands in its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(super) struct Ready {
    /// `ready` or `not_ready`.
    pub(super) status: String,
    /// What an acknowledged event survives: `fsync` (a power cut) or `none`. For a known token alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) durability: Option<String>,
    /// Why it is not ready: `draining`, `disk_full`, `instances`.
    #[serde(default)]
    pub(super) because: Vec<String>,
    /// Instances that should serve and do not, required or not. For a known token alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) instances: Vec<Absent>,
}

/// Is an instance that should serve and does not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(super) struct Absent {
    /// The plugin.
    pub(super) plugin: String,
    /// The instance.
    pub(super) instance: String,
    /// Its state.
    pub(super) state: InstanceState,
    /// The daemon is not ready without it.
    pub(super) is_required: bool,
}

/// Answers as long as the process does.
pub(super) async fn live() -> Json<Health> {
    Json(Health {
        status: "ok".to_owned(),
    })
}

/// Answers whether work can be done.
pub(super) async fn ready(
    State(gateway): State<Arc<Gateway>>,
    headers: HeaderMap,
) -> Result<(StatusCode, Json<Ready>), Failure> {
    let is_known = match auth::find(&headers)? {
        Some(token) => {
            let port = gateway.ports.of(&token).await?;
            let scopes = port.scopes();
            scopes.is_admin() || !scopes.reads().is_empty()
        }
        None => false,
    };
    let readiness = gateway.broker.with(|core| core.readiness()).await?;
    let mut ready = judge(&readiness, &gateway.config.required);
    if !is_known {
        // Strangers learn whether, and not what.
        ready.durability = None;
        ready.instances.clear();
    }
    let status = if ready.because.is_empty() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    Ok((status, Json(ready)))
}

fn judge(readiness: &Readiness, required: &[String]) -> Ready {
    let is_required = |key: &InstanceKey| {
        let names = required.iter();
        names
            .map(|name| {
                name.split_once('/')
                    .map_or((&**name, None), |(p, i)| (p, Some(i)))
            })
            .any(|(plugin, instance)| {
                plugin == &*key.plugin && instance.is_none_or(|name| name == &*key.instance)
            })
    };
    let mut instances: Vec<Absent> = Vec::new();
    for (key, state) in &readiness.instances {
        let serves = matches!(state, InstanceState::Ready | InstanceState::Degraded);
        // Nobody misses what was switched off, unless it is required.
        let is_off = matches!(state, InstanceState::Disabled | InstanceState::Paused);
        let is_required = is_required(key);
        if serves || (is_off && !is_required) {
            continue;
        }
        instances.push(Absent {
            plugin: key.plugin.to_string(),
            instance: key.instance.to_string(),
            state: *state,
            is_required,
        });
    }
    let because = [
        (readiness.is_draining, "draining"),
        (readiness.is_disk_full, "disk_full"),
        (
            instances.iter().any(|absent| absent.is_required),
            "instances",
        ),
    ];
    let because: Vec<String> = because
        .into_iter()
        .filter(|(is_so, _)| *is_so)
        .map(|(_, word)| word.to_owned())
        .collect();
    let status = if because.is_empty() {
        "ready"
    } else {
        "not_ready"
    };
    Ready {
        status: status.to_owned(),
        durability: Some(readiness.durability.to_owned()),
        because,
        instances,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn readiness(states: &[(&str, InstanceState)]) -> Readiness {
        Readiness {
            durability: "fsync",
            is_draining: false,
            is_disk_full: false,
            instances: states
                .iter()
                .map(|(name, state)| (InstanceKey::parse(name), *state))
                .collect(),
        }
    }

    /// Proves O2: ready is false while a required instance does not serve; one that is not required is
    /// named and changes nothing.
    #[test]
    fn only_a_required_instance_makes_the_daemon_unready() {
        let states = readiness(&[
            ("mail/a", InstanceState::Ready),
            ("mail/b", InstanceState::BackingOff),
            ("sms/main", InstanceState::Disabled),
        ]);
        let of = |required: &[&str]| {
            let required: Vec<String> = required.iter().map(|&name| name.to_owned()).collect();
            judge(&states, &required)
        };
        assert_eq!(of(&[]).status, "ready");
        assert_eq!(of(&["mail/a"]).instances.len(), 1);
        for required in ["mail", "mail/b", "sms"] {
            let ready = of(&[required]);
            assert_eq!(ready.status, "not_ready", "{required}");
            assert_eq!(ready.because, ["instances"]);
            assert!(ready.instances.iter().any(|absent| absent.is_required));
        }
    }

    #[test]
    fn a_full_disk_and_a_drain_are_said() {
        let ready = judge(
            &Readiness {
                is_draining: true,
                is_disk_full: true,
                ..readiness(&[])
            },
            &[],
        );
        assert_eq!(ready.because, ["draining", "disk_full"]);
    }
}
