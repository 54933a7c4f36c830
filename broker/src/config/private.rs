//! What belongs to the operator alone of the files around a config: secrets, keys and the daemon's data.
//!
//! Read from the file as it stands, whatever else is wrong with it: for those who are to keep away from these files.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use trunkline_contract::toml::{Diagnostic, Kind, Node, Place, Severity, Table, parse};

use super::load::{FILE, Files, YAML_FILES, is_yaml};
use super::secret::Reference;
use super::yaml;

/// Names the files that the configs of a directory refer to as secrets or keys, and the data directories that they give.
///
/// # Errors
/// A config that cannot be read or parsed: what it names is not known then.
pub fn private_paths(dir: &Path, files: &dyn Files) -> Result<Vec<PathBuf>, Box<Diagnostic>> {
    let mut found = Vec::new();
    for name in std::iter::once(&FILE).chain(YAML_FILES) {
        let path = dir.join(name);
        let shown = path.display().to_string();
        let text = match files.read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => {
                let (place, message) = (Place::start_of(shown), format!("cannot be read: {error}"));
                let found = Diagnostic::new(Severity::Error, "unreadable", &place, message);
                return Err(Box::new(found));
            }
        };
        let table = if is_yaml(&path) {
            yaml::parse(&text, &shown.into())?
        } else {
            parse(&text, shown)?
        };
        let text_at = |section: &str, key| table.get(section)?.as_table()?.get(key)?.as_str();
        let own = [text_at("broker", "data_dir"), text_at("http", "tls_key")];
        found.extend(own.into_iter().flatten().map(|path| dir.join(path)));
        of_table(&table, dir, &mut found);
    }
    Ok(found)
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
