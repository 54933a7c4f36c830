//! Streams, credit and progress of tool calls.

use serde_json::{Value, json};
use trunkline_contract::tool::ToolDeclaration;

use super::driver::Broker;
use super::tools::{answer, one_call, with};
use crate::router::LinkId;

fn streaming() -> ToolDeclaration {
    ToolDeclaration {
        name: "refund".into(),
        streaming: true,
        ..ToolDeclaration::default()
    }
}

/// Calls with a window. Gives the caller's request, the plugin's request and the call's id there.
fn start(broker: &mut Broker, plugin: LinkId, caller: LinkId, window: u64) -> (u64, Value, Value) {
    let asked = json!({ "call_id": "c1", "tool": "pay.refund", "window_bytes": window });
    let id = broker.request(caller, "tool.call", &asked);
    let (request, call) = one_call(broker, plugin);
    (id, request, call["call_id"].clone())
}

fn chunk(broker: &mut Broker, plugin: LinkId, call_id: &Value, seq: u64, data: &Value) {
    let params = json!({ "call_id": call_id, "seq": seq, "data": data });
    broker.notify(plugin, "tool.chunk", &params);
}

fn failure(broker: &mut Broker, caller: LinkId, id: u64) -> String {
    let error = broker.answer(caller, id).unwrap().unwrap_err();
    error["data"]["code"].as_str().unwrap().to_owned()
}

#[test]
fn chunks_flow_within_the_window_of_the_caller() {
    let (mut broker, plugin, caller) = with(streaming());
    let (id, request, call_id) = start(&mut broker, plugin, caller, 10);
    for seq in 0..3 {
        // Six bytes each: the second may go beyond, the third waits for the window of this hop.
        if seq < 2 {
            chunk(&mut broker, plugin, &call_id, seq, &json!("1234"));
        }
    }
    let chunks = broker.take(caller, "tool.chunk");
    assert_eq!(
        chunks,
        [
            json!({ "call_id": "c1", "seq": 0, "data": "1234" }),
            json!({ "call_id": "c1", "seq": 1, "data": "1234" }),
        ]
    );
    let credit: u64 = credits(&mut broker, plugin);
    assert_eq!(credit, 12, "they left for the caller");
    chunk(&mut broker, plugin, &call_id, 2, &json!({ "n": 1 }));
    assert!(broker.take(caller, "tool.chunk").is_empty(), "no credit");
    answer(&mut broker, plugin, &request, &json!({ "chunks": 3 }));
    assert!(broker.answer(caller, id).is_none(), "after the last chunk");
    broker.notify(
        caller,
        "tool.credit",
        &json!({ "call_id": "c1", "bytes": 12 }),
    );
    let chunks = broker.take(caller, "tool.chunk");
    assert_eq!(chunks[0]["data"], json!({ "n": 1 }));
    assert_eq!(broker.answer(caller, id), Some(Ok(json!({ "chunks": 3 }))));
}

fn credits(broker: &mut Broker, plugin: LinkId) -> u64 {
    let all = broker.take(plugin, "tool.credit");
    all.iter()
        .map(|params| params["bytes"].as_u64().unwrap())
        .sum()
}

/// Proves LN4 (its part in the broker): a result of 8 MB waits for its reader in bounded memory, and a ping
/// does not wait for it.
#[test]
fn a_stream_whose_caller_does_not_read_stops_the_plugin_and_delays_no_ping() {
    let (mut broker, plugin, caller) = with(streaming());
    let (id, request, call_id) = start(&mut broker, plugin, caller, 8 << 20);
    broker.stall(caller, true);
    let data = json!("x".repeat(100_000));
    let (mut window, mut sent, mut received) = (256_i64 << 10, 0_u64, 0_u64);
    let mut send_all = |broker: &mut Broker| {
        while window > 0 && sent < 84 {
            chunk(broker, plugin, &call_id, sent, &data);
            window -= 100_002;
            sent += 1;
            window += credits(broker, plugin) as i64;
        }
        window += credits(broker, plugin) as i64;
        sent
    };
    let sent = send_all(&mut broker);
    assert!(sent < 20, "the plugin was stopped after {sent} chunks");
    let unwritten = broker.core.outbox(caller).unwrap().len();
    assert!(unwritten < (1 << 20) + 200_000, "{unwritten} bytes");
    let ping = broker.call(plugin, "ping", &json!({}));
    assert!(ping.is_ok());
    broker.request(caller, "ping", &json!({}));
    broker.stall(caller, false);
    loop {
        let sent = send_all(&mut broker);
        received += broker.take(caller, "tool.chunk").len() as u64;
        if sent == 84 && received == 84 {
            break;
        }
    }
    answer(&mut broker, plugin, &request, &json!({ "chunks": 84 }));
    assert_eq!(broker.answer(caller, id), Some(Ok(json!({ "chunks": 84 }))));
}

#[test]
fn chunks_are_put_together_for_a_caller_that_wants_none() {
    let (mut broker, plugin, caller) = with(streaming());
    for (chunks, expected) in [
        (vec![json!("a\"b"), json!("é\n")], json!("a\"bé\n")),
        (
            vec![json!({ "n": 1 }), json!("x")],
            json!([{ "n": 1 }, "x"]),
        ),
        (vec![json!("x"), json!(2), json!("")], json!(["x", 2, ""])),
        (vec![], json!([])),
    ] {
        let (id, request, call_id) = start(&mut broker, plugin, caller, 0);
        for (seq, data) in chunks.iter().enumerate() {
            chunk(&mut broker, plugin, &call_id, seq as u64, data);
        }
        let content = json!([{ "type": "text", "text": "done" }]);
        let result = json!({ "chunks": chunks.len(), "content": content });
        answer(&mut broker, plugin, &request, &result);
        assert_eq!(
            broker.answer(caller, id),
            Some(Ok(json!({ "output": expected, "content": content })))
        );
        assert!(broker.take(caller, "tool.chunk").is_empty());
    }
}

#[test]
fn a_stream_that_is_put_together_has_a_limit() {
    let (mut broker, plugin, caller) = with(streaming());
    let (id, _, call_id) = start(&mut broker, plugin, caller, 0);
    for seq in 0..11 {
        chunk(
            &mut broker,
            plugin,
            &call_id,
            seq,
            &json!("x".repeat(100_000)),
        );
        credits(&mut broker, plugin);
    }
    assert_eq!(failure(&mut broker, caller, id), "quota_exceeded");
    assert_eq!(broker.take(plugin, "tool.cancel").len(), 1);
}

#[test]
fn a_stream_that_breaks_the_rules_is_ended() {
    let mut tool = streaming();
    tool.output_schema = Some(json!({ "type": "string" }));
    let (mut broker, plugin, caller) = with(tool);
    type Case = (&'static str, Vec<(u64, Value)>, Option<Value>);
    let cases: [Case; 5] = [
        ("a chunk is missing", vec![(1, json!("x"))], None),
        ("it does not fit", vec![(0, json!(5))], None),
        (
            "beyond the window",
            vec![(0, json!("x".repeat(30))), (1, json!("x")), (2, json!("x"))],
            None,
        ),
        (
            "a wrong count",
            vec![(0, json!("x"))],
            Some(json!({ "chunks": 2 })),
        ),
        (
            "an output at the end",
            vec![],
            Some(json!({ "output": "x" })),
        ),
    ];
    for (what, chunks, result) in cases {
        let (id, request, call_id) = start(&mut broker, plugin, caller, 20);
        // What leaves is given back; a caller that has used up its window keeps the rest here.
        for (seq, data) in chunks {
            chunk(&mut broker, plugin, &call_id, seq, &data);
        }
        if what == "beyond the window" {
            // 32 bytes of 20 left; the second and third wait, and the window of this hop is used up.
            let mut seq = 3;
            while broker.take(plugin, "tool.cancel").is_empty() {
                chunk(&mut broker, plugin, &call_id, seq, &json!("x".repeat(40)));
                seq += 1;
                assert!(seq < 10, "never stopped");
            }
        }
        if let Some(result) = result {
            answer(&mut broker, plugin, &request, &result);
        }
        assert_eq!(failure(&mut broker, caller, id), "tool_failed", "{what}");
        answer(&mut broker, plugin, &request, &json!({ "chunks": 0 }));
        broker.take(caller, "tool.chunk");
        broker.take(plugin, "tool.cancel");
    }
    let asked = json!({ "call_id": "c", "tool": "pay.refund", "window_bytes": 9_000_000 });
    assert_eq!(
        broker.refusal(caller, "tool.call", &asked),
        "invalid_arguments"
    );
}

#[test]
fn a_tool_that_is_not_streaming_sends_no_chunks() {
    let mut tool = streaming();
    tool.streaming = false;
    let (mut broker, plugin, caller) = with(tool);
    let (id, _, call_id) = start(&mut broker, plugin, caller, 1000);
    chunk(&mut broker, plugin, &call_id, 0, &json!("x"));
    assert_eq!(failure(&mut broker, caller, id), "tool_failed");
}

/// Proves LN45 (progress): progress reaches the caller; a newer one replaces one that could not be written.
#[test]
fn progress_reaches_the_caller_and_only_the_newest_waits() {
    let (mut broker, plugin, caller) = with(streaming());
    let (id, request, call_id) = start(&mut broker, plugin, caller, 8 << 20);
    let progress = |broker: &mut Broker, done: u64| {
        let params =
            json!({ "call_id": call_id, "done": done, "total": 9.5, "data": { "n": done } });
        broker.notify(plugin, "tool.progress", &params);
    };
    progress(&mut broker, 1);
    assert_eq!(
        broker.take(caller, "tool.progress"),
        [json!({ "call_id": "c1", "done": 1.0, "total": 9.5, "data": { "n": 1 } })]
    );
    broker.stall(caller, true);
    for seq in 0..12 {
        chunk(
            &mut broker,
            plugin,
            &call_id,
            seq,
            &json!("x".repeat(100_000)),
        );
    }
    for done in 2..100 {
        progress(&mut broker, done);
    }
    broker.stall(caller, false);
    let came = broker.take(caller, "tool.progress");
    assert_eq!(came.len(), 1, "{came:?}");
    assert_eq!(came[0]["done"], 99.0);
    answer(&mut broker, plugin, &request, &json!({ "chunks": 12 }));
    assert_eq!(broker.answer(caller, id), Some(Ok(json!({ "chunks": 12 }))));
    progress(&mut broker, 100);
    assert!(broker.take(caller, "tool.progress").is_empty(), "too late");
}

#[test]
fn a_caller_that_takes_too_long_is_timed_out() {
    let (mut broker, plugin, caller) = with(streaming());
    let (id, request, call_id) = start(&mut broker, plugin, caller, 1);
    chunk(&mut broker, plugin, &call_id, 0, &json!("x"));
    chunk(&mut broker, plugin, &call_id, 1, &json!("x"));
    answer(&mut broker, plugin, &request, &json!({ "chunks": 2 }));
    broker.advance(60_000);
    assert_eq!(failure(&mut broker, caller, id), "timed_out");
}

#[test]
fn a_repeat_of_a_call_that_streams_is_told_to_wait() {
    let (mut broker, plugin, caller) = with(streaming());
    let mut asked = json!({
        "call_id": "c1", "tool": "pay.refund", "window_bytes": 1000,
        "context": { "idempotency_key": "k" },
    });
    broker.request(caller, "tool.call", &asked);
    one_call(&mut broker, plugin);
    asked["call_id"] = json!("c2");
    assert_eq!(broker.refusal(caller, "tool.call", &asked), "rate_limited");
}
