//! Calls that go out on behalf of an instance, a client, or an event being handled.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use tokio::sync::Mutex as AsyncMutex;
use trunkline_contract::error::{Code, Error};
use trunkline_contract::rpc::{PublishResult, method};

use super::handles::{Handle, LockHandle};
use super::input::{BatchIn, DurationIn, args, payload, some};
use super::queue::Invoked;
use super::service::Host;
use super::tools;
use crate::event::Event;
use crate::kv::{Entry, Kv};
use crate::link::Answer;
use crate::lock::Acquire;
use crate::outcome::Failure;
use crate::payload::{Bytes, Json};
use crate::publish::{Publish, Published, Scope, commit, out, prepare};
use crate::sending::SendMessage;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PublishArgs<'a> {
    topic: String,
    #[serde(borrow, default, deserialize_with = "some")]
    payload: Option<&'a RawValue>,
    session: Option<String>,
    id: Option<String>,
    correlation: Option<String>,
    expires: Option<DurationIn>,
    #[serde(default)]
    ephemeral: bool,
    #[serde(default)]
    metadata: BTreeMap<String, Json>,
    #[serde(default)]
    blobs: Vec<String>,
    source: Option<String>,
}

#[derive(Deserialize)]
struct SendArgs<'a> {
    kind: String,
    #[serde(borrow)]
    message: &'a RawValue,
    to: Option<String>,
    instance: Option<String>,
    id: Option<String>,
}

#[derive(Deserialize)]
struct ReplyArgs<'a> {
    #[serde(borrow)]
    payload: &'a RawValue,
}

#[derive(Deserialize)]
struct LockArgs {
    name: String,
    ttl: Option<DurationIn>,
    wait: Option<DurationIn>,
}

#[derive(Deserialize)]
struct RequestArgs<'a> {
    method: String,
    #[serde(borrow, default)]
    params: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct KvArgs<'a> {
    #[serde(default)]
    scope: KvScopeIn,
    #[serde(default)]
    key: String,
    #[serde(default)]
    keys: Vec<String>,
    #[serde(default)]
    prefix: String,
    #[serde(borrow, default, deserialize_with = "some")]
    value: Option<&'a RawValue>,
    ttl: Option<DurationIn>,
    if_revision: Option<u64>,
    from_revision: Option<u64>,
    function: Option<u64>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "snake_case")]
enum KvScopeIn {
    #[default]
    Own,
    Plugin,
    Workspace,
    Session,
}

pub(super) fn published(published: &Published) -> Json {
    json!({ "seq": published.seq, "duplicate": published.duplicate, "matched": published.matched })
}

fn encoded(value: &Json) -> Result<Bytes, Error> {
    Bytes::encode(value)
}

/// Performs a call of a scope; `none` when there is none of this name.
pub(super) async fn perform(
    host: &Host,
    scope: &Scope,
    name: &str,
    text: &str,
) -> Option<Result<Bytes, Error>> {
    Some(match name {
        "publish" => publish(scope, text).await,
        "emit" => emit(scope, text).await,
        "reply" => reply(scope, text).await,
        "send" => send(host, scope, text).await,
        "lock" => lock(host, scope, text).await,
        "request" => request(scope, text).await,
        "blob.put" | "blob.open" | "blob.stat" => super::blob::perform(scope, name, text).await,
        "conn.send" => super::connect::send(scope, text).await,
        "http" => super::http::perform(scope, text).await,
        "http.download" => super::http::download(scope, text).await,
        "http.upload" => super::http::upload(scope, text).await,
        "chunk" => tools::chunk(scope, text).await,
        "tool.register" => tools::register(host, scope, text).await,
        "tool.unregister" => tools::unregister(scope, text).await,
        name if name.starts_with("timer.") => {
            super::timer::call(scope, &name["timer.".len()..], text).await?
        }
        _ => kv(host, scope, name.strip_prefix("kv.")?, text).await?,
    })
}

/// Publishes without a task, if there is a link with room for it; false leaves it to a task.
pub(super) fn publish_at_once(host: &Host, op: u64, target: u64, text: &str) -> bool {
    let Some((scope, event)) = host.handles().get(target).ok().and_then(|handle| {
        let scope = super::calls::scope_of(&handle)?;
        let event = draft(text).ok()?;
        Some((scope, event))
    }) else {
        return false;
    };
    // Its id is settled here, so that a task that takes over publishes the same event.
    let Ok(event) = prepare(event, &scope) else {
        return false;
    };
    let Some(link) = scope.instance().hub().link() else {
        publish_by_task(host, op, scope, event);
        return true;
    };
    let (answered, again) = (host.clone(), event.clone());
    let (scope_again, is_repeatable) = (scope.clone(), !event.draft.is_ephemeral);
    let then = move |verdict: Result<Answer, Error>| match verdict {
        Err(error) if error.code == Code::LinkLost && is_repeatable => {
            publish_by_task(&answered, op, scope_again, again);
        }
        verdict => answered.answer(op, verdict.and_then(|answer| answer_text(&answer))),
    };
    if !link.try_call_data(method::BROKER_PUBLISH, &out(&event), then) {
        publish_by_task(host, op, scope, event);
    }
    true
}

fn publish_by_task(host: &Host, op: u64, scope: Scope, event: Event) {
    let answering = host.clone();
    host.spawn(async move {
        let is_repeatable = !event.draft.is_ephemeral;
        let hub = scope.instance().hub();
        let params = out(&event);
        let answer = hub.call_data(method::BROKER_PUBLISH, &params, is_repeatable);
        let result = answer.await.and_then(|answer| answer_text(&answer));
        answering.answer(op, result);
    });
}

fn answer_text(answer: &Answer) -> Result<Bytes, Error> {
    encoded(&published(&answer.parse::<PublishResult>()?.into()))
}

async fn publish(scope: &Scope, text: &str) -> Result<Bytes, Error> {
    let event = draft(text)?;
    let topic = event.topic.clone();
    let done = Publish::of(scope.clone(), topic, event).await?;
    encoded(&published(&done))
}

fn draft(text: &str) -> Result<Event, Error> {
    let given: PublishArgs<'_> = args(text)?;
    let mut event = Event::bare(
        given.topic,
        given.payload.map(payload).transpose()?.unwrap_or_default(),
    );
    event.id = given.id.unwrap_or_default();
    event.session_id = given.session;
    event.correlation_id = given.correlation;
    event.source = given.source.unwrap_or_default();
    event.metadata = given.metadata;
    event.blobs = given.blobs;
    if let Some(after) = given.expires {
        event = event.expires(after);
    }
    if given.ephemeral {
        event = event.ephemeral();
    }
    Ok(event)
}

async fn emit(scope: &Scope, text: &str) -> Result<Bytes, Error> {
    let batch = args::<BatchIn<'_>>(text)?.batch()?;
    let done = commit(scope, batch).await?;
    let events: Vec<_> = done.events.iter().map(published).collect();
    encoded(&json!({ "events": events, "revisions": done.revisions }))
}

async fn reply(scope: &Scope, text: &str) -> Result<Bytes, Error> {
    let Scope::Handling(ctx) = scope else {
        let text = "a reply needs an event to answer: use the context that the handler was given";
        return Err(Error::new(Code::InvalidArguments, text));
    };
    let given: ReplyArgs<'_> = args(text)?;
    let done = ctx.reply(payload(given.payload)?).await?;
    encoded(&published(&done))
}

async fn send(host: &Host, scope: &Scope, text: &str) -> Result<Bytes, Error> {
    let given: SendArgs<'_> = args(text)?;
    let mut message = SendMessage::new(scope.clone(), given.kind, payload(given.message)?);
    if let Some(to) = given.to {
        message = message.to(to);
    }
    if let Some(instance) = given.instance {
        message = message.instance(instance);
    }
    if let Some(id) = given.id {
        message = message.id(id);
    }
    let sending = message.await?;
    let (id, done) = (sending.id().to_owned(), published(&sending.published()));
    let number = host.handles().add(Handle::Sending(Arc::new(sending)));
    encoded(&json!({ "sending": number, "id": id, "published": done }))
}

async fn lock(host: &Host, scope: &Scope, text: &str) -> Result<Bytes, Error> {
    let given: LockArgs = args(text)?;
    let mut acquire = Acquire::new(scope.instance().hub().clone(), given.name);
    if let Some(ttl) = given.ttl {
        acquire = acquire.ttl(ttl);
    }
    if let Some(wait) = given.wait {
        acquire = acquire.wait(wait);
    }
    let lock = acquire.await?;
    let (token, lost) = (lock.token(), lock.lost_flag());
    let handle = LockHandle {
        lock: Mutex::new(Some(lock)),
        lost,
    };
    let number = host.handles().add(Handle::Lock(Arc::new(handle)));
    encoded(&json!({ "lock": number, "token": token }))
}

async fn request(scope: &Scope, text: &str) -> Result<Bytes, Error> {
    let given: RequestArgs<'_> = args(text)?;
    let params = match given.params {
        Some(params) => payload(params)?,
        None => Bytes::empty_object(),
    };
    let hub = scope.instance().hub();
    let answer: Box<RawValue> = hub.call(&given.method, &params).await?;
    Ok(Bytes::copy(&answer))
}

async fn kv(host: &Host, scope: &Scope, name: &str, text: &str) -> Option<Result<Bytes, Error>> {
    let (kv, given) = match kv_of(scope, text) {
        Ok(found) => found,
        Err(error) => return Some(Err(error)),
    };
    Some(match name {
        "get" => get(&kv, &given.key).await,
        "require" => kv.found(&given.key).await.map(|entry| entry.value),
        "get_many" => match kv.entries(&given.keys).await {
            Ok(entries) => texts(entries.iter().map(entry_text)),
            Err(error) => Err(error),
        },
        "get_bytes" => match kv.get_bytes(&given.key).await {
            Ok(found) => Bytes::encode(&found.map(|bytes| STANDARD.encode(bytes))),
            Err(error) => Err(error),
        },
        "put" => put(&kv, given).await,
        "delete" => match given.if_revision {
            Some(revision) => kv.delete_revision(&given.key, revision).await,
            None => kv.delete(&given.key).await,
        }
        .map(|()| Bytes::default()),
        "list" => match kv.list(&given.prefix).await {
            Ok(entries) => texts(entries.iter().map(entry_text)),
            Err(error) => Err(error),
        },
        "update" => update(host, &kv, given).await,
        "watch" => watch(host, &kv, &given).await,
        _ => return None,
    })
}

fn kv_of<'a>(scope: &Scope, text: &'a str) -> Result<(Kv, KvArgs<'a>), Error> {
    let given: KvArgs<'a> = args(text)?;
    let hub = scope.instance().hub();
    let own = Kv::new(hub.clone(), hub.own_scope(), None);
    let kv = match given.scope {
        KvScopeIn::Own => own,
        KvScopeIn::Plugin => own.plugin(),
        KvScopeIn::Workspace => own.workspace(),
        KvScopeIn::Session => match scope {
            Scope::Handling(ctx) => ctx.session().kv(),
            Scope::Instance(_) => {
                let text = "the state of a session needs the context that a handler was given";
                return Err(Error::new(Code::InvalidArguments, text));
            }
        },
    };
    Ok((kv, given))
}

async fn get(kv: &Kv, key: &str) -> Result<Bytes, Error> {
    match kv.entry(key).await? {
        Some(entry) => Bytes::from_json(entry_text(&entry)),
        None => Ok(Bytes::default()),
    }
}

/// Writes an entry with its value untouched.
fn entry_text(entry: &Entry) -> String {
    let key = Json::String(entry.key.clone());
    let (value, revision) = (entry.value.as_str(), entry.revision);
    format!(r#"{{"key":{key},"value":{value},"revision":{revision}}}"#)
}

fn texts(items: impl Iterator<Item = String>) -> Result<Bytes, Error> {
    let items: Vec<_> = items.collect();
    Bytes::from_json(format!("[{}]", items.join(",")))
}

async fn put(kv: &Kv, given: KvArgs<'_>) -> Result<Bytes, Error> {
    let value = given.value.map(payload).transpose()?.unwrap_or_default();
    let mut put = kv.put(given.key, value);
    if let Some(ttl) = given.ttl {
        put = put.ttl(ttl);
    }
    if let Some(revision) = given.if_revision {
        put = put.if_revision(revision);
    }
    Bytes::encode(&put.await?)
}

async fn update(host: &Host, kv: &Kv, given: KvArgs<'_>) -> Result<Bytes, Error> {
    let Some(function) = given.function else {
        return Err(Error::new(Code::InvalidArguments, "expected a function"));
    };
    let ttl = given
        .ttl
        .map(crate::IntoDuration::into_duration)
        .transpose()?;
    let change = |found: Option<Bytes>| {
        let changed = host.invoke(Invoked::Function(function), 0, 0, found.unwrap_or_default());
        async move { changed.await.map_err(as_error) }
    };
    kv.change(&given.key, ttl, change).await
}

/// A failure of a function, as the error of the call that it was for.
fn as_error(failure: Failure) -> Error {
    match failure.is::<Error>() {
        Some(error) => error.clone(),
        None => Error::new(Code::Internal, format!("{failure:?}")),
    }
}

async fn watch(host: &Host, kv: &Kv, given: &KvArgs<'_>) -> Result<Bytes, Error> {
    let watch = kv.watch_from(&given.prefix, given.from_revision).await?;
    let revision = watch.revision();
    let watch = Handle::Watch(Arc::new(AsyncMutex::new(watch)));
    let number = host.handles().add(watch);
    encoded(&json!({ "watch": number, "revision": revision }))
}
