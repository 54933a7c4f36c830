//! What an operator has: a directory, a daemon, commands.

mod home;

pub(crate) use home::*;
