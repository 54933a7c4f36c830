//! Which of many dead letters are meant: those of a subscription, of a plugin, of a session.
//!
//! A subscription is told by the key of a record. The rest is told by the record itself, which is why such a
//! request looks at all there are, a page at a time.

use serde::Deserialize;
use trunkline_contract::error::Error;
use trunkline_contract::rpc::DeadLetter;

use crate::core::state::Core;
use crate::router::SubId;

/// Says which ones; all of them unless something is named.
#[derive(Debug, Clone, Default)]
pub(crate) struct Which {
    pub(super) sub: Option<SubId>,
    /// How names of the plugin's subscriptions begin.
    plugin: Option<Box<str>>,
    session: Option<Box<str>>,
}

/// What of an event says whose it is.
#[derive(Deserialize)]
struct Event {
    #[serde(default)]
    session_id: Option<String>,
}

impl Which {
    /// Says whether a record has to be read to know whether it is meant.
    pub(super) fn reads(&self) -> bool {
        self.plugin.is_some() || self.session.is_some()
    }

    /// Says whether a record is meant. One whose payload was cut belongs to no session any more.
    pub(super) fn takes(&self, letter: &DeadLetter) -> bool {
        let of_plugin = |begin: &str| letter.subscription.starts_with(begin);
        let of_session = |wanted: &str| {
            let event = serde_json::from_str::<Option<Event>>(letter.event.get());
            let session = event.ok().flatten().and_then(|event| event.session_id);
            session.as_deref() == Some(wanted)
        };
        self.plugin.as_deref().is_none_or(of_plugin)
            && self.session.as_deref().is_none_or(of_session)
    }

    /// How the keys of the records begin, in the store.
    pub(super) fn prefix(&self) -> Vec<u8> {
        match self.sub {
            Some(sub) => format!("d/{:08x}/", sub.0).into_bytes(),
            None => b"d/".to_vec(),
        }
    }
}

impl Core {
    /// Reads which ones are meant.
    ///
    /// # Errors
    /// A subscription that is not there.
    pub(super) fn which_dead(
        &self,
        subscription: Option<&str>,
        plugin: Option<&str>,
        session: Option<&str>,
    ) -> Result<Which, Error> {
        Ok(Which {
            sub: subscription.map(|name| self.dead_of(name)).transpose()?,
            plugin: plugin.map(|plugin| format!("instance.{plugin}.").into()),
            session: session.map(Into::into),
        })
    }
}
