//! An IRC channel for Trunkline: one instance is one account on one server.
//!
//! A line that comes in counts from the ack of its publish. A message that goes out is settled when
//! the server has answered a `PING` that was sent behind it: the protocol has no other sign that a
//! line was taken. When the connection ends before that, the delivery is given back without being
//! counted as a failure and comes again, marked as a redelivery: at least once.
//!
//! | module | what it is |
//! |---|---|
//! | `line` | lines of the protocol, without any input or output |
//! | `session` | what a connection is told and says: registration, joins, messages; no input or output |
//! | `pace`, `watchdog` | when the next line may go, when a silent server is dead; pure |
//! | `connection` | one TCP connection, from the first byte to the last |
//! | `account` | connects again and again, publishes what came in, reports how it is |
//! | `outbound` | from an outbound message to the lines of it |
//! | `config`, `journal`, `clock` | the instance's settings, its audit file, time and chance |
//!
//! Not here: TLS, SASL, and more than one account in a process.

mod account;
mod clock;
mod config;
mod connection;
mod inbound;
mod journal;
mod line;
mod outbound;
mod pace;
mod session;
mod watchdog;

use std::process::ExitCode;
use std::sync::Arc;

use trunkline::{Context, Event, Outbound, OutboundMessage, Plugin};

use crate::account::Account;
use crate::config::Config;

fn main() -> ExitCode {
    trunkline::run(plugin())
}

fn plugin() -> Plugin {
    let account = Arc::new(Account::default());
    let (starting, stopping) = (account.clone(), account.clone());
    let send = move |event: Event<OutboundMessage>, ctx: Context| {
        let account = account.clone();
        async move { outbound::send(&account, event, ctx).await }
    };
    Plugin::from_manifest(include_str!("../plugin.toml"))
        .config::<Config>()
        .outbound(Outbound::new("irc", send))
        .on_start(move |ctx| {
            let account = starting.clone();
            async move { account.start(ctx).await }
        })
        .on_stop(move |_, _| {
            let account = stopping.clone();
            async move {
                account.stop().await;
                Ok(())
            }
        })
}
