//! Frames over WebSocket: a message is a frame.

use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue, header};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error as WsError, Message, Utf8Bytes};

use super::declare::{Connect, Form};
use super::form::{Received, decode};
use super::socket::{Gone, Heard, Line, Say, Teller};
use super::stream::{Address, Stream};
use trunkline_contract::error::{Code, Error};

/// The largest message; a larger one ends the connection.
const MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

type Socket = WebSocketStream<Stream>;

pub(super) async fn live(
    address: &Address,
    headers: &[(String, String)],
    connect: &Connect,
    line: Line,
) -> Result<Gone, Gone> {
    let socket = open(address, headers, connect, &line).await?;
    let teller = line.teller();
    if !teller.tell(Heard::Opened).await {
        return Ok(Gone::because("closed here"));
    }
    let (form, ask) = (line.form, line.ask.clone());
    let (sink, stream) = socket.split();
    let reading = read(stream, form, teller.clone(), ask);
    let writing = write(sink, form, teller, line);
    tokio::pin!(reading, writing);
    Ok(tokio::select! {
        gone = &mut reading => gone,
        gone = &mut writing => gone,
    })
}

async fn open(
    address: &Address,
    headers: &[(String, String)],
    connect: &Connect,
    line: &Line,
) -> Result<Socket, Gone> {
    let mut request = address
        .uri
        .clone()
        .into_client_request()
        .map_err(|error| Gone::because(error.to_string()))?;
    for (name, value) in headers {
        let name = HeaderName::try_from(name.as_str()).map_err(|_| refused(name))?;
        let value = HeaderValue::try_from(value.as_str()).map_err(|_| refused(name.as_str()))?;
        request.headers_mut().insert(name, value);
    }
    if let Some(protocols) = connect.subprotocols() {
        let value = HeaderValue::try_from(protocols).map_err(|_| refused("subprotocols"))?;
        request
            .headers_mut()
            .insert(header::SEC_WEBSOCKET_PROTOCOL, value);
    }
    let stream = address.open().await?;
    let config = WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX));
    match tokio_tungstenite::client_async_with_config(request, stream, Some(config)).await {
        Ok((socket, _)) => Ok(socket),
        Err(WsError::Http(response)) => {
            let after = response.headers().get(header::RETRY_AFTER);
            if let Some(seconds) = after.and_then(|value| value.to_str().ok()?.parse::<u64>().ok())
            {
                line.teller()
                    .tell(Heard::Retry(seconds.saturating_mul(1_000)))
                    .await;
            }
            let status = response.status();
            Err(Gone {
                code: Some(status.as_u16()),
                reason: format!("the server answered {status}"),
            })
        }
        Err(error) => Err(Gone::because(error.to_string())),
    }
}

fn refused(name: &str) -> Gone {
    Gone::because(format!(
        "expected a header, found characters it cannot have in {name:?}"
    ))
}

async fn read(
    mut stream: futures_util::stream::SplitStream<Socket>,
    form: Form,
    teller: Teller,
    ask: tokio::sync::mpsc::WeakSender<Say>,
) -> Gone {
    let mut has_room = false;
    loop {
        if !has_room {
            teller.room().await;
            has_room = true;
        }
        let heard = match stream.next().await {
            Some(Ok(Message::Text(text))) => {
                has_room = false;
                Heard::Frame(Received::of(decode(form, text.as_bytes())))
            }
            Some(Ok(Message::Binary(bytes))) => {
                has_room = false;
                Heard::Frame(Received::of(decode(form, &bytes)))
            }
            Some(Ok(Message::Ping(_))) => {
                // When the lane is full, something is being written, which flushes as well.
                if let Some(ask) = ask.upgrade() {
                    drop(ask.try_send(Say::Flush));
                }
                Heard::Alive
            }
            Some(Ok(Message::Pong(_) | Message::Frame(_))) => Heard::Alive,
            Some(Ok(Message::Close(frame))) => {
                return match frame {
                    Some(CloseFrame { code, reason }) => Gone {
                        code: Some(code.into()),
                        reason: reason.to_string(),
                    },
                    None => Gone::because("closed by the server"),
                };
            }
            None => return Gone::because("closed by the server"),
            Some(Err(error)) => return Gone::because(error.to_string()),
        };
        if !teller.tell(heard).await {
            return Gone::because("closed here");
        }
    }
}

async fn write(
    mut sink: futures_util::stream::SplitSink<Socket, Message>,
    form: Form,
    teller: Teller,
    mut line: Line,
) -> Gone {
    let mut is_closing = false;
    while let Some(say) = line.say.recv().await {
        let (message, done) = match say {
            Say::Frame(bytes, done) => match message(form, bytes) {
                Ok(message) => (Some(message), done),
                Err(error) => {
                    if let Some(done) = done {
                        drop(done.send(Err(error)));
                        teller.tell(Heard::Sent).await;
                    }
                    continue;
                }
            },
            Say::Ping => (Some(Message::Ping(Vec::new().into())), None),
            Say::Flush => (None, None),
            Say::Close(code, reason) => {
                is_closing = true;
                let frame = CloseFrame {
                    code: code.into(),
                    reason: Utf8Bytes::from_static(reason),
                };
                (Some(Message::Close(Some(frame))), None)
            }
        };
        let written = match message {
            Some(message) => sink.send(message).await,
            None => sink.flush().await,
        };
        let result = written.map_err(|error| Error::new(Code::Unavailable, error.to_string()));
        let failed = result.as_ref().err().map(|error| error.message.clone());
        if let Some(done) = done {
            // Who waited may be gone.
            drop(done.send(result));
            teller.tell(Heard::Sent).await;
        }
        match failed {
            // What the server still says is read on.
            Some(_) if is_closing => {}
            Some(reason) => return Gone::because(reason),
            None => {}
        }
    }
    Gone::because("closed here")
}

/// Says what a message cannot hold.
#[cfg(feature = "testing")]
pub(super) fn checked(form: Form, bytes: &[u8]) -> Result<(), Error> {
    message(form, bytes.to_vec()).map(drop)
}

fn message(form: Form, bytes: Vec<u8>) -> Result<Message, Error> {
    if form == Form::Binary {
        return Ok(Message::Binary(bytes.into()));
    }
    match Utf8Bytes::try_from(bytes) {
        Ok(text) => Ok(Message::Text(text)),
        Err(_) => Err(Error::new(Code::InvalidPayload, "expected a frame of text")),
    }
}
