//! `admin.*` requests that are about processes, logs and config: the core owns none of them.

use std::sync::Arc;

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use tokio::sync::{Notify, mpsc};
use trunkline_contract::error::{Code, Error};
use trunkline_contract::rpc::{self, method};

use crate::core::ControlRequest;
use crate::instance::InstanceKey;
use crate::router::LinkId;
use crate::runtime::Broker;
use crate::supervisor::logs::Stream;
use crate::supervisor::{Followed, Supervisor, SupervisorError};

use super::start::Shared;

/// Most log lines one request gives.
const LOG_LINES_MAX: u32 = 10_000;

/// Answers control requests until the core ends.
pub(super) struct Control {
    pub(super) broker: Broker,
    pub(super) supervisor: Supervisor,
    pub(super) shared: Arc<Shared>,
    pub(super) shutdown: Arc<Notify>,
}

impl Control {
    pub(super) async fn run(self, mut requests: mpsc::Receiver<ControlRequest>) {
        let control = Arc::new(self);
        while let Some(request) = requests.recv().await {
            let control = control.clone();
            // Each on its own: a slow one (a restart) delays no other.
            tokio::spawn(async move {
                let ControlRequest {
                    link,
                    id,
                    method,
                    params,
                } = request;
                let answer = control.answer(link, &method, params.as_deref()).await;
                if control.broker.respond(link, id, answer).await.is_err() {
                    tracing::debug!(method, "The core ended before the answer.");
                }
            });
        }
    }

    async fn answer(
        &self,
        link: LinkId,
        method: &str,
        params: Option<&RawValue>,
    ) -> Result<Box<RawValue>, Error> {
        match method {
            method::ADMIN_PLUGINS_LIST => self.list().await,
            method::ADMIN_PLUGINS_RESTART
            | method::ADMIN_PLUGINS_ENABLE
            | method::ADMIN_PLUGINS_DISABLE => self.act(method, rpc::params(params)?).await,
            method::ADMIN_LOGS => self.logs(link, rpc::params(params)?).await,
            method::ADMIN_LOGS_END => {
                self.shared.end_followers(link);
                raw(&rpc::Empty {})
            }
            method::ADMIN_CONFIG_RELOAD => {
                let changes = self.shared.reload(&self.broker, &self.supervisor).await?;
                raw(&changes)
            }
            method::ADMIN_SHUTDOWN => {
                self.shutdown.notify_one();
                raw(&rpc::Empty {})
            }
            other => Err(Error::new(
                Code::NotImplemented,
                format!("no method {other}"),
            )),
        }
    }

    async fn list(&self) -> Result<Box<RawValue>, Error> {
        let instances = self.broker.with(|core| core.instance_statuses()).await?;
        raw(&rpc::admin::PluginsListResult {
            plugins: self.shared.plugins(instances),
        })
    }

    /// The instances a request means: one, or all of a plugin.
    async fn meant(
        &self,
        target: &rpc::admin::PluginSelectParams,
    ) -> Result<Vec<InstanceKey>, Error> {
        let listed = self
            .supervisor
            .list()
            .await
            .map_err(|error| supervisor_error(&error))?;
        let keys: Vec<InstanceKey> = listed
            .into_iter()
            .map(|listed| listed.key)
            .filter(|key| {
                *key.plugin == *target.plugin
                    && target
                        .instance
                        .as_ref()
                        .is_none_or(|name| *key.instance == **name)
            })
            .collect();
        if keys.is_empty() {
            let name = match &target.instance {
                Some(instance) => format!("{}/{instance}", target.plugin),
                None => target.plugin.clone(),
            };
            return Err(Error::new(
                Code::NotFound,
                format!("no instance {name} is configured"),
            ));
        }
        Ok(keys)
    }

    async fn act(
        &self,
        method: &str,
        target: rpc::admin::PluginSelectParams,
    ) -> Result<Box<RawValue>, Error> {
        let keys = self.meant(&target).await?;
        for key in &keys {
            let done = match method {
                method::ADMIN_PLUGINS_RESTART => self.supervisor.restart(key).await,
                method::ADMIN_PLUGINS_ENABLE => self.supervisor.enable(key).await,
                _ => self.supervisor.disable(key).await,
            };
            done.map_err(|error| supervisor_error(&error))?;
            if method == method::ADMIN_PLUGINS_DISABLE {
                // After the answer nothing reaches it any more.
                let key = key.clone();
                self.broker
                    .with(move |core| core.stop_serving(&key))
                    .await?;
            }
        }
        raw(&rpc::Empty {})
    }

    async fn logs(
        &self,
        link: LinkId,
        params: rpc::admin::LogsParams,
    ) -> Result<Box<RawValue>, Error> {
        let target = rpc::admin::PluginSelectParams {
            plugin: params.plugin,
            instance: params.instance,
        };
        let keys = self.meant(&target).await?;
        let lines = params.lines.min(LOG_LINES_MAX) as usize;
        for key in keys {
            let follower = params.follow.then(|| self.supervisor.logs().follow(&key));
            let last = self
                .supervisor
                .logs()
                .last(&key, lines)
                .await
                .map_err(|error| {
                    Error::new(
                        Code::Internal,
                        format!("the log of {key} cannot be read: {error}"),
                    )
                })?;
            for line in last {
                self.send_line(link, &key, &line).await?;
            }
            let Some(mut follower) = follower else {
                continue;
            };
            let (broker, shared) = (self.broker.clone(), self.shared.clone());
            let end = shared.follow(link);
            tokio::spawn(async move {
                loop {
                    let next = tokio::select! {
                        next = follower.next() => next,
                        () = end.notified() => return,
                    };
                    let record = match next {
                        Some(Followed::Line(line)) => log_record(&key, &line),
                        Some(Followed::Skipped(count)) => skipped(&key, count),
                        None => return,
                    };
                    if !notify(&broker, link, record).await {
                        return;
                    }
                }
            });
        }
        raw(&rpc::Empty {})
    }

    async fn send_line(
        &self,
        link: LinkId,
        key: &InstanceKey,
        line: &crate::supervisor::LogLine,
    ) -> Result<(), Error> {
        if notify(&self.broker, link, log_record(key, line)).await {
            Ok(())
        } else {
            Err(Error::new(
                Code::LinkLost,
                "the link that asked for the log is gone",
            ))
        }
    }
}

/// Sends one log record; false when the link is gone.
async fn notify(broker: &Broker, link: LinkId, record: rpc::admin::AdminLogParams) -> bool {
    broker
        .with(move |core| {
            let there = core.outbox(link).is_some();
            core.notify(link, method::ADMIN_LOG, &record);
            there
        })
        .await
        .unwrap_or(false)
}

fn log_record(key: &InstanceKey, line: &crate::supervisor::LogLine) -> rpc::admin::AdminLogParams {
    rpc::admin::AdminLogParams {
        plugin: key.plugin.to_string(),
        instance: key.instance.to_string(),
        stream: match line.stream {
            Stream::Stdout => rpc::admin::LogStream::Stdout,
            Stream::Stderr => rpc::admin::LogStream::Stderr,
            Stream::Log | Stream::Supervisor => rpc::admin::LogStream::Log,
        },
        level: level(&line.level),
        at: line.at.clone(),
        line: line.line.clone(),
    }
}

fn level(text: &str) -> rpc::LogLevel {
    match text {
        "trace" => rpc::LogLevel::Trace,
        "debug" => rpc::LogLevel::Debug,
        "warn" | "warning" => rpc::LogLevel::Warn,
        "error" => rpc::LogLevel::Error,
        _ => rpc::LogLevel::Info,
    }
}

fn skipped(key: &InstanceKey, count: u64) -> rpc::admin::AdminLogParams {
    rpc::admin::AdminLogParams {
        plugin: key.plugin.to_string(),
        instance: key.instance.to_string(),
        stream: rpc::admin::LogStream::Log,
        level: rpc::LogLevel::Warn,
        at: String::new(),
        line: format!("{count} lines came faster than this link took them and were skipped"),
    }
}

fn supervisor_error(error: &SupervisorError) -> Error {
    let code = match error {
        SupervisorError::Unknown(_) => Code::NotFound,
        SupervisorError::Disabled(_) => Code::InvalidArguments,
        SupervisorError::Draining => Code::Draining,
        _ => Code::Unavailable,
    };
    Error::new(code, error.to_string())
}

fn raw(value: &impl Serialize) -> Result<Box<RawValue>, Error> {
    to_raw_value(value).map_err(|error| Error::new(Code::Internal, error.to_string()))
}
