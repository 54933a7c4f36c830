//! From an outbound message to lines, and from the server's answer to the settlement.

use std::time::Duration;

use tokio::sync::oneshot;
use trunkline::{Context, Event, Failure, OutboundMessage, Receipt, Reject, Result, Retry};

use crate::account::Account;
use crate::config::is_target;
use crate::connection::Outgoing;

/// How long a message may wait for the connection and the server before it is given back.
const SEND_LIMIT: Duration = Duration::from_secs(45);
/// When a message that was given back may come again.
const AGAIN: Duration = Duration::from_millis(500);

/// Sends a message, and returns once the server has taken it.
pub(crate) async fn send(
    account: &Account,
    event: Event<OutboundMessage>,
    ctx: Context,
) -> Result<Receipt> {
    let Some(text) = text_of(&event.payload) else {
        return Err(Reject::new("there is no text to show")
            .code("unsupported")
            .into());
    };
    let conversation = event.payload.conversation.as_ref();
    let target = conversation.map(|conversation| conversation.id.as_str());
    let Some(target) = target.or(event.session_id.as_deref()) else {
        return Err(Reject::new("there is no conversation to say it in")
            .code("no_target")
            .into());
    };
    if !is_target(target) {
        let text = format!("expected a channel or a nickname, found {target:?}");
        return Err(Reject::new(text).code("no_target").into());
    }
    let (done, taken) = oneshot::channel();
    let delivery = ctx.delivery();
    let outgoing = Outgoing {
        id: event.id.clone(),
        attempt: delivery.map_or(1, |delivery| delivery.attempt),
        is_redelivery: delivery.is_some_and(|delivery| delivery.redelivered),
        target: target.to_owned(),
        text,
        done,
    };
    let queue = account
        .outgoing()
        .ok_or_else(|| again("the instance is not started"))?;
    let sending = async {
        queue
            .send(outgoing)
            .await
            .map_err(|_| again("the instance stops"))?;
        taken
            .await
            .map_err(|_| again("the connection ended before the server took it"))
    };
    let verdict = tokio::select! {
        verdict = tokio::time::timeout(SEND_LIMIT, sending) => {
            verdict.map_err(|_| again("there is no connection"))??
        }
        () = ctx.cancelled() => return Err(again("the instance stops").into()),
    };
    match verdict {
        Ok(()) => Ok(Receipt::sent()),
        Err(why) => Err(Failure::new(format!("the server refused it: {why}"))),
    }
}

/// Gives the delivery back: it may have been sent, nobody knows, and that is no failure.
fn again(why: &str) -> Retry {
    Retry::after(AGAIN).because(why).uncounted()
}

/// The text of a message, of its parts where it has none.
fn text_of(message: &OutboundMessage) -> Option<String> {
    let has_text = |text: &&String| !text.trim().is_empty();
    let own = message.text.as_ref().filter(has_text);
    if let Some(text) = own.or(message.alt_text.as_ref().filter(has_text)) {
        return Some(text.clone());
    }
    let parts = message.parts.iter().flatten();
    let shown: Vec<_> = parts
        .filter_map(|part| {
            part.text
                .as_ref()
                .or(part.url.as_ref())
                .or(part.alt_text.as_ref())
        })
        .filter(has_text)
        .map(String::as_str)
        .collect();
    (!shown.is_empty()).then(|| shown.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_without_text_is_said_by_what_it_has() {
        let message = |json: &str| trunkline::Bytes::from_json(json).unwrap().json().unwrap();
        let text = |json: &str| text_of(&message(json));
        assert_eq!(text(r#"{"text":"a","alt_text":"b"}"#).as_deref(), Some("a"));
        assert_eq!(text(r#"{"text":" ","alt_text":"b"}"#).as_deref(), Some("b"));
        let parts = r#"{"parts":[{"type":"image","url":"https://x.example/1"},{"type":"text","text":"c"}]}"#;
        assert_eq!(text(parts).as_deref(), Some("https://x.example/1\nc"));
        assert_eq!(text(r#"{"reaction":{"target":"1","key":"+"}}"#), None);
    }
}
