//! The members of a JSON object, each with its value as text: what is not touched stays exactly as
//! it is, integers of any size and the order included.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::value::RawValue;

use super::Bytes;

/// A JSON object of which one level is read.
#[derive(Debug, Default)]
pub(crate) struct Members(Vec<(String, Bytes)>);

impl Members {
    /// Reads a text; none when it is no object.
    pub(crate) fn of(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Bytes> {
        let mut members = self.0.iter();
        members.find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// Sets a member, in its place or at the end.
    pub(crate) fn set(&mut self, name: &str, value: Bytes) {
        match self.0.iter_mut().find(|(key, _)| key == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AsMembers;
        impl<'de> Visitor<'de> for AsMembers {
            type Value = Members;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some((key, value)) = map.next_entry::<String, &RawValue>()? {
                    members.push((key, Bytes::copy(value)));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(AsMembers)
    }
}

impl Serialize for Members {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (key, value) in &self.0 {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves W4, Rust SDK part: what is added to a message leaves the rest of it as it is.
    #[test]
    fn what_is_not_touched_stays_as_it_is() {
        let text = r#"{"z":123456789012345678901234567890,"a":{"b":[1.50,{}]},"":null}"#;
        let mut members = Members::of(text).expect("an object");
        assert_eq!(Bytes::encode(&members).expect("valid").as_str(), text);
        members.set("a", Bytes::from_json("7").expect("valid"));
        members.set("new", Bytes::from_json("[]").expect("valid"));
        assert_eq!(
            Bytes::encode(&members).expect("valid").as_str(),
            r#"{"z":123456789012345678901234567890,"a":7,"":null,"new":[]}"#
        );
        assert_eq!(members.get("z").expect("there")[..5], *b"12345");
        assert!(Members::of("[]").is_none());
    }
}
