//! Blobs: what is put is kept, given to whom it concerns, and gone in time.

use serde_json::{Value, json};

use super::driver::{Broker, options};
use super::files::hash_of;
use crate::core::{BlobFault, BlobHash, LinkKind};
use crate::router::LinkId;
use crate::store::memory::MemoryOptions;

const HOUR_MS: u64 = 3_600_000;
/// How long a blob is kept that nothing names, and an event: short, for every second is lived through.
const AGE_MS: u64 = 2 * HOUR_MS;
const EVENTS_MS: u64 = 6 * HOUR_MS;

fn broker() -> Broker {
    let mut options = options();
    options.retention.blobs_age_ms = AGE_MS;
    options.retention.events_age_ms = EVENTS_MS;
    Broker::with(options, MemoryOptions::default(), 1)
}

/// Announces content and fills its file.
fn upload(broker: &mut Broker, link: LinkId, content: &[u8]) -> String {
    let put = json!({ "bytes": content.len(), "media_type": "image/png" });
    let answer = broker.call(link, "blob.put", &put).unwrap();
    let path = answer["path"].as_str().unwrap();
    broker.files.spool.insert(path.into(), content.to_vec());
    answer["upload"].as_str().unwrap().to_owned()
}

fn finish(upload: &str, content: &[u8]) -> Value {
    json!({ "upload": upload, "sha256": hash_of(content).to_string() })
}

/// Puts content and gives its id.
fn put(broker: &mut Broker, link: LinkId, content: &[u8]) -> String {
    let upload = upload(broker, link, content);
    let done = broker
        .call(link, "blob.finish", &finish(&upload, content))
        .unwrap();
    done["id"].as_str().unwrap().to_owned()
}

fn get(broker: &mut Broker, link: LinkId, id: &str) -> Result<Vec<u8>, String> {
    let answer = broker
        .call(link, "blob.get", &json!({ "id": id }))
        .map_err(|error| error["data"]["code"].as_str().unwrap().to_owned())?;
    let path = answer["path"].as_str().unwrap();
    Ok(broker.files.spool[std::path::Path::new(path)].clone())
}

fn has_file(broker: &Broker, content: &[u8]) -> bool {
    broker.files.contents.contains_key(&hash_of(content))
}

fn naming(id: &str) -> Value {
    json!({ "payload": {}, "blobs": [id] })
}

/// Goes on until events of now are too old to keep, and the blobs that they named are gone.
fn outlive_events(broker: &mut Broker) {
    broker.advance(EVENTS_MS + HOUR_MS);
    broker.advance(5_000);
}

#[test]
fn what_is_put_is_named_by_its_hash_and_survives_a_restart() {
    let mut broker = broker();
    let link = broker.plugin("mail/a");
    let id = put(&mut broker, link, b"picture");
    assert_eq!(id, hash_of(b"picture").id());
    broker.restart();
    let link = broker.plugin("mail/a");
    assert_eq!(get(&mut broker, link, &id).unwrap(), b"picture");
    let stat = broker
        .call(link, "blob.stat", &json!({ "id": id }))
        .unwrap();
    assert_eq!(stat["bytes"], 7);
    assert_eq!(stat["media_type"], "image/png");
    assert_eq!(stat["named"], false);
}

#[test]
fn a_finish_that_is_asked_again_is_answered_the_same() {
    let mut broker = broker();
    let link = broker.plugin("mail/a");
    let upload = upload(&mut broker, link, b"picture");
    let ask = finish(&upload, b"picture");
    broker.hold_blobs = true;
    let first = broker.request(link, "blob.finish", &ask);
    let second = broker.request(link, "blob.finish", &ask);
    broker.release_blobs();
    let first = broker.answer(link, first).unwrap().unwrap();
    assert_eq!(broker.answer(link, second).unwrap().unwrap(), first);
    broker.detach(link);
    let link = broker.plugin("mail/a");
    assert_eq!(broker.call(link, "blob.finish", &ask).unwrap(), first);
    let other = broker.plugin("chat/b");
    assert_eq!(broker.refusal(other, "blob.finish", &ask), "not_found");
}

#[test]
fn a_short_upload_goes_on_and_one_of_another_content_is_gone() {
    let mut broker = broker();
    let link = broker.plugin("mail/a");
    let name = upload(&mut broker, link, b"picture");
    let path = std::path::PathBuf::from("i.mail.a").join(&name);
    broker.files.spool.insert(path.clone(), b"pic".to_vec());
    let ask = finish(&name, b"picture");
    assert_eq!(
        broker.refusal(link, "blob.finish", &ask),
        "invalid_arguments"
    );
    broker.files.spool.insert(path, b"picture".to_vec());
    assert!(broker.call(link, "blob.finish", &ask).is_ok());

    let name = upload(&mut broker, link, b"pikture");
    let ask = finish(&name, b"picture");
    assert_eq!(
        broker.refusal(link, "blob.finish", &ask),
        "invalid_arguments"
    );
    assert_eq!(broker.refusal(link, "blob.finish", &ask), "not_found");
    assert!(has_file(&broker, b"picture"), "that of the first is kept");
}

/// A hash is no key: only its putter reads it, and who may receive an event that names it.
#[test]
fn only_its_putter_and_who_may_receive_an_event_that_names_it_read_a_blob() {
    let mut broker = broker();
    let a = broker.plugin("mail/a");
    let b = broker.plugin("chat/b");
    let reader = broker.client("reader", &["read:plugin.inbound.mail.>", "blob"]);
    let other = broker.client("other", &["read:plugin.inbound.chat.>", "blob"]);
    let deaf = broker.client("deaf", &["read:plugin.inbound.mail.>"]);
    let id = put(&mut broker, a, b"picture");
    for link in [b, reader, other] {
        assert_eq!(get(&mut broker, link, &id), Err("not_found".into()));
    }
    // To name it needs the right to read it.
    let refused = broker.publish(b, "plugin.inbound.chat.b", &naming(&id));
    assert_eq!(refused.unwrap_err()["data"]["code"], "not_found");
    let unknown = hash_of(b"unknown").id();
    let refused = broker.publish(a, "plugin.inbound.mail.a", &naming(&unknown));
    let error = refused.unwrap_err();
    assert_eq!(error["data"]["code"], "not_found");
    assert_eq!(error["data"]["detail"]["blob"], unknown);

    broker
        .publish(a, "plugin.inbound.mail.a", &naming(&id))
        .unwrap();
    assert_eq!(get(&mut broker, reader, &id).unwrap(), b"picture");
    for link in [b, other] {
        assert_eq!(get(&mut broker, link, &id), Err("not_found".into()));
    }
    assert_eq!(get(&mut broker, deaf, &id), Err("unauthorized".into()));
    // The same from the store.
    broker.restart();
    let b = broker.plugin("chat/b");
    let reader = broker.client("reader", &["read:plugin.inbound.mail.>", "blob"]);
    assert_eq!(get(&mut broker, reader, &id).unwrap(), b"picture");
    assert_eq!(get(&mut broker, b, &id), Err("not_found".into()));
}

#[test]
fn a_blob_that_nothing_names_goes_in_time() {
    let mut broker = broker();
    let link = broker.plugin("mail/a");
    let id = put(&mut broker, link, b"picture");
    broker.advance(AGE_MS - HOUR_MS);
    assert_eq!(get(&mut broker, link, &id).unwrap(), b"picture");
    broker.restart();
    let link = broker.plugin("mail/a");
    broker.advance(HOUR_MS + 2_000);
    assert_eq!(get(&mut broker, link, &id), Err("not_found".into()));
    assert!(!has_file(&broker, b"picture"));
    broker.restart();
    let link = broker.plugin("mail/a");
    assert_eq!(get(&mut broker, link, &id), Err("not_found".into()));
}

#[test]
fn a_blob_is_kept_while_an_event_that_names_it_is_retained() {
    for restarts in [false, true] {
        let mut broker = broker();
        let link = broker.plugin("mail/a");
        let id = put(&mut broker, link, b"picture");
        broker.advance(HOUR_MS);
        broker
            .publish(link, "plugin.inbound.mail.a", &naming(&id))
            .unwrap();
        if restarts {
            broker.restart();
            broker.plugin("mail/a");
        }
        broker.advance(EVENTS_MS - 2 * HOUR_MS);
        assert!(has_file(&broker, b"picture"), "{restarts}");
        // Something after it, so that the log is not empty.
        let link = broker.plugin("chat/b");
        broker
            .publish(link, "plugin.inbound.chat.b", &json!({}))
            .unwrap();
        broker.advance(2 * HOUR_MS);
        broker.advance(5_000);
        assert!(!has_file(&broker, b"picture"), "{restarts}");
    }
}

#[test]
fn a_blob_in_an_emptied_log_goes_too() {
    let mut broker = broker();
    let link = broker.plugin("mail/a");
    let id = put(&mut broker, link, b"picture");
    broker
        .publish(link, "plugin.inbound.mail.a", &naming(&id))
        .unwrap();
    broker.restart();
    broker.plugin("mail/a");
    outlive_events(&mut broker);
    assert!(!has_file(&broker, b"picture"));
}

#[test]
fn a_blob_stays_while_an_event_that_names_it_is_on_its_way() {
    let mut broker = broker();
    let link = broker.plugin("mail/a");
    let id = put(&mut broker, link, b"picture");
    broker.advance(AGE_MS - 1_000);
    broker.hold_batches = true;
    let params = json!({ "topic": "plugin.inbound.mail.a", "event": naming(&id) });
    let publish = broker.request(link, "broker.publish", &params);
    broker.advance(10_000);
    broker.release_batch();
    broker.answer(link, publish).unwrap().unwrap();
    broker.advance(AGE_MS);
    assert!(has_file(&broker, b"picture"));
    let stat = broker
        .call(link, "blob.stat", &json!({ "id": id }))
        .unwrap();
    assert_eq!(stat["named"], true);
}

#[test]
fn content_that_is_put_again_while_it_goes_is_there_afterwards() {
    let mut broker = broker();
    let link = broker.plugin("mail/a");
    put(&mut broker, link, b"picture");
    broker.advance(AGE_MS - 10_000);
    let name = upload(&mut broker, link, b"picture");
    broker.hold_blobs = true;
    broker.advance(12_000);
    // Its record is gone, its file is about to be removed.
    let again = broker.request(link, "blob.finish", &finish(&name, b"picture"));
    assert!(broker.answer(link, again).is_none());
    broker.release_blobs();
    let id = broker.answer(link, again).unwrap().unwrap()["id"].clone();
    assert_eq!(
        get(&mut broker, link, id.as_str().unwrap()).unwrap(),
        b"picture"
    );
}

#[test]
fn two_who_put_the_same_content_share_one_file_and_both_read_it() {
    let mut broker = broker();
    let a = broker.plugin("mail/a");
    let b = broker.plugin("chat/b");
    let id = put(&mut broker, a, b"picture");
    assert_eq!(put(&mut broker, b, b"picture"), id);
    assert_eq!(broker.files.contents.len(), 1);
    broker.restart();
    let b = broker.plugin("chat/b");
    assert_eq!(get(&mut broker, b, &id).unwrap(), b"picture");
}

#[test]
fn more_than_the_quota_is_refused_until_something_goes() {
    let mut options = options();
    options.retention.blobs_source_bytes = 10;
    options.retention.blobs_bytes = 15;
    let mut broker = Broker::with(options, MemoryOptions::default(), 1);
    let a = broker.plugin("mail/a");
    put(&mut broker, a, b"12345678");
    for _ in 0..2 {
        broker.restart();
        let a = broker.plugin("mail/a");
        let b = broker.plugin("chat/b");
        let ask = |bytes: u64| json!({ "bytes": bytes });
        assert_eq!(broker.refusal(a, "blob.put", &ask(3)), "quota_exceeded");
        assert_eq!(broker.refusal(b, "blob.put", &ask(8)), "quota_exceeded");
        assert_eq!(
            broker.refusal(b, "blob.put", &ask(u64::MAX)),
            "quota_exceeded"
        );
    }
    // An unfinished upload counts until it is dropped.
    broker.restart();
    let b2 = broker.plugin("chat/b");
    let name = upload(&mut broker, b2, b"1234567");
    let c = broker.plugin("chat/c");
    let ask = json!({ "bytes": 1 });
    assert_eq!(broker.refusal(c, "blob.put", &ask), "quota_exceeded");
    broker.advance(HOUR_MS + 2_000);
    assert!(broker.call(c, "blob.put", &ask).is_ok());
    let late = finish(&name, b"1234567");
    assert_eq!(broker.refusal(b2, "blob.finish", &late), "not_found");
}

#[test]
fn unfinished_uploads_of_one_source_are_bounded() {
    let mut broker = broker();
    let link = broker.plugin("mail/a");
    for _ in 0..16 {
        broker
            .call(link, "blob.put", &json!({ "bytes": 1 }))
            .unwrap();
    }
    let ask = json!({ "bytes": 1 });
    assert_eq!(broker.refusal(link, "blob.put", &ask), "quota_exceeded");
}

#[test]
fn a_full_disk_refuses_what_would_not_fit() {
    let mut broker = broker();
    let link = broker.plugin("mail/a");
    broker.core.set_disk_free(100);
    let ask = json!({ "bytes": 95 });
    assert_eq!(broker.refusal(link, "blob.put", &ask), "storage_full");
    let name = upload(&mut broker, link, b"picture");
    broker.files.fault = Some(BlobFault::NoRoom);
    let ask = finish(&name, b"picture");
    assert_eq!(broker.refusal(link, "blob.finish", &ask), "storage_full");
}

/// A crash at any point leaves no record without a file; a file without a record goes after the start.
#[test]
fn a_file_without_a_record_goes_after_the_next_start() {
    let mut broker = broker();
    let link = broker.plugin("mail/a");
    let kept = put(&mut broker, link, b"kept");
    let name = upload(&mut broker, link, b"picture");
    // The file is there, the record is not yet: the broker dies.
    broker.hold_batches = true;
    let asked = broker.request(link, "blob.finish", &finish(&name, b"picture"));
    assert!(broker.answer(link, asked).is_none(), "not acknowledged");
    assert!(has_file(&broker, b"picture"));
    broker.hold_batches = false;
    broker.restart();
    broker.advance(40_000);
    assert!(!has_file(&broker, b"picture"));
    let link = broker.plugin("mail/a");
    assert_eq!(get(&mut broker, link, &kept).unwrap(), b"kept");

    // The record is gone, the file is not yet: the broker dies.
    broker.advance(AGE_MS - 50_000);
    broker.hold_blobs = true;
    broker.advance(60_000);
    assert!(has_file(&broker, b"kept"));
    broker.hold_blobs = false;
    broker.restart();
    let link = broker.plugin("mail/a");
    assert_eq!(get(&mut broker, link, &kept), Err("not_found".into()));
    broker.advance(40_000);
    assert!(!has_file(&broker, b"kept"));
}

#[test]
fn a_file_that_was_given_is_taken_back_after_an_hour() {
    let mut broker = broker();
    let link = broker.plugin("mail/a");
    let id = put(&mut broker, link, b"picture");
    get(&mut broker, link, &id).unwrap();
    broker.advance(HOUR_MS - 10_000);
    get(&mut broker, link, &id).unwrap();
    broker.advance(20_000);
    assert_eq!(broker.files.spool.len(), 1);
    broker.advance(HOUR_MS);
    assert_eq!(broker.files.spool.len(), 0);
}

#[test]
fn an_ephemeral_event_names_no_blobs() {
    let mut broker = broker();
    let link = broker.plugin("mail/a");
    let id = put(&mut broker, link, b"picture");
    let params =
        json!({ "topic": "plugin.inbound.mail.a", "event": naming(&id), "ephemeral": true });
    let code = broker.refusal(link, "broker.publish", &params);
    assert_eq!(code, "invalid_arguments");
}

#[test]
fn a_commit_names_blobs_too_and_a_refused_one_names_none() {
    let mut broker = broker();
    let a = broker.plugin("mail/a");
    let reader = broker.client("reader", &["read:plugin.inbound.mail.>", "blob"]);
    let id = put(&mut broker, a, b"picture");
    let event = json!({ "topic": "plugin.inbound.mail.a", "event": naming(&id) });
    let kv = json!({ "op": "put", "scope": "instance", "key": "k", "value": 1, "if_revision": 9 });
    let refused = json!({ "events": [event], "kv": [kv] });
    assert_eq!(
        broker.refusal(a, "broker.commit", &refused),
        "revision_conflict"
    );
    assert_eq!(get(&mut broker, reader, &id), Err("not_found".into()));
    broker
        .call(a, "broker.commit", &json!({ "events": [event] }))
        .unwrap();
    assert_eq!(get(&mut broker, reader, &id).unwrap(), b"picture");
}

/// A link from over the network.
fn remote(broker: &mut Broker, name: &str) -> LinkId {
    let near = broker.client(name, &["blob"]);
    broker.detach(near);
    let link = broker.attach(LinkKind::Remote);
    let params = json!({
        "role": "client", "token": format!("token of {name}"),
        "protocol": { "name": "trunkline", "min": "1.0", "max": "1.0" },
    });
    broker.call(link, "connect", &params).unwrap();
    link
}

#[test]
fn a_remote_peer_puts_and_gets_over_http_with_a_token_for_that_alone() {
    let mut broker = broker();
    let link = remote(&mut broker, "far");
    let put = broker
        .call(link, "blob.put", &json!({ "bytes": 7 }))
        .unwrap();
    assert!(put.get("path").is_none());
    let name = put["upload"].as_str().unwrap();
    let token = put["token"].as_str().unwrap();
    assert_eq!(put["url"], format!("/v1/blobs/uploads/{name}"));
    assert!(broker.core.blob_upload(name, "another").is_err());
    let access = broker.core.blob_upload_begin(name, token).unwrap();
    assert_eq!(access.bytes, 7);
    assert!(
        broker.core.blob_upload(name, token).is_err(),
        "one at a time"
    );
    let ask = finish(name, b"picture");
    assert_eq!(broker.refusal(link, "blob.finish", &ask), "unavailable");
    let path = std::path::PathBuf::from(&*access.dir).join(&*access.upload);
    broker.files.spool.insert(path, b"picture".to_vec());
    broker.core.blob_upload_end(name);
    let id = broker.call(link, "blob.finish", &ask).unwrap()["id"].clone();
    assert!(
        broker.core.blob_upload(name, token).is_err(),
        "it is used up"
    );

    let id = id.as_str().unwrap();
    let got = broker.call(link, "blob.get", &json!({ "id": id })).unwrap();
    assert_eq!(got["url"], format!("/v1/blobs/{id}"));
    let token = got["token"].as_str().unwrap();
    let hash = BlobHash::parse_id(id).unwrap();
    assert_eq!(broker.core.blob_read(hash, token).unwrap().bytes, 7);
    assert!(broker.core.blob_read(hash_of(b"other"), token).is_err());
    broker.advance(HOUR_MS + 1_000);
    assert!(broker.core.blob_read(hash, token).is_err());
}

#[test]
fn what_is_no_hash_or_no_media_type_is_refused() {
    let mut broker = broker();
    let link = broker.plugin("mail/a");
    for (method, params) in [
        ("blob.get", json!({ "id": "../../store.db" })),
        ("blob.stat", json!({ "id": "sha256:AB" })),
        ("blob.put", json!({ "bytes": 1, "sha256": "x" })),
        ("blob.put", json!({ "bytes": 1, "media_type": "a\nb" })),
        ("blob.put", json!({ "bytes": -1 })),
        ("blob.finish", json!({ "upload": "../x", "sha256": "x" })),
    ] {
        let code = broker.refusal(link, method, &params);
        assert_eq!(code, "invalid_arguments", "{method} {params}");
    }
}
