//! The broker.
pub mod store;
