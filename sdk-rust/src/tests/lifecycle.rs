//! Handshake, order, drain, pings.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use serde_json::json;
use tokio::sync::Semaphore;

use super::peer::{Event, Served, initialize};
use crate::instance::Ended;
use crate::{
    Code, Context, Fatal, InstanceContext, Json, NeedsAuth, On, Outbound, Plugin, Reject, Reply,
    Result,
};

async fn echo(payload: Json) -> Result<Reply> {
    Ok(Reply::new(payload))
}

fn plugin() -> Plugin {
    Plugin::new("echo")
        .version("0.1.0")
        .outbound(Outbound::new("echo", echo))
}

#[test]
fn the_handshake_says_who_the_plugin_is_and_what_it_takes() {
    let mut served = Served::start(|| {
        plugin()
            .credit(7, 1000)
            .on(On::new("agent.*.done", echo).name("jobs").group("g"))
    });
    let reply = served.peer.activate();
    assert_eq!(
        reply["manifest"],
        json!({ "plugin": { "id": "echo", "version": "0.1.0" } })
    );
    assert_eq!(reply["protocol"], "trunkline/1.0");
    assert_eq!(reply["accepts"], json!({ "events": 7, "bytes": 1000 }));
    let subscription = &reply["subscriptions"][0];
    assert_eq!(subscription["name"], "jobs");
    assert_eq!(subscription["filters"], json!(["agent.*.done"]));
    assert_eq!(subscription["group"], "g");
    served.shut_down();
}

#[test]
fn another_plugins_handshake_and_another_protocol_are_refused_and_the_link_goes_on() {
    let mut served = Served::start(plugin);
    let mut other = initialize();
    other["plugin"] = json!("other");
    assert_eq!(
        served.peer.ask("initialize", &other)["data"]["code"],
        "config_invalid"
    );
    let mut newer = initialize();
    newer["protocol"] = json!({ "name": "trunkline", "min": "2.0", "max": "2.1" });
    assert_eq!(
        served.peer.ask("initialize", &newer)["data"]["code"],
        "protocol_mismatch"
    );
    served.peer.activate();
    served.shut_down();
}

#[test]
fn the_config_reads_with_its_secrets_in_place() {
    #[derive(serde::Deserialize)]
    struct Config {
        greeting: String,
        token: String,
    }
    let mut served = Served::start(|| {
        plugin()
            .config::<Config>()
            .on_start(async |ctx: InstanceContext| {
                let config = ctx.config::<Config>()?;
                assert_eq!(
                    (config.greeting.as_str(), config.token.as_str()),
                    ("hi", "s3cret")
                );
                assert_eq!(ctx.instance(), "default");
                Ok(())
            })
    });
    let mut bad = initialize();
    bad["config"] = json!({ "greeting": 5 });
    assert_eq!(
        served.peer.ask("initialize", &bad)["data"]["code"],
        "config_invalid"
    );
    served.peer.activate();
    served.shut_down();
}

#[test]
fn a_start_that_fails_says_what_would_help() {
    for (needs_login, state) in [(true, "needs_auth"), (false, "fatal")] {
        let mut served = Served::start(move || {
            plugin().on_start(move |_| async move {
                if needs_login {
                    return Err(NeedsAuth::new("log in").url("https://example.com").into());
                }
                Err::<(), _>(Fatal::new("no such account").into())
            })
        });
        served.peer.ask("initialize", &initialize());
        served
            .peer
            .ask("instance.activate", &json!({ "generation": 1 }));
        let status = served.peer.expect("instance.status");
        assert_eq!(status["state"], state);
        assert_eq!(status.get("url").is_some(), needs_login);
        served.shut_down();
    }
}

/// Proves LN41, SDK part: the events of one session are handled in order, sessions in parallel.
#[test]
fn one_session_is_handled_in_order_and_others_in_parallel() {
    for builder in [
        tokio::runtime::Builder::new_current_thread(),
        tokio::runtime::Builder::new_multi_thread(),
    ] {
        let (said, heard) = mpsc::sync_channel::<String>(16);
        let gate = Arc::new(Semaphore::new(0));
        let open = gate.clone();
        let mut served = Served::start_on(builder, move || {
            Plugin::new("echo").outbound(Outbound::new("echo", move |text: String| {
                let (said, gate) = (said.clone(), gate.clone());
                async move {
                    said.send(format!("begin {text}"))?;
                    if text.starts_with('a') {
                        gate.acquire().await?.forget();
                    }
                    said.send(format!("end {text}"))?;
                    Ok::<_, crate::Failure>(())
                }
            }))
        });
        served.peer.activate();
        let hear = || {
            heard
                .recv_timeout(Duration::from_secs(5))
                .expect("a handler runs")
        };
        served.peer.event(&Event::outbound("1", "a", json!("a1")));
        assert_eq!(hear(), "begin a1");
        served.peer.event(&Event::outbound("2", "a", json!("a2")));
        served.peer.event(&Event::outbound("3", "b", json!("b1")));
        assert_eq!(hear(), "begin b1");
        assert_eq!(hear(), "end b1");
        served
            .peer
            .expect_and_answer("broker.commit", &json!({ "events": [] }));
        open.add_permits(1);
        assert_eq!(hear(), "end a1");
        assert_eq!(hear(), "begin a2");
        open.add_permits(1);
        assert_eq!(hear(), "end a2");
        for _ in 0..2 {
            served
                .peer
                .expect_and_answer("broker.commit", &json!({ "events": [] }));
        }
        served.shut_down();
    }
}

/// Proves LN16 and W10, SDK part: pings are answered while a handler blocks its thread.
#[test]
fn pings_are_answered_while_a_handler_blocks_the_thread() {
    let (unblock, blocked) = mpsc::sync_channel::<()>(1);
    let blocked = Arc::new(std::sync::Mutex::new(blocked));
    let (begun, begins) = mpsc::sync_channel::<()>(1);
    let mut served = Served::start(move || {
        Plugin::new("echo").outbound(Outbound::new("echo", move |_: Json| {
            let (begun, blocked) = (begun.clone(), blocked.clone());
            async move {
                begun.send(())?;
                blocked
                    .lock()
                    .expect("not poisoned")
                    .recv()
                    .expect("unblocked");
                Ok::<_, crate::Failure>(())
            }
        }))
    });
    served.peer.activate();
    let mut event = Event::outbound("1", "s", json!("x"));
    event.lease_ms = 1500;
    served.peer.event(&event);
    begins
        .recv_timeout(Duration::from_secs(5))
        .expect("the handler runs");
    let ping = served.peer.request("ping", &json!({}));
    let mut extended = false;
    loop {
        let frame = served.peer.recv();
        if frame["id"] == ping {
            assert_eq!(frame["result"]["in_flight"], 1);
            assert!(
                frame["result"]["loop_lag_ms"].as_u64().expect("a number") >= 250,
                "{frame}"
            );
            break;
        }
        assert_eq!(frame["method"], "broker.extend");
        extended = true;
    }
    if !extended {
        assert_eq!(
            served.peer.expect("broker.extend")["deliveries"],
            json!(["d-1"])
        );
    }
    unblock.send(()).expect("it waits");
    loop {
        let frame = served.peer.recv();
        if frame["method"] == "broker.commit" {
            served.peer.answer(&frame, &json!({ "events": [] }));
            break;
        }
    }
    served.shut_down();
}

fn stopping(stops: &Arc<AtomicUsize>, gate: &Arc<Semaphore>) -> Plugin {
    let (stops, gate) = (stops.clone(), gate.clone());
    Plugin::new("echo")
        .outbound(Outbound::new("echo", move |_: Json| {
            let gate = gate.clone();
            async move {
                gate.acquire().await?.forget();
                Ok::<_, crate::Failure>(())
            }
        }))
        .on_stop(move |ctx, _| {
            let stops = stops.clone();
            async move {
                assert!(ctx.is_stopped());
                stops.fetch_add(1, Ordering::SeqCst);
                Ok(())
            }
        })
}

/// Proves L8, Rust part: what is in flight is awaited, and `on_stop` runs exactly once, on
/// shutdown, at the end of the link, and on a signal alike.
#[test]
fn what_is_in_flight_is_awaited_and_on_stop_runs_once_whatever_ends_it() {
    for way in ["shutdown", "end of the link", "signal"] {
        let (stops, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
        let (in_plugin, open) = ((stops.clone(), gate.clone()), gate);
        let mut served = Served::start(move || stopping(&in_plugin.0, &in_plugin.1));
        served.peer.activate();
        served.peer.event(&Event::outbound("1", "s", json!("x")));
        assert_eq!(served.peer.ask("ping", &json!({}))["in_flight"], 1);
        match way {
            "shutdown" => {
                let id = served
                    .peer
                    .request("shutdown", &json!({ "reason": "test", "timeout_ms": 5000 }));
                served.peer.ask("ping", &json!({}));
                assert_eq!(stops.load(Ordering::SeqCst), 0, "the handler still runs");
                open.add_permits(1);
                served
                    .peer
                    .expect_and_answer("broker.commit", &json!({ "events": [] }));
                assert_eq!(served.peer.recv_answer(id), json!({ "ok": true }));
                served.peer.recv_end();
                assert!(matches!(served.join(), Ok(Ended::Wanted)));
            }
            "signal" => {
                served.stop();
                open.add_permits(1);
                served
                    .peer
                    .expect_and_answer("broker.commit", &json!({ "events": [] }));
                served.peer.recv_end();
                assert!(matches!(served.join(), Ok(Ended::Wanted)));
            }
            _ => {
                open.add_permits(1);
                assert!(matches!(served.join(), Ok(Ended::Lost(_))));
            }
        }
        assert_eq!(stops.load(Ordering::SeqCst), 1, "{way}");
    }
}

#[test]
fn a_handler_that_outlasts_the_drain_is_cancelled_and_its_event_given_back() {
    let mut served = Served::start(|| {
        Plugin::new("echo").outbound(Outbound::new("echo", |_: Json, ctx: Context| async move {
            ctx.cancelled().await;
            std::future::pending::<()>().await;
            Ok::<_, crate::Failure>(())
        }))
    });
    served.peer.activate();
    served.peer.event(&Event::outbound("1", "s", json!("x")));
    let id = served
        .peer
        .request("shutdown", &json!({ "reason": "test", "timeout_ms": 10 }));
    let commit = served
        .peer
        .expect_and_answer("broker.commit", &json!({ "events": [] }));
    assert_eq!(commit["nak"][0]["counted"], false);
    assert_eq!(served.peer.recv_answer(id), json!({ "ok": true }));
    assert!(served.join().is_ok());
}

#[test]
fn an_on_stop_that_fails_is_the_answer_to_the_shutdown() {
    let mut served = Served::start(|| {
        plugin().on_stop(async |_, _| Err(crate::Failure::new("the file is gone")))
    });
    served.peer.activate();
    let params = json!({ "reason": "test", "timeout_ms": 1000 });
    let error = served.peer.ask("shutdown", &params);
    assert!(
        error["message"]
            .as_str()
            .expect("a text")
            .contains("the file is gone"),
        "{error}"
    );
    assert_eq!(served.join().expect_err("failed").code, Code::Internal);
}

/// Proves LN13, Rust part: stop and start again on deactivation, and a config that is refused.
#[test]
fn deactivation_stops_the_instance_and_activation_starts_it_again() {
    let starts = Arc::new(AtomicUsize::new(0));
    let counted = starts.clone();
    let mut served = Served::start(move || {
        plugin()
            .on_start(move |_| {
                let starts = counted.clone();
                async move { Ok(starts.fetch_add(1, Ordering::SeqCst)) }
            })
            .on_config(async |_, new: Json| {
                if new["greeting"] == "rude" {
                    Err(Reject::new("be kind").into())
                } else {
                    Ok(())
                }
            })
    });
    served.peer.activate();
    let params = json!({ "timeout_ms": 1000, "reason": "upgrade" });
    assert_eq!(served.peer.ask("instance.deactivate", &params), json!({}));
    assert_eq!(
        served
            .peer
            .ask("instance.activate", &json!({ "generation": 2 })),
        json!({})
    );
    assert_eq!(served.peer.expect("instance.status")["state"], "ready");
    assert_eq!(starts.load(Ordering::SeqCst), 2);
    let update = |greeting: &str| json!({ "config": { "greeting": greeting }, "revision": 2 });
    let error = served.peer.ask("config.update", &update("rude"));
    assert_eq!(
        (&error["data"]["code"], &error["message"]),
        (&json!("config_invalid"), &json!("be kind"))
    );
    assert_eq!(
        served.peer.ask("config.update", &update("hello")),
        json!({})
    );
    served.shut_down();
}

/// Proves H3, Rust part, and W10: a publish before the first event, and none waits for a call.
#[test]
fn a_publish_before_the_first_event_and_one_beside_a_slow_call_go_out() {
    let mut served = Served::start(|| {
        plugin().on_start(async |ctx: InstanceContext| {
            let slow = ctx.clone();
            tokio::spawn(async move {
                let found: Option<Json> = slow.kv().get("slow").await.expect("found in the end");
                slow.publish("agent.found", found).await.expect("published");
            });
            tokio::task::yield_now().await;
            ctx.publish("agent.hello", 1).await?;
            Ok(())
        })
    });
    served.peer.ask("initialize", &initialize());
    served
        .peer
        .ask("instance.activate", &json!({ "generation": 1 }));
    let get = served.peer.recv();
    assert_eq!(get["method"], "kv.get");
    let published = json!({ "seq": 1, "duplicate": false, "matched": 0 });
    let publish = served.peer.expect_and_answer("broker.publish", &published);
    assert_eq!(publish["topic"], "agent.hello");
    assert_eq!(served.peer.expect("instance.status")["state"], "ready");
    served
        .peer
        .answer(&get, &json!({ "value": "late", "revision": 3 }));
    let publish = served.peer.expect_and_answer("broker.publish", &published);
    assert_eq!(publish["event"]["payload"], "late");
    served.shut_down();
}

/// Proves LN14, Rust part: tasks begun in `on_start` live until the stop.
#[test]
fn tasks_begun_in_on_start_live_until_the_stop() {
    let (said, heard) = mpsc::sync_channel(4);
    let mut served = Served::start(move || {
        let said = said.clone();
        plugin().on_start(move |ctx: InstanceContext| {
            let said = said.clone();
            async move {
                tokio::spawn(async move {
                    said.send("alive").expect("heard");
                    ctx.stopped().await;
                    said.send("stopped").expect("heard");
                });
                Ok(())
            }
        })
    });
    served.peer.activate();
    served.peer.ask("ping", &json!({}));
    assert_eq!(heard.recv_timeout(Duration::from_secs(5)), Ok("alive"));
    assert!(heard.try_recv().is_err());
    served.shut_down();
    assert_eq!(heard.recv_timeout(Duration::from_secs(5)), Ok("stopped"));
}

/// Proves W7 and W6, Rust SDK part: bad frames are answered, and the next one works.
#[test]
fn bad_frames_are_answered_and_the_link_goes_on() {
    let mut served = Served::start(plugin);
    served.peer.activate();
    for (frame, code) in [("{oops", -32700), ("5", -32600), ("[1]", -32600)] {
        served.peer.send_raw(&format!("{frame}\r\n\n"));
        let answer = served.peer.recv();
        assert_eq!(
            (&answer["id"], &answer["error"]["code"]),
            (&json!(null), &json!(code))
        );
    }
    served.peer.send_raw(&format!("{}\n", "x".repeat(2 << 20)));
    assert_eq!(
        served.peer.recv()["error"]["data"]["code"],
        "frame_too_large"
    );
    assert_eq!(
        served.peer.ask("nonsense", &json!({}))["data"]["code"],
        "not_implemented"
    );
    served.shut_down();
}
