//! What `trunkline dev` runs: the instances of the operator's file, or the plugin of the directory.

use std::path::{Path, PathBuf};

use trunkline_contract::toml::has_errors;

use crate::cli::args::ConfigArgs;
use crate::cli::failure::Failure;
use crate::config::{Config, DiskFiles, Sources, load};

/// The operator's file, where there is one.
const CONFIG: &str = "trunkline.toml";
/// The names that it may have.
const CONFIGS: [&str; 3] = [CONFIG, "trunkline.yaml", "trunkline.yml"];
/// Where everything of a plugin without one is kept.
const DIR: &str = ".trunkline";

/// One plugin that is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Watched {
    pub(super) plugin: String,
    pub(super) dir: PathBuf,
    /// What makes it, if anything does.
    pub(super) build: Option<Vec<String>>,
}

/// Names what the config is made of; without a file, one is written for the plugin of this directory.
pub(super) fn sources(config: Option<&Path>, set: &[String]) -> Result<Sources, Failure> {
    let file = match config {
        Some(file) => file.to_owned(),
        // Without it, the loader takes one in YAML.
        None if CONFIGS.iter().any(|name| Path::new(name).exists()) => CONFIG.into(),
        None => written()?,
    };
    let set = set.to_vec();
    ConfigArgs { config: file, set }.sources()
}

/// Reads the config; everything that is wrong with it is in the failure.
pub(super) fn config(sources: &Sources) -> Result<Config, Failure> {
    let loaded = load(sources, &DiskFiles);
    // Who writes a plugin is told at once what would stop it alone.
    let is_bad = has_errors(&loaded.diagnostics);
    loaded.config.filter(|_| !is_bad).ok_or_else(|| {
        let all = loaded.diagnostics.iter();
        let lines: Vec<String> = all.map(|one| format!("\n  {one}")).collect();
        Failure::new("config_invalid", 78, lines.concat())
    })
}

/// The plugins of a config, each once.
pub(super) fn watched(config: &Config, build: Option<&str>) -> Vec<Watched> {
    let mut all: Vec<Watched> = Vec::new();
    for spec in &config.instances {
        let is_known = all.iter().any(|one| one.plugin == spec.plugin);
        if !is_known && has_manifest(&spec.dir) {
            all.push(Watched {
                plugin: spec.plugin.clone(),
                dir: spec.dir.clone(),
                build: command(build, &spec.dir),
            });
        }
    }
    all
}

/// What the daemon itself runs has no files to watch.
pub(super) fn has_manifest(dir: &Path) -> bool {
    let mut names = ["plugin.toml", "nexo-plugin.toml"].iter();
    names.any(|name| dir.join(name).exists())
}

/// The command that was given; without one, what the files of the directory say.
pub(crate) fn command(given: Option<&str>, dir: &Path) -> Option<Vec<String>> {
    let found = || {
        if dir.join("Cargo.toml").exists() {
            // The profile whose output the manifest starts.
            let manifest = std::fs::read_to_string(dir.join("plugin.toml")).unwrap_or_default();
            let is_release = manifest.contains("target/release/");
            return if is_release {
                "cargo build --release"
            } else {
                "cargo build"
            };
        }
        let package = std::fs::read_to_string(dir.join("package.json")).unwrap_or_default();
        let package = serde_json::from_str::<serde_json::Value>(&package).unwrap_or_default();
        if package["scripts"]["build"].is_string() {
            "npm run build"
        } else {
            ""
        }
    };
    let text = given.unwrap_or_else(found);
    let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
    (!words.is_empty()).then_some(words)
}

fn written() -> Result<PathBuf, Failure> {
    let io = |error: std::io::Error| Failure::new("io", 74, format!("{DIR}: {error}"));
    let text = std::fs::read_to_string("plugin.toml").map_err(|error| {
        Failure::usage(format!(
            "here is neither {CONFIG} nor a plugin: plugin.toml: {error}"
        ))
        .hint("go to the plugin's directory, or give --config")
    })?;
    let id = text
        .parse::<toml_edit::DocumentMut>()
        .ok()
        .and_then(|manifest| Some(manifest.get("plugin")?.get("id")?.as_str()?.to_owned()))
        .ok_or_else(|| Failure::usage("plugin.toml: expected id in [plugin], found none"))?;
    std::fs::create_dir_all(DIR).map_err(io)?;
    let file = Path::new(DIR).join("dev.toml");
    let [here, data] = [".", DIR].map(|path| {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.into());
        serde_json::Value::from(path.display().to_string())
    });
    let id = serde_json::Value::from(id);
    let text = format!(
        "# Written by trunkline dev at each start. For settings of your own write {CONFIG} beside plugin.toml.\n\
         [broker]\ndata_dir = {data}\n\n[http]\nlisten = \"127.0.0.1:0\"\n\n[[plugins.{id}]]\npath = {here}\n"
    );
    std::fs::write(&file, text).map_err(io)?;
    Ok(file)
}
