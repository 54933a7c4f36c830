//! Promise: a channel starter, as `trunkline new` writes it, meets its vendor: what people say comes in, what agents
//! send goes out by the account that it belongs to, and what the vendor does at its worst loses nothing.
//!
//! Each vendor is played from its public documentation (`tests/harness`), but for IRC, which is a real `ngircd`. Every
//! case has two accounts under a real daemon, and ends with a clean stop.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(
    clippy::disallowed_methods,
    reason = "it runs the operator's commands and starts real servers"
)]

#[path = "starters_meet_their_vendors/discord.rs"]
mod discord;
#[path = "starters_meet_their_vendors/email.rs"]
mod email;
#[path = "starters_meet_their_vendors/irc.rs"]
mod irc;
#[path = "irc/server.rs"]
#[expect(dead_code, reason = "the other suite has two kinds of guests")]
mod server;
#[path = "starters_meet_their_vendors/site.rs"]
mod site;
#[path = "starters_meet_their_vendors/slack.rs"]
mod slack;
#[path = "starters_meet_their_vendors/telegram.rs"]
mod telegram;
#[path = "starters_meet_their_vendors/webhook.rs"]
mod webhook;
