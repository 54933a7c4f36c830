//! Keyed state: whose keys, revisions, tombstones, watches.

use serde_json::{Value, json};

use super::driver::Broker;

const DAY_MS: u64 = 86_400_000;

fn put(broker: &mut Broker, link: crate::router::LinkId, key: &str, value: &Value) -> u64 {
    let params = json!({ "scope": "instance", "key": key, "value": value });
    let answer = broker.call(link, "kv.put", &params).unwrap();
    answer["revision"].as_u64().unwrap()
}

#[test]
fn what_is_put_is_got_with_its_revision_and_survives_a_restart() {
    let mut broker = Broker::new();
    let link = broker.plugin("mail/a");
    let big = json!({ "n": 123_456_789_012_345_678_u64, "none": null });
    let revision = put(&mut broker, link, "cursor", &big);
    let get = json!({ "scope": "instance", "key": "cursor" });
    let got = broker.call(link, "kv.get", &get).unwrap();
    assert_eq!(got, json!({ "value": big, "revision": revision }));
    broker.restart();
    let link = broker.plugin("mail/a");
    assert_eq!(broker.call(link, "kv.get", &get).unwrap()["value"], big);
    let none = json!({ "scope": "instance", "key": "other" });
    assert_eq!(broker.refusal(link, "kv.get", &none), "not_found");
}

/// Proves S3: the keyed state of another plugin is unreachable, and `source` is stamped by the broker.
#[test]
fn a_plugin_reaches_neither_the_keys_nor_the_name_of_another() {
    let mut broker = Broker::new();
    let a = broker.plugin("mail/a");
    let b = broker.plugin("chat/b");
    put(&mut broker, a, "secret", &json!("mine"));
    for key in ["secret", "../a/secret", "/secret", "mail/a/secret"] {
        for scope in ["instance", "plugin", "workspace"] {
            let get = json!({ "scope": scope, "key": key });
            assert_eq!(
                broker.refusal(b, "kv.get", &get),
                "not_found",
                "{scope} {key}"
            );
        }
    }
    let list = json!({ "scope": "instance" });
    assert_eq!(
        broker.call(b, "kv.list", &list).unwrap()["entries"],
        json!([])
    );
    let client = json!({ "scope": "client", "key": "x" });
    assert_eq!(broker.refusal(b, "kv.get", &client), "invalid_arguments");

    let admin = broker.admin();
    let ask = json!({ "name": "all", "filters": ["plugin.inbound.>"] });
    broker.call(admin, "broker.subscribe", &ask).unwrap();
    let event = json!({ "source": "mail/a", "payload": {} });
    broker.publish(b, "plugin.inbound.chat.b", &event).unwrap();
    let events = broker.take(admin, "broker.event");
    assert_eq!(events[0]["event"]["source"], "chat/b");
    assert_eq!(events[0]["event"]["metadata"]["claimed_source"], "mail/a");
    let id = broker.request(
        b,
        "broker.publish",
        &json!({ "topic": "plugin.inbound.mail.a", "event": event }),
    );
    let error = broker.answer(b, id).unwrap().unwrap_err();
    assert_eq!(error["data"]["code"], "topic_not_granted");
}

#[test]
fn a_session_has_keys_of_its_own() {
    let mut broker = Broker::new();
    let link = broker.plugin("mail/a");
    for session in ["mail.a/1", "mail.a/2"] {
        let put = json!({ "scope": "session", "session": session, "key": "k", "value": session });
        broker.call(link, "kv.put", &put).unwrap();
    }
    let get = json!({ "scope": "session", "session": "mail.a/1", "key": "k" });
    assert_eq!(
        broker.call(link, "kv.get", &get).unwrap()["value"],
        "mail.a/1"
    );
    let without = json!({ "scope": "session", "key": "k" });
    assert_eq!(
        broker.refusal(link, "kv.get", &without),
        "invalid_arguments"
    );
}

#[test]
fn a_client_needs_a_kv_scope_that_covers_the_key() {
    let mut broker = Broker::new();
    let link = broker.client("app", &["kv:app."]);
    let put = json!({ "scope": "workspace", "key": "app.x", "value": 1 });
    broker.call(link, "kv.put", &put).unwrap();
    let other = json!({ "scope": "workspace", "key": "other", "value": 1 });
    assert_eq!(broker.refusal(link, "kv.put", &other), "unauthorized");
    let all = json!({ "scope": "workspace" });
    assert_eq!(broker.refusal(link, "kv.list", &all), "unauthorized");
    let plugin = json!({ "scope": "plugin", "key": "app.x" });
    assert_eq!(broker.refusal(link, "kv.get", &plugin), "invalid_arguments");
}

#[test]
fn a_change_can_depend_on_the_revision_also_after_a_deletion() {
    let mut broker = Broker::new();
    let link = broker.plugin("mail/a");
    let write = |if_revision: u64| json!({ "scope": "instance", "key": "k", "value": 1, "if_revision": if_revision });
    let first = broker.call(link, "kv.put", &write(0)).unwrap()["revision"].as_u64();
    assert_eq!(
        broker.refusal(link, "kv.put", &write(0)),
        "revision_conflict"
    );
    broker.call(link, "kv.put", &write(first.unwrap())).unwrap();
    assert_eq!(
        broker.refusal(link, "kv.put", &write(first.unwrap())),
        "revision_conflict"
    );
    let delete = json!({ "scope": "instance", "key": "k" });
    broker.call(link, "kv.delete", &delete).unwrap();
    assert_eq!(broker.refusal(link, "kv.get", &delete), "not_found");
    broker.call(link, "kv.put", &write(0)).unwrap();
}

#[test]
fn an_entry_reads_as_absent_after_its_time_to_live() {
    let mut broker = Broker::new();
    let link = broker.plugin("mail/a");
    let put = json!({ "scope": "instance", "key": "k", "value": 1, "ttl_ms": 5000 });
    broker.call(link, "kv.put", &put).unwrap();
    let get = json!({ "scope": "instance", "key": "k" });
    assert!(broker.call(link, "kv.get", &get).unwrap()["expires_at"].is_string());
    broker.advance(5001);
    assert_eq!(broker.refusal(link, "kv.get", &get), "not_found");
}

#[test]
fn a_list_goes_page_by_page() {
    let mut broker = Broker::new();
    let link = broker.plugin("mail/a");
    for index in 0..7 {
        put(&mut broker, link, &format!("a{index}"), &json!(index));
    }
    put(&mut broker, link, "b", &json!(0));
    let mut seen = Vec::new();
    let mut after = Value::Null;
    loop {
        let mut list = json!({ "scope": "instance", "prefix": "a", "limit": 3, "values": true });
        if after.is_string() {
            list["after"] = after.clone();
        }
        let page = broker.call(link, "kv.list", &list).unwrap();
        for entry in page["entries"].as_array().unwrap() {
            seen.push(entry["value"].as_u64().unwrap());
        }
        match page.get("next") {
            Some(next) => after = next.clone(),
            None => break,
        }
    }
    assert_eq!(seen, [0, 1, 2, 3, 4, 5, 6]);
}

#[test]
fn keys_and_values_have_their_limits() {
    let mut broker = Broker::new();
    let link = broker.plugin("mail/a");
    let put =
        |key: String, value: String| json!({ "scope": "instance", "key": key, "value": value });
    for (params, code) in [
        (put(String::new(), String::new()), "invalid_arguments"),
        (put("k".repeat(257), String::new()), "invalid_arguments"),
        (put("a\nb".into(), String::new()), "invalid_arguments"),
        (put("k".into(), "v".repeat(256 << 10)), "quota_exceeded"),
    ] {
        assert_eq!(broker.refusal(link, "kv.put", &params), code);
    }
    let longest = put("k".repeat(256), "v".repeat((256 << 10) - 2));
    broker.call(link, "kv.put", &longest).unwrap();
}

#[test]
fn an_owner_has_a_quota_that_is_known_again_after_a_restart() {
    let mut broker = Broker::new();
    let mut link = broker.plugin("mail/a");
    let value = "v".repeat((256 << 10) - 100);
    let put =
        |index: usize| json!({ "scope": "instance", "key": format!("{index}"), "value": value });
    for index in 0..256 {
        broker.call(link, "kv.put", &put(index)).unwrap();
        if index == 100 {
            broker.restart();
            link = broker.plugin("mail/a");
        }
    }
    assert_eq!(broker.refusal(link, "kv.put", &put(256)), "quota_exceeded");
    broker.call(link, "kv.put", &put(3)).unwrap();
    let delete = json!({ "scope": "instance", "key": "7" });
    broker.call(link, "kv.delete", &delete).unwrap();
    broker.call(link, "kv.put", &put(256)).unwrap();
    let other = broker.plugin("chat/b");
    broker.call(other, "kv.put", &put(0)).unwrap();
}

#[test]
fn a_commit_changes_keys_with_its_events_or_not_at_all() {
    let mut broker = Broker::new();
    let link = broker.plugin("mail/a");
    let commit = |id: &str, if_revision: u64| {
        json!({
            "events": [{ "topic": "plugin.inbound.mail.a", "event": { "id": id, "session_id": "s", "payload": {} } }],
            "kv": [
                { "op": "put", "scope": "plugin", "key": "other", "value": 1 },
                { "op": "put", "scope": "instance", "key": "cursor", "value": id, "if_revision": if_revision },
                { "op": "delete", "scope": "instance", "key": "gone" },
            ],
        })
    };
    let done = broker.call(link, "broker.commit", &commit("a", 0)).unwrap();
    let revisions: Vec<u64> = done["kv"]
        .as_array()
        .unwrap()
        .iter()
        .map(|kv| kv["revision"].as_u64().unwrap())
        .collect();
    assert!(revisions.is_sorted() && revisions[0] > done["events"][0]["seq"].as_u64().unwrap());
    let error = broker
        .call(link, "broker.commit", &commit("b", 0))
        .unwrap_err();
    assert_eq!(error["data"]["code"], "revision_conflict");
    assert_eq!(error["data"]["index"], 1);
    let get = json!({ "scope": "instance", "key": "cursor" });
    let got = broker.call(link, "kv.get", &get).unwrap();
    assert_eq!(
        (&got["value"], got["revision"].as_u64()),
        (&json!("a"), Some(revisions[1]))
    );
}

#[test]
fn a_watch_hears_of_changes_in_order_and_resumes_where_it_was() {
    let mut broker = Broker::new();
    let link = broker.plugin("mail/a");
    let watch = json!({ "scope": "instance", "prefix": "w" });
    let watching = broker.call(link, "kv.watch", &watch).unwrap();
    put(&mut broker, link, "w1", &json!(1));
    put(&mut broker, link, "x", &json!(1));
    let seen = put(&mut broker, link, "w2", &json!(null));
    let changes = broker.take(link, "kv.change");
    assert_eq!(changes.len(), 2);
    assert_eq!(changes[0]["watch"], watching["watch"]);
    assert_eq!(
        changes[1],
        json!({
            "watch": watching["watch"], "op": "put", "key": "w2", "revision": seen, "value": null,
        })
    );
    broker
        .call(link, "kv.unwatch", &json!({ "watch": watching["watch"] }))
        .unwrap();
    let delete = json!({ "scope": "instance", "key": "w1" });
    let deleted = broker.call(link, "kv.delete", &delete).unwrap()["revision"].clone();
    put(&mut broker, link, "w3", &json!(3));
    assert!(broker.take(link, "kv.change").is_empty());

    broker.restart();
    let link = broker.plugin("mail/a");
    let resume = json!({ "scope": "instance", "prefix": "w", "from_revision": seen });
    broker.call(link, "kv.watch", &resume).unwrap();
    put(&mut broker, link, "w4", &json!(4));
    let changes = broker.take(link, "kv.change");
    let told: Vec<_> = changes.iter().map(|c| (&c["op"], &c["key"])).collect();
    let (put, delete) = (json!("put"), json!("delete"));
    assert_eq!(
        told,
        [
            (&delete, &json!("w1")),
            (&put, &json!("w3")),
            (&put, &json!("w4")),
        ]
    );
    assert_eq!(changes[0]["revision"], deleted);
}

#[test]
fn a_watch_older_than_the_tombstones_is_told_of_a_gap() {
    let mut broker = Broker::new();
    let link = broker.plugin("mail/a");
    let old = put(&mut broker, link, "k", &json!(1));
    broker.advance(DAY_MS / 2);
    let middle = put(&mut broker, link, "k", &json!(2));
    let watch = |from: u64| json!({ "scope": "instance", "from_revision": from });
    broker.call(link, "kv.watch", &watch(old)).unwrap();
    broker.advance(DAY_MS / 2 + 1);
    put(&mut broker, link, "k", &json!(3));
    assert_eq!(broker.refusal(link, "kv.watch", &watch(old)), "gap");
    broker.call(link, "kv.watch", &watch(middle)).unwrap();
}

#[test]
fn a_watch_of_a_link_that_does_not_read_stays_bounded_and_misses_nothing() {
    let mut broker = Broker::new();
    let watcher = broker.client("app", &["kv:"]);
    let writer = broker.client("writer", &["kv:"]);
    let watch = json!({ "scope": "workspace" });
    broker.call(watcher, "kv.watch", &watch).unwrap();
    broker.stall(watcher, true);
    let value = "v".repeat(100 << 10);
    for index in 0..40 {
        let put = json!({ "scope": "workspace", "key": format!("k{index:02}"), "value": value });
        broker.call(writer, "kv.put", &put).unwrap();
    }
    let waiting = broker.core.outbox(watcher).unwrap().len();
    assert!(waiting < 2 << 20, "{waiting} bytes wait");
    broker.stall(watcher, false);
    let keys: Vec<String> = broker
        .take(watcher, "kv.change")
        .iter()
        .map(|change| change["key"].as_str().unwrap().to_owned())
        .collect();
    let expected: Vec<String> = (0..40).map(|index| format!("k{index:02}")).collect();
    assert_eq!(keys, expected);
}
