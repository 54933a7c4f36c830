//! What belongs to the operator alone of the files around a config: secrets, keys and the daemon's data.
//!
//! Read from the file as it stands, whatever else is wrong with it: for those who are to keep away from these files.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use trunkline_contract::toml::{Diagnostic, Kind, Node, Place, Severity, Table, parse};

use super::load::{FILE, Files, YAML_FILES, is_yaml};
use super::secret::Reference;
use super::yaml;

/// Most directories above one whose configs are read.
const ANCESTORS_MAX: usize = 64;

/// Names the files that the configs of a directory refer to as secrets or keys, and the data directories that they give.
///
/// # Errors
/// A config that cannot be read or parsed: what it names is not known then.
pub fn private_paths(dir: &Path, files: &dyn Files) -> Result<Vec<PathBuf>, Box<Diagnostic>> {
    let mut found = Vec::new();
    for name in std::iter::once(&FILE).chain(YAML_FILES) {
        of_file(&dir.join(name), dir, files, &mut found)?;
    }
    Ok(found)
}

/// The same of the configs of the directories above one. One above that this user may not read is not its operator's.
///
/// # Errors
/// As of [`private_paths`].
pub fn private_paths_above(dir: &Path, files: &dyn Files) -> Result<Vec<PathBuf>, Box<Diagnostic>> {
    let mut found = Vec::new();
    for above in dir.ancestors().skip(1).take(ANCESTORS_MAX) {
        for name in std::iter::once(&FILE).chain(YAML_FILES) {
            let path = above.join(name);
            let read = files.read(&path);
            if !read.is_err_and(|error| error.kind() == ErrorKind::PermissionDenied) {
                of_file(&path, above, files, &mut found)?;
            }
        }
    }
    Ok(found)
}

/// The same of a config of any name, with its own path and those of the configs beside it.
///
/// # Errors
/// As of [`private_paths`].
pub fn private_paths_of(config: &Path, files: &dyn Files) -> Result<Vec<PathBuf>, Box<Diagnostic>> {
    let dir = config.parent().unwrap_or(Path::new("."));
    let mut found = private_paths(dir, files)?;
    let name = config.file_name().and_then(|name| name.to_str());
    if name.is_none_or(|name| name != FILE && !YAML_FILES.contains(&name)) {
        of_file(config, dir, files, &mut found)?;
        found.push(config.to_owned());
    }
    Ok(found)
}

fn of_file(
    path: &Path,
    dir: &Path,
    files: &dyn Files,
    found: &mut Vec<PathBuf>,
) -> Result<(), Box<Diagnostic>> {
    let shown = path.display().to_string();
    let text = match files.read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => {
            let (place, message) = (Place::start_of(shown), format!("cannot be read: {error}"));
            let found = Diagnostic::new(Severity::Error, "unreadable", &place, message);
            return Err(Box::new(found));
        }
    };
    let table = if is_yaml(path) {
        yaml::parse(&text, &shown.into())?
    } else {
        parse(&text, shown)?
    };
    let text_at = |section: &str, key| table.get(section)?.as_table()?.get(key)?.as_str();
    let own = [text_at("broker", "data_dir"), text_at("http", "tls_key")];
    found.extend(own.into_iter().flatten().map(|path| dir.join(path)));
    of_table(&table, dir, found);
    Ok(())
}

fn of_table(table: &Table, base: &Path, found: &mut Vec<PathBuf>) {
    for entry in &table.entries {
        of_node(&entry.node, base, found);
    }
}

fn of_node(node: &Node, base: &Path, found: &mut Vec<PathBuf>) {
    if let Some(Reference::File(path)) = Reference::of(node) {
        return found.push(base.join(path));
    }
    match &node.kind {
        Kind::Table(table) => of_table(table, base, found),
        Kind::Array(items) => items.iter().for_each(|item| of_node(item, base, found)),
        _ => {}
    }
}
