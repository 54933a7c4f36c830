//! Pollers, as operators see them: `admin.pollers.list` and `admin.pollers.order`.
//!
//! A poller is its engine's, in the process of its instance: here are only the names under which it keeps
//! timers and keys, and an order is the event of a timer, so that it is durable and comes in turn.
//!
//! | name | what |
//! |---|---|
//! | timer `engine.poll.<kind>` and below | when it is due |
//! | timer `engine.poll.<kind>.order.<id>` | an operator's order, `{control, reason, order}` |
//! | key `engine/poll/<kind>/state` | what the engine keeps |
//! | key `engine/poll/<kind>/answer` | what came of the last order |

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use trunkline_contract::error::{Code, Error};
use trunkline_contract::rpc::admin::{
    PollerOrderParams, PollerOrderResult, PollerStatus, PollersListParams, PollersListResult,
};
use trunkline_contract::rpc::{self, TimerSetParams};

use super::peer::ReplyTo;
use super::read::{GetThen, ReadRequest, ScanThen};
use super::state::{Core, Output};
use crate::instance::InstanceKey;
use crate::store::StateEntry;

const TIMERS: &str = "engine.poll.";
/// Most pollers of one answer.
const POLLERS_MAX: usize = 1_000;

/// A look at pollers under way: one small read after the other.
#[derive(Debug)]
pub struct PollerRead {
    to: ReplyTo,
    params: PollersListParams,
    /// Whose were not read yet, the last first.
    instances: Vec<InstanceKey>,
    /// Those of the instance at hand, by kind.
    kinds: BTreeMap<String, PollerStatus>,
    /// Those of them that were not read yet.
    unread: Vec<String>,
    next: Next,
    result: PollersListResult,
    /// What is done with the one that is found, in place of an answer.
    order: Option<PollerOrderParams>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Kind,
    State,
    Answer,
}

fn keys(of: &InstanceKey) -> String {
    format!("k/i/{}/{}/engine/poll/", of.plugin, of.instance)
}

impl Core {
    pub(super) fn list_pollers(&mut self, to: &ReplyTo, params: Option<&RawValue>) {
        match rpc::params(params) {
            Ok(params) => self.look_at_pollers(to, params, None),
            Err(error) => self.refuse(to, &error),
        }
    }

    /// Tells a poller what to do, if there is one.
    pub(super) fn order_poller(&mut self, to: &ReplyTo, params: Option<&RawValue>) {
        let order: PollerOrderParams = match rpc::params(params) {
            Ok(order) => order,
            Err(error) => return self.refuse(to, &error),
        };
        let params = PollersListParams {
            plugin: Some(order.plugin.clone()),
            instance: Some(order.instance.clone()),
            kind: Some(order.kind.clone()),
        };
        self.look_at_pollers(to, params, Some(order));
    }

    fn look_at_pollers(
        &mut self,
        to: &ReplyTo,
        params: PollersListParams,
        order: Option<PollerOrderParams>,
    ) {
        let is = |wanted: &Option<String>, found: &str| {
            wanted.as_deref().is_none_or(|wanted| wanted == found)
        };
        let mut instances: Vec<InstanceKey> = self
            .instances
            .keys()
            .filter(|of| is(&params.plugin, &of.plugin) && is(&params.instance, &of.instance))
            .cloned()
            .collect();
        instances.sort_by_key(|of| std::cmp::Reverse(of.to_string()));
        let read = PollerRead {
            to: to.clone(),
            params,
            instances,
            kinds: BTreeMap::new(),
            unread: Vec::new(),
            next: Next::Kind,
            result: PollersListResult::default(),
            order,
        };
        self.next_instance(read);
    }

    fn next_instance(&mut self, mut read: PollerRead) {
        let Some(of) = read.instances.last() else {
            return self.pollers_read(read);
        };
        read.kinds.clear();
        for (name, due_at, running) in self.timers_of(of, TIMERS) {
            let rest = &name[TIMERS.len()..];
            let (kind, part) = rest.split_once('.').unwrap_or((rest, ""));
            let poller = read
                .kinds
                .entry(kind.to_owned())
                .or_insert_with(|| status(of, kind));
            if part.is_empty() || part == "again" {
                poller.running |= running;
                let sooner = |at: &String| due_at.as_ref().is_some_and(|due| due < at);
                if poller.due_at.is_none() || poller.due_at.as_ref().is_some_and(sooner) {
                    poller.due_at = due_at;
                }
            }
        }
        self.next_kind(read, None);
    }

    /// Looks for the next kind that has keys: those of one kind stand together.
    fn next_kind(&mut self, mut read: PollerRead, after: Option<&str>) {
        let of = read.instances.last().expect("one is being read");
        let prefix = keys(of).into_bytes();
        let after = after.map(|kind| {
            let mut key = prefix.clone();
            key.extend(kind.as_bytes());
            // Behind every key that begins with the kind and a slash.
            key.push(b'/' + 1);
            key
        });
        read.next = Next::Kind;
        self.outputs.push(Output::Read(ReadRequest::Scan {
            prefix,
            after,
            limit: 1,
            then: ScanThen::Poller(Box::new(read)),
        }));
    }

    pub(super) fn pollers_scanned(&mut self, entries: &[StateEntry], mut read: PollerRead) {
        let of = read.instances.last().expect("one is being read").clone();
        let prefix = keys(&of);
        let kind = entries.first().and_then(|entry| {
            let key = std::str::from_utf8(&entry.key).ok()?;
            Some(key.strip_prefix(&prefix)?.split('/').next()?.to_owned())
        });
        if let Some(kind) = kind.filter(|_| read.kinds.len() < POLLERS_MAX) {
            let poller = || status(&of, &kind);
            read.kinds.entry(kind.clone()).or_insert_with(poller);
            return self.next_kind(read, Some(&kind));
        }
        let wanted = read.params.kind.clone();
        read.kinds
            .retain(|kind, _| wanted.as_ref().is_none_or(|wanted| wanted == kind));
        read.unread = read.kinds.keys().rev().cloned().collect();
        self.next_state(read);
    }

    fn next_state(&mut self, mut read: PollerRead) {
        let Some(kind) = read.unread.last() else {
            read.result
                .pollers
                .extend(std::mem::take(&mut read.kinds).into_values());
            read.instances.pop();
            if read.result.pollers.len() >= POLLERS_MAX {
                read.instances.clear();
            }
            return self.next_instance(read);
        };
        let of = read.instances.last().expect("one is being read");
        let (next, name) = match read.next {
            Next::State => (Next::Answer, "answer"),
            Next::Kind | Next::Answer => (Next::State, "state"),
        };
        let key = format!("{}{kind}/{name}", keys(of)).into_bytes();
        read.next = next;
        self.outputs.push(Output::Read(ReadRequest::Get {
            key,
            then: GetThen::Poller(Box::new(read)),
        }));
    }

    pub(super) fn poller_found(&mut self, entry: Option<StateEntry>, mut read: PollerRead) {
        let value = entry.and_then(|entry| serde_json::from_slice(&entry.value).ok());
        if let Some(kind) = read.unread.last()
            && let Some(poller) = read.kinds.get_mut(kind)
        {
            match read.next {
                Next::State => poller.state = value,
                Next::Kind | Next::Answer => poller.answer = value,
            }
        }
        if read.next == Next::Answer {
            read.unread.pop();
        }
        self.next_state(read);
    }

    fn pollers_read(&mut self, read: PollerRead) {
        let Some(order) = read.order else {
            return self.answer(&read.to, &read.result);
        };
        if read.result.pollers.is_empty() {
            let text = format!(
                "expected a poller {} of {}/{}, found none",
                order.kind, order.plugin, order.instance
            );
            return self.refuse(&read.to, &Error::new(Code::NotFound, text));
        }
        let id = format!("{:016x}", self.random.bits());
        let data =
            serde_json::json!({ "control": order.order, "reason": order.reason, "order": id });
        let set = TimerSetParams {
            name: format!("{TIMERS}{}.order.{id}", order.kind),
            // In turn with the ticks.
            session: Some(format!("timer:{TIMERS}{}", order.kind)),
            after_ms: Some(0),
            data: serde_json::value::to_raw_value(&data).ok(),
            ..TimerSetParams::default()
        };
        let of = InstanceKey::parse(&format!("{}/{}", order.plugin, order.instance));
        let answer = serde_json::json!(PollerOrderResult { id });
        if let Err(error) = self.set_timer_for(of, set, &read.to, answer) {
            self.refuse(&read.to, &error);
        }
    }
}

fn status(of: &InstanceKey, kind: &str) -> PollerStatus {
    PollerStatus {
        plugin: of.plugin.to_string(),
        instance: of.instance.to_string(),
        kind: kind.to_owned(),
        due_at: None,
        running: false,
        state: None,
        answer: None,
    }
}
