//! What handlers, hooks and functions of the host decided, read from JSON.

use serde_json::value::RawValue;
use trunkline_contract::error::{Code, Error};

use super::input::{BatchIn, DurationIn, ErrorIn, args, checked, payload, some};
use crate::outcome::{
    Failure, Fatal, Foreign, NeedsAuth, Outcome, Reject, Reply, Retry, RetryLater,
};
use crate::payload::Bytes;
use crate::receipt::Receipt;
use crate::tool::ToolError;

/// The longest message and traceback of a failure, in bytes; the middle is cut out.
const MESSAGE_BYTES_MAX: usize = 4 * 1024;
const TRACEBACK_BYTES_MAX: usize = 16 * 1024;

/// Is what the host language decided about one ticket.
#[derive(Debug)]
pub struct Completion {
    /// Names the handling, or the call of a hook or function.
    pub ticket: u64,
    /// What was decided.
    pub decision: Decision,
}

/// Is what a handler said, or what a hook or function returned.
#[derive(Debug)]
pub enum Decision {
    /// A handler's outcome; a failure may be a hook's or function's too.
    Outcome(Outcome),
    /// The value of a hook or function.
    Value(Bytes),
    /// A handler answers with this payload, a JSON text that nobody looked at yet.
    ReplyText(String),
    /// Any outcome, as [`outcome_of`] reads it.
    Text(String),
}

impl Decision {
    /// Makes the decision of a handler that answers with a payload.
    pub fn reply(payload: Bytes) -> Self {
        Self::Outcome(Outcome::Reply(Reply::of(payload)))
    }

    /// Reads what came as a text; done on the core's thread, so that the language's own goes on.
    pub(super) fn read(self) -> Self {
        match self {
            Self::ReplyText(text) => match checked(text) {
                Ok(payload) => Self::reply(payload),
                Err(error) => Outcome::Failed(Failure::located(error, None)).into(),
            },
            Self::Text(text) => outcome_of(&text),
            read => read,
        }
    }

    /// What it means from a handler.
    pub(super) fn outcome(self) -> Outcome {
        match self.read() {
            Self::Outcome(outcome) => outcome,
            _ => Outcome::Invalid("a hook's value".to_owned()),
        }
    }
}

impl From<Outcome> for Decision {
    fn from(outcome: Outcome) -> Self {
        Self::Outcome(outcome)
    }
}

#[derive(serde::Deserialize)]
struct OutcomeIn<'a> {
    #[serde(borrow, default, deserialize_with = "some")]
    reply: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "some")]
    state: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "some")]
    result: Option<&'a RawValue>,
    tool_error: Option<ToolErrorIn>,
    text: Option<String>,
    receipt: Option<Receipt>,
    #[serde(borrow, default)]
    events: Option<&'a RawValue>,
    #[serde(borrow, default)]
    kv: Option<&'a RawValue>,
    #[serde(borrow, default)]
    timers: Option<&'a RawValue>,
    #[serde(borrow, default)]
    parts: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "some")]
    cursor: Option<&'a RawValue>,
    #[serde(borrow, default)]
    again: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "some")]
    ack: Option<&'a RawValue>,
    retry: Option<RetryIn>,
    reject: Option<RejectIn>,
    retry_later: Option<RetryLaterIn>,
    needs_auth: Option<NeedsAuthIn>,
    fatal: Option<FatalIn>,
    failed: Option<FailedIn>,
    error: Option<ErrorIn>,
    invalid: Option<String>,
}

#[derive(serde::Deserialize)]
pub(super) struct RetryIn {
    after: DurationIn,
    #[serde(default)]
    reason: Option<String>,
    #[serde(default = "yes")]
    counted: bool,
}

fn yes() -> bool {
    true
}

impl From<RetryIn> for Retry {
    fn from(retry: RetryIn) -> Self {
        let made = Self::after(retry.after).because(retry.reason.unwrap_or_default());
        if retry.counted {
            made
        } else {
            made.uncounted()
        }
    }
}

#[derive(serde::Deserialize)]
pub(super) struct RejectIn {
    reason: String,
    #[serde(default)]
    code: Option<String>,
}

impl From<RejectIn> for Reject {
    fn from(reject: RejectIn) -> Self {
        let made = Self::new(reject.reason);
        match reject.code {
            Some(code) => made.code(code),
            None => made,
        }
    }
}

/// A tool's own error.
#[derive(serde::Deserialize)]
struct ToolErrorIn {
    message: String,
    #[serde(default)]
    code: Option<String>,
    #[serde(default)]
    retryable: bool,
}

impl From<ToolErrorIn> for ToolError {
    fn from(mut error: ToolErrorIn) -> Self {
        shorten(&mut error.message, MESSAGE_BYTES_MAX);
        Self {
            message: error.message,
            code: error.code,
            is_retryable: error.retryable,
        }
    }
}

#[derive(serde::Deserialize)]
struct RetryLaterIn {
    reason: String,
    #[serde(default)]
    after: Option<DurationIn>,
}

#[derive(serde::Deserialize)]
struct NeedsAuthIn {
    reason: String,
    #[serde(default)]
    url: Option<String>,
}

#[derive(serde::Deserialize)]
struct FatalIn {
    reason: String,
}

/// An exception of the host language.
#[derive(serde::Deserialize)]
struct FailedIn {
    kind: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    location: Option<String>,
    #[serde(default)]
    traceback: Option<String>,
}

impl From<FailedIn> for Failure {
    fn from(mut failed: FailedIn) -> Self {
        shorten(&mut failed.kind, MESSAGE_BYTES_MAX);
        shorten(&mut failed.message, MESSAGE_BYTES_MAX);
        if let Some(location) = &mut failed.location {
            shorten(location, MESSAGE_BYTES_MAX);
        }
        if let Some(traceback) = &mut failed.traceback {
            shorten(traceback, TRACEBACK_BYTES_MAX);
        }
        let foreign = Foreign {
            kind: failed.kind,
            traceback: failed.traceback,
        };
        Self::foreign(failed.message.into(), failed.location, foreign)
    }
}

impl From<ErrorIn> for Failure {
    /// An error of the catalogue keeps its code, and says where it came from.
    fn from(mut error: ErrorIn) -> Self {
        let (location, mut traceback) = (error.location.take(), error.traceback.take());
        if let Some(traceback) = &mut traceback {
            shorten(traceback, TRACEBACK_BYTES_MAX);
        }
        let error = Error::from(error);
        let foreign = Foreign {
            kind: error.code.as_str().to_owned(),
            traceback,
        };
        Self::foreign(error.into(), location, foreign)
    }
}

/// Cuts the middle out: the beginning says what, the end says where.
fn shorten(text: &mut String, most: usize) {
    if text.len() <= most {
        return;
    }
    let head = text.floor_char_boundary(most / 2);
    let tail = text.ceil_char_boundary(text.len() - most / 2);
    let cut = tail - head;
    text.replace_range(head..tail, &format!("\n… {cut} bytes …\n"));
}

impl OutcomeIn<'_> {
    fn is_batch(&self) -> bool {
        let members = [
            self.events,
            self.kv,
            self.timers,
            self.parts,
            self.cursor,
            self.again,
            self.ack,
        ];
        members.iter().any(Option::is_some)
    }

    fn decision(self, text: &str) -> Result<Decision, Error> {
        if let Some(value) = self.state {
            return payload(value).map(Decision::Value);
        }
        let outcome = if let Some(result) = self.result {
            Outcome::Result(payload(result)?)
        } else if let Some(reply) = self.reply {
            Outcome::Reply(Reply::of(payload(reply)?))
        } else if let Some(text) = self.text {
            Outcome::Text(text)
        } else if let Some(receipt) = self.receipt {
            Outcome::Receipt(receipt)
        } else if self.is_batch() {
            Outcome::Batch(args::<BatchIn<'_>>(text)?.batch()?)
        } else if let Some(what) = self.invalid {
            Outcome::Invalid(what)
        } else {
            Outcome::Failed(self.failure()?)
        };
        Ok(outcome.into())
    }

    fn failure(self) -> Result<Failure, Error> {
        if let Some(retry) = self.retry {
            return Ok(Retry::from(retry).into());
        }
        if let Some(reject) = self.reject {
            return Ok(Reject::from(reject).into());
        }
        if let Some(error) = self.tool_error {
            return Ok(ToolError::from(error).into());
        }
        if let Some(later) = self.retry_later {
            let made = RetryLater::new(later.reason);
            return Ok(match later.after {
                Some(after) => made.after(after).into(),
                None => made.into(),
            });
        }
        if let Some(auth) = self.needs_auth {
            let made = NeedsAuth::new(auth.reason);
            return Ok(match auth.url {
                Some(url) => made.url(url).into(),
                None => made.into(),
            });
        }
        if let Some(fatal) = self.fatal {
            return Ok(Fatal::new(fatal.reason).into());
        }
        if let Some(failed) = self.failed {
            return Ok(failed.into());
        }
        if let Some(error) = self.error {
            return Ok(error.into());
        }
        let text = "expected an outcome that the core knows";
        Err(Error::new(Code::InvalidReturn, text))
    }
}

/// Reads an outcome. What cannot be read is a failure of the handler.
///
/// ```
/// use trunkline::host::{Decision, outcome_of};
/// use trunkline::Outcome;
///
/// assert!(matches!(outcome_of("null"), Decision::Outcome(Outcome::Nothing)));
/// assert!(matches!(outcome_of(r#"{"reply":{"n":1}}"#), Decision::Outcome(Outcome::Reply(_))));
/// assert!(matches!(outcome_of("7"), Decision::Outcome(Outcome::Failed(_))));
/// ```
pub fn outcome_of(json: &str) -> Decision {
    if json == "null" {
        return Outcome::Nothing.into();
    }
    let read = args::<OutcomeIn<'_>>(json).and_then(|read| read.decision(json));
    read.unwrap_or_else(|error| Outcome::Failed(Failure::located(error, None)).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(json: &str) -> Outcome {
        match outcome_of(json) {
            Decision::Outcome(outcome) => outcome,
            other => panic!("expected an outcome, found {other:?}"),
        }
    }

    #[test]
    fn every_outcome_is_read() {
        assert!(matches!(outcome(r#"{"reply":null}"#), Outcome::Reply(_)));
        let Outcome::Text(text) = outcome(r#"{"text":"SM1"}"#) else {
            panic!("expected a text");
        };
        assert_eq!(text, "SM1");
        let batch = r#"{"events":[{"inbound":true,"payload":{"text":"x"}},{"topic":"agent.a","payload":[]}],
            "kv":[{"op":"put","key":"k","value":null,"ttl":"1h"}]}"#;
        let Outcome::Batch(batch) = outcome(batch) else {
            panic!("expected a batch");
        };
        assert_eq!((batch.events.len(), batch.kv.len()), (2, 1));
        assert!(batch.fault.is_none());
        let retry = r#"{"retry":{"after":{"ms":1500},"reason":"busy","counted":false}}"#;
        let Outcome::Failed(failure) = outcome(retry) else {
            panic!("expected a failure");
        };
        assert!(failure.is::<Retry>().is_some_and(|retry| !retry.is_counted));
        let failed =
            r#"{"failed":{"kind":"KeyError","message":"'x'","location":"a.py:3","traceback":"t"}}"#;
        let Outcome::Failed(failure) = outcome(failed) else {
            panic!("expected a failure");
        };
        assert_eq!(failure.location(), Some("a.py:3"));
        assert_eq!(failure.traceback(), Some("t"));
        assert_eq!(format!("{failure:?}"), "a.py:3: KeyError: 'x'");
        let error = r#"{"error":{"code":"storage_full","message":"full"}}"#;
        let Outcome::Failed(failure) = outcome(error) else {
            panic!("expected a failure");
        };
        assert_eq!(failure.code(), Some(Code::StorageFull));
        assert!(matches!(
            outcome(r#"{"invalid":"int"}"#),
            Outcome::Invalid(_)
        ));
        assert!(matches!(
            outcome_of(r#"{"state":null}"#),
            Decision::Value(_)
        ));
    }

    /// Proves W4, boundary part: half of a surrogate pair is refused before it is on the wire.
    #[test]
    fn a_payload_that_no_peer_reads_is_a_failure_of_the_handler() {
        let Outcome::Failed(failure) = outcome(r#"{"reply":"\ud800"}"#) else {
            panic!("expected a failure");
        };
        assert_eq!(failure.code(), Some(Code::InvalidPayload));
        assert!(failure.message().contains("lone surrogate"), "{failure}");
        let deep = format!(r#"{{"reply":{}{}}}"#, "[".repeat(125), "]".repeat(125));
        let Outcome::Failed(failure) = outcome(&deep) else {
            panic!("expected a failure");
        };
        assert_eq!(failure.code(), Some(Code::InvalidPayload));
    }

    #[test]
    fn a_long_traceback_loses_its_middle() {
        let mut text = "é".repeat(20_000);
        shorten(&mut text, 1000);
        assert!(text.len() < 1100 && text.contains("bytes"));
    }
}
