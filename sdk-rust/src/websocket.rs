//! A link over WebSocket: a bridge between the connection and a socket pair, so that everything
//! above it is the same as on a Unix socket.
//!
//! One text message is one frame on the way out, one or more whole frames on the way in. Each side
//! of the bridge reads no more until the other took what there is, so back pressure passes through.
//! The bridge has a thread of its own: a handler that blocks its thread stops no frame, and the
//! guard of the link works as it does over a socket.
//!
//! Not here: reconnecting, and what frames mean.

use std::io;
use std::os::unix::net::UnixStream as StdStream;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderValue, StatusCode, header};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error as WsError, Message, Utf8Bytes};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};
use trunkline_contract::error::{Code, Error};
use trunkline_contract::limits::FRAME_BYTES_MAX_MAX;

/// A connection that is not there by then will not come.
const CONNECT: Duration = Duration::from_secs(10);
/// A connection on which nothing came for so long is asked whether it still lives.
const QUIET: Duration = Duration::from_secs(20);
/// One that gives no sign of life for so long after that is dead.
const DEAD: Duration = Duration::from_secs(20);
/// How long the other side may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(1);
const READ_BYTES: usize = 64 * 1024;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Connects to `url`, and gives the end of a socket pair on which frames come and go.
///
/// # Errors
/// `invalid_arguments` for what is no such address, `unauthorized` when the token is refused,
/// `unavailable` when nobody answers there.
pub(crate) async fn connect(url: &str, token: Option<&str>) -> Result<StdStream, Error> {
    check(url)?;
    let mut request = url
        .into_client_request()
        .map_err(|error| address(url, &error))?;
    if let Some(token) = token {
        let value = HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| {
            let text = "expected a token of printable characters";
            Error::new(Code::Unauthorized, text)
        })?;
        request.headers_mut().insert(header::AUTHORIZATION, value);
    }
    let broken =
        |error: io::Error| Error::new(Code::Unavailable, format!("a link cannot be made: {error}"));
    let (ours, theirs) = StdStream::pair().map_err(broken)?;
    ours.set_nonblocking(true).map_err(broken)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(broken)?;
    let (sender, connected) = oneshot::channel();
    let thread = std::thread::Builder::new().name("trunkline-ws".into());
    let url = url.to_owned();
    let run = move || {
        runtime.block_on(async move {
            match open(&url, request).await {
                Ok(socket) => {
                    if sender.send(Ok(())).is_ok() {
                        bridge(socket, ours).await;
                    }
                }
                // Nobody listens when connecting was given up.
                Err(error) => drop(sender.send(Err(error))),
            }
        });
    };
    thread.spawn(run).map_err(broken)?;
    connected
        .await
        .unwrap_or_else(|_| Err(Error::new(Code::Unavailable, "the link's thread ended")))?;
    Ok(theirs)
}

/// Finds what is wrong with an address before anything is sent there.
pub(crate) fn check(url: &str) -> Result<(), Error> {
    if url.starts_with("ws://") {
        return Ok(());
    }
    let text = if url.starts_with("wss://") {
        format!(
            "expected a url like `ws://127.0.0.1:7711/v1/link`, found {url:?}: this version speaks \
             no TLS\nhint: put a proxy that speaks TLS in front, or use an ssh tunnel"
        )
    } else {
        format!("expected a url like `ws://127.0.0.1:7711/v1/link`, found {url:?}")
    };
    Err(Error::new(Code::InvalidArguments, text))
}

/// The host and port of an address that was checked.
pub(crate) fn origin(url: &str) -> String {
    let rest = url.strip_prefix("ws://").unwrap_or(url);
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let has_port = authority
        .rsplit_once(':')
        .is_some_and(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
    if has_port {
        authority.to_owned()
    } else {
        format!("{authority}:80")
    }
}

fn address(url: &str, error: &WsError) -> Error {
    let text = format!("expected a url like `ws://127.0.0.1:7711/v1/link`, found {url:?}: {error}");
    Error::new(Code::InvalidArguments, text)
}

async fn open(
    url: &str,
    request: tokio_tungstenite::tungstenite::handshake::client::Request,
) -> Result<Socket, Error> {
    // A message may hold several frames; the reader of frames refuses the single one that is too
    // large, so this only bounds what is held before it can.
    let config = WebSocketConfig::default()
        .max_message_size(Some(2 * FRAME_BYTES_MAX_MAX))
        .max_frame_size(Some(2 * FRAME_BYTES_MAX_MAX));
    let connecting = tokio_tungstenite::connect_async_with_config(request, Some(config), true);
    match tokio::time::timeout(CONNECT, connecting).await {
        Ok(Ok((socket, _))) => Ok(socket),
        Ok(Err(WsError::Http(response))) => {
            let status = response.status();
            Err(match status {
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                    let text = format!("the daemon at {url} refused the token: {status}");
                    Error::new(Code::Unauthorized, text)
                }
                _ => {
                    let text = format!("expected a link at {url}, found {status}");
                    Error::new(Code::Unavailable, text)
                }
            })
        }
        Ok(Err(WsError::Url(error))) => Err(address(url, &WsError::Url(error))),
        Ok(Err(error)) => {
            let text = format!(
                "expected a daemon at {url}: {error}\nhint: `trunkline status` shows its address"
            );
            Err(Error::new(Code::Unavailable, text))
        }
        Err(_) => {
            let text = format!("expected a daemon at {url}: no answer within {CONNECT:?}");
            Err(Error::new(Code::Unavailable, text))
        }
    }
}

/// Carries frames both ways until one side ends.
async fn bridge(socket: Socket, ours: StdStream) {
    let ours = match UnixStream::from_std(ours) {
        Ok(ours) => ours,
        Err(error) => {
            tracing::error!(%error, "The link's socket pair cannot be used.");
            return;
        }
    };
    let (read, write) = ours.into_split();
    let (sink, stream) = socket.split();
    let (answers, to_answer) = tokio::sync::mpsc::channel(1);
    tokio::select! {
        () = carry_out(read, sink, to_answer) => {}
        () = carry_in(stream, write, answers) => {}
    }
}

/// What the reading half asks the writing half to do.
enum Ask {
    Ping,
    /// Writes the answer to a ping that came, which the protocol's state has ready.
    Flush,
}

async fn carry_out(
    mut read: OwnedReadHalf,
    mut sink: futures_util::stream::SplitSink<Socket, Message>,
    mut asked: tokio::sync::mpsc::Receiver<Ask>,
) {
    let mut held: Vec<u8> = Vec::with_capacity(READ_BYTES);
    loop {
        let sent = tokio::select! {
            ask = asked.recv() => match ask {
                Some(Ask::Ping) => sink.send(Message::Ping(Vec::new().into())).await,
                Some(Ask::Flush) => sink.flush().await,
                None => return,
            },
            bytes = read.read_buf(&mut held) => match bytes {
                Ok(0) | Err(_) => {
                    // The owner of the link is gone: say so, for a while.
                    let goodbye = tokio::time::timeout(GOODBYE, sink.close()).await;
                    tracing::trace!(?goodbye, "The link over WebSocket was closed.");
                    return;
                }
                Ok(_) => send_frames(&mut sink, &mut held).await,
            },
        };
        if let Err(error) = sent {
            tracing::debug!(%error, "The connection of a link broke.");
            return;
        }
    }
}

/// Sends the whole frames of what is held, each as one message.
async fn send_frames(
    sink: &mut futures_util::stream::SplitSink<Socket, Message>,
    held: &mut Vec<u8>,
) -> Result<(), WsError> {
    let mut begin = 0;
    while let Some(length) = held[begin..].iter().position(|byte| *byte == b'\n') {
        let frame = &held[begin..begin + length];
        let text = Utf8Bytes::try_from(frame.to_vec()).map_err(|_| {
            WsError::Io(io::Error::new(
                io::ErrorKind::InvalidData,
                "a frame is no text",
            ))
        })?;
        sink.feed(Message::Text(text)).await?;
        begin += length + 1;
    }
    held.drain(..begin);
    sink.flush().await
}

async fn carry_in(
    mut stream: futures_util::stream::SplitStream<Socket>,
    mut write: OwnedWriteHalf,
    ask: tokio::sync::mpsc::Sender<Ask>,
) {
    let timer = tokio::time::sleep(QUIET);
    tokio::pin!(timer);
    let mut is_asked = false;
    loop {
        let message = tokio::select! {
            message = stream.next() => message,
            () = timer.as_mut() => {
                if is_asked {
                    tracing::warn!("The connection of a link gives no sign of life.");
                    return;
                }
                is_asked = true;
                timer.as_mut().reset(Instant::now() + DEAD);
                // When the lane is full, something is being written, which asks as well.
                drop(ask.try_send(Ask::Ping));
                continue;
            }
        };
        let carried = match message {
            Some(Ok(Message::Text(text))) => carry(&mut write, text.as_bytes()).await,
            Some(Ok(Message::Ping(_))) => {
                drop(ask.try_send(Ask::Flush));
                Ok(())
            }
            Some(Ok(Message::Pong(_) | Message::Frame(_))) => Ok(()),
            Some(Ok(Message::Binary(_))) => {
                tracing::warn!("Expected text messages on a link, found a binary one.");
                return;
            }
            Some(Ok(Message::Close(_))) | None => return,
            Some(Err(error)) => {
                tracing::debug!(%error, "The connection of a link broke.");
                return;
            }
        };
        if carried.is_err() {
            return;
        }
        is_asked = false;
        timer.as_mut().reset(Instant::now() + QUIET);
    }
}

async fn carry(write: &mut OwnedWriteHalf, frames: &[u8]) -> io::Result<()> {
    write.write_all(frames).await?;
    if frames.last() == Some(&b'\n') {
        return Ok(());
    }
    write.write_all(b"\n").await
}
