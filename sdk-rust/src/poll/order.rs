//! Orders of operators, and what is answered to them.

use serde::Deserialize;
use serde_json::json;
use trunkline_patterns::poller::{Commit, NewItem, Skip};

use super::declare::Declared;
use super::store::Piece;
use crate::batch::Batch;
use crate::http::Secrets;
use crate::payload::Json;

/// Most items that an answer names.
const NAMED_MAX: usize = 100;
/// Longest id or title in an answer, in bytes.
const TEXT_BYTES_MAX: usize = 200;
/// How long an answer is kept.
const ANSWER_TTL: &str = "7d";

/// An operator's order, as the data of a timer.
#[derive(Deserialize)]
pub(super) struct Order {
    pub(super) control: String,
    #[serde(default)]
    pub(super) reason: String,
    /// Who answers names it.
    #[serde(default, rename = "order")]
    id: String,
}

impl Order {
    /// Adds the answer to what becomes durable with it.
    pub(super) fn answered(
        &self,
        poll: &Declared,
        batch: Batch,
        is_done: bool,
        text: &str,
        found: &[Json],
    ) -> Batch {
        let answer = json!({
            "id": self.id, "control": self.control, "done": is_done, "text": text, "found": found,
        });
        batch.put(poll.key("answer"), answer).ttl(ANSWER_TTL)
    }
}

/// Is what may be said of a tick.
#[derive(Default)]
pub(super) struct Told {
    items: usize,
    found: Vec<Json>,
    notes: Vec<String>,
    error: Option<String>,
    is_skipped: bool,
}

impl Told {
    pub(super) fn item(&mut self, item: &NewItem) {
        self.items += 1;
        if self.found.len() < NAMED_MAX {
            let payload = item.item.payload();
            let cut = |name: &str| {
                let mut text = match &payload[name] {
                    Json::String(text) => text.clone(),
                    Json::Null => String::new(),
                    other => other.to_string(),
                };
                text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
                text
            };
            let mut id = item.id.clone();
            id.truncate(id.floor_char_boundary(TEXT_BYTES_MAX));
            self.found.push(json!({ "id": id, "title": cut("title") }));
        }
    }

    pub(super) fn commit(&mut self, commit: &Commit<Piece>) {
        self.notes
            .extend(commit.alerts.iter().map(|alert| alert.text.clone()));
        if let Some(skipped) = &commit.skipped {
            let why = match skipped {
                Skip::Paused(reason) => format!("it is paused: {reason}"),
                Skip::TooEarly(until_ms) => format!("there is nothing to do before {until_ms}"),
                Skip::Refused(text) => text.clone(),
            };
            self.notes.push(format!("the server was not asked: {why}"));
            self.is_skipped = true;
        }
        if let Some(state) = &commit.state {
            self.error = state.last_error.as_ref().map(|error| error.text.clone());
        }
    }

    /// Adds the answer to the end of a tick.
    pub(super) fn answer(
        &self,
        poll: &Declared,
        order: &Order,
        batch: Batch,
        is_dry: bool,
        secrets: &Secrets,
    ) -> Batch {
        let count = match (self.items, is_dry) {
            (0, _) => "nothing new".to_owned(),
            (count, true) => format!("{count} new; nothing was handed over"),
            (count, false) => format!("{count} new, handed over"),
        };
        let mut said = vec![count];
        said.extend(self.error.iter().cloned());
        said.extend(
            self.notes
                .iter()
                .filter(|note| Some(*note) != self.error.as_ref())
                .cloned(),
        );
        let is_done = self.error.is_none() && !self.is_skipped;
        let text = secrets.hide(&said.join("; "));
        order.answered(poll, batch, is_done, &text, &self.found)
    }
}
