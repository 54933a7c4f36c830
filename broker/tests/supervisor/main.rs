//! The supervisor with real processes: small scripts that speak a line protocol of their own to a
//! fake owner of the links.

#![allow(clippy::unwrap_used, reason = "a failed step of a test ends it")]

mod apply;
mod checks;
mod ends;
mod exits;
mod fake;
mod limits;
mod logs;
mod shared;
mod starts;
