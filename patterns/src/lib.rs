//! Engines.

pub mod address;
pub mod assembler;
pub mod backoff;
pub mod chunk;
pub mod connection;
pub mod feed;
pub mod hook_source;
pub mod json_items;
pub mod outbound;
pub mod poller;
pub mod rate;
pub mod retry;
pub mod schedule;
pub mod signature;
