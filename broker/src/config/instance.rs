//! Checks `[[plugins.<id>]]`: finds each plugin's manifest, checks each instance against it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use trunkline_contract::config_schema::{Checked, ConfigType, Problem, RESERVED_KEYS};
use trunkline_contract::grant::{Additions, Grants, gives};
use trunkline_contract::id;
use trunkline_contract::manifest::{
    FILE, FOREIGN_FILE, Limits, Manifest, RestartPolicy, read_limits,
};
use trunkline_contract::toml::{
    Diagnostic, Entry, Kind, Place, Severity, Sink, TableReader, nearest,
};

use crate::core::check_tools;

use super::load::Around;
use super::secret::{Reference, Secret, is_variable_name};
use super::types::InstanceSpec;
use super::validate::GrantsByPlugin;

/// Which config values may be shown: those of keys that a manifest declares, and not as secret.
#[derive(Debug, Default)]
pub(super) struct Mask {
    public: BTreeMap<String, BTreeSet<String>>,
}

impl Mask {
    pub(super) fn may_show(&self, plugin: &str, key: &str) -> bool {
        RESERVED_KEYS.contains(&key)
            || self
                .public
                .get(plugin)
                .is_some_and(|keys| keys.contains(key))
    }
}

/// An instance with what is needed to compare it with others.
struct Read<'a> {
    spec: InstanceSpec,
    checked: Checked,
    place: Place,
    entries: &'a [Entry],
}

pub(super) fn read(
    root: &TableReader<'_>,
    around: &Around<'_>,
    plugin_dirs: &[PathBuf],
    grants: &GrantsByPlugin,
    mask: &mut Mask,
) -> Vec<InstanceSpec> {
    let sink = root.sink();
    let mut all: Vec<Read<'_>> = Vec::new();
    let mut names = Vec::new();
    if let Some(plugins) = root.table("plugins") {
        for entry in plugins.entries() {
            names.push(entry.key.as_str());
            if !id::is_plugin_id(&entry.key) {
                let message = format!("plugins.{} is not a plugin id", entry.key);
                sink.error("invalid_value", &entry.place, message);
                continue;
            }
            let tables = plugins.tables_of(&plugins.path_of(&entry.key), &entry.node);
            let mut plugin = Plugin {
                id: &entry.key,
                place: &entry.place,
                around,
                dirs: plugin_dirs,
                additions: grants.get(&entry.key),
                count: tables.len(),
                manifests: BTreeMap::new(),
            };
            let read: Vec<Read<'_>> = tables
                .into_iter()
                .filter_map(|table| plugin.read_instance(table, mask))
                .collect();
            plugin.check_grants(sink);
            check_unique(&read, sink);
            all.extend(read);
        }
    }
    check_served_once(&all, sink);
    for (name, (_, place)) in grants {
        if !names.contains(&name.as_str()) {
            let hint = nearest(name, &names).map_or_else(
                || format!("there is no [[plugins.{name}]]"),
                |near| format!("did you mean {near:?}?"),
            );
            sink.error_hint(
                "unknown_key",
                place,
                format!("grants for no plugin: {name}"),
                hint,
            );
        }
    }
    all.into_iter().map(|read| read.spec).collect()
}

/// The key that says how long an instance may be degraded.
const DEGRADED_KEY: &str = "restart_degraded_after";

/// How long an instance may be degraded, and where that is written.
fn read_degraded_after<'t>(table: &TableReader<'t>) -> Option<(Duration, &'t Place)> {
    let after = table.duration(DEGRADED_KEY)?;
    let place = &table.entry(DEGRADED_KEY)?.node.place;
    if after.is_zero() {
        let message = format!(
            "{} has to be longer than nothing",
            table.path_of(DEGRADED_KEY)
        );
        table.sink().error("invalid_value", place, message);
        return None;
    }
    Some((after, place))
}

struct Plugin<'a> {
    id: &'a str,
    place: &'a Place,
    around: &'a Around<'a>,
    dirs: &'a [PathBuf],
    additions: Option<&'a (Additions, Place)>,
    count: usize,
    /// By directory asked for; `None`: its problems are reported.
    manifests: BTreeMap<Option<PathBuf>, Option<(PathBuf, Arc<Manifest>)>>,
}

impl Plugin<'_> {
    fn read_instance<'t>(&mut self, table: TableReader<'t>, mask: &mut Mask) -> Option<Read<'t>> {
        let sink = table.sink();
        let name = self.read_name(&table);
        let enabled = table.boolean("enabled").unwrap_or(true);
        let path = table.text("path").map(|path| self.around.base.join(path));
        let limits = table.table("limits").map(read_limits).unwrap_or_default();
        let restart = table.choice("restart", RestartPolicy::WORDS);
        let degraded_after = read_degraded_after(&table);
        let (dir, manifest) = self.manifest(path, &table)?;
        let restart = restart.unwrap_or(manifest.supervisor.restart);
        if let Some((_, place)) = degraded_after
            && restart == RestartPolicy::Never
        {
            let message = format!(
                "{} has to go with restart = \"always\" or \"on_failure\", found \"never\"",
                table.path_of(DEGRADED_KEY)
            );
            sink.error("invalid_value", place, message);
        }
        if let Some(keys) = public_keys(&manifest) {
            mask.public
                .entry(self.id.to_owned())
                .or_default()
                .extend(keys);
        }
        let checked = self.check_config(&table, &manifest, enabled, sink);
        let instance = name?;
        let secrets = checked.secrets.iter();
        let none = Additions::default();
        let additions = self.additions.map_or(&none, |(additions, _)| additions);
        let limits: Limits = manifest.supervisor.limits.overridden_by(limits);
        let spec = InstanceSpec {
            plugin: self.id.to_owned(),
            grants: Grants::of(&manifest, &instance, additions),
            instance,
            dir,
            config: checked.config.clone(),
            secrets: secrets
                .map(|(name, text)| (name.clone(), Secret::new(text.clone())))
                .collect(),
            limits,
            restart,
            restart_degraded_after: degraded_after.map(|(after, _)| after),
            transport: manifest.transport,
            own_server: (manifest.capabilities.http_server && additions.http_server)
                .then(|| manifest.own_server.clone()),
            enabled,
            manifest,
        };
        let place = table
            .entry("instance")
            .map_or(table.place(), |entry| &entry.node.place);
        Some(Read {
            spec,
            checked,
            place: place.clone(),
            entries: table.entries(),
        })
    }

    fn read_name(&self, table: &TableReader<'_>) -> Option<String> {
        if table.entry("instance").is_none() {
            if self.count == 1 {
                return Some("default".to_owned());
            }
            table.missing(
                "instance",
                "only a plugin's single instance may go without a name",
            );
            return None;
        }
        let (name, place) = table.text_at("instance")?;
        if !id::is_instance_name(name) {
            table.sink().error_hint(
                "invalid_value",
                place,
                format!("instance {name:?} is not an instance name"),
                "1 to 64 of a-z, 0-9, _ and -, a letter or digit first, no __ inside and no _ at \
                 the end",
            );
            return None;
        }
        Some(name.to_owned())
    }

    fn manifest(
        &mut self,
        path: Option<PathBuf>,
        table: &TableReader<'_>,
    ) -> Option<(PathBuf, Arc<Manifest>)> {
        if let Some(known) = self.manifests.get(&path) {
            return known.clone();
        }
        let given = table.entry("path").map(|entry| &entry.node.place);
        let found = self.find_manifest(path.as_deref(), given.unwrap_or(self.place), table.sink());
        self.manifests.insert(path, found.clone());
        found
    }

    fn find_manifest(
        &self,
        path: Option<&Path>,
        place: &Place,
        sink: &Sink,
    ) -> Option<(PathBuf, Arc<Manifest>)> {
        let dirs: Vec<PathBuf> = match path {
            Some(path) => vec![path.to_owned()],
            None => self.dirs.iter().map(|dir| dir.join(self.id)).collect(),
        };
        for dir in &dirs {
            for (name, is_foreign) in [(FILE, false), (FOREIGN_FILE, true)] {
                let file = dir.join(name);
                match self.around.files.read(&file) {
                    Ok(text) => {
                        let manifest = self.parse_manifest(&file, &text, is_foreign, sink)?;
                        return Some((dir.clone(), Arc::new(manifest)));
                    }
                    Err(error) if is_absent(error.kind()) => {}
                    Err(error) => {
                        let message = format!("{} cannot be read: {error}", file.display());
                        sink.error("unreadable", place, message);
                        return None;
                    }
                }
            }
        }
        let looked: Vec<String> = dirs.iter().map(|dir| dir.display().to_string()).collect();
        let looked = if looked.is_empty() {
            "no directory".to_owned()
        } else {
            looked.join(", ")
        };
        sink.error_hint(
            "not_found",
            place,
            format!("no manifest of plugin {:?} found in {looked}", self.id),
            format!("put {FILE} there, or give path = \"…\" or plugin_dirs"),
        );
        None
    }

    fn parse_manifest(
        &self,
        file: &Path,
        text: &str,
        is_foreign: bool,
        sink: &Sink,
    ) -> Option<Manifest> {
        let parsed = if is_foreign {
            Manifest::parse_foreign(text)
        } else {
            Manifest::parse(text)
        };
        let name = file.display().to_string();
        let (mut manifest, mut diagnostics) = match parsed {
            Ok(parsed) => (Some(parsed.value), parsed.warnings),
            Err(diagnostics) => (None, diagnostics),
        };
        if let Some(read) = &mut manifest {
            let dir = file.parent().unwrap_or(Path::new("."));
            let schemas = read.read_schemas(|path| {
                let text = self.around.files.read(&dir.join(path));
                text.map_err(|error| error.to_string())
            });
            if let Err(found) = schemas {
                diagnostics.extend(found);
                manifest = None;
            }
        }
        if let Some(read) = &mut manifest {
            let found = super::pollers::check(read);
            if !found.is_empty() {
                diagnostics.extend(found);
                manifest = None;
            }
        }
        for diagnostic in diagnostics {
            sink.push(diagnostic.in_file(name.as_str()));
        }
        let manifest = manifest?;
        let tools = manifest.tool_declarations();
        if let Err(error) = check_tools(&tools) {
            let at = error.index.and_then(|at| manifest.tools.get(at as usize));
            let place = at.map_or(self.place.clone(), |tool| tool.place.clone());
            let found = Diagnostic::new(Severity::Error, "invalid_value", &place, error.message);
            sink.push(found.in_file(name.as_str()));
            return None;
        }
        if manifest.id != self.id {
            let message = format!(
                "{name} is the manifest of plugin {:?}, expected {:?}",
                manifest.id, self.id
            );
            sink.error("invalid_value", self.place, message);
            return None;
        }
        Some(manifest)
    }

    /// Checks the keys that are the plugin's.
    fn check_config(
        &self,
        table: &TableReader<'_>,
        manifest: &Manifest,
        enabled: bool,
        sink: &Sink,
    ) -> Checked {
        let schema = &manifest.config;
        let mut given = Given::default();
        for entry in table.entries() {
            if RESERVED_KEYS.contains(&entry.key.as_str()) {
                continue;
            }
            let base = entry.key.strip_suffix("_env");
            let (key, reference) = match (base, entry.node.as_str()) {
                (Some(base), Some(variable)) if is_variable_name(variable) => {
                    (base.to_owned(), Some(Reference::Env(variable.to_owned())))
                }
                (Some(_), _) => {
                    let message = format!("{} has to name an environment variable", entry.key);
                    let hint = "letters, digits and _, no digit first; never the secret itself";
                    sink.error_hint("wrong_type", &entry.node.place, message, hint);
                    continue;
                }
                (None, _) => {
                    let is_object = schema
                        .keys
                        .get(&entry.key)
                        .is_some_and(|key| key.kind == ConfigType::Object);
                    let reference = Reference::of(&entry.node).filter(|_| !is_object);
                    (entry.key.clone(), reference)
                }
            };
            if let Some(earlier) = given.places.insert(key.clone(), entry.place.clone()) {
                let message = format!("{key} is given twice, also at {earlier}");
                sink.error("duplicate", &entry.place, message);
                continue;
            }
            match reference {
                None => {
                    given.literals.insert(key, entry.node.to_json());
                }
                Some(reference) => {
                    self.resolve(reference, key, entry, enabled, &mut given, sink);
                }
            }
        }
        let (checked, problems) = schema.check_all(&given.literals, &given.referenced);
        for problem in problems {
            if problem.code == "missing_key" && given.unresolved.contains(&problem.key) {
                continue; // Reported as an unresolved reference.
            }
            report(problem, &given.places, table.place(), sink);
        }
        checked
    }

    /// Gets a referenced value; a disabled instance may go without.
    fn resolve(
        &self,
        reference: Reference,
        key: String,
        entry: &Entry,
        enabled: bool,
        given: &mut Given,
        sink: &Sink,
    ) {
        match reference.resolve(self.around.env, self.around.base, self.around.files) {
            Ok(text) => {
                given.referenced.insert(key, text);
            }
            Err(problem) => {
                let severity = if enabled {
                    Severity::Error
                } else {
                    Severity::Warning
                };
                let message = format!("{key}: {problem}");
                let place = &entry.node.place;
                sink.push(Diagnostic::new(severity, "secret_missing", place, message));
                given.unresolved.insert(key);
            }
        }
    }

    /// Compares what the manifest asks for with what the operator grants.
    fn check_grants(&self, sink: &Sink) {
        let none = Additions::default();
        let (given, place) = match self.additions {
            Some((additions, place)) => (additions, place),
            None => (&none, self.place),
        };
        let manifests: Vec<&Manifest> = self
            .manifests
            .values()
            .flatten()
            .map(|(_, manifest)| manifest.as_ref())
            .collect();
        if given.http_server && manifests.iter().any(|manifest| manifest.is_foreign()) {
            let message = format!("grants.{}.http_server has no effect here", self.id);
            let hint = "a plugin of the foreign contract knows no such socket; leave it out";
            sink.error_hint("not_asked", place, message, hint);
        }
        if manifests.is_empty() || manifests.iter().any(|manifest| manifest.is_foreign()) {
            return;
        }
        for (word, given, asked) in [
            (
                "publish",
                &given.publish,
                all_of(&manifests, |m| &m.capabilities.publish),
            ),
            (
                "subscribe",
                &given.subscribe,
                all_of(&manifests, |m| &m.capabilities.subscribe),
            ),
        ] {
            for filter in given {
                if !asked
                    .iter()
                    .any(|ask| ask.covers(filter) || filter.covers(ask))
                {
                    self.not_asked(word, filter.as_str(), place, sink);
                }
            }
            for ask in asked {
                if !given
                    .iter()
                    .any(|filter| gives(filter, ask) || ask.covers(filter))
                {
                    self.not_granted(word, ask.as_str(), sink);
                }
            }
        }
        let asked = all_of(&manifests, |m| &m.capabilities.call);
        for filter in &given.call {
            if !asked
                .iter()
                .any(|ask| ask.covers(filter) || filter.covers(ask))
            {
                self.not_asked("call", filter.as_str(), place, sink);
            }
        }
        for ask in asked {
            if !given
                .call
                .iter()
                .any(|filter| filter.covers(ask) || ask.covers(filter))
            {
                self.not_granted("call", ask.as_str(), sink);
            }
        }
        let asked = all_of(&manifests, |m| &m.capabilities.send);
        for kind in given.send.iter().filter(|kind| !asked.contains(kind)) {
            self.not_asked("send", kind, place, sink);
        }
        for kind in asked.into_iter().filter(|kind| !given.send.contains(kind)) {
            self.not_granted("send", kind, sink);
        }
        let is_asked = manifests.iter().any(|m| m.capabilities.http_server);
        if given.http_server && !is_asked {
            let message = format!(
                "grants.{}.http_server is true, which its manifest does not ask for",
                self.id
            );
            let hint = "a grant counts where the plugin's [capabilities] ask for it; leave it out";
            sink.error_hint("not_asked", place, message, hint);
        }
        if is_asked && !given.http_server {
            let message = format!(
                "plugin {} asks for an HTTP server of its own and is not granted it",
                self.id
            );
            let hint = format!("add [grants.{}] http_server = true to grant it", self.id);
            sink.warning_hint("not_granted", self.place, message, hint);
        }
    }

    fn not_asked(&self, word: &str, what: &str, place: &Place, sink: &Sink) {
        let message = format!(
            "grants.{}.{word} has {what:?}, which its manifest does not ask for",
            self.id
        );
        let hint = "a grant counts where the plugin's [capabilities] ask for it; leave it out";
        sink.error_hint("not_asked", place, message, hint);
    }

    fn not_granted(&self, word: &str, what: &str, sink: &Sink) {
        let message = format!(
            "plugin {} asks to {word} {what:?} and is not granted it",
            self.id
        );
        let hint = format!("add [grants.{}] {word} = [{what:?}] to grant it", self.id);
        sink.warning_hint("not_granted", self.place, message, hint);
    }
}

/// What stands under the keys of one instance.
#[derive(Default)]
struct Given {
    literals: Map<String, Value>,
    referenced: BTreeMap<String, String>,
    unresolved: BTreeSet<String>,
    places: BTreeMap<String, Place>,
}

fn is_absent(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::NotFound | ErrorKind::NotADirectory)
}

fn all_of<'m, T>(
    manifests: &[&'m Manifest],
    list: impl Fn(&'m Manifest) -> &'m Vec<T>,
) -> Vec<&'m T> {
    manifests
        .iter()
        .flat_map(|manifest| list(manifest))
        .collect()
}

fn public_keys(manifest: &Manifest) -> Option<Vec<String>> {
    let keys = &manifest.config.keys;
    (!manifest.config.is_open).then(|| {
        keys.iter()
            .filter(|(_, key)| !key.secret)
            .map(|(name, _)| name.clone())
            .collect()
    })
}

fn report(problem: Problem, places: &BTreeMap<String, Place>, whole: &Place, sink: &Sink) {
    let place = places.get(&problem.key).unwrap_or(whole);
    let mut found = Diagnostic::new(Severity::Error, problem.code, place, problem.message);
    found.hint = problem.hint;
    sink.push(found);
}

/// Refuses one value of a unique key in two instances of a plugin.
fn check_unique(instances: &[Read<'_>], sink: &Sink) {
    let Some(first) = instances.first() else {
        return;
    };
    let checked: Vec<&Checked> = instances.iter().map(|read| &read.checked).collect();
    for (key, earlier, later) in first.spec.manifest.config.shared_values(&checked) {
        let suffixed = format!("{key}_env");
        let entries = instances[later].entries;
        let at = entries
            .iter()
            .find(|entry| entry.key == key || entry.key == suffixed);
        let place = at.map_or(&instances[later].place, |entry| &entry.place);
        let message = format!(
            "{} and {} have one value of {key}, which is unique",
            instances[earlier].spec.key(),
            instances[later].spec.key()
        );
        sink.error("duplicate", place, message);
    }
}

/// Refuses a (kind, instance) that two plugins serve, and two instances of one name.
fn check_served_once(all: &[Read<'_>], sink: &Sink) {
    let mut names = BTreeSet::new();
    let mut served: BTreeMap<(&str, &str), &str> = BTreeMap::new();
    for Read { spec, place, .. } in all {
        if !names.insert((spec.plugin.as_str(), spec.instance.as_str())) {
            let message = format!("instance {} is there twice", spec.key());
            sink.error("duplicate", place, message);
            continue;
        }
        for kind in spec.manifest.kinds() {
            if let Some(other) = served.insert((kind, &spec.instance), &spec.plugin) {
                let message = format!(
                    "channel {kind}, instance {} is served by plugin {other} and by plugin {}",
                    spec.instance, spec.plugin
                );
                let hint = "give one of the instances another name";
                sink.error_hint("duplicate", place, message, hint);
            }
        }
    }
}

/// Tells whether a node of an instance is a reference, for showing it.
pub(super) fn shown_reference(entry: &Entry) -> Option<String> {
    match &entry.node.kind {
        Kind::String(variable) if entry.key.ends_with("_env") => {
            Some(Reference::Env(variable.clone()).to_string())
        }
        _ => Reference::of(&entry.node).map(|reference| format!("*** ({reference})")),
    }
}
