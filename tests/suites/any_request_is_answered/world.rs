//! The real tree of paths on the core in memory, and what is true of every answer.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};
use trunkline_broker::core::InstanceSetup;
use trunkline_broker::gateway::api::{self, openapi};
use trunkline_broker::gateway::testing::{TestHttp, config};
use trunkline_broker::instance::InstanceKey;
use trunkline_broker::router::RetryPolicy;
use trunkline_broker::testing::{TOKEN, TestBroker};
use trunkline_contract::error::Code;
use trunkline_contract::grant::Grants;
use trunkline_contract::webhook::{Scheme, Webhook};

use crate::request::{self, HOST};

/// Inputs that one broker answers; then what they left is thrown away.
const INPUTS_MAX: u32 = 2_000;
/// Bytes of an answer that are looked at.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// An answer that takes longer never comes.
const PATIENCE: Duration = Duration::from_secs(20);
/// What a platform of webhooks would know.
const HOOK_SECRET: &str = "platform-knows-this";
/// How the token begins.
const TOKEN_BEGIN: &str = "test-token";

/// A broker that answers, until it has answered enough.
#[derive(Default)]
pub(crate) struct World(Option<Life>);

struct Life {
    runtime: Runtime,
    broker: TestBroker,
    http: TestHttp,
    _dir: Dir,
    left: u32,
}

/// A directory that goes with the world.
struct Dir(PathBuf);

struct Answer {
    status: u16,
    body: Vec<u8>,
    /// Headers and body.
    text: Vec<u8>,
}

impl World {
    /// Has the bytes answered, if they are a request, and says whether they are.
    ///
    /// # Panics
    /// When the answer is not as documented.
    pub(crate) fn check(&mut self, data: &[u8]) -> bool {
        // Who knows it may say it.
        if holds(data, TOKEN_BEGIN) {
            return false;
        }
        let Some(request) = request::read(data) else {
            return false;
        };
        let mut life = self.0.take().unwrap_or_else(|| {
            let life = Life::begin();
            life.check_doors();
            life
        });
        life.check(data, request);
        life.left -= 1;
        if life.left == 0 {
            life.end();
        } else {
            self.0 = Some(life);
        }
        true
    }
}

impl Life {
    fn begin() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime can be made");
        let path = std::env::temp_dir().join(format!("trunkline-requests-{}", std::process::id()));
        let (broker, http) = runtime.block_on(async {
            let broker = TestBroker::start(1).expect("memory has room");
            broker.configure(setup()).await.expect("it is valid");
            let http = TestHttp::start(broker.broker(), TOKEN, config(), &path);
            (broker, http.expect("threads can be made"))
        });
        Self {
            runtime,
            broker,
            http,
            _dir: Dir(path),
            left: INPUTS_MAX,
        }
    }

    fn end(self) {
        drop(self.http);
        let ended = self.runtime.block_on(self.broker.stop());
        ended.expect("it runs until here");
    }

    fn check(&self, data: &[u8], request: Request<Body>) {
        let path = request.uri().path().to_owned();
        let is_head = request.method() == Method::HEAD;
        let has_token = request
            .headers()
            .get("authorization")
            .is_some_and(|value| value.as_bytes().ends_with(TOKEN.as_bytes()));
        let answer = self.answer(request);
        if answer.status >= 500 {
            let text = String::from_utf8_lossy(&answer.body);
            let status = answer.status;
            let is_documented = if is_head {
                is_known(status)
            } else {
                is_documented(&path, &answer)
            };
            assert!(is_documented, "{path}: {status} {text}");
        }
        if !has_token && !is_open(&path) {
            assert!(answer.status >= 400, "{path} let a stranger in");
        }
        for secret in [TOKEN, HOOK_SECRET] {
            let is_told = holds(&answer.text, secret) && !holds(data, secret);
            assert!(!is_told, "{path} tells a secret");
        }
    }

    /// Every operation that needs a token says so before anything else.
    fn check_doors(&self) {
        let document = openapi::document(&api::operations());
        let paths = document["paths"].as_object().expect("it has paths");
        let operations = paths.iter().flat_map(|(path, methods)| {
            let methods = methods.as_object().expect("it has methods");
            methods.iter().map(move |operation| (path, operation))
        });
        for (path, (method, operation)) in operations {
            if operation["security"] == json!([]) {
                continue;
            }
            let path = path.replace("{scope}", "client").replace(['{', '}'], "");
            let request = Request::builder()
                .method(method.to_ascii_uppercase().as_str())
                .uri(&path)
                .header("host", HOST)
                .header("content-type", "application/json")
                .body(Body::from("{}"));
            let answer = self.answer(request.expect("it is well made"));
            assert_eq!(answer.status, 401, "{method} {path} without a token");
        }
    }

    fn answer(&self, request: Request<Body>) -> Answer {
        let asked = format!("{} {}", request.method(), request.uri());
        let answer = async {
            let (parts, mut body) = self.http.answer(request).await.into_parts();
            let kind = parts.headers.get("content-type");
            let is_stream = kind.is_some_and(|kind| kind == "text/event-stream");
            let mut bytes = Vec::new();
            // A stream goes on until somebody leaves: what it has to say at once is enough.
            let patience = if is_stream { Duration::ZERO } else { PATIENCE };
            while let Ok(Some(Ok(frame))) = tokio::time::timeout(patience, body.frame()).await {
                bytes.extend_from_slice(frame.data_ref().map_or(&[][..], |data| &data[..]));
                if is_stream || bytes.len() > ANSWER_BYTES_MAX {
                    break;
                }
            }
            let mut text = bytes.clone();
            for (name, value) in &parts.headers {
                text.extend_from_slice(name.as_str().as_bytes());
                text.extend_from_slice(value.as_bytes());
            }
            Answer {
                status: parts.status.as_u16(),
                body: bytes,
                text,
            }
        };
        let answer = async { tokio::time::timeout(PATIENCE, answer).await };
        let answer = self.runtime.block_on(answer);
        answer.unwrap_or_else(|_| panic!("{asked} was not answered within {PATIENCE:?}"))
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        // It is there once a plugin has printed something.
        let removed = std::fs::remove_dir_all(&self.0);
        if let Err(error) = removed.or_else(|error| match error.kind() {
            ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        }) {
            eprintln!("{}: {error}", self.0.display());
        }
    }
}

fn setup() -> InstanceSetup {
    let hook = |scheme, name: &str| {
        let mut webhook = Webhook::new("bot", scheme, "{config.key}");
        webhook.name = Some(name.to_owned());
        webhook
    };
    InstanceSetup {
        key: InstanceKey::parse("bot/main"),
        version: "1.0.0".to_owned(),
        kinds: vec!["bot".to_owned()],
        grants: Grants::default(),
        tools: Vec::new(),
        webhooks: vec![hook(Scheme::Telegram, "tg"), hook(Scheme::Github, "gh")],
        config: serde_json::Map::new(),
        secrets: [("key".to_owned(), HOOK_SECRET.to_owned())].into(),
        state_dir: None,
        retry: RetryPolicy::default(),
        features: std::collections::BTreeMap::new(),
        legacy: false,
        ping_interval_ms: 0,
    }
}

/// Paths whose answers are for everybody, for whoever has another secret, or a plugin's own to refuse.
fn is_open(path: &str) -> bool {
    let everybodys = ["/healthz", "/readyz", "/v1/openapi.json"];
    everybodys.contains(&path) || path.starts_with("/hooks/") || path.starts_with("/plugins/")
}

/// Says whether an error of the server is one that is documented.
fn is_documented(path: &str, answer: &Answer) -> bool {
    if path == "/readyz" && answer.status == 503 {
        return true;
    }
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let code = body["error"]["code"].as_str().unwrap_or_default();
    let known = Code::ALL.iter().find(|known| known.as_str() == code);
    known.is_some_and(|known| *known != Code::Internal && known.http_status() == answer.status)
}

/// Says whether a status is of an error that is documented: without a body it is all there is.
fn is_known(status: u16) -> bool {
    let mut known = Code::ALL.iter().filter(|known| **known != Code::Internal);
    known.any(|known| known.http_status() == status)
}

fn holds(text: &[u8], word: &str) -> bool {
    text.windows(word.len()).any(|part| part == word.as_bytes())
}
