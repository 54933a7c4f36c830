//! Engines.

pub mod backoff;
