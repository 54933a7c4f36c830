//! What a scenario's file holds: what the outside does, and what has to come of it.

use std::collections::BTreeMap;

use serde::Deserialize;
use trunkline_contract::error::{Code, Error};
use trunkline_contract::message::ChannelFeatures;

use crate::faults::KillAt;
use crate::payload::Json;
use crate::testing::webhook::Request;

/// Steps of a file, so that a test ends.
const STEPS_MAX: usize = 1_000;

/// A scenario, as its file says it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    /// What it shows, in a sentence.
    pub(super) says: String,
    /// Settings of the instance.
    #[serde(default)]
    pub(super) config: serde_json::Map<String, Json>,
    /// What the channels can do, by kind, as a manifest would say it.
    #[serde(default)]
    pub(super) features: BTreeMap<String, ChannelFeatures>,
    /// Instances that run in place of `default`; the state is the first one's.
    pub(super) instances: Option<Vec<String>>,
    /// The setting that gets the address of a server that speaks lines, if it needs one.
    pub(super) lines: Option<String>,
    /// Servers outside, by address: what they answer, in order; the last answer stays.
    #[serde(default)]
    pub(super) http: Vec<Route>,
    /// What happens, in order.
    pub(super) steps: Vec<Step>,
    /// What the instance keeps in the end; `"*"` is any value, for what time and chance decide.
    #[serde(default)]
    pub(super) state: BTreeMap<String, Json>,
    /// What is given up in the end: `{of, reason, code}`, where `of` is a topic or what it was.
    #[serde(default)]
    pub(super) dead_letters: Vec<Json>,
}

/// What a server answers to requests of a method and path.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Route {
    pub(super) server: String,
    pub(super) method: String,
    pub(super) path: String,
    pub(super) answers: Vec<Answer>,
}

/// One answer.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub(super) enum Answer {
    /// A status, with headers and a body.
    Reply {
        status: u16,
        #[serde(default)]
        headers: BTreeMap<String, String>,
        json: Option<Json>,
        body: Option<String>,
    },
    /// The request is taken, its answer never comes.
    Lost,
    /// Nobody can connect.
    Refused,
}

/// One step, and all that is seen until everything rests.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Step {
    #[serde(rename = "do")]
    pub(super) act: Act,
    /// What is seen: events of the instance, requests to servers, lines that a server heard.
    #[serde(default)]
    pub(super) sees: Vec<Json>,
}

/// What is done.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub(super) enum Act {
    /// An event of the outside.
    Publish {
        topic: String,
        payload: Json,
        session: Option<String>,
        id: Option<String>,
    },
    /// A message through a channel.
    Send {
        kind: String,
        message: Json,
        to: String,
        instance: Option<String>,
        id: Option<String>,
    },
    /// A call of a tool, by its full name; its result or error is seen.
    Call { tool: String, arguments: Json },
    /// A provider's request.
    Webhook(Request),
    /// The clock moves.
    Advance(String),
    /// The broker is killed and starts again on what was durable.
    Restart,
    /// The plugin is killed at its next event; what comes of it is seen once the clock moved.
    Kill(KillAt),
    /// The server of lines waits for a connection.
    Accept,
    /// The server of lines says this.
    Say(String),
    /// The server of lines waits until it heard this line; all that it heard is seen.
    Hear(String),
    /// The server of lines drops its connection.
    Drop,
    /// Nothing but time to come to rest.
    Settle,
}

impl File {
    /// Reads a scenario.
    pub(super) fn read(text: &str) -> Result<Self, Error> {
        let wrong = |text: String| Error::new(Code::InvalidArguments, text);
        let file: Self = serde_json::from_str(text)
            .map_err(|error| wrong(format!("expected a scenario, found: {error}")))?;
        if file.steps.len() > STEPS_MAX {
            let found = file.steps.len();
            return Err(wrong(format!(
                "expected at most {STEPS_MAX} steps, found {found}"
            )));
        }
        Ok(file)
    }
}
