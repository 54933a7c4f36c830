//! What a failed call to somebody outside means: whether it is worth another try, when, and whether
//! the try counts.
//!
//! | what happened | class |
//! |---|---|
//! | 429; 503 with a time to come back | [`Class::Wait`]: as told, not counted |
//! | 408, other 5xx, never sent | [`Class::BackOff`]: counted |
//! | sent, no answer | [`Class::Ambiguous`]: it may have happened |
//! | any other answer | [`Class::Final`] |
//!
//! Nothing here sends, waits, or reads a clock.

mod class;
mod date;
mod limits;
mod tries;

pub use class::{Class, Failed, Reached, TOLD_MS_MAX, TOLD_MS_MIN, UNTOLD_MS};
pub use date::http_date_ms;
pub use limits::Limits;
pub use tries::{ATTEMPTS_MAX, BACKOFF, JITTER, Tries, WAITS_MAX};
