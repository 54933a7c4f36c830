//! What is kept between two ticks.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::seen::Seen;
use crate::json_items::PageRef;

/// The form that this code writes.
const VERSION: u32 = 1;
/// Longest validator that is kept, in bytes; a longer one is not sent back.
const VALIDATOR_BYTES_MAX: usize = 1024;
const TEXT_BYTES_MAX: usize = 512;

/// Is the state of one poller, without the items it has seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// The form it is written in.
    pub version: u32,
    /// The address the rest belongs to, as the operator wrote it; another one starts anew.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Where the address moved for good (301, 308).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub moved: Option<String>,
    /// What the server is asked with, so that it need not answer the same again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validators: Option<Validators>,
    /// The cursor: of a handler whatever it gave, of a list the greatest value seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<Value>,
    /// The greatest value of the last run, where it had several pages: what was added while it read
    /// them may stand on one it had behind it, and is found by a run from the cursor before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ahead: Option<Value>,
    /// The page that is next, if a run stopped between two.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pending: Option<Pending>,
    /// Failures in a row that time may heal.
    pub failures: u32,
    /// Failures in a row that time will hardly heal; the sixth pauses.
    pub strikes: u32,
    /// Whether it is left alone after many failures.
    pub breaker: Breaker,
    /// Until when there is nothing to be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait: Option<Wait>,
    /// Whether it is paused, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused: Option<Paused>,
    /// When it last ran, in milliseconds since the epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_run_ms: Option<u64>,
    /// When it last ran without a failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_success_ms: Option<u64>,
    /// The last failure since then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<LastError>,
    /// How often it was reset; part of the ids of events, so that a reset hands over anew.
    pub resets: u32,
}

impl Default for State {
    fn default() -> Self {
        Self {
            version: VERSION,
            source: None,
            moved: None,
            validators: None,
            cursor: None,
            ahead: None,
            pending: None,
            failures: 0,
            strikes: 0,
            breaker: Breaker::Closed,
            wait: None,
            paused: None,
            last_run_ms: None,
            last_success_ms: None,
            last_error: None,
            resets: 0,
        }
    }
}

/// Is what a server gave to be asked with, to the letter: quotes, `W/` and all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Validators {
    /// The address it was given for.
    pub url: String,
    /// `ETag`, for `If-None-Match`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// `Last-Modified`, for `If-Modified-Since`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_modified: Option<String>,
}

impl Validators {
    /// Keeps what a server gave, if it is of a length that can be sent back.
    pub(super) fn new(url: &str, etag: Option<&str>, last_modified: Option<&str>) -> Option<Self> {
        let bounded = |text: Option<&str>| {
            text.filter(|text| (1..=VALIDATOR_BYTES_MAX).contains(&text.len()))
                .map(str::to_owned)
        };
        let validators = Self {
            url: url.to_owned(),
            etag: bounded(etag),
            last_modified: bounded(last_modified),
        };
        (validators.etag.is_some() || validators.last_modified.is_some()).then_some(validators)
    }
}

/// Is a run that stopped between two pages.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pending {
    /// The page that is next.
    pub next: PageRef,
    /// The greatest cursor of the pages before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<Value>,
    /// When the run began, in milliseconds since the epoch.
    pub since_ms: u64,
    /// How many items the pages before had.
    #[serde(default)]
    pub items: usize,
    /// A hash of the ids of the page before, to notice a server that gives the same page again.
    #[serde(default)]
    pub page: u64,
}

/// Says whether a poller is left alone after many failures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Breaker {
    /// It is not.
    #[default]
    Closed,
    /// It is: one try now and then, until one succeeds.
    Open,
}

/// Says until when there is nothing to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wait {
    /// Since when, in milliseconds since the epoch; a clock that says less went back, and then nothing
    /// holds.
    pub since_ms: u64,
    /// Until when.
    pub until_ms: u64,
    /// Why.
    pub reason: WaitReason,
}

impl Wait {
    pub(super) fn new(now_ms: u64, wait_ms: u64, reason: WaitReason) -> Self {
        Self {
            since_ms: now_ms,
            until_ms: now_ms.saturating_add(wait_ms),
            reason,
        }
    }
}

/// Says why a poller waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitReason {
    /// The server asked for it: `Retry-After`, or a limit that is used up.
    Asked,
    /// The last answer is still fresh.
    Fresh,
    /// The last try failed.
    Backoff,
    /// The handler asked for it.
    Handler,
}

/// Says since when and why a poller is paused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paused {
    /// Why.
    pub reason: String,
    /// Since when, in milliseconds since the epoch.
    pub at_ms: u64,
    /// Whether the engine did it, not the operator.
    pub by_engine: bool,
}

/// Is the last failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastError {
    /// When, in milliseconds since the epoch.
    pub at_ms: u64,
    /// What was expected and found.
    pub text: String,
}

/// Is all that is kept of a poller: two keys, because one of them seldom changes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stored {
    /// The key `engine/poll/<kind>/state`.
    pub state: State,
    /// The key `engine/poll/<kind>/seen`.
    pub seen: Seen,
}

impl Stored {
    /// Reads what was kept. What cannot be read counts as absent, and is named: then what was handed
    /// over before may be handed over again.
    pub fn read(state: Option<&str>, seen: Option<&str>) -> (Self, Option<String>) {
        let mut lost = Vec::new();
        let state = match state.map(serde_json::from_str::<State>) {
            Some(Ok(state)) if state.version == VERSION => state,
            None => State::default(),
            Some(other) => {
                let found = other.map_or_else(
                    |error| error.to_string(),
                    |state| format!("version {}", state.version),
                );
                lost.push(format!(
                    "expected state of version {VERSION}, found {found}"
                ));
                State::default()
            }
        };
        let seen = match seen.map(|seen| {
            serde_json::from_str::<String>(seen)
                .ok()
                .and_then(|text| Seen::decode(&text))
        }) {
            Some(Some(seen)) => seen,
            None => Seen::default(),
            Some(None) => {
                lost.push("expected the items seen, found something else".to_owned());
                Seen::default()
            }
        };
        let lost = (!lost.is_empty()).then(|| lost.join("; "));
        (Self { state, seen }, lost)
    }
}

/// Cuts a text for people to what is kept of it.
pub(super) fn bounded(text: impl Into<String>) -> String {
    let mut text: String = text.into();
    text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_that_cannot_be_read_is_named() {
        let (stored, lost) = Stored::read(Some(r#"{"version": 9}"#), Some("\"%\""));
        assert_eq!(stored, Stored::default());
        assert_eq!(
            lost.as_deref(),
            Some(
                "expected state of version 1, found version 9; expected the items seen, found something else"
            )
        );
        assert_eq!(Stored::read(None, None), (Stored::default(), None));
    }
}
