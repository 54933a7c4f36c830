//! Attempts that failed, in the words of operators: in the log of the instance, and in `doctor`.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use trunkline_contract::envelope::rfc3339;
use trunkline_contract::rpc::admin::{Finding, Severity};

use crate::instance::InstanceKey;
use crate::router::{Failed, Failure, Owner, SubId, cut};

use crate::store::StoredEvent;

use super::doctor::FINDINGS_MAX;
use super::limits::{FAILURE_TEXT_BYTES_MAX, FAILURES_MAX};
use super::state::Core;

/// Values shorter than this are not looked for: they would blot out half of a text.
const SECRET_BYTES_MIN: usize = 4;

/// The last failed attempt of a subscription.
#[derive(Debug)]
pub(super) struct LastFailure {
    at_ms: i64,
    text: String,
}

impl Core {
    /// Writes a failed attempt to its instance's log, and keeps it for `doctor`.
    pub(super) fn attempt_failed(&mut self, failed: &Failed) {
        // A lease that ran out ends here; whatever was settled has ended before.
        self.span_settled(failed.sub, failed.seq, "lease_expired");
        let mut text = describe(failed);
        if let Owner::Instance(key) = &failed.owner {
            text = self.without_secrets(key, text);
        }
        cut(&mut text, FAILURE_TEXT_BYTES_MAX);
        if let Owner::Instance(key) = &failed.owner {
            let level = if failed.end.is_some() {
                "error"
            } else {
                "warn"
            };
            self.log_record(
                key,
                level,
                text.clone(),
                failed.event.as_deref().and_then(fields),
            );
            let at_ms = self.now.wall_ms;
            if let Some(instance) = self.instances.get_mut(key) {
                instance.last_error = Some((at_ms, text.clone()));
            }
        }
        self.counters.add("attempts_failed", 1);
        let failures = &mut self.notes.failures;
        if failures.len() >= FAILURES_MAX && !failures.contains_key(&failed.sub) {
            let router = &self.router;
            failures.retain(|sub, _| router.get(*sub).is_some());
        }
        let at_ms = self.now.wall_ms;
        failures.insert(failed.sub, LastFailure { at_ms, text });
    }

    /// What a handler says goes to people: an instance's secrets do not.
    pub(super) fn without_secrets(&self, key: &InstanceKey, mut text: String) -> String {
        let Some(instance) = self.instances.get(key) else {
            return text;
        };
        for secret in instance.setup.secrets.values() {
            if secret.len() >= SECRET_BYTES_MIN && text.contains(secret.as_str()) {
                text = text.replace(secret.as_str(), "***");
            }
        }
        text
    }

    /// One finding for each subscription with events that failed: they wait for another try, or are dead.
    pub(super) fn failure_findings(&self) -> Vec<Finding> {
        let views = self.router.views();
        let found = views.iter().filter_map(|view| {
            let (in_retry, error) = self.router.in_retry(view.id);
            let dead = self.dead.count_of(view.id);
            if in_retry + dead == 0 {
                return None;
            }
            let owner = self.router.get(view.id)?.owner();
            let last = self.last_failure(view.id, owner, error)?;
            Some(finding(owner, &view.name, in_retry, dead, &last))
        });
        found.take(FINDINGS_MAX).collect()
    }

    /// The last failure: as it was seen, or as an earlier life of the broker left it.
    fn last_failure(&self, sub: SubId, owner: &Owner, left: Option<&Failure>) -> Option<String> {
        if let Some(last) = self.notes.failures.get(&sub) {
            return Some(format!("{}: {}", rfc3339(last.at_ms), last.text));
        }
        let text = said(left?);
        let mut text = match owner {
            Owner::Instance(key) => self.without_secrets(key, text),
            Owner::Client(_) => text,
        };
        cut(&mut text, FAILURE_TEXT_BYTES_MAX);
        Some(text)
    }
}

fn finding(owner: &Owner, name: &str, in_retry: usize, dead: usize, last: &str) -> Finding {
    let (who, look) = match owner {
        Owner::Instance(key) => (
            key.to_string(),
            format!("trunkline logs {key} --level warn"),
        ),
        Owner::Client(client) => (
            format!("client {client}"),
            "the client's own log".to_owned(),
        ),
    };
    let mut hint = format!("read {look}");
    if dead > 0 {
        hint = format!("{hint}, and trunkline dlq list --subscription {name}");
    }
    Finding {
        code: "events_failing".into(),
        severity: Severity::Warning,
        text: format!(
            "{who} failed: {in_retry} events wait for another try, {dead} are dead letters; last \
             failure: {last}"
        ),
        hint,
    }
}

/// Which event it was, for programs that read logs.
fn fields(event: &StoredEvent) -> Option<Box<RawValue>> {
    #[derive(Deserialize, Serialize)]
    struct Fields<'a> {
        #[serde(borrow, rename(serialize = "event_id"))]
        id: Cow<'a, str>,
        #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
        traceparent: Option<Cow<'a, str>>,
    }
    let fields: Fields<'_> = serde_json::from_slice(&event.envelope).ok()?;
    to_raw_value(&fields).ok()
}

/// Puts a failed attempt in one line.
fn describe(failed: &Failed) -> String {
    #[derive(Deserialize)]
    struct Envelope<'a> {
        #[serde(borrow)]
        id: Cow<'a, str>,
    }
    let mut text = String::from("event ");
    match &failed.event {
        Some(event) => {
            match serde_json::from_slice::<Envelope<'_>>(&event.envelope) {
                Ok(envelope) => text += &envelope.id,
                Err(_) => text += &failed.seq.to_string(),
            }
            text += " on ";
            text += &event.topic;
        }
        None => text += &failed.seq.to_string(),
    }
    let (attempt, most) = (failed.attempt, failed.attempts_max);
    text += &match failed.end {
        Some("rejected") => format!(" was rejected at attempt {attempt} and is a dead letter"),
        Some(end) => format!(" failed, attempt {attempt} of {most}, and is a dead letter ({end})"),
        None => format!(" failed, attempt {attempt} of {most}"),
    };
    text += ": ";
    text += &failed
        .failure
        .as_ref()
        .map_or_else(|| "no reason was given".to_owned(), said);
    text
}

/// Kind, message and place of a failure, in one line.
fn said(failure: &Failure) -> String {
    let mut text = String::new();
    if let Some(kind) = &failure.r#type {
        text += kind;
        text += ": ";
    }
    text += &failure.message;
    if let Some(place) = failure.traceback.as_deref().and_then(place) {
        text += &format!(" ({place})");
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Where it happened. The frames of a trace are ordered as its language likes: the innermost is the last
/// `File "…"`, or else the first `at …`; of any other text it is the first line.
fn place(traceback: &str) -> Option<&str> {
    let mut lines = traceback.lines().map(str::trim);
    let innermost = lines.clone().rfind(|line| line.starts_with("File \""));
    let frame = || lines.clone().find(|line| line.starts_with("at "));
    innermost
        .or_else(frame)
        .or_else(|| lines.find(|line| !line.is_empty()))
}
