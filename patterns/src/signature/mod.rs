//! Signatures of webhooks: one verifier and one signer over raw bytes, driven by a table.
//!
//! What a provider does is a row of `rule`: which header holds the signature, what is signed, how it is
//! made and written, how old it may be. [`Verifier::receive`] is the whole way of a request: the
//! challenges of providers in the order each needs, the signature against every active secret in
//! constant time, the replay window against a clock that is given, and the provider's own id.
//! [`sign`] is its mirror, for tests and for who has to send.
//!
//! | file | concept |
//! |---|---|
//! | `rule` | the table |
//! | `key` | secrets and what is made with them |
//! | `content` | what is signed |
//! | `twilio` | Twilio's way of it |
//! | `verify` | the verifier |
//! | `challenge` | what providers ask before they send |
//! | `signer` | the signer |
//!
//! It does no I/O and reads no clock. Nothing panics on any input. Invariants: a body of which any part
//! is unsigned is never taken; a comparison's time does not depend on where two signatures differ.

mod challenge;
mod content;
mod key;
mod refusal;
mod request;
mod rule;
mod signer;
#[cfg(test)]
mod tests;
mod twilio;
mod verify;

pub use challenge::Challenge;
pub use key::SecretError;
pub use refusal::Refusal;
pub use request::Request;
pub use signer::{sign, twilio_url};
pub use verify::{Received, Verified, Verifier};
