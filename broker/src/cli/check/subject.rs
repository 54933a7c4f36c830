//! Which program is checked, and what is known of it beforehand.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Map, Value};
use trunkline_contract::manifest::{FILE, FOREIGN_FILE, Manifest, Transport};
use trunkline_contract::message::ChannelFeatures;
use trunkline_contract::topic::Filter;
use trunkline_contract::webhook::{Webhook, WebhookSource};

use super::CheckArgs;
use crate::cli::failure::Failure;

/// The name of the instance that is checked.
pub(super) const INSTANCE: &str = "check";

/// A program and what its manifest says.
#[derive(Debug)]
pub(super) struct Subject {
    pub(super) manifest: Option<Manifest>,
    pub(super) dir: PathBuf,
    pub(super) command: Vec<String>,
    pub(super) kind: Option<String>,
    pub(super) is_stdio: bool,
    pub(super) config: Map<String, Value>,
    pub(super) secrets: BTreeMap<String, String>,
    pub(super) limit: Duration,
}

impl Subject {
    /// What its manifest says of its channels.
    pub(super) fn features(&self) -> BTreeMap<String, ChannelFeatures> {
        let manifest = self.manifest.as_ref();
        manifest.map(Manifest::features).unwrap_or_default()
    }

    /// The webhooks of its manifest that need no handler.
    pub(super) fn sources(&self) -> Vec<WebhookSource> {
        let webhooks = self.manifest.iter().flat_map(|manifest| &manifest.webhooks);
        webhooks.filter_map(Webhook::source).collect()
    }

    /// Reads the manifest and the settings.
    pub(super) fn find(args: &CheckArgs) -> Result<Self, Failure> {
        let (dir, program) = if args.path.is_file() {
            let dir = args.path.parent().unwrap_or(Path::new("."));
            (dir.to_owned(), args.path.file_name())
        } else {
            (args.path.clone(), None)
        };
        let dir = std::path::absolute(if dir.as_os_str().is_empty() {
            Path::new(".")
        } else {
            &dir
        })
        .map_err(|error| Failure::usage(format!("{}: {error}", dir.display())))?;
        let manifest = read_manifest(&dir)?;
        let command = match (&manifest, program) {
            _ if !args.command.is_empty() => args.command.clone(),
            (_, Some(program)) => vec![format!("./{}", program.to_string_lossy())],
            (Some(manifest), None) => manifest.command.clone(),
            (None, None) => {
                return Err(Failure::usage(format!(
                    "there is no {FILE} in {} and no command is given",
                    dir.display()
                ))
                .hint("trunkline check DIRECTORY, or trunkline check -- PROGRAM ARGUMENTS"));
            }
        };
        let (config, secrets) = settings(args, manifest.as_ref())?;
        let kind = args.kind.clone().or_else(|| {
            let manifest = manifest.as_ref()?;
            manifest.kinds().next().map(str::to_owned)
        });
        Ok(Self {
            is_stdio: args.stdio
                || manifest
                    .as_ref()
                    .is_some_and(|manifest| manifest.transport == Transport::Stdio),
            limit: Duration::from_secs(args.timeout),
            manifest,
            dir,
            command,
            kind,
            config,
            secrets,
        })
    }

    /// The plugin's id, as far as it is known.
    pub(super) fn id(&self) -> &str {
        self.manifest
            .as_ref()
            .map_or("checked", |manifest| manifest.id.as_str())
    }

    /// Whether it speaks the foreign contract.
    pub(super) fn is_foreign(&self) -> bool {
        self.manifest.as_ref().is_some_and(Manifest::is_foreign)
    }

    /// The topic on which it is given events.
    pub(super) fn topic(&self) -> Option<String> {
        if let Some(kind) = &self.kind {
            return Some(format!("plugin.outbound.{kind}.{INSTANCE}"));
        }
        let manifest = self.manifest.as_ref()?;
        let filter = manifest.capabilities.subscribe.first()?.as_str();
        Some(filter.replace(['*', '>'], "any"))
    }

    /// Whether it may publish on a topic, if everything that it asks for is granted.
    pub(super) fn may_publish(&self, topic: &str) -> bool {
        let kinds = self.kind.iter().map(String::as_str);
        let mut kinds = kinds.chain(self.manifest.iter().flat_map(Manifest::kinds));
        let own = kinds.any(|kind| {
            ["inbound", "delivery"].iter().any(|what| {
                let bare = format!("plugin.{what}.{kind}");
                topic == bare || topic == format!("{bare}.{INSTANCE}")
            })
        });
        let granted = |filters: &[Filter]| filters.iter().any(|filter| filter.matches(topic));
        own || self.manifest.as_ref().is_some_and(|manifest| {
            let sends = manifest.capabilities.send.iter().any(|kind| {
                let bare = format!("plugin.outbound.{kind}");
                topic == bare || topic.starts_with(&format!("{bare}."))
            });
            sends || granted(&manifest.capabilities.publish)
        })
    }
}

pub(in crate::cli) fn read_manifest(dir: &Path) -> Result<Option<Manifest>, Failure> {
    for file in [FILE, FOREIGN_FILE] {
        let path = dir.join(file);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(Failure::usage(format!("{}: {error}", path.display()))),
        };
        let parsed = if file == FILE {
            Manifest::parse(&text)
        } else {
            Manifest::parse_foreign(&text)
        };
        return match parsed {
            Ok(parsed) => Ok(Some(parsed.value)),
            Err(diagnostics) => {
                let lines: Vec<String> = diagnostics
                    .iter()
                    .map(|diagnostic| format!("\n  {diagnostic}"))
                    .collect();
                Err(Failure::new(
                    "config_invalid",
                    78,
                    format!("the manifest is not valid:{}", lines.concat()),
                ))
            }
        };
    }
    Ok(None)
}

type Settings = (Map<String, Value>, BTreeMap<String, String>);

/// Splits the settings into config and secrets, and fills in the manifest's defaults.
fn settings(args: &CheckArgs, manifest: Option<&Manifest>) -> Result<Settings, Failure> {
    let mut config: Map<String, Value> = serde_json::from_str(&args.settings)
        .map_err(|error| Failure::usage(format!("--settings is no JSON object: {error}")))?;
    let mut secrets = std::collections::BTreeMap::new();
    for (name, key) in manifest.iter().flat_map(|manifest| &manifest.config.keys) {
        if let (None, Some(default)) = (config.get(name), &key.default) {
            config.insert(name.clone(), default.clone());
        }
        if key.required && key.when.is_empty() && !config.contains_key(name) {
            return Err(
                Failure::usage(format!("the setting {name:?} is required")).hint(format!(
                    "--settings '{{\"{name}\": …}}'; a made-up value will do if the plugin only \
                     uses it once it is activated"
                )),
            );
        }
        if key.secret
            && let Some(Value::String(value)) = config.get(name)
        {
            secrets.insert(name.clone(), value.clone());
            config.insert(name.clone(), serde_json::json!({ "$secret": name }));
        }
    }
    Ok((config, secrets))
}
