//! The event of a due timer.

use trunkline_contract::envelope::{Draft, Stamp, rfc3339};
use trunkline_contract::id::derived;
use trunkline_contract::rpc::TimerFired;
use trunkline_patterns::schedule::Due;

use crate::core::state::Core;
use crate::instance::InstanceKey;
use crate::store::{NewEvent, OnConflict};

use super::record::Timer;

/// Where the events of an instance's timers go.
pub(super) fn topic(of: &InstanceKey) -> String {
    format!("plugin.timer.{}.{}", of.plugin, of.instance)
}

impl Core {
    /// Makes the event of one due time: whenever it is made, the same one.
    pub(super) fn timer_event(&mut self, of: &InstanceKey, timer: &Timer, due: Due) -> NewEvent {
        let set = &timer.row.set;
        let payload = TimerFired {
            name: set.name.clone(),
            due_at: rfc3339(due.at_ms),
            data: set.data.clone(),
            missed: due.missed,
        };
        let payload = serde_json::to_string(&payload).expect("texts and numbers have a JSON form");
        let topic = self.topic(&topic(of));
        let session = match &set.session {
            Some(session) => session.clone(),
            None => format!("timer:{}", set.name),
        };
        let content = format!("{}/{}/{}", set.name, timer.row.nonce, timer.row.count);
        let id = derived(&of.to_string(), content.as_bytes(), 0);
        let draft = Draft {
            session_id: Some(session.as_str().into()),
            payload: &payload,
            ..Draft::default()
        };
        let timestamp = self.timestamp().to_owned();
        let stamp = Stamp {
            id: &id,
            timestamp: &timestamp,
            topic: &topic,
            source: "broker",
            metadata: &[],
        };
        let body = draft.body(&topic);
        NewEvent {
            source: "broker".into(),
            body: body[..16].try_into().expect("a hash has 32 bytes"),
            session: Some(session.as_str().into()),
            expires_at_ms: None,
            on_conflict: OnConflict::KeepFirst,
            envelope: draft.envelope(&stamp).into(),
            id: id.into(),
            topic,
        }
    }
}
