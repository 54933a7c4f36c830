//! A host in Rust that does what a language does: take, run, complete.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use serde_json::{Value, json};
use trunkline_contract::error::{Code, Error};

use super::{Completion, EventMsg, Host, HostMsg, Invoked, outcome_of};
use crate::payload::Bytes;

const PATIENCE: Duration = Duration::from_secs(10);

type Handler = Box<dyn Fn(&Loop, &EventMsg) -> Option<Value> + Send>;

/// The loop of a language: one thread, woken by the core.
struct Loop {
    host: Host,
    woken: Receiver<()>,
    handlers: HashMap<u32, Handler>,
    hooks: Vec<(&'static str, Value)>,
    last_op: u64,
    replies: HashMap<u64, Result<Value, Error>>,
    cancelled: Vec<u64>,
    logs: Vec<String>,
}

impl Loop {
    fn new() -> Self {
        let (sender, woken) = sync_channel(64);
        let wake = move || sender.send(()).unwrap_or_default();
        Self {
            host: Host::start(Box::new(wake)).expect("a thread"),
            woken,
            handlers: HashMap::new(),
            hooks: Vec::new(),
            last_op: 0,
            replies: HashMap::new(),
            cancelled: Vec::new(),
            logs: Vec::new(),
        }
    }

    fn on(
        &mut self,
        handler: u32,
        run: impl Fn(&Self, &EventMsg) -> Option<Value> + Send + 'static,
    ) {
        self.handlers.insert(handler, Box::new(run));
    }

    fn tell(&self, target: u64, name: &str, args: &Value) -> Result<Value, Error> {
        let args = Bytes::encode(args).expect("it is JSON");
        self.host.tell(target, name, args)?.json()
    }

    fn begin(&mut self, target: u64, name: &str, args: &Value) -> u64 {
        self.last_op += 1;
        let args = Bytes::encode(args).expect("it is JSON");
        self.host.call(self.last_op, target, name, args);
        self.last_op
    }

    fn call(&mut self, target: u64, name: &str, args: &Value) -> Result<Value, Error> {
        let op = self.begin(target, name, args);
        self.finish(op)
    }

    fn finish(&mut self, op: u64) -> Result<Value, Error> {
        loop {
            if let Some(reply) = self.replies.remove(&op) {
                return reply;
            }
            self.turn();
        }
    }

    /// Waits for a wake-up, and handles what it is for.
    fn turn(&mut self) {
        self.woken
            .recv_timeout(PATIENCE)
            .expect("something happens");
        let mut completions = Vec::new();
        for message in self.host.take(16) {
            match message {
                HostMsg::Event(event) => {
                    let run = &self.handlers[&event.handler];
                    if let Some(outcome) = run(self, &event) {
                        completions.push(completion(event.ticket, &outcome));
                    }
                }
                HostMsg::Invoke {
                    ticket,
                    function: Invoked::Hook(hook),
                    arg,
                    ..
                } => {
                    self.hooks.push((hook, arg.json().expect("it is JSON")));
                    completions.push(completion(ticket, &json!({ "state": { "ran": hook } })));
                }
                HostMsg::Invoke { ticket, arg, .. } => {
                    let old = arg.json::<Option<u64>>().expect("a number");
                    let new = old.unwrap_or(0) + 1;
                    completions.push(completion(ticket, &json!({ "state": new })));
                }
                HostMsg::Cancel { ticket } => self.cancelled.push(ticket),
                HostMsg::Reply { op, result } => {
                    let result = result.map(|value| value.json().expect("it is JSON"));
                    self.replies.insert(op, result);
                }
                HostMsg::Log {
                    message, fields, ..
                } => {
                    self.logs.push(format!("{message} {}", fields.as_str()));
                }
                HostMsg::Beat => {}
            }
        }
        if !completions.is_empty() {
            self.host.complete(completions);
        }
    }

    /// Starts a test broker with a plugin on it; gives the broker and its client.
    fn broker(&mut self, spec: &Value) -> (u64, u64) {
        let plugin = self.tell(0, "plugin", spec).expect("a valid plugin");
        let started = self.call(0, "testing.start", &json!({ "plugin": plugin }));
        let started = started.expect("it starts");
        let number = |name: &str| started[name].as_u64().expect("a number");
        (number("broker"), number("client"))
    }

    fn expect(&mut self, broker: u64, filter: &str, payload: &Value) -> Value {
        let given = json!({ "filter": filter, "payload": payload, "within": "1m" });
        self.call(broker, "expect_published", &given)
            .unwrap_or_else(|error| panic!("{error}; logs: {:?}", self.logs))
    }
}

fn completion(ticket: u64, outcome: &Value) -> Completion {
    Completion {
        ticket,
        decision: outcome_of(&outcome.to_string()),
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        self.host.close(Duration::from_millis(100));
    }
}

fn echo() -> Value {
    json!({ "id": "echo", "outbound": [{ "handler": 7, "kind": "echo" }] })
}

#[test]
fn an_event_is_taken_and_its_reply_is_published_with_the_ack() {
    let mut host = Loop::new();
    host.on(7, |_, event| {
        let payload: Value = serde_json::from_str(event.ctx.payload_text()).expect("it is JSON");
        Some(json!({ "reply": payload }))
    });
    let (broker, client) = host.broker(&echo());
    let sent = json!({ "kind": "echo", "message": { "text": "hi" } });
    let sent = host.call(client, "send", &sent).expect("it is durable");
    let back = host.expect(broker, "plugin.inbound.echo.*", &json!({ "text": "hi" }));
    assert_eq!(back["correlation_id"], sent["id"]);
    host.expect(
        broker,
        "plugin.delivery.echo.*",
        &json!({ "state": "sent" }),
    );
}

#[test]
fn hooks_are_called_and_their_state_is_kept() {
    let mut host = Loop::new();
    host.on(7, |host, event| {
        let state = host
            .tell(event.ticket, "state", &json!(null))
            .expect("it is there");
        Some(json!({ "reply": state }))
    });
    let mut spec = echo();
    spec["hooks"] = json!(["on_start", "on_stop"]);
    let (broker, client) = host.broker(&spec);
    let sent = json!({ "kind": "echo", "message": "x" });
    host.call(client, "send", &sent).expect("it is durable");
    host.expect(
        broker,
        "plugin.inbound.echo.*",
        &json!({ "ran": "on_start" }),
    );
    assert_eq!(host.hooks, [("on_start", json!(null))]);
}

#[test]
fn a_failure_of_the_host_language_reaches_the_dead_letter_with_its_place() {
    let mut host = Loop::new();
    host.on(1, |_, _| {
        let failed = json!({ "kind": "KeyError", "message": "'x'", "location": "a.py:3", "traceback": "in f" });
        Some(json!({ "failed": failed }))
    });
    let retry = json!({ "failures_max": 1 });
    let spec = json!({ "id": "p", "on": [{ "handler": 1, "name": "all", "filters": ["agent.>"], "retry": retry }] });
    let (broker, client) = host.broker(&spec);
    let publish = json!({ "topic": "agent.x", "payload": null });
    host.call(client, "publish", &publish)
        .expect("it is durable");
    let mut letters = json!([]);
    while letters == json!([]) {
        letters = host
            .call(broker, "dead_letters", &json!({}))
            .expect("listed");
    }
    assert_eq!(letters.as_array().map(Vec::len), Some(1), "{letters}");
    let error = &letters[0]["last_error"];
    assert_eq!(error["type"], "KeyError", "{letters}");
    assert_eq!(error["message"], "'x'");
    assert_eq!(error["traceback"], "in f");
    assert!(
        host.logs
            .iter()
            .any(|line| line.contains("a.py:3: KeyError: 'x'")),
        "{:?}",
        host.logs
    );
}

/// Proves W16, boundary part: a fault has one code and one text, made by the core.
#[test]
fn what_a_call_is_refused_with_comes_from_the_core() {
    let mut host = Loop::new();
    let spec =
        json!({ "id": "p", "on": [{ "handler": 1, "filters": ["agent.>"], "timeout": 30 }] });
    let refused = host.tell(0, "plugin", &spec).expect_err("a bare number");
    assert_eq!(refused.code, Code::InvalidArguments);
    assert!(
        refused.message.contains("a duration such as \"30s\""),
        "{refused}"
    );
    let (_, client) = host.broker(&echo());
    let wild = json!({ "topic": "agent.*", "payload": 1 });
    assert_eq!(
        host.call(client, "publish", &wild)
            .expect_err("a wildcard")
            .code,
        Code::InvalidTopic
    );
    let gone = host
        .call(999, "publish", &wild)
        .expect_err("no such ticket");
    assert_eq!(gone.code, Code::StaleLease);
}

#[test]
fn an_update_asks_the_function_of_the_host() {
    let mut host = Loop::new();
    let (_, client) = host.broker(&echo());
    for expected in [1, 2] {
        let update = json!({ "key": "n", "function": 5 });
        assert_eq!(host.call(client, "kv.update", &update), Ok(json!(expected)));
    }
    let got = host
        .call(client, "kv.get", &json!({ "key": "n" }))
        .expect("it is there");
    assert_eq!(got["value"], 2);
    let absent = host.call(client, "kv.get", &json!({ "key": "none" }));
    assert_eq!(absent, Ok(json!(null)));
}

#[test]
fn a_lock_and_a_subscription_have_handles() {
    let mut host = Loop::new();
    let (_, client) = host.broker(&echo());
    let lock = host
        .call(client, "lock", &json!({ "name": "l" }))
        .expect("it is free");
    assert!(lock["token"].as_u64().is_some());
    let number = lock["lock"].as_u64().expect("a number");
    assert_eq!(host.call(number, "release", &json!({})), Ok(json!(null)));

    let subscribe = json!({ "filters": ["agent.>"], "name": "s" });
    let made = host
        .call(client, "subscribe", &subscribe)
        .expect("it is made");
    let subscription = made["subscription"].as_u64().expect("a number");
    let publish = json!({ "topic": "agent.x", "payload": { "n": 9_007_199_254_740_993_u64 } });
    host.call(client, "publish", &publish)
        .expect("it is durable");
    let next = host
        .call(subscription, "next", &json!({}))
        .expect("it comes");
    assert_eq!(next["event"]["payload"]["n"], 9_007_199_254_740_993_u64);
    let delivery = next["delivery"].as_u64().expect("a number");
    assert_eq!(
        host.tell(delivery, "settle", &json!({ "ack": true })),
        Ok(json!(null))
    );
    let twice = host.tell(delivery, "settle", &json!({ "ack": true }));
    assert_eq!(twice.expect_err("it is settled").code, Code::StaleLease);
}

#[test]
fn a_value_that_says_nothing_fails_the_test_that_sees_it() {
    let mut host = Loop::new();
    host.on(7, |_, _| Some(json!({ "invalid": "int" })));
    let (broker, client) = host.broker(&echo());
    let sent = json!({ "kind": "echo", "message": "x" });
    host.call(client, "send", &sent).expect("it is durable");
    let given = json!({ "filter": "plugin.delivery.>", "within": "1m" });
    let failed = host
        .call(broker, "expect_published", &given)
        .expect_err("a complaint");
    assert!(failed.message.contains("returned int"), "{failed}");
}

#[test]
fn handlers_that_block_are_taken_by_threads() {
    let mut host = Loop::new();
    let spec =
        json!({ "id": "echo", "outbound": [{ "handler": 7, "kind": "echo", "sync": true }] });
    let threads = host.host.clone();
    let worker = std::thread::spawn(move || {
        loop {
            let taken = threads.take_blocking(1);
            let Some(HostMsg::Event(event)) = taken.into_iter().next() else {
                return;
            };
            let args = Bytes::from_json(r#"{"topic":"agent.seen","payload":[]}"#).expect("JSON");
            let done = threads.call_blocking(event.ticket, "publish", args);
            done.expect("it is durable");
            threads.complete(vec![completion(event.ticket, &json!({ "text": "id-1" }))]);
        }
    });
    let (broker, client) = host.broker(&spec);
    let sent = json!({ "kind": "echo", "message": "x" });
    host.call(client, "send", &sent).expect("it is durable");
    host.expect(broker, "agent.seen", &json!([]));
    host.expect(
        broker,
        "plugin.delivery.echo.*",
        &json!({ "provider_id": "id-1" }),
    );
    host.host.close(PATIENCE);
    worker.join().expect("the queue let it go");
}

#[test]
fn a_closed_core_refuses_and_lets_go() {
    let host = Loop::new();
    host.host.close(PATIENCE);
    let refused = host
        .tell(0, "version", &json!(null))
        .expect_err("it is closed");
    assert_eq!(refused.code, Code::LinkLost);
    assert!(host.host.take_blocking(1).is_empty());
}

/// Proves LN9, boundary part: a handler that never ends is cancelled at its time, and a second later
/// its event is a failed attempt.
#[test]
fn a_handler_that_never_ends_is_cancelled_and_its_event_is_a_failure() {
    let mut host = Loop::new();
    host.on(1, |_, _| None);
    let retry = json!({ "failures_max": 1 });
    let on =
        json!({ "handler": 1, "filters": ["agent.>"], "retry": retry, "timeout": { "ms": 20 } });
    let (broker, client) = host.broker(&json!({ "id": "p", "on": [on] }));
    let publish = json!({ "topic": "agent.x", "payload": null });
    host.call(client, "publish", &publish)
        .expect("it is durable");
    while host.cancelled.is_empty() {
        host.turn();
    }
    let mut letters = json!([]);
    while letters == json!([]) {
        letters = host
            .call(broker, "dead_letters", &json!({}))
            .expect("listed");
    }
    assert_eq!(letters[0]["last_error"]["type"], "timed_out", "{letters}");
    // What comes too late changes nothing.
    let late = host.cancelled[0];
    host.host.complete(vec![completion(late, &json!(null))]);
    assert!(host.call(late, "publish", &publish).is_err());
}

#[test]
fn calls_and_their_answers_cross_together() {
    let mut host = Loop::new();
    let (_, client) = host.broker(&echo());
    let publish = |topic: &str| json!({ "topic": topic, "payload": { "n": 1 } });
    host.last_op += 2;
    let (first, second) = (host.last_op - 1, host.last_op);
    let (a, b) = (publish("agent.a"), publish("agent.*"));
    let text = format!("c{first} {client} publish {a}\nnonsense\nc{second} {client} publish {b}");
    host.host.turn(text);
    assert!(host.finish(first).expect("it is durable")["seq"].is_u64());
    assert_eq!(
        host.finish(second).expect_err("a wildcard").code,
        Code::InvalidTopic
    );

    host.last_op += 1;
    let later = host.last_op;
    let args = publish("agent.b").to_string();
    host.host.call_text_later(later, client, "publish", args);
    host.host.flush();
    assert!(host.finish(later).expect("it is durable")["seq"].is_u64());

    host.last_op += 1;
    let refused = host.last_op;
    let text =
        format!(r#"C{refused} {client} publish {{"topic":"agent.c","payload":"\u0000x NaN"}}"#);
    host.host.turn(text);
    assert_eq!(
        host.finish(refused).expect_err("no JSON").code,
        Code::InvalidPayload
    );
}
