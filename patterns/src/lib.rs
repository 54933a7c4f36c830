//! Engines.

pub mod backoff;
pub mod chunk;
pub mod outbound;
pub mod connection;
pub mod signature;
