//! The undecoded payload.

use std::ops::Deref;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::ser::{Serialize, Serializer};
use serde_json::value::RawValue;
use trunkline_contract::error::{Code, Error};

use super::finite::Finite;

/// Stands for any JSON value. Integers beyond `u64` lose digits in it: take an `i128` or [`Bytes`].
pub type Json = serde_json::Value;

/// Holds a payload as the JSON text it came as, or will be sent as.
///
/// Cloning is cheap.
///
/// ```
/// use trunkline::Bytes;
///
/// let payload = Bytes::encode(&[1, 2, 3])?;
/// assert_eq!(&payload[..], b"[1,2,3]");
/// assert_eq!(payload.json::<Vec<u8>>()?, [1, 2, 3]);
/// # Ok::<(), trunkline::Error>(())
/// ```
#[derive(Clone)]
pub struct Bytes(Arc<RawValue>);

impl Bytes {
    /// Encodes a value as JSON.
    ///
    /// # Errors
    /// [`Code::InvalidPayload`] when it has no JSON form, as NaN and the infinities have none.
    pub fn encode(value: &(impl Serialize + ?Sized)) -> Result<Self, Error> {
        let mut text = Vec::with_capacity(128);
        let mut writer = serde_json::Serializer::new(&mut text);
        value.serialize(Finite(&mut writer)).map_err(|error| {
            Error::new(
                Code::InvalidPayload,
                format!("a payload must be valid JSON: {error}"),
            )
        })?;
        let text = String::from_utf8(text).map_err(|_| {
            Error::new(
                Code::InvalidPayload,
                "a payload must be valid JSON: found bytes that are not UTF-8",
            )
        })?;
        let raw = RawValue::from_string(text).map_err(|error| {
            Error::new(
                Code::InvalidPayload,
                format!("a payload must be valid JSON: {error}"),
            )
        })?;
        Ok(Self(raw.into()))
    }

    /// Takes a text that is JSON already.
    ///
    /// # Errors
    /// [`Code::InvalidPayload`] when it is not.
    pub fn from_json(text: impl Into<String>) -> Result<Self, Error> {
        RawValue::from_string(text.into())
            .map(|raw| Self(raw.into()))
            .map_err(|error| {
                Error::new(
                    Code::InvalidPayload,
                    format!("expected a JSON text: {error}"),
                )
            })
    }

    pub(crate) fn null() -> Self {
        Self(RawValue::NULL.to_owned().into())
    }

    #[cfg(feature = "host")]
    pub(crate) fn empty_object() -> Self {
        Self::from_json("{}").expect("it is JSON")
    }

    pub(crate) fn copy(raw: &RawValue) -> Self {
        Self(raw.to_owned().into())
    }

    /// Reads the payload as a `T`.
    ///
    /// # Errors
    /// [`Code::InvalidPayload`], with a JSON pointer to what does not fit in its `detail`.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_str(self.as_str()).map_err(|error| super::misfit(self.as_str(), &error))
    }

    /// Gives the JSON text.
    pub fn as_str(&self) -> &str {
        self.0.get()
    }

    pub(crate) fn raw(&self) -> &RawValue {
        &self.0
    }
}

impl Deref for Bytes {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        self.as_str().as_bytes()
    }
}

impl Default for Bytes {
    /// Makes a `null`.
    fn default() -> Self {
        Self::null()
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl schemars::JsonSchema for Bytes {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Json".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        true.into()
    }

    fn inline_schema() -> bool {
        true
    }
}

impl PartialEq for Bytes {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Bytes {}

impl std::fmt::Debug for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Proves W5, Rust SDK part: a number that is not finite is an error in the caller.
    #[test]
    fn a_number_that_is_not_finite_is_an_error_in_the_caller() {
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            #[derive(serde::Serialize)]
            struct Nested {
                list: Vec<Option<f64>>,
            }
            let found = Bytes::encode(&Nested {
                list: vec![Some(1.0), Some(bad)],
            });
            assert_eq!(found.expect_err("refused").code, Code::InvalidPayload);
            assert!(Bytes::encode(&(bad as f32)).is_err());
        }
    }

    /// Proves W4, Rust SDK part: integers beyond 2^53, `{}` against `[]`, null and text survive.
    #[test]
    fn values_keep_their_exact_text() {
        for value in [
            json!({}),
            json!([]),
            json!(null),
            json!("ž \u{1F600}"),
            json!({ "a": [u64::MAX, i64::MIN, 1.5] }),
        ] {
            let bytes = Bytes::encode(&value).expect("valid");
            assert_eq!(bytes.as_str(), value.to_string());
            assert_eq!(bytes.json::<Json>().expect("valid"), value);
        }
        let big = i128::from(u64::MAX) * 1000;
        assert_eq!(
            Bytes::encode(&big)
                .expect("valid")
                .json::<i128>()
                .expect("fits"),
            big
        );
        let raw = Bytes::from_json(r#"{"n":123456789012345678901234567890}"#).expect("valid");
        assert_eq!(Bytes::encode(&raw).expect("valid"), raw);
    }

    #[test]
    fn a_text_that_is_no_json_is_refused() {
        assert_eq!(
            Bytes::from_json("{").expect_err("refused").code,
            Code::InvalidPayload
        );
    }
}
