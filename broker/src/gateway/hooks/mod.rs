//! Ingress: webhooks of the world, verified, stored, and only then answered.
//!
//! | file | concern |
//! |---|---|
//! | `receive` | the way of a request, gate by gate |
//! | `content` | a body, read within its bounds |
//! | `request` | what of a request is verified and stored |
//! | `rate` | rates per source, in memory that does not grow |
//!
//! Invariant: **verified → stored and synced → 2xx → processed.** Whatever comes after the 2xx cannot lose
//! the request, and whatever comes before it stores nothing.

mod content;
mod rate;
mod receive;
mod request;

pub(super) use rate::Rates;
pub(super) use receive::receive;
