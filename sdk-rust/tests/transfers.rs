//! Blobs over HTTP: `ctx.http().download` and `upload`, against servers that the test plays and against
//! one of its own.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use trunkline::testing::TestBroker;
use trunkline::{BlobRef, Context, HttpError, Json, On, Plugin, Result};

const FILES: &str = "https://files.example";
/// The size of the file that must not be in memory.
const BIG: u64 = 50 << 20;
/// How much more memory than before a transfer of it may take.
const MEMORY_BYTES_MAX: u64 = 16 << 20;

/// Fetches a file and sends it on, as the event says.
async fn relay(what: Json, ctx: Context) -> Result<()> {
    let text = |name: &str| what[name].as_str().unwrap_or_default().to_owned();
    let api = ctx.http().at(text("server")).bearer("{config.token}");
    let mut download = api.download(text("path"));
    if let Some(bytes) = what["max_bytes"].as_u64() {
        download = download.max_bytes(bytes);
    }
    let blob = match download.await {
        Ok(blob) => blob,
        Err(error) => return said(&ctx, &error).await,
    };
    let upload = api.upload("/sent", &blob);
    let upload = match what["field"].as_str() {
        Some(field) => upload
            .field(field)
            .file_name("a \"cat\".jpg")
            .part("again", &blob)
            .form(json!({ "chat": 7 })),
        None => upload.method("put"),
    };
    let upload = match what["name"].as_str() {
        Some(name) => upload.file_name(name),
        None => upload,
    };
    let sent = match upload.await {
        Ok(answer) => answer.text().into_owned(),
        Err(error) => return said(&ctx, &error).await,
    };
    ctx.publish("agent.relayed", json!({ "blob": blob, "sent": sent }))
        .blob(&blob)
        .await?;
    Ok(())
}

async fn said(ctx: &Context, error: &HttpError) -> Result<()> {
    let said = json!({ "text": error.to_string(), "class": error.class(), "retryable": error.is_retryable() });
    ctx.publish("agent.failed", said).await?;
    Ok(())
}

async fn started() -> TestBroker {
    let relay = On::new("agent.relay", relay).timeout("2m");
    TestBroker::start(Plugin::new("relay").on(relay))
        .config(json!({ "token": "tok-secret" }))
        .await
}

#[tokio::test]
async fn an_answer_becomes_a_blob_and_a_blob_a_body() {
    let broker = started().await;
    let files = broker.http(FILES);
    let content = vec![7u8; 300_000];
    let got = files
        .on("GET", "/cat")
        .reply(503)
        .header("retry-after", "2")
        .reply(200)
        .header("content-type", "image/jpeg")
        .body(content.clone());
    let put = files.on("PUT", "/sent").reply(201).body("thanks");
    let relay = json!({ "server": FILES, "path": "/cat" });
    broker.publish("agent.relay", relay).await.expect("durable");
    let event = broker.expect_published("agent.relayed", json!({ "sent": "thanks" }), "5s");
    let event = event.await;
    let payload: Json = event.payload.json().expect("JSON");
    let blob: BlobRef = serde_json::from_value(payload["blob"].clone()).expect("a blob");
    assert_eq!(
        (blob.bytes, blob.media_type.as_deref()),
        (300_000, Some("image/jpeg"))
    );
    assert_eq!(
        blob.id,
        format!("sha256:{}", hex(&Sha256::digest(&content)))
    );
    assert_eq!(
        broker.client().blob().get(&blob.id).await.expect("kept"),
        content
    );
    assert_eq!(got.requests().len(), 2);
    let seen = &put.requests()[0];
    assert_eq!(
        (&seen.body, &seen.headers["content-type"][..]),
        (&content, "image/jpeg")
    );
    assert_eq!(seen.headers["authorization"], "Bearer tok-secret");
}

#[tokio::test]
async fn a_file_name_without_a_field_is_refused_before_anything_is_sent() {
    let broker = started().await;
    let files = broker.http(FILES);
    files.on("GET", "/cat").reply(200).body("x");
    let put = files.on("PUT", "/sent").reply(201);
    let relay = json!({ "server": FILES, "path": "/cat", "name": "a.jpg" });
    broker.publish("agent.relay", relay).await.expect("durable");
    let failed = broker.expect_published("agent.failed", json!({}), "5s");
    let failed: Json = failed.await.payload.json().expect("JSON");
    let text = failed["text"].as_str().unwrap_or_default();
    assert!(text.contains("hint: .field(name)"), "{text}");
    assert!(put.requests().is_empty());
}

#[tokio::test]
async fn a_form_of_parts_has_texts_and_blobs() {
    let broker = started().await;
    let files = broker.http(FILES);
    let got = files.on("GET", "/cat").reply(200);
    got.header("content-type", "image/gif").body("GIF89a");
    let posted = files.on("POST", "/sent").reply(200);
    let relay = json!({ "server": FILES, "path": "/cat", "field": "photo" });
    broker.publish("agent.relay", relay).await.expect("durable");
    broker
        .expect_published("agent.relayed", json!({}), "5s")
        .await;
    let seen = &posted.requests()[0];
    let boundary = seen.headers["content-type"]
        .strip_prefix("multipart/form-data; boundary=")
        .expect("a form of parts");
    let part = |head: &str, body: &str| format!("--{boundary}\r\n{head}\r\n\r\n{body}\r\n");
    let disposition = "content-disposition: form-data; name=";
    let expected = [
        part(&format!("{disposition}\"chat\""), "7"),
        part(
            &format!(
                "{disposition}\"photo\"; filename=\"a %22cat%22.jpg\"\r\ncontent-type: image/gif"
            ),
            "GIF89a",
        ),
        part(
            &format!("{disposition}\"again\"; filename=\"again\"\r\ncontent-type: image/gif"),
            "GIF89a",
        ),
        format!("--{boundary}--\r\n"),
    ];
    assert_eq!(String::from_utf8_lossy(&seen.body), expected.concat());
}

/// Proves: a download has a limit; beyond it is an error that says so, and no blob is left.
#[tokio::test]
async fn more_than_may_be_is_an_error_that_is_final() {
    let broker = started().await;
    let files = broker.http(FILES);
    let got = files.on("GET", "/cat").reply(200).body(vec![7u8; 1_001]);
    let relay = json!({ "server": FILES, "path": "/cat", "max_bytes": 1_000 });
    broker.publish("agent.relay", relay).await.expect("durable");
    let text = "http_error: GET https://files.example/cat was answered with 200 and more than 1000 bytes; \
                hint: raise max_bytes";
    let failed = json!({ "text": text, "class": "answered", "retryable": false });
    broker.expect_published("agent.failed", failed, "5s").await;
    assert_eq!(got.requests().len(), 1);
}

/// What the server of the test saw.
#[derive(Default)]
struct Seen {
    asked: AtomicU64,
    sent: Mutex<Vec<(u64, String)>>,
}

/// Serves `/big`, breaks its first answer off, and reads what is sent.
async fn serve(mut stream: TcpStream, seen: Arc<Seen>) -> std::io::Result<()> {
    let (reader, mut writer) = stream.split();
    let mut reader = BufReader::with_capacity(64 * 1024, reader);
    let (mut length, mut is_get, mut line) = (0, false, String::new());
    while reader.read_line(&mut line).await? > 2 {
        is_get |= line.starts_with("GET");
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().expect("a length");
        }
        line.clear();
    }
    if is_get {
        let first = seen.asked.fetch_add(1, Ordering::SeqCst) == 0;
        let head =
            format!("HTTP/1.1 200 OK\r\ncontent-type: video/mp4\r\ncontent-length: {BIG}\r\n\r\n");
        writer.write_all(head.as_bytes()).await?;
        let chunk = vec![b'v'; 1 << 20];
        for _ in 0..if first { 3 } else { BIG >> 20 } {
            writer.write_all(&chunk).await?;
        }
        return Ok(());
    }
    let (mut sha256, mut left, mut chunk) = (Sha256::new(), length, vec![0; 64 * 1024]);
    while left > 0 {
        let count = reader.read(&mut chunk).await?;
        assert!(count > 0, "the upload ended {left} bytes early");
        sha256.update(&chunk[..count]);
        left -= count as u64;
    }
    let sent = (length, hex(&sha256.finalize()));
    seen.sent.lock().expect("nobody panicked").push(sent);
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";
    writer.write_all(answer.as_bytes()).await
}

/// Proves: 50 MB come in, are kept and go out again in pieces; what broke off is fetched again.
#[tokio::test]
async fn a_big_file_passes_through_without_being_in_memory() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let server = format!("http://{}", listener.local_addr().expect("an address"));
    let seen = Arc::<Seen>::default();
    let noted = seen.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, noted.clone()));
        }
    });
    let broker = started().await;
    broker.http(&server).pass_through();
    let before = peak_bytes();
    let relay = json!({ "server": server, "path": "/big" });
    broker.publish("agent.relay", relay).await.expect("durable");
    let event = broker.expect_published("agent.relayed", json!({ "sent": "ok" }), "60s");
    let payload: Json = event.await.payload.json().expect("JSON");
    let grown = peak_bytes().saturating_sub(before);
    assert_eq!(payload["blob"]["bytes"], BIG);
    assert_eq!(payload["blob"]["media_type"], "video/mp4");
    let sha256 = payload["blob"]["id"].as_str().expect("an id")["sha256:".len()..].to_owned();
    assert_eq!(*seen.sent.lock().expect("nobody panicked"), [(BIG, sha256)]);
    assert_eq!(seen.asked.load(Ordering::SeqCst), 2);
    assert!(grown < MEMORY_BYTES_MAX, "{grown} bytes more than before");
}

/// Gives the most memory that this process had so far.
fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .expect("a line");
    let kib = line.split_whitespace().nth(1).expect("a number");
    kib.parse::<u64>().expect("a number") * 1024
}

/// Proves: a URL from outside reaches nothing inside, as a download as little as any call.
#[tokio::test]
async fn a_guarded_download_leaves_for_public_addresses_only() {
    let fetch = async |_: Json, ctx: Context| {
        let guarded = ctx.http().at("http://127.0.0.1:9/").guard();
        let error = guarded.download("/x").await.expect_err("refused");
        said(&ctx, &error).await
    };
    let plugin = Plugin::new("fetcher").on(On::new("agent.fetch", fetch));
    let broker = TestBroker::start(plugin).await;
    broker.http("http://127.0.0.1:9").pass_through();
    broker
        .publish("agent.fetch", json!({}))
        .await
        .expect("durable");
    let failed = json!({ "class": "not_sent", "retryable": false });
    broker.expect_published("agent.failed", failed, "5s").await;
}

fn hex(digest: &[u8]) -> String {
    let mut text = String::new();
    for byte in digest {
        write!(text, "{byte:02x}").expect("a String takes every write");
    }
    text
}
