//! Which plugins could be configured: installed packages, and what lies in the directories of plugins.
//!
//! Reads manifests and what the last checks found; it hashes nothing, and knows nothing of what runs.

use std::collections::BTreeMap;
use std::path::Path;

use trunkline_contract::id;
use trunkline_contract::manifest::Manifest;
use trunkline_contract::rpc::admin::PluginStatus;

use crate::config::Config;
use crate::install::check::status;
use crate::install::declared::manifest;
use crate::install::packages::manifest_of;
use crate::install::{Checker, Lock};

/// Lists them by id; the first directory that has a plugin is the one that counts.
pub(super) fn available(config: &Config, checker: &Checker) -> Vec<PluginStatus> {
    let data_dir = &config.broker.data_dir;
    let lock = Lock::read(data_dir).unwrap_or_else(|error| {
        tracing::warn!(%error, "Installed packages are not known.");
        Lock::default()
    });
    let mut all: BTreeMap<String, PluginStatus> = BTreeMap::new();
    for dir in &config.plugin_dirs {
        let Ok(entries) = std::fs::read_dir(dir) else {
            continue;
        };
        for entry in entries.flatten() {
            let dir = entry.path();
            let Some(name) = entry.file_name().to_str().map(str::to_owned) else {
                continue;
            };
            if !id::is_plugin_id(&name) || all.contains_key(&name) {
                continue;
            }
            if let Ok(manifest) = manifest(&dir, &dir)
                && manifest.id == name
            {
                all.insert(name, plugin(&manifest, &dir));
            }
        }
    }
    for (id, installed) in &lock.packages {
        let Some(package) = lock.package(data_dir, id) else {
            continue;
        };
        let status = status(installed, checker.found(&package));
        let found = all.entry(id.clone()).or_insert_with(|| {
            let tree = package.tree();
            manifest_of(&package).map_or_else(
                |_| PluginStatus {
                    id: id.clone(),
                    version: installed.version.clone(),
                    path: Some(tree.display().to_string()),
                    package: None,
                    kinds: Vec::new(),
                    instances: Vec::new(),
                },
                |manifest| plugin(&manifest, &tree),
            )
        });
        found.package = Some(status);
    }
    all.into_values().collect()
}

fn plugin(manifest: &Manifest, dir: &Path) -> PluginStatus {
    PluginStatus {
        id: manifest.id.clone(),
        version: manifest.version.clone(),
        path: Some(dir.display().to_string()),
        package: None,
        kinds: manifest.kinds().map(str::to_owned).collect(),
        instances: Vec::new(),
    }
}
