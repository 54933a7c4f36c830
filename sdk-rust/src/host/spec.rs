//! A plugin's or client's handlers and options, as the host declares them.

use trunkline_contract::error::{Code, Error};
use trunkline_contract::rpc::{Credit, Hold, RetryPolicy, Start};

use super::connect::ConnectSpec;
use super::handler::HostHandler;
use super::input::DurationIn;
use super::poll::PollSpec;
use super::service::Host;
use super::timer::TimerSpec;
use super::tools::ToolSpec;
use crate::assemble::Assemble;
use crate::client::Client;
use crate::outbound::Outbound;
use crate::payload::{Bytes, Json};
use crate::plugin::{On, Plugin};
use crate::webhook::Webhook;

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PluginSpec {
    id: Option<String>,
    version: Option<String>,
    manifest: Option<String>,
    credit: Option<Credit>,
    #[serde(default)]
    on: Vec<OnSpec>,
    #[serde(default)]
    outbound: Vec<OutboundSpec>,
    #[serde(default)]
    tools: Vec<ToolSpec>,
    #[serde(default)]
    webhooks: Vec<WebhookSpec>,
    #[serde(default)]
    timers: Vec<TimerSpec>,
    #[serde(default)]
    connects: Vec<ConnectSpec>,
    #[serde(default)]
    assemblers: Vec<AssembleSpec>,
    #[serde(default)]
    polls: Vec<PollSpec>,
    rest: Option<u32>,
    #[serde(default)]
    hooks: Vec<String>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OnSpec {
    handler: u32,
    #[serde(default)]
    sync: bool,
    name: Option<String>,
    filters: Vec<String>,
    group: Option<String>,
    #[serde(default)]
    start: Start,
    credit: Option<Credit>,
    retry: Option<RetryPolicy>,
    timeout: Option<DurationIn>,
    settle: Option<Settle>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct OutboundSpec {
    handler: u32,
    #[serde(default)]
    sync: bool,
    kind: String,
    timeout: Option<DurationIn>,
    settle: Option<Settle>,
    rate: Option<String>,
    rate_per_target: Option<String>,
    #[serde(default)]
    idempotent: bool,
    /// The function that asks the provider.
    reconcile: Option<u32>,
    #[serde(default)]
    reconcile_sync: bool,
}

#[derive(serde::Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum Settle {
    Manual,
    Auto,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ClientSpec {
    name: String,
    socket: Option<String>,
    token: Option<String>,
    token_file: Option<String>,
    url: Option<String>,
    #[serde(default)]
    on: Vec<OnSpec>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SubscribeSpec {
    pub(super) filters: Vec<String>,
    pub(super) name: Option<String>,
    pub(super) group: Option<String>,
    #[serde(default)]
    pub(super) start: Start,
    pub(super) credit: Option<u32>,
    pub(super) retry: Option<RetryPolicy>,
    pub(super) hold: Option<Hold>,
    pub(super) expire: Option<DurationIn>,
    pub(super) timeout: Option<DurationIn>,
}

impl OnSpec {
    fn on(self, host: &Host) -> Result<On, Error> {
        let handler = HostHandler {
            host: host.clone(),
            handler: self.handler,
            is_blocking: self.sync,
        };
        let mut filters = self.filters.into_iter();
        let Some(first) = filters.next() else {
            let text = "expected at least one topic filter";
            return Err(Error::new(Code::InvalidArguments, text));
        };
        let is_manual = self.settle == Some(Settle::Manual);
        let mut on = On::new(first, handler.clone())
            .work(handler.work(is_manual))
            .start(self.start);
        for filter in filters {
            on = on.filter(filter);
        }
        if let Some(name) = self.name {
            on = on.name(name);
        }
        if let Some(group) = self.group {
            on = on.group(group);
        }
        if let Some(credit) = self.credit {
            on = on.credit(credit.events, credit.bytes);
        }
        if let Some(retry) = self.retry {
            on = on.retry(retry);
        }
        if let Some(timeout) = self.timeout {
            on = on.timeout(timeout);
        }
        if is_manual {
            on = on.settle_manually();
        }
        Ok(on)
    }
}

impl OutboundSpec {
    fn outbound(self, host: &Host) -> Outbound {
        let handler = HostHandler {
            host: host.clone(),
            handler: self.handler,
            is_blocking: self.sync,
        };
        let is_manual = self.settle == Some(Settle::Manual);
        let work = handler.clone().work(is_manual);
        let mut outbound = Outbound::new(self.kind, handler).work(work);
        if let Some(timeout) = self.timeout {
            outbound = outbound.timeout(timeout);
        }
        if is_manual {
            outbound = outbound.settle_manually();
        }
        if let Some(rate) = self.rate {
            outbound = outbound.rate(&rate);
        }
        if let Some(rate) = self.rate_per_target {
            outbound = outbound.rate_per_target(&rate);
        }
        if self.idempotent {
            outbound = outbound.idempotent();
        }
        if let Some(ask) = self.reconcile {
            outbound = outbound.reconcile(HostHandler {
                host: host.clone(),
                handler: ask,
                is_blocking: self.reconcile_sync,
            });
        }
        outbound
    }
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct AssembleSpec {
    handler: u32,
    #[serde(default)]
    sync: bool,
    kind: String,
    silence: Option<DurationIn>,
    max_age: Option<DurationIn>,
    max_parts: Option<u32>,
    max_bytes: Option<u64>,
    timeout: Option<DurationIn>,
}

impl AssembleSpec {
    fn assemble(self, host: &Host) -> Assemble {
        let handler = HostHandler {
            host: host.clone(),
            handler: self.handler,
            is_blocking: self.sync,
        };
        let mut assemble = Assemble::new(self.kind, handler);
        if let Some(silence) = self.silence {
            assemble = assemble.silence(silence);
        }
        if let Some(age) = self.max_age {
            assemble = assemble.max_age(age);
        }
        if let Some(parts) = self.max_parts {
            assemble = assemble.max_parts(parts);
        }
        if let Some(bytes) = self.max_bytes {
            assemble = assemble.max_bytes(bytes);
        }
        if let Some(timeout) = self.timeout {
            assemble = assemble.timeout(timeout);
        }
        assemble
    }
}

#[derive(serde::Deserialize)]
struct WebhookSpec {
    handler: u32,
    #[serde(default)]
    sync: bool,
    kind: String,
    name: Option<String>,
    verify: Option<String>,
    #[serde(default)]
    secret: Secrets,
    respond: Option<DurationIn>,
    tolerance: Option<DurationIn>,
    timeout: Option<DurationIn>,
    #[serde(flatten)]
    options: serde_json::Map<String, Json>,
}

/// One secret, or several.
#[derive(serde::Deserialize)]
#[serde(untagged)]
enum Secrets {
    One(String),
    Many(Vec<String>),
}

impl Default for Secrets {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

impl WebhookSpec {
    fn webhook(self, host: &Host) -> Result<Webhook, Error> {
        let handler = HostHandler {
            host: host.clone(),
            handler: self.handler,
            is_blocking: self.sync,
        };
        let work = handler.clone().work(false);
        let mut webhook = Webhook::new(self.kind, handler).work(work);
        if let Some(name) = self.name {
            webhook = webhook.name(name);
        }
        if let Some(verify) = self.verify {
            webhook = webhook.verify(&verify);
        }
        let secrets = match self.secret {
            Secrets::One(secret) => vec![secret],
            Secrets::Many(secrets) => secrets,
        };
        for secret in secrets {
            webhook = webhook.secret(secret);
        }
        if let Some(respond) = self.respond {
            webhook = webhook.respond(respond);
        }
        if let Some(tolerance) = self.tolerance {
            webhook = webhook.tolerance(tolerance);
        }
        if let Some(timeout) = self.timeout {
            webhook = webhook.timeout(timeout);
        }
        let options = serde_json::from_value(Json::Object(self.options));
        let options = options.map_err(|error| {
            Error::new(
                Code::InvalidArguments,
                format!("a webhook's options: {error}"),
            )
        })?;
        Ok(webhook.options(options))
    }
}

impl PluginSpec {
    /// Makes the plugin; the number is that of its handle.
    pub(super) fn plugin(self, host: &Host, number: u64) -> Result<Plugin, Error> {
        let mut plugin = match (self.id, self.manifest) {
            (Some(id), None) => Plugin::new(id),
            (None, Some(manifest)) => Plugin::from_manifest(&manifest),
            _ => {
                let text = "expected a plugin's id, or its manifest";
                return Err(Error::new(Code::InvalidArguments, text));
            }
        };
        if let Some(version) = self.version {
            plugin = plugin.version(version);
        }
        if let Some(credit) = self.credit {
            plugin = plugin.credit(credit.events, credit.bytes);
        }
        for on in self.on {
            plugin = plugin.on(on.on(host)?);
        }
        for outbound in self.outbound {
            plugin = plugin.outbound(outbound.outbound(host));
        }
        for tool in self.tools {
            plugin = plugin.tool(tool.tool(host)?);
        }
        for webhook in self.webhooks {
            plugin = plugin.webhook(webhook.webhook(host)?);
        }
        for timer in self.timers {
            plugin = plugin.timer(timer.timer(host)?);
        }
        for connect in self.connects {
            plugin = plugin.connect(connect.connect(host, number));
        }
        for assemble in self.assemblers {
            plugin = plugin.assemble(assemble.assemble(host));
        }
        for poll in self.polls {
            plugin = plugin.poll(poll.poll(host));
        }
        if let Some(handler) = self.rest {
            let handler = HostHandler {
                host: host.clone(),
                handler,
                is_blocking: false,
            };
            plugin = plugin.rest(handler.work(false));
        }
        for hook in &self.hooks {
            plugin = hooked(plugin, hook, host, number)?;
        }
        plugin.check()?;
        Ok(plugin)
    }
}

fn hooked(plugin: Plugin, hook: &str, host: &Host, plugin_number: u64) -> Result<Plugin, Error> {
    let host = host.clone();
    let text = |reason: String| Bytes::encode(&reason).unwrap_or_default();
    Ok(match hook {
        "on_start" => plugin.on_start(move |ctx| {
            host.invoke_hook("on_start", plugin_number, &ctx, Bytes::default())
        }),
        "on_stop" => plugin.on_stop(move |ctx, reason| {
            let stopped = host.invoke_hook("on_stop", plugin_number, &ctx, text(reason));
            async move { stopped.await.map(drop) }
        }),
        "on_config" => plugin.on_config(move |ctx, config: Json| {
            let config = Bytes::encode(&config).unwrap_or_default();
            let accepted = host.invoke_hook("on_config", plugin_number, &ctx, config);
            async move { accepted.await.map(drop) }
        }),
        "on_pause" => plugin.on_pause(move |ctx, reason| {
            let paused = host.invoke_hook("on_pause", plugin_number, &ctx, text(reason));
            async move { paused.await.map(drop) }
        }),
        "on_resume" => plugin.on_resume(move |ctx, reason| {
            let resumed = host.invoke_hook("on_resume", plugin_number, &ctx, text(reason));
            async move { resumed.await.map(drop) }
        }),
        other => {
            let text = format!(
                "expected on_start, on_stop, on_config, on_pause or on_resume, found {other:?}"
            );
            return Err(Error::new(Code::InvalidArguments, text));
        }
    })
}

impl ClientSpec {
    pub(super) fn client(self, host: &Host) -> Result<Client, Error> {
        let mut client = Client::new(self.name);
        if let Some(socket) = self.socket {
            client = client.socket(socket);
        }
        if let Some(url) = self.url {
            client = client.url(url);
        }
        if let Some(token) = self.token {
            client = client.token(token);
        }
        if let Some(file) = self.token_file {
            client = client.token_file(file);
        }
        for on in self.on {
            client = client.on(on.on(host)?);
        }
        Ok(client)
    }
}
