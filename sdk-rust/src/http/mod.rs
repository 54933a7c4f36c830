//! Calls to HTTP servers outside: `ctx.http()`.
//!
//! One client for all languages. Where a call goes, as whom, and with which fixed headers is said
//! once, in [`Http::at`], as data in which `{config.key}` is filled in from the instance's config;
//! what a call adds is never filled in, so no text of a user can ask for a secret. An answer of 400
//! and up is an [`HttpError`], and so is none. GETs, and calls with an idempotency key, are tried
//! again within the time that is left for what is being handled.
//!
//! | limit | | at it |
//! |---|---|---|
//! | [`ANSWER_BYTES_MAX`] | bytes of an answer, unpacked | the call fails |
//! | [`REDIRECTS_MAX`] | redirects of one try | the call fails |
//! | [`TIMEOUT`] | one try, unless said otherwise | the try fails |
//! | [`BUDGET`] | all tries outside of a handler | the call fails with the last error |
//!
//! Blobs are fetched and sent piece by piece, with limits of their own: `transfer`.
//!
//! Nothing here is specific to a language or an engine. Invariants: values that come from the
//! config stand in no error and in no log; they are sent to the origin they were declared for and,
//! through a redirect, to no other; no proxy is taken from the environment.

mod at;
mod call;
mod content;
mod error;
mod fill;
mod keep;
mod network;
mod outside;
mod redirect;
mod request;
mod response;
mod transfer;
mod url;

pub use at::{Http, HttpAt};
pub(crate) use call::answer_of;
#[cfg(feature = "testing")]
pub(crate) use call::described;
pub(crate) use error::http_error_of;
pub use error::{HttpError, class_of};
pub(crate) use fill::{Secrets, Written, fill};
#[cfg(feature = "testing")]
pub(crate) use keep::{Keep, too_long};
pub(crate) use network::Network;
pub(crate) use outside::Answer;
pub(crate) use outside::Outside;
#[cfg(feature = "testing")]
pub(crate) use outside::{Asked, Later, Missed};
pub use request::HttpRequest;
#[cfg(feature = "testing")]
pub(crate) use request::form_text;
pub use response::Response;
pub use transfer::{Download, Upload};
#[cfg(feature = "testing")]
pub(crate) use url::origin;

use std::time::Duration;

/// The most bytes of an answer that are read, after unpacking.
pub(crate) const ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;
/// How many redirects are followed.
pub(crate) const REDIRECTS_MAX: u32 = 5;
/// How long one try may take when nobody says otherwise.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);
/// How long all tries of a call may take where no handler's deadline bounds them.
pub(crate) const BUDGET: Duration = Duration::from_mins(2);
