//! `admin.doctor`: what looks wrong, worst first, each with what to do about it.

use rustc_hash::FxHashMap;
use serde::Deserialize;
use serde::de::IgnoredAny;
use trunkline_contract::error::Code;
use trunkline_contract::rpc::InstanceState;
use trunkline_contract::rpc::admin::{
    AdminStatusResult, Finding, InstanceStatus, Severity, SubscriptionState, SubscriptionStatus,
};
use trunkline_contract::topic::{Class, classify, is_private};

use crate::router::SubId;
use crate::store::StoredEvent;

use super::failure::LastFailure;
use super::state::Core;

/// Topics and sources remembered for findings; more are counted together.
const NOTES_MAX: usize = 64;
/// Findings of one kind; more are left out.
pub(super) const FINDINGS_MAX: usize = 20;

/// What was noticed since the start.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    /// Stored events that nobody subscribed to, by topic.
    unmatched: FxHashMap<Box<str>, u64>,
    /// Refused publishes, by source.
    refused: FxHashMap<(Box<str>, Code), u64>,
    /// The last failed attempt of each subscription.
    pub(super) failures: FxHashMap<SubId, LastFailure>,
}

impl Notes {
    /// Somebody should have heard this, and nobody did.
    pub(crate) fn unmatched(&mut self, event: &StoredEvent) {
        if is_for_whoever_asks(event) {
            return;
        }
        let topic = &*event.topic;
        let is_known = self.unmatched.contains_key(topic);
        let topic = if is_known || self.unmatched.len() < NOTES_MAX {
            topic
        } else {
            "other topics"
        };
        *self.unmatched.entry(topic.into()).or_default() += 1;
    }

    pub(crate) fn refused(&mut self, source: &str, code: Code) {
        let key = (source.into(), code);
        if self.refused.len() < NOTES_MAX || self.refused.contains_key(&key) {
            *self.refused.entry(key).or_default() += 1;
        }
    }
}

/// Says whether an event is there for those who want to know, so that nothing is wrong when nobody does: what the broker
/// says of itself, receipts, and answers to whoever asked. Dead letters are a finding of their own.
fn is_for_whoever_asks(event: &StoredEvent) -> bool {
    #[derive(Deserialize)]
    struct Head {
        #[serde(default)]
        correlation_id: Option<IgnoredAny>,
    }
    match classify(&event.topic) {
        Class::Delivery { .. } => true,
        Class::Inbound { .. } => serde_json::from_slice::<Head>(&event.envelope)
            .is_ok_and(|head| head.correlation_id.is_some()),
        Class::Tool { .. } => event.topic.ends_with(".reply"),
        _ => is_private(&event.topic),
    }
}

impl Core {
    pub(crate) fn findings(&self, status: &AdminStatusResult) -> Vec<Finding> {
        let mut findings = Vec::new();
        findings.extend(self.disk_finding(status.store.disk_used_percent));
        let instances = status.instances.iter().flat_map(instance_findings);
        findings.extend(instances.take(FINDINGS_MAX));
        let subscriptions = status.subscriptions.iter().filter_map(subscription_finding);
        findings.extend(subscriptions.take(FINDINGS_MAX));
        findings.extend(self.config_findings());
        findings.extend(self.failure_findings());
        findings.extend(self.unmatched_findings());
        findings.extend(self.refused_findings());
        let dead = self.dead.total();
        if dead > 0 {
            findings.push(Finding {
                code: "dead_letters".into(),
                severity: Severity::Warning,
                text: format!("{dead} dead letters wait for a decision"),
                hint: "look at them with `trunkline dlq list`, then replay or discard them".into(),
            });
        }
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        findings
    }

    fn disk_finding(&self, percent: f64) -> Option<Finding> {
        let retention = &self.options.retention;
        if percent >= f64::from(retention.disk_full_percent) {
            return Some(Finding {
                code: "disk_full".into(),
                severity: Severity::Error,
                text: format!("{percent:.0} % of the disk is used: publishes are refused"),
                hint: "free disk space, or lower retention".into(),
            });
        }
        (percent >= f64::from(retention.disk_warn_percent)).then(|| Finding {
            code: "disk_nearly_full".into(),
            severity: Severity::Warning,
            text: format!(
                "{percent:.0} % of the disk is used; at {} % publishes are refused",
                retention.disk_full_percent
            ),
            hint: "free disk space, or lower retention".into(),
        })
    }

    fn unmatched_findings(&self) -> Vec<Finding> {
        let mut topics: Vec<_> = self.notes.unmatched.iter().collect();
        topics.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
        topics
            .into_iter()
            .take(FINDINGS_MAX)
            .map(|(topic, count)| Finding {
                code: "events_unmatched".into(),
                severity: Severity::Warning,
                text: format!("{count} events on {topic} matched no subscription; they are kept"),
                hint: "subscribe to the topic, with start \"earliest\" to get what is kept".into(),
            })
            .collect()
    }

    fn refused_findings(&self) -> Vec<Finding> {
        let mut sources: Vec<_> = self.notes.refused.iter().collect();
        sources.sort_by(|a, b| b.1.cmp(a.1).then(a.0.0.cmp(&b.0.0)));
        sources
            .into_iter()
            .take(FINDINGS_MAX)
            .map(|((source, code), count)| Finding {
                code: "publishes_refused".into(),
                severity: Severity::Warning,
                text: format!(
                    "{count} publishes of {source} were refused: {}",
                    code.as_str()
                ),
                hint: code.summary().to_owned(),
            })
            .collect()
    }
}

fn instance_findings(instance: &InstanceStatus) -> Vec<Finding> {
    let name = format!("{}/{}", instance.plugin, instance.instance);
    let mut findings = Vec::new();
    let severity = match instance.state {
        InstanceState::Ready | InstanceState::Disabled => None,
        InstanceState::Starting | InstanceState::Standby | InstanceState::Paused => {
            Some(Severity::Info)
        }
        InstanceState::Failed => Some(Severity::Error),
        _ => Some(Severity::Warning),
    };
    if let Some(severity) = severity {
        let state = serde_json::to_value(instance.state).ok();
        let state = state.as_ref().and_then(|state| state.as_str());
        findings.push(Finding {
            code: "instance_not_ready".into(),
            severity,
            text: format!(
                "{name} is {} since {}: {}",
                state.unwrap_or("not ready"),
                instance.since,
                instance.reason
            ),
            hint: format!("read its log with `trunkline logs {}`", instance.plugin),
        });
    }
    if instance.settles == "on_write" {
        findings.push(Finding {
            code: "settles_on_write".into(),
            severity: Severity::Info,
            text: format!("{name} settles on write: what it is doing when it dies is lost"),
            hint: "it speaks the foreign contract; port it to the Trunkline SDK".into(),
        });
    }
    findings
}

fn subscription_finding(sub: &SubscriptionStatus) -> Option<Finding> {
    let (code, severity, text) = match sub.state {
        SubscriptionState::Lagging => (
            "subscription_lagging",
            Severity::Error,
            format!(
                "{} does not keep up: {} events wait, {} are leased",
                sub.name, sub.pending, sub.in_flight
            ),
        ),
        SubscriptionState::Expired => (
            "subscription_expired",
            Severity::Warning,
            format!("{} was not served for too long and holds nothing", sub.name),
        ),
        SubscriptionState::Idle if sub.pending > 0 => (
            "subscription_offline",
            Severity::Warning,
            format!("nobody serves {}: {} events wait", sub.name, sub.pending),
        ),
        _ => return None,
    };
    Some(Finding {
        code: code.into(),
        severity,
        text,
        hint: "start its consumer, or delete the subscription".into(),
    })
}
