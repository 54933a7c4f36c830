//! Connections, as the host declares them and reaches them.

use serde::Deserialize;
use serde_json::value::RawValue;
use trunkline_contract::error::{Code, Error};
use trunkline_patterns::connection::Heartbeat;

use super::handler::HostHandler;
use super::input::{DurationIn, args, payload};
use super::service::Host;
use crate::connect::{Conn, Connect, Form};
use crate::context::InstanceContext;
use crate::duration::{IntoDuration, in_ms};
use crate::outcome::Failure;
use crate::payload::{Bytes, Json};
use crate::publish::Scope;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ConnectSpec {
    handler: u32,
    #[serde(default)]
    sync: bool,
    kind: String,
    /// None: the hook `connect_url` says it, given the kind.
    url: Option<String>,
    idle: Option<DurationIn>,
    #[serde(default)]
    fatal: Vec<u16>,
    backoff: Option<BackoffSpec>,
    stable: Option<DurationIn>,
    heartbeat: Option<HeartbeatSpec>,
    #[serde(default)]
    greeting: Vec<Json>,
    frames: Option<Form>,
    #[serde(default)]
    subprotocols: Vec<String>,
    #[serde(default)]
    headers: std::collections::BTreeMap<String, String>,
    credential: Option<String>,
    timeout: Option<DurationIn>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BackoffSpec {
    initial: DurationIn,
    cap: DurationIn,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HeartbeatSpec {
    every: DurationIn,
    frame: Json,
    #[serde(default)]
    expect: Json,
}

impl ConnectSpec {
    /// Makes the connection; the number is that of the plugin's handle.
    pub(super) fn connect(self, host: &Host, plugin: u64) -> Connect {
        let handler = HostHandler {
            host: host.clone(),
            handler: self.handler,
            is_blocking: self.sync,
        };
        let mut connect = match self.url {
            Some(url) => Connect::new(self.kind, url, handler),
            None => {
                let (host, kind) = (host.clone(), self.kind.clone());
                let url = move |ctx: InstanceContext| {
                    let kind = Bytes::encode(&kind).unwrap_or_default();
                    let asked = host.invoke_hook("connect_url", plugin, &ctx, kind);
                    async move {
                        asked.await?.json::<String>().map_err(|_| {
                            Failure::located(
                                Error::new(Code::InvalidReturn, "expected a url as text"),
                                None,
                            )
                        })
                    }
                };
                Connect::at(self.kind, url, handler)
            }
        };
        connect = connect.fatal(&self.fatal);
        if let Some(idle) = self.idle {
            connect = connect.idle(idle);
        }
        if let Some(BackoffSpec { initial, cap }) = self.backoff {
            connect = connect.backoff(initial, cap);
        }
        if let Some(stable) = self.stable {
            connect = connect.stable(stable);
        }
        if let Some(beat) = self.heartbeat {
            connect = connect.heartbeat(beat.every, beat.frame, beat.expect);
        }
        for frame in self.greeting {
            connect = connect.greeting(frame);
        }
        if let Some(form) = self.frames {
            connect = connect.frames(form);
        }
        for name in self.subprotocols {
            connect = connect.subprotocol(name);
        }
        for (name, value) in self.headers {
            connect = connect.header(name, value);
        }
        if let Some(credential) = self.credential {
            connect = connect.credential(credential);
        }
        if let Some(timeout) = self.timeout {
            connect = connect.timeout(timeout);
        }
        connect
    }
}

#[derive(Deserialize)]
struct SendArgs<'a> {
    #[serde(borrow)]
    frame: &'a RawValue,
}

/// Sends a frame on a connection.
pub(super) async fn send(scope: &Scope, text: &str) -> Result<Bytes, Error> {
    let given: SendArgs<'_> = args(text)?;
    let conn = match scope {
        Scope::Instance(ctx) => ctx.conn(),
        Scope::Handling(ctx) => ctx.conn(),
    };
    conn.send_bytes(payload(given.frame)?).await?;
    Ok(Bytes::default())
}

/// Answers what needs no waiting.
pub(super) fn told(conn: &Conn, name: &str, text: &str) -> Result<Bytes, Error> {
    match name {
        "conn.cursor" => Ok(conn.cursor_bytes().unwrap_or_default()),
        "conn.heartbeat" => beat(conn, text),
        other => Err(super::calls::unknown(other)),
    }
}

fn beat(conn: &Conn, text: &str) -> Result<Bytes, Error> {
    let given: HeartbeatSpec = args(text)?;
    conn.beat(Heartbeat {
        every_ms: in_ms(given.every.into_duration()?),
        frame: given.frame,
        expect: Some(given.expect).filter(|expect| !expect.is_null()),
    })?;
    Ok(Bytes::default())
}
