use super::*;

const STAMP: Stamp<'_> = Stamp {
    id: "id-1",
    timestamp: "2026-01-02T03:04:05.006Z",
    topic: "agent.x",
    source: "client:app",
    metadata: &[],
};

#[test]
fn the_final_envelope_is_allocated_once_at_its_exact_size() {
    let raw = r#"{"source":"x","session_id":"a\"b","payload":[1],"metadata":{"k":1},"new":2}"#;
    let envelope = Draft::parse(raw).unwrap().envelope(&STAMP);
    assert_eq!(envelope.len(), envelope.capacity());
}

#[test]
fn a_final_envelope_reads_back_as_a_draft_and_as_an_event() {
    let raw = r#"{"source":"x","session_id":"a\"b\u0007","payload":{"n":12345678901234567890123},
        "expires_at":"2026-02-01T00:00:00Z","metadata":{"k":{"deep":[]}},"new":2}"#;
    let envelope = Draft::parse(raw).unwrap().envelope(&STAMP);
    let text = std::str::from_utf8(&envelope).unwrap();
    assert!(!text.contains('\n'));
    let again = Draft::parse(text).unwrap();
    assert_eq!(
        again.envelope(&STAMP),
        envelope,
        "stamping twice changes nothing"
    );
    let event = Event::from_slice(&envelope).unwrap();
    assert_eq!(event.session_id.as_deref(), Some("a\"b\u{7}"));
    assert_eq!(event.payload.get(), r#"{"n":12345678901234567890123}"#);
    assert_eq!(event.metadata["claimed_source"], "x");
    assert_eq!(event.session_key().as_deref(), Some("/a\"b\u{7}"));
}

#[test]
fn the_body_tells_topic_session_and_payload_apart() {
    let body = |topic: &str, raw: &str| Draft::parse(raw).unwrap().body(topic);
    let all = [
        body("a", r#"{"session_id":"bc","payload":1}"#),
        body("ab", r#"{"session_id":"c","payload":1}"#),
        body("a", r#"{"session_id":"b","payload":1}"#),
        body("a", r#"{"session_id":"","payload":1}"#),
        body("a", r#"{"payload":1}"#),
        body("a", r#"{"payload":2}"#),
        body("a", r#"{"payload":null,"session_id":"b"}"#),
    ];
    for (index, one) in all.iter().enumerate() {
        assert!(
            !all[index + 1..].contains(one),
            "body {index} is not unique"
        );
    }
}

#[test]
fn the_expiry_is_given_in_milliseconds() {
    let draft = Draft::parse(r#"{"expires_at":"1970-01-01T00:00:01.5Z"}"#).unwrap();
    assert_eq!(draft.expires_at_ms().unwrap(), Some(1500));
    assert_eq!(Draft::default().expires_at_ms().unwrap(), None);
    let wrong = Draft {
        expires_at: Some("soon".into()),
        ..Draft::default()
    };
    assert_eq!(
        wrong.expires_at_ms().unwrap_err().code,
        crate::Code::InvalidFrame
    );
}

#[test]
fn an_error_names_the_member_and_what_was_found() {
    let message = |raw: &str| Draft::parse(raw).unwrap_err().message;
    assert!(message(r#"{"session_id":42}"#).contains("`session_id`"));
    assert!(message(r#"{"id":"a","id":"b"}"#).contains("\"id\" twice"));
    assert!(message(r#"{"timestamp":"soon"}"#).contains("`timestamp`, found \"soon\""));
    assert!(message(r#"{"metadata":[]}"#).contains("`metadata`"));
}

#[test]
fn every_day_reads_back_as_itself() {
    let mut ms = -62_167_219_200_000_i64;
    while ms < 253_402_300_799_999 {
        assert_eq!(parse_rfc3339(&rfc3339(ms)), Some(ms));
        ms += 86_400_000 * 101 + 12_345_678;
    }
    assert_eq!(rfc3339(i64::MIN), "0000-01-01T00:00:00.000Z");
    assert_eq!(rfc3339(i64::MAX), "9999-12-31T23:59:59.999Z");
}
