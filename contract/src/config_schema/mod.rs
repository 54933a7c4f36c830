//! What a plugin's config may hold, and the check of one instance's config against it.
//!
//! Not a JSON Schema engine: tables of typed keys, as manifests declare them, of which a JSON
//! Schema can be made. Secrets come only by reference and leave by their own door: the public
//! config holds `{"$secret": "<path>"}` in their place.

mod check;
mod compare;
mod json_schema;
mod rules;
#[cfg(test)]
mod tests;
mod types;

pub use check::Files;
pub(crate) use check::check_default;
pub(crate) use rules::{compare, is_pattern, same};
pub use types::{
    Checked, ConfigKey, ConfigSchema, ConfigType, Given, Problem, RESERVED_KEYS, Rules,
};
