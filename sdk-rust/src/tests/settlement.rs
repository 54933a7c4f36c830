//! What a handler returns, and the frames that say it.

use serde_json::{Value, json};
use trunkline_contract::error::Error;

use super::peer::{Event, Served};
use crate::{
    Batch, Bytes, Code, Context, Event as Envelope, Failure, Json, On, Outbound, Plugin, Reject,
    Reply, Result, Retry,
};

async fn act(payload: Json, ctx: Context) -> Result<Option<Reply>> {
    match payload["do"].as_str().unwrap_or_default() {
        "nothing" => Ok(None),
        "reply" => Ok(Some(Reply::new(&payload))),
        "retry" => Err(Retry::after("3s").because("busy").uncounted().into()),
        "reject" => Err(Reject::new("no such user").code("gone").into()),
        "fail" => Err(Failure::new("it broke")),
        "panic" => panic!("at the disco"),
        "limited" => Err(Error::new(Code::RateLimited, "slow down")
            .retry_after(1500)
            .into()),
        "publish" => {
            for _ in 0..2 {
                ctx.publish("agent.said", &payload).session("s").await?;
            }
            Ok(None)
        }
        "nan" => {
            let refused = ctx
                .publish("agent.said", f64::NAN)
                .await
                .expect_err("refused");
            assert_eq!(refused.code, Code::InvalidPayload);
            Ok(None)
        }
        other => panic!("do not know how to {other}"),
    }
}

fn served() -> Served {
    let mut served = Served::start(|| {
        Plugin::new("echo")
            .outbound(Outbound::new("echo", act))
            .on(On::new("plugin.inbound.chat.>", act).name("chat"))
    });
    served.peer.activate();
    served
}

fn on(id: &str, what: &str) -> Event<'static> {
    Event {
        id: Box::leak(id.to_owned().into_boxed_str()),
        topic: "plugin.inbound.chat.main",
        session: Some("s"),
        payload: json!({ "do": what, "conversation": { "id": "c" } }),
        subscription: Some("instance.echo.default.chat"),
        attempt: 1,
        lease_ms: 30_000,
    }
}

fn commit(served: &mut Served) -> Value {
    served
        .peer
        .expect_and_answer("broker.commit", &json!({ "events": [] }))
}

#[test]
fn a_return_is_the_ack_and_acks_of_one_turn_travel_together() {
    let mut served = served();
    let frames: Vec<String> = (0..5)
        .map(|n| {
            let params = json!({
                "topic": "plugin.inbound.chat.main",
                "event": { "id": format!("e{n}"), "session_id": format!("s{n}"),
                           "payload": { "do": "nothing" } },
                "delivery": { "id": format!("d{n}"), "attempt": 1, "lease_ms": 30_000,
                              "subscription": "instance.echo.default.chat" },
            });
            let frame = json!({ "jsonrpc": "2.0", "method": "broker.event", "params": params });
            format!("{frame}\n")
        })
        .collect();
    served.peer.send_raw(&frames.concat());
    let acked = served.peer.expect("broker.ack");
    assert_eq!(acked["deliveries"], json!(["d0", "d1", "d2", "d3", "d4"]));
    served.shut_down();
}

#[test]
fn a_reply_to_an_outbound_event_its_receipt_and_the_ack_are_one_commit() {
    let mut served = served();
    served.peer.event(&Event::outbound(
        "e1",
        "s",
        json!({ "do": "reply", "n": 1 }),
    ));
    let commit = commit(&mut served);
    let [reply, receipt] = commit["events"].as_array().expect("a list").as_slice() else {
        panic!("expected a reply and a receipt: {commit}");
    };
    assert_eq!(reply["topic"], "plugin.inbound.echo.default");
    assert_eq!(reply["event"]["payload"], json!({ "do": "reply", "n": 1 }));
    assert_eq!(reply["event"]["session_id"], "s");
    assert_eq!(reply["event"]["correlation_id"], "e1");
    assert_eq!(reply["event"]["causation_id"], "client:test|e1");
    assert_eq!(receipt["topic"], "plugin.delivery.echo.default");
    assert_eq!(receipt["event"]["payload"], json!({ "state": "sent" }));
    assert_eq!(receipt["event"]["correlation_id"], "e1");
    assert_eq!(commit["ack"], json!(["d-e1"]));
    // The same event again says the same with the same ids.
    served.peer.event(&Event::outbound(
        "e1",
        "s",
        json!({ "do": "reply", "n": 1 }),
    ));
    let again = served
        .peer
        .expect_and_answer("broker.commit", &json!({ "events": [] }));
    assert_eq!(again["events"], commit["events"]);
    assert_ne!(reply["event"]["id"], receipt["event"]["id"]);
    served.shut_down();
}

#[test]
fn a_reply_to_an_inbound_event_goes_out_to_the_same_conversation() {
    let mut served = served();
    served.peer.event(&on("e1", "reply"));
    let commit = commit(&mut served);
    assert_eq!(commit["events"].as_array().expect("a list").len(), 1);
    let reply = &commit["events"][0];
    assert_eq!(reply["topic"], "plugin.outbound.chat.main");
    assert_eq!(reply["event"]["payload"]["conversation"]["id"], "c");
    assert_eq!(commit["ack"], json!(["d-e1"]));
    served.shut_down();
}

#[test]
fn a_reply_to_an_ephemeral_event_is_ephemeral_and_settles_nothing() {
    let mut served = served();
    served
        .peer
        .event(&Event::outbound("e1", "s", json!({ "do": "reply" })).ephemeral());
    let publish = served.peer.expect("broker.publish");
    assert_eq!(publish["topic"], "plugin.inbound.echo.default");
    assert_eq!(publish["ephemeral"], true);
    assert_eq!(publish["event"]["correlation_id"], "e1");
    assert_eq!(publish["event"].get("id"), None);
    assert_eq!(served.peer.ask("ping", &json!({}))["in_flight"], 0);
    served.shut_down();
}

#[test]
fn retry_reject_failure_and_panic_settle_each_in_its_way() {
    let mut served = served();
    served.peer.event(&on("e1", "retry"));
    let nak = served.peer.expect("broker.nak");
    assert_eq!(
        nak,
        json!({ "deliveries": ["d-e1"], "delay_ms": 3000, "reason": "busy", "counted": false })
    );
    served.peer.event(&on("e2", "reject"));
    let reject = served.peer.expect("broker.reject");
    assert_eq!(
        reject,
        json!({ "deliveries": ["d-e2"], "code": "gone", "reason": "no such user" })
    );
    served.peer.event(&on("e3", "fail"));
    let nak = served.peer.expect("broker.nak");
    assert_eq!(nak["error"]["message"], "it broke");
    assert_eq!(nak["counted"], true);
    assert!(
        nak["error"]["traceback"]
            .as_str()
            .expect("a place")
            .contains("settlement.rs:")
    );
    served.peer.event(&on("e4", "panic"));
    let nak = served.peer.expect("broker.nak");
    assert_eq!(
        nak["error"]["message"],
        "internal: the handler panicked: at the disco"
    );
    assert!(
        nak["error"]["traceback"]
            .as_str()
            .expect("a place")
            .contains("settlement.rs:")
    );
    served.peer.event(&on("e5", "limited"));
    let nak = served.peer.expect("broker.nak");
    assert_eq!(
        (&nak["delay_ms"], &nak["counted"]),
        (&json!(1500), &json!(false))
    );
    served.shut_down();
}

#[test]
fn an_outbound_event_that_is_not_sent_has_a_receipt_that_says_so() {
    let mut served = served();
    served
        .peer
        .event(&Event::outbound("e1", "s", json!({ "do": "retry" })));
    let commit1 = commit(&mut served);
    assert_eq!(commit1["events"][0]["event"]["payload"]["state"], "queued");
    assert_eq!(commit1["nak"][0]["delivery"], "d-e1");
    served
        .peer
        .event(&Event::outbound("e2", "s", json!({ "do": "reject" })));
    let commit2 = commit(&mut served);
    let receipt = &commit2["events"][0]["event"]["payload"];
    assert_eq!(
        (&receipt["state"], &receipt["error"]["code"]),
        (&json!("failed"), &json!("gone"))
    );
    assert_eq!(commit2["reject"][0]["delivery"], "d-e2");
    served.shut_down();
}

#[test]
fn a_commit_that_is_refused_is_a_failed_attempt() {
    let mut served = served();
    for (code, counted) in [(Code::TopicNotGranted, true), (Code::StorageFull, false)] {
        served.peer.event(&on("e1", "reply"));
        let frame = served.peer.recv();
        assert_eq!(frame["method"], "broker.commit");
        served.peer.refuse(&frame, &Error::new(code, "no"));
        let nak = served.peer.expect("broker.nak");
        assert_eq!(
            (&nak["error"]["type"], &nak["counted"]),
            (&json!(code.as_str()), &json!(counted))
        );
    }
    served.shut_down();
}

#[test]
fn what_is_published_while_handling_counts_among_its_equals() {
    let mut served = served();
    let published = json!({ "seq": 1, "duplicate": false, "matched": 0 });
    let mut both = |attempt| {
        served.peer.event(&Event {
            attempt,
            ..on("e1", "publish")
        });
        let ids = [0, 1].map(|_| {
            let publish = served.peer.expect_and_answer("broker.publish", &published);
            assert_eq!(publish["event"]["causation_id"], "client:test|e1");
            publish["event"]["id"].as_str().expect("an id").to_owned()
        });
        served.peer.expect("broker.ack");
        ids
    };
    let first = both(1);
    assert_ne!(first[0], first[1]);
    assert_eq!(both(2), first);
    served.shut_down();
}

#[test]
fn a_number_that_is_not_finite_never_reaches_the_wire() {
    let mut served = served();
    served.peer.event(&on("e1", "nan"));
    served.peer.expect("broker.ack");
    served.shut_down();
}

#[test]
fn a_payload_that_does_not_fit_is_a_dead_letter_with_a_pointer() {
    #[derive(serde::Deserialize)]
    struct Order {
        #[expect(dead_code, reason = "only its shape is read")]
        count: u8,
    }
    let mut served = Served::start(|| {
        Plugin::new("echo").on(On::new("plugin.inbound.chat.>", async |_: Order| {
            Ok::<_, Failure>(())
        })
        .name("chat"))
    });
    served.peer.activate();
    let mut event = on("e1", "x");
    event.payload = json!({ "count": "many" });
    served.peer.event(&event);
    let reject = served.peer.expect("broker.reject");
    assert_eq!(reject["code"], "invalid_payload");
    assert!(
        reject["reason"]
            .as_str()
            .expect("a text")
            .starts_with("/count: "),
        "{reject}"
    );
    served.shut_down();
}

/// Proves W14, Rust part: handlers see the whole envelope, the delivery, and the raw bytes.
#[test]
fn handlers_see_the_envelope_and_which_attempt_it_is() {
    let mut served = Served::start(|| {
        Plugin::new("echo").on(On::new("plugin.inbound.chat.>", envelope).name("chat"))
    });
    async fn envelope(event: Envelope<Bytes>, ctx: Context) -> Result<Batch> {
        assert_eq!(event.id, "e1");
        assert_eq!(
            event.session_key().as_deref(),
            ctx.event()?.session_key().as_deref()
        );
        let delivery = ctx.delivery().expect("durable");
        let said = json!({
            "source": event.source, "payload": event.payload, "attempt": delivery.attempt,
            "redelivered": delivery.redelivered, "kind": ctx.kind(), "key": ctx.idempotency_key(),
        });
        Ok(Batch::new([Envelope::inbound(said)]).put("seen", 1))
    }
    served.peer.activate();
    served.peer.event(&Event {
        attempt: 3,
        ..on("e1", "x")
    });
    let commit = commit(&mut served);
    let event = &commit["events"][0];
    assert_eq!(event["topic"], "plugin.inbound.chat.main");
    let payload = &event["event"]["payload"];
    assert_eq!(
        (&payload["attempt"], &payload["redelivered"]),
        (&json!(3), &json!(true))
    );
    assert_eq!(
        (&payload["kind"], &payload["key"]),
        (&json!("chat"), &json!("client:test|e1"))
    );
    let kv = &commit["kv"][0];
    assert_eq!(
        (&kv["op"], &kv["scope"], &kv["value"]),
        (&json!("put"), &json!("instance"), &json!(1))
    );
    served.shut_down();
}

#[test]
fn a_handler_that_takes_too_long_is_cancelled_and_its_lease_extended_until_then() {
    let mut served = Served::start(|| {
        let slow = async |_: Json, ctx: Context| {
            ctx.cancelled().await;
            std::future::pending::<()>().await;
            Ok::<_, Failure>(())
        };
        Plugin::new("echo").on(On::new("plugin.inbound.chat.>", slow)
            .name("chat")
            .timeout("2s"))
    });
    served.peer.activate();
    served.peer.event(&Event {
        lease_ms: 300,
        ..on("e1", "x")
    });
    let mut extended = 0;
    let nak = loop {
        let frame = served.peer.recv();
        if frame["method"] == "broker.nak" {
            break frame["params"].clone();
        }
        assert_eq!(frame["method"], "broker.extend");
        extended += 1;
    };
    assert!(extended >= 2, "{extended}");
    assert_eq!(nak["error"]["type"], "timed_out");
    served.shut_down();
}

#[test]
fn a_handler_that_settles_manually_says_when() {
    let mut served = Served::start(|| {
        let later = async |_: Json, ctx: Context| {
            assert_eq!(
                ctx.nak(&Retry::after("soon")).expect_err("no time").code,
                Code::InvalidArguments
            );
            tokio::spawn(async move {
                tokio::task::yield_now().await;
                ctx.ack().expect("not settled yet");
                assert_eq!(ctx.ack().expect_err("settled").code, Code::StaleLease);
            });
            Ok::<_, Failure>(())
        };
        Plugin::new("echo").on(On::new("plugin.inbound.chat.>", later)
            .name("chat")
            .settle_manually())
    });
    served.peer.activate();
    served.peer.event(&on("e1", "x"));
    assert_eq!(
        served.peer.expect("broker.ack")["deliveries"],
        json!(["d-e1"])
    );
    assert_eq!(served.peer.ask("ping", &json!({}))["in_flight"], 0);
    served.shut_down();
}

#[test]
fn an_event_that_no_handler_is_for_is_rejected_with_a_reason() {
    let mut served = served();
    let topic = "plugin.outbound.other.default";
    served.peer.event(&Event {
        topic,
        ..Event::outbound("e1", "s", json!(1))
    });
    assert_eq!(
        served.peer.expect("broker.reject")["code"],
        "not_implemented"
    );
    served.shut_down();
}

#[test]
fn options_that_make_no_sense_are_refused_before_anything_starts() {
    let bad = || Plugin::new("echo").on(On::new("plugin.inbound.chat.>", act).timeout("60"));
    let error = Served::start(bad).join().expect_err("refused");
    assert_eq!(error.code, Code::InvalidArguments);
    let twice = || {
        Plugin::new("echo")
            .on(On::new("a.b", act))
            .on(On::new("a.c", act))
    };
    assert!(Served::start(twice).join().is_err());
    assert!(Served::start(|| Plugin::new("No Id")).join().is_err());
}
