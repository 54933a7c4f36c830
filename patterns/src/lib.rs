//! Engines.

pub mod backoff;
pub mod signature;
