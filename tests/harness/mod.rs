//! Vendors of chat and mail, played from their public documentation: small servers on 127.0.0.1 that a plugin meets
//! under an address of its config.
//!
//! | module | what it is |
//! |---|---|
//! | [`stage`] | what every fake is made of: a server, its state, and who waits for a change of it |
//! | [`socket`] | the WebSockets of a fake, and what is to be said over each |
//! | [`telegram`] | the Bot API with long polling |
//! | [`slack`] | Socket Mode and `chat.postMessage` |
//! | [`discord`] | the gateway with sessions that are resumed, and messages over REST |
//! | [`mail`], [`imap`] | SMTP and IMAP over the same mailboxes |
//! | [`receiver`] | somebody's own server, to which answers are posted |
//! | [`client`] | a bare WebSocket client, for tests of the fakes |
//!
//! They are no mocks: a test says what people do and what breaks, the fake answers as the documentation does. What the
//! documentation leaves open is not relied on. Their clocks are real, and their waits end with an event.

pub mod client;
pub mod discord;
pub mod imap;
pub mod mail;
pub mod receiver;
pub mod slack;
pub mod socket;
pub mod stage;
pub mod telegram;
