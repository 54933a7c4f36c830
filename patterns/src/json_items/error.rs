//! Why a page of a list cannot be read, or a declaration does not hold.

use serde_json::Value;

/// Tells what was expected and what was found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ItemsError {
    /// An option has a value it cannot have.
    #[error("expected {expected} as json.{option}, found {found:?}")]
    Option {
        /// Its name.
        option: &'static str,
        /// What it takes.
        expected: &'static str,
        /// What it is.
        found: String,
    },
    /// The body is longer than is ever read.
    #[error("expected a body of at most {max} bytes, found {found}")]
    TooLarge {
        /// Its length in bytes.
        found: usize,
        /// The limit.
        max: usize,
    },
    /// The body is no JSON.
    #[error("expected JSON, found {found}")]
    NotJson {
        /// What is wrong with it.
        found: String,
    },
    /// There is something else where the items should be.
    #[error("expected a list at {path:?}, found {found}")]
    NotAList {
        /// The path.
        path: String,
        /// What is there.
        found: &'static str,
    },
    /// What names the next page is no such thing.
    #[error("expected {expected} at {path:?}, found {found}")]
    BadNext {
        /// The path.
        path: String,
        /// What it takes.
        expected: &'static str,
        /// What is there.
        found: &'static str,
    },
}

/// Names the kind of a JSON value, for error texts.
pub fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
