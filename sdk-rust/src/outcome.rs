//! What a handler says by what it returns: the one place where outcomes are defined.
//!
//! How an outcome becomes frames is [`crate::settle`]'s; nothing here touches a link.

use std::error::Error as StdError;
use std::fmt;
use std::panic::Location;
use std::time::Duration;

use serde::Serialize;
use trunkline_contract::error::{Code, Error};
use trunkline_patterns::outbound::NOT_SUPPORTED;

use crate::batch::Batch;
use crate::duration::IntoDuration;
use crate::event::Event;
use crate::payload::Bytes;
use crate::receipt::Receipt;

/// Is what handlers return; `?` turns any error into the [`Failure`].
pub type Result<T, E = Failure> = std::result::Result<T, E>;

/// Answers the event being handled: on the inbound topic for an outbound event, and the other way
/// round; on `<topic>.reply` for a tool's topic. Same session, same conversation.
///
/// ```
/// use trunkline::{InboundMessage, Reply, Result};
///
/// async fn answer(message: InboundMessage) -> Result<Reply> {
///     Ok(Reply::new(format!("you said: {}", message.text.unwrap_or_default())))
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Reply {
    pub(crate) payload: std::result::Result<Bytes, Box<Error>>,
}

impl Reply {
    #[cfg(feature = "host")]
    pub(crate) fn of(payload: Bytes) -> Self {
        Self {
            payload: Ok(payload),
        }
    }

    /// Answers with a payload; a bare text becomes a message's `text`.
    pub fn new(payload: impl Serialize) -> Self {
        Self {
            payload: Bytes::encode(&payload).map_err(Box::new),
        }
    }
}

/// Asks to be given the event again, later. It is an error value: return it as `Err`.
///
/// ```
/// use trunkline::{Json, Result, Retry};
///
/// async fn send(_message: Json) -> Result<()> {
///     Err(Retry::after("30s").because("the provider is down").into())
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Retry {
    pub(crate) after: std::result::Result<Duration, Box<Error>>,
    pub(crate) reason: String,
    pub(crate) is_counted: bool,
}

impl Retry {
    /// Asks for the next attempt after a time.
    pub fn after(after: impl IntoDuration) -> Self {
        Self {
            after: after.into_duration().map_err(Box::new),
            reason: String::new(),
            is_counted: true,
        }
    }

    /// Says why.
    pub fn because(mut self, reason: impl Into<String>) -> Self {
        self.reason = reason.into();
        self
    }

    /// Says that this attempt is no failure: not now, rather than not so.
    pub fn uncounted(mut self) -> Self {
        self.is_counted = false;
        self
    }
}

impl fmt::Display for Retry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.after {
            Ok(after) => write!(f, "retry after {after:?}: {}", self.reason),
            Err(error) => write!(f, "retry: {error}"),
        }
    }
}

impl StdError for Retry {}

/// Says that the event can never be handled: it becomes a dead letter. It is an error value.
///
/// ```
/// use trunkline::{Json, Reject, Result};
///
/// async fn send(message: Json) -> Result<()> {
///     if message["text"].is_null() {
///         return Err(Reject::new("there is no text").into());
///     }
///     Ok(())
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Reject {
    pub(crate) reason: String,
    pub(crate) code: Option<String>,
}

impl Reject {
    /// Refuses the event for good.
    pub fn new(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            code: None,
        }
    }

    /// Refuses what the channel cannot do, as declared features do: an outbound handler returns it for what is
    /// over the limits of a `partial` one.
    ///
    /// ```
    /// use trunkline::{OutboundMessage, Reject, Result};
    ///
    /// async fn send(message: OutboundMessage) -> Result<()> {
    ///     if message.edit_of.is_some_and(|id| id.starts_with("old-")) {
    ///         return Err(Reject::not_supported().into());
    ///     }
    ///     Ok(())
    /// }
    /// ```
    pub fn not_supported() -> Self {
        Self::new(NOT_SUPPORTED).code(Code::NotImplemented.as_str())
    }

    /// Names the reason for programs.
    pub fn code(mut self, code: impl Into<String>) -> Self {
        self.code = Some(code.into());
        self
    }
}

impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rejected: {}", self.reason)
    }
}

impl StdError for Reject {}

/// Says that the instance cannot work now: it stops and is started again later.
#[derive(Clone, Debug)]
pub struct RetryLater {
    pub(crate) reason: String,
    pub(crate) after: Option<Duration>,
    fault: Option<Error>,
}

impl RetryLater {
    /// Stops the instance for a while.
    pub fn new(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            after: None,
            fault: None,
        }
    }

    /// Says for how long.
    pub fn after(mut self, after: impl IntoDuration) -> Self {
        match after.into_duration() {
            Ok(after) => self.after = Some(after),
            Err(error) => self.fault = Some(error),
        }
        self
    }
}

impl fmt::Display for RetryLater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "retry later: {}", self.reason)?;
        self.fault
            .as_ref()
            .map_or(Ok(()), |fault| write!(f, " ({fault})"))
    }
}

impl StdError for RetryLater {}

/// Says that the instance cannot work until somebody logs in.
#[derive(Clone, Debug)]
pub struct NeedsAuth {
    pub(crate) reason: String,
    pub(crate) url: Option<String>,
}

impl NeedsAuth {
    /// Stops the instance until its credentials change.
    pub fn new(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            url: None,
        }
    }

    /// Says where to log in.
    pub fn url(mut self, url: impl Into<String>) -> Self {
        self.url = Some(url.into());
        self
    }
}

impl fmt::Display for NeedsAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "needs a login: {}", self.reason)
    }
}

impl StdError for NeedsAuth {}

/// Says that the instance can never work with this config.
#[derive(Clone, Debug)]
pub struct Fatal {
    pub(crate) reason: String,
}

impl Fatal {
    /// Stops the instance until an operator changes something.
    pub fn new(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
        }
    }
}

impl fmt::Display for Fatal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "fatal: {}", self.reason)
    }
}

impl StdError for Fatal {}

/// Is how a handler fails: made by `?` or `.into()` of any error, it remembers where.
///
/// [`Retry`], [`Reject`], [`RetryLater`], [`NeedsAuth`] and [`Fatal`] keep their meaning in it;
/// any other error is a failed attempt.
pub struct Failure {
    error: Box<dyn StdError + Send + Sync>,
    location: Option<String>,
    foreign: Option<Box<Foreign>>,
}

/// What only an exception of another language has.
pub(crate) struct Foreign {
    /// The name of its class.
    pub(crate) kind: String,
    /// The calls that led to it, innermost last.
    pub(crate) traceback: Option<String>,
}

impl Failure {
    /// Fails with a text.
    #[track_caller]
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            error: message.into().into(),
            location: Some(Location::caller().to_string()),
            foreign: None,
        }
    }

    pub(crate) fn located(error: Error, location: Option<String>) -> Self {
        Self {
            error: Box::new(error),
            location,
            foreign: None,
        }
    }

    /// Takes over an exception of another language.
    #[cfg(feature = "host")]
    pub(crate) fn foreign(
        error: Box<dyn StdError + Send + Sync>,
        location: Option<String>,
        foreign: Foreign,
    ) -> Self {
        Self {
            error,
            location,
            foreign: Some(Box::new(foreign)),
        }
    }

    /// The calls that led to it, else where it happened.
    pub(crate) fn traceback(&self) -> Option<&str> {
        let foreign = self.foreign.as_ref();
        foreign
            .and_then(|foreign| foreign.traceback.as_deref())
            .or(self.location())
    }

    /// Gives the error itself.
    pub fn error(&self) -> &(dyn StdError + Send + Sync + 'static) {
        &*self.error
    }

    /// Says where it became a failure, as `file:line:column`.
    pub fn location(&self) -> Option<&str> {
        self.location.as_deref()
    }

    /// Gives the catalogue's code, if the error has one.
    pub fn code(&self) -> Option<Code> {
        let http = || Some(self.is::<crate::http::HttpError>()?.code());
        self.is::<Error>().map(|error| error.code).or_else(http)
    }

    pub(crate) fn is<T: StdError + 'static>(&self) -> Option<&T> {
        self.error.downcast_ref()
    }

    /// Names the kind of error for dead letters: its code where it has one.
    pub(crate) fn kind(&self) -> String {
        if let Some(foreign) = &self.foreign {
            return foreign.kind.clone();
        }
        self.code()
            .map_or_else(|| "failure".to_owned(), |code| code.as_str().to_owned())
    }

    /// The message with every cause.
    pub(crate) fn message(&self) -> String {
        let mut text = self.error.to_string();
        let mut cause = self.error.source();
        while let Some(error) = cause {
            let more = error.to_string();
            if !text.contains(&more) {
                text.push_str(": ");
                text.push_str(&more);
            }
            cause = error.source();
        }
        text
    }
}

impl<E: StdError + Send + Sync + 'static> From<E> for Failure {
    #[track_caller]
    fn from(error: E) -> Self {
        Self {
            error: Box::new(error),
            location: Some(Location::caller().to_string()),
            foreign: None,
        }
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(location) = &self.location {
            write!(f, "{location}: ")?;
        }
        if let Some(foreign) = &self.foreign {
            write!(f, "{}: ", foreign.kind)?;
        }
        f.write_str(&self.message())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message())
    }
}

/// What a handler's return value comes down to.
#[derive(Debug)]
pub enum Outcome {
    /// Handled, nothing to say.
    Nothing,
    /// Handled; these are published with the ack.
    Batch(Batch),
    /// Handled; this is the answer.
    Reply(Reply),
    /// Handled; this is what became of it outside.
    Receipt(Receipt),
    /// Handled; a text. From an outbound handler it is a receipt: sent, with this provider id.
    Text(String),
    /// A tool ran; this is its result.
    Result(Bytes),
    /// Handled, but the value, described here, says nothing that is understood: `invalid_return`.
    Invalid(String),
    /// Not handled.
    Failed(Failure),
}

#[cfg(feature = "host")]
impl Outcome {
    /// Says that the handler gave up, where it was told to.
    pub(crate) fn is_cancelled(&self) -> bool {
        let Self::Failed(failure) = self else {
            return false;
        };
        matches!(failure.code(), Some(Code::Cancelled | Code::TimedOut))
    }
}

/// Is implemented by what a handler may return inside `Ok`.
pub trait IntoOutcome {
    /// Says what the value means.
    fn into_outcome(self) -> Outcome;
}

impl IntoOutcome for Outcome {
    fn into_outcome(self) -> Outcome {
        self
    }
}

impl IntoOutcome for () {
    fn into_outcome(self) -> Outcome {
        Outcome::Nothing
    }
}

impl IntoOutcome for Reply {
    fn into_outcome(self) -> Outcome {
        Outcome::Reply(self)
    }
}

impl IntoOutcome for Batch {
    fn into_outcome(self) -> Outcome {
        Outcome::Batch(self)
    }
}

impl IntoOutcome for Receipt {
    fn into_outcome(self) -> Outcome {
        Outcome::Receipt(self)
    }
}

impl IntoOutcome for String {
    fn into_outcome(self) -> Outcome {
        Outcome::Text(self)
    }
}

impl IntoOutcome for &str {
    fn into_outcome(self) -> Outcome {
        self.to_owned().into_outcome()
    }
}

impl IntoOutcome for Event {
    fn into_outcome(self) -> Outcome {
        Outcome::Batch(Batch::new([self]))
    }
}

impl IntoOutcome for Vec<Event> {
    fn into_outcome(self) -> Outcome {
        Outcome::Batch(Batch::new(self))
    }
}

impl<T: IntoOutcome> IntoOutcome for Option<T> {
    fn into_outcome(self) -> Outcome {
        self.map_or(Outcome::Nothing, IntoOutcome::into_outcome)
    }
}

impl<T: IntoOutcome, E: Into<Failure>> IntoOutcome for std::result::Result<T, E> {
    fn into_outcome(self) -> Outcome {
        match self {
            Ok(value) => value.into_outcome(),
            Err(error) => Outcome::Failed(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fails() -> Result<()> {
        "five".parse::<u8>()?;
        Ok(())
    }

    #[test]
    fn a_failure_remembers_where_the_question_mark_stood() {
        let failure = fails().expect_err("fails");
        assert!(
            failure.location().expect("known").contains("outcome.rs"),
            "{failure:?}"
        );
        assert!(failure.message().contains("invalid digit"));
    }

    #[test]
    fn retry_and_reject_keep_their_meaning_in_a_failure() {
        let retry: Failure = Retry::after("3s").because("later").into();
        assert_eq!(
            retry.is::<Retry>().expect("a retry").after,
            Ok(Duration::from_secs(3))
        );
        let reject: Failure = Reject::new("no").code("gone").into();
        assert!(reject.is::<Reject>().is_some() && reject.is::<Retry>().is_none());
    }
}
