//! Engines.

pub mod backoff;
pub mod chunk;
pub mod signature;
