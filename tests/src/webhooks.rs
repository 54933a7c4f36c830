//! Webhooks from outside: the packages that second our signatures and CloudEvents, and a provider that sends.

mod oracle;
mod provider;

pub use oracle::{Answer, Case, Oracle};
pub use provider::{Answered, Provider, SECRET, Site, read, signed};
