//! Connections over TLS to real servers: who is trusted, and by which name.
//!
//! What a process trusts is decided once: each test starts itself again with the roots it is to have. The files were
//! made for the daemon's own TLS, for `localhost` and 127.0.0.1.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::server::TlsStream;
use tokio_tungstenite::tungstenite::Message;
use trunkline::testing::TestBroker;
use trunkline::{Connect, Context, Event, Plugin, Result};

const CERTIFICATE: &[u8] = include_bytes!("../../broker/tests/gateway/tls/cert.pem");
const KEY: &[u8] = include_bytes!("../../broker/tests/gateway/tls/key.pem");
const AUTHORITY: &str = "../broker/tests/gateway/tls/authority.pem";
const INBOUND: &str = "plugin.inbound.chat.default";
const PATIENCE: Duration = Duration::from_secs(20);
/// Says to a process that it is the one that was started again.
const IS_AGAIN: &str = "TRUNKLINE_TEST_TLS";

/// Runs the test with this name in a process of its own, with these roots or those of the machine.
fn again(name: &str, roots: Option<&Path>) {
    let program = std::env::current_exe().expect("a path");
    #[expect(clippy::disallowed_methods, reason = "a test of processes starts one")]
    let mut command = Command::new(program);
    command.args(["--exact", name, "--nocapture"]);
    command.env(IS_AGAIN, "1").env_remove("SSL_CERT_FILE");
    if let Some(roots) = roots {
        command.env("SSL_CERT_FILE", roots);
    }
    let ended = command.output().expect("it starts");
    let said = String::from_utf8_lossy(&ended.stdout);
    let complained = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{said}{complained}");
    assert!(said.contains("1 passed"), "{said}");
}

fn is_again() -> bool {
    std::env::var_os(IS_AGAIN).is_some()
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(test);
}

/// A server that shows the certificate, on this address of the machine.
struct Server {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl Server {
    async fn on(address: &str) -> (Self, u16) {
        let chain: std::result::Result<Vec<_>, _> =
            CertificateDer::pem_slice_iter(CERTIFICATE).collect();
        let key = PrivateKeyDer::from_pem_slice(KEY).expect("a key");
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(chain.expect("certificates"), key);
        let acceptor = TlsAcceptor::from(Arc::new(config.expect("they fit")));
        let listener = TcpListener::bind((address, 0)).await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        (Self { listener, acceptor }, port)
    }

    /// Shakes hands with who connects next; an error says that they did not trust it.
    async fn accept(&self) -> std::io::Result<TlsStream<TcpStream>> {
        let accepted = tokio::time::timeout(PATIENCE, self.listener.accept()).await;
        let (stream, _) = accepted.expect("a connection in time")?;
        let shaken = tokio::time::timeout(PATIENCE, self.acceptor.accept(stream)).await;
        shaken.expect("a handshake in time")
    }
}

/// Answers what it hears, so that a server knows that it was heard, and makes an event of it.
async fn frame(text: String, ctx: Context) -> Result<Event> {
    ctx.conn().send("heard").await?;
    Ok(Event::inbound(json!({ "text": text })))
}

async fn connected(url: String) -> TestBroker {
    let connect = Connect::new("chat", url, frame).backoff("5ms", "20ms");
    TestBroker::start(Plugin::new("chat").connect(connect)).await
}

/// Makes sure that a server is given up in the handshake, each time anew, and that nothing of it comes in.
async fn refused(address: &str, host: &str) {
    let (server, port) = Server::on(address).await;
    let broker = connected(format!("tls://{host}:{port}")).await;
    for _ in 0..2 {
        let shaken = server.accept().await;
        assert!(shaken.is_err(), "{host} is not trusted");
    }
    broker
        .expect_nothing("plugin.inbound.>", json!({}), "100ms")
        .await;
}

/// Proves P5a, TLS: lines and WebSockets go over TLS to who is vouched for by name or address, and a server that is
/// vouched for under another name is refused.
#[test]
fn who_is_vouched_for_by_its_name_is_trusted() {
    if !is_again() {
        let roots = Path::new(env!("CARGO_MANIFEST_DIR")).join(AUTHORITY);
        return again("who_is_vouched_for_by_its_name_is_trusted", Some(&roots));
    }
    run(async {
        let (server, port) = Server::on("127.0.0.1").await;
        let broker = connected(format!("tls://localhost:{port}")).await;
        let mut stream = server.accept().await.expect("it is trusted");
        stream.write_all(b"over tls\n").await.expect("written");
        stream.flush().await.expect("sent");
        let mut answer = [0; 5];
        let heard = stream.read_exact(&mut answer);
        let heard = tokio::time::timeout(PATIENCE, heard).await;
        heard.expect("an answer in time").expect("read");
        assert_eq!(&answer, b"heard");
        let text = json!({ "text": "over tls" });
        broker.expect_published(INBOUND, text, "1s").await;
        drop(broker);

        let (server, port) = Server::on("127.0.0.1").await;
        let broker = connected(format!("wss://127.0.0.1:{port}/v1")).await;
        let stream = server.accept().await.expect("it is trusted");
        let upgraded = tokio_tungstenite::accept_async(stream).await;
        let mut socket = upgraded.expect("a handshake");
        let frame = Message::text("\"a frame\"");
        socket.send(frame).await.expect("sent");
        let heard = tokio::time::timeout(PATIENCE, socket.next()).await;
        let heard = heard.expect("an answer in time").expect("open");
        assert!(heard.expect("read").is_text());
        let text = json!({ "text": "a frame" });
        broker.expect_published(INBOUND, text, "1s").await;
        drop(broker);

        // The same machine, by an address that the certificate does not name.
        refused("127.0.0.2", "127.0.0.2").await;
    });
}

/// Proves P5a, TLS: a server that nobody vouches for is refused.
#[test]
fn who_is_vouched_for_by_nobody_is_refused() {
    if !is_again() {
        return again("who_is_vouched_for_by_nobody_is_refused", None);
    }
    run(refused("127.0.0.1", "localhost"));
}
