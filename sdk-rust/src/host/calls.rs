//! Calls whose answers take a while: which name means what, for which kind of target.

use std::sync::Arc;
use std::sync::PoisonError;

use serde::Deserialize;
use serde_json::json;
use trunkline_contract::error::{Code, Error};
use trunkline_contract::rpc::Start;

use super::handles::{ClientHandle, Handle, PluginHandle};
use super::input::{DurationIn, args};
use super::scope;
use super::service::Host;
use super::spec::SubscribeSpec;
use crate::client::Client;
use crate::payload::{Bytes, Json};
use crate::publish::Scope;
use crate::receipt::State;
use crate::sending::Sending;
use crate::subscription::Subscription;

/// Performs a call.
pub(super) async fn perform(
    host: &Host,
    target: u64,
    name: &str,
    given: &Bytes,
) -> Result<Bytes, Error> {
    let text = given.as_str();
    #[cfg(feature = "testing")]
    if target == 0 && name == "testing.start" {
        return super::testing::start(host, text).await;
    }
    #[cfg(feature = "testing")]
    if target == 0 && name == "testing.play" {
        return super::testing::play(host, text).await;
    }
    if target == 0 {
        return Err(unknown(name));
    }
    let handle = host.handles().get(target)?;
    if let Some(scope) = scope_of(&handle)
        && let Some(done) = scope::perform(host, &scope, name, text).await
    {
        return done;
    }
    match (handle, name) {
        (Handle::Plugin(plugin), "serve") => serve(host, &plugin).await,
        (Handle::Client(client), _) => of_client(host, &client, name, text).await,
        (Handle::Sending(sending), "until") => until(&sending, text).await,
        (Handle::Subscription(subscription), _) => {
            of_subscription(host, &subscription, name, text).await
        }
        (Handle::Watch(watch), "next") => {
            let change = watch.lock().await.next().await;
            let Some(change) = change else {
                return Ok(Bytes::default());
            };
            let (key, revision) = (Json::String(change.key), change.revision);
            Bytes::from_json(match change.value {
                Some(value) => format!(
                    r#"{{"key":{key},"revision":{revision},"value":{},"deleted":false}}"#,
                    value.as_str()
                ),
                None => format!(r#"{{"key":{key},"revision":{revision},"deleted":true}}"#),
            })
        }
        (Handle::Lock(lock), "lost") => {
            lock.lost.wait().await;
            Ok(Bytes::default())
        }
        (Handle::Lock(lock), "release") => {
            let held = lock
                .lock
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
            if let Some(held) = held {
                held.release().await?;
            }
            host.handles().remove(target);
            Ok(Bytes::default())
        }
        (Handle::ToolCall(call), "next") => call.next().await,
        (Handle::ToolCall(call), "result") => call.result().await,
        #[cfg(feature = "testing")]
        (Handle::Broker(broker), _) => {
            super::testing::perform(host, target, &broker, name, text).await
        }
        _ => Err(unknown(name)),
    }
}

/// On whose behalf something goes out, where it can.
pub(super) fn scope_of(handle: &Handle) -> Option<Scope> {
    match handle {
        Handle::Plugin(plugin) => Some(Scope::Instance(plugin.ctx.clone())),
        Handle::Client(client) => Some(Scope::Instance(client.ctx.clone())),
        Handle::Instance(ctx) => Some(Scope::Instance(ctx.clone())),
        Handle::Handling(ctx) => Some(Scope::Handling(ctx.clone())),
        _ => None,
    }
}

pub(super) fn unknown(name: &str) -> Error {
    let text = format!("the core knows no call {name:?} of this target");
    Error::new(Code::NotImplemented, text)
}

async fn serve(host: &Host, handle: &PluginHandle) -> Result<Bytes, Error> {
    let plugin = handle
        .plugin
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    let Some(plugin) = plugin else {
        let text = "this plugin is served already, or was";
        return Err(Error::new(Code::InvalidArguments, text));
    };
    let _serving = host.serving();
    crate::run::serve_plugin(plugin, &handle.stop).await?;
    Ok(Bytes::default())
}

/// Gives the connected client; its clone keeps it alive.
pub(super) fn connected(client: &ClientHandle) -> Client {
    let client = client.client.lock();
    client.unwrap_or_else(PoisonError::into_inner).clone()
}

async fn of_client(
    host: &Host,
    handle: &Arc<ClientHandle>,
    name: &str,
    text: &str,
) -> Result<Bytes, Error> {
    let client = connected(handle);
    match name {
        "connect" => {
            let client = client.connect().await?;
            let serving = client.core().hub().clone();
            *handle.client.lock().unwrap_or_else(PoisonError::into_inner) = client;
            let served = host.serving();
            tokio::spawn(async move {
                serving.stop.wait().await;
                drop(served);
            });
            Ok(Bytes::default())
        }
        "close" => {
            if client.is_connected() {
                client.close().await;
            }
            Ok(Bytes::default())
        }
        "ended" => {
            let error = client.ended().await;
            if client.was_closed() {
                Ok(Bytes::default())
            } else {
                Err(error)
            }
        }
        "subscribe" => subscribe(host, &client, text).await,
        other => Err(unknown(other)),
    }
}

async fn subscribe(host: &Host, client: &Client, text: &str) -> Result<Bytes, Error> {
    let given: SubscribeSpec = args(text)?;
    let mut subscribe = client.subscribe(given.filters).start(given.start);
    if let Some(name) = given.name {
        subscribe = subscribe.name(name);
    }
    if let Some(group) = given.group {
        subscribe = subscribe.group(group);
    }
    if let Some(credit) = given.credit {
        subscribe = subscribe.credit(credit);
    }
    if let Some(retry) = given.retry {
        subscribe = subscribe.retry(retry);
    }
    if let Some(hold) = given.hold {
        subscribe = subscribe.hold(hold);
    }
    if let Some(after) = given.expire {
        subscribe = subscribe.expire(after);
    }
    if let Some(timeout) = given.timeout {
        subscribe = subscribe.timeout(timeout);
    }
    let made = subscribe.await?;
    let (name, created, cursor) = (made.name().to_owned(), made.is_created(), made.cursor());
    let number = host.handles().add(Handle::Subscription(Arc::new(made)));
    Bytes::encode(&json!({
        "subscription": number, "name": name, "created": created, "cursor": cursor,
    }))
}

#[derive(Deserialize)]
struct UntilArgs {
    state: State,
    timeout: Option<DurationIn>,
}

async fn until(sending: &Sending, text: &str) -> Result<Bytes, Error> {
    let given: UntilArgs = args(text)?;
    let mut until = sending.until(given.state);
    if let Some(timeout) = given.timeout {
        until = until.timeout(timeout);
    }
    Bytes::encode(&until.await?)
}

#[derive(Deserialize)]
struct SeekArgs {
    to: Start,
}

async fn of_subscription(
    host: &Host,
    subscription: &Arc<Subscription>,
    name: &str,
    text: &str,
) -> Result<Bytes, Error> {
    match name {
        "next" => {
            let Some(delivery) = subscription.next_shared().await else {
                return Ok(Bytes::default());
            };
            let topic = Json::String(delivery.topic().to_owned());
            let info = match delivery.info() {
                Some(info) => json!({
                    "attempt": info.attempt, "redelivered": info.redelivered,
                    "subscription": info.subscription,
                }),
                None => json!({ "attempt": 0, "redelivered": false, "subscription": null }),
            };
            let event = delivery.raw().to_owned();
            let delivery = Arc::new(std::sync::Mutex::new(Some(delivery)));
            let number = host.handles().add(Handle::Delivery(delivery));
            let info = info.to_string();
            let info = &info[1..];
            Bytes::from_json(format!(
                r#"{{"delivery":{number},"topic":{topic},"event":{event},{info}"#
            ))
        }
        "seek" => Bytes::encode(&subscription.seek(args::<SeekArgs>(text)?.to).await?),
        "delete" => subscription
            .delete_shared()
            .await
            .map(|()| Bytes::default()),
        other => Err(unknown(other)),
    }
}
