//! A batch of messages as one JSON text, for languages whose JSON reader is their fastest way in.
//!
//! | message | form |
//! |---|---|
//! | event | `[0, ticket, handler, topic, envelope, attempt, redelivered, subscription, timeout_ms, instance]`; 1 when wide: the envelope is a tagged text |
//! | invoke | `[2, ticket, target, hook or number, argument, plugin]` |
//! | cancel | `[3, ticket]` |
//! | reply | `[4, op, value]`, `[5, op, error]`, `[6, op, tagged value]` |
//! | log | `[7, level, target, message, fields]` |

use std::fmt::Write;

use serde_json::{Value as Json, json};
use trunkline_contract::error::Error;
use trunkline_contract::frame::scan;

use super::exact::tag;
use super::queue::{EventMsg, HostMsg, Invoked};
use crate::payload::Bytes;

/// Writes messages as an array of arrays. A [`HostMsg::Beat`] is left out.
pub fn write_batch(messages: &[HostMsg]) -> String {
    let mut out = String::with_capacity(messages.len() * 512 + 2);
    out.push('[');
    for message in messages {
        let before = out.len();
        write_message(&mut out, message);
        if out.len() > before {
            out.push(',');
        }
    }
    if out.ends_with(',') {
        out.pop();
    }
    out.push(']');
    out
}

fn write_message(out: &mut String, message: &HostMsg) {
    // Writing to a text does not fail.
    let written = match message {
        HostMsg::Event(event) => {
            write_event(out, event);
            Ok(())
        }
        HostMsg::Invoke {
            ticket,
            function,
            target,
            plugin,
            arg,
        } => {
            let function = match function {
                Invoked::Hook(hook) => format!("\"{hook}\""),
                Invoked::Function(n) => n.to_string(),
            };
            let arg = arg.as_str();
            write!(out, "[2,{ticket},{target},{function},{arg},{plugin}]")
        }
        HostMsg::Cancel { ticket } => write!(out, "[3,{ticket}]"),
        HostMsg::Reply { op, result } => match result {
            Ok(value) if is_wide(value) => {
                write!(out, "[6,{op},{}]", text(&tag(value.as_str())))
            }
            Ok(value) => write!(out, "[4,{op},{}]", value.as_str()),
            Err(error) => write!(out, "[5,{op},{}]", error_of(error)),
        },
        HostMsg::Log {
            level,
            target,
            message,
            fields,
        } => write!(
            out,
            "[7,\"{level}\",{},{},{}]",
            text(target),
            text(message),
            fields.as_str()
        ),
        HostMsg::Beat => Ok(()),
    };
    debug_assert!(written.is_ok(), "a text takes everything");
}

fn is_wide(value: &Bytes) -> bool {
    scan(value).is_ok_and(|facts| facts.has_big_integer)
}

fn text(text: &str) -> Json {
    Json::String(text.to_owned())
}

/// The error as every language shows it.
pub(super) fn error_of(error: &Error) -> Json {
    json!({
        "code": error.code.as_str(),
        "message": error.message,
        "retryable": error.retryable(),
        "retry_after_ms": error.retry_after_ms,
        "detail": error.detail,
    })
}

fn write_event(out: &mut String, event: &EventMsg) {
    let ctx = &event.ctx;
    let kind = u8::from(event.is_wide);
    let head = write!(out, "[{kind},{},{},", event.ticket, event.handler);
    push_text(out, ctx.topic());
    out.push(',');
    if event.is_wide {
        push_text(out, &tag(ctx.raw()));
    } else {
        out.push_str(ctx.raw());
    }
    let timeout_ms = ctx.remaining().as_millis();
    let tail = match ctx.delivery() {
        Some(delivery) => {
            let written = write!(
                out,
                ",{},{},",
                delivery.attempt,
                u8::from(delivery.redelivered)
            );
            push_text(out, &delivery.subscription);
            written
        }
        None => write!(out, ",0,0,null"),
    };
    let end = write!(out, ",{timeout_ms},{}]", event.instance);
    debug_assert!(
        head.is_ok() && tail.is_ok() && end.is_ok(),
        "a text takes everything"
    );
}

/// Writes a JSON string; what needs no escapes is copied.
fn push_text(out: &mut String, value: &str) {
    let is_plain = value
        .bytes()
        .all(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\');
    if is_plain {
        out.push('"');
        out.push_str(value);
        out.push('"');
    } else {
        out.push_str(&text(value).to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trunkline_contract::error::Code;

    #[test]
    fn a_batch_is_one_json_text() {
        let error = Error::new(Code::StorageFull, "full\n").retry_after(7);
        let batch = write_batch(&[
            HostMsg::Beat,
            HostMsg::Cancel { ticket: 4 },
            HostMsg::Reply {
                op: 5,
                result: Bytes::from_json(r#"{"seq":1}"#),
            },
            HostMsg::Reply {
                op: 6,
                result: Err(error),
            },
            HostMsg::Reply {
                op: 7,
                result: Bytes::from_json("[9007199254740993]"),
            },
            HostMsg::Invoke {
                ticket: 8,
                function: Invoked::Hook("on_stop"),
                target: 9,
                plugin: 10,
                arg: Bytes::encode("bye").expect("a text"),
            },
        ]);
        let read: Json = serde_json::from_str(&batch).expect("it is JSON");
        assert_eq!(read[0], json!([3, 4]));
        assert_eq!(read[1], json!([4, 5, { "seq": 1 }]));
        assert_eq!(read[2][2]["code"], "storage_full");
        assert_eq!(read[2][2]["retry_after_ms"], 7);
        assert_eq!(read[3], json!([6, 7, "[\"\\u0000n9007199254740993\"]"]));
        assert_eq!(read[4], json!([2, 8, 9, "on_stop", "bye", 10]));
        assert_eq!(write_batch(&[]), "[]");
    }
}
