//! What a plugin's config may hold, and the check of one instance's config against it.
//!
//! Not a JSON Schema engine: one flat table of typed keys. Secrets come only by reference and
//! leave by their own door: the public config holds `{"$secret": "<key>"}` in their place.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::{Map, Value, json};

use crate::duration;
use crate::toml::nearest;

/// Lists the keys of an instance that the broker reads itself.
pub const RESERVED_KEYS: &[&str] = &[
    "instance",
    "enabled",
    "path",
    "limits",
    "restart",
    "restart_degraded_after",
];

/// Enumerates the types of config values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ConfigType {
    /// A string.
    String,
    /// A whole number.
    Integer,
    /// Any number.
    Number,
    /// True or false.
    Boolean,
    /// A list.
    Array,
    /// A table.
    Object,
    /// A string such as `"30s"`.
    Duration,
}

impl ConfigType {
    /// Lists the words used in manifests.
    pub const WORDS: &'static [(&'static str, Self)] = &[
        ("string", Self::String),
        ("integer", Self::Integer),
        ("number", Self::Number),
        ("boolean", Self::Boolean),
        ("array", Self::Array),
        ("object", Self::Object),
        ("duration", Self::Duration),
    ];

    /// Names the type as manifests do.
    pub fn as_str(self) -> &'static str {
        Self::WORDS
            .iter()
            .find(|(_, kind)| *kind == self)
            .map_or("", |(word, _)| word)
    }

    /// Checks a value; the message begins with "has to be" and never quotes the value of a string.
    pub fn check(self, value: &Value) -> Result<(), String> {
        let fits = match (self, value) {
            (Self::String, Value::String(_))
            | (Self::Boolean, Value::Bool(_))
            | (Self::Number, Value::Number(_))
            | (Self::Array, Value::Array(_))
            | (Self::Object, Value::Object(_)) => true,
            (Self::Integer, Value::Number(number)) => number.is_i64() || number.is_u64(),
            (Self::Duration, Value::String(text)) => {
                return duration::parse(text)
                    .map(|_| ())
                    .map_err(|error| error.to_string());
            }
            (Self::Duration, Value::Number(_)) => {
                return Err(format!(
                    "has to be a duration with a unit: {}",
                    duration::BARE_HINT
                ));
            }
            _ => false,
        };
        if fits {
            Ok(())
        } else {
            Err(format!("has to be {self}, found {}", type_of(value)))
        }
    }

    /// Reads a value out of text from a variable or file.
    fn read_text(self, text: &str) -> Option<Value> {
        match self {
            Self::String | Self::Duration => Some(Value::String(text.to_owned())),
            _ => serde_json::from_str(text.trim()).ok(),
        }
    }
}

impl fmt::Display for ConfigType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "no value",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Describes one key.
#[derive(Debug, Clone, PartialEq)]
pub struct ConfigKey {
    /// Type of its value.
    pub kind: ConfigType,
    /// Whether an instance has to give it.
    pub required: bool,
    /// The value where an instance gives none.
    pub default: Option<Value>,
    /// Whether it comes by reference only and is never shown.
    pub secret: bool,
    /// Whether no two instances may have the same value.
    pub unique: bool,
    /// Whether a change of it needs no restart.
    pub hot: bool,
    /// Name for people.
    pub label: Option<String>,
}

/// Describes all keys of a plugin's config.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ConfigSchema {
    /// The keys.
    pub keys: BTreeMap<String, ConfigKey>,
    /// Whether other keys pass unchecked (foreign manifests declare none).
    pub is_open: bool,
}

/// Holds the config of one instance, checked and taken apart.
#[derive(Clone, Default, PartialEq)]
pub struct Checked {
    /// What everybody may see; a secret is `{"$secret": "<key>"}`.
    pub config: Map<String, Value>,
    /// The secret values by key.
    pub secrets: BTreeMap<String, String>,
}

impl fmt::Debug for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&String> = self.secrets.keys().collect();
        f.debug_struct("Checked")
            .field("config", &self.config)
            .field("secrets", &names)
            .finish()
    }
}

/// Says what is wrong with one key of an instance's config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The key; the caller knows where it stands.
    pub key: String,
    /// Diagnostic code.
    pub code: &'static str,
    /// What was expected and what was found; never a secret's value.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Problem {
    fn new(key: &str, code: &'static str, message: String) -> Self {
        Self {
            key: key.to_owned(),
            code,
            message,
            hint: None,
        }
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl ConfigSchema {
    /// Checks an instance's config and takes its secrets out.
    ///
    /// # Arguments
    /// * `literals` - values that stand in the operator's file.
    /// * `referenced` - values that came from a variable or a file, by key.
    ///
    /// # Errors
    /// Every problem at once.
    pub fn check(
        &self,
        literals: &Map<String, Value>,
        referenced: &BTreeMap<String, String>,
    ) -> Result<Checked, Vec<Problem>> {
        let (checked, problems) = self.check_all(literals, referenced);
        if problems.is_empty() {
            Ok(checked)
        } else {
            Err(problems)
        }
    }

    /// Checks like [`ConfigSchema::check`], and gives what is right beside what is not.
    pub fn check_all(
        &self,
        literals: &Map<String, Value>,
        referenced: &BTreeMap<String, String>,
    ) -> (Checked, Vec<Problem>) {
        let mut problems = Vec::new();
        let mut checked = Checked::default();
        for (name, value) in literals {
            match self.keys.get(name) {
                Some(key) if key.secret => problems.push(literal_secret(name)),
                Some(key) => match key.kind.check(value) {
                    Ok(()) => {
                        checked.config.insert(name.clone(), value.clone());
                    }
                    Err(problem) => {
                        problems.push(Problem::new(
                            name,
                            "wrong_type",
                            format!("{name} {problem}"),
                        ));
                    }
                },
                None if self.is_open => {
                    checked.config.insert(name.clone(), value.clone());
                }
                None => problems.push(self.unknown(name)),
            }
        }
        for (name, text) in referenced {
            match self.keys.get(name) {
                Some(key) if !key.secret => match key.kind.read_text(text) {
                    Some(value) if key.kind.check(&value).is_ok() => {
                        checked.config.insert(name.clone(), value);
                    }
                    _ => {
                        let message = format!("the value referred to by {name} is no {}", key.kind);
                        problems.push(Problem::new(name, "wrong_type", message));
                    }
                },
                None if !self.is_open => problems.push(self.unknown(name)),
                _ if text.is_empty() => {
                    let message = format!("the secret referred to by {name} is empty");
                    problems.push(Problem::new(name, "secret_missing", message));
                }
                _ => {
                    checked
                        .config
                        .insert(name.clone(), json!({ "$secret": name }));
                    checked.secrets.insert(name.clone(), text.clone());
                }
            }
        }
        self.fill(literals, referenced, &mut checked, &mut problems);
        (checked, problems)
    }

    fn fill(
        &self,
        literals: &Map<String, Value>,
        referenced: &BTreeMap<String, String>,
        checked: &mut Checked,
        problems: &mut Vec<Problem>,
    ) {
        for (name, key) in &self.keys {
            if literals.contains_key(name) || referenced.contains_key(name) {
                continue;
            }
            if let Some(default) = &key.default {
                checked.config.insert(name.clone(), default.clone());
            } else if key.required {
                let hint = if key.secret {
                    format!("add {name}_env = \"NAME_OF_A_VARIABLE\"")
                } else {
                    format!("add {name} = … ({})", key.kind)
                };
                let message = format!("{name} is required and missing");
                problems.push(Problem::new(name, "missing_key", message).hint(hint));
            }
        }
    }

    fn unknown(&self, name: &str) -> Problem {
        let known: Vec<&str> = self.keys.keys().map(String::as_str).collect();
        let hint = match nearest(name, &known) {
            Some(near) => format!("did you mean {near:?}?"),
            None if known.is_empty() => "the plugin's manifest declares no config".to_owned(),
            None => format!("the plugin's manifest declares {}", known.join(", ")),
        };
        Problem::new(name, "unknown_key", format!("unknown config key {name:?}")).hint(hint)
    }

    /// Finds the values of `unique` keys that a later instance shares with an earlier one.
    ///
    /// Gives (key, index of the earlier, index of the later), never the value.
    pub fn shared_values(&self, instances: &[&Checked]) -> Vec<(String, usize, usize)> {
        let mut shared = Vec::new();
        for (name, key) in self.keys.iter().filter(|(_, key)| key.unique) {
            let value_of = |checked: &Checked| {
                if key.secret {
                    checked.secrets.get(name).cloned()
                } else {
                    checked.config.get(name).map(Value::to_string)
                }
            };
            let mut first: BTreeMap<String, usize> = BTreeMap::new();
            for (index, checked) in instances.iter().enumerate() {
                let Some(value) = value_of(checked) else {
                    continue;
                };
                match first.get(&value) {
                    Some(earlier) => shared.push((name.clone(), *earlier, index)),
                    None => {
                        first.insert(value, index);
                    }
                }
            }
        }
        shared
    }

    /// Tells whether every changed key between two configs is `hot`, so that no restart is needed.
    pub fn is_hot_change(&self, old: &Checked, new: &Checked) -> bool {
        let names: BTreeSet<&String> = old.config.keys().chain(new.config.keys()).collect();
        names
            .into_iter()
            .filter(|name| {
                old.config.get(*name) != new.config.get(*name)
                    || old.secrets.get(*name) != new.secrets.get(*name)
            })
            .all(|name| self.keys.get(name).is_some_and(|key| key.hot))
    }
}

fn literal_secret(name: &str) -> Problem {
    Problem::new(
        name,
        "secret_literal",
        format!("{name} is secret and stands in the file"),
    )
    .hint(format!(
        "write {name}_env = \"NAME_OF_A_VARIABLE\" or {name} = {{ file = \"secrets/{name}\" }}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema() -> ConfigSchema {
        let key = |kind| ConfigKey {
            kind,
            required: false,
            default: None,
            secret: false,
            unique: false,
            hot: false,
            label: None,
        };
        let token = ConfigKey {
            secret: true,
            unique: true,
            required: true,
            ..key(ConfigType::String)
        };
        let poll = ConfigKey {
            default: Some(json!("5s")),
            hot: true,
            ..key(ConfigType::Duration)
        };
        let keys = [
            ("bot_token", token),
            ("poll", poll),
            ("retries", key(ConfigType::Integer)),
            ("ratio", key(ConfigType::Number)),
            ("chats", key(ConfigType::Array)),
            (
                "account",
                ConfigKey {
                    unique: true,
                    ..key(ConfigType::String)
                },
            ),
        ];
        let keys = keys
            .into_iter()
            .map(|(name, key)| (name.to_owned(), key))
            .collect();
        ConfigSchema {
            keys,
            is_open: false,
        }
    }

    fn map(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    fn token(value: &str) -> BTreeMap<String, String> {
        BTreeMap::from([("bot_token".to_owned(), value.to_owned())])
    }

    #[test]
    fn a_secret_leaves_the_config_and_a_default_fills_it() {
        let checked = schema()
            .check(&map(json!({"retries": 3})), &token("s3cret"))
            .unwrap();
        assert_eq!(
            Value::Object(checked.config.clone()),
            json!({"retries": 3, "bot_token": {"$secret": "bot_token"}, "poll": "5s"})
        );
        assert_eq!(checked.secrets["bot_token"], "s3cret");
        assert!(!format!("{checked:?}").contains("s3cret"));
    }

    #[test]
    fn every_problem_is_reported_at_once() {
        let literals = map(json!({
            "bot_token": "s3cret", "pol": "5s", "retries": 1.5, "ratio": "x", "chats": {}, "poll": 5,
        }));
        let problems = schema().check(&literals, &BTreeMap::new()).unwrap_err();
        let text: Vec<String> = problems
            .iter()
            .map(|p| {
                format!(
                    "{} {} / {}",
                    p.code,
                    p.message,
                    p.hint.as_deref().unwrap_or("-")
                )
            })
            .collect();
        expect_test::expect![[r#"
            secret_literal bot_token is secret and stands in the file / write bot_token_env = "NAME_OF_A_VARIABLE" or bot_token = { file = "secrets/bot_token" }
            unknown_key unknown config key "pol" / did you mean "poll"?
            wrong_type retries has to be integer, found number / -
            wrong_type ratio has to be number, found string / -
            wrong_type chats has to be array, found object / -
            wrong_type poll has to be a duration with a unit: a bare number is seconds to one reader and milliseconds to the next: write "30s" or "250ms" / -"#]]
        .assert_eq(&text.join("\n"));
        assert!(!text.join("").contains("s3cret"));
    }

    #[test]
    fn a_required_key_that_is_missing_is_an_error_and_an_empty_secret_too() {
        let problems = schema().check(&Map::new(), &BTreeMap::new()).unwrap_err();
        assert_eq!(problems[0].code, "missing_key");
        assert_eq!(
            problems[0].hint.as_deref(),
            Some("add bot_token_env = \"NAME_OF_A_VARIABLE\"")
        );
        let problems = schema().check(&Map::new(), &token("")).unwrap_err();
        assert_eq!(problems[0].code, "secret_missing");
    }

    #[test]
    fn a_reference_fills_a_public_key_with_its_own_type() {
        let mut referenced = token("t");
        referenced.insert("retries".to_owned(), "7\n".to_owned());
        let checked = schema().check(&Map::new(), &referenced).unwrap();
        assert_eq!(checked.config["retries"], json!(7));
        referenced.insert("retries".to_owned(), "many".to_owned());
        let problems = schema().check(&Map::new(), &referenced).unwrap_err();
        assert_eq!(
            problems[0].message,
            "the value referred to by retries is no integer"
        );
    }

    #[test]
    fn two_instances_with_one_unique_value_are_found_without_showing_it() {
        let a = schema().check(&Map::new(), &token("same")).unwrap();
        let b = schema().check(&Map::new(), &token("other")).unwrap();
        let c = schema().check(&Map::new(), &token("same")).unwrap();
        assert_eq!(
            schema().shared_values(&[&a, &b, &c]),
            vec![("bot_token".to_owned(), 0, 2)],
            "an absent unique key (account) is shared by nobody"
        );
    }

    #[test]
    fn a_change_of_hot_keys_alone_needs_no_restart() {
        let with = |poll: &str, token_value: &str| {
            schema()
                .check(&map(json!({ "poll": poll })), &token(token_value))
                .unwrap()
        };
        assert!(schema().is_hot_change(&with("5s", "t"), &with("9s", "t")));
        assert!(!schema().is_hot_change(&with("5s", "t"), &with("9s", "u")));
        assert!(schema().is_hot_change(&with("5s", "t"), &with("5s", "t")));
    }

    #[test]
    fn an_open_schema_takes_any_key_and_keeps_references_secret() {
        let open = ConfigSchema {
            keys: BTreeMap::new(),
            is_open: true,
        };
        let checked = open.check(&map(json!({"any": [1]})), &token("t")).unwrap();
        assert_eq!(checked.config["any"], json!([1]));
        assert_eq!(checked.config["bot_token"], json!({"$secret": "bot_token"}));
    }
}
