//! Reads YAML into the tree that TOML is read into.
//!
//! The meaning of words is YAML 1.2's: `yes` and `on` are text, `0755` is text. What a mapping says
//! twice is refused. Anchors, aliases and merge keys are the parser's.

use std::fmt;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{DuplicateKeyPolicy, NonFiniteFloatPolicy, Spanned};
use trunkline_contract::toml::{Diagnostic, Entry, Kind, Node, Place, Severity, Table};

/// Parses a text; one that holds nothing is an empty table.
///
/// # Errors
/// A `syntax` diagnostic for the first place that is no YAML: what follows it has no meaning.
pub(super) fn parse(text: &str, file: &Arc<str>) -> Result<Table, Box<Diagnostic>> {
    let options = serde_saphyr::options! {
        duplicate_keys: DuplicateKeyPolicy::Error,
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        non_finite_float_policy: NonFiniteFloatPolicy::Reject,
        with_snippet: false,
    };
    let refuse = |place: &Place, message: String| {
        Box::new(Diagnostic::new(Severity::Error, "syntax", place, message))
    };
    let read: Result<Spanned<Raw>, _> = serde_saphyr::from_str_with_options(text, options);
    match read {
        Ok(read) => {
            let node = node_of(read, file);
            match node.kind {
                Kind::Table(table) => Ok(table),
                Kind::Null => Ok(Table::default()),
                _ => {
                    let message = format!("not a mapping of keys: {}", node.type_name());
                    Err(refuse(&node.place, message))
                }
            }
        }
        Err(error) => {
            let at = error.location();
            let place = at.map_or_else(
                || Place::start_of(Arc::clone(file)),
                |at| place_of(at.line(), at.column(), file),
            );
            Err(refuse(&place, format!("not YAML: {}", reason(&error))))
        }
    }
}

/// Says what is wrong in one line, without the place that stands before it anyway.
fn reason(error: &serde_saphyr::Error) -> String {
    let text = error.to_string();
    let line = text.lines().collect::<Vec<_>>().join(", ");
    let line = line
        .split(", set DuplicateKeyPolicy")
        .next()
        .unwrap_or(&line);
    match line.rfind(" at line ") {
        Some(end) => line[..end].to_owned(),
        None => line.to_owned(),
    }
}

/// A value as the parser gives it.
enum Raw {
    Null,
    Boolean(bool),
    Integer(i64),
    Float(f64),
    String(String),
    Array(Vec<Spanned<Raw>>),
    Table(Vec<(Spanned<String>, Spanned<Raw>)>),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;

        impl<'de> Visitor<'de> for Any {
            type Value = Raw;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }

            fn visit_unit<E>(self) -> Result<Raw, E> {
                Ok(Raw::Null)
            }

            fn visit_bool<E>(self, is: bool) -> Result<Raw, E> {
                Ok(Raw::Boolean(is))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Raw, E> {
                Ok(Raw::Integer(number))
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Raw, E> {
                let fits = i64::try_from(number);
                fits.map(Raw::Integer).map_err(|_| too_large())
            }

            fn visit_i128<E: Error>(self, number: i128) -> Result<Raw, E> {
                let fits = i64::try_from(number);
                fits.map(Raw::Integer).map_err(|_| too_large())
            }

            fn visit_u128<E: Error>(self, _: u128) -> Result<Raw, E> {
                Err(too_large())
            }

            fn visit_f64<E: Error>(self, number: f64) -> Result<Raw, E> {
                // The parser makes one of a whole number of too many digits, and loses some.
                if number.abs() < i64::MAX as f64 {
                    Ok(Raw::Float(number))
                } else {
                    Err(too_large())
                }
            }

            fn visit_str<E>(self, text: &str) -> Result<Raw, E> {
                Ok(Raw::String(text.to_owned()))
            }

            fn visit_string<E>(self, text: String) -> Result<Raw, E> {
                Ok(Raw::String(text))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Raw, A::Error> {
                let mut read = Vec::new();
                while let Some(item) = items.next_element()? {
                    read.push(item);
                }
                Ok(Raw::Array(read))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Raw, A::Error> {
                let mut read = Vec::new();
                while let Some(entry) = entries.next_entry()? {
                    read.push(entry);
                }
                Ok(Raw::Table(read))
            }
        }

        deserializer.deserialize_any(Any)
    }
}

fn too_large<E: Error>() -> E {
    E::custom("expected a number of at most 63 bits, found a larger one; quote what is a name")
}

fn place_of(line: u64, column: u64, file: &Arc<str>) -> Place {
    Place {
        file: Arc::clone(file),
        line: u32::try_from(line).unwrap_or(u32::MAX).max(1),
        column: u32::try_from(column).unwrap_or(u32::MAX).max(1),
    }
}

fn node_of(read: Spanned<Raw>, file: &Arc<str>) -> Node {
    let place = place_of(read.defined.line(), read.defined.column(), file);
    let kind = match read.value {
        Raw::Null => Kind::Null,
        Raw::Boolean(is) => Kind::Boolean(is),
        Raw::Integer(number) => Kind::Integer(number),
        Raw::Float(number) => Kind::Float(number),
        Raw::String(text) => Kind::String(text),
        Raw::Array(items) => {
            Kind::Array(items.into_iter().map(|item| node_of(item, file)).collect())
        }
        Raw::Table(entries) => {
            let entries = entries.into_iter().map(|(key, value)| Entry {
                place: place_of(key.defined.line(), key.defined.column(), file),
                key: key.value,
                node: node_of(value, file),
            });
            Kind::Table(Table {
                entries: entries.collect(),
            })
        }
    };
    Node { kind, place }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(text: &str) -> Result<Table, String> {
        parse(text, &"t.yaml".into()).map_err(|found| found.to_string())
    }

    #[test]
    fn words_mean_what_yaml_1_2_says() {
        let text = "a: yes\nb: 0755\nc: 1_000\nd: true\ne: ~\nf: 1.5\ng: \"7\"\nh: [1, x]\n";
        assert_eq!(
            Value::Object(read(text).unwrap().to_json()),
            json!({"a": "yes", "b": "0755", "c": "1_000", "d": true, "e": null, "f": 1.5,
                   "g": "7", "h": [1, "x"]})
        );
        assert_eq!(read("# nothing\n").unwrap(), Table::default());
    }

    #[test]
    fn every_key_and_value_knows_its_place() {
        let table = read("a:\n  - b: 1\n    c: x\nd: 2\n").unwrap();
        let d = table.entry("d").unwrap();
        assert_eq!(d.place.to_string(), "t.yaml:4:1");
        assert_eq!(d.node.place.to_string(), "t.yaml:4:4");
        let Kind::Array(items) = &table.get("a").unwrap().kind else {
            panic!()
        };
        let c = items[0].as_table().unwrap().entry("c").unwrap();
        assert_eq!(c.place.to_string(), "t.yaml:3:5");
        assert_eq!(c.node.place.to_string(), "t.yaml:3:8");
    }

    #[test]
    fn what_is_no_yaml_is_one_error_with_its_place() {
        for (text, expected) in [
            ("a: 1\na: 2\n", "t.yaml:2:1: not YAML:"),
            ("a: [1\nb: 2\n", "t.yaml:2:"),
            ("- a\n", "t.yaml:1:1: not a mapping of keys: an array"),
            ("a: 99999999999999999999\n", "t.yaml:1:4: not YAML:"),
            ("a: .inf\n", "t.yaml:1:4: not YAML:"),
            ("a: 1\n---\nb: 2\n", "t.yaml:"),
        ] {
            let found = read(text).unwrap_err();
            assert!(found.starts_with(expected), "{text}\n{found}");
            assert!(
                !found.contains('\n') && !found.contains(" at line"),
                "{found}"
            );
        }
    }
}
