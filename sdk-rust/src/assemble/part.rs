//! A part, as handlers return it and as the assembler gets it.

use serde::{Deserialize, Serialize};
use trunkline_contract::error::{Code, Error};
use trunkline_contract::limits::SESSION_ID_BYTES_MAX;

use crate::batch::Batch;
use crate::event::Event;
use crate::outcome::{IntoOutcome, Outcome};
use crate::payload::Bytes;

/// Is a piece of something that an assembler puts together.
///
/// Any handler may return one, alone, in a list, or in a [`Batch`]. `session` and `group` together say
/// what it is a piece of.
///
/// ```
/// use serde_json::{Value, json};
/// use trunkline::{Part, Result, WebhookRequest};
///
/// async fn hook(request: WebhookRequest) -> Result<Part> {
///     let sms: Value = request.json()?;
///     let text = sms["text"].as_str().unwrap_or_default();
///     let number = sms["part"].as_u64().unwrap_or(1);
///     let of = sms["parts"].as_u64().unwrap_or(1);
///     Ok(Part::of(sms["from"].as_str().unwrap_or_default(), text)?
///         .group(sms["ref"].to_string())
///         .seq(number)
///         .total(of))
/// }
/// # let _ = hook;
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Part<T = Bytes> {
    /// The channel's kind, where the plugin assembles several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Whose it is: a conversation, a sender.
    pub session: String,
    /// Which of the session's wholes it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Its number, from 1; parts without one stay in the order in which they came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// How many there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// It is the last one.
    #[serde(default, rename = "final")]
    pub is_final: bool,
    /// What it brings.
    pub data: T,
}

impl Part {
    /// Makes a part of a session, of anything with a JSON form.
    ///
    /// # Errors
    /// `invalid_payload` where it has none.
    pub fn of(session: impl Into<String>, data: impl Serialize) -> Result<Self, Error> {
        Ok(Self::new(session, Bytes::encode(&data)?))
    }
}

impl<T> Part<T> {
    /// Makes a part of a session.
    pub fn new(session: impl Into<String>, data: T) -> Self {
        Self {
            kind: None,
            session: session.into(),
            group: None,
            seq: None,
            total: None,
            is_final: false,
            data,
        }
    }

    /// Says which of the session's wholes it belongs to.
    pub fn group(mut self, group: impl Into<String>) -> Self {
        self.group = Some(group.into());
        self
    }

    /// Says its number, from 1.
    pub fn seq(mut self, seq: u64) -> Self {
        self.seq = Some(seq);
        self
    }

    /// Says how many there are.
    pub fn total(mut self, total: u64) -> Self {
        self.total = Some(total);
        self
    }

    /// Says that it is the last one.
    pub fn last(mut self) -> Self {
        self.is_final = true;
        self
    }

    /// Says which kind's assembler it is for.
    pub fn kind(mut self, kind: impl Into<String>) -> Self {
        self.kind = Some(kind.into());
        self
    }
}

#[cfg(feature = "host")]
impl<T> Part<T> {
    /// The same part with its data read.
    pub(crate) fn with<U>(
        self,
        read: impl FnOnce(T) -> Result<U, Error>,
    ) -> Result<Part<U>, Error> {
        Ok(Part {
            data: read(self.data)?,
            kind: self.kind,
            session: self.session,
            group: self.group,
            seq: self.seq,
            total: self.total,
            is_final: self.is_final,
        })
    }
}

/// A part on its way to the broker.
#[derive(Clone, Debug)]
pub(crate) struct PartOut(Result<Part, Box<Error>>);

impl PartOut {
    /// Encodes what it brings.
    pub(crate) fn of<T: Serialize>(part: Part<T>) -> Self {
        let data = Bytes::encode(&part.data).map_err(Box::new);
        Self(data.map(|data| Part {
            kind: part.kind,
            session: part.session,
            group: part.group,
            seq: part.seq,
            total: part.total,
            is_final: part.is_final,
            data,
        }))
    }

    /// Drafts the event that brings it to the instance itself.
    pub(crate) fn event(&self, owner: &str, kind: Option<&str>) -> Result<Event, Error> {
        let mut part = self.0.clone().map_err(|error| *error)?;
        if part.kind.is_none() {
            part.kind = kind.map(str::to_owned);
        }
        if part.kind.is_none() {
            let text = "expected a part with its kind: it was made outside the channels' topics";
            return Err(Error::new(Code::InvalidArguments, text));
        }
        if part.session.is_empty() {
            let text = "expected a part with the session that it belongs to, found an empty one";
            return Err(Error::new(Code::InvalidArguments, text));
        }
        let session = ordering(&part);
        if session.len() > SESSION_ID_BYTES_MAX {
            let text = format!(
                "expected a part whose session and group have at most {SESSION_ID_BYTES_MAX} bytes together"
            );
            return Err(Error::new(Code::InvalidArguments, text));
        }
        let Some(instance) = owner.strip_prefix("instance.") else {
            let text = "only a plugin's handlers make parts";
            return Err(Error::new(Code::InvalidArguments, text));
        };
        Ok(Event::to(format!("plugin.part.{instance}"), &part).session(session))
    }
}

/// The session of everything about one whole: one of its events is handled at a time.
pub(crate) fn ordering<T>(part: &Part<T>) -> String {
    let kind = part.kind.as_deref().unwrap_or_default();
    let group = part.group.as_deref().unwrap_or_default();
    format!(
        "part:{kind}:{}:{}:{group}",
        part.session.len(),
        part.session
    )
}

impl<T: Serialize> IntoOutcome for Part<T> {
    fn into_outcome(self) -> Outcome {
        Outcome::Batch(Batch::default().part(self))
    }
}

impl<T: Serialize> IntoOutcome for Vec<Part<T>> {
    fn into_outcome(self) -> Outcome {
        let batch = self.into_iter().fold(Batch::default(), Batch::part);
        Outcome::Batch(batch)
    }
}

/// Is what an assembler is told beside the parts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assembly {
    /// Why the whole is made now: `complete final silence max_age max_parts max_bytes` or `evicted`.
    pub reason: String,
    /// Numbers of parts that are known to be missing, ascending, at most 1 000.
    pub missing: Vec<u64>,
    /// When the first part came, RFC 3339.
    pub started_at: String,
}
