//! Who did what as an operator, and how it ended: `broker.audit.<act>` and a line of the log.
//!
//! What changes something is recorded, what only looks is not. A record is made when the request is
//! answered, in the store like any event, readable by operators alone and published by nobody else.

use rustc_hash::FxHashMap;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;
use trunkline_contract::error::Error;
use trunkline_contract::rpc::method;

use super::limits::AUDITS_MAX;
use super::peer::ReplyTo;
use super::state::{Core, Output};
use crate::router::LinkId;

/// What an operator did.
#[derive(Debug, Clone, Serialize)]
pub struct AuditRecord {
    /// `client:<name>`
    pub who: String,
    /// The method without `admin.`, e.g. `plugins.disable`.
    pub act: &'static str,
    /// Its parameters.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub what: Value,
    /// `ok`, the code of the refusal, or `unknown` where nobody waited for the answer.
    pub result: String,
}

/// Acts that were not answered yet, by link and request.
pub(crate) type Audits = FxHashMap<(LinkId, Box<str>), AuditRecord>;

/// The acts that are recorded.
const ACTS: &[(&str, &str)] = &[
    (method::ADMIN_DLQ_REPLAY, "dlq.replay"),
    (method::ADMIN_DLQ_DISCARD, "dlq.discard"),
    (method::ADMIN_POLLERS_ORDER, "pollers.order"),
    (method::ADMIN_PLUGINS_RESTART, "plugins.restart"),
    (method::ADMIN_PLUGINS_UPGRADE, "plugins.upgrade"),
    (method::ADMIN_PLUGINS_ENABLE, "plugins.enable"),
    (method::ADMIN_PLUGINS_DISABLE, "plugins.disable"),
    (method::ADMIN_CONFIG_RELOAD, "config.reload"),
    (method::ADMIN_SHUTDOWN, "shutdown"),
];

impl Core {
    /// Notes that something was asked; what came of it follows.
    pub(crate) fn audit(&mut self, to: &ReplyTo, name: &str, params: Option<&RawValue>) {
        let Some((_, act)) = ACTS.iter().find(|(method, _)| *method == name) else {
            return;
        };
        let who = self
            .peers
            .get(&to.link)
            .map_or_else(String::new, |peer| peer.source.to_string());
        let record = AuditRecord {
            who,
            act,
            what: params
                .and_then(|params| serde_json::from_str(params.get()).ok())
                .unwrap_or_default(),
            result: "unknown".to_owned(),
        };
        match &to.id {
            Some(id) if self.audits.len() < AUDITS_MAX => {
                self.audits.insert((to.link, id.get().into()), record);
            }
            _ => self.record_audit(record),
        }
    }

    /// Something was answered.
    pub(crate) fn audited(&mut self, to: &ReplyTo, refused: Option<&Error>) {
        if self.audits.is_empty() {
            return;
        }
        let Some(id) = &to.id else { return };
        if let Some(mut record) = self.audits.remove(&(to.link, Box::from(id.get()))) {
            let result = refused.map_or("ok", |error| error.code.as_str());
            result.clone_into(&mut record.result);
            self.record_audit(record);
        }
    }

    /// Nobody waits for the answers any more.
    pub(crate) fn drop_audits(&mut self, link: LinkId) {
        if self.audits.is_empty() {
            return;
        }
        let left: Vec<_> = self
            .audits
            .keys()
            .filter(|(of, _)| *of == link)
            .cloned()
            .collect();
        for key in left {
            if let Some(record) = self.audits.remove(&key) {
                self.record_audit(record);
            }
        }
    }

    fn record_audit(&mut self, record: AuditRecord) {
        let topic = self.topic(&format!("broker.audit.{}", record.act));
        self.publish_own(topic, &record);
        self.outputs.push(Output::Audit(record));
    }
}
