//! Calls to servers outside, across the boundary: what was declared and what is asked comes as data
//! in one call, and the answer goes back as data. Bytes that are no text cross as base64.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use trunkline_contract::error::{Code, Error};

use super::exact;
use super::input::{DurationIn, args, payload, some};
use crate::blob::BlobRef;
use crate::http::{Http, HttpAt, HttpRequest, Response, Upload};
use crate::incoming::is_wide;
use crate::payload::{Bytes, Json};
use crate::publish::Scope;

/// Where calls go, and as whom.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct AtIn {
    base: Option<String>,
    bearer: Option<String>,
    basic: Option<(String, String)>,
    headers: BTreeMap<String, String>,
    guard: bool,
}

/// One call.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HttpArgs<'a> {
    #[serde(default)]
    at: AtIn,
    method: String,
    #[serde(default)]
    path: String,
    query: Option<Json>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(borrow, default, deserialize_with = "some")]
    json: Option<&'a RawValue>,
    form: Option<Json>,
    body: Option<String>,
    body_base64: Option<String>,
    timeout: Option<DurationIn>,
    idempotency_key: Option<String>,
}

/// One download.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DownloadArgs {
    #[serde(default)]
    at: AtIn,
    #[serde(default)]
    path: String,
    query: Option<Json>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    timeout: Option<DurationIn>,
    max_bytes: Option<u64>,
    media_type: Option<String>,
}

/// One upload.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UploadArgs {
    #[serde(default)]
    at: AtIn,
    #[serde(default)]
    path: String,
    method: Option<String>,
    /// The blob that is the body.
    blob: Option<String>,
    /// The blobs of a form.
    #[serde(default)]
    blobs: Vec<FieldIn>,
    form: Option<Json>,
    query: Option<Json>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    timeout: Option<DurationIn>,
    idempotency_key: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FieldIn {
    field: String,
    id: String,
    file_name: Option<String>,
}

/// Makes what is at an address a blob.
pub(super) async fn download(scope: &Scope, text: &str) -> Result<Bytes, Error> {
    let given: DownloadArgs = args(text)?;
    let mut download = at(scope, given.at).download(given.path);
    if let Some(query) = given.query {
        download = download.query(query);
    }
    for (name, value) in given.headers {
        download = download.header(name, value);
    }
    if let Some(timeout) = given.timeout {
        download = download.timeout(timeout);
    }
    if let Some(bytes) = given.max_bytes {
        download = download.max_bytes(bytes);
    }
    if let Some(media_type) = given.media_type {
        download = download.media_type(media_type);
    }
    Bytes::encode(&download.await.map_err(Error::from)?)
}

/// Sends blobs.
pub(super) async fn upload(scope: &Scope, text: &str) -> Result<Bytes, Error> {
    let given: UploadArgs = args(text)?;
    let mut blobs = given.blobs.into_iter();
    let at = at(scope, given.at);
    let mut upload = match (given.blob, blobs.next()) {
        (Some(id), None) => at.upload(given.path, &named(id)),
        (None, Some(first)) => {
            let upload = at.upload(given.path, &named(first.id)).field(first.field);
            called(upload, first.file_name)
        }
        _ => {
            let text = "expected a blob, or fields with blobs";
            return Err(Error::new(Code::InvalidArguments, text));
        }
    };
    for next in blobs {
        upload = called(upload.part(next.field, &named(next.id)), next.file_name);
    }
    if let Some(method) = given.method {
        upload = upload.method(&method);
    }
    if let Some(form) = given.form {
        upload = upload.form(form);
    }
    if let Some(query) = given.query {
        upload = upload.query(query);
    }
    for (name, value) in given.headers {
        upload = upload.header(name, value);
    }
    if let Some(timeout) = given.timeout {
        upload = upload.timeout(timeout);
    }
    if let Some(key) = given.idempotency_key {
        upload = upload.idempotency_key(key);
    }
    answer(&upload.await.map_err(Error::from)?)
}

fn called(upload: Upload, file_name: Option<String>) -> Upload {
    match file_name {
        Some(name) => upload.file_name(name),
        None => upload,
    }
}

fn named(id: String) -> BlobRef {
    BlobRef {
        id,
        bytes: 0,
        media_type: None,
    }
}

fn at(scope: &Scope, given: AtIn) -> HttpAt {
    let http = http(scope);
    match given.base {
        Some(_) => declared(&http, given),
        None => http.anywhere(),
    }
}

fn http(scope: &Scope) -> Http {
    match scope {
        Scope::Handling(ctx) => ctx.http(),
        Scope::Instance(ctx) => ctx.http(),
    }
}

/// Makes a call of a scope.
pub(super) async fn perform(scope: &Scope, text: &str) -> Result<Bytes, Error> {
    let given: HttpArgs<'_> = args(text)?;
    let response = request(&http(scope), given)?.await.map_err(Error::from)?;
    answer(&response)
}

fn request(http: &Http, given: HttpArgs<'_>) -> Result<HttpRequest, Error> {
    let mut request = match given.at.base {
        Some(_) => declared(http, given.at).request(&given.method, given.path),
        None => http.request(&given.method, given.path),
    };
    let bodies = [
        given.json.is_some(),
        given.form.is_some(),
        given.body.is_some() || given.body_base64.is_some(),
    ];
    if bodies.iter().filter(|is_given| **is_given).count() > 1 {
        let text = "expected one of json, form and body, found several";
        return Err(Error::new(Code::InvalidArguments, text));
    }
    if let Some(raw) = given.json {
        request = request.carry(payload(raw)?.as_str().to_owned().into(), "application/json");
    }
    if let Some(form) = given.form {
        request = request.form(form);
    }
    if let Some(body) = given.body {
        request = request.body(body);
    }
    if let Some(body) = given.body_base64 {
        request = request.body(bytes(&body)?);
    }
    if let Some(query) = given.query {
        request = request.query(query);
    }
    for (name, value) in given.headers {
        request = request.header(name, value);
    }
    if let Some(timeout) = given.timeout {
        request = request.timeout(timeout);
    }
    if let Some(key) = given.idempotency_key {
        request = request.idempotency_key(key);
    }
    Ok(request)
}

fn declared(http: &Http, given: AtIn) -> HttpAt {
    let mut at = http.at(given.base.unwrap_or_default());
    if let Some(token) = given.bearer {
        at = at.bearer(token);
    }
    if let Some((user, password)) = given.basic {
        at = at.basic(user, password);
    }
    for (name, value) in given.headers {
        at = at.header(name, value);
    }
    if given.guard {
        at = at.guard();
    }
    at
}

/// Reads bytes that crossed as text.
pub(super) fn bytes(text: &str) -> Result<Vec<u8>, Error> {
    STANDARD.decode(text).map_err(|error| {
        let text = format!("expected bytes as base64: {error}");
        Error::new(Code::InvalidArguments, text)
    })
}

/// Writes bytes as text where they are text, else as base64.
pub(super) fn body_of(bytes: &[u8]) -> Json {
    match std::str::from_utf8(bytes) {
        Ok(text) => json!({ "body": text }),
        Err(_) => json!({ "body_base64": STANDARD.encode(bytes) }),
    }
}

fn answer(response: &Response) -> Result<Bytes, Error> {
    let mut headers = BTreeMap::<&str, String>::new();
    for (name, value) in response.headers() {
        headers
            .entry(name)
            .and_modify(|known| {
                known.push_str(", ");
                known.push_str(value);
            })
            .or_insert_with(|| value.to_owned());
    }
    let mut answer = body_of(response.bytes());
    answer["status"] = response.status().into();
    answer["headers"] = json!(headers);
    answer["moved_to"] = response.moved_to().into();
    // A language whose numbers are doubles reads this instead.
    if let Ok(text) = std::str::from_utf8(response.bytes())
        && is_wide(text)
        && serde_json::from_str::<&RawValue>(text).is_ok()
    {
        answer["tagged"] = exact::tag(text).into();
    }
    Bytes::encode(&answer)
}
