use super::*;

fn structured(value: Value) -> Result<CloudEvent, Error> {
    CloudEvent::from_structured(value.to_string().as_bytes())
}

fn minimal() -> Value {
    json!({"specversion": "1.0", "id": "a", "source": "/x", "type": "agent.done"})
}

fn with(name: &str, value: Value) -> Value {
    let mut event = minimal();
    event[name] = value;
    event
}

#[test]
fn what_comes_in_goes_out_the_same() {
    let event = structured(json!({
        "specversion": "1.0", "id": "a", "source": "/plugin/telegram/support", "subject": "42",
        "type": "plugin.inbound.telegram", "trunklinetopic": "plugin.inbound.telegram.support",
        "time": "2026-01-02T03:04:05Z", "correlationid": "c", "causationid": "s|p",
        "traceparent": "00-1-2-01", "expirytime": "2026-01-03T00:00:00Z",
        "partitionkey": "p", "sampledrate": 30, "comexample": true,
        "data": {"text": "hi", "n": 1}
    }))
    .unwrap();
    let publish = event.to_publish().unwrap();
    assert_eq!(publish.topic, "plugin.inbound.telegram.support");
    let mut envelope: Value = serde_json::from_str(publish.event.get()).unwrap();
    assert_eq!(envelope["session_id"], "42");
    assert_eq!(envelope["payload"], json!({"text": "hi", "n": 1}));
    assert_eq!(envelope["metadata"]["cloudevents"]["sampledrate"], 30);
    envelope["topic"] = publish.topic.into();
    envelope["source"] = "telegram/support".into();
    let stored = Event::from_slice(envelope.to_string().as_bytes()).unwrap();
    let back = CloudEvent::of(&stored, None);
    let written: Value = serde_json::from_slice(&back.to_structured()).unwrap();
    let mut read: Value = serde_json::from_slice(&event.to_structured()).unwrap();
    read["datacontenttype"] = JSON.into();
    assert_eq!(written, read);
}

#[test]
fn bytes_survive() {
    let event = structured(json!({
        "specversion": "1.0", "id": "a", "source": "/x", "type": "agent.done",
        "datacontenttype": "image/png", "data_base64": "AP8="
    }))
    .unwrap();
    let mut envelope: Value =
        serde_json::from_str(event.to_publish().unwrap().event.get()).unwrap();
    assert_eq!(envelope["payload"], "AP8=");
    envelope["topic"] = "agent.done".into();
    envelope["timestamp"] = "2026-01-02T03:04:05Z".into();
    let stored = Event::from_slice(envelope.to_string().as_bytes()).unwrap();
    let (headers, media_type, body) = CloudEvent::of(&stored, Some(7)).to_binary();
    assert_eq!((media_type.as_str(), body), ("image/png", vec![0, 255]));
    assert!(headers.contains(&("ce-sequence".into(), "00000000000000000007".into())));
}

#[test]
fn a_text_under_json_stays_a_text_and_big_numbers_stay() {
    let text = r#"{"specversion":"1.0","id":"a","source":"/x","type":"agent.done",
        "datacontenttype":"application/json","data":"{\"not\":\"parsed\"}"}"#;
    let event = CloudEvent::from_structured(text.as_bytes()).unwrap();
    let publish = event.to_publish().unwrap();
    let envelope: Value = serde_json::from_str(publish.event.get()).unwrap();
    assert_eq!(envelope["payload"], "{\"not\":\"parsed\"}");
    let text = text.replace(
        r#""{\"not\":\"parsed\"}""#,
        "123456789012345678901234567890",
    );
    let event = CloudEvent::from_structured(text.as_bytes()).unwrap();
    let publish = event.to_publish().unwrap();
    assert!(
        publish
            .event
            .get()
            .contains("123456789012345678901234567890")
    );
}

#[test]
fn what_is_no_event_is_refused() {
    for wrong in [
        json!({}),
        json!([]),
        with("specversion", json!("0.3")),
        with("id", json!("")),
        with("id", Value::Null),
        with("source", json!(1)),
        with("Upper", json!("x")),
        with("with_underscore", json!("x")),
        with("nested", json!({"a": 1})),
        with("list", json!([1])),
        with("big", json!(4_294_967_296_u64)),
        with("part", json!(1.5)),
        with("control", json!("a\u{7}b")),
        with("data_base64", json!("not base64!")),
    ] {
        assert!(structured(wrong.clone()).is_err(), "{wrong}");
    }
    let both = json!({"specversion": "1.0", "id": "a", "source": "/x", "type": "t",
        "data": 1, "data_base64": "AA=="});
    assert!(structured(both).is_err());
    let twice = r#"{"specversion":"1.0","id":"a","id":"b","source":"/x","type":"t"}"#;
    assert!(CloudEvent::from_structured(twice.as_bytes()).is_err());
    assert!(structured(with("absent", Value::Null)).is_ok());
}

#[test]
fn the_type_has_to_be_a_topic() {
    let event = structured(with("type", json!("com.example/thing"))).unwrap();
    assert_eq!(event.to_publish().unwrap_err().code, Code::InvalidTopic);
}

#[test]
fn headers_are_percent_encoded_both_ways() {
    for (text, header) in [
        ("plain", "plain"),
        ("a b", "a%20b"),
        ("100%", "100%25"),
        ("say \"hi\"", "say%20%22hi%22"),
        ("€", "%E2%82%AC"),
        ("😀", "%F0%9F%98%80"),
    ] {
        assert_eq!(encode_header(text), header);
        assert_eq!(decode_header(header.as_bytes()).as_deref(), Some(text));
    }
    assert_eq!(
        decode_header(b"\"a \\\"b\\\" c\"").as_deref(),
        Some("a \"b\" c")
    );
    assert_eq!(decode_header(b"100%").as_deref(), Some("100%"));
    assert_eq!(decode_header(b"%C0%A0"), None, "overlong");
    assert_eq!(decode_header(b"%ED%A0%80"), None, "a lone surrogate");
    assert_eq!(decode_header(b"%FF"), None);
}

#[test]
fn binary_mode_takes_attributes_from_headers() {
    let headers: [(&str, &[u8]); 6] = [
        ("ce-specversion", b"1.0"),
        ("Ce-Id", b"a"),
        ("ce-source", b"/x"),
        ("ce-type", b"agent.done"),
        ("ce-subject", b"K%C3%B6ln"),
        ("host", b"localhost"),
    ];
    let read = |body: &[u8], media| CloudEvent::from_binary(headers, media, body);
    let event = read(b"{\"a\":1}", Some("application/json; charset=utf-8")).unwrap();
    assert_eq!(event.attribute("subject").as_deref(), Some("K\u{f6}ln"));
    assert!(matches!(event.data(), Data::Json(_)));
    assert!(matches!(
        read(b"\x00", Some("image/png")).unwrap().data(),
        Data::Bytes(_)
    ));
    assert!(matches!(read(b"", None).unwrap().data(), Data::None));
    assert!(read(b"{", Some("application/json")).is_err());
    let more = headers
        .into_iter()
        .chain([("ce-datacontenttype", &b"x"[..])]);
    assert!(CloudEvent::from_binary(more, None, b"").is_err());
}

#[test]
fn a_batch_names_the_event_that_is_wrong() {
    let all = json!([minimal(), with("id", json!(""))]).to_string();
    let error = CloudEvent::from_batch(all.as_bytes()).unwrap_err();
    assert_eq!(error.index, Some(1));
    assert_eq!(CloudEvent::from_batch(b"[]").unwrap().len(), 0);
}

#[test]
fn sources_are_addresses() {
    for (from, to) in [
        ("telegram/support", "/plugin/telegram/support"),
        ("client:agent", "/client/agent"),
        ("hook:sms/main", "/hook/sms/main"),
        ("broker", "/broker/broker"),
    ] {
        assert_eq!(source(from), to);
    }
}

#[test]
fn a_whole_number_may_be_written_with_a_point() {
    let event = structured(with("sampledrate", json!(30.0))).unwrap();
    assert_eq!(event.attribute("sampledrate").unwrap(), "30");
    for wrong in [json!(30.5), json!(1e10), json!(2_147_483_648_u64)] {
        let error = structured(with("sampledrate", wrong)).unwrap_err();
        assert!(error.message.contains("32 bits"), "{error}");
    }
}
