//! Which files of a plugin's directory belong to its package.
//!
//! What is made anew, kept by tools or belongs to one machine is left out. A file that the manifest's command names
//! is taken wherever it lies: the program of a Rust plugin is in `target/release`.
//!
//! What is the operator's alone is left out too, and no command brings it in: configs, the files of secrets that they
//! name, the usual places of such files, and the data of a daemon. A package may have code that is called `tokens`: below
//! its root, source files are taken from such a directory, and nothing else.

use std::collections::BTreeSet;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::error::InstallError;
use super::limits::PackageLimits;
use super::lock::{LOCK, PACKAGES};
use super::packages::STAGING;
use super::path::checked;
use crate::config::{DiskFiles, private_paths, private_paths_above, private_paths_of};
use crate::daemon::TOKEN_FILE;

/// Names of files and directories that are left out wherever they are; `*` stands for any beginning.
pub const LEFT_OUT: &[&str] = &[
    ".git",
    ".hg",
    ".svn",
    ".trunkline",
    ".venv",
    "venv",
    "__pycache__",
    "*.pyc",
    "node_modules",
    "target",
    ".mypy_cache",
    ".pytest_cache",
    ".ruff_cache",
    ".cache",
    ".hypothesis",
    ".tox",
    ".nox",
    ".coverage",
    "*.egg-info",
    "*.tsbuildinfo",
    ".trunkline-template.json",
    ".DS_Store",
    "*.db",
    "*.db-wal",
    "*.db-shm",
    "*.trunkline.tgz",
];

/// Names of files and directories that are the operator's alone, wherever they are; `*` stands for any end.
pub const PRIVATE: &[&str] = &[
    ".env*",
    ".npmrc",
    ".pypirc",
    "id_rsa",
    "id_ed25519",
    "id_ecdsa",
    "trunkline.toml",
    "trunkline.yaml",
    "trunkline.yml",
];

/// Names of directories of secrets, and of files of them.
pub const SECRETS: &[&str] = &["secrets", "tokens"];

/// How the names of files end that are taken from such a directory where it is not at the root.
pub const SOURCES: &[&str] = &[
    ".py",
    ".pyi",
    "py.typed",
    ".js",
    ".jsx",
    ".mjs",
    ".cjs",
    ".ts",
    ".tsx",
    ".mts",
    ".cts",
    ".rs",
    "schema.json",
];

/// What lies beside its token in the directory of a daemon that has no store on the disk.
const DATA: &[&str] = &["logs", "state", "http", "http.addr", "trunkline.sock"];

/// Least characters that a daemon takes for its token.
const TOKEN_CHARS_MIN: usize = 32;
/// Most bytes that a file of a token has.
const TOKEN_BYTES_MAX: u64 = 1024;

/// One file of a package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct File {
    /// Its path within the package.
    pub path: String,
    /// Where it is now.
    pub from: PathBuf,
    /// Whether it may be run.
    pub is_executable: bool,
    /// Its size.
    pub bytes: u64,
}

/// Holds what belongs to a package and what does not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Collected {
    /// By path.
    pub files: Vec<File>,
    /// What was there and is left out, by path; directories end with a slash.
    pub left_out: Vec<String>,
}

fn is_left_out(name: &str) -> bool {
    LEFT_OUT.iter().any(|rule| match rule.strip_prefix('*') {
        Some(end) => name.ends_with(end),
        None => name == *rule,
    })
}

/// Says whether a daemon keeps its data there: the owner's token and the store go into no package.
fn is_data_dir(dir: &Path) -> bool {
    let staging = dir.join(PACKAGES).join(STAGING);
    dir.join("store.db").exists()
        || dir.join(LOCK).exists()
        || staging.exists()
        || is_token(&dir.join(TOKEN_FILE))
            && DATA.iter().any(|name| dir.join(name).exists())
            && !holds_source(dir)
}

fn is_source(name: &str) -> bool {
    SOURCES.iter().any(|end| name.ends_with(end))
}

/// Says whether a source file lies right there: then a long word in a file `token` does not make it a daemon's directory.
fn holds_source(dir: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return false;
    };
    let mut names = entries.flatten().map(|entry| entry.file_name());
    names.any(|name| name.to_str().is_some_and(is_source))
}

/// Says whether a file of that name is the owner's token: one long word.
fn is_token(path: &Path) -> bool {
    if !std::fs::symlink_metadata(path)
        .is_ok_and(|about| about.is_file() && about.len() <= TOKEN_BYTES_MAX)
    {
        return false;
    }
    // One that cannot be read may well be.
    std::fs::read_to_string(path).map_or(true, |text| {
        let word = text.trim();
        word.len() >= TOKEN_CHARS_MIN && !word.contains(char::is_whitespace)
    })
}

/// What a file or directory is known by, under whatever name it is reached.
type Identity = (u64, u64);

fn identity(about: &std::fs::Metadata) -> Identity {
    (about.dev(), about.ino())
}

/// What the configs of a directory, of those above it and of the operator name as the operator's alone, and where links
/// among them lead.
fn private(dir: &Path, config: Option<&Path>) -> Result<BTreeSet<Identity>, InstallError> {
    let there = std::fs::canonicalize(dir).map_err(InstallError::io(dir))?;
    let reached = std::path::absolute(dir).map_err(InstallError::io(dir))?;
    let mut named = private_paths(dir, &DiskFiles);
    for dir in [&there, &reached] {
        named = named.and_then(|mut named| {
            named.extend(private_paths_above(dir, &DiskFiles)?);
            Ok(named)
        });
        if there == reached {
            break;
        }
    }
    if let Some(config) = config {
        named = named.and_then(|mut named| {
            named.extend(private_paths_of(config, &DiskFiles)?);
            Ok(named)
        });
    }
    let named = named.map_err(|found| InstallError::Config { found })?;
    let abouts = named
        .iter()
        .flat_map(|path| [std::fs::symlink_metadata(path), std::fs::metadata(path)]);
    // What is not there goes nowhere.
    Ok(abouts.flatten().map(|about| identity(&about)).collect())
}

/// Lists the files of a plugin's directory; `command` is its manifest's, `config` the operator's file, if one is known.
///
/// # Errors
/// Links, devices, names that no package may have, and whatever is over a limit.
pub fn collect(
    dir: &Path,
    command: &[String],
    config: Option<&Path>,
    limits: PackageLimits,
) -> Result<Collected, InstallError> {
    let mut walk = Walk {
        root: dir,
        private: private(dir, config)?,
        limits,
        entries: 0,
        bytes: 0,
        found: Collected::default(),
    };
    let root = std::fs::metadata(dir).map_err(InstallError::io(dir))?;
    if walk.private.contains(&identity(&root)) {
        let what = "expected a plugin's directory, found the data directory of its config";
        return Err(InstallError::entry(dir.display().to_string(), what));
    }
    walk.dir(dir, "", false)?;
    let known: BTreeSet<String> = walk.found.files.iter().map(|f| f.path.clone()).collect();
    for word in command {
        let Ok(Some(path)) = checked(word.as_bytes()) else {
            continue;
        };
        if !known.contains(&path) && dir.join(&path).is_file() {
            walk.check_way(&path)?;
            walk.file(&dir.join(&path), path)?;
        }
    }
    walk.found.files.sort();
    walk.found.files.dedup();
    walk.found.left_out.sort();
    Ok(walk.found)
}

struct Walk<'a> {
    root: &'a Path,
    private: BTreeSet<Identity>,
    limits: PackageLimits,
    entries: u64,
    bytes: u64,
    found: Collected,
}

impl Walk<'_> {
    fn dir(&mut self, dir: &Path, prefix: &str, is_of_secrets: bool) -> Result<(), InstallError> {
        for entry in std::fs::read_dir(dir).map_err(InstallError::io(dir))? {
            let entry = entry.map_err(InstallError::io(dir))?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else {
                let shown = entry.path().display().to_string();
                return Err(InstallError::entry(shown, "expected a name in UTF-8"));
            };
            let path = format!("{prefix}{name}");
            let kind = entry.file_type().map_err(InstallError::io(entry.path()))?;
            if is_left_out(name) || self.is_private(&entry.path(), &path, is_of_secrets)? {
                let slash = if kind.is_dir() { "/" } else { "" };
                self.found.left_out.push(format!("{path}{slash}"));
            } else if kind.is_dir() {
                self.count(&path)?;
                let is_of_secrets = is_of_secrets || SECRETS.contains(&name);
                let (files, left_out) = (self.found.files.len(), self.found.left_out.len());
                self.dir(&entry.path(), &format!("{path}/"), is_of_secrets)?;
                if is_of_secrets && self.found.files.len() == files {
                    self.found.left_out.truncate(left_out);
                    self.found.left_out.push(format!("{path}/"));
                }
            } else {
                self.file(&entry.path(), path)?;
            }
        }
        Ok(())
    }

    /// Says whether a file or directory, of this path in the package, is the operator's alone; `is_of_secrets`: it lies in a
    /// directory of secrets.
    fn is_private(
        &self,
        from: &Path,
        path: &str,
        is_of_secrets: bool,
    ) -> Result<bool, InstallError> {
        let about = std::fs::symlink_metadata(from).map_err(InstallError::io(from))?;
        let name = path.rsplit('/').next().unwrap_or(path);
        let is_file = !about.is_dir();
        let is_data = if is_file {
            name == TOKEN_FILE && is_token(from)
        } else {
            is_data_dir(from)
        };
        let is_named = PRIVATE.iter().any(|rule| match rule.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => name == *rule,
        });
        let is_at_root = name == path;
        let is_secret = SECRETS.contains(&name) && (is_file || is_at_root)
            || is_of_secrets && is_file && !is_source(name);
        Ok(is_data || is_named || is_secret || self.private.contains(&identity(&about)))
    }

    /// Refuses a file of the command that is reached through a link, or that is the operator's alone: nothing else
    /// looked at the directories above it.
    fn check_way(&self, path: &str) -> Result<(), InstallError> {
        let ends = path.match_indices('/').map(|(at, _)| at);
        let mut is_of_secrets = false;
        for end in ends.chain([path.len()]) {
            let part = &path[..end];
            let from = self.root.join(part);
            let about = std::fs::symlink_metadata(&from).map_err(InstallError::io(&from))?;
            let name = part.rsplit('/').next().unwrap_or(part);
            let what = if about.is_symlink() {
                "the command of the manifest leads through it, and it is a symbolic link"
            } else if self.is_private(&from, part, is_of_secrets)? {
                "the command of the manifest names it, and it is the operator's alone"
            } else {
                is_of_secrets |= SECRETS.contains(&name);
                continue;
            };
            return Err(InstallError::entry(part, what));
        }
        Ok(())
    }

    fn file(&mut self, from: &Path, path: String) -> Result<(), InstallError> {
        let Some(path) = checked(path.as_bytes())? else {
            return Err(InstallError::entry(path, "expected a file"));
        };
        self.count(&path)?;
        let about = std::fs::symlink_metadata(from).map_err(InstallError::io(from))?;
        if about.is_symlink() {
            let what = "expected files and directories alone, found a symbolic link";
            return Err(InstallError::entry(path, what));
        }
        if !about.is_file() {
            let what = "expected files and directories alone, found something else";
            return Err(InstallError::entry(path, what));
        }
        self.bytes = self.bytes.saturating_add(about.len());
        let (limit, what) = if about.len() > self.limits.file_bytes_max {
            (self.limits.file_bytes_max, "bytes in a file")
        } else if self.bytes > self.limits.total_bytes_max {
            (self.limits.total_bytes_max, "bytes in a package")
        } else {
            self.found.files.push(File {
                from: self.root.join(&path),
                path,
                is_executable: about.permissions().mode() & 0o111 != 0,
                bytes: about.len(),
            });
            return Ok(());
        };
        let entry = path;
        Err(InstallError::TooLarge { entry, what, limit })
    }

    fn count(&mut self, path: &str) -> Result<(), InstallError> {
        self.entries += 1;
        if self.entries <= self.limits.entries_max {
            return Ok(());
        }
        Err(InstallError::TooLarge {
            entry: path.to_owned(),
            what: "files and directories",
            limit: self.limits.entries_max,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_machine_made_is_left_out_but_the_program_is_not() {
        let home = tempfile::tempdir().unwrap();
        let put = |path: &str| {
            let path = home.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "# x").unwrap();
        };
        for path in [
            "plugin.toml",
            "src/main.rs",
            "target/release/bot",
            "target/release/other",
            "node_modules/a/index.js",
            "lib/__pycache__/a.pyc",
            "bot.egg-info/PKG-INFO",
            ".trunkline-template.json",
            ".cache/x",
            ".env",
            "state.db",
            "trunkline.toml",
        ] {
            put(path);
        }
        let command = vec!["./target/release/bot".to_owned(), "--x".to_owned()];
        let found = collect(home.path(), &command, None, PackageLimits::default()).unwrap();
        let paths: Vec<&str> = found.files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(paths, ["plugin.toml", "src/main.rs", "target/release/bot"]);
        let left = [
            ".cache/",
            ".env",
            ".trunkline-template.json",
            "bot.egg-info/",
            "lib/__pycache__/",
            "node_modules/",
            "state.db",
            "target/",
            "trunkline.toml",
        ];
        assert_eq!(found.left_out, left);
    }

    /// Proves LN46: what belongs to the operator goes into no package: secrets by their usual places and by what the
    /// configs name, keys, and the data of a daemon, whatever it keeps its store in.
    #[test]
    fn what_is_the_operators_alone_is_left_out() {
        let home = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = home.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let toml = "[broker]\ndata_dir = \"var/mine\"\n[http]\ntls_key = \"cert/key.pem\"\n\
                    [[plugins.bot]]\nkey = { file = \"./keys/bot\" }\n\
                    deep = [{ x = { file = \"lib/../deep.key\" } }, 1]\n";
        put("trunkline.toml", toml);
        put(
            "trunkline.yml",
            "clients:\n  - token: { file: agent.key }\n",
        );
        let kept = [
            "cert/cert.pem",
            "keys/readme",
            "lib/token",
            "plugin.toml",
            "var/readme",
        ];
        for path in kept {
            put(
                path,
                "the daemon has nothing to do with this, however long it is",
            );
        }
        let token = "0123456789abcdef0123456789abcdef\n";
        for path in [
            "secrets/tg",
            "lib/tokens/agent",
            "cert/key.pem",
            "keys/bot",
            "deep.key",
            "agent.key",
            "var/mine/state/x",
            "data/token",
            "data/state/bot/x",
            "new/packages/.staging/.lock",
            "token",
        ] {
            put(path, token);
        }
        let found = collect(home.path(), &[], None, PackageLimits::default()).unwrap();
        let paths: Vec<&str> = found.files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(paths, kept);
        let left = [
            "agent.key",
            "cert/key.pem",
            "data/",
            "deep.key",
            "keys/bot",
            "lib/tokens/",
            "new/",
            "secrets/",
            "token",
            "trunkline.toml",
            "trunkline.yml",
            "var/mine/",
        ];
        assert_eq!(found.left_out, left);
        for word in [
            "secrets/tg",
            "keys/bot",
            "data/state/bot/x",
            "trunkline.yml",
        ] {
            let command = ["python3".to_owned(), word.to_owned()];
            let error = collect(home.path(), &command, None, PackageLimits::default()).unwrap_err();
            let text = error.to_string();
            assert!(text.contains("the operator's alone"), "{word}: {text}");
        }
        put("trunkline.toml", "[broker]\ndata_dir = \".\"\n");
        let error = collect(home.path(), &[], None, PackageLimits::default()).unwrap_err();
        assert!(error.to_string().contains("the data directory"), "{error}");
        put("trunkline.toml", "[broker\n");
        let error = collect(home.path(), &[], None, PackageLimits::default()).unwrap_err();
        assert_eq!((error.code(), error.exit_code()), ("config_invalid", 78));
    }

    /// Proves LN46: the configs above a plugin and the one that is named by the operator say what is the operator's as well, and
    /// code that is called after secrets stays in the package.
    #[test]
    fn the_configs_around_a_plugin_say_what_is_private_and_code_is_taken() {
        let home = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = home.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        put(
            "trunkline.toml",
            "[[plugins.bot]]\nkey = { file = \"of/plugins/bot/mine.key\" }\n",
        );
        put(
            "of/ops.toml",
            "[[plugins.bot]]\nkey = { file = \"plugins/bot/other.key\" }\n",
        );
        put(
            "of/plugins/bot/deploy.toml",
            "[[plugins.bot]]\nkey = { file = \"deep.key\" }\n",
        );
        let token = "0123456789abcdef0123456789abcdef\n";
        let kept = [
            "lib/token_store/__init__.py",
            "lib/token_store/state/x.py",
            "lib/tokens/__init__.py",
            "lib/tokens/call.schema.json",
            "plugin.toml",
        ];
        let left = [
            ".env.local",
            ".envrc",
            ".npmrc",
            ".pypirc",
            "deep.key",
            "deploy.toml",
            "lib/id_ed25519",
            "lib/token_store/token",
            "lib/tokens/agent",
            "lib/tokens/google.json",
            "mine.key",
            "model/secrets/",
            "other.key",
        ];
        for path in kept.iter().chain(&left).filter(|path| !path.ends_with('/')) {
            if *path != "deploy.toml" {
                put(&format!("of/plugins/bot/{path}"), token);
            }
        }
        put("of/plugins/bot/model/secrets/deep/x", token);
        let dir = home.path().join("of/plugins/bot");
        let of = |config: &str| {
            let config = home.path().join(config);
            collect(&dir, &[], Some(&config), PackageLimits::default()).unwrap()
        };
        let has = |found: &Collected, path: &str| found.files.iter().any(|one| one.path == path);
        let found = of("of/ops.toml");
        assert!(
            !has(&found, "mine.key") && !has(&found, "other.key"),
            "{found:?}"
        );
        assert!(has(&found, "deep.key"), "{found:?}");
        put(
            "of/trunkline.toml",
            "[x]\ny = { file = \"plugins/bot/other.key\" }\n",
        );
        let found = of("of/plugins/bot/deploy.toml");
        let paths: Vec<&str> = found.files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(paths, kept);
        assert_eq!(found.left_out, left);
        let command = ["python3", "lib/tokens/__init__.py"].map(str::to_owned);
        collect(&dir, &command, None, PackageLimits::default()).unwrap();
        put("of/trunkline.toml", "[x\n");
        let error = collect(&dir, &[], None, PackageLimits::default()).unwrap_err();
        assert_eq!(error.code(), "config_invalid", "{error}");
    }

    /// Proves T4: a link with a name that is left out brings nothing in either, whatever the command names behind it.
    #[test]
    fn a_command_leads_through_no_link() {
        let home = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("id"), "secret").unwrap();
        std::fs::write(home.path().join("plugin.toml"), "x").unwrap();
        std::os::unix::fs::symlink(outside.path(), home.path().join("target")).unwrap();
        let command = ["python3".to_owned(), "./target/id".to_owned()];
        let error = collect(home.path(), &command, None, PackageLimits::default()).unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("target: "), "{text}");
        assert!(text.contains("a symbolic link"), "{text}");
    }

    #[test]
    fn a_link_in_a_directory_is_refused() {
        let home = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc/passwd", home.path().join("users")).unwrap();
        let error = collect(home.path(), &[], None, PackageLimits::default()).unwrap_err();
        assert!(error.to_string().contains("symbolic link"), "{error}");
    }
}
