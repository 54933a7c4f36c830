//! A plugin that was started by hand, in place of a process that the operator switched off.

use serde_json::json;

use super::driver::Broker;
use super::switch::{ack, hello, numbers, publish, taken};
use crate::core::LinkKind;

/// Proves X3: an instance that is off is served once somebody attaches it by hand, until it is switched off again.
#[test]
fn what_is_off_is_served_when_it_is_attached_by_hand() {
    let mut broker = Broker::new();
    let app = broker.admin();
    let key = broker.configure("mail/a");
    broker
        .core
        .switch(std::slice::from_ref(&key), true, app, None);
    broker.run();

    let link = broker.attach(LinkKind::Attached);
    let params = json!({
        "role": "plugin", "token": "token of operator", "instance": "a",
        "manifest": { "plugin": { "id": "mail", "version": "1.2.3" } },
        "protocol": { "name": "trunkline", "min": "1.0", "max": "1.0" },
    });
    broker.call(link, "connect", &params).unwrap();
    broker.reply_to(link, "initialize", &hello("mail"));
    broker.reply_to(link, "instance.activate", &json!({}));
    let ready = json!({ "state": "ready" });
    broker.call(link, "instance.status", &ready).unwrap();
    publish(&mut broker, app, 1);
    let first = taken(&mut broker, link);
    assert_eq!(numbers(&first), [1]);
    ack(&mut broker, link, &first[0].1);

    broker
        .core
        .switch(std::slice::from_ref(&key), true, app, None);
    broker.run();
    broker.call(link, "instance.status", &ready).unwrap();
    publish(&mut broker, app, 2);
    assert!(taken(&mut broker, link).is_empty(), "it is off again");

    broker.core.switch(&[key], false, app, None);
    broker.run();
    broker.call(link, "instance.status", &ready).unwrap();
    assert_eq!(numbers(&taken(&mut broker, link)), [2]);
}
