//! The test broker, for tests in the host language.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use serde::Deserialize;
use serde_json::json;
use trunkline_contract::error::{Code, Error};

use super::calls::{connected, unknown};
use super::handles::{ClientHandle, Handle};
use super::input::{DurationIn, args};
use super::service::Host;
use crate::client::Client;
use crate::context::InstanceContext;
use crate::duration::IntoDuration;
use crate::event::Event;
use crate::payload::{Bytes, Json};
use crate::testing::http::reply_of;
use crate::testing::outside::{Fake, Reply};
use crate::testing::{Fault, KillAt, TestBroker};

#[derive(Deserialize)]
struct StartArgs {
    plugin: u64,
    #[serde(default)]
    config: Json,
    #[serde(default)]
    secrets: BTreeMap<String, String>,
    instances: Option<Vec<String>>,
    manifest: Option<String>,
}

#[derive(Deserialize)]
struct PlayArgs {
    plugin: u64,
    scenario: String,
}

/// Plays a scenario against a plugin; gives the transcript.
pub(super) async fn play(host: &Host, text: &str) -> Result<Bytes, Error> {
    let given: PlayArgs = args(text)?;
    let plugin = tested(host, given.plugin)?;
    let played = async move { TestBroker::start(plugin).play(&given.scenario).await };
    Bytes::encode(&caught(played).await?)
}

/// Gives a plugin that is not served yet, for a test.
fn tested(host: &Host, handle: u64) -> Result<crate::Plugin, Error> {
    let Handle::Plugin(handle) = host.handles().get(handle)? else {
        let text = "expected a plugin to test";
        return Err(Error::new(Code::InvalidArguments, text));
    };
    let plugin = handle.plugin.lock().unwrap_or_else(PoisonError::into_inner);
    plugin.as_ref().map(crate::Plugin::again).ok_or_else(|| {
        let text = "this plugin is served already";
        Error::new(Code::InvalidArguments, text)
    })
}

/// Starts a broker in memory with a plugin on it.
pub(super) async fn start(host: &Host, text: &str) -> Result<Bytes, Error> {
    let given: StartArgs = args(text)?;
    let plugin = tested(host, given.plugin)?;
    let config = match given.config {
        Json::Null => json!({}),
        config => config,
    };
    let mut starting = TestBroker::start(plugin).config(config);
    for (name, value) in given.secrets {
        starting = starting.secret(name, value);
    }
    if let Some(instances) = given.instances {
        starting = starting.instances(instances);
    }
    if let Some(manifest) = given.manifest {
        starting = starting.manifest(manifest);
    }
    let broker = Arc::new(caught(async move { Ok(starting.await) }).await?);
    let client = client_handle(host, broker.client().clone());
    let number = host.handles().add(Handle::Broker(broker));
    Bytes::encode(&json!({ "broker": number, "client": client }))
}

fn client_handle(host: &Host, client: Client) -> u64 {
    let core = client.core().clone();
    let handle = ClientHandle {
        ctx: InstanceContext::new(core.clone()),
        client: std::sync::Mutex::new(client),
    };
    core.number(|| host.handles().add(Handle::Client(Arc::new(handle))))
}

/// Runs what panics when a test is wrong: the panic is the error.
async fn caught<T: Send + 'static>(
    work: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<T, Error> {
    tokio::spawn(work).await.unwrap_or_else(|error| {
        let panic = error.into_panic();
        let text = panic
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| panic.downcast_ref::<String>().cloned());
        let text = text.unwrap_or_else(|| "the test broker panicked".to_owned());
        Err(Error::new(Code::Internal, text))
    })
}

#[derive(Deserialize)]
struct ExpectArgs {
    filter: String,
    payload: Option<Json>,
    #[serde(default = "within")]
    within: DurationIn,
}

/// How far the clock moves at most while a test waits for something, unless it says so.
pub(super) fn within() -> DurationIn {
    DurationIn::Ms(10_000)
}

#[derive(Deserialize)]
struct AdvanceArgs {
    by: DurationIn,
}

#[derive(Deserialize)]
struct AttachArgs {
    client: u64,
}

/// Performs a call of a test broker.
pub(super) async fn perform(
    host: &Host,
    target: u64,
    broker: &Arc<TestBroker>,
    name: &str,
    text: &str,
) -> Result<Bytes, Error> {
    let failed = |text| Error::new(Code::Internal, text);
    let broker = broker.clone();
    match name {
        "webhook" => {
            let request = args(text)?;
            caught(async move { Bytes::encode(&broker.provider_sends(request).await) }).await
        }
        "expect_published" => {
            let given: ExpectArgs = args(text)?;
            let within = given.within.into_duration()?;
            let found = broker.look_for(&given.filter, given.payload.as_ref(), within);
            event_text(&found.await.map_err(failed)?)
        }
        "expect_nothing" => {
            let given: ExpectArgs = args(text)?;
            let within = given.within.into_duration()?;
            let found = broker.look_for_nothing(&given.filter, given.payload.as_ref(), within);
            found.await.map_err(failed).map(|()| Bytes::default())
        }
        "advance" => {
            let by = args::<AdvanceArgs>(text)?.by.into_duration()?;
            caught(async move {
                broker.advance(by).await;
                Ok(())
            })
            .await?;
            Ok(Bytes::default())
        }
        "settle" => {
            caught(async move {
                broker.settle().await;
                Ok(())
            })
            .await?;
            Ok(Bytes::default())
        }
        "restart" => {
            caught(async move {
                broker.restart().await;
                Ok(())
            })
            .await?;
            Ok(Bytes::default())
        }
        "dead_letters" => {
            let letters = caught(async move { Ok(broker.dead_letters().await) }).await?;
            Bytes::encode(&letters)
        }
        "attach" => {
            let given: AttachArgs = args(text)?;
            let Handle::Client(handle) = host.handles().get(given.client)? else {
                let text = "expected a client to attach";
                return Err(Error::new(Code::InvalidArguments, text));
            };
            let client = connected(&handle);
            let client = caught(async move { Ok(broker.attach(client).await) }).await?;
            *handle.client.lock().unwrap_or_else(PoisonError::into_inner) = client;
            Ok(Bytes::default())
        }
        "stop" => {
            host.handles().remove(target);
            Ok(Bytes::default())
        }
        other if other.starts_with("socket.") => {
            let (name, text) = (other.to_owned(), text.to_owned());
            caught(async move { super::sockets::perform(&broker, &name, &text).await }).await
        }
        other => Err(unknown(other)),
    }
}

fn event_text(event: &Event) -> Result<Bytes, Error> {
    let mut envelope = json!({
        "id": event.id, "timestamp": event.timestamp, "topic": event.topic,
        "source": event.source, "session_id": event.session_id,
        "correlation_id": event.correlation_id, "causation_id": event.causation_id,
        "traceparent": event.traceparent, "expires_at": event.expires_at,
        "blobs": event.blobs, "metadata": event.metadata,
    })
    .to_string();
    // The payload goes in as it is: no number of it passes through a double.
    envelope.pop();
    Bytes::from_json(format!(
        "{envelope},\"payload\":{}}}",
        event.payload.as_str()
    ))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RouteArgs {
    server: String,
    method: String,
    path: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReplyArgs {
    route: usize,
    #[serde(default)]
    status: u16,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    json: Option<Json>,
    body: Option<String>,
    body_base64: Option<String>,
}

#[derive(Deserialize)]
struct ServerArgs {
    server: String,
}

#[derive(Deserialize)]
struct OfRoute {
    route: usize,
}

/// Plays the servers outside.
fn outside(fake: &Fake, name: &str, text: &str) -> Result<Bytes, Error> {
    match name {
        "http.on" => {
            let given: RouteArgs = args(text)?;
            return Bytes::encode(&fake.on(&given.server, &given.method, &given.path)?);
        }
        "http.reply" => {
            let given: ReplyArgs = args(text)?;
            let body = match (given.body, given.body_base64) {
                (_, Some(body)) => super::http::bytes(&body)?,
                (body, None) => body.unwrap_or_default().into_bytes(),
            };
            let reply = reply_of(given.status, given.headers, given.json.as_ref(), body)?;
            fake.reply(given.route, reply)?;
        }
        "http.lose" => fake.reply(args::<OfRoute>(text)?.route, Reply::lost())?,
        "http.refuse" => fake.reply(args::<OfRoute>(text)?.route, Reply::refused())?,
        "http.pass_through" => fake.pass_through(&args::<ServerArgs>(text)?.server)?,
        "http.requests" => {
            let seen = fake.requests(args::<OfRoute>(text)?.route)?;
            let seen = seen.iter().map(|seen| {
                let mut request = super::http::body_of(&seen.body);
                request["method"] = seen.method.as_str().into();
                request["url"] = seen.url.as_str().into();
                request["path"] = seen.path.as_str().into();
                request["query"] = json!(seen.query);
                request["headers"] = json!(seen.headers);
                request["form"] = json!(seen.form());
                request
            });
            return Bytes::encode(&seen.collect::<Vec<_>>());
        }
        other => return Err(unknown(other)),
    }
    Ok(Bytes::default())
}

#[derive(Deserialize)]
struct KillArgs {
    at: KillAt,
}

#[derive(Deserialize)]
struct FaultArgs {
    fault: Fault,
    #[serde(default = "once")]
    times: u32,
}

fn once() -> u32 {
    1
}

/// Plants a fault, or plays a server.
pub(super) fn tell(broker: &TestBroker, name: &str, text: &str) -> Result<Bytes, Error> {
    match name {
        "kill" => broker.kill(args::<KillArgs>(text)?.at),
        "fault" => {
            let given: FaultArgs = args(text)?;
            broker.fault(given.fault, given.times);
        }
        other if other.starts_with("socket.") => {
            return super::sockets::tell(broker, other, text);
        }
        other => return outside(broker.outside(), other, text),
    }
    Ok(Bytes::default())
}
