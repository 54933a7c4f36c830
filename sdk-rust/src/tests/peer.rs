//! The scripted broker: blocking, on the test's own thread, while the plugin runs on another.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::oneshot;
use trunkline_contract::error::Error;
use trunkline_contract::limits::FRAME_BYTES_MAX;

use crate::instance::{Ended, Instance};
use crate::link::{Link, Stream};
use crate::plugin::Plugin;

/// Nothing in these tests takes this long.
const PATIENCE: Duration = Duration::from_secs(10);

/// The broker's end of a link.
pub(super) struct Peer {
    reader: BufReader<UnixStream>,
    writer: UnixStream,
    last_id: u64,
}

impl Peer {
    pub(super) fn new(socket: UnixStream) -> Self {
        socket.set_read_timeout(Some(PATIENCE)).expect("a socket");
        let writer = socket.try_clone().expect("a descriptor");
        Self {
            reader: BufReader::new(socket),
            writer,
            last_id: 0,
        }
    }

    pub(super) fn send_raw(&mut self, text: &str) {
        self.writer
            .write_all(text.as_bytes())
            .expect("the plugin reads");
    }

    pub(super) fn send(&mut self, frame: &Value) {
        self.send_raw(&format!("{frame}\n"));
    }

    /// The next frame.
    pub(super) fn recv(&mut self) -> Value {
        let mut line = String::new();
        let bytes = self
            .reader
            .read_line(&mut line)
            .expect("a frame within the patience");
        assert!(bytes > 0, "the plugin closed the link");
        serde_json::from_str(&line).expect("frames are JSON")
    }

    /// Waits for the end of the link.
    pub(super) fn recv_end(&mut self) {
        let mut line = String::new();
        while self
            .reader
            .read_line(&mut line)
            .expect("the end within the patience")
            > 0
        {}
    }

    /// The parameters of the next frame, which must be this method.
    pub(super) fn expect(&mut self, method: &str) -> Value {
        let frame = self.recv();
        assert_eq!(frame["method"], method, "{frame}");
        frame["params"].clone()
    }

    /// The next frame, which must be a request of this method, is answered.
    pub(super) fn expect_and_answer(&mut self, method: &str, result: &Value) -> Value {
        let frame = self.recv();
        assert_eq!(frame["method"], method, "{frame}");
        self.answer(&frame, result);
        frame["params"].clone()
    }

    pub(super) fn answer(&mut self, request: &Value, result: &Value) {
        self.send(&json!({ "jsonrpc": "2.0", "id": request["id"], "result": result }));
    }

    pub(super) fn refuse(&mut self, request: &Value, error: &Error) {
        let error = serde_json::to_value(error.to_rpc()).expect("has a JSON form");
        self.send(&json!({ "jsonrpc": "2.0", "id": request["id"], "error": error }));
    }

    pub(super) fn request(&mut self, method: &str, params: &Value) -> u64 {
        self.last_id += 1;
        let id = self.last_id;
        self.send(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }));
        id
    }

    /// Asks, and gives the answer, which must be the next frame.
    pub(super) fn ask(&mut self, method: &str, params: &Value) -> Value {
        let id = self.request(method, params);
        self.recv_answer(id)
    }

    pub(super) fn recv_answer(&mut self, id: u64) -> Value {
        let frame = self.recv();
        assert_eq!(frame["id"], id, "{frame}");
        frame
            .get("result")
            .or(frame.get("error"))
            .cloned()
            .expect("an answer")
    }

    /// Hands an event over.
    pub(super) fn event(&mut self, event: &Event<'_>) {
        let mut params = json!({
            "topic": event.topic,
            "event": {
                "id": event.id,
                "timestamp": "2026-01-02T03:04:05Z",
                "topic": event.topic,
                "source": "client:test",
                "session_id": event.session,
                "payload": event.payload,
            },
        });
        if let Some(subscription) = event.subscription {
            params["delivery"] = json!({
                "id": format!("d-{}", event.id),
                "attempt": event.attempt,
                "redelivered": event.attempt > 1,
                "lease_ms": event.lease_ms,
                "subscription": subscription,
            });
        }
        self.send(&json!({ "jsonrpc": "2.0", "method": "broker.event", "params": params }));
    }

    /// Leads a plugin to its activation.
    pub(super) fn activate(&mut self) -> Value {
        let reply = self.ask("initialize", &initialize());
        assert_eq!(
            self.ask("instance.activate", &json!({ "generation": 1 })),
            json!({})
        );
        assert_eq!(self.expect("instance.status")["state"], "ready");
        reply
    }
}

/// An event as the scripted broker hands it over.
#[derive(Clone)]
pub(super) struct Event<'a> {
    pub(super) id: &'a str,
    pub(super) topic: &'a str,
    pub(super) session: Option<&'a str>,
    pub(super) payload: Value,
    pub(super) subscription: Option<&'a str>,
    pub(super) attempt: u32,
    pub(super) lease_ms: u64,
}

impl<'a> Event<'a> {
    /// An outbound event of the main subscription.
    pub(super) fn outbound(id: &'a str, session: &'a str, payload: Value) -> Self {
        Self {
            id,
            topic: "plugin.outbound.echo.default",
            session: Some(session),
            payload,
            subscription: Some("instance.echo.default"),
            attempt: 1,
            lease_ms: 30_000,
        }
    }

    pub(super) fn ephemeral(self) -> Self {
        Self {
            subscription: None,
            ..self
        }
    }
}

pub(super) fn initialize() -> Value {
    json!({
        "protocol": { "name": "trunkline", "min": "1.0", "max": "1.0" },
        "host": { "name": "trunkline", "version": "0.1.0" },
        "plugin": "echo",
        "instance": "default",
        "config": { "greeting": "hi", "token": { "$secret": "token" } },
        "secrets": { "token": "s3cret" },
        "limits": { "frame_bytes_max": 1_048_576 },
        "services": ["kv", "lock"],
    })
}

/// A plugin on a thread of its own.
pub(super) struct Served {
    pub(super) peer: Peer,
    stop: Option<oneshot::Sender<()>>,
    thread: JoinHandle<Result<Ended, Error>>,
}

impl Served {
    pub(super) fn start(plugin: impl FnOnce() -> Plugin + Send + 'static) -> Self {
        Self::start_on(tokio::runtime::Builder::new_current_thread(), plugin)
    }

    pub(super) fn start_on(
        mut builder: tokio::runtime::Builder,
        plugin: impl FnOnce() -> Plugin + Send + 'static,
    ) -> Self {
        let (ours, theirs) = UnixStream::pair().expect("a socket pair");
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = builder.enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let link = Link::new(Stream::socket(theirs).expect("a socket"), FRAME_BYTES_MAX);
                let instance = Instance::new(plugin())?;
                let stop = async {
                    if stopped.await.is_err() {
                        std::future::pending::<()>().await;
                    }
                };
                let ended = instance.serve(link, None, stop).await;
                instance.over();
                ended
            })
        });
        Self {
            peer: Peer::new(ours),
            stop: Some(stop),
            thread,
        }
    }

    /// What a signal does.
    pub(super) fn stop(&mut self) {
        self.stop
            .take()
            .expect("stopped once")
            .send(())
            .expect("it runs");
    }

    pub(super) fn join(self) -> Result<Ended, Error> {
        drop(self.peer);
        self.thread.join().expect("no panic")
    }

    /// Ends a plugin whose end is not what is tested.
    pub(super) fn shut_down(mut self) {
        let params = json!({ "reason": "test", "timeout_ms": 1000 });
        assert_eq!(self.peer.ask("shutdown", &params), json!({ "ok": true }));
        self.join().expect("an orderly end");
    }
}

/// A daemon's socket in a directory of its own.
pub(super) struct Listener {
    socket: UnixListener,
    pub(super) path: PathBuf,
    _directory: tempfile::TempDir,
}

impl Listener {
    pub(super) fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("trunkline.sock");
        std::fs::write(directory.path().join("token"), "t0ken\n").expect("a file");
        let socket = UnixListener::bind(&path).expect("a socket");
        Self {
            socket,
            path,
            _directory: directory,
        }
    }

    /// Takes the next link, and greets it.
    pub(super) fn accept(&self) -> Peer {
        let (socket, _) = self.socket.accept().expect("a link");
        let mut peer = Peer::new(socket);
        let params = peer.expect_and_answer(
            "connect",
            &json!({
                "protocol": "trunkline/1.0",
                "host": { "name": "trunkline", "version": "0.1.0" },
                "source": "client:ops",
                "scopes": [],
                "limits": { "frame_bytes_max": 1_048_576 },
            }),
        );
        assert_eq!(params["token"], "t0ken");
        assert_eq!(params["role"], "client");
        peer
    }
}
