//! The harness that the promises of Trunkline are tested with, against the real daemon.
//!
//! | module | what it is |
//! |---|---|
//! | [`bench`] | measurements against the limits of the machine |
//! | [`history`], [`checker`] | what drivers saw from outside, and whether the promises held in it |
//! | [`wire`] | a raw peer of the wire contract, without any SDK |
//! | [`daemon`] | a real `trunkline up`: started, killed, stopped, restarted |
//! | [`driver`] | seeded publishers and subscribers that write the history |
//! | [`scenario`] | a daemon, a load, faults between them, a verdict |
//! | [`steps`], [`outside`] | a plugin and a daemon of which one dies at a step, and the services that the plugin uses |
//! | [`supervised`] | the instance that a run's daemon keeps |
//! | [`powercut`], [`full_disk`], [`strace`], [`tool`] | faults: a disk that loses its power, a disk that is full, failing syscalls |
//! | [`sdk`], [`golden`] | the SDKs as they are installed, and the broker's side of a transcript with a plugin in one |
//! | [`mcp`] | programs of others that speak MCP |
//! | [`http`] | requests to the daemon's HTTP side |
//! | [`webhooks`] | providers from outside, and their packages that second our signatures |
//! | [`pages`] | the code blocks of the README and of the documentation |
//! | [`skip`] | a test that cannot run says so, and fails in CI unless it is named |
//! | [`harness`] | vendors of chat and mail, played from their public documentation |
//! | [`tidy`] | the rules of the source tree |
//!
//! The suites are in `tests/suites`, one per promise. They need the daemon:
//! `cargo daemon`.

#![expect(
    clippy::disallowed_methods,
    reason = "the harness measures and starts real processes; it is no part of the daemon"
)]

pub mod bench;
pub mod checker;
pub mod daemon;
pub mod driver;
pub mod full_disk;
pub mod golden;
#[path = "../harness/mod.rs"]
pub mod harness;
pub mod history;
pub mod http;
pub mod mcp;
pub mod outside;
pub mod pages;
pub mod powercut;
pub mod random;
pub mod scenario;
pub mod sdk;
pub mod skip;
pub mod steps;
pub mod strace;
pub mod supervised;
pub mod tidy;
pub mod tool;
pub mod webhooks;
pub mod wire;

/// Holds the examples of the README to what compiles.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;
