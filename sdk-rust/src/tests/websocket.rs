//! Links over WebSocket, against a small server that bridges to the broker of tests.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::{Mutex, Notify};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use trunkline_broker::testing::{TOKEN, TestBroker as Core};

use crate::{Client, Code, Json, On, Result, Start};

/// Serves `/v1/link` for a broker in memory.
struct Server {
    core: Mutex<Core>,
    address: SocketAddr,
    cut: Notify,
}

impl Server {
    async fn start() -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let server = Arc::new(Self {
            core: Mutex::new(Core::start(1).expect("a broker in memory starts")),
            address: listener.local_addr().expect("bound"),
            cut: Notify::new(),
        });
        let accepting = server.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(accepting.clone().serve(socket));
            }
        });
        server
    }

    fn url(&self) -> String {
        format!("ws://{}/v1/link", self.address)
    }

    async fn serve(self: Arc<Self>, socket: TcpStream) {
        let check = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
            let given = request.headers().get("authorization");
            if given.is_some_and(|given| given.as_bytes() == format!("Bearer {TOKEN}").as_bytes()) {
                return Ok(response);
            }
            let mut refused = ErrorResponse::new(None);
            *refused.status_mut() = 401.try_into().expect("a status");
            Err(refused)
        };
        let Ok(mut socket) = tokio_tungstenite::accept_hdr_async(socket, check).await else {
            return;
        };
        let link = self.core.lock().await.dial().await.expect("a link");
        link.set_nonblocking(true).expect("a socket");
        let mut link = UnixStream::from_std(link).expect("a socket");
        let mut bytes = Vec::new();
        loop {
            tokio::select! {
                () = self.cut.notified() => return,
                message = socket.next() => match message {
                    Some(Ok(Message::Text(text))) => {
                        let frame = format!("{text}\n");
                        if link.write_all(frame.as_bytes()).await.is_err() {
                            return;
                        }
                    }
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                    _ => return,
                },
                read = link.read_buf(&mut bytes) => {
                    if !read.is_ok_and(|read| read > 0) {
                        return;
                    }
                    // Several frames in one message, with and without the last newline.
                    let Some(end) = bytes.iter().rposition(|byte| *byte == b'\n') else {
                        continue;
                    };
                    let rest = bytes.split_off(end + 1);
                    let text = String::from_utf8(std::mem::replace(&mut bytes, rest));
                    let text = text.expect("frames are text");
                    let is_cut = text.len().is_multiple_of(2);
                    let text = if is_cut { text.trim_end().to_owned() } else { text };
                    if socket.send(Message::text(text)).await.is_err() {
                        return;
                    }
                }
            }
        }
    }
}

/// Proves LN44, Rust SDK part: a link over WebSocket does what one over a socket does, and a durable
/// subscription goes on where it was after the connection broke.
#[tokio::test]
async fn a_client_over_websocket_reconnects_and_its_subscription_goes_on() {
    let server = Server::start().await;
    let (seen, mut events) = tokio::sync::mpsc::channel(16);
    let handler = move |payload: Json| {
        let seen = seen.clone();
        async move {
            seen.send(payload["n"].clone()).await?;
            Ok::<(), crate::Failure>(())
        }
    };
    let on = On::new("agent.work", handler)
        .name("work")
        .start(Start::Earliest);
    let worker = Client::new("worker").url(server.url()).token(TOKEN).on(on);
    let worker = worker.connect().await.expect("connected");
    let text = "ž".repeat(200_000);
    worker
        .publish("agent.work", json!({ "n": 1, "text": text }))
        .await
        .expect("published");
    assert_eq!(events.recv().await, Some(json!(1)));
    server.cut.notify_waiters();
    // The call waits for the next link.
    let published = worker.publish("agent.work", json!({ "n": 2 })).await;
    published.expect("published over the next link");
    // The first may come again: its ack was on its way when the connection broke.
    while events.recv().await.expect("the second event") != json!(2) {}
    worker.close().await;
}

#[tokio::test]
async fn a_refused_token_is_unauthorized_and_nobody_there_is_unavailable() {
    let server = Server::start().await;
    let client = Client::new("ops").url(server.url()).token("wrong");
    let refused = client.connect().await.expect_err("refused");
    assert_eq!(refused.code, Code::Unauthorized, "{refused}");
    let nobody = Client::new("ops")
        .url("ws://127.0.0.1:1/v1/link")
        .token("t");
    let refused = nobody.connect().await.expect_err("refused");
    assert_eq!(refused.code, Code::Unavailable, "{refused}");
}

#[tokio::test]
async fn an_address_that_cannot_be_spoken_to_is_refused_at_once() {
    for url in ["wss://example.com/v1/link", "http://127.0.0.1:7711", "7711"] {
        let refused = Client::new("ops").url(url).connect().await;
        let refused = refused.expect_err("refused");
        assert_eq!(refused.code, Code::InvalidArguments);
        assert!(refused.message.contains(url), "{refused}");
    }
    let both = Client::new("ops").url("ws://127.0.0.1:1/").socket("here");
    let refused = both.connect().await.expect_err("refused");
    assert_eq!(refused.code, Code::InvalidArguments);
}

/// A handler that blocks its thread stops no frame of a link over WebSocket either.
#[test]
fn the_link_lives_while_a_handler_blocks_its_thread() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let server = runtime.block_on(Server::start());
    let url = server.url();
    let own = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    own.block_on(async move {
        let client = Client::new("ops").url(url).token(TOKEN);
        let client = client.connect().await.expect("connected");
        let mut published = Box::pin(client.publish("agent.x", json!(1)).into_future());
        std::future::poll_fn(|context| {
            assert!(published.as_mut().poll(context).is_pending());
            std::task::Poll::Ready(())
        })
        .await;
        // The link's task writes the call, and is not run again.
        tokio::task::yield_now().await;
        let (sender, answered) = std::sync::mpsc::sync_channel(1);
        let link = client.core().hub().link().expect("connected");
        std::thread::spawn(move || {
            let begun = tokio::time::Instant::now();
            while link.busy() > 0 && begun.elapsed() < Duration::from_secs(10) {
                std::thread::yield_now();
            }
            sender.send(link.busy()).expect("somebody listens");
        });
        // Blocks the runtime's only thread on purpose.
        assert_eq!(answered.recv().expect("an answer"), 0);
        published.await.expect("published");
        client.close().await;
    });
}
