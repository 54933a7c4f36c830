//! Reads the operator's file and everything it names.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use trunkline_contract::manifest::{FILE as MANIFEST, FOREIGN_FILE as FOREIGN_MANIFEST};
use trunkline_contract::toml::{Diagnostic, Place, Severity, Sink, Table, TableReader};
use trunkline_contract::toml::{has_errors, parse};

use super::explain::{self, Explained};
use super::instance::{self, Mask};
use super::mcp::{self, McpNames};
use super::types::Config;
use super::{SETTINGS, Setting, base, http, layer, setting, validate, yaml};

/// Reads files; a test reads from memory.
pub trait Files {
    /// Reads a whole file as UTF-8.
    fn read(&self, path: &Path) -> std::io::Result<String>;

    /// Gives the size of a file in bytes; what is no file is an error.
    fn size(&self, path: &Path) -> std::io::Result<u64>;
}

/// Reads files from the disk.
#[derive(Debug, Clone, Copy, Default)]
pub struct DiskFiles;

impl Files for DiskFiles {
    fn read(&self, path: &Path) -> std::io::Result<String> {
        std::fs::read_to_string(path)
    }

    fn size(&self, path: &Path) -> std::io::Result<u64> {
        let about = std::fs::metadata(path)?;
        if about.is_file() {
            Ok(about.len())
        } else {
            Err(std::io::Error::other("it is no file"))
        }
    }
}

/// Shows the disk with one file as it would be.
#[derive(Debug, Clone)]
pub struct Shown {
    /// The file, as whoever reads it names it.
    pub path: PathBuf,
    /// What it would hold.
    pub text: String,
}

impl Files for Shown {
    fn read(&self, path: &Path) -> std::io::Result<String> {
        if path == self.path {
            return Ok(self.text.clone());
        }
        DiskFiles.read(path)
    }

    fn size(&self, path: &Path) -> std::io::Result<u64> {
        DiskFiles.size(path)
    }
}

/// The name that the operator's file has where none is given.
pub(super) const FILE: &str = "trunkline.toml";

/// Names under which the same file is read as YAML.
pub(super) const YAML_FILES: &[&str] = &["trunkline.yaml", "trunkline.yml"];

/// Finds the file that is read: the one named or, where `trunkline.toml` is not there, the same in
/// YAML.
///
/// # Errors
/// When several of them are there: one would be ignored.
fn file_of(sources: &Sources, files: &dyn Files) -> Result<PathBuf, Box<Diagnostic>> {
    let named = sources.file.clone();
    let name = named.file_name().and_then(|name| name.to_str());
    if name.is_none_or(|name| name != FILE && !YAML_FILES.contains(&name)) {
        return Ok(named);
    }
    let all = std::iter::once(&FILE).chain(YAML_FILES);
    let there: Vec<PathBuf> = all
        .map(|name| named.with_file_name(name))
        .filter(|path| files.size(path).is_ok())
        .collect();
    match there.as_slice() {
        [one] if name == Some(FILE) => Ok(one.clone()),
        [] | [_] => Ok(named),
        [first, second, ..] => {
            let name_of = |path: &Path| path.file_name().map(|name| name.display().to_string());
            let message = format!(
                "expected one config, found {} and {}",
                first.display(),
                name_of(second).unwrap_or_default()
            );
            let start = Place::start_of(second.display().to_string());
            let found = Diagnostic::new(Severity::Error, "duplicate", &start, message);
            Err(Box::new(found.hint("remove one of them")))
        }
    }
}

pub(super) fn is_yaml(file: &Path) -> bool {
    file.extension()
        .is_some_and(|ext| ext == "yaml" || ext == "yml")
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
    /// The config; `None` when an error is of more than single instances, which have theirs in
    /// [`InstanceSpec::unfit`](super::InstanceSpec::unfit).
    pub config: Option<Config>,
    /// Each value with its origin, secrets as `***`.
    pub explained: Vec<Explained>,
    /// What is wrong, in the order of the texts.
    pub diagnostics: Vec<Diagnostic>,
}

impl Loaded {
    /// Gives the config with its warnings and the errors of single instances, or all errors.
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

/// The file, read, with the other layers over it and each instance over what is below it.
struct Layered {
    table: Table,
    file: PathBuf,
    base: PathBuf,
}

impl Layered {
    fn start(&self) -> Place {
        Place::start_of(self.file.display().to_string())
    }

    fn around<'a>(&'a self, sources: &'a Sources, files: &'a dyn Files) -> Around<'a> {
        Around {
            base: &self.base,
            env: &sources.env,
            files,
        }
    }
}

/// Finds where the daemon of a config is, whatever else is wrong with the config.
///
/// # Errors
/// When the file cannot be read or its `[broker]` names no place.
pub fn locate(sources: &Sources, files: &dyn Files) -> Result<Location, Box<Diagnostic>> {
    let sink = Sink::default();
    let layered = layered(sources, files, &sink)?;
    let around = layered.around(sources, files);
    let root = TableReader::root(&layered.table, layered.start(), &sink, Severity::Error);
    match validate::broker(&root, &around) {
        Some(broker) => Ok(Location {
            data_dir: broker.data_dir,
            socket: broker.socket,
        }),
        None => {
            let first = sink.into_sorted().into_iter().find(Diagnostic::is_error);
            let unknown = || {
                let message = "[broker] names no socket";
                Diagnostic::new(Severity::Error, "invalid_value", &layered.start(), message)
            };
            Err(Box::new(first.unwrap_or_else(unknown)))
        }
    }
}

/// Finds the names that MCP clients of a config see, whatever else is wrong with the config.
pub fn mcp_names(sources: &Sources, files: &dyn Files) -> McpNames {
    let sink = Sink::default();
    let Ok(layered) = layered(sources, files, &sink) else {
        return McpNames::new();
    };
    let root = TableReader::root(&layered.table, layered.start(), &sink, Severity::Error);
    mcp::names(&root)
}

/// Names the instances of a plugin that would run from its installed package, whatever else is wrong with the
/// config.
///
/// # Errors
/// When the file cannot be read.
pub fn of_package(
    sources: &Sources,
    files: &dyn Files,
    plugin: &str,
) -> Result<Vec<String>, Box<Diagnostic>> {
    let sink = Sink::default();
    let layered = layered(sources, files, &sink)?;
    let around = layered.around(sources, files);
    let root = TableReader::root(&layered.table, layered.start(), &sink, Severity::Error);
    let dirs = validate::plugin_dirs(&root, &around);
    let is_in = |dir: &PathBuf, name| files.size(&dir.join(plugin).join(name)).is_ok();
    if dirs
        .iter()
        .any(|dir| is_in(dir, MANIFEST) || is_in(dir, FOREIGN_MANIFEST))
    {
        return Ok(Vec::new());
    }
    let Some(plugins) = root.table("plugins") else {
        return Ok(Vec::new());
    };
    let Some(entry) = plugins.entries().iter().find(|entry| entry.key == plugin) else {
        return Ok(Vec::new());
    };
    let tables = plugins.tables_of(&plugins.path_of(plugin), &entry.node);
    let own = tables.iter().filter(|table| table.entry("path").is_none());
    let name = |table: &TableReader<'_>| {
        let name = table
            .entry("instance")
            .and_then(|entry| entry.node.as_str());
        format!("{plugin}/{}", name.unwrap_or("default"))
    };
    Ok(own.map(name).collect())
}

/// Reads the file and lays the other layers over it.
fn layered(sources: &Sources, files: &dyn Files, sink: &Sink) -> Result<Layered, Box<Diagnostic>> {
    let file = file_of(sources, files)?;
    let name: Arc<str> = file.display().to_string().into();
    let text = files.read(&file).map_err(|io| {
        let start = Place::start_of(Arc::clone(&name));
        let message = format!("cannot be read: {io}");
        let found = Diagnostic::new(Severity::Error, "unreadable", &start, message);
        Box::new(found.hint("give the path with --config"))
    })?;
    let mut table = setting::defaults();
    table.merge(if is_yaml(&file) {
        yaml::parse(&text, &name)?
    } else {
        parse(&text, name)?
    });
    layer::environment(&mut table, &sources.env, sink);
    layer::flags(&mut table, &sources.flags, sink);
    base::expand(&mut table, sink);
    let base = file.parent().unwrap_or(Path::new("")).to_owned();
    Ok(Layered { table, file, base })
}

/// Loads a config: reads, lays the layers over each other, checks everything.
pub fn load(sources: &Sources, files: &dyn Files) -> Loaded {
    let sink = Sink::default();
    let layered = match layered(sources, files, &sink) {
        Ok(layered) => layered,
        Err(diagnostic) => return Loaded::refused(*diagnostic),
    };
    let around = layered.around(sources, files);
    let mut mask = Mask::default();
    let table = &layered.table;
    let config = read(
        table,
        layered.start(),
        &sink,
        &around,
        &layered.file,
        &mut mask,
    );
    let mut explained = explain::explain(table, &mask);
    if let Some(config) = &config {
        explain::manifest_defaults(&config.instances, &mut explained);
    }
    let mut diagnostics = once(sink.into_sorted());
    diagnostics.iter_mut().for_each(hint_at_default);
    let instances = config.iter().flat_map(|config| &config.instances);
    let unfit: Vec<Diagnostic> = instances.flat_map(|spec| spec.unfit.to_vec()).collect();
    // What stops an instance alone is told like the rest, and keeps nobody else from starting.
    let config = config.filter(|_| !has_errors(&diagnostics));
    diagnostics.extend(once(unfit));
    Loaded {
        config,
        explained,
        diagnostics,
    }
}

/// Says once what several instances have in common.
fn once(mut diagnostics: Vec<Diagnostic>) -> Vec<Diagnostic> {
    let mut kept: Vec<Diagnostic> = Vec::with_capacity(diagnostics.len());
    for found in diagnostics.drain(..) {
        let is_same_place = |other: &&Diagnostic| other.place() == found.place();
        if !kept
            .iter()
            .rev()
            .take_while(is_same_place)
            .any(|other| *other == found)
        {
            kept.push(found);
        }
    }
    kept
}

/// Gives what is wrong with a setting of the daemon, and has no remedy of its own, the one there always is.
fn hint_at_default(found: &mut Diagnostic) {
    if found.hint.is_some() {
        return;
    }
    let is_named = |setting: &&Setting| {
        let rest = found.message.strip_prefix(setting.path);
        rest.is_some_and(|rest| rest.starts_with([' ', ':']))
    };
    if let Some(setting) = SETTINGS.iter().find(is_named) {
        found.hint = Some(match setting.default {
            Some(default) => format!("leave it out for the default, {default}"),
            None => "leave it out to have none".to_owned(),
        });
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
    let data_dir = broker.as_ref().map(|broker| broker.data_dir.as_path());
    root.get(base::SECTION); // Laid below the instances already.
    let mut instances = instance::read(&root, around, &plugin_dirs, data_dir, &grants, mask);
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
