//! What tools there are: declared, registered, withdrawn, listed.

use serde_json::{Value, json};

use super::driver::Broker;
use super::tools::{one_call, refund, with};
use crate::core::LinkKind;
use crate::instance::InstanceKey;

/// Proves LN25 for tools: tools come and go while the plugin runs, and a name is nobody else's.
/// Proves P3c: tools come and go while the plugin runs, and a name that is taken is refused.
#[test]
fn tools_are_registered_and_withdrawn_at_run_time() {
    let (mut broker, plugin, caller) = with(refund());
    let tool = json!({ "name": "charge", "input_schema": { "type": "object" }, "kind": "command" });
    broker
        .call(plugin, "tool.register", &json!({ "tools": [tool] }))
        .unwrap();
    let names = |broker: &mut Broker| -> Vec<String> {
        let list = broker.call(caller, "tool.list", &json!({})).unwrap();
        let tools = list["tools"].as_array().unwrap().iter();
        tools
            .map(|tool| tool["name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names(&mut broker), ["pay.charge", "pay.refund"]);
    let asked = json!({ "call_id": "c", "tool": "pay.charge" });
    broker.request(caller, "tool.call", &asked);
    let (_, call) = one_call(&mut broker, plugin);
    assert_eq!(call["arguments"], json!({}));
    for (tools, expected) in [
        (
            json!([{ "name": "a" }, { "name": "a" }]),
            "declaration_conflict",
        ),
        (
            json!([{ "name": "refund", "idempotent": true }]),
            "declaration_conflict",
        ),
        (
            json!([{ "name": "refund", "input_schema": { "type": "object" } }]),
            "declaration_conflict",
        ),
        (json!([{ "name": "Bad" }]), "invalid_arguments"),
        (
            json!([{ "name": "a", "input_schema": { "$ref": "http://x/y" } }]),
            "invalid_arguments",
        ),
        (
            json!([{ "name": "a", "input_schema": { "type": 5 } }]),
            "invalid_arguments",
        ),
    ] {
        let asked = json!({ "tools": tools });
        assert_eq!(
            broker.refusal(plugin, "tool.register", &asked),
            expected,
            "{asked}"
        );
    }
    assert_eq!(
        names(&mut broker),
        ["pay.charge", "pay.refund"],
        "all or none"
    );
    broker
        .call(
            plugin,
            "tool.register",
            &json!({ "tools": [{ "name": "refund" }] }),
        )
        .unwrap();
    let gone = json!({ "names": ["refund"] });
    assert_eq!(
        broker.refusal(plugin, "tool.unregister", &gone),
        "declaration_conflict",
        "the manifest holds"
    );
    let gone = json!({ "names": ["charge", "never"] });
    broker.call(plugin, "tool.unregister", &gone).unwrap();
    assert_eq!(names(&mut broker), ["pay.refund"]);
    assert_eq!(
        broker.refusal(
            caller,
            "tool.call",
            &json!({ "call_id": "d", "tool": "pay.charge" })
        ),
        "tool_not_found"
    );
    assert_eq!(
        broker.refusal(caller, "tool.register", &json!({ "tools": [] })),
        "unauthorized"
    );
    let many: Vec<Value> = (0..256)
        .map(|n| json!({ "name": format!("t{n}") }))
        .collect();
    assert_eq!(
        broker.refusal(plugin, "tool.register", &json!({ "tools": many })),
        "quota_exceeded"
    );
}

#[test]
fn what_a_handshake_declares_stays_while_the_plugin_is_down() {
    let (mut broker, plugin, caller) = with(refund());
    broker.detach(plugin);
    let key = InstanceKey::parse("pay/a");
    let hello = |tools: Value| {
        json!({
            "manifest": { "plugin": { "id": "pay", "version": "1.2.3" } },
            "protocol": "trunkline/1.0", "declares": { "tools": tools },
        })
    };
    let tools = json!([{ "name": "refund" }, { "name": "charge", "description": "Takes money." }]);
    let link = broker.attach(LinkKind::Spawned(key.clone()));
    broker.reply_to(link, "initialize", &hello(tools));
    broker.detach(link);
    let list = broker.call(caller, "tool.list", &json!({})).unwrap();
    assert_eq!(list["tools"][0]["name"], "pay.charge");
    assert_eq!(list["tools"][0]["description"], "Takes money.");
    assert_eq!(list["tools"][0]["timeout_ms"], 60_000);
    assert_eq!(list["tools"][1]["instances"][0]["instance"], "a");
    let asked = json!({ "call_id": "c", "tool": "pay.charge" });
    assert_eq!(broker.refusal(caller, "tool.call", &asked), "unavailable");

    let link = broker.attach(LinkKind::Spawned(key.clone()));
    broker.reply_to(link, "initialize", &hello(json!([])));
    assert_eq!(
        broker.refusal(caller, "tool.call", &asked),
        "tool_not_found"
    );
    broker.detach(link);

    broker.signals.clear();
    let link = broker.attach(LinkKind::Spawned(key));
    let tools = json!([{ "name": "refund", "streaming": true }]);
    broker.reply_to(link, "initialize", &hello(tools));
    assert!(
        broker
            .signals
            .iter()
            .any(|(_, signal)| format!("{signal:?}").contains("DeclarationConflict")),
        "{:?}",
        broker.signals
    );
}

#[test]
fn the_list_has_pages_that_fit_a_frame() {
    let (mut broker, plugin, caller) = with(refund());
    let schema = json!({ "type": "object", "title": "x".repeat(60_000) });
    for page in 0..3 {
        let tools: Vec<Value> = (0..10)
            .map(|n| json!({ "name": format!("t{page}{n}"), "input_schema": schema }))
            .collect();
        broker
            .call(plugin, "tool.register", &json!({ "tools": tools }))
            .unwrap();
    }
    let (mut after, mut count, mut pages) = (None::<String>, 0, 0);
    loop {
        let mut asked = json!({ "prefix": "pay.t" });
        if let Some(after) = &after {
            asked["after"] = json!(after);
        }
        let list = broker.call(caller, "tool.list", &asked).unwrap();
        assert!(list.to_string().len() < 1 << 20);
        count += list["tools"].as_array().unwrap().len();
        pages += 1;
        match list["next"].as_str() {
            Some(next) => after = Some(next.to_owned()),
            None => break,
        }
    }
    assert_eq!((count, pages), (30, 2));
}
