//! Webhooks from outside: the packages of providers that second our signatures, and a provider that sends.

mod oracle;
mod provider;

pub use oracle::{Answer, Case, Oracle};
pub use provider::{Answered, Provider, SECRET, Site, read, signed};
