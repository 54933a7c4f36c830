//! Checks one value against its bounds.

use std::cmp::Ordering;

use regex::Regex;
use serde_json::{Number, Value};

use super::types::{ConfigKey, ConfigType, Problem};
use crate::duration;
use crate::toml::nearest;

/// Tells why a text is no regular expression.
pub(crate) fn is_pattern(text: &str) -> Result<(), String> {
    Regex::new(text).map(|_| ()).map_err(|error| {
        let text = error.to_string();
        text.lines().last().unwrap_or_default().trim().to_owned()
    })
}

/// Compares two numbers, or two durations as texts; `None` where they cannot be compared.
pub(crate) fn compare(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => order(a, b),
        (Value::String(a), Value::String(b)) => {
            Some(duration::parse(a).ok()?.cmp(&duration::parse(b).ok()?))
        }
        _ => None,
    }
}

fn order(a: &Number, b: &Number) -> Option<Ordering> {
    match (a.as_i64(), b.as_i64()) {
        (Some(a), Some(b)) => Some(a.cmp(&b)),
        _ => a.as_f64()?.partial_cmp(&b.as_f64()?),
    }
}

/// Tells whether two values are one, `1` and `1.0` among them.
pub(crate) fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => order(a, b) == Some(Ordering::Equal),
        _ => a == b,
    }
}

/// Checks a value of the right type; a message names no text that stands in the file.
pub(super) fn check(key: &ConfigKey, path: &str, value: &Value, problems: &mut Vec<Problem>) {
    let mut refuse = |message: String, hint: Option<String>| {
        let mut problem = Problem::new(path, "invalid_value", message);
        problem.hint = hint;
        problems.push(problem);
    };
    let rules = &key.rules;
    if !key.options.is_empty() && !key.options.iter().any(|option| same(option, value)) {
        let all: Vec<String> = key.options.iter().map(Value::to_string).collect();
        let words: Vec<&str> = key.options.iter().filter_map(Value::as_str).collect();
        let near = value.as_str().and_then(|text| nearest(text, &words));
        refuse(
            format!("{path} has to be one of {}, found another", all.join(", ")),
            near.map(|near| format!("did you mean {near:?}?")),
        );
    }
    if let Some(min) = &rules.min
        && compare(value, min) == Some(Ordering::Less)
    {
        let message = format!(
            "{path} has to be at least {}, found {}",
            bare(min),
            bare(value)
        );
        refuse(message, None);
    }
    if let Some(max) = &rules.max
        && compare(value, max) == Some(Ordering::Greater)
    {
        let message = format!(
            "{path} has to be at most {}, found {}",
            bare(max),
            bare(value)
        );
        refuse(message, None);
    }
    if key.kind == ConfigType::String
        && let Some(text) = value.as_str()
    {
        let length = text.chars().count() as u64;
        within(
            path,
            length,
            rules.min_length,
            rules.max_length,
            "characters",
            &mut refuse,
        );
        if let Some(pattern) = &rules.pattern
            && Regex::new(pattern).is_ok_and(|pattern| !pattern.is_match(text))
        {
            refuse(
                format!("{path} has to match {pattern}, found a text that does not"),
                None,
            );
        }
    }
    let items = match value {
        Value::Array(items) => Some(items.len()),
        Value::Object(entries) => Some(entries.len()),
        _ => None,
    };
    if let Some(items) = items {
        within(
            path,
            items as u64,
            rules.min_items,
            rules.max_items,
            "items",
            &mut refuse,
        );
    }
}

fn within(
    path: &str,
    found: u64,
    min: Option<u64>,
    max: Option<u64>,
    what: &str,
    refuse: &mut impl FnMut(String, Option<String>),
) {
    if let Some(min) = min.filter(|min| found < *min) {
        refuse(
            format!("{path} has to have at least {min} {what}, found {found}"),
            None,
        );
    }
    if let Some(max) = max.filter(|max| found > *max) {
        refuse(
            format!("{path} has to have at most {max} {what}, found {found}"),
            None,
        );
    }
}

/// A number or duration without quotes.
fn bare(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}
