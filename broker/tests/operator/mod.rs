//! What an operator has: a directory, a daemon, commands.

#[allow(dead_code, reason = "not every suite uses everything")]
mod home;

pub(crate) use home::*;
