//! Tool calls: from a caller to a plugin and back.

use serde_json::{Value, json};
use trunkline_contract::tool::ToolDeclaration;

use super::driver::Broker;
use crate::instance::InstanceKey;
use crate::router::LinkId;

/// A tool that takes `{id: string}`.
pub(super) fn refund() -> ToolDeclaration {
    ToolDeclaration {
        name: "refund".into(),
        description: "Gives money back.".into(),
        input_schema: Some(json!({
            "type": "object", "required": ["id"], "properties": { "id": { "type": "string" } },
        })),
        output_schema: Some(json!({ "type": "object", "required": ["state"] })),
        concurrency: Some(2),
        ..ToolDeclaration::default()
    }
}

/// A broker with `pay/a`, which has the tool, and a client that may call it.
pub(super) fn with(tool: ToolDeclaration) -> (Broker, LinkId, LinkId) {
    let mut broker = Broker::new();
    broker.tools = vec![tool];
    let plugin = broker.plugin("pay/a");
    let caller = broker.client("agent", &["call:pay.*"]);
    (broker, plugin, caller)
}

pub(super) fn params(call_id: &str) -> Value {
    json!({ "call_id": call_id, "tool": "pay.refund", "arguments": { "id": "ch_1" } })
}

/// The calls that reached the plugin, taken out: request id and parameters.
pub(super) fn calls(broker: &mut Broker, plugin: LinkId) -> Vec<(Value, Value)> {
    let frames = broker.take_frames(plugin, "tool.call");
    frames
        .into_iter()
        .map(|mut frame| (frame["id"].take(), frame["params"].take()))
        .collect()
}

pub(super) fn one_call(broker: &mut Broker, plugin: LinkId) -> (Value, Value) {
    let mut all = calls(broker, plugin);
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

pub(super) fn answer(broker: &mut Broker, plugin: LinkId, id: &Value, result: &Value) {
    broker.feed(
        plugin,
        &json!({ "jsonrpc": "2.0", "id": id, "result": result }),
    );
}

fn fail(broker: &mut Broker, plugin: LinkId, id: &Value, code: &str) {
    let error = json!({ "code": -1, "message": "no", "data": { "code": code } });
    broker.feed(
        plugin,
        &json!({ "jsonrpc": "2.0", "id": id, "error": error }),
    );
}

fn code(error: &Value) -> &str {
    error["data"]["code"].as_str().unwrap_or("?")
}

fn refused(broker: &mut Broker, link: LinkId, id: u64) -> Value {
    broker
        .answer(link, id)
        .expect("an answer")
        .expect_err("a refusal")
}

/// Proves W15 (call and answer): a request is answered with its result, its deadline is in the frame, and
/// who asks is said by the broker.
#[test]
fn a_call_reaches_the_plugin_and_its_result_the_caller() {
    let (mut broker, plugin, caller) = with(refund());
    let mut asked = params("c1");
    asked["context"] = json!({ "caller": "somebody else", "session_id": "42", "timeout_ms": 5000 });
    let id = broker.request(caller, "tool.call", &asked);
    let (request, call) = one_call(&mut broker, plugin);
    assert_eq!(call["tool"], "pay.refund");
    assert_eq!(call["instance"], "a");
    assert_eq!(call["arguments"], json!({ "id": "ch_1" }));
    assert_eq!(call["context"]["caller"], "client:agent");
    assert_eq!(call["context"]["session_id"], "42");
    assert_eq!(call["context"]["timeout_ms"], 5000);
    assert_eq!(call["window_bytes"], 0);
    assert_ne!(call["call_id"], "c1", "each hop has ids of its own");
    assert!(broker.answer(caller, id).is_none());
    let result = json!({
        "output": { "state": "done", "n": 12_345_678_901_234_567_u64 },
        "content": [{ "type": "text", "text": "Done." }],
    });
    answer(&mut broker, plugin, &request, &result);
    assert_eq!(broker.answer(caller, id), Some(Ok(result)));
}

/// Proves LN44 for tools: what is not known is not found, never an empty success.
#[test]
fn an_unknown_tool_is_not_found() {
    let (mut broker, plugin, _) = with(refund());
    let caller = broker.client("other", &["call:*"]);
    for tool in ["pay.charge", "nobody.refund", "refund", "pay.Refund", ""] {
        let asked = json!({ "call_id": "c", "tool": tool, "arguments": {} });
        assert_eq!(
            broker.refusal(caller, "tool.call", &asked),
            "tool_not_found",
            "{tool:?}"
        );
    }
    assert!(calls(&mut broker, plugin).is_empty());
}

/// Proves LN45 (validation): the plugin sees no arguments that do not fit its schema.
#[test]
fn arguments_that_do_not_fit_never_reach_the_plugin() {
    let (mut broker, plugin, caller) = with(refund());
    for (arguments, pointer) in [
        (json!({ "id": 7 }), "/id"),
        (json!({}), ""),
        (json!([1]), ""),
        (json!("x"), ""),
    ] {
        let asked = json!({ "call_id": "c", "tool": "pay.refund", "arguments": arguments });
        let error = broker.call(caller, "tool.call", &asked).unwrap_err();
        assert_eq!(code(&error), "invalid_arguments", "{arguments}");
        assert_eq!(error["data"]["detail"]["pointer"], pointer, "{error}");
    }
    assert!(calls(&mut broker, plugin).is_empty());
}

/// Proves P3a (with the one on arguments): an output that does not fit is flagged, and reaches no caller.
#[test]
fn an_output_that_breaks_its_own_schema_is_a_failure_of_the_tool() {
    let (mut broker, plugin, caller) = with(refund());
    for result in [
        json!({ "output": {} }),
        json!({ "output": 5 }),
        json!({}),
        json!("no object"),
    ] {
        let id = broker.request(caller, "tool.call", &params("c"));
        let (request, _) = one_call(&mut broker, plugin);
        answer(&mut broker, plugin, &request, &result);
        let error = refused(&mut broker, caller, id);
        assert_eq!(code(&error), "tool_failed", "{result}");
        assert_eq!(error["data"]["detail"]["broken_by"], "plugin");
    }
    let id = broker.request(caller, "tool.call", &params("c"));
    let (request, _) = one_call(&mut broker, plugin);
    fail(&mut broker, plugin, &request, "unauthorized");
    let error = refused(&mut broker, caller, id);
    assert_eq!(code(&error), "tool_failed", "only the broker says who may");
    assert_eq!(error["data"]["detail"]["code"], "unauthorized");
}

#[test]
fn a_caller_without_the_scope_or_the_grant_is_refused() {
    let (mut broker, plugin, _) = with(refund());
    let stranger = broker.client("stranger", &["call:mail.*", "read:>"]);
    assert_eq!(
        broker.refusal(stranger, "tool.call", &params("c")),
        "unauthorized"
    );
    let list = broker.call(stranger, "tool.list", &json!({})).unwrap();
    assert_eq!(list["tools"], json!([]));
    broker.tools.clear();
    let other = broker.plugin("mail/a");
    assert_eq!(
        broker.refusal(other, "tool.call", &params("c")),
        "unauthorized"
    );
    broker.callable = vec!["pay.refund"].into_iter().map(filter).collect();
    let granted = broker.plugin("bot/a");
    broker.request(granted, "tool.call", &params("c"));
    let (_, call) = one_call(&mut broker, plugin);
    assert_eq!(call["context"]["caller"], "bot/a");
}

fn filter(text: &str) -> trunkline_contract::tool::ToolFilter {
    trunkline_contract::tool::ToolFilter::parse(text).unwrap()
}

#[test]
fn an_instance_is_chosen_where_there_is_one_and_named_where_there_are_more() {
    let (mut broker, first, caller) = with(refund());
    let second = broker.plugin("pay/b");
    let error = broker.call(caller, "tool.call", &params("c")).unwrap_err();
    assert_eq!(code(&error), "unrouted");
    assert_eq!(error["data"]["detail"]["candidates"], json!(["a", "b"]));
    let mut asked = params("c");
    asked["instance"] = json!("b");
    broker.request(caller, "tool.call", &asked);
    assert_eq!(calls(&mut broker, second).len(), 1);
    assert!(calls(&mut broker, first).is_empty());
    asked["instance"] = json!("c");
    asked["call_id"] = json!("c2");
    assert_eq!(broker.refusal(caller, "tool.call", &asked), "unrouted");
}

/// Proves LN45 (timeout and concurrency): beyond its concurrency a call waits, until its own time is over.
#[test]
fn calls_beyond_the_concurrency_wait_for_their_turn() {
    let (mut broker, plugin, caller) = with(refund());
    let ids: Vec<u64> = ["c1", "c2", "c3", "c4"]
        .iter()
        .map(|call_id| {
            let mut asked = params(call_id);
            if *call_id == "c4" {
                asked["context"] = json!({ "timeout_ms": 50 });
            }
            broker.request(caller, "tool.call", &asked)
        })
        .collect();
    let running = calls(&mut broker, plugin);
    assert_eq!(running.len(), 2);
    broker.advance(50);
    let error = refused(&mut broker, caller, ids[3]);
    assert_eq!(code(&error), "timed_out");
    assert_eq!(error["data"]["detail"]["handed_over"], false);
    broker.advance(950);
    let done = json!({ "output": { "state": "done" } });
    answer(&mut broker, plugin, &running[0].0, &done);
    assert_eq!(broker.answer(caller, ids[0]), Some(Ok(done)));
    let (_, third) = one_call(&mut broker, plugin);
    assert_eq!(
        third["context"]["timeout_ms"], 59_000,
        "each hop sends the time that is left"
    );
}

#[test]
fn a_full_queue_is_rate_limited() {
    let (mut broker, _, _) = with(refund());
    let callers = [
        broker.client("one", &["call:*"]),
        broker.client("two", &["call:*"]),
    ];
    for count in 0..513 {
        for caller in callers {
            let id = broker.request(caller, "tool.call", &params(&format!("c{count}")));
            assert!(broker.answer(caller, id).is_none());
        }
    }
    let error = broker
        .call(callers[0], "tool.call", &params("last"))
        .unwrap_err();
    assert_eq!(code(&error), "rate_limited");
    assert!(error["data"]["retry_after_ms"].is_u64());
}

#[test]
fn one_link_has_a_bounded_number_of_calls() {
    let (mut broker, _, caller) = with(refund());
    for count in 0..1024 {
        broker.request(caller, "tool.call", &params(&format!("c{count}")));
    }
    let error = broker
        .call(caller, "tool.call", &params("last"))
        .unwrap_err();
    assert_eq!(code(&error), "rate_limited");
    let other = broker.client("other", &["call:*"]);
    let id = broker.request(other, "tool.call", &params("c"));
    assert!(broker.answer(other, id).is_none(), "others go on");
}

/// Proves W15 (cancel) and LN9 (its part in the broker): a cancel reaches the plugin at once, the caller is
/// answered at once, and a late result is dropped and counted.
#[test]
fn a_cancel_reaches_the_plugin_at_once_and_a_late_result_nobody() {
    let (mut broker, plugin, caller) = with(refund());
    let id = broker.request(caller, "tool.call", &params("c1"));
    let (request, call) = one_call(&mut broker, plugin);
    broker.notify(
        caller,
        "tool.cancel",
        &json!({ "call_id": "c1", "reason": "no longer needed" }),
    );
    let cancel = broker.take(plugin, "tool.cancel");
    assert_eq!(
        cancel,
        [json!({ "call_id": call["call_id"], "reason": "no longer needed" })]
    );
    assert_eq!(code(&refused(&mut broker, caller, id)), "cancelled");
    answer(
        &mut broker,
        plugin,
        &request,
        &json!({ "output": { "state": "done" } }),
    );
    assert!(broker.answer(caller, id).is_none());
    let stats = broker.core.tool_stats();
    assert_eq!((stats[0].late, stats[0].failed["cancelled"]), (1, 1));
    assert_eq!(stats[0].running, 0);
}

#[test]
fn a_cancelled_call_keeps_its_place_until_the_plugin_answers_or_the_grace_is_over() {
    let mut tool = refund();
    tool.concurrency = Some(1);
    let (mut broker, plugin, caller) = with(tool);
    broker.request(caller, "tool.call", &params("c1"));
    broker.request(caller, "tool.call", &params("c2"));
    broker.request(caller, "tool.call", &params("c3"));
    let (request, _) = one_call(&mut broker, plugin);
    broker.notify(caller, "tool.cancel", &json!({ "call_id": "c1" }));
    assert!(calls(&mut broker, plugin).is_empty());
    fail(&mut broker, plugin, &request, "cancelled");
    assert_eq!(calls(&mut broker, plugin).len(), 1);
    broker.notify(caller, "tool.cancel", &json!({ "call_id": "c2" }));
    broker.advance(9_999);
    assert!(calls(&mut broker, plugin).is_empty());
    broker.advance(1);
    assert_eq!(calls(&mut broker, plugin).len(), 1);
}

#[test]
fn a_cancel_that_overtakes_its_call_is_kept() {
    let (mut broker, plugin, caller) = with(refund());
    broker.notify(caller, "tool.cancel", &json!({ "call_id": "c1" }));
    assert_eq!(
        broker.refusal(caller, "tool.call", &params("c1")),
        "cancelled"
    );
    assert!(calls(&mut broker, plugin).is_empty());
    broker.request(caller, "tool.call", &params("c1"));
    assert_eq!(calls(&mut broker, plugin).len(), 1, "it counts once");
    for count in 0..70 {
        broker.notify(
            caller,
            "tool.cancel",
            &json!({ "call_id": format!("x{count}") }),
        );
    }
    let id = broker.request(caller, "tool.call", &params("x0"));
    assert!(
        broker.answer(caller, id).is_none(),
        "the oldest is forgotten"
    );
}

#[test]
fn what_a_caller_that_went_away_asked_for_is_cancelled() {
    let (mut broker, plugin, caller) = with(refund());
    for call_id in ["c1", "c2", "c3"] {
        broker.request(caller, "tool.call", &params(call_id));
    }
    assert_eq!(calls(&mut broker, plugin).len(), 2);
    broker.detach(caller);
    assert_eq!(broker.take(plugin, "tool.cancel").len(), 2);
    assert!(calls(&mut broker, plugin).is_empty(), "the third never ran");
}

#[test]
fn a_call_ends_when_its_time_is_over() {
    let mut tool = refund();
    tool.timeout_ms = Some(1_000);
    let (mut broker, plugin, caller) = with(tool);
    let mut asked = params("c1");
    asked["context"] = json!({ "timeout_ms": 60_000 });
    let id = broker.request(caller, "tool.call", &asked);
    let (_, call) = one_call(&mut broker, plugin);
    assert_eq!(call["context"]["timeout_ms"], 1_000, "the tool's own time");
    broker.advance(999);
    assert!(broker.answer(caller, id).is_none());
    broker.advance(1);
    let error = refused(&mut broker, caller, id);
    assert_eq!(code(&error), "timed_out");
    assert_eq!(error["data"]["detail"]["handed_over"], true);
    assert_eq!(broker.take(plugin, "tool.cancel")[0]["reason"], "timed_out");
    let mut asked = params("c2");
    asked["context"] = json!({ "timeout_ms": 0 });
    assert_eq!(broker.refusal(caller, "tool.call", &asked), "timed_out");
}

#[test]
fn a_plugin_that_goes_away_leaves_an_unknown_outcome_unless_its_tool_is_idempotent() {
    for (idempotent, expected) in [(false, "outcome_unknown"), (true, "unavailable")] {
        let mut tool = refund();
        tool.idempotent = idempotent;
        tool.concurrency = Some(1);
        let (mut broker, plugin, caller) = with(tool);
        let handed = broker.request(caller, "tool.call", &params("c1"));
        let waiting = broker.request(caller, "tool.call", &params("c2"));
        broker.detach(plugin);
        assert_eq!(code(&refused(&mut broker, caller, handed)), expected);
        let error = refused(&mut broker, caller, waiting);
        assert_eq!(code(&error), "unavailable", "it never ran");
        let error = broker.call(caller, "tool.call", &params("c3")).unwrap_err();
        assert_eq!(code(&error), "unavailable", "declared while it is down");
        assert_eq!(error["data"]["retryable"], true);
        let list = broker.call(caller, "tool.list", &json!({})).unwrap();
        assert_eq!(list["tools"][0]["available"], false);
    }
}

#[test]
fn a_paused_instance_finishes_what_runs_and_takes_no_more() {
    let (mut broker, plugin, caller) = with(refund());
    let ids: Vec<u64> = ["c1", "c2", "c3"]
        .iter()
        .map(|call_id| broker.request(caller, "tool.call", &params(call_id)))
        .collect();
    let running = calls(&mut broker, plugin);
    let key = InstanceKey::parse("pay/a");
    broker.core.pause(&key, "by hand");
    broker.run();
    assert_eq!(code(&refused(&mut broker, caller, ids[2])), "unavailable");
    let done = json!({ "output": { "state": "done" } });
    answer(&mut broker, plugin, &running[0].0, &done);
    assert_eq!(broker.answer(caller, ids[0]), Some(Ok(done)));
    assert_eq!(
        broker.refusal(caller, "tool.call", &params("c4")),
        "unavailable"
    );
    broker.core.resume(&key);
    broker.run();
    broker.request(caller, "tool.call", &params("c5"));
    assert_eq!(calls(&mut broker, plugin).len(), 1);
}

#[test]
fn a_drain_waits_for_calls() {
    let (mut broker, plugin, caller) = with(refund());
    broker.request(caller, "tool.call", &params("c1"));
    let (request, _) = one_call(&mut broker, plugin);
    broker
        .core
        .shutdown(&InstanceKey::parse("pay/a"), 30_000, "stop");
    broker.core.drain_steps();
    broker.run();
    assert!(broker.take_frames(plugin, "shutdown").is_empty());
    answer(
        &mut broker,
        plugin,
        &request,
        &json!({ "output": { "state": "done" } }),
    );
    broker.core.drain_steps();
    broker.run();
    assert_eq!(broker.take_frames(plugin, "shutdown").len(), 1);
}

/// Proves LN6 for tools: what is too large is an error to whoever sent it, and the link goes on.
#[test]
fn what_is_too_large_is_an_error_and_the_link_goes_on() {
    let mut tool = refund();
    tool.input_schema = None;
    tool.output_schema = None;
    let (mut broker, plugin, caller) = with(tool);
    let large = "x".repeat((1 << 20) - 8 * 1024);
    let asked = json!({ "call_id": "c", "tool": "pay.refund", "arguments": { "a": large } });
    assert_eq!(
        broker.refusal(caller, "tool.call", &asked),
        "frame_too_large"
    );
    let id = broker.request(caller, "tool.call", &params("c1"));
    let (request, _) = one_call(&mut broker, plugin);
    answer(&mut broker, plugin, &request, &json!({ "output": large }));
    let error = refused(&mut broker, caller, id);
    assert_eq!(code(&error), "frame_too_large");
    assert!(error["data"]["detail"]["limit"].is_u64());
    broker.request(caller, "tool.call", &params("c2"));
    assert_eq!(calls(&mut broker, plugin).len(), 1);
    assert!(broker.closed.is_empty());
}

/// Proves P3b (idempotency key): a call that is repeated runs once, and both callers have its result.
#[test]
fn a_repeat_under_one_key_joins_the_first_or_gets_its_answer() {
    let (mut broker, plugin, caller) = with(refund());
    let keyed = |call_id: &str, key: &str| {
        let mut asked = params(call_id);
        asked["context"] = json!({ "idempotency_key": key });
        asked
    };
    let first = broker.request(caller, "tool.call", &keyed("c1", "k"));
    let second = broker.request(caller, "tool.call", &keyed("c2", "k"));
    let (request, call) = one_call(&mut broker, plugin);
    assert_eq!(call["context"]["idempotency_key"], "k");
    let mut other = keyed("c3", "k");
    other["arguments"] = json!({ "id": "ch_2" });
    assert_eq!(broker.refusal(caller, "tool.call", &other), "id_conflict");
    let done = json!({ "output": { "state": "done" } });
    answer(&mut broker, plugin, &request, &done);
    assert_eq!(broker.answer(caller, first), Some(Ok(done.clone())));
    assert_eq!(broker.answer(caller, second), Some(Ok(done.clone())));
    broker.advance(599_999);
    assert_eq!(
        broker.call(caller, "tool.call", &keyed("c4", "k")),
        Ok(done.clone())
    );
    assert_eq!(broker.refusal(caller, "tool.call", &other), "id_conflict");
    assert!(calls(&mut broker, plugin).is_empty());
    broker.advance(1);
    broker.request(caller, "tool.call", &keyed("c5", "k"));
    assert_eq!(calls(&mut broker, plugin).len(), 1, "it is forgotten");
    let stranger = broker.client("other", &["call:*"]);
    broker.request(stranger, "tool.call", &keyed("c6", "k"));
    assert_eq!(calls(&mut broker, plugin).len(), 1, "another's key");
}

#[test]
fn one_of_two_callers_under_a_key_may_leave() {
    let (mut broker, plugin, caller) = with(refund());
    let mut asked = params("c1");
    asked["context"] = json!({ "idempotency_key": "k" });
    let first = broker.request(caller, "tool.call", &asked);
    asked["call_id"] = json!("c2");
    let second = broker.request(caller, "tool.call", &asked);
    let (request, _) = one_call(&mut broker, plugin);
    broker.notify(caller, "tool.cancel", &json!({ "call_id": "c1" }));
    assert_eq!(code(&refused(&mut broker, caller, first)), "cancelled");
    assert!(broker.take(plugin, "tool.cancel").is_empty());
    let done = json!({ "output": { "state": "done" } });
    answer(&mut broker, plugin, &request, &done);
    assert_eq!(broker.answer(caller, second), Some(Ok(done)));
}

/// A late result under a key is what a repeat is told: the tool ran.
#[test]
fn a_result_that_came_too_late_answers_the_repeat() {
    let (mut broker, plugin, caller) = with(refund());
    let mut asked = params("c1");
    asked["context"] = json!({ "idempotency_key": "k", "timeout_ms": 100 });
    let id = broker.request(caller, "tool.call", &asked);
    let (request, _) = one_call(&mut broker, plugin);
    broker.advance(100);
    assert_eq!(code(&refused(&mut broker, caller, id)), "timed_out");
    let done = json!({ "output": { "state": "done" } });
    answer(&mut broker, plugin, &request, &done);
    asked["call_id"] = json!("c2");
    assert_eq!(broker.call(caller, "tool.call", &asked), Ok(done));
    assert!(calls(&mut broker, plugin).is_empty());
}

#[test]
fn calls_are_counted_by_tool() {
    let (mut broker, plugin, caller) = with(refund());
    broker.request(caller, "tool.call", &params("c1"));
    let (request, _) = one_call(&mut broker, plugin);
    broker.advance(30);
    answer(
        &mut broker,
        plugin,
        &request,
        &json!({ "output": { "state": "done" } }),
    );
    for call_id in ["c2", "c3", "c4"] {
        broker.request(caller, "tool.call", &params(call_id));
    }
    let stats = &broker.core.tool_stats()[0];
    assert_eq!(stats.name, "pay.refund");
    assert_eq!((stats.calls, stats.succeeded), (4, 1));
    assert_eq!((stats.running, stats.waiting), (2, 1));
    assert_eq!(stats.latency_buckets[4], 1, "within 50 ms");
    assert_eq!(stats.latency_sum_ms, 30);
}
