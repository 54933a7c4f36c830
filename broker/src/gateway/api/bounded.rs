//! Schemas of texts that are bounded in bytes.
//!
//! JSON Schema counts characters and the contract counts bytes of UTF-8. So a schema promises what surely
//! fits: ASCII up to the bound, any other text up to a quarter of it. The daemon takes every text whose bytes
//! fit.

use serde_json::{Value, json};

/// Says which characters a text may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signs {
    /// All of them.
    Any,
    /// All but the control characters of ASCII.
    Shown,
    /// All but the control characters of Unicode.
    Printed,
}

/// Gives the alternatives for `anyOf` of a text of `min` to `max` bytes.
pub(super) fn text(min: usize, max: usize, signs: Signs) -> Value {
    let (ascii, every) = match signs {
        Signs::Any => (r"^[\x00-\x7f]*$", r"^[\s\S]*$"),
        Signs::Shown => (r"^[ -~]*$", r"^[^\x00-\x1f\x7f]*$"),
        Signs::Printed => (r"^[ -~]*$", r"^[^\x00-\x1f\x7f-\x9f]*$"),
    };
    json!([
        {"minLength": min, "maxLength": max, "pattern": ascii},
        {"minLength": min, "maxLength": max / 4, "pattern": every},
    ])
}
