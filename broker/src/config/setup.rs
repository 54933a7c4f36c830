//! Turns the checked file into what each part of the daemon is started with.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use trunkline_contract::manifest::{Isolation, Transport as ManifestTransport};

use super::types::{Config, InstanceSpec, StoreKind};
use crate::core::{ClientGrant, InstanceSetup, Retention, Tokens};
use crate::instance::InstanceKey;
use crate::router::RetryPolicy;
use crate::store::DedupeWindow;
use crate::supervisor::{LaunchSpec, Limits, LogLimits, RestartPolicy, Timeouts, Transport};

impl StoreKind {
    /// Names the store as the file does.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Memory => "memory",
        }
    }
}

impl Config {
    /// Gives what the core keeps, and for how long.
    pub fn retention(&self) -> Retention {
        let (store, kept) = (&self.store, &self.store.retention);
        Retention {
            events_age_ms: ms(kept.events_age),
            events_bytes: kept.events_bytes,
            dead_letters: kept.dead_letters_count,
            dead_letter_bytes: kept.dead_letters_bytes,
            blobs_age_ms: ms(kept.blobs_age),
            blobs_bytes: kept.blobs_bytes,
            blobs_source_bytes: kept.blobs_source_bytes,
            disk_full_percent: store.disk_full_percent,
            disk_warn_percent: store.disk_warn_percent,
            ..Retention::default()
        }
    }

    /// Gives the window in which the store recognises repeats.
    pub fn dedupe_window(&self) -> DedupeWindow {
        let kept = &self.store.retention;
        DedupeWindow {
            ids: kept.dedupe_ids,
            age_ms: ms(kept.dedupe_age) as i64,
        }
    }

    /// Gives how much of an instance's log is kept.
    pub fn log_limits(&self) -> LogLimits {
        LogLimits {
            file_bytes: self.limits.log_bytes,
            files: self.limits.log_files,
            ..LogLimits::default()
        }
    }

    /// Gives who may attach with a token of the file.
    pub fn tokens(&self) -> Tokens {
        let mut tokens = Tokens::default();
        for client in &self.clients {
            let grant = ClientGrant {
                name: Some(Arc::from(client.name.as_str())),
                scopes: Arc::new(client.scopes.clone()),
            };
            for token in &client.hashes {
                tokens.add_hash(token.hash, grant.clone(), token.expires_at_ms);
            }
            if let Some(token) = &client.token {
                tokens.add(token.expose(), grant);
            }
        }
        tokens
    }

    /// Gives the directory in which an instance keeps its state.
    pub fn state_dir(&self, spec: &InstanceSpec) -> PathBuf {
        self.broker
            .data_dir
            .join("state")
            .join(&spec.plugin)
            .join(&spec.instance)
    }

    /// Gives an instance as the core needs to know it.
    pub fn instance_setup(&self, spec: &InstanceSpec) -> InstanceSetup {
        let secrets = spec.secrets.iter();
        InstanceSetup {
            key: spec.instance_key(),
            version: spec.manifest.version.clone(),
            kinds: spec.manifest.kinds().map(str::to_owned).collect(),
            features: spec.manifest.features(),
            grants: spec.grants.clone(),
            tools: spec.manifest.tool_declarations(),
            webhooks: spec.manifest.webhooks.clone(),
            config: spec.config.clone(),
            secrets: secrets
                .map(|(name, s)| (name.clone(), s.expose().to_owned()))
                .collect(),
            state_dir: Some(self.state_dir(spec).display().to_string()),
            retry: RetryPolicy::default(),
            legacy: spec.manifest.is_foreign(),
            ping_interval_ms: ms(spec.manifest.supervisor.ping_interval),
        }
    }

    /// Gives an instance as the supervisor sees it.
    pub fn launch_spec(&self, spec: &InstanceSpec) -> LaunchSpec {
        let supervisor = &spec.manifest.supervisor;
        let limits = Limits::default();
        let mut variables = spec.manifest.env.clone();
        if spec.package.is_some() {
            // Byte code that Python leaves beside the files would be a change of the package.
            variables
                .entry("PYTHONDONTWRITEBYTECODE".to_owned())
                .or_insert_with(|| "1".to_owned());
        }
        LaunchSpec {
            transport: match spec.transport {
                ManifestTransport::Fd => Transport::Fd,
                ManifestTransport::Stdio => Transport::Stdio,
            },
            variables,
            package: spec.package.clone(),
            limits: Limits {
                memory_bytes: spec
                    .limits
                    .memory_mb
                    .map(|mb| mb << 20)
                    .or(limits.memory_bytes),
                open_files: spec.limits.open_files.unwrap_or(limits.open_files),
                file_bytes: spec
                    .limits
                    .file_size_mb
                    .map_or(limits.file_bytes, |mb| mb << 20),
            },
            timeouts: Timeouts {
                start_ms: ms(supervisor.start_timeout),
                stop_ms: ms(supervisor.stop_timeout),
                ..Timeouts::default()
            },
            restart: RestartPolicy {
                after: spec.restart,
                degraded_ms: spec.restart_degraded_after.map(ms),
                ..RestartPolicy::default()
            },
            own_server: spec.own_server.clone(),
            is_enabled: spec.enabled,
            unfit: spec.why_unfit(),
            stops_first: spec.manifest.is_foreign(),
            is_shared: spec.manifest.isolation == Isolation::Shared,
            version: spec.manifest.version.clone(),
            revision: spec.manifest.version.clone(),
            ..LaunchSpec::new(
                spec.instance_key(),
                spec.manifest.command.clone(),
                spec.dir.clone(),
                self.state_dir(spec),
            )
        }
    }
}

impl InstanceSpec {
    /// Names the instance for the core and the supervisor.
    pub fn instance_key(&self) -> InstanceKey {
        InstanceKey::new(&self.plugin, &self.instance)
    }
}

fn ms(duration: Duration) -> u64 {
    duration.as_millis() as u64
}
