//! What a reader keeps and refuses.

use super::{InboundMessage, OutboundMessage, Part, Receipt, ReceiptState};

#[test]
fn unknown_members_and_parts_are_kept_byte_for_byte() {
    let text = r#"{"text":"hi","parts":[{"type":"hologram","spin":123456789012345678901234567890},{"type":"image","blob":"sha256:ab"}],"conversation":{"id":"42","kind":"group","x":1e400},"referrer":{"b":1,"a":2},"mood":  {"deep":[9007199254740993]}}"#;
    let message: InboundMessage = serde_json::from_str(text).unwrap();
    assert_eq!(message.parts.as_ref().unwrap()[0].kind, "hologram");
    assert_eq!(
        message.extra.0["mood"].get(),
        r#"{"deep":[9007199254740993]}"#
    );
    let again = serde_json::to_string(&message).unwrap();
    assert_eq!(again, text.replace(":  {", ":{"));
    assert_eq!(
        serde_json::from_str::<InboundMessage>(&again).unwrap(),
        message
    );
}

#[test]
fn null_members_read_as_absent_and_are_not_written() {
    let message: OutboundMessage =
        serde_json::from_str(r#"{"text":null,"parts":null,"reply_to":"7"}"#).unwrap();
    assert_eq!(
        serde_json::to_string(&message).unwrap(),
        r#"{"reply_to":"7"}"#
    );
}

#[test]
fn a_required_member_that_is_missing_is_named() {
    let error = serde_json::from_str::<Part>(r#"{"text":"x"}"#)
        .unwrap_err()
        .to_string();
    assert!(error.contains("missing field `type`"), "{error}");
    assert!(serde_json::from_str::<Receipt>("{}").is_err());
    assert!(serde_json::from_str::<Receipt>("[]").is_err());
}

#[test]
fn a_state_that_is_not_known_is_kept() {
    let receipt: Receipt = serde_json::from_str(r#"{"state":"bounced"}"#).unwrap();
    assert_eq!(receipt.state, ReceiptState::Other("bounced".to_owned()));
    assert_eq!(
        serde_json::to_string(&receipt).unwrap(),
        r#"{"state":"bounced"}"#
    );
    let sent = serde_json::to_string(&Receipt::new(ReceiptState::Sent)).unwrap();
    assert_eq!(sent, r#"{"state":"sent"}"#);
}

#[test]
fn a_payload_reads_from_a_value_too() {
    let value = serde_json::json!({"text": "hi", "odd": [1, {"two": 2}]});
    let message: InboundMessage = serde_json::from_value(value.clone()).unwrap();
    assert_eq!(serde_json::to_value(&message).unwrap(), value);
}

#[test]
fn schemas_use_the_wire_names_and_allow_unknown_members() {
    let schema = serde_json::to_value(schemars::schema_for!(InboundMessage)).unwrap();
    let part = &schema["$defs"]["Part"];
    assert_eq!(part["required"], serde_json::json!(["type"]));
    assert!(part["properties"].get("extra").is_none());
    assert_ne!(schema["additionalProperties"], serde_json::json!(false));
}

/// Proves LN28, model: each kind of content has a type, and is written as it was read.
#[test]
fn every_kind_of_content_is_typed() {
    let poll = r#"{"type":"poll","poll":{"question":"When?","options":[{"text":"now","id":"a"},{"text":"later"}],"multiple":true,"closes_at":"2026-01-01T00:00:00Z"}}"#;
    let card = r#"{"type":"card","card":{"title":"T","text":"x","actions":[{"id":"ok","label":"OK","value":"1"},{"id":"pick","label":"P","options":[{"text":"A","id":"a"}]}]}}"#;
    let forward = r#"{"type":"forward","text":"hi","user":{"id":"u"},"message_id":"m0","conversation":{"id":"c0"}}"#;
    let text = format!(r#"{{"parts":[{poll},{card},{forward}]}}"#);
    let message: OutboundMessage = serde_json::from_str(&text).unwrap();
    assert_eq!(serde_json::to_string(&message).unwrap(), text);
    let parts = message.parts.unwrap();
    assert_eq!(parts[0].poll.as_ref().unwrap().options[1].text, "later");
    let card = parts[1].card.as_ref().unwrap();
    assert_eq!(card.actions.as_ref().unwrap()[0].id, "ok");
    assert_eq!(parts[2].conversation.as_ref().unwrap().id, "c0");
    for text in [
        r#"{"ui_action":{"id":"ok","target":"m1","value":["a","b"]}}"#,
        r#"{"typing":true}"#,
        r#"{"reaction":{"target":"m1","key":"+","op":"remove"}}"#,
    ] {
        let message: InboundMessage = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&message).unwrap(), text);
        assert!(message.extra.0.is_empty(), "{text}");
    }
    // A poll without answers to choose from is none.
    assert!(serde_json::from_str::<Part>(r#"{"type":"poll","poll":{"question":"?"}}"#).is_err());
}
