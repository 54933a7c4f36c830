//! `trunkline plugins inspect`: what a plugin is, before it is added or after; nothing of it is run.

use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;
use serde_json::Value;
use trunkline_contract::config_schema::ConfigKey;
use trunkline_contract::manifest::{Isolation, Manifest};
use trunkline_contract::tool::ToolDeclaration;

use crate::cli::args::ConfigArgs;
use crate::cli::failure::{EXIT_NO, Failure};
use crate::cli::output::{self, OutputArgs, bytes, data, one_line, say};
use crate::config::{DiskFiles, locate};
use crate::install::inspect::Inspected;
use crate::install::{InstallError, Lock, PackageLimits};

/// Most characters of one value that people are shown; `--json` has all.
const SHOWN_CHARS_MAX: usize = 200;
/// Most files of each kind of difference that people are shown.
const SHOWN_FILES_MAX: usize = 10;

/// What is looked at.
#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    output: OutputArgs,
    /// A plugin's directory, a packed archive, or the id of an installed plugin; a path comes before an id.
    #[arg(value_name = "DIRECTORY|ARCHIVE|PLUGIN")]
    plugin: String,
}

/// What is said of a plugin.
#[derive(Debug, Serialize)]
struct Report {
    /// `directory`, `archive` or `installed`.
    from: &'static str,
    id: String,
    version: String,
    name: Option<String>,
    description: Option<String>,
    /// The version of the contract that it speaks, and `native` or `nexo`.
    protocol: String,
    contract: &'static str,
    command: Vec<String>,
    environment: Vec<String>,
    isolation: &'static str,
    transport: &'static str,
    restart: &'static str,
    start_timeout_ms: u64,
    stop_timeout_ms: u64,
    channels: Vec<Channel>,
    tools: Vec<ToolDeclaration>,
    webhooks: Vec<Webhook>,
    pollers: Vec<String>,
    config: Vec<Setting>,
    capabilities: Capabilities,
    limits: Limits,
    files: u64,
    bytes: u64,
    sha256: String,
    left_out: Vec<String>,
    /// Why it would be refused, or not be started, as it is.
    problem: Option<String>,
    /// What is installed under the same id.
    installed: Option<Installed>,
}

#[derive(Debug, Serialize)]
struct Channel {
    kind: String,
    features: Value,
}

#[derive(Debug, Serialize)]
struct Webhook {
    kind: String,
    name: Option<String>,
    verify: Value,
    methods: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Setting {
    /// Its path; fields of a table come after it.
    key: String,
    #[serde(rename = "type")]
    kind: &'static str,
    required: bool,
    secret: bool,
    default: Option<Value>,
    description: Option<String>,
}

/// What the operator has to grant.
#[derive(Debug, Serialize)]
struct Capabilities {
    publish: Vec<String>,
    subscribe: Vec<String>,
    send: Vec<String>,
    call: Vec<String>,
    http_server: bool,
}

/// What its manifest asks for; none: the daemon's own.
#[derive(Debug, Serialize)]
struct Limits {
    memory_mb: Option<u64>,
    open_files: Option<u64>,
    file_size_mb: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Installed {
    version: String,
    sha256: String,
    is_same: bool,
    changed: Vec<String>,
    added: Vec<String>,
    removed: Vec<String>,
}

/// Shows what a plugin is; one that would be refused as it is gives status 1.
pub(crate) fn inspect(args: &InspectArgs) -> Result<ExitCode, Failure> {
    let path = Path::new(&args.plugin);
    let sources = args.config.sources()?;
    let located = locate(&sources, &DiskFiles);
    let data_dir = located.as_ref().ok().map(|located| &located.data_dir);
    let lock = data_dir.map_or_else(|| Ok(Lock::default()), |dir| Lock::read(dir));
    let installed = |id: &str| {
        let package = lock.as_ref().ok()?.package(data_dir?, id)?;
        Some(package)
    };
    let report = if path.exists() {
        let seen = Inspected::of_source(path, Some(&sources.file), PackageLimits::default())?;
        if let Err(error) = &lock {
            say(&format!("what is installed is not known: {error}"));
        }
        let there = installed(&seen.manifest.id).map(|package| Inspected::of_installed(&package));
        if let Some(Err(error)) = &there {
            say(&format!("what is installed is not known: {error}"));
        }
        let there = there.and_then(Result::ok);
        let from = if path.is_dir() {
            "directory"
        } else {
            "archive"
        };
        Report::of(from, seen, there.as_ref())
    } else if trunkline_contract::id::is_plugin_id(&args.plugin) {
        // Which packages there are is known only where the config is.
        if let Err(found) = &located {
            let text = format!("{}: {}", found.place(), found.message);
            return Err(Failure::new("config_invalid", 78, text));
        }
        if let Err(error) = lock {
            return Err(error.into());
        }
        let id = args.plugin.clone();
        let package = installed(&id).ok_or(InstallError::NotInstalled { id })?;
        Report::of("installed", Inspected::of_installed(&package)?, None)
    } else {
        let text = format!("{} is neither a file nor a plugin's id", args.plugin);
        return Err(Failure::usage(text));
    };
    if args.output.json {
        output::json(&report)?;
    } else {
        data(&report.text())?;
    }
    let Some(problem) = &report.problem else {
        return Ok(ExitCode::SUCCESS);
    };
    say(&one_line(problem, SHOWN_CHARS_MAX));
    Ok(ExitCode::from(EXIT_NO))
}

impl Report {
    fn of(from: &'static str, seen: Inspected, there: Option<&Inspected>) -> Self {
        let installed = there.map(|there| {
            let difference = seen.difference(there);
            Installed {
                version: there.manifest.version.clone(),
                sha256: there.sha256(),
                is_same: there.list == seen.list,
                changed: difference.changed,
                added: difference.added,
                removed: difference.removed,
            }
        });
        let sha256 = seen.sha256();
        let manifest = seen.manifest;
        Self {
            from,
            channels: channels(&manifest),
            webhooks: webhooks(&manifest),
            config: keys(&manifest),
            capabilities: capabilities(&manifest),
            limits: Limits {
                memory_mb: manifest.supervisor.limits.memory_mb,
                open_files: manifest.supervisor.limits.open_files,
                file_size_mb: manifest.supervisor.limits.file_size_mb,
            },
            tools: manifest.tool_declarations(),
            pollers: manifest
                .pollers
                .iter()
                .map(|one| one.kind.clone())
                .collect(),
            environment: manifest.env.keys().cloned().collect(),
            contract: if manifest.is_foreign() {
                "nexo"
            } else {
                "native"
            },
            isolation: manifest.isolation.as_str(),
            transport: manifest.transport.as_str(),
            restart: manifest.supervisor.restart.as_str(),
            start_timeout_ms: manifest.supervisor.start_timeout.as_millis() as u64,
            stop_timeout_ms: manifest.supervisor.stop_timeout.as_millis() as u64,
            id: manifest.id,
            version: manifest.version,
            name: manifest.name,
            description: manifest.description,
            protocol: manifest.protocol,
            command: manifest.command,
            files: seen.files,
            bytes: seen.bytes,
            sha256,
            left_out: seen.left_out,
            problem: seen.problem,
            installed,
        }
    }

    /// One line for each thing that there is, after its name.
    fn text(&self) -> String {
        let mut lines = vec![("plugin", format!("{} {}", self.id, self.version))];
        let mut add = |name, text: String| lines.push((name, text));
        for (name, text) in [("name", &self.name), ("about", &self.description)] {
            if let Some(text) = text {
                add(name, text.clone());
            }
        }
        add("contract", format!("{} {}", self.contract, self.protocol));
        add("command", self.command.join(" "));
        if !self.environment.is_empty() {
            add("sets", self.environment.join(" "));
        }
        let each = if self.isolation == Isolation::Shared.as_str() {
            "one for all instances"
        } else {
            "one for each instance"
        };
        add("process", format!("{each}, restart {}", self.restart));
        for channel in &self.channels {
            let features = match channel.features.as_object() {
                Some(features) if !features.is_empty() => format!("  {}", channel.features),
                _ => String::new(),
            };
            add("channel", format!("{}{features}", channel.kind));
        }
        for tool in &self.tools {
            add("tool", format!("{}  {}", tool.name, tool.description));
        }
        for webhook in &self.webhooks {
            let name = webhook.name.as_ref().map(|name| format!("/{name}"));
            let (kind, name) = (&webhook.kind, name.unwrap_or_default());
            let verify = webhook.verify.as_str().unwrap_or_default();
            add("webhook", format!("{kind}{name}  verified as {verify}"));
        }
        for kind in &self.pollers {
            add("poller", kind.clone());
        }
        for key in &self.config {
            add("config", key.text());
        }
        for text in self.capabilities.texts() {
            add("asks for", text);
        }
        for text in self.limits.texts() {
            add("limit", text);
        }
        let (size, short) = (bytes(self.bytes), &self.sha256[..12]);
        add("files", format!("{}, {size}, tree {short}", self.files));
        if !self.left_out.is_empty() {
            add("left out", self.left_out.join(", "));
        }
        if let Some(installed) = &self.installed {
            for text in installed.texts() {
                add("installed", text);
            }
        }
        let lines = lines.iter().map(|(name, text)| {
            // What a stranger wrote.
            let text = one_line(text.trim_end(), SHOWN_CHARS_MAX);
            format!("{name:<11}{text}").trim_end().to_owned()
        });
        lines.collect::<Vec<_>>().join("\n")
    }
}

impl Setting {
    fn text(&self) -> String {
        let mut words = vec![format!("{}  {}", self.key, self.kind)];
        if self.required {
            words.push("required".to_owned());
        }
        if self.secret {
            words.push("secret".to_owned());
        }
        if let Some(default) = &self.default {
            words.push(format!("default {default}"));
        }
        words.join(", ")
    }
}

impl Capabilities {
    fn texts(&self) -> Vec<String> {
        let lists = [
            ("publish", &self.publish),
            ("subscribe", &self.subscribe),
            ("send", &self.send),
            ("call", &self.call),
        ];
        let lists = lists.into_iter().filter(|(_, all)| !all.is_empty());
        let mut texts: Vec<String> = lists
            .map(|(name, all)| format!("{name} {}", all.join(", ")))
            .collect();
        if self.http_server {
            texts.push("an HTTP server of its own".to_owned());
        }
        texts
    }
}

impl Limits {
    fn texts(&self) -> Vec<String> {
        let all = [
            ("memory", self.memory_mb, " MiB"),
            ("open files", self.open_files, ""),
            ("size of a file", self.file_size_mb, " MiB"),
        ];
        let said = all.into_iter();
        said.filter_map(|(name, limit, unit)| Some(format!("{name} {}{unit}", limit?)))
            .collect()
    }
}

impl Installed {
    fn texts(&self) -> Vec<String> {
        if self.is_same {
            return vec![format!("{}, these very files", self.version)];
        }
        let mut texts = vec![format!("{}, tree {}", self.version, &self.sha256[..12])];
        for (word, files) in [
            ("changed", &self.changed),
            ("added", &self.added),
            ("removed", &self.removed),
        ] {
            if files.is_empty() {
                continue;
            }
            let shown = files[..files.len().min(SHOWN_FILES_MAX)].join(", ");
            let more = files.len().saturating_sub(SHOWN_FILES_MAX);
            let rest = if more > 0 {
                format!(" and {more} more")
            } else {
                String::new()
            };
            texts.push(format!("{word}: {shown}{rest}"));
        }
        texts
    }
}

fn channels(manifest: &Manifest) -> Vec<Channel> {
    let all = manifest.channels.iter();
    all.map(|channel| Channel {
        kind: channel.kind.clone(),
        features: serde_json::to_value(&channel.features).unwrap_or_default(),
    })
    .collect()
}

fn webhooks(manifest: &Manifest) -> Vec<Webhook> {
    let all = manifest.webhooks.iter();
    all.map(|webhook| Webhook {
        kind: webhook.kind.clone(),
        name: webhook.name.clone(),
        verify: serde_json::to_value(webhook.verify).unwrap_or_default(),
        methods: webhook.methods.clone(),
    })
    .collect()
}

fn keys(manifest: &Manifest) -> Vec<Setting> {
    let mut all = Vec::new();
    for (name, key) in &manifest.config.keys {
        add_key(&mut all, name.clone(), key);
    }
    all
}

fn add_key(all: &mut Vec<Setting>, name: String, key: &ConfigKey) {
    let fields = key.fields.iter().flatten();
    let below: Vec<(String, &ConfigKey)> = fields
        .map(|(field, key)| (format!("{name}.{field}"), key))
        .collect();
    all.push(Setting {
        key: name,
        kind: key.kind.as_str(),
        required: key.required && key.default.is_none(),
        secret: key.secret,
        default: key.default.clone(),
        description: key.description.clone(),
    });
    for (name, key) in below {
        add_key(all, name, key);
    }
}

fn capabilities(manifest: &Manifest) -> Capabilities {
    let asked = &manifest.capabilities;
    Capabilities {
        publish: asked.publish.iter().map(ToString::to_string).collect(),
        subscribe: asked.subscribe.iter().map(ToString::to_string).collect(),
        send: asked.send.clone(),
        call: asked.call.iter().map(ToString::to_string).collect(),
        http_server: asked.http_server,
    }
}
