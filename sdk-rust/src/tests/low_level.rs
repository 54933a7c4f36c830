//! Plugins on the low-level form alone: a server of their own, and a connection of their own.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};

use super::peer::Served;
use crate::{Code, Event, PluginAdapter};

const MANIFEST: &str = r#"
[plugin]
id = "echo"
version = "0.1.0"
command = ["./echo"]

[[channels]]
kind = "echo"
"#;
const INBOUND: &str = "plugin.inbound.echo";

fn stored() -> Value {
    json!({ "seq": 3, "duplicate": false, "matched": 0 })
}

/// Proves H3, Rust part: a server of the plugin's own publishes through a sender that was taken before the run.
#[test]
fn a_server_of_the_plugin_publishes_what_it_is_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let at = listener.local_addr().expect("it is bound");
    let mut served = Served::start(move || {
        let adapter = PluginAdapter::new(MANIFEST);
        let broker = adapter.broker();
        tokio::spawn(async move {
            listener.set_nonblocking(true).expect("a socket");
            let listener = tokio::net::TcpListener::from_std(listener).expect("a socket");
            let (mut stream, _) = listener.accept().await.expect("the test connects");
            let mut body = [0; 11];
            stream.read_exact(&mut body).await.expect("a body");
            let body: Value = serde_json::from_slice(&body).expect("it is JSON");
            let done = broker
                .publish(INBOUND, Event::new(INBOUND, "web", body))
                .await;
            let line = format!(
                "{}\n",
                done.expect("it is stored").seq.expect("it is durable")
            );
            stream
                .write_all(line.as_bytes())
                .await
                .expect("the test reads");
        });
        adapter.plugin
    });
    served.peer.activate();
    let mut posted = TcpStream::connect(at).expect("it listens");
    posted.write_all(br#"{"n": 1234}"#).expect("it reads");
    let published = served.peer.expect_and_answer("broker.publish", &stored());
    assert_eq!(published["topic"], INBOUND);
    assert_eq!(published["event"]["payload"], json!({ "n": 1234 }));
    let mut answer = String::new();
    posted.read_to_string(&mut answer).expect("an answer");
    assert_eq!(answer, "3\n");
    served.shut_down();
}

/// Proves H3, Rust part: a connection of the plugin's own is read, published from, and made again.
#[test]
fn a_connection_of_the_plugin_is_read_and_made_again() {
    let gateway = TcpListener::bind("127.0.0.1:0").expect("a port");
    let at = gateway.local_addr().expect("it is bound");
    let mut served = Served::start(move || {
        let adapter = PluginAdapter::new(MANIFEST);
        let broker = adapter.broker();
        tokio::spawn(async move {
            loop {
                let stream = tokio::net::TcpStream::connect(at)
                    .await
                    .expect("it listens");
                let (read, mut write) = stream.into_split();
                write.write_all(b"login\n").await.expect("it reads");
                let mut lines = tokio::io::BufReader::new(read).lines();
                while let Some(line) = lines.next_line().await.expect("it ends in order") {
                    let event = Event::new(INBOUND, "gateway", json!({ "text": line }));
                    broker.publish(INBOUND, event).await.expect("it is stored");
                }
            }
        });
        adapter.plugin
    });
    served.peer.activate();
    for texts in [["one", "two"], ["three", "four"]] {
        let (stream, _) = gateway.accept().expect("it connects");
        let mut login = String::new();
        BufReader::new(&stream)
            .read_line(&mut login)
            .expect("it logs in");
        assert_eq!(login, "login\n");
        for text in texts {
            (&stream)
                .write_all(format!("{text}\n").as_bytes())
                .expect("it reads");
            let published = served.peer.expect_and_answer("broker.publish", &stored());
            assert_eq!(published["event"]["payload"], json!({ "text": text }));
        }
    }
    served.shut_down();
}

/// Proves: an adapter that could not answer what its manifest declares does not start, and says what to do.
#[test]
fn an_adapter_with_a_declared_tool_is_refused_at_the_start() {
    let manifest =
        format!("{MANIFEST}\n[[tools]]\nname = \"charge\"\ndescription = \"Charges.\"\n");
    let adapter = PluginAdapter::new(&manifest);
    assert!(adapter.plugin.check().is_ok());
    let handled = adapter.on_event(async |_, _, _| {});
    let error = handled.plugin.check().expect_err("nobody would answer");
    assert_eq!(error.code, Code::ConfigInvalid);
    let told = "publish answers on plugin.tool.echo.charge.reply";
    assert!(error.message.ends_with(told), "{error}");
}
