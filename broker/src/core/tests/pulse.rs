//! Pings: an instance whose loop lags is degraded until it keeps up again.

use serde_json::{Value, json};
use trunkline_contract::rpc::ReportedState;

use super::driver::Broker;
use crate::core::InstanceSignal;
use crate::router::LinkId;

/// Pings the instance, which answers with this lag. Gives the signals that follow.
fn ping(broker: &mut Broker, link: LinkId, lag_ms: u64) -> Vec<(ReportedState, Option<String>)> {
    broker.signals.clear();
    broker.core.ping(link);
    broker.run();
    broker.reply_to(
        link,
        "ping",
        &json!({ "loop_lag_ms": lag_ms, "in_flight": 0 }),
    );
    statuses(broker)
}

fn say(broker: &mut Broker, link: LinkId, status: &Value) -> Vec<(ReportedState, Option<String>)> {
    broker.signals.clear();
    broker.call(link, "instance.status", status).unwrap();
    statuses(broker)
}

fn statuses(broker: &mut Broker) -> Vec<(ReportedState, Option<String>)> {
    let signals = broker.signals.drain(..);
    signals
        .map(|(_, signal)| match signal {
            InstanceSignal::Status { state, reason, .. } => (state, reason),
            other => panic!("expected a status, found {other:?}"),
        })
        .collect()
}

/// Proves LN16: a loop that lags more than 10 s makes the instance degraded, once and with the reason, and
/// ready again as soon as it keeps up; the lag is in the status.
#[test]
fn an_instance_whose_loop_lags_is_degraded_until_it_keeps_up() {
    let mut broker = Broker::new();
    let admin = broker.admin();
    let link = broker.plugin("mail/a");
    let lag = |broker: &mut Broker| {
        let status = broker.call(admin, "admin.status", &json!({})).unwrap();
        status["instances"][0]["lag"].clone()
    };
    assert!(lag(&mut broker).is_null(), "nobody asked yet");
    assert_eq!(ping(&mut broker, link, 10_000), []);
    assert_eq!(lag(&mut broker), 10_000);
    let degraded = (
        ReportedState::Degraded,
        Some("its event loop lags 10001 ms".to_owned()),
    );
    assert_eq!(ping(&mut broker, link, 10_001), [degraded]);
    assert_eq!(ping(&mut broker, link, 20_001), [], "told once");
    assert_eq!(ping(&mut broker, link, 3), [(ReportedState::Ready, None)]);
    assert_eq!(ping(&mut broker, link, 0), []);
    assert_eq!(lag(&mut broker), 0);
}

/// Proves LN16: what the instance says of itself wins; a ping that is fine does not make ready what said
/// that it is not.
#[test]
fn a_good_ping_does_not_overrule_what_the_instance_says() {
    let mut broker = Broker::new();
    let link = broker.plugin("mail/a");
    let blocked = json!({ "state": "degraded", "reason": "the event loop has been blocked" });
    assert_eq!(say(&mut broker, link, &blocked).len(), 1);
    for lag_ms in [0, 60_000, 0] {
        assert_eq!(ping(&mut broker, link, lag_ms), []);
    }
    let ready = json!({ "state": "ready", "reason": "as ever" });
    assert_eq!(say(&mut broker, link, &ready).len(), 1);
    assert_eq!(ping(&mut broker, link, 60_000).len(), 1);
    let as_before = (ReportedState::Ready, Some("as ever".to_owned()));
    assert_eq!(ping(&mut broker, link, 0), [as_before]);
    assert_eq!(ping(&mut broker, link, 60_000).len(), 1);
    let login = json!({ "state": "needs_auth" });
    assert_eq!(say(&mut broker, link, &login).len(), 1);
    assert_eq!(ping(&mut broker, link, 0), []);
}

/// Proves P2g: a server of its own that fails makes the instance degraded, once and with the reason, and what it
/// said of itself again as soon as the server works; a lag beside it changes nothing.
#[test]
fn an_instance_whose_own_server_fails_is_degraded_until_it_works() {
    let mut broker = Broker::new();
    let link = broker.plugin("mail/a");
    let key = crate::instance::InstanceKey::new("mail", "a");
    let probe = |broker: &mut Broker, fault: Option<&str>| {
        broker.signals.clear();
        broker.core.own_server(&key, fault.map(str::to_owned));
        broker.run();
        statuses(broker)
    };
    assert_eq!(probe(&mut broker, None), []);
    let degraded = (ReportedState::Degraded, Some("it answers 500".to_owned()));
    let found = probe(&mut broker, Some("it answers 500"));
    assert_eq!(found, std::slice::from_ref(&degraded));
    assert_eq!(probe(&mut broker, Some("it answers 500")), [], "told once");
    assert_eq!(ping(&mut broker, link, 60_000), []);
    assert_eq!(probe(&mut broker, None), [], "its loop still lags");
    assert_eq!(ping(&mut broker, link, 0), [(ReportedState::Ready, None)]);
    // What it says of itself counts, until the next probe.
    let found = probe(&mut broker, Some("it answers 500"));
    assert_eq!(found, std::slice::from_ref(&degraded));
    let ready = json!({ "state": "ready" });
    assert_eq!(say(&mut broker, link, &ready).len(), 1);
    assert_eq!(probe(&mut broker, Some("it answers 500")), [degraded]);
}
