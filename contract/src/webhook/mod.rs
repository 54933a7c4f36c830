//! What a plugin says about a webhook: whose signature it bears, and what becomes of a request.
//!
//! Declarations only, as a manifest's `[[webhooks]]` and the `declares.webhooks` of an answer to
//! `initialize` carry them. Signatures are checked in `trunkline-patterns`, requests are taken by the
//! broker. [`Webhook::check`] is the one judge of what may be declared; who reads a text adds the
//! position.

mod declaration;
mod scheme;
mod source;
#[cfg(test)]
mod tests;

pub use declaration::{Respond, Webhook};
pub use scheme::{Algorithm, Encoding, EventId, KeyForm, Scheme, Signature};
pub use source::{PartFields, ReceiptFields, WebhookSource};
