//! `admin.*` requests that are about processes, logs and config: the core owns none of them.

use std::collections::VecDeque;
use std::sync::Arc;

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use tokio::sync::{Notify, mpsc};
use trunkline_contract::error::{Code, Error};
use trunkline_contract::limits::LINK_UNWRITTEN_BYTES_MAX;
use trunkline_contract::rpc::{self, method};

use crate::core::ControlRequest;
use crate::install::{Checker, InstallError, Lock, PackageRef};
use crate::instance::{InstanceKey, not_configured};
use crate::router::LinkId;
use crate::runtime::Broker;
use crate::supervisor::logs::Stream;
use crate::supervisor::{Followed, Follower, LogLine, Supervisor};

use super::inventory;
use super::shared::Shared;
use super::upgrade::supervisor_error;

/// Most log lines one request gives.
const LOG_LINES_MAX: u32 = 10_000;

/// Answers control requests until the core ends.
pub(super) struct Control {
    pub(super) broker: Broker,
    pub(super) supervisor: Supervisor,
    pub(super) shared: Arc<Shared>,
    pub(super) checker: Checker,
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
                let answer = match method.as_str() {
                    method::ADMIN_PLUGINS_ENABLE | method::ADMIN_PLUGINS_DISABLE => {
                        // Answered by the core, once it is durable.
                        match control
                            .switch(link, id.as_deref(), &method, params.as_deref())
                            .await
                        {
                            Ok(()) => return,
                            Err(error) => Err(error),
                        }
                    }
                    method => control.answer(link, method, params.as_deref()).await,
                };
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
            method::ADMIN_PLUGINS_LIST => raw(&self.list().await?),
            method::ADMIN_PLUGINS_VERIFY => raw(&self.verify(&rpc::params(params)?).await?),
            method::ADMIN_PLUGINS_RESTART => self.restart(&rpc::params(params)?).await,
            method::ADMIN_PLUGINS_UPGRADE => {
                let target = rpc::params(params)?;
                raw(&self
                    .shared
                    .upgrade(&self.broker, &self.supervisor, &target)
                    .await?)
            }
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

    async fn list(&self) -> Result<rpc::admin::PluginsListResult, Error> {
        let (config, checker) = (self.shared.config(), self.checker.clone());
        let available =
            tokio::task::spawn_blocking(move || inventory::available(&config, &checker)).await;
        let available = available.map_err(|error| Error::new(Code::Internal, error.to_string()))?;
        let instances = self
            .broker
            .with(|core| {
                let mut all = core.instance_statuses();
                for one in &mut all {
                    let key = InstanceKey::new(&one.plugin, &one.instance);
                    one.desired = Some(if core.is_disabled(&key) {
                        rpc::admin::Desired::Disabled
                    } else {
                        rpc::admin::Desired::Running
                    });
                }
                all
            })
            .await?;
        Ok(rpc::admin::PluginsListResult {
            plugins: self.shared.plugins(instances, available),
        })
    }

    /// Compares the files of installed packages with their hashes now, and lists those packages.
    async fn verify(
        &self,
        target: &rpc::admin::PluginsVerifyParams,
    ) -> Result<rpc::admin::PluginsListResult, Error> {
        let data_dir = self.shared.config().broker.data_dir;
        let lock = Lock::read(&data_dir).map_err(|error| error.to_error())?;
        if let Some(id) = &target.plugin
            && !lock.packages.contains_key(id)
        {
            return Err(InstallError::NotInstalled { id: id.clone() }.to_error());
        }
        let is_meant = |id: &&String| target.plugin.as_ref().is_none_or(|meant| meant == *id);
        let meant: Vec<&String> = lock.packages.keys().filter(is_meant).collect();
        let packages: Vec<PackageRef> = meant
            .iter()
            .filter_map(|id| lock.package(&data_dir, id))
            .collect();
        // The list says what they found.
        self.checker.ask_in_turn(&packages).await;
        let mut listed = self.list().await?;
        listed.plugins.retain(|plugin| meant.contains(&&plugin.id));
        Ok(listed)
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
        let all: Vec<InstanceKey> = listed.into_iter().map(|listed| listed.key).collect();
        let keys: Vec<InstanceKey> = all
            .iter()
            .filter(|key| {
                *key.plugin == *target.plugin
                    && target
                        .instance
                        .as_ref()
                        .is_none_or(|name| *key.instance == **name)
            })
            .cloned()
            .collect();
        if keys.is_empty() {
            let name = match &target.instance {
                Some(instance) => format!("{}/{instance}", target.plugin),
                None => target.plugin.clone(),
            };
            let instances = all.iter().filter(|key| !key.is_process());
            let mut known: Vec<String> = instances.map(|key| key.of_seat().to_string()).collect();
            known.sort_unstable();
            return Err(not_configured(&name, &known));
        }
        Ok(keys)
    }

    async fn restart(
        &self,
        target: &rpc::admin::PluginSelectParams,
    ) -> Result<Box<RawValue>, Error> {
        for key in self.meant(target).await? {
            self.supervisor
                .restart(&key)
                .await
                .map_err(|error| supervisor_error(&error))?;
        }
        raw(&rpc::Empty {})
    }

    /// Switches instances on or off. After the answer nothing reaches one that is off, also after a
    /// restart of the daemon.
    async fn switch(
        &self,
        link: LinkId,
        id: Option<&RawValue>,
        method: &str,
        params: Option<&RawValue>,
    ) -> Result<(), Error> {
        let keys = self.meant(&rpc::params(params)?).await?;
        let is_disabled = method == method::ADMIN_PLUGINS_DISABLE;
        if !is_disabled && let Some(key) = keys.iter().find(|key| !self.shared.is_enabled(key)) {
            return Err(Error::new(
                Code::InvalidArguments,
                format!(
                    "{key} is disabled by the config; hint: set enabled = true there, then \
                     trunkline config reload"
                ),
            ));
        }
        let (meant, id) = (keys.clone(), id.map(ToOwned::to_owned));
        self.broker
            .with(move |core| core.switch(&meant, is_disabled, link, id))
            .await?;
        for key in &keys {
            let done = if is_disabled {
                self.supervisor.disable(key).await
            } else {
                self.supervisor.enable(key).await
            };
            if let Err(error) = done {
                // Draining: the next start of the daemon knows it.
                tracing::info!(%key, %error, "Switched for the next start.");
            }
        }
        Ok(())
    }

    /// Sends the last lines, then the answer; what comes later follows it.
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
        let count = params.lines.min(LOG_LINES_MAX) as usize;
        let logs = self.supervisor.logs();
        let mut old: Vec<(InstanceKey, LogLine)> = Vec::new();
        for key in &keys {
            // Before the files are read, so that no line falls between.
            let follower = params.follow.then(|| logs.follow(key));
            let last = logs.last(key, count).await.map_err(|error| {
                let text = format!("the log of {key} cannot be read: {error}");
                Error::new(Code::Internal, text)
            })?;
            if let Some(follower) = follower {
                let following = Following {
                    key: key.clone(),
                    link,
                    broker: self.broker.clone(),
                    shown: last.iter().cloned().collect(),
                    skipped: 0,
                };
                let (shared, end) = (self.shared.clone(), self.shared.follow(link));
                tokio::spawn(async move {
                    following.run(follower, &end).await;
                    shared.followed(link, &end);
                });
            }
            old.extend(last.into_iter().map(|line| (key.clone(), line)));
        }
        // Those of several instances are one stream.
        old.sort_by(|a, b| a.1.at.cmp(&b.1.at));
        old.drain(..old.len().saturating_sub(count));
        let records: Vec<_> = old
            .iter()
            .map(|(key, line)| log_record(key, line))
            .collect();
        self.broker
            .with(move |core| {
                for record in &records {
                    core.notify(link, method::ADMIN_LOG, record);
                }
            })
            .await?;
        raw(&rpc::Empty {})
    }
}

/// One instance's log on its way to one link.
struct Following {
    key: InstanceKey,
    link: LinkId,
    broker: Broker,
    /// Lines of the files, of which the first new ones may be some.
    shown: VecDeque<LogLine>,
    /// Lines that had no room on the link.
    skipped: u64,
}

impl Following {
    async fn run(mut self, mut follower: Follower, end: &Notify) {
        loop {
            let next = tokio::select! {
                next = follower.next() => next,
                () = end.notified() => return,
            };
            let sent = match next {
                Some(Followed::Line(line)) if self.was_shown(&line) => Sent::Yes,
                Some(Followed::Line(line)) => self.send(log_record(&self.key, &line)).await,
                Some(Followed::Skipped(count)) => {
                    self.skipped += count;
                    Sent::Yes
                }
                None => return,
            };
            match sent {
                Sent::Yes => {}
                Sent::Full => self.skipped += 1,
                Sent::Gone => return,
            }
        }
    }

    fn was_shown(&mut self, line: &LogLine) -> bool {
        let at = self.shown.iter().position(|shown| shown == line);
        match at {
            Some(at) => {
                self.shown.drain(..=at);
                true
            }
            None => {
                self.shown.clear();
                false
            }
        }
    }

    /// Sends one record, and before it how many had no room.
    async fn send(&mut self, record: rpc::admin::AdminLogParams) -> Sent {
        let (link, count) = (self.link, self.skipped);
        let before = (count > 0).then(|| skipped(&self.key, count, record.at.clone()));
        let sent = self
            .broker
            .with(
                move |core| match core.outbox(link).map(|outbox| outbox.len()) {
                    None => Sent::Gone,
                    Some(bytes) if bytes >= LINK_UNWRITTEN_BYTES_MAX => Sent::Full,
                    Some(_) => {
                        for record in before.iter().chain([&record]) {
                            core.notify(link, method::ADMIN_LOG, record);
                        }
                        Sent::Yes
                    }
                },
            )
            .await
            .unwrap_or(Sent::Gone);
        if matches!(sent, Sent::Yes) {
            self.skipped = 0;
        }
        sent
    }
}

enum Sent {
    Yes,
    /// The peer does not read.
    Full,
    Gone,
}

fn log_record(key: &InstanceKey, line: &LogLine) -> rpc::admin::AdminLogParams {
    rpc::admin::AdminLogParams {
        plugin: key.plugin.to_string(),
        instance: key.instance.to_string(),
        stream: match line.stream {
            Stream::Stdout => rpc::admin::LogStream::Stdout,
            Stream::Stderr => rpc::admin::LogStream::Stderr,
            Stream::Log => rpc::admin::LogStream::Log,
            Stream::Supervisor => rpc::admin::LogStream::Broker,
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

fn skipped(key: &InstanceKey, count: u64, at: String) -> rpc::admin::AdminLogParams {
    rpc::admin::AdminLogParams {
        plugin: key.plugin.to_string(),
        instance: key.instance.to_string(),
        stream: rpc::admin::LogStream::Broker,
        level: rpc::LogLevel::Warn,
        at,
        line: format!("{count} lines came faster than this link took them and were skipped"),
    }
}

fn raw(value: &impl Serialize) -> Result<Box<RawValue>, Error> {
    to_raw_value(value).map_err(|error| Error::new(Code::Internal, error.to_string()))
}
