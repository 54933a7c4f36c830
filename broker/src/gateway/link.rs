//! `/v1/link`: a link over WebSocket, for clients and attached plugins.
//!
//! One text message is one or more whole frames in, and one frame out. Each direction waits for the other
//! side to take what there is, so back pressure passes through; what a frame means is the core's alone. A
//! frame over its limit is answered with `frame_too_large` and the link goes on.
//!
//! | close code | why |
//! |---|---|
//! | 1000 | the peer closed it |
//! | 1001 | the daemon stops |
//! | 1003 | a binary message: frames are text |
//! | 1008 | the core closed it: a refused `connect`, a revoked token, too many bad frames, a removed instance |
//! | 1009 | a message over four frames' size |

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::{Extension, http};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::net::unix::OwnedWriteHalf;
use trunkline_contract::error::Code;
use trunkline_contract::rpc::method;

use super::api::Operation;
use super::auth::{self, Token};
use super::error::Failure;
use super::limits::{LINK_DEAD_MS, LINK_MESSAGE_FRAMES, LINK_PING_MS};
use super::line::{self, FrameReader};
use super::server::Held;
use super::state::Gateway;

const NORMAL: u16 = 1000;
const GOING_AWAY: u16 = 1001;
const UNSUPPORTED: u16 = 1003;
const POLICY: u16 = 1008;
const TOO_LARGE: u16 = 1009;

/// Upgrades the connection and bridges it to the core.
pub(super) async fn upgrade(
    State(gateway): State<Arc<Gateway>>,
    headers: HeaderMap,
    held: Option<Extension<Held>>,
    asked: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Failure> {
    let token = auth::find(&headers)?;
    let asked = asked.map_err(|rejection| {
        Failure::new(
            StatusCode::UPGRADE_REQUIRED,
            Code::InvalidArguments,
            format!("expected a WebSocket handshake, found none: {rejection}"),
        )
        .header(
            http::header::UPGRADE,
            http::HeaderValue::from_static("websocket"),
        )
    })?;
    if let Some(token) = &token {
        // A refusal is easier to see here than in the answer to `connect`.
        gateway.ports.of(token).await?;
    }
    let stream = line::open(&gateway.broker).await?;
    let bytes_max = gateway.frame_bytes_max * LINK_MESSAGE_FRAMES;
    Ok(asked
        .max_message_size(bytes_max)
        .max_frame_size(bytes_max)
        .on_upgrade(move |socket| async move {
            let _held = held;
            let _counted = gateway.count();
            bridge(socket, stream, token, &gateway).await;
        }))
}

/// Lists what is asked here.
pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new("GET", "/v1/link", upgrade)
            .named(
                "links",
                "link",
                "Carries a link over WebSocket, one frame per text message.",
            )
            .open()
            .answer_empty(
                101,
                "Frames follow; the first is `connect`, whose token may be that of the header.",
            )
            .errors(&[Code::Unauthorized, Code::QuotaExceeded])
            .refusal(426, "no WebSocket handshake"),
    ]
}

type Sink = SplitSink<WebSocket, Message>;
type Source = SplitStream<WebSocket>;

async fn bridge(socket: WebSocket, stream: UnixStream, token: Option<Token>, gateway: &Gateway) {
    let (mut sink, source) = socket.split();
    let (read, write) = stream.into_split();
    let code = tokio::select! {
        code = up(source, write, token) => code,
        code = down(&mut sink, FrameReader::new(read)) => code,
        () = gateway.ended() => Some(GOING_AWAY),
    };
    let Some(code) = code else { return };
    let reason = match code {
        GOING_AWAY => "the daemon stops",
        UNSUPPORTED => "frames are text messages",
        POLICY => "the link was closed by the broker",
        TOO_LARGE => "the message is too large",
        _ => "",
    };
    let close = Message::Close(Some(CloseFrame {
        code,
        reason: Utf8Bytes::from_static(reason),
    }));
    let goodbye = Duration::from_millis(super::limits::LINK_GOODBYE_MS);
    if !matches!(
        tokio::time::timeout(goodbye, sink.send(close)).await,
        Ok(Ok(()))
    ) {
        tracing::debug!("The peer of a link was gone already.");
    }
}

/// Peer to core. Gives the code to close with; none when the connection is gone.
async fn up(mut source: Source, mut core: OwnedWriteHalf, token: Option<Token>) -> Option<u16> {
    let mut token = token;
    let dead = Duration::from_millis(LINK_DEAD_MS);
    loop {
        let message = match tokio::time::timeout(dead, source.next()).await {
            Ok(Some(Ok(message))) => message,
            Ok(Some(Err(error))) => {
                tracing::debug!(%error, "A link broke.");
                return error.to_string().contains("too long").then_some(TOO_LARGE);
            }
            Ok(None) | Err(_) => return None,
        };
        let text = match message {
            Message::Text(text) => text,
            Message::Binary(_) => return Some(UNSUPPORTED),
            Message::Ping(_) | Message::Pong(_) => continue,
            Message::Close(_) => return Some(NORMAL),
        };
        let mut bytes = match token.take() {
            Some(token) => introduce(&text, &token),
            None => text.as_str().as_bytes().to_vec(),
        };
        if bytes.last() != Some(&b'\n') {
            bytes.push(b'\n');
        }
        if core.write_all(&bytes).await.is_err() {
            // What the core has to say about it is still on its way down.
            std::future::pending::<()>().await;
        }
    }
}

/// Core to peer. Gives the code to close with; none when the connection is gone.
async fn down(sink: &mut Sink, mut core: FrameReader) -> Option<u16> {
    let every = Duration::from_millis(LINK_PING_MS);
    loop {
        let frame = tokio::select! {
            frame = core.next() => frame,
            () = tokio::time::sleep(every) => {
                if sink.send(Message::Ping(Vec::new().into())).await.is_err() {
                    return None;
                }
                continue;
            }
        };
        let Some(frame) = frame else {
            return Some(POLICY);
        };
        let Ok(text) = Utf8Bytes::try_from(frame) else {
            tracing::error!("The core wrote a frame that is no text.");
            continue;
        };
        if sink.send(Message::Text(text)).await.is_err() {
            return None;
        }
    }
}

/// Adds the token of the header to `connect`, the first frame, unless it has one of its own.
fn introduce(text: &str, token: &Token) -> Vec<u8> {
    let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
    let Ok(mut frame) = serde_json::from_str::<Value>(first) else {
        return text.as_bytes().to_vec();
    };
    let is_connect = frame.get("method").and_then(Value::as_str) == Some(method::CONNECT);
    let params = frame.get_mut("params").and_then(Value::as_object_mut);
    let Some(params) = params.filter(|_| is_connect) else {
        return text.as_bytes().to_vec();
    };
    if params.get("token").is_none_or(Value::is_null) {
        params.insert("token".to_owned(), token.expose().into());
    }
    format!("{frame}\n{rest}").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_of_the_header_goes_into_connect_alone() {
        let token = Token::new("abc");
        let told = |text: &str| String::from_utf8(introduce(text, &token)).unwrap();
        let connect = r#"{"jsonrpc":"2.0","id":1,"method":"connect","params":{"role":"client"}}"#;
        assert!(told(connect).contains(r#""token":"abc""#));
        assert!(told(&format!("{connect}\n{{}}")).ends_with("\n{}"));
        let own = connect.replace("client\"", "client\",\"token\":\"own\"");
        assert!(told(&own).contains("own") && !told(&own).contains("abc"));
        for other in ["nonsense", r#"{"id":1,"method":"ping","params":{}}"#, "[]"] {
            assert_eq!(told(other), other);
        }
    }
}
