//! Reads the operator's file and everything it names.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use trunkline_contract::toml::{Diagnostic, Place, Severity, Sink, Table, TableReader};
use trunkline_contract::toml::{has_errors, parse};

use super::explain::{self, Explained};
use super::instance::{self, Mask};
use super::mcp::{self, McpNames};
use super::types::Config;
use super::{http, layer, setting, validate};

/// Reads files; a test reads from memory.
pub trait Files {
    /// Reads a whole file as UTF-8.
    fn read(&self, path: &Path) -> std::io::Result<String>;
}

/// Reads files from the disk.
#[derive(Debug, Clone, Copy, Default)]
pub struct DiskFiles;

impl Files for DiskFiles {
    fn read(&self, path: &Path) -> std::io::Result<String> {
        std::fs::read_to_string(path)
    }
}

/// Names everything a config is made of.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The operator's file; give an absolute path, all others in it start at its directory.
    pub file: PathBuf,
    /// The daemon's environment: settings and secrets.
    pub env: BTreeMap<String, String>,
    /// Flags `key=value`, the highest layer.
    pub flags: Vec<String>,
}

/// Holds what loading gave.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The config; `None` when a diagnostic is an error.
    pub config: Option<Config>,
    /// Each value with its origin, secrets as `***`.
    pub explained: Vec<Explained>,
    /// What is wrong, in the order of the texts.
    pub diagnostics: Vec<Diagnostic>,
}

impl Loaded {
    /// Gives the config with its warnings, or the errors.
    pub fn into_result(self) -> Result<(Config, Vec<Diagnostic>), Vec<Diagnostic>> {
        match self.config {
            Some(config) => Ok((config, self.diagnostics)),
            None => Err(self.diagnostics),
        }
    }

    fn refused(diagnostic: Diagnostic) -> Self {
        Self {
            config: None,
            explained: Vec::new(),
            diagnostics: vec![diagnostic],
        }
    }
}

/// What readers of the file need beside the file.
pub(super) struct Around<'a> {
    pub(super) base: &'a Path,
    pub(super) env: &'a BTreeMap<String, String>,
    pub(super) files: &'a dyn Files,
}

/// Where the daemon of a config is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// Directory of the store, the token and the logs.
    pub data_dir: PathBuf,
    /// Unix socket for clients.
    pub socket: PathBuf,
}

/// Finds where the daemon of a config is, whatever else is wrong with the config.
///
/// # Errors
/// When the file cannot be read or its `[broker]` names no place.
pub fn locate(sources: &Sources, files: &dyn Files) -> Result<Location, Box<Diagnostic>> {
    let sink = Sink::default();
    let table = layered(sources, files, &sink)?;
    let start = Place::start_of(sources.file.display().to_string());
    let base = sources.file.parent().unwrap_or(Path::new(""));
    let around = Around {
        base,
        env: &sources.env,
        files,
    };
    let root = TableReader::root(&table, start.clone(), &sink, Severity::Error);
    match validate::broker(&root, &around) {
        Some(broker) => Ok(Location {
            data_dir: broker.data_dir,
            socket: broker.socket,
        }),
        None => {
            let first = sink.into_sorted().into_iter().find(Diagnostic::is_error);
            let unknown = || {
                let message = "[broker] names no socket";
                Diagnostic::new(Severity::Error, "invalid_value", &start, message)
            };
            Err(Box::new(first.unwrap_or_else(unknown)))
        }
    }
}

/// Finds the names that MCP clients of a config see, whatever else is wrong with the config.
pub fn mcp_names(sources: &Sources, files: &dyn Files) -> McpNames {
    let sink = Sink::default();
    let Ok(table) = layered(sources, files, &sink) else {
        return McpNames::new();
    };
    let start = Place::start_of(sources.file.display().to_string());
    let root = TableReader::root(&table, start, &sink, Severity::Error);
    mcp::names(&root)
}

/// Reads the file and lays the other layers over it.
fn layered(sources: &Sources, files: &dyn Files, sink: &Sink) -> Result<Table, Box<Diagnostic>> {
    let file = sources.file.display().to_string();
    let error = |code, message: String, hint: &str| {
        let start = Place::start_of(file.as_str());
        Box::new(Diagnostic::new(Severity::Error, code, &start, message).hint(hint))
    };
    if sources
        .file
        .extension()
        .is_some_and(|ext| ext == "yaml" || ext == "yml")
    {
        let message = "YAML is not read yet".to_owned();
        let hint = "write the same in trunkline.toml";
        return Err(error("not_implemented", message, hint));
    }
    let text = files.read(&sources.file).map_err(|io| {
        let message = format!("cannot be read: {io}");
        error("unreadable", message, "give the path with --config")
    })?;
    let mut table = setting::defaults();
    table.merge(parse(&text, file.as_str())?);
    layer::environment(&mut table, &sources.env, sink);
    layer::flags(&mut table, &sources.flags, sink);
    Ok(table)
}

/// Loads a config: reads, lays the layers over each other, checks everything.
pub fn load(sources: &Sources, files: &dyn Files) -> Loaded {
    let start = Place::start_of(sources.file.display().to_string());
    let sink = Sink::default();
    let table = match layered(sources, files, &sink) {
        Ok(table) => table,
        Err(diagnostic) => return Loaded::refused(*diagnostic),
    };

    let base = sources.file.parent().unwrap_or(Path::new("")).to_owned();
    let around = Around {
        base: &base,
        env: &sources.env,
        files,
    };
    let mut mask = Mask::default();
    let config = read(&table, start, &sink, &around, &sources.file, &mut mask);
    let mut explained = explain::explain(&table, &mask);
    if let Some(config) = &config {
        explain::manifest_defaults(&config.instances, &mut explained);
    }
    let diagnostics = sink.into_sorted();
    let config = config.filter(|_| !has_errors(&diagnostics));
    Loaded {
        config,
        explained,
        diagnostics,
    }
}

fn read(
    table: &Table,
    start: Place,
    sink: &Sink,
    around: &Around<'_>,
    file: &Path,
    mask: &mut Mask,
) -> Option<Config> {
    let root = TableReader::root(table, start, sink, Severity::Error);
    let plugin_dirs = validate::plugin_dirs(&root, around);
    let broker = validate::broker(&root, around);
    let store = validate::store(&root);
    let limits = validate::limits(&root);
    let http = http::read(&root, around);
    let clients = validate::clients(&root, around);
    let grants = validate::grants(&root);
    let mut instances = instance::read(&root, around, &plugin_dirs, &grants, mask);
    let (mcp_names, servers) = mcp::read(&root, around, &instances);
    instances.extend(servers);
    for (key, hint) in validate::NOT_BUILT {
        root.not_built(key, hint);
    }
    root.finish();
    Some(Config {
        file: file.to_owned(),
        base: around.base.to_owned(),
        plugin_dirs,
        broker: broker?,
        store: store?,
        limits: limits?,
        http: http?,
        clients,
        mcp_names,
        instances,
        settings: explain::settings(table),
    })
}
