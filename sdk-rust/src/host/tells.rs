//! What the host asks for and gets at once: declarations, settings, settlements, log lines.

use std::os::fd::{IntoRawFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;
use serde_json::{Map, json};
use trunkline_contract::error::{Code, Error};
use trunkline_contract::rpc::LogLevel;

use super::calls::{scope_of, unknown};
use super::handles::{ClientHandle, Handle, PluginHandle};
use super::input::args;
use super::outcome::{RejectIn, RetryIn};
use super::service::Host;
use super::spec::{ClientSpec, PluginSpec};
use super::tools;
use crate::context::{Context, InstanceContext};
use crate::hub::Stop;
use crate::outcome::{Reject, Retry};
use crate::payload::{Bytes, Json};
use crate::progress::Progress;

/// Performs what needs no waiting.
pub(super) fn perform(host: &Host, target: u64, name: &str, given: &Bytes) -> Result<Bytes, Error> {
    let text = given.as_str();
    if target == 0 {
        return of_core(host, name, text);
    }
    if name == "forget" {
        host.handles().remove(target);
        return Ok(Bytes::default());
    }
    match host.handles().get(target)? {
        Handle::Plugin(plugin) if name == "stop" => {
            plugin.stop.set();
            Ok(Bytes::default())
        }
        Handle::ToolCall(call) if name == "cancel" => call.cancel(host, text),
        handle if name == "call_tool" => match scope_of(&handle) {
            Some(scope) => tools::begin(host, scope, text),
            None => Err(unknown(name)),
        },
        Handle::Plugin(plugin) => of_instance(&plugin.ctx, name, text),
        Handle::Client(client) => of_instance(&client.ctx, name, text),
        Handle::Instance(ctx) => of_instance(&ctx, name, text),
        Handle::Handling(ctx) => of_handling(&ctx, name, text),
        Handle::Delivery(delivery) if name == "event" => {
            let held = delivery.lock().unwrap_or_else(PoisonError::into_inner);
            match held.as_ref() {
                Some(delivery) => Bytes::from_json(delivery.raw()),
                None => Err(Error::new(
                    Code::StaleLease,
                    "the delivery is settled already",
                )),
            }
        }
        Handle::Delivery(delivery) if name == "settle" => {
            let settled = settlement(text)?;
            let held = delivery
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
            host.handles().remove(target);
            let Some(delivery) = held else {
                let text = "the delivery is settled already";
                return Err(Error::new(Code::StaleLease, text));
            };
            match settled {
                Settlement::Ack => delivery.ack(),
                Settlement::Nak(retry) => delivery.nak(&retry)?,
                Settlement::Reject(reject) => delivery.reject(&reject),
            }
            Ok(Bytes::default())
        }
        #[cfg(feature = "testing")]
        Handle::Broker(broker) => super::testing::tell(&broker, name, text),
        _ => Err(unknown(name)),
    }
}

#[derive(Deserialize)]
struct ConfigArgs {
    blocked_ms: Option<u64>,
}

fn of_core(host: &Host, name: &str, text: &str) -> Result<Bytes, Error> {
    match name {
        "plugin" => {
            let number = host.handles().reserve();
            let plugin = args::<PluginSpec>(text)?.plugin(host, number)?;
            let core = plugin.core.clone();
            core.serve_kinds(plugin.kinds());
            let handle = PluginHandle {
                ctx: InstanceContext::new(core.clone()),
                plugin: Mutex::new(Some(plugin)),
                stop: Stop::default(),
            };
            core.number(|| number);
            host.handles().put(number, Handle::Plugin(Arc::new(handle)));
            Bytes::encode(&number)
        }
        "client" => {
            let client = args::<ClientSpec>(text)?.client(host)?;
            let core = client.core().clone();
            let handle = ClientHandle {
                ctx: InstanceContext::new(core.clone()),
                client: Mutex::new(client),
            };
            let number = core.number(|| host.handles().add(Handle::Client(Arc::new(handle))));
            Bytes::encode(&number)
        }
        "version" => Bytes::encode(env!("CARGO_PKG_VERSION")),
        "config" => {
            let given: ConfigArgs = args(text)?;
            if let Some(ms) = given.blocked_ms {
                host.inner().blocked_ms.store(ms.max(10), Ordering::Relaxed);
            }
            Ok(Bytes::default())
        }
        other => Err(unknown(other)),
    }
}

#[derive(Deserialize)]
struct LogArgs {
    level: String,
    message: String,
    #[serde(default)]
    fields: Map<String, Json>,
}

#[derive(Deserialize)]
struct HookUrlArgs {
    #[serde(default)]
    name: String,
}

#[derive(Deserialize)]
struct ProgressArgs {
    done: Option<f64>,
    total: Option<f64>,
    #[serde(default)]
    message: String,
    data: Option<Json>,
}

#[derive(Deserialize)]
struct StatusArgs {
    state: String,
    #[serde(default)]
    reason: String,
}

fn of_instance(ctx: &InstanceContext, name: &str, text: &str) -> Result<Bytes, Error> {
    if name.starts_with("conn.") {
        return super::connect::told(&ctx.conn(), name, text);
    }
    match name {
        "instance" => return Bytes::encode(ctx.instance()),
        "config" => return Bytes::encode(&*ctx.instance_core().config()),
        "state" => return Bytes::encode(&*ctx.instance_core().state()),
        "log" => {
            let given: LogArgs = args(text)?;
            let level = match given.level.as_str() {
                "debug" => LogLevel::Debug,
                "info" => LogLevel::Info,
                "warning" | "warn" => LogLevel::Warn,
                "error" => LogLevel::Error,
                other => {
                    let text = format!("expected debug, info, warning or error, found {other:?}");
                    return Err(Error::new(Code::InvalidArguments, text));
                }
            };
            let is_linked = ctx.hub().link().is_some();
            ctx.log().fields(given.fields).write(level, given.message);
            return Bytes::encode(&is_linked);
        }
        "hook_url" => {
            let given: HookUrlArgs = args(text)?;
            return Bytes::encode(&ctx.hook_url(&given.name));
        }
        "listener" => {
            let listener = ctx.listener()?;
            let family = listener.family();
            // The descriptor is the host language's from here on.
            let fd = OwnedFd::from(listener).into_raw_fd();
            return Bytes::encode(&json!({ "fd": fd, "family": family }));
        }
        "progress" => progress(ctx.progress(), text)?,
        "status" => {
            let given: StatusArgs = args(text)?;
            match given.state.as_str() {
                "ready" => ctx.ready(),
                "degraded" => ctx.degraded(given.reason),
                other => {
                    let text = format!("expected ready or degraded, found {other:?}");
                    return Err(Error::new(Code::InvalidArguments, text));
                }
            }
        }
        other => return Err(unknown(other)),
    }
    Ok(Bytes::default())
}

fn progress(mut progress: Progress, text: &str) -> Result<(), Error> {
    let given: ProgressArgs = args(text)?;
    progress = progress.known(given.done, given.total);
    if let Some(data) = given.data {
        progress = progress.data(data);
    }
    progress.tell(given.message);
    Ok(())
}

fn of_handling(ctx: &Context, name: &str, text: &str) -> Result<Bytes, Error> {
    if name.starts_with("conn.") {
        return super::connect::told(&ctx.conn(), name, text);
    }
    match name {
        "hook_url" => {
            let given: HookUrlArgs = args(text)?;
            Bytes::encode(&ctx.hook_url(&given.name))
        }
        "settle" => match settlement(text)? {
            Settlement::Ack => ctx.ack().map(|()| Bytes::default()),
            Settlement::Nak(retry) => ctx.nak(&retry).map(|()| Bytes::default()),
            Settlement::Reject(reject) => ctx.reject(&reject).map(|()| Bytes::default()),
        },
        "remaining" => Bytes::encode(&(ctx.remaining().as_millis() as u64)),
        "cancelled" => Bytes::encode(&ctx.is_cancelled()),
        "event" => Bytes::from_json(ctx.raw()),
        "session_key" => Bytes::encode(&ctx.session_key()),
        "idempotency_key" => Bytes::encode(&ctx.idempotency_key()),
        "split" => Bytes::encode(&ctx.split()),
        "caller" => Bytes::encode(&ctx.caller()),
        "progress" => progress(ctx.progress(), text).map(|()| Bytes::default()),
        other => of_instance(ctx, other, text),
    }
}

enum Settlement {
    Ack,
    Nak(Retry),
    Reject(Reject),
}

#[derive(Deserialize)]
struct SettleArgs {
    #[serde(default)]
    ack: bool,
    nak: Option<RetryIn>,
    reject: Option<RejectIn>,
}

fn settlement(text: &str) -> Result<Settlement, Error> {
    match args::<SettleArgs>(text)? {
        SettleArgs {
            ack: true,
            nak: None,
            reject: None,
        } => Ok(Settlement::Ack),
        SettleArgs {
            ack: false,
            nak: Some(nak),
            reject: None,
        } => Ok(Settlement::Nak(nak.into())),
        SettleArgs {
            ack: false,
            nak: None,
            reject: Some(reject),
        } => Ok(Settlement::Reject(reject.into())),
        SettleArgs { ack, nak, reject } => {
            let found = json!({ "ack": ack, "nak": nak.is_some(), "reject": reject.is_some() });
            let text = format!("expected one of ack, nak and reject, found {found}");
            Err(Error::new(Code::InvalidArguments, text))
        }
    }
}
