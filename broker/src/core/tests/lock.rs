//! Locks: one holder, fenced, ended by time or release.

use serde_json::{Value, json};

use super::driver::Broker;
use crate::router::LinkId;

fn acquire(broker: &mut Broker, link: LinkId, ttl_ms: u64) -> Result<u64, Value> {
    let params = json!({ "name": "poll", "ttl_ms": ttl_ms });
    let answer = broker.call(link, "lock.acquire", &params)?;
    Ok(answer["token"].as_u64().unwrap())
}

#[test]
fn a_lock_has_one_holder_until_it_is_released() {
    let mut broker = Broker::new();
    let a = broker.plugin("mail/a");
    let b = broker.plugin("mail/b");
    let token = acquire(&mut broker, a, 30_000).unwrap();
    let error = acquire(&mut broker, b, 30_000).unwrap_err();
    assert_eq!(error["data"]["code"], "lock_held");
    assert!(error["data"]["retry_after_ms"].as_u64().unwrap() <= 30_000);
    let release = json!({ "name": "poll", "token": token });
    assert_eq!(broker.refusal(b, "lock.release", &release), "lock_lost");
    broker.call(a, "lock.release", &release).unwrap();
    assert!(acquire(&mut broker, b, 30_000).unwrap() > token);
    assert_eq!(broker.refusal(a, "lock.release", &release), "lock_lost");
}

#[test]
fn names_of_a_plugin_are_its_own() {
    let mut broker = Broker::new();
    let a = broker.plugin("mail/a");
    let b = broker.plugin("chat/b");
    acquire(&mut broker, a, 30_000).unwrap();
    acquire(&mut broker, b, 30_000).unwrap();
    let client = broker.client("app", &["lock:app."]);
    for (name, code) in [
        ("mail.poll", "unauthorized"),
        ("Not a name", "invalid_arguments"),
    ] {
        let params = json!({ "name": name, "ttl_ms": 5000 });
        assert_eq!(broker.refusal(client, "lock.acquire", &params), code);
    }
    let own = json!({ "name": "mail.poll", "ttl_ms": 5000 });
    let other = broker.plugin("mail/c");
    assert_eq!(broker.refusal(other, "lock.acquire", &own), "lock_held");
    let short = json!({ "name": "x", "ttl_ms": 1 });
    assert_eq!(
        broker.refusal(a, "lock.acquire", &short),
        "invalid_arguments"
    );
}

#[test]
fn a_waiter_gets_the_lock_when_it_runs_out_and_the_holder_is_told() {
    let mut broker = Broker::new();
    let a = broker.plugin("mail/a");
    let b = broker.plugin("mail/b");
    let c = broker.plugin("mail/c");
    let token = acquire(&mut broker, a, 10_000).unwrap();
    let wait = |wait_ms: u64| json!({ "name": "poll", "ttl_ms": 10_000, "wait_ms": wait_ms });
    let impatient = broker.request(c, "lock.acquire", &wait(2_000));
    let patient = broker.request(b, "lock.acquire", &wait(60_000));
    broker.advance(9_000);
    let error = broker.answer(c, impatient).unwrap().unwrap_err();
    assert_eq!(error["data"]["code"], "lock_held");
    assert!(broker.answer(b, patient).is_none());
    broker.advance(2_000);
    let next = broker.answer(b, patient).unwrap().unwrap();
    assert!(next["token"].as_u64().unwrap() > token);
    let lost = broker.take(a, "lock.lost");
    assert_eq!(lost, [json!({ "name": "poll", "token": token })]);
    let renew = json!({ "name": "poll", "token": token });
    assert_eq!(broker.refusal(a, "lock.renew", &renew), "lock_lost");
}

#[test]
fn a_renewal_keeps_the_lock_and_its_token() {
    let mut broker = Broker::new();
    let a = broker.plugin("mail/a");
    let b = broker.plugin("mail/b");
    let token = acquire(&mut broker, a, 10_000).unwrap();
    for _ in 0..5 {
        broker.advance(8_000);
        let renew = json!({ "name": "poll", "token": token });
        let answer = broker.call(a, "lock.renew", &renew).unwrap();
        assert_eq!(answer["token"], token);
    }
    assert!(acquire(&mut broker, b, 10_000).is_err());
    let commit = json!({
        "kv": [{ "op": "put", "scope": "plugin", "key": "k", "value": 1 }],
        "if_lock": { "name": "poll", "token": token },
    });
    broker.call(a, "broker.commit", &commit).unwrap();
    assert_eq!(broker.refusal(b, "broker.commit", &commit), "lock_lost");
    broker.advance(10_001);
    assert_eq!(broker.refusal(a, "broker.commit", &commit), "lock_lost");
    assert!(acquire(&mut broker, b, 10_000).unwrap() > token);
}

#[test]
fn a_commit_that_was_staged_before_the_lock_changed_hands_is_fenced_by_the_store() {
    let mut broker = Broker::new();
    let a = broker.plugin("mail/a");
    let token = acquire(&mut broker, a, 30_000).unwrap();
    broker.hold_batches = true;
    let release = json!({ "name": "poll", "token": token });
    let released = broker.request(a, "lock.release", &release);
    let commit = json!({
        "kv": [{ "op": "put", "scope": "plugin", "key": "k", "value": 1 }],
        "if_lock": { "name": "poll", "token": token },
    });
    let late = broker.request(a, "broker.commit", &commit);
    broker.release_batch();
    broker.answer(a, released).unwrap().unwrap();
    let error = broker.answer(a, late).unwrap().unwrap_err();
    assert_eq!(error["data"]["code"], "lock_lost");
}

#[test]
fn a_restart_and_a_reconnect_keep_the_lock_for_its_holder() {
    let mut broker = Broker::new();
    let a = broker.plugin("mail/a");
    let token = acquire(&mut broker, a, 30_000).unwrap();
    broker.advance(5_000);
    broker.restart();
    let b = broker.plugin("mail/b");
    assert!(acquire(&mut broker, b, 30_000).is_err());
    let a = broker.plugin("mail/a");
    let renew = json!({ "name": "poll", "token": token });
    broker.call(a, "lock.renew", &renew).unwrap();
    broker.detach(a);
    let again = broker.plugin("mail/a");
    assert!(acquire(&mut broker, b, 30_000).is_err());
    let next = acquire(&mut broker, again, 30_000).unwrap();
    assert!(next > token);
    broker.restart();
    broker.advance(30_001);
    let b = broker.plugin("mail/b");
    assert!(acquire(&mut broker, b, 30_000).unwrap() > next);
}
