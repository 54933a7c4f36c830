//! Receipts: what became of an outbound event.

use serde::{Deserialize, Deserializer, Serialize};

/// Says how far an outbound event has come.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum State {
    /// It waits for another attempt.
    Queued,
    /// The provider took it.
    Sent,
    /// It reached the other side.
    Delivered,
    /// Somebody read it.
    Read,
    /// It will not arrive.
    Failed,
    /// Nobody can say: something crashed between the call and its record.
    Unknown,
}

impl State {
    /// Says whether something in this state has also been `wanted`.
    pub(crate) fn reaches(self, wanted: Self) -> bool {
        let rank = |state| match state {
            Self::Queued => Some(0),
            Self::Sent => Some(1),
            Self::Delivered => Some(2),
            Self::Read => Some(3),
            Self::Failed | Self::Unknown => None,
        };
        self == wanted || rank(self).is_some_and(|at| rank(wanted).is_some_and(|want| at >= want))
    }
}

/// Says what became of the outbound event being handled; the payload on `plugin.delivery.…`.
///
/// A text returned from an outbound handler is short for a `sent` receipt with that provider id.
///
/// ```
/// use trunkline::{OutboundMessage, Receipt, Result};
///
/// async fn send(_message: OutboundMessage) -> Result<Receipt> {
///     Ok(Receipt::sent().provider_id("SM1"))
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Receipt {
    /// How far it has come.
    pub state: State,
    /// What the provider calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_id: Option<String>,
    /// Which part of a message that was split.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<PartOf>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ReceiptError>,
    /// Features that the channel does not have, and in whose place text was sent.
    #[serde(
        default,
        deserialize_with = "null_is_absent",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub degraded: Vec<String>,
}

fn null_is_absent<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// Numbers a part of a split message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartOf {
    /// This part, from one.
    pub n: u32,
    /// How many there are.
    pub of: u32,
}

/// Says why an outbound event failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptError {
    /// A name for programs.
    pub code: String,
    /// What kind of fault it was, in the provider's or the plugin's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// Says whether sending it again may help.
    #[serde(default)]
    pub retryable: bool,
    /// What the channel cannot do, of the class `not_supported`: a feature as the manifest names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub feature: Option<String>,
}

impl Receipt {
    /// Reports a state.
    pub fn new(state: State) -> Self {
        Self {
            state,
            provider_id: None,
            part: None,
            error: None,
            degraded: Vec::new(),
        }
    }

    /// Reports that the provider took it.
    pub fn sent() -> Self {
        Self::new(State::Sent)
    }

    /// Reports that it failed for good.
    pub fn failed(code: impl Into<String>) -> Self {
        let error = ReceiptError {
            code: code.into(),
            class: None,
            retryable: false,
            feature: None,
        };
        Self {
            error: Some(error),
            ..Self::new(State::Failed)
        }
    }

    /// Says what the provider calls it.
    pub fn provider_id(mut self, id: impl Into<String>) -> Self {
        self.provider_id = Some(id.into());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::State::{Delivered, Failed, Queued, Read, Sent, Unknown};

    #[test]
    fn a_later_state_includes_the_earlier_ones() {
        assert!(Read.reaches(Sent) && Sent.reaches(Sent) && Delivered.reaches(Queued));
        assert!(!Sent.reaches(Delivered) && !Failed.reaches(Sent) && !Unknown.reaches(Queued));
        assert!(Failed.reaches(Failed));
    }
}
