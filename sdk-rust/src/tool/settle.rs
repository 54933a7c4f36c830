//! From the outcome of a tool's handler to the answer of the call.
//!
//! | outcome | answer |
//! |---|---|
//! | a value, nothing | the result, `null` |
//! | `ToolError`, `Reject` | the error of their code, else `tool_failed` with the code in its detail |
//! | `Retry` | `tool_failed`, retryable, with the time after which |
//! | `RetryLater`, `NeedsAuth`, `Fatal` | `unavailable`, and the instance's state |
//! | arguments that do not fit the handler's type | `invalid_arguments` |
//! | its time over, cancelled | `timed_out`, `cancelled` |
//! | `HttpError` | `tool_failed`, with its class and status in the detail |
//! | any other failure | `tool_failed`, with what it was in its detail |
//! | an event, a reply, a receipt | `invalid_return` |

use serde_json::{Map, json};
use trunkline_contract::error::{Code, Error};

use super::{Serving, ToolError};
use crate::context::Context;
use crate::duration::in_ms;
use crate::http::http_error_of;
use crate::outcome::{Failure, Outcome, Reject, Retry};
use crate::payload::{Bytes, Json};

/// Answers a call with what its handler's outcome means.
pub(crate) fn settle(ctx: &Context, call: &Serving, outcome: Outcome) {
    let answer = match outcome {
        Outcome::Nothing => Ok(Bytes::default()),
        Outcome::Result(output) => Ok(output),
        Outcome::Failed(failure) => Err(error_of(ctx, &failure)),
        Outcome::Batch(_) => Err(invalid(ctx, "events")),
        Outcome::Reply(_) => Err(invalid(ctx, "a reply")),
        Outcome::Receipt(_) | Outcome::Text(_) => Err(invalid(ctx, "a receipt")),
        Outcome::Invalid(what) => Err(invalid(ctx, &what)),
    };
    call.answer(&ctx.handling().link, answer);
}

fn invalid(ctx: &Context, what: &str) -> Error {
    let text = format!("a tool returns its result, found {what}");
    if let Some(faults) = ctx.handling().link.faults() {
        faults.complain(&text);
    }
    tracing::warn!(
        code = "invalid_return",
        error = text,
        "The call was failed."
    );
    Error::new(Code::InvalidReturn, text)
}

/// Is an error that the core itself made of a call: it is answered as it is.
#[derive(Debug)]
pub(crate) struct Made(pub(crate) Error);

impl std::fmt::Display for Made {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Made {}

fn error_of(ctx: &Context, failure: &Failure) -> Error {
    if let Some(Made(error)) = failure.is::<Made>() {
        return error.clone();
    }
    if let Some(error) = failure.is::<ToolError>() {
        return coded(&error.message, error.code.as_deref(), error.is_retryable);
    }
    if let Some(reject) = failure.is::<Reject>() {
        // What is a payload of an event is the arguments of a call.
        let misfit = Code::InvalidPayload.as_str();
        let code = reject.code.as_deref().map(|code| {
            if code == misfit {
                Code::InvalidArguments.as_str()
            } else {
                code
            }
        });
        return coded(&reject.reason, code, false);
    }
    if let Some(retry) = failure.is::<Retry>() {
        let error = coded(&retry.reason, None, true);
        return match &retry.after {
            Ok(after) => error.retry_after(in_ms(*after)),
            Err(_) => error,
        };
    }
    if let Some(report) = crate::report::Report::of(failure) {
        ctx.instance_core().report(&report);
        return Error::new(Code::Unavailable, failure.message());
    }
    if let Some(http) = http_error_of(failure)
        && http.code() == Code::HttpError
    {
        let made = Error::new(Code::ToolFailed, http.as_error().message.as_str());
        let detail = json!({
            "type": failure.kind(), "class": http.class(), "status": http.status(),
            "retryable": http.is_retryable(),
        });
        return Error {
            retry_after_ms: http.as_error().retry_after_ms,
            ..made.detail(detail)
        };
    }
    let tool = ctx.topic();
    tracing::error!(tool, ?failure, "A tool failed.");
    let error = match failure.is::<Error>() {
        Some(cause) => Error {
            retry_after_ms: cause.retry_after_ms,
            ..Error::new(Code::ToolFailed, cause.message.as_str())
        },
        None => Error::new(Code::ToolFailed, failure.message()),
    };
    error.detail(json!({ "type": failure.kind() }))
}

/// An error with a code that the author chose.
fn coded(message: &str, code: Option<&str>, is_retryable: bool) -> Error {
    let known = code.and_then(Code::parse);
    let error = Error::new(known.unwrap_or(Code::ToolFailed), message);
    let mut detail = Map::new();
    if let (None, Some(code)) = (known, code) {
        detail.insert("code".to_owned(), code.into());
    }
    if is_retryable {
        detail.insert("retryable".to_owned(), true.into());
    }
    if detail.is_empty() {
        error
    } else {
        error.detail(Json::Object(detail))
    }
}
