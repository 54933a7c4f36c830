//! "A big file goes by reference": content of 100 MB through the real daemon, by file and over HTTP, in constant
//! memory, over cuts and kills.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use trunkline::{BlobRef, Client, Code, Start};
use trunkline_tests::daemon::{Daemon, Setup};
use trunkline_tests::random::Random;
use trunkline_tests::scenario::is_long;

/// What a programmer calls 100 MB.
const BIG: u64 = 100_000_000;
/// Memory that may be added while content passes, whatever its size: a third of it.
const ADDED_BYTES_MAX: u64 = 32 << 20;
/// Lives of the daemon that end by a kill.
const LIVES: usize = 4;
const LONG_LIVES: usize = 40;

fn write_content(path: &Path, bytes: u64, seed: u64) {
    let mut random = Random::new(seed);
    let mut file = std::io::BufWriter::with_capacity(1 << 20, File::create(path).unwrap());
    let mut left = bytes;
    while left > 0 {
        let piece = random.number().to_le_bytes();
        let count = left.min(8) as usize;
        file.write_all(&piece[..count]).unwrap();
        left -= count as u64;
    }
    file.flush().unwrap();
}

fn are_same(one: &Path, other: &Path) -> bool {
    let (mut one, mut other) = (File::open(one).unwrap(), File::open(other).unwrap());
    let (mut a, mut b) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    loop {
        let count = one.read(&mut a).unwrap();
        if other.read_exact(&mut b[..count]).is_err() || a[..count] != b[..count] {
            return false;
        }
        if count == 0 {
            return other.read(&mut b).unwrap() == 0;
        }
    }
}

/// The most memory that a process ever had.
fn peak_bytes(pid: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kilobytes.unwrap() * 1024
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

async fn near(setup: &Setup, name: &str) -> Client {
    let client = Client::new(name).socket(setup.socket());
    client.token(setup.token()).connect().await.unwrap()
}

fn http(setup: &Setup) -> String {
    let text = fs::read_to_string(setup.data.join("http.addr")).unwrap();
    text.trim().trim_start_matches("http://").to_owned()
}

async fn far(setup: &Setup, name: &str) -> Client {
    let client = Client::new(name).url(format!("ws://{}/v1/link", http(setup)));
    client.token(setup.token()).connect().await.unwrap()
}

fn begin(home: &Path) -> (Setup, Daemon) {
    let setup = Setup::new(home, &home.join("data"), "");
    let daemon = setup.start().unwrap();
    (setup, daemon)
}

/// Puts a big file as one peer, has its event handed to another, and gets it there; gives what was added to
/// the peak of the daemon and of this process.
async fn pass(
    daemon: &Daemon,
    [from, to]: [&Client; 2],
    [content, copy]: [&Path; 2],
    name: String,
) -> (BlobRef, [u64; 2]) {
    let pid = daemon.pid().to_string();
    let peaks = || [peak_bytes(&pid), peak_bytes("self")];
    let mut events = to
        .subscribe(["agent.media"])
        .name(name)
        .start(Start::New)
        .await
        .unwrap();
    let before = peaks();
    let put = from.blob().put(content).media_type("video/mp4");
    let blob = put.await.unwrap();
    let event = json!({ "video": blob.id });
    let publish = from.publish("agent.media", event).blob(&blob);
    publish.await.unwrap();
    let delivery = events.next().await.unwrap();
    assert!(delivery.raw().len() < 1000, "{}", delivery.raw());
    let payload: Value = delivery.payload().unwrap();
    let id = payload["video"].as_str().unwrap().to_owned();
    delivery.ack();
    let got = to.blob().save(&id, copy).await.unwrap();
    assert_eq!(got, blob);
    let after = peaks();
    (blob, [after[0] - before[0], after[1] - before[1]])
}

/// Proves W17: media of more than 50 MB passes by reference and never inside a frame.
/// Proves LN5: 100 MB go both ways in constant memory, and their SHA-256 is checked, by file and over HTTP.
#[test]
fn a_big_file_goes_by_reference() {
    let home = tempfile::tempdir().unwrap();
    let (setup, daemon) = begin(home.path());
    runtime().block_on(async {
        let near = near(&setup, "near").await;
        let far = far(&setup, "far").await;
        for (number, clients) in [[&near, &near], [&near, &far], [&far, &near], [&far, &far]]
            .into_iter()
            .enumerate()
        {
            let content = home.path().join(format!("content-{number}"));
            let copy = home.path().join(format!("copy-{number}"));
            write_content(&content, BIG, number as u64 + 1);
            let (blob, added) =
                pass(&daemon, clients, [&content, &copy], format!("way-{number}")).await;
            assert_eq!(blob.bytes, BIG);
            assert_eq!(blob.media_type.as_deref(), Some("video/mp4"));
            assert!(are_same(&content, &copy), "{number}");
            println!(
                "way {number}: the daemon's peak grew by {}, ours by {}",
                added[0], added[1]
            );
            for added in added {
                assert!(added <= ADDED_BYTES_MAX, "way {number}: {added} bytes");
            }
            for path in [content, copy] {
                fs::remove_file(path).unwrap();
            }
        }
    });
}

/// One HTTP/1.1 request by hand, so that it can be cut.
struct Request {
    stream: TcpStream,
}

impl Request {
    fn send(origin: &str, head: &str, token: &str) -> Self {
        let mut stream = TcpStream::connect(origin).unwrap();
        let head = format!(
            "{head}\r\nHost: {origin}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        Self { stream }
    }

    /// The status, the head and the body.
    fn answer(mut self) -> (u16, String, Vec<u8>) {
        let mut all = Vec::new();
        self.stream.read_to_end(&mut all).unwrap();
        let end = all.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
        let head = String::from_utf8(all[..end].to_vec()).unwrap();
        let status = head.split_whitespace().nth(1).unwrap().parse().unwrap();
        (status, head.to_lowercase(), all.split_off(end + 4))
    }
}

fn number(head: &str, name: &str) -> u64 {
    let line = head.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_once(": ").unwrap().1.parse().unwrap()
}

/// Proves LN5: an upload and a download that are cut go on where they were.
#[test]
fn a_transfer_that_is_cut_goes_on_where_it_was() {
    const BYTES: u64 = 20_000_000;
    let home = tempfile::tempdir().unwrap();
    let (setup, _daemon) = begin(home.path());
    let content = home.path().join("content");
    write_content(&content, BYTES, 7);
    let content = fs::read(content).unwrap();
    let origin = http(&setup);
    runtime().block_on(async {
        let far = far(&setup, "far").await;
        let place: Value = far
            .request("blob.put", &json!({ "bytes": BYTES }))
            .await
            .unwrap();
        let (url, token) = (place["url"].as_str().unwrap(), place["token"].as_str().unwrap());

        let head = format!("PUT {url} HTTP/1.1\r\nContent-Length: {BYTES}");
        let cut = Request::send(&origin, &head, token);
        let mut stream = &cut.stream;
        stream.write_all(&content[..8_000_000]).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let (status, ..) = cut.answer();
        assert_eq!(status, 400, "it is told that its content broke off");
        // The link may be cut as well: an upload is the source's.
        far.close().await;
        let far = self::far(&setup, "far").await;

        let ask = format!("HEAD {url} HTTP/1.1");
        let (status, head, _) = Request::send(&origin, &ask, token).answer();
        assert_eq!(status, 200);
        let there = number(&head, "upload-offset");
        assert_eq!(there, 8_000_000);
        assert_eq!(number(&head, "upload-length"), BYTES);
        let finish = json!({ "upload": place["upload"], "sha256": "0".repeat(64) });
        let early = far.request::<Value>("blob.finish", &finish).await;
        assert_eq!(early.unwrap_err().code, Code::InvalidArguments);

        // What does not begin where the content ends is refused, a stranger too.
        let gap = format!(
            "PUT {url} HTTP/1.1\r\nContent-Length: 1\r\nContent-Range: bytes 9000000-9000000/{BYTES}"
        );
        let request = Request::send(&origin, &gap, token);
        (&request.stream).write_all(b"x").unwrap();
        assert_eq!(request.answer().0, 409);
        assert_eq!(Request::send(&origin, &ask, "another").answer().0, 404);

        let rest = &content[there as usize..];
        let head = format!(
            "PUT {url} HTTP/1.1\r\nContent-Length: {}\r\nContent-Range: bytes {there}-{}/{BYTES}",
            rest.len(),
            BYTES - 1
        );
        let request = Request::send(&origin, &head, token);
        (&request.stream).write_all(rest).unwrap();
        assert_eq!(request.answer().0, 204);
        let wrong: Value = json!({ "upload": place["upload"], "sha256": sha256(&content) });
        let done: BlobRef = far.request("blob.finish", &wrong).await.unwrap();
        assert_eq!(done.bytes, BYTES);

        let got: Value = far.request("blob.get", &json!({ "id": done.id })).await.unwrap();
        let (url, token) = (got["url"].as_str().unwrap(), got["token"].as_str().unwrap());
        let whole = Request::send(&origin, &format!("GET {url} HTTP/1.1"), token);
        let mut first = vec![0; 5_000_000];
        (&whole.stream).read_exact(&mut first).unwrap();
        drop(whole);
        let ask = format!("GET {url} HTTP/1.1\r\nRange: bytes=4000000-");
        let (status, head, rest) = Request::send(&origin, &ask, token).answer();
        assert_eq!(status, 206);
        assert!(head.contains(&format!("bytes 4000000-{}/{BYTES}", BYTES - 1)), "{head}");
        assert!(rest == content[4_000_000..], "the rest is the rest");
        let beyond = format!("GET {url} HTTP/1.1\r\nRange: bytes={BYTES}-");
        assert_eq!(Request::send(&origin, &beyond, token).answer().0, 416);
        // A client's own token opens what the client may read.
        let own = setup.token();
        let (status, _, all) =
            Request::send(&origin, &format!("GET {url} HTTP/1.1"), &own).answer();
        assert_eq!(status, 200);
        assert!(all == content);
        assert_eq!(
            Request::send(&origin, &format!("GET {url} HTTP/1.1"), "another").answer().0,
            401
        );
    });
}

fn sha256(content: &[u8]) -> String {
    let digest = Sha256::digest(content);
    digest.iter().fold(String::new(), |mut text, byte| {
        std::fmt::Write::write_fmt(&mut text, format_args!("{byte:02x}"))
            .expect("a String takes every write");
        text
    })
}

/// Everything under a directory that is a file.
fn files(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else {
        return Vec::new();
    };
    entries
        .flatten()
        .flat_map(|entry| match entry.path() {
            path if path.is_dir() => files(&path),
            path => vec![path],
        })
        .collect()
}

/// A broker that is killed at any point has every blob that it acknowledged, whole, and no record without its
/// file: what is not acknowledged can be put again.
#[test]
fn a_blob_that_was_acknowledged_survives_a_kill() {
    let home = tempfile::tempdir().unwrap();
    let setup = Setup::new(home.path(), &home.path().join("data"), "");
    let lives = if is_long() { LONG_LIVES } else { LIVES };
    let acked: Arc<Mutex<Vec<(u64, BlobRef)>>> = Arc::default();
    let content = |seed: u64| {
        let mut random = Random::new(seed);
        (0..8_192)
            .flat_map(|_| random.number().to_le_bytes())
            .collect::<Vec<u8>>()
    };
    let runtime = runtime();
    let mut random = Random::new(3);
    for life in 0..lives {
        let daemon = setup.start().unwrap();
        runtime.block_on(async {
            let client = near(&setup, "near").await;
            let known = acked.lock().unwrap().clone();
            for (seed, blob) in &known {
                let found = client.blob().get(&blob.id).await.unwrap();
                assert!(found == content(*seed), "{blob:?}");
            }
            assert!(files(&setup.data.join("spool")).len() <= known.len());
            let enough = 4 + random.below(12) as usize;
            let goal = known.len() + enough;
            let mut putting = Vec::new();
            for worker in 0..4u64 {
                let (client, acked) = (client.clone(), acked.clone());
                putting.push(tokio::spawn(async move {
                    for round in 0.. {
                        let seed = 1 + (life as u64) * 1_000_000 + worker * 10_000 + round;
                        let mut random = Random::new(seed);
                        let content: Vec<u8> = (0..8_192)
                            .flat_map(|_| random.number().to_le_bytes())
                            .collect();
                        let Ok(blob) = client.blob().put(content).await else {
                            return;
                        };
                        let mut acked = acked.lock().unwrap();
                        acked.push((seed, blob));
                    }
                }));
            }
            // In the middle of what the workers do.
            while acked.lock().unwrap().len() < goal {
                tokio::task::yield_now().await;
            }
            daemon.kill();
            for putting in putting {
                putting.abort();
            }
        });
    }
    let _daemon = setup.start().unwrap();
    runtime.block_on(async {
        let client = near(&setup, "near").await;
        let known = acked.lock().unwrap().clone();
        println!("{} blobs through {lives} kills", known.len());
        for (seed, blob) in &known {
            assert!(client.blob().get(&blob.id).await.unwrap() == content(*seed));
        }
    });
}
