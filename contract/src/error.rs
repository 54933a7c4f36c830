//! The one error catalogue: every refusal on the wire, in HTTP, in an exit status and in each SDK.
//!
//! A [`Code`] is stable and is what programs compare; the message is for people. Nothing here
//! decides when an error is raised.
//!
//! Exit statuses follow `sysexits.h`; HTTP statuses follow RFC 9110. JSON-RPC numbers other than
//! the four reserved ones count down from -32001 and are never reused.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::rpc::{ErrorData, RpcError};

macro_rules! codes {
    ($($name:ident $text:literal $rpc:literal $http:literal $exit:literal $retry:literal $summary:literal)*) => {
        /// Names what went wrong. The text form is stable, snake_case, and the same everywhere.
        #[non_exhaustive]
        #[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
        pub enum Code {
            $(#[doc = $summary] $name,)*
        }

        impl Code {
            /// Lists every code, in catalogue order.
            pub const ALL: &'static [Code] = &[$(Code::$name),*];

            /// Gives the stable text form, e.g. `storage_full`.
            pub fn as_str(self) -> &'static str {
                match self { $(Code::$name => $text),* }
            }

            /// Reads the text form; `None` for a code this version does not know.
            ///
            /// ```
            /// use trunkline_contract::Code;
            /// assert_eq!(Code::parse("storage_full"), Some(Code::StorageFull));
            /// assert_eq!(Code::parse("from_the_future"), None);
            /// ```
            pub fn parse(text: &str) -> Option<Code> {
                match text { $($text => Some(Code::$name),)* _ => None }
            }

            /// Says whether the same request may succeed later without being changed.
            pub fn retryable(self) -> bool {
                match self { $(Code::$name => $retry),* }
            }

            /// Gives the HTTP status that carries this code.
            pub fn http_status(self) -> u16 {
                match self { $(Code::$name => $http),* }
            }

            /// Gives the exit status of a command that fails with this code.
            pub fn exit_code(self) -> u8 {
                match self { $(Code::$name => $exit),* }
            }

            /// Gives the number in the `code` member of a JSON-RPC error.
            pub fn rpc_code(self) -> i64 {
                match self { $(Code::$name => $rpc),* }
            }

            /// Says in one sentence what the code means.
            pub fn summary(self) -> &'static str {
                match self { $(Code::$name => $summary),* }
            }
        }
    };
}

codes! {
    TopicNotGranted "topic_not_granted" -32001 403 77 false "the peer has no grant for this topic"
    InvalidTopic "invalid_topic" -32002 400 65 false "the topic or topic filter is malformed"
    InvalidFrame "invalid_frame" -32600 400 65 false "the frame or envelope is malformed"
    FrameTooLarge "frame_too_large" -32003 413 65 false "the frame or event is over its size limit"
    Unrouted "unrouted" -32004 422 65 false "no single instance can be chosen for this"
    IdConflict "id_conflict" -32005 409 65 false "the id is already stored with another body"
    RevisionConflict "revision_conflict" -32006 409 75 false "the key has another revision"
    LockLost "lock_lost" -32007 409 75 false "the lock is no longer held with this token"
    RateLimited "rate_limited" -32008 429 75 true "the publish or request rate is exceeded"
    StorageFull "storage_full" -32009 507 74 true "the store has no room"
    Draining "draining" -32010 503 75 true "the broker is shutting down"
    StaleGeneration "stale_generation" -32011 409 75 false "a newer activation of the instance exists"
    StaleLease "stale_lease" -32012 409 75 false "the delivery's lease is no longer valid"
    InstanceBusy "instance_busy" -32013 409 75 true "the instance already has a link"
    NotActive "not_active" -32014 409 75 true "the instance is not activated"
    ProtocolMismatch "protocol_mismatch" -32015 426 76 false "the protocol version ranges do not overlap"
    Gap "gap" -32016 410 65 false "what was asked for is no longer kept"
    ToolNotFound "tool_not_found" -32017 404 66 false "no such tool is declared"
    Unavailable "unavailable" -32018 503 69 true "the callee exists but is not serving"
    NotFound "not_found" -32019 404 66 false "there is no such thing"
    NotImplemented "not_implemented" -32601 501 69 false "the method exists in no form here"
    InvalidArguments "invalid_arguments" -32602 400 64 false "the arguments do not fit the method or schema"
    ToolFailed "tool_failed" -32020 502 70 false "the tool ran and reported a failure"
    OutcomeUnknown "outcome_unknown" -32021 502 70 false "it may or may not have happened, and is not repeated"
    TimedOut "timed_out" -32022 504 75 true "the time allowed is over"
    Cancelled "cancelled" -32023 499 75 false "the caller cancelled it"
    QuotaExceeded "quota_exceeded" -32024 507 73 false "a quota of this peer is used up"
    LockHeld "lock_held" -32025 423 75 true "another holder has the lock"
    Unauthorized "unauthorized" -32026 401 77 false "the token is missing, unknown or lacks the scope"
    LinkLost "link_lost" -32027 503 75 true "the link closed before the answer came"
    DeclarationConflict "declaration_conflict" -32028 409 78 false "the handshake contradicts the manifest"
    ProtocolViolation "protocol_violation" -32029 400 76 false "the peer broke the protocol and the link is closed"
    HttpError "http_error" -32030 502 69 false "a remote server answered with an error"
    ConfigInvalid "config_invalid" -32031 422 78 false "the configuration is not valid"
    InvalidPayload "invalid_payload" -32032 422 65 false "the payload does not fit its declared type"
    InvalidReturn "invalid_return" -32033 502 70 false "a handler returned what its declaration excludes"
    DeliveryFailed "delivery_failed" -32034 502 69 false "the platform refused the outbound message"
    DeliveryUnknown "delivery_unknown" -32035 502 70 false "the platform's answer to the outbound message was lost"
    Internal "internal" -32603 500 70 false "a defect; nothing was promised"
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Code {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Code::parse(&text)
            .ok_or_else(|| serde::de::Error::custom(format!("unknown error code {text:?}")))
    }
}

impl schemars::JsonSchema for Code {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Code".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let names: Vec<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
        schemars::json_schema!({ "type": "string", "enum": names })
    }
}

/// Says what went wrong: a stable code for programs, a message for people.
///
/// The message is lower case, without a period, and says what was expected and what was found.
///
/// ```
/// use trunkline_contract::{Code, Error};
/// let error = Error::new(Code::RateLimited, "expected at most 100 events/s, found 240")
///     .retry_after(350);
/// assert_eq!(error.to_string(), "rate_limited: expected at most 100 events/s, found 240");
/// assert_eq!(Error::from_rpc(&error.to_rpc()), error);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Error {
    /// What programs compare.
    pub code: Code,
    /// What people read.
    pub message: String,
    /// Milliseconds after which a retry makes sense.
    pub retry_after_ms: Option<u64>,
    /// Position of the guilty item in the request's list.
    pub index: Option<u32>,
    /// Data for programs beyond the code.
    pub detail: Option<Value>,
}

impl Error {
    /// Makes an error of `code` with a message.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            retry_after_ms: None,
            index: None,
            detail: None,
        }
    }

    /// Says after how many milliseconds a retry makes sense.
    #[must_use]
    pub fn retry_after(mut self, ms: u64) -> Self {
        self.retry_after_ms = Some(ms);
        self
    }

    /// Names the position of the guilty item.
    #[must_use]
    pub fn at(mut self, index: usize) -> Self {
        self.index = Some(u32::try_from(index).unwrap_or(u32::MAX));
        self
    }

    /// Adds data for programs.
    #[must_use]
    pub fn detail(mut self, value: Value) -> Self {
        self.detail = Some(value);
        self
    }

    /// Says whether the same request may succeed later; a tool may say so of its own failures,
    /// and a call outside of what it was answered.
    ///
    /// ```
    /// use trunkline_contract::{Code, Error};
    /// let error = Error::new(Code::ToolFailed, "the provider is down");
    /// assert!(!error.retryable());
    /// assert!(error.detail(serde_json::json!({ "retryable": true })).retryable());
    /// ```
    pub fn retryable(&self) -> bool {
        let said = || self.detail.as_ref()?.get("retryable")?.as_bool();
        self.code.retryable()
            || (matches!(self.code, Code::ToolFailed | Code::HttpError) && said() == Some(true))
    }

    /// Gives the `error` member of a JSON-RPC response.
    pub fn to_rpc(&self) -> RpcError {
        RpcError {
            code: self.code.rpc_code(),
            message: self.message.clone(),
            data: Some(ErrorData {
                code: Some(self.code.as_str().to_owned()),
                retryable: Some(self.retryable()),
                retry_after_ms: self.retry_after_ms,
                index: self.index,
                detail: self.detail.clone(),
            }),
        }
    }

    /// Reads the `error` member of a JSON-RPC response, also of a peer that sends only a number.
    ///
    /// A code from a newer version reads as [`Code::Internal`], its text kept in `detail.code`.
    pub fn from_rpc(error: &RpcError) -> Self {
        let data = error.data.as_ref();
        let name = data.and_then(|data| data.code.as_deref());
        let known = match name {
            Some(name) => Code::parse(name),
            None => by_number(error.code),
        };
        let mut detail = data.and_then(|data| data.detail.clone());
        if known.is_none() && detail.is_none() {
            detail = Some(match name {
                Some(name) => serde_json::json!({ "code": name }),
                None => serde_json::json!({ "code": error.code }),
            });
        }
        Self {
            code: known.unwrap_or(Code::Internal),
            message: error.message.clone(),
            retry_after_ms: data.and_then(|data| data.retry_after_ms),
            index: data.and_then(|data| data.index),
            detail,
        }
    }
}

/// Finds the code of a JSON-RPC number that came without data.
fn by_number(number: i64) -> Option<Code> {
    if number == -32700 {
        return Some(Code::InvalidFrame);
    }
    Code::ALL
        .iter()
        .copied()
        .find(|code| code.rpc_code() == number)
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for Error {}
