//! Whatever speaks HTTP: signed requests come in, answers are posted back.

use std::fmt::Write as _;

use serde_json::json;
use sha2::{Digest, Sha256};
use trunkline_tests::harness::receiver::Receiver;
use trunkline_tests::http;

use super::site::Site;

const SHOP: &str = "the secret of the shop";
const CRM: &str = "the secret of the other one";

/// HMAC-SHA256 in hex, as RFC 2104 has it.
fn signed(secret: &str, body: &str) -> String {
    let pad = |byte: u8| {
        let mut key = [byte; 64];
        for (padded, byte) in key.iter_mut().zip(secret.bytes()) {
            *padded ^= byte;
        }
        key
    };
    let inner = Sha256::new()
        .chain_update(pad(0x36))
        .chain_update(body)
        .finalize();
    let outer = Sha256::new()
        .chain_update(pad(0x5c))
        .chain_update(inner)
        .finalize();
    outer.iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").unwrap();
        hex
    })
}

/// Proves X1 (live, webhook): the scaffold's two systems post and are answered under a real daemon, each with its own
/// secret and address, and stop cleanly. A wrong signature is refused, a repeat is taken once, and an answer that the
/// other side had no time for is posted again with the same key.
#[test]
fn signed_requests_come_in_once_and_answers_are_posted_back() {
    let receiver = Receiver::start();
    let account = |name: &str| {
        format!(
            "secret_env = {name:?}\nreply_url = \"{}/{name}\"\n",
            receiver.url()
        )
    };
    let accounts = [("shop", account("shop")), ("crm", account("crm"))];
    let mut site = Site::start("webhook", &accounts, &[("shop", SHOP), ("crm", CRM)]);
    let address = http::address(&site.setup.data).unwrap();
    let post = |instance: &str, secret: &str, id: &str, text: &str| {
        let body = json!({ "conversation": "order-17", "sender": "ada", "text": text }).to_string();
        let signature = signed(secret, &body);
        let headers = [
            ("content-type", "application/json"),
            ("x-request-id", id),
            ("x-signature", signature.as_str()),
        ];
        let path = format!("/hooks/webhook/{instance}");
        http::send(&address, "POST", &path, &headers, &body)
            .unwrap()
            .status
    };
    assert_eq!(post("shop", CRM, "r1", "forged"), 401);
    for _ in 0..2 {
        let status = post("shop", SHOP, "r1", "where is it?");
        assert!((200..300).contains(&status), "{status}");
    }
    let came = site.expect_inbound("shop", "where is it?");
    receiver.refuse(503);
    let id = site.send(None, came.session.as_deref(), "order-17", "on its way");
    site.expect_receipt("shop", &id, "sent");
    let answers = receiver.came("/shop", 2);
    assert_eq!(
        answers[1].body,
        json!({ "conversation": "order-17", "text": "on its way" })
    );
    let keys = [&answers[0], &answers[1]].map(|answer| answer.headers["idempotency-key"].clone());
    assert_eq!(keys[0], keys[1]);

    assert!((200..300).contains(&post("crm", CRM, "r1", "from the other")));
    let came = site.expect_inbound("crm", "from the other");
    let id = site.send(None, came.session.as_deref(), "order-17", "to the other");
    site.expect_receipt("crm", &id, "sent");
    assert_eq!(receiver.came("/crm", 1)[0].body["text"], "to the other");
    assert_eq!(site.inbound("shop"), ["where is it?"]);
    assert_eq!(site.inbound("crm"), ["from the other"]);
    assert_eq!(receiver.came("/shop", 2).len(), 2);
    site.stop();
}
