//! One frame as a JSON-RPC 2.0 message.
//!
//! Parameters and results stay the text they came in. Not here: what a method means.

use std::borrow::Cow;
use std::fmt;

use schemars::JsonSchema;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::wire::{Keys, Text};
use crate::error::{Code, Error};
use crate::frame::{Facts, Fault, FaultKind, scan, scan_text};

/// JSON-RPC number of a frame that is not JSON.
pub(crate) const PARSE_ERROR: i64 = -32700;
/// JSON-RPC number of a frame that is JSON but no message.
pub(crate) const INVALID_REQUEST: i64 = -32600;

/// Is one frame, read.
#[derive(Debug)]
pub enum Message<'a> {
    /// Asks for an answer.
    Request {
        /// A string or number, echoed in the answer byte for byte.
        id: &'a RawValue,
        /// What is asked.
        method: Cow<'a, str>,
        /// Its parameters; `null` reads as absent.
        params: Option<&'a RawValue>,
    },
    /// Asks for no answer. A `null` id counts as absent.
    Notification {
        /// What is said.
        method: Cow<'a, str>,
        /// Its parameters; `null` reads as absent.
        params: Option<&'a RawValue>,
    },
    /// Answers a request.
    Response {
        /// The request's id, or `null` for the answer to a frame that could not be read.
        id: &'a RawValue,
        /// The result, or the error.
        result: Result<&'a RawValue, RpcError>,
    },
}

/// Is the `error` member of a response.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RpcError {
    /// JSON-RPC number.
    pub code: i64,
    /// What people read.
    #[serde(default)]
    pub message: String,
    /// What programs read.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "lenient_data"
    )]
    pub data: Option<ErrorData>,
}

/// Is the `data` member of an error. All of it is optional in input, for foreign peers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorData {
    /// Text form of a [`Code`], perhaps of a newer version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Whether the same request may succeed later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retryable: Option<bool>,
    /// Milliseconds after which a retry makes sense.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// Position of the guilty item.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<u32>,
    /// Data beyond the code; of a foreign peer the whole data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<Value>,
}

/// Keeps the data of a foreign peer, whatever its form, as the detail.
fn lenient_data<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<ErrorData>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    if value.is_null() {
        return Ok(None);
    }
    let ours = value
        .is_object()
        .then(|| ErrorData::deserialize(&value).ok())
        .flatten();
    Ok(Some(match ours {
        Some(data) if data.code.is_some() => data,
        _ => ErrorData {
            detail: Some(value),
            ..ErrorData::default()
        },
    }))
}

/// Says why a frame is no message; the answer to it has `id: null`.
#[derive(Clone, Debug, PartialEq)]
pub struct ParseFault {
    /// -32700 if it is not JSON, -32600 if it is JSON but no message.
    pub code: i64,
    /// What to tell the peer.
    pub error: Error,
}

impl ParseFault {
    fn invalid(message: impl Into<String>) -> Self {
        Self {
            code: INVALID_REQUEST,
            error: Error::new(Code::InvalidFrame, message),
        }
    }

    fn not_json(error: Error) -> Self {
        Self {
            code: PARSE_ERROR,
            error,
        }
    }

    /// Gives the `error` member of the answer, with the JSON-RPC number of this fault.
    pub fn to_rpc(&self) -> RpcError {
        RpcError {
            code: self.code,
            ..self.error.to_rpc()
        }
    }
}

impl From<Fault> for ParseFault {
    fn from(fault: Fault) -> Self {
        Self::not_json(fault.to_error())
    }
}

/// Reads a frame: scans its bytes, then takes the message apart.
///
/// # Errors
/// A [`ParseFault`]: -32700 for what is not JSON (or has a scanner fault), -32600 for `5`, `[…]`,
/// `null`, a missing `"jsonrpc":"2.0"`, a duplicate top-level key, a wrong type of a known member.
///
/// ```
/// use trunkline_contract::rpc::{Message, parse};
/// let frame = br#"{"jsonrpc":"2.0","id":7,"method":"ping","params":{}}"#;
/// let Message::Request { id, method, .. } = parse(frame).unwrap() else { panic!() };
/// assert_eq!((id.get(), &*method), ("7", "ping"));
/// assert_eq!(parse(b"[1]").unwrap_err().code, -32600);
/// assert_eq!(parse(b"{oops").unwrap_err().code, -32700);
/// ```
pub fn parse(frame: &[u8]) -> Result<Message<'_>, ParseFault> {
    parse_with_facts(frame).map(|(message, _)| message)
}

/// Does the same as [`parse`], and says what was found on the way.
pub fn parse_with_facts(frame: &[u8]) -> Result<(Message<'_>, Facts), ParseFault> {
    let text = std::str::from_utf8(frame).map_err(|error| {
        ParseFault::from(Fault {
            kind: FaultKind::NotUtf8,
            at: error.valid_up_to(),
        })
    })?;
    let facts = scan_text(text)?;
    let members: Members<'_> = serde_json::from_str(text).map_err(|error| {
        if error.is_data() {
            return not_a_message(text, &error);
        }
        let message = format!("expected JSON, found: {error}");
        ParseFault::not_json(Error::new(Code::InvalidFrame, message))
    })?;
    Ok((members.into_message()?, facts))
}

/// Finds the parameters of a notification that is written as our own peers write it, which saves a
/// pass over the frame. Any other frame, however right, is [`parse`]'s.
///
/// What is found must be read as one value to its end: nothing was checked but its outside.
///
/// # Errors
/// The faults of the bytes, as [`parse`] has them.
///
/// ```
/// use trunkline_contract::rpc::notification_params;
/// let frame = br#"{"jsonrpc":"2.0","method":"broker.event","params":{"topic":"agent.x"}}"#;
/// let found = notification_params(frame, "broker.event").unwrap();
/// assert_eq!(found.map(|(params, _)| params), Some(r#"{"topic":"agent.x"}"#));
/// assert!(notification_params(frame, "log").unwrap().is_none());
/// ```
pub fn notification_params<'a>(
    frame: &'a [u8],
    method: &str,
) -> Result<Option<(&'a str, Facts)>, ParseFault> {
    let params = frame
        .strip_prefix(br#"{"jsonrpc":"2.0","method":""#)
        .and_then(|rest| rest.strip_prefix(method.as_bytes()))
        .and_then(|rest| rest.strip_prefix(br#"","params":"#))
        .and_then(|rest| rest.strip_suffix(b"}"));
    let Some(params) = params else {
        return Ok(None);
    };
    let facts = scan(frame)?;
    // The frame is UTF-8, and its parts are cut at ASCII.
    Ok(std::str::from_utf8(params)
        .ok()
        .map(|params| (params, facts)))
}

/// Tells JSON of another type, whose rest was not read yet, from what is no JSON at all.
fn not_a_message(text: &str, why: &serde_json::Error) -> ParseFault {
    match serde_json::from_str::<IgnoredAny>(text) {
        Ok(_) => ParseFault::invalid(format!("expected a JSON-RPC 2.0 message, found: {why}")),
        Err(error) => ParseFault::not_json(Error::new(
            Code::InvalidFrame,
            format!("expected JSON, found: {error}"),
        )),
    }
}

#[derive(Default)]
struct Members<'a> {
    jsonrpc: Option<Text<'a>>,
    id: Option<&'a RawValue>,
    method: Option<Text<'a>>,
    params: Option<&'a RawValue>,
    result: Option<&'a RawValue>,
    error: Option<&'a RawValue>,
    unknown: Keys<'a>,
    duplicate: Option<Cow<'a, str>>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor;
        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Members::default();
                while let Some(Text(key)) = map.next_key()? {
                    let slot = match &*key {
                        name @ ("jsonrpc" | "method") => {
                            let slot = match name {
                                "method" => &mut members.method,
                                _ => &mut members.jsonrpc,
                            };
                            if slot.replace(map.next_value()?).is_some() {
                                members.duplicate = Some(key);
                            }
                            continue;
                        }
                        "id" => &mut members.id,
                        "params" => &mut members.params,
                        "result" => &mut members.result,
                        "error" => &mut members.error,
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                            if !members.unknown.insert(key.clone()) {
                                members.duplicate = Some(key);
                            }
                            continue;
                        }
                    };
                    if slot.replace(map.next_value()?).is_some() {
                        members.duplicate = Some(key);
                    }
                }
                Ok(members)
            }
        }
        deserializer.deserialize_map(MembersVisitor)
    }
}

impl<'a> Members<'a> {
    fn into_message(self) -> Result<Message<'a>, ParseFault> {
        if let Some(key) = self.duplicate {
            let text = format!("expected each key once, found {key:?} twice");
            return Err(ParseFault::invalid(text));
        }
        if self.jsonrpc.is_none_or(|version| version.0 != "2.0") {
            return Err(ParseFault::invalid(
                "expected `\"jsonrpc\":\"2.0\"`, found none",
            ));
        }
        let id = self.id.filter(|id| id.get() != "null");
        if id.is_some_and(|id| !matches!(id.get().as_bytes()[0], b'"' | b'-' | b'0'..=b'9')) {
            return Err(ParseFault::invalid("expected a string or number as `id`"));
        }
        let Some(method) = self.method else {
            let id = self
                .id
                .ok_or_else(|| ParseFault::invalid("expected `method` or `id`, found neither"))?;
            return response(id, self.result, self.error);
        };
        let method = method.0;
        let params = self.params.filter(|params| params.get() != "null");
        if params.is_some_and(|params| !matches!(params.get().as_bytes()[0], b'{' | b'[')) {
            return Err(ParseFault::invalid("expected an object as `params`"));
        }
        Ok(match id {
            Some(id) => Message::Request { id, method, params },
            None => Message::Notification { method, params },
        })
    }
}

fn response<'a>(
    id: &'a RawValue,
    result: Option<&'a RawValue>,
    error: Option<&'a RawValue>,
) -> Result<Message<'a>, ParseFault> {
    let result = match (result, error.filter(|error| error.get() != "null")) {
        (Some(result), None) => Ok(result),
        (None, Some(error)) => Err(serde_json::from_str(error.get()).map_err(|_| {
            ParseFault::invalid("expected `error` with a number `code` and a string `message`")
        })?),
        (Some(_), Some(_)) => {
            return Err(ParseFault::invalid(
                "expected `result` or `error`, found both",
            ));
        }
        (None, None) => {
            return Err(ParseFault::invalid(
                "expected `result`, `error` or `method`, found none",
            ));
        }
    };
    Ok(Message::Response { id, result })
}

/// Reads the parameters of a method, borrowing from the frame where `T` does.
///
/// Absent parameters read as `{}`; parameters by position are not part of the contract.
///
/// # Errors
/// [`Code::InvalidArguments`], saying what was found.
///
/// ```
/// use trunkline_contract::rpc::{AckParams, Message, params, parse};
/// let frame = br#"{"jsonrpc":"2.0","method":"broker.ack","params":{"deliveries":["d1"]}}"#;
/// let Message::Notification { params: raw, .. } = parse(frame).unwrap() else { panic!() };
/// let ack: AckParams = params(raw).unwrap();
/// assert_eq!(ack.deliveries, ["d1"]);
/// ```
pub fn params<'a, T: Deserialize<'a>>(params: Option<&'a RawValue>) -> Result<T, Error> {
    let text = params.map_or("{}", RawValue::get);
    if !text.starts_with('{') {
        let text = "expected parameters by name, found an array";
        return Err(Error::new(Code::InvalidArguments, text));
    }
    serde_json::from_str(text).map_err(|error| invalid_arguments(&error))
}

fn invalid_arguments(error: &serde_json::Error) -> Error {
    Error::new(
        Code::InvalidArguments,
        format!("expected other parameters, found: {error}"),
    )
}
