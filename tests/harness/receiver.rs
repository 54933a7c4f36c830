//! Somebody's own server, to which answers are posted: for plugins that connect whatever speaks HTTP.

use std::collections::{BTreeMap, VecDeque};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use serde_json::{Value, json};

use super::stage::{Server, Stage, json_answer};

/// A request that came.
#[derive(Debug, Clone)]
pub struct Request {
    /// Its path.
    pub path: String,
    /// Its headers, names in lower case.
    pub headers: BTreeMap<String, String>,
    /// Its body; null where it is no JSON.
    pub body: Value,
}

#[derive(Debug, Default)]
struct Seen {
    requests: Vec<Request>,
    refusals: VecDeque<u16>,
}

/// A server that takes everything.
#[derive(Debug)]
pub struct Receiver {
    server: Server<Seen>,
    address: String,
}

impl Receiver {
    /// Starts it.
    pub fn start() -> Self {
        let server = Server::start(Seen::default());
        let router = Router::new()
            .fallback(take)
            .with_state(server.stage().clone());
        let address = server.http(router);
        Self { server, address }
    }

    /// Its address, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The next request is answered with this status.
    pub fn refuse(&self, status: u16) {
        let stage = self.server.stage();
        stage.change(|seen| seen.refusals.push_back(status));
    }

    /// Waits until so many requests came on a path; gives them all.
    pub fn came(&self, path: &str, count: usize) -> Vec<Request> {
        let what = format!("{count} requests on {path}");
        self.server.wait(&what, |seen| {
            let on_it = seen.requests.iter().filter(|request| request.path == path);
            let on_it: Vec<_> = on_it.cloned().collect();
            (on_it.len() >= count).then_some(on_it)
        })
    }
}

async fn take(
    State(stage): State<Stage<Seen>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let headers = headers.iter().map(|(name, value)| {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        (name.as_str().to_owned(), value)
    });
    let request = Request {
        path: uri.path().to_owned(),
        headers: headers.collect(),
        body: serde_json::from_slice(&body).unwrap_or_default(),
    };
    let status = stage.change(|seen| {
        seen.requests.push(request);
        seen.refusals.pop_front()
    });
    json_answer(status.unwrap_or(202), &json!({}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_posted_is_kept_by_its_path() {
        let receiver = Receiver::start();
        let post = |path: &str| {
            let sent = crate::http::send(&receiver.address, "POST", path, &[], r#"{"n": 1}"#);
            sent.unwrap().status
        };
        receiver.refuse(503);
        assert_eq!([post("/a"), post("/a"), post("/b")], [503, 202, 202]);
        let came = receiver.came("/a", 2);
        assert_eq!((came.len(), &came[0].body), (2, &json!({ "n": 1 })));
        assert!(came[0].headers.contains_key("host"));
    }
}
