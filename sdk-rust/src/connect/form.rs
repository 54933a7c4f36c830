//! How the bytes of a frame and a payload become each other.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use trunkline_contract::error::{Code, Error};
use trunkline_patterns::connection::Frame;

use super::declare::Form;
use crate::payload::Bytes;

/// What came in one piece.
#[derive(Clone, Debug)]
pub(super) struct Received {
    /// The payload, or what is wrong with the frame beside its text.
    pub(super) payload: Result<Bytes, (Error, Bytes)>,
    /// The id that an event stream gave it.
    pub(super) id: Option<String>,
    /// Kept with the frame: a test broker counts what is at work.
    #[cfg(feature = "testing")]
    pub(super) work: Option<std::sync::Arc<crate::testing::sockets::Work>>,
}

impl Frame for Received {
    fn value(&self) -> Option<Value> {
        serde_json::from_str(self.payload.as_ref().ok()?.as_str()).ok()
    }
}

impl Received {
    pub(super) fn of(payload: Result<Bytes, (Error, Bytes)>) -> Self {
        Self {
            payload,
            id: None,
            #[cfg(feature = "testing")]
            work: None,
        }
    }
}

/// Reads what came.
pub(super) fn decode(form: Form, bytes: &[u8]) -> Result<Bytes, (Error, Bytes)> {
    let text = || Bytes::encode(&String::from_utf8_lossy(bytes)).unwrap_or_default();
    let misfit = |what: &str| (Error::new(Code::InvalidPayload, what), text());
    match form {
        Form::Binary => Ok(Bytes::encode(&STANDARD.encode(bytes)).unwrap_or_default()),
        Form::Text => match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Bytes::encode(text).unwrap_or_default()),
            Err(_) => Err(misfit("expected a frame of UTF-8")),
        },
        Form::Json => match String::from_utf8(bytes.to_vec()) {
            Ok(text) => Bytes::from_json(text)
                .map_err(|error| misfit(&format!("expected a frame of JSON: {}", error.message))),
            Err(_) => Err(misfit(
                "expected a frame of JSON, found bytes that are no text",
            )),
        },
    }
}

/// Writes what is sent.
pub(super) fn encode(form: Form, payload: &Bytes) -> Result<Vec<u8>, Error> {
    let text = || payload.json::<String>().ok();
    match form {
        Form::Json => Ok(payload.as_str().as_bytes().to_vec()),
        Form::Text => Ok(text()
            .unwrap_or_else(|| payload.as_str().to_owned())
            .into_bytes()),
        Form::Binary => text()
            .and_then(|text| STANDARD.decode(text).ok())
            .ok_or_else(|| {
                Error::new(
                    Code::InvalidPayload,
                    "expected base64 text for a frame of bytes",
                )
            }),
    }
}
