//! Engines.

pub mod assembler;
pub mod backoff;
pub mod chunk;
pub mod connection;
pub mod outbound;
pub mod signature;
