//! Pollers, as the host declares them.

use std::collections::BTreeMap;

use serde::Deserialize;
use trunkline_contract::rpc::Misfire;

use super::handler::HostHandler;
use super::input::DurationIn;
use super::service::Host;
use crate::poll::{JsonOptions, Poll, PollAlert};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PollSpec {
    handler: u32,
    #[serde(default)]
    sync: bool,
    kind: String,
    feed: Option<String>,
    json: Option<JsonOptions>,
    every: Option<DurationIn>,
    cron: Option<String>,
    tz: Option<String>,
    at: Option<String>,
    jitter: Option<DurationIn>,
    misfire: Option<Misfire>,
    timeout: Option<DurationIn>,
    bearer: Option<String>,
    basic: Option<(String, String)>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    credential: Option<String>,
    alert: Option<PollAlert>,
}

impl PollSpec {
    pub(super) fn poll(self, host: &Host) -> Poll {
        let handler = HostHandler {
            host: host.clone(),
            handler: self.handler,
            is_blocking: self.sync,
        };
        let mut poll = Poll::of_source(self.kind, self.feed, self.json, handler);
        if let Some(every) = self.every {
            poll = poll.every(every);
        }
        if let Some(cron) = self.cron {
            poll = poll.cron(cron);
        }
        if let Some(tz) = self.tz {
            poll = poll.tz(tz);
        }
        if let Some(at) = self.at {
            poll = poll.at(at);
        }
        if let Some(jitter) = self.jitter {
            poll = poll.jitter(jitter);
        }
        if let Some(misfire) = self.misfire {
            poll = poll.misfire(misfire);
        }
        if let Some(timeout) = self.timeout {
            poll = poll.timeout(timeout);
        }
        if let Some(token) = self.bearer {
            poll = poll.bearer(token);
        }
        if let Some((user, password)) = self.basic {
            poll = poll.basic(user, password);
        }
        if let Some(credential) = self.credential {
            poll = poll.credential(credential);
        }
        if let Some(alert) = self.alert {
            poll = poll.alert(alert);
        }
        for (name, value) in self.headers {
            poll = poll.header(name, value);
        }
        poll
    }
}
