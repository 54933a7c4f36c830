//! Checks `[[plugins.<id>]]`: finds each plugin's manifest, checks each instance against it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use trunkline_contract::config_schema::{Checked, ConfigType, RESERVED_KEYS};
use trunkline_contract::grant::{Additions, Grants};
use trunkline_contract::id;
use trunkline_contract::manifest::{
    FILE, FOREIGN_FILE, Limits, Manifest, RestartPolicy, read_limits,
};
use trunkline_contract::toml::{
    Diagnostic, Entry, Kind, Place, Severity, Sink, TableReader, nearest,
};

use crate::core::check_tools;
use crate::install::lock::LOCK;
use crate::install::{Declared, InstallError, Lock, PackageRef};

use super::base::GRANTS;
use super::given::Reading;
use super::granted::{self, Given};
use super::load::{Around, Files};
use super::secret::{Reference, Secret};
use super::types::InstanceSpec;
use super::validate::{self, GrantsByPlugin};

/// Which config values may be shown: those of keys that a manifest declares, and not as secret.
#[derive(Debug, Default)]
pub(super) struct Mask {
    manifests: BTreeMap<String, Vec<Arc<Manifest>>>,
}

impl Mask {
    /// Tells of the value under a path of keys; what is below an untyped value is like it.
    pub(super) fn may_show(&self, plugin: &str, keys: &[&str], is_table: bool) -> bool {
        let Some((first, rest)) = keys.split_first() else {
            return false;
        };
        let may_show = |manifest: &Arc<Manifest>| {
            let mut key = manifest.config.keys.get(*first)?;
            for name in rest {
                key = match key.below(name) {
                    Some(below) => below,
                    None if key.fields.is_some() => return None,
                    None => break,
                };
            }
            // A table is shown value by value, anything else whole.
            let is_apart = is_table && key.kind == ConfigType::Object;
            Some(!key.secret && (is_apart || !key.holds_secret()))
        };
        let manifests = self.manifests.get(plugin).into_iter().flatten();
        let said: Vec<bool> = manifests.filter_map(may_show).collect();
        RESERVED_KEYS.contains(first) || (!said.is_empty() && said.iter().all(|may| *may))
    }
}

/// An instance with what is needed to compare it with others.
struct Read {
    spec: InstanceSpec,
    checked: Checked,
    place: Place,
    /// Where each of its config's keys stands, by path.
    places: BTreeMap<String, Place>,
}

pub(super) fn read(
    root: &TableReader<'_>,
    around: &Around<'_>,
    plugin_dirs: &[PathBuf],
    data_dir: Option<&Path>,
    grants: &GrantsByPlugin,
    mask: &mut Mask,
) -> Vec<InstanceSpec> {
    let sink = root.sink();
    let lock = data_dir.map_or_else(Lock::default, |dir| installed(dir, around, sink));
    let mut all: Vec<Read> = Vec::new();
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
                data_dir,
                package: data_dir.and_then(|dir| lock.package(dir, &entry.key)),
                additions: grants.get(&entry.key),
                takes_common_grants: false,
                count: tables.len(),
                manifests: BTreeMap::new(),
            };
            let read: Vec<Read> = tables
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
    data_dir: Option<&'a Path>,
    /// What is installed of it.
    package: Option<PackageRef>,
    additions: Option<&'a (Additions, Place)>,
    /// Whether an instance has no grants of its own.
    takes_common_grants: bool,
    count: usize,
    /// By directory asked for; `None`: its problems are reported.
    manifests: BTreeMap<Option<PathBuf>, Option<Found>>,
}

/// A manifest that was found.
#[derive(Clone)]
struct Found {
    dir: PathBuf,
    manifest: Arc<Manifest>,
    /// Why nothing can run by it.
    unfit: Arc<[Diagnostic]>,
}

impl Plugin<'_> {
    fn read_instance(&mut self, table: TableReader<'_>, mask: &mut Mask) -> Option<Read> {
        let sink = table.sink();
        let name = self.read_name(&table);
        let enabled = table.boolean("enabled").unwrap_or(true);
        let path = table.text("path").map(|path| self.around.base.join(path));
        let limits = table.table("limits").map(read_limits).unwrap_or_default();
        let restart = table.choice("restart", RestartPolicy::WORDS);
        let degraded_after = read_degraded_after(&table);
        let own = table.entry(GRANTS).map(|entry| &entry.node.place);
        let own = own.and_then(|place| Some((validate::additions(table.table(GRANTS)?), place)));
        let Found {
            dir,
            manifest,
            unfit,
        } = self.manifest(path, &table)?;
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
        let seen = mask.manifests.entry(self.id.to_owned()).or_default();
        seen.push(Arc::clone(&manifest));
        let state = name.as_ref().zip(self.data_dir);
        let state = state.map(|(name, data)| data.join("state").join(self.id).join(name));
        let (checked, places) = Reading {
            around: self.around,
            state_dir: state.as_deref(),
            is_enabled: enabled,
            sink,
        }
        .check(&manifest.config, &table);
        let instance = name?;
        let secrets = checked.secrets.iter();
        let none = Additions::default();
        let additions = match (&own, self.additions) {
            (Some((additions, place)), _) => {
                let given = Given::of(&format!("plugins.{}.{GRANTS}", self.id), additions, place);
                granted::check(self.id, given, &[&manifest], sink);
                additions
            }
            (None, common) => {
                self.takes_common_grants = true;
                common.map_or(&none, |(additions, _)| additions)
            }
        };
        let limits: Limits = manifest.supervisor.limits.overridden_by(limits);
        let spec = InstanceSpec {
            plugin: self.id.to_owned(),
            grants: Grants::of(&manifest, &instance, additions),
            instance,
            package: self.package.clone().filter(|one| one.tree() == dir),
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
            unfit,
            manifest,
        };
        let place = table
            .entry("instance")
            .map_or(table.place(), |entry| &entry.node.place);
        Some(Read {
            spec,
            checked,
            place: place.clone(),
            places,
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

    fn manifest(&mut self, path: Option<PathBuf>, table: &TableReader<'_>) -> Option<Found> {
        if let Some(known) = self.manifests.get(&path) {
            return known.clone();
        }
        let given = table.entry("path").map(|entry| &entry.node.place);
        let found = self.find_manifest(path.as_deref(), given.unwrap_or(self.place), table.sink());
        self.manifests.insert(path, found.clone());
        found
    }

    fn find_manifest(&self, path: Option<&Path>, place: &Place, sink: &Sink) -> Option<Found> {
        let dirs: Vec<PathBuf> = match path {
            Some(path) => vec![path.to_owned()],
            None => {
                let dirs = self.dirs.iter().map(|dir| dir.join(self.id));
                dirs.chain(self.package.iter().map(PackageRef::tree))
                    .collect()
            }
        };
        for dir in &dirs {
            let texts = match self.texts(dir) {
                Ok(texts) => texts,
                Err(error) => {
                    let message = format!("{} cannot be read: {error}", dir.display());
                    refuse(sink, place, message, &error);
                    return None;
                }
            };
            for (name, is_foreign) in [(FILE, false), (FOREIGN_FILE, true)] {
                match texts.read(name) {
                    Ok(text) => {
                        let (manifest, unfit) =
                            self.parse_manifest(&texts, name, &text, is_foreign, sink)?;
                        return Some(Found {
                            dir: dir.clone(),
                            manifest: Arc::new(manifest),
                            unfit: unfit.into(),
                        });
                    }
                    Err(error) if is_absent(error.kind()) => {}
                    Err(error) => {
                        let file = dir.join(name);
                        let message = format!("{} cannot be read: {error}", file.display());
                        let inner = error.get_ref();
                        match inner.and_then(|inner| inner.downcast_ref::<InstallError>()) {
                            Some(why) => refuse(sink, place, message, why),
                            None => sink.error("unreadable", place, message),
                        }
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
            format!(
                "put {FILE} there, give path = \"…\" or plugin_dirs, or install it: trunkline \
                 plugins add"
            ),
        );
        None
    }

    /// Names the texts of a plugin's directory: those of an installed package are as they were added, whatever
    /// became of its files since; that is found when something starts from it.
    fn texts<'t>(&'t self, dir: &'t Path) -> Result<Texts<'t>, InstallError> {
        let files = self.around.files;
        let mut package = self.package.iter();
        let package = package.find(|package| package.tree() == dir);
        let declared = package.map(|package| Declared::of(package, |path| files.read(path)));
        let declared = declared.transpose()?;
        Ok(Texts {
            dir,
            files,
            declared,
        })
    }

    fn parse_manifest(
        &self,
        texts: &Texts<'_>,
        file: &str,
        text: &str,
        is_foreign: bool,
        sink: &Sink,
    ) -> Option<(Manifest, Vec<Diagnostic>)> {
        let parsed = if is_foreign {
            Manifest::parse_foreign(text)
        } else {
            Manifest::parse(text)
        };
        let name = texts.dir.join(file).display().to_string();
        let (mut manifest, mut diagnostics) = match parsed {
            Ok(parsed) => (Some(parsed.value), parsed.warnings),
            Err(diagnostics) => (None, diagnostics),
        };
        if let Some(read) = &mut manifest {
            let schemas =
                read.read_schemas(|path| texts.read(path).map_err(|error| error.to_string()));
            if let Err(found) = schemas {
                diagnostics.extend(found);
                manifest = None;
            }
        }
        for diagnostic in diagnostics {
            sink.push(diagnostic.in_file(name.as_str()));
        }
        let mut manifest = manifest?;
        let unfit = super::pollers::check(&mut manifest).into_iter();
        let unfit = unfit.map(|found| found.in_file(name.as_str())).collect();
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
        Some((manifest, unfit))
    }

    /// Checks what the operator grants to all instances.
    fn check_grants(&self, sink: &Sink) {
        let none = Additions::default();
        let (additions, place) = match self.additions {
            Some((additions, place)) => (additions, place),
            None => (&none, self.place),
        };
        let found = self.manifests.values().flatten();
        let manifests: Vec<&Manifest> = found.map(|found| found.manifest.as_ref()).collect();
        let mut given = Given::of(&format!("{GRANTS}.{}", self.id), additions, place);
        given.is_enough = !self.takes_common_grants;
        given.asked_at = self.place;
        granted::check(self.id, given, &manifests, sink);
    }
}

/// The texts of a plugin's directory.
struct Texts<'a> {
    dir: &'a Path,
    files: &'a dyn Files,
    /// Those of an installed package.
    declared: Option<Declared>,
}

impl Texts<'_> {
    fn read(&self, path: &str) -> std::io::Result<String> {
        let Some(declared) = &self.declared else {
            return self.files.read(&self.dir.join(path));
        };
        let text = declared.text(path, |path| self.files.read(path));
        let text = text.map_err(std::io::Error::other)?;
        text.ok_or_else(|| ErrorKind::NotFound.into())
    }
}

/// Reads what is installed.
fn installed(data_dir: &Path, around: &Around<'_>, sink: &Sink) -> Lock {
    let path = data_dir.join(LOCK);
    let why = match around.files.read(&path) {
        Ok(text) => match Lock::parse(&text, &path) {
            Ok(lock) => return lock,
            Err(error) => error,
        },
        Err(error) if is_absent(error.kind()) => return Lock::default(),
        Err(source) => InstallError::Io {
            path: path.clone(),
            source,
        },
    };
    let start = Place::start_of(path.display().to_string());
    refuse(sink, &start, why.to_string(), &why);
    Lock::default()
}

/// Reports what cannot be read, with what to do about it.
fn refuse(sink: &Sink, place: &Place, message: String, why: &InstallError) {
    match why.hint() {
        Some(hint) => sink.error_hint("unreadable", place, message, hint),
        None => sink.error("unreadable", place, message),
    }
}

fn is_absent(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::NotFound | ErrorKind::NotADirectory)
}

/// Refuses one value of a unique key in two instances of a plugin.
fn check_unique(instances: &[Read], sink: &Sink) {
    let Some(first) = instances.first() else {
        return;
    };
    let checked: Vec<&Checked> = instances.iter().map(|read| &read.checked).collect();
    for (key, earlier, later) in first.spec.manifest.config.shared_values(&checked) {
        let at = instances[later].places.get(&key);
        let place = at.unwrap_or(&instances[later].place);
        let message = format!(
            "{} and {} have one value of {key}, which is unique",
            instances[earlier].spec.key(),
            instances[later].spec.key()
        );
        sink.error("duplicate", place, message);
    }
}

/// Refuses a (kind, instance) that two plugins serve, and two instances of one name.
fn check_served_once(all: &[Read], sink: &Sink) {
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
