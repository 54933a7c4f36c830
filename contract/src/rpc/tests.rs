use serde_json::json;

use super::*;
use crate::{Code, Error};

fn line(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn every_code_survives_the_wire() {
    for code in Code::ALL.iter().copied() {
        assert_eq!(Code::parse(code.as_str()), Some(code));
        let error = Error::new(code, "text")
            .at(3)
            .retry_after(5)
            .detail(json!({"a": 1}));
        let text = line(|out| write_error(out, None, &error));
        let Message::Response { id, result } = parse(text.trim_end().as_bytes()).unwrap() else {
            panic!("an error is a response");
        };
        assert_eq!(id.get(), "null");
        assert_eq!(Error::from_rpc(&result.unwrap_err()), error);
    }
}

#[test]
fn codes_and_numbers_are_unique() {
    for (index, code) in Code::ALL.iter().enumerate() {
        for other in &Code::ALL[index + 1..] {
            assert_ne!(code.as_str(), other.as_str());
            assert_ne!(code.rpc_code(), other.rpc_code(), "{code} and {other}");
        }
        assert!((400..600).contains(&code.http_status()), "{code}");
        assert!((64..=78).contains(&code.exit_code()), "{code}");
    }
}

#[test]
fn a_number_without_data_still_names_a_code() {
    let code = |number| {
        let error = RpcError {
            code: number,
            message: String::new(),
            data: None,
        };
        Error::from_rpc(&error).code
    };
    assert_eq!(code(-32700), Code::InvalidFrame);
    assert_eq!(code(-32600), Code::InvalidFrame);
    assert_eq!(code(-32601), Code::NotImplemented);
    assert_eq!(code(-32602), Code::InvalidArguments);
    assert_eq!(code(1), Code::Internal);
}

/// Proves W7, contract part: the answer to an unreadable frame has `id: null` and the right number.
#[test]
fn a_fault_is_answered_with_its_number_and_a_null_id() {
    for (frame, number) in [
        (&b"{oops"[..], "-32700"),
        (b"5", "-32600"),
        (b"[1]", "-32600"),
    ] {
        let fault = parse(frame).unwrap_err();
        let text = line(|out| write_rpc_error(out, None, &fault.to_rpc()));
        let start = format!(r#"{{"jsonrpc":"2.0","id":null,"error":{{"code":{number},"#);
        assert!(text.starts_with(&start), "{text}");
        assert!(text.contains(r#""code":"invalid_frame""#), "{text}");
    }
}

#[test]
fn a_raw_value_with_line_breaks_is_written_on_one_line() {
    let pretty: Box<serde_json::value::RawValue> =
        serde_json::from_str("{\n  \"a\": [1,\r\n2]\n}").unwrap();
    let text = line(|out| write_notification(out, "x", &pretty));
    assert_eq!(text.matches('\n').count(), 1);
    assert!(text.ends_with("}\n"));
    assert!(parse(text.trim_end().as_bytes()).is_ok());
}

#[test]
fn several_messages_can_be_written_into_one_buffer() {
    let text = line(|out| {
        write_request(out, 1, "ping", &Empty {});
        write_notification(out, "log", &json!({"message": "a\nb"}));
    });
    assert_eq!(text.lines().count(), 2);
    for frame in text.lines() {
        parse(frame.as_bytes()).unwrap();
    }
}

#[test]
fn a_commit_is_read_without_touching_its_payloads() {
    let text = r#"{"events":[{"topic":"agent.x","event":{"payload":123456789012345678901}}],
        "kv":[{"op":"put","scope":"instance","key":"k","value":null},
              {"op":"delete","scope":"session","session":"a.b/1","key":"k","if_revision":7}],
        "ack":["d1","d\u0032"],"nak":[{"delivery":"d3","counted":false}],"reject":null,
        "if_lock":{"name":"poll","token":4},"new":true}"#;
    let commit: CommitParamsRef<'_> = serde_json::from_str(text).unwrap();
    assert_eq!(commit.operations(), 6);
    assert_eq!(
        commit.events[0].event.get(),
        r#"{"payload":123456789012345678901}"#
    );
    assert!(matches!(
        commit.events[0].topic,
        std::borrow::Cow::Borrowed("agent.x")
    ));
    assert_eq!(commit.ack, ["d1", "d2"]);
    assert_eq!(commit.kv[0].value.as_ref().unwrap().get(), "null");
    assert!(commit.kv[1].value.is_none());
    assert!(!commit.nak[0].counted);
    let owned: CommitParams = serde_json::from_str(text).unwrap();
    let (one, two) = (
        serde_json::to_string(&commit),
        serde_json::to_string(&owned),
    );
    assert_eq!(one.unwrap(), two.unwrap());
}

#[test]
fn a_flood_of_unknown_keys_is_read_in_time_and_still_without_duplicates() {
    let flood = (0..100_000)
        .map(|n| format!(",\"k{n}\":0"))
        .collect::<Vec<_>>()
        .concat();
    let frame = format!(r#"{{"jsonrpc":"2.0","method":"x"{flood}}}"#);
    assert!(parse(frame.as_bytes()).is_ok());
    let twice = format!(r#"{{"jsonrpc":"2.0","method":"x"{flood},"k99999":0}}"#);
    assert_eq!(parse(twice.as_bytes()).unwrap_err().code, -32600);
    let event = format!(r#"{{"id":"a"{flood}}}"#);
    assert!(crate::envelope::Draft::parse(&event).is_ok());
    let twice = format!(r#"{{"id":"a"{flood},"k17":0}}"#);
    assert!(crate::envelope::Draft::parse(&twice).is_err());
}

#[test]
fn a_start_has_its_four_forms() {
    for (start, text) in [
        (Start::New, r#""new""#),
        (Start::Earliest, r#""earliest""#),
        (Start::Seq(7), r#"{"seq":7}"#),
        (Start::Time("t".into()), r#"{"time":"t"}"#),
    ] {
        assert_eq!(serde_json::to_string(&start).unwrap(), text);
        assert_eq!(serde_json::from_str::<Start>(text).unwrap(), start);
    }
}

#[test]
fn parameters_by_position_and_of_wrong_types_are_invalid_arguments() {
    let frame = br#"{"jsonrpc":"2.0","id":1,"method":"broker.ack","params":[["d1"]]}"#;
    let Message::Request { params: raw, .. } = parse(frame).unwrap() else {
        panic!("a request")
    };
    assert_eq!(
        params::<AckParams>(raw).unwrap_err().code,
        Code::InvalidArguments
    );
    assert_eq!(
        params::<AckParams>(None).unwrap_err().code,
        Code::InvalidArguments
    );
    let twice: Result<AckParams, _> = serde_json::from_str(r#"{"deliveries":[],"deliveries":[]}"#);
    assert!(
        twice.is_err(),
        "duplicate keys are refused in parameters too"
    );
}

#[test]
fn defaults_fill_what_a_subscription_leaves_out() {
    let subscribe: SubscribeParams =
        serde_json::from_str(r#"{"name":"main","filters":["agent.>"],"start":null}"#).unwrap();
    assert_eq!(subscribe.start, Start::New);
    assert_eq!(subscribe.credit, Credit::default());
    let nak: NakParams = serde_json::from_str(r#"{"deliveries":["d"]}"#).unwrap();
    assert!(nak.counted);
    let wrong = serde_json::from_str::<SubscribeParams>(r#"{"name":"main","filters":["a..b"]}"#);
    assert!(wrong.unwrap_err().to_string().contains("segment 2"));
}

#[test]
fn secrets_never_show_in_debug_output() {
    let params: InitializeParams = serde_json::from_value(json!({
        "protocol": {"name": "trunkline", "min": "1.0", "max": "1.0"},
        "host": {"name": "trunkline", "version": "0.1.0"},
        "plugin": "telegram", "instance": "main",
        "secrets": {"bot_token": "hush"}, "limits": {"frame_bytes_max": 1}
    }))
    .unwrap();
    let text = format!("{params:?}");
    assert!(
        text.contains("bot_token") && !text.contains("hush"),
        "{text}"
    );
    let connect: ConnectParams = serde_json::from_value(json!({
        "role": "client", "token": "hush", "protocol": {"name": "trunkline", "min": "1.0", "max": "1.0"}
    }))
    .unwrap();
    assert!(!format!("{connect:?}").contains("hush"));
}

/// Proves LN1: a disjoint range is refused with a coded error that names both; a newer minor works.
#[test]
fn protocol_ranges_agree_on_the_highest_common_version() {
    let range = |min: &str, max: &str| ProtocolRange {
        name: "trunkline".into(),
        min: min.into(),
        max: max.into(),
    };
    assert_eq!(
        range("1.0", "1.4").agree(&range("1.2", "1.10")).unwrap(),
        "trunkline/1.4"
    );
    assert_eq!(
        range("1.2", "1.10").agree(&range("1.0", "1.9")).unwrap(),
        "trunkline/1.9"
    );
    let error = ProtocolRange::ours()
        .agree(&range("2.0", "2.3"))
        .unwrap_err();
    assert_eq!(error.code, Code::ProtocolMismatch);
    assert!(error.message.contains("1.0 to 1.0") && error.message.contains("2.0 to 2.3"));
    assert!(ProtocolRange::ours().agree(&range("x", "1.0")).is_err());
    assert!(!ProtocolRange::ours().includes("nexo/1.0"));
}

#[test]
fn every_method_is_listed_once() {
    for (index, name) in method::ALL.iter().enumerate() {
        assert!(!method::ALL[index + 1..].contains(name), "{name} twice");
    }
    assert!(method::is_reserved(method::INTERCEPT) && !method::is_reserved(method::KV_GET));
}

#[test]
fn every_limit_has_its_default_within_its_range() {
    for limit in crate::limits::LIMITS {
        assert!(
            limit.min <= limit.default && limit.default <= limit.max,
            "{}",
            limit.name
        );
        assert!(
            !limit.at_limit.is_empty() && !limit.unit.is_empty(),
            "{}",
            limit.name
        );
    }
}
