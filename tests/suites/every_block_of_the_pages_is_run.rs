//! Promise: what a page shows is so. Every code block of `README.md` and of `docs/` is run by a test, or is on a short list
//! that says why it is not.

#![expect(
    clippy::disallowed_methods,
    reason = "commands are run as their users run them"
)]

#[path = "every_block_of_the_pages_is_run/claims.rs"]
mod claims;
#[path = "every_block_of_the_pages_is_run/clients.rs"]
mod clients;
#[path = "every_block_of_the_pages_is_run/commands.rs"]
mod commands;
#[path = "every_block_of_the_pages_is_run/settings.rs"]
mod settings;
