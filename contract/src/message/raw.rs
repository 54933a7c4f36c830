//! How a payload is read and written: members and words that are not known here are kept.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Holds the members that are not known here, as raw JSON.
#[derive(Debug, Clone, Default)]
pub struct Extra(pub BTreeMap<String, Box<RawValue>>);

impl PartialEq for Extra {
    fn eq(&self, other: &Self) -> bool {
        self.0.len() == other.0.len()
            && self
                .0
                .iter()
                .zip(&other.0)
                .all(|(a, b)| a.0 == b.0 && a.1.get() == b.1.get())
    }
}

/// Holds any JSON value as raw text.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Raw(pub Box<RawValue>);

impl PartialEq for Raw {
    fn eq(&self, other: &Self) -> bool {
        self.0.get() == other.0.get()
    }
}

impl JsonSchema for Raw {
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

/// Defines a payload: optional members are `null` or absent alike, unknown ones are kept.
///
/// serde's `flatten` would do, and would also change integers beyond 64 bits; hence by hand.
macro_rules! payload {
    (
        $(#[$attr:meta])*
        $name:ident
        required { $( $(#[$rattr:meta])* $rfield:ident $(as $rwire:literal)? : $rtype:ty, )* }
        optional { $( $(#[$fattr:meta])* $field:ident : $type:ty, )* }
    ) => {
        $(#[$attr])*
        #[derive(Debug, Clone, PartialEq, Default, JsonSchema)]
        pub struct $name {
            $( $(#[$rattr])* $(#[schemars(rename = $rwire)])? pub $rfield: $rtype, )*
            $( $(#[$fattr])* pub $field: Option<$type>, )*
            /// Members that are not known here.
            #[schemars(skip)]
            pub extra: Extra,
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut map = serializer.serialize_map(None)?;
                $( map.serialize_entry(payload!(@wire $rfield $($rwire)?), &self.$rfield)?; )*
                $( if let Some(value) = &self.$field {
                    map.serialize_entry(stringify!($field), value)?;
                } )*
                for (name, value) in &self.extra.0 {
                    map.serialize_entry(name, value)?;
                }
                map.end()
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Members;
                impl<'de> Visitor<'de> for Members {
                    type Value = $name;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str(concat!("an object (", stringify!($name), ")"))
                    }

                    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<$name, A::Error> {
                        $( let mut $rfield: Option<$rtype> = None; )*
                        $( let mut $field: Option<$type> = None; )*
                        let mut extra = BTreeMap::new();
                        while let Some(name) = map.next_key::<std::borrow::Cow<'de, str>>()? {
                            match name.as_ref() {
                                $( payload!(@wire $rfield $($rwire)?) => {
                                    $rfield = Some(map.next_value()?);
                                } )*
                                $( stringify!($field) => $field = map.next_value()?, )*
                                _ => {
                                    extra.insert(name.into_owned(), map.next_value()?);
                                }
                            }
                        }
                        Ok($name {
                            $( $rfield: $rfield.ok_or_else(|| {
                                serde::de::Error::missing_field(payload!(@wire $rfield $($rwire)?))
                            })?, )*
                            $( $field, )*
                            extra: Extra(extra),
                        })
                    }
                }
                deserializer.deserialize_map(Members)
            }
        }
    };
    (@wire $field:ident $wire:literal) => { $wire };
    (@wire $field:ident) => { stringify!($field) };
}

/// A closed set of words on the wire, where a word that is not known is kept.
macro_rules! words {
    ($(#[$attr:meta])* $name:ident { $( $(#[$vattr:meta])* $variant:ident = $word:literal, )* }) => {
        $(#[$attr])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
        #[non_exhaustive]
        pub enum $name {
            $( $(#[$vattr])* $variant, )*
            /// A word that is not known here.
            Other(String),
        }

        impl $name {
            /// Gives the word on the wire.
            pub fn as_str(&self) -> &str {
                match self {
                    $( Self::$variant => $word, )*
                    Self::Other(word) => word,
                }
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let word = String::deserialize(deserializer)?;
                Ok(match word.as_str() {
                    $( $word => Self::$variant, )*
                    _ => Self::Other(word),
                })
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "examples": [$($word),*] })
            }
        }
    };
}

pub(super) use payload;
pub(super) use words;
