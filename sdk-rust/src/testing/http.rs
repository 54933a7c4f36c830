//! An HTTP server, as a test plays it.

use std::collections::BTreeMap;
use std::sync::Arc;

use hyper::body::Bytes;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde::Serialize;
use serde::de::DeserializeOwned;
use trunkline_contract::error::{Code, Error};

use super::outside::{Fake, Reply};
use crate::http::Asked;
use crate::payload::Json;

/// Is a server outside, as a test plays it.
pub struct HttpFake {
    pub(super) fake: Arc<Fake>,
    pub(super) server: String,
}

impl HttpFake {
    /// Begins the answers to requests of a method, `*` for any, whose path fits a pattern in which
    /// `*` is any text. Where several fit, the one that was added last answers.
    ///
    /// # Panics
    /// When the server's address is none.
    pub fn on(&self, method: &str, path: &str) -> HttpRoute {
        let number = self.fake.on(&self.server, method, path);
        HttpRoute {
            fake: self.fake.clone(),
            number: number.unwrap_or_else(|error| panic!("{error}")),
            reply: None,
        }
    }

    /// Lets requests to this server out, for a test that runs one of its own.
    ///
    /// # Panics
    /// When the server's address is none.
    pub fn pass_through(&self) {
        let passed = self.fake.pass_through(&self.server);
        passed.unwrap_or_else(|error| panic!("{error}"));
    }
}

/// Is what a server answers to some requests, one after the other; the last answer stays.
pub struct HttpRoute {
    fake: Arc<Fake>,
    number: usize,
    /// The answer that is being put together, counted from the first one.
    reply: Option<usize>,
}

impl HttpRoute {
    fn push(mut self, reply: Reply) -> Self {
        let place = self.fake.begin_reply(self.number, reply);
        self.reply = place.ok();
        self
    }

    fn change(self, change: impl FnOnce(&mut HeaderMap, &mut Bytes)) -> Self {
        let place = self.reply.expect("say `.reply(status)` first");
        let changed = self.fake.with(self.number, |route| {
            let place = place.checked_sub(route.given);
            let reply = place.and_then(|place| route.replies.get_mut(place));
            if let Some(Reply::Answer { headers, body, .. }) = reply {
                change(headers, body);
            }
        });
        changed.unwrap_or_else(|error| panic!("{error}"));
        self
    }

    /// Adds an answer that was put together elsewhere.
    pub(super) fn answers(&self, reply: Reply) -> Result<(), Error> {
        self.fake.reply(self.number, reply)
    }

    /// Answers with a status.
    pub fn reply(self, status: u16) -> Self {
        self.push(Reply::new(status))
    }

    /// Gives the answer a header.
    ///
    /// # Panics
    /// Without a reply before it, or when it is no header.
    pub fn header(self, name: &str, value: &str) -> Self {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("the name of a header");
        let value = HeaderValue::from_str(value).expect("the value of a header");
        self.change(move |headers, _| {
            headers.append(name, value);
        })
    }

    /// Gives the answer a JSON body.
    ///
    /// # Panics
    /// Without a reply before it.
    pub fn json(self, body: impl Serialize) -> Self {
        let text = serde_json::to_vec(&body).expect("an answer has a JSON form");
        let json = HeaderValue::from_static("application/json");
        self.change(move |headers, bytes| {
            headers.insert(reqwest::header::CONTENT_TYPE, json);
            *bytes = text.into();
        })
    }

    /// Gives the answer a body.
    ///
    /// # Panics
    /// Without a reply before it.
    pub fn body(self, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into().into();
        self.change(move |_, bytes| *bytes = body)
    }

    /// Takes the request, and never answers.
    pub fn lose(self) -> Self {
        self.push(Reply::lost())
    }

    /// Lets nobody connect.
    pub fn refuse(self) -> Self {
        self.push(Reply::refused())
    }

    /// Gives the requests that came, oldest first.
    pub fn requests(&self) -> Vec<HttpSeen> {
        self.fake.requests(self.number).unwrap_or_default()
    }
}

/// Is a request that a plugin sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpSeen {
    /// The method.
    pub method: String,
    /// The whole address.
    pub url: String,
    /// Its path.
    pub path: String,
    /// The pairs of its query.
    pub query: BTreeMap<String, String>,
    /// The headers, their names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: Vec<u8>,
}

impl HttpSeen {
    pub(super) fn of(asked: &Asked) -> Self {
        let headers = asked.headers.iter();
        Self {
            method: asked.method.to_string(),
            url: asked.url.to_string(),
            path: asked.url.path().to_owned(),
            query: asked.url.query_pairs().into_owned().collect(),
            headers: headers
                .map(|(name, value)| {
                    let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
                    (name.to_string(), value)
                })
                .collect(),
            body: asked.body.read().unwrap_or_default(),
        }
    }

    /// Reads the body as JSON.
    ///
    /// # Panics
    /// When it is none.
    pub fn json<T: DeserializeOwned>(&self) -> T {
        serde_json::from_slice(&self.body).expect("the request has a JSON body")
    }

    /// Reads the body as a form.
    pub fn form(&self) -> BTreeMap<String, String> {
        let text = String::from_utf8_lossy(&self.body);
        let url = reqwest::Url::parse(&format!("http://form/?{text}"));
        url.map(|url| url.query_pairs().into_owned().collect())
            .unwrap_or_default()
    }
}

/// Makes an answer from its parts, as other languages give them.
pub(crate) fn reply_of(
    status: u16,
    given: BTreeMap<String, String>,
    json: Option<&Json>,
    body: Vec<u8>,
) -> Result<Reply, Error> {
    let mut headers = HeaderMap::new();
    let is_json = json.is_some();
    for (name, value) in given {
        let refused = || {
            let text = format!("expected a header, found {name:?}");
            Error::new(Code::InvalidArguments, text)
        };
        let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| refused())?;
        let value = HeaderValue::from_str(&value).map_err(|_| refused())?;
        headers.append(header, value);
    }
    let body = json.map_or(body, |json| json.to_string().into_bytes());
    if is_json {
        let json = HeaderValue::from_static("application/json");
        headers.entry(reqwest::header::CONTENT_TYPE).or_insert(json);
    }
    Ok(Reply::Answer {
        status,
        headers,
        body: body.into(),
    })
}
