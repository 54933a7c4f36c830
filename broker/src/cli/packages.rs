//! `trunkline plugins pack`, `add`, `upgrade --from` and `remove`: packages on the disk, and what runs from them.
//!
//! All but `pack` work with and without a running daemon. Nothing of a package is run here; `pack --build` runs the
//! project's own build, in the directory that is packed.

use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use clap::Args;
use trunkline_contract::rpc::admin::{
    ConfigReloadResult, PluginsListResult, PluginsUpgradeParams, PluginsUpgradeResult,
};
use trunkline_contract::rpc::{Empty, method};
use trunkline_contract::toml::Diagnostic;

use super::args::ConfigArgs;
use super::client::{Client, ConnectArgs};
use super::failure::{EXIT_NO, Failure};
use super::output::{bytes, data, say};
use crate::clock::{Clock, SystemClock};
use crate::config::{DiskFiles, Shown, load, locate, of_package};
use crate::install::collect::collect;
use crate::install::declared::manifest;
use crate::install::packages::check_program;
use crate::install::{Busy, InstallError, PackageLimits, Packages, Staged};

mod build;
mod inspect;
mod verify;

pub(crate) use build::{BuildArgs, build};
pub(crate) use inspect::{InspectArgs, inspect};
pub(crate) use verify::{VerifyArgs, verify};

/// What is packed.
#[derive(Debug, Args)]
pub(crate) struct PackArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// The plugin's directory.
    #[arg(value_name = "DIRECTORY")]
    directory: PathBuf,
    /// The archive [default: <id>-<version>.trunkline.tgz].
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Build it first, as `trunkline plugins build` does, or with this command.
    #[arg(
        long,
        value_name = "COMMAND",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = ""
    )]
    build: Option<String>,
}

/// What is added.
#[derive(Debug, Args)]
pub(crate) struct AddArgs {
    #[command(flatten)]
    connect: ConnectArgs,
    /// The plugin's directory, which is copied, or a packed archive of it.
    #[arg(value_name = "DIRECTORY|ARCHIVE")]
    source: PathBuf,
}

/// What is removed.
#[derive(Debug, Args)]
pub(crate) struct RemoveArgs {
    #[command(flatten)]
    connect: ConnectArgs,
    /// The plugin.
    #[arg(value_name = "PLUGIN")]
    plugin: String,
}

/// Makes an archive.
pub(crate) fn pack(args: &PackArgs) -> Result<(), Failure> {
    if let Some(command) = &args.build {
        let command = Some(command.as_str()).filter(|command| !command.is_empty());
        build::built(&args.directory, command)?;
    }
    let manifest = manifest(&args.directory, &args.directory)?;
    check_program(&manifest, &args.directory)?;
    let config = args.config.sources()?.file;
    let limits = PackageLimits::default();
    let found = collect(&args.directory, &manifest.command, Some(&config), limits)?;
    let name = format!("{}-{}.trunkline.tgz", manifest.id, manifest.version);
    let to = args.output.clone().unwrap_or_else(|| PathBuf::from(name));
    let is_there = is_archive_there(&to)?;
    let mut new = to.clone().into_os_string();
    new.push(".new");
    let new = PathBuf::from(new);
    let io = |source| InstallError::Io {
        path: to.clone(),
        source,
    };
    let packed = std::fs::File::create(&new)
        .map_err(io)
        .and_then(|file| crate::install::pack::pack(&found.files, file))
        .and_then(|()| std::fs::rename(&new, &to).map_err(io));
    if let Err(error) = packed {
        let _best_effort = std::fs::remove_file(&new);
        return Err(error.into());
    }
    let size = std::fs::metadata(&to).map_err(io)?.len();
    let count = found.files.len();
    say(&format!("{count} files, {}, unsigned", bytes(size)));
    told_left_out(&found.left_out);
    if is_there {
        say(&format!(
            "replaced the archive that was there: {}",
            to.display()
        ));
    }
    data(&to.display().to_string())
}

/// Says whether an archive is there already; what is none is not written over.
fn is_archive_there(path: &Path) -> Result<bool, Failure> {
    /// What gzip begins with.
    const GZIP: [u8; 2] = [0x1f, 0x8b];
    let mut start = Vec::new();
    let begin = GZIP.len() as u64;
    let opened = std::fs::File::open(path);
    match opened.and_then(|file| file.take(begin).read_to_end(&mut start)) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Ok(0) => Ok(false),
        Ok(_) if start == GZIP => Ok(true),
        _ => {
            let text = format!(
                "expected no file or an archive at {}, found something else, which is left as it is",
                path.display()
            );
            let failure = Failure::new("in_the_way", EXIT_NO, text);
            Err(failure.hint("give another --output, or move it away"))
        }
    }
}

/// Takes a package in.
pub(crate) fn add(args: &AddArgs) -> Result<(), Failure> {
    let place = Place::find(&args.connect)?;
    let staged = place.stage(&args.source)?;
    let id = staged.id.clone();
    let busy = place.packages.busy(&id)?;
    let lock = place.packages.lock()?;
    let version = &staged.installed.version;
    if let Some(known) = lock.packages.get(&id) {
        if known.sha256 != staged.installed.sha256 {
            let version = known.version.clone();
            return Err(InstallError::OtherTree { id, version }.into());
        }
        let package = lock.package(&place.data_dir, &id);
        if package.is_some_and(|package| package.check().is_ok()) {
            place.packages.place(&staged, &busy)?;
            say(&format!(
                "{id} {version} is installed already, with these very files"
            ));
            told_left_out(&staged.left_out);
            return Ok(());
        }
        place.put(&staged, &busy)?;
        say(&format!(
            "{id} {version} was changed on the disk, and is put right"
        ));
        say(&format!(
            "start what was refused: trunkline plugins restart {id}"
        ));
        told_left_out(&staged.left_out);
        return Ok(());
    }
    place.put(&staged, &busy)?;
    let short = &staged.installed.sha256[..12];
    say(&format!("{id} {version} is added, tree {short}"));
    say("it is unsigned: whose it is was not checked, only that it stays as it is now");
    told_left_out(&staged.left_out);
    place.told_instances(&staged)
}

/// Replaces a package with another of the same plugin, and what runs from it.
pub(crate) fn upgrade(
    connect: &ConnectArgs,
    plugin: &str,
    from: &Path,
) -> Result<PluginsUpgradeResult, Failure> {
    let nothing = PluginsUpgradeResult {
        instances: Vec::new(),
    };
    let place = Place::find(connect)?;
    let staged = place.stage(from)?;
    let id = staged.id.clone();
    if id != plugin {
        let wanted = plugin.to_owned();
        return Err(InstallError::OtherPlugin { wanted, found: id }.into());
    }
    let busy = place.packages.busy(&id)?;
    let lock = place.packages.lock()?;
    let Some(known) = lock.packages.get(&id) else {
        return Err(InstallError::NotInstalled { id }.into());
    };
    let version = staged.installed.version.clone();
    if known.sha256 == staged.installed.sha256 {
        let package = lock.package(&place.data_dir, &id);
        package.map_or(Ok(()), |package| package.check())?;
        say(&format!(
            "{id} {version} is installed already, with these very files"
        ));
        told_left_out(&staged.left_out);
        return Ok(nothing);
    }
    place.packages.place(&staged, &busy)?;
    told_left_out(&staged.left_out);
    let before = known.version.clone();
    let Some(mut client) = running(connect)? else {
        if let Err(failure) = place.checked_config(&staged) {
            say(&format!("{id} stays at {before}"));
            place.tidied(&id, &busy);
            return Err(failure);
        }
        // One that is about to start may have read the lock: the old files stay for it.
        place.packages.record(&id, &staged.installed)?;
        say(&format!(
            "{id}: {before} → {version}, unsigned; no daemon runs, the next start takes it"
        ));
        return Ok(nothing);
    };
    let params = PluginsUpgradeParams {
        plugin: id.clone(),
        instance: None,
        package: Some(staged.installed.directory.clone()),
    };
    let answer: Result<PluginsUpgradeResult, Failure> =
        client.call_to_the_end(method::ADMIN_PLUGINS_UPGRADE, &params);
    match answer {
        Ok(result) => {
            say(&format!("{id}: {before} → {version}, unsigned"));
            place.tidied(&id, &busy);
            Ok(result)
        }
        Err(failure) => {
            // Without an answer the daemon may still be at it, or at another one; and what could not be put back runs from
            // the new files. Then both stay, and the next upgrade tidies up.
            let root = place.packages.root_of(&id, &staged.installed);
            if failure.is_answer()
                && !failure.is_busy()
                && run_from(&mut client, &id, &root)?.is_empty()
            {
                say(&format!("{id} stays at {before}"));
                place.tidied(&id, &busy);
            }
            Err(failure)
        }
    }
}

/// Removes a package that nothing is to run from.
pub(crate) fn remove(args: &RemoveArgs) -> Result<(), Failure> {
    let place = Place::find(&args.connect)?;
    let id = &args.plugin;
    if !trunkline_contract::id::is_plugin_id(id) {
        return Err(Failure::usage(format!("{id:?} is not a plugin id")));
    }
    let busy = place.packages.busy(id)?;
    let lock = place.packages.lock()?;
    let Some(package) = lock.package(&place.data_dir, id) else {
        return Err(InstallError::NotInstalled { id: id.clone() }.into());
    };
    let in_use = |who: &str, names: &[String], hint: String| {
        let text = format!("{who} has instances that run from it: {}", names.join(", "));
        Err(Failure::new("package_in_use", 65, text).hint(hint))
    };
    let names = place.named(id)?;
    if !names.is_empty() {
        let hint = format!("take [[plugins.{id}]] out of the config, then trunkline config reload");
        return in_use("the config", &names, hint);
    }
    if let Some(mut client) = running(&args.connect)? {
        let names = run_from(&mut client, id, &package.root)?;
        if !names.is_empty() {
            let hint = "the config names it no longer: trunkline config reload".to_owned();
            return in_use("the running daemon", &names, hint);
        }
    }
    let gone = place.packages.forget(id, &busy)?;
    say(&format!("{id} {} is removed", gone.version));
    place.tidied(id, &busy);
    let state = place.data_dir.join("state").join(id);
    if state.exists() {
        say(&format!(
            "kept: what its instances saved, in {}",
            state.display()
        ));
    }
    Ok(())
}

/// Where packages are, and what config names them.
struct Place<'a> {
    connect: &'a ConnectArgs,
    data_dir: PathBuf,
    packages: Packages,
}

impl<'a> Place<'a> {
    fn find(connect: &'a ConnectArgs) -> Result<Self, Failure> {
        let sources = connect.config.sources()?;
        let located = locate(&sources, &DiskFiles).map_err(|found| {
            let text = format!("{}: {}", found.place(), found.message);
            Failure::new("config_invalid", 78, text).hint(
                "packages are kept for a config, which may be empty: give it with --config, or make a trunkline.toml here",
            )
        })?;
        let data_dir = located.data_dir;
        Ok(Self {
            connect,
            packages: Packages::new(&data_dir).of_config(sources.file),
            data_dir,
        })
    }

    fn stage(&self, source: &Path) -> Result<Staged, Failure> {
        let source = std::path::absolute(source)
            .map_err(|error| Failure::usage(format!("{}: {error}", source.display())))?;
        Ok(self
            .packages
            .stage(&source, SystemClock::new().now().wall_ms)?)
    }

    fn put(&self, staged: &Staged, busy: &Busy) -> Result<(), Failure> {
        self.packages.place(staged, busy)?;
        self.packages.record(&staged.id, &staged.installed)?;
        Ok(())
    }

    /// Refuses a package, which was placed, if the config has errors with it that it has not without: the next start of
    /// the daemon would fail for everybody.
    fn checked_config(&self, staged: &Staged) -> Result<(), Failure> {
        let sources = self.connect.config.sources()?;
        let (path, text) = self.packages.lock_with(&staged.id, &staged.installed)?;
        let before = load(&sources, &DiskFiles).diagnostics;
        let after = load(&sources, &Shown { path, text }).diagnostics;
        // Secrets may be in the daemon's environment alone.
        let is_known = |one: &Diagnostic| one.code == "secret_missing" || before.contains(one);
        let new = after.iter().filter(|one| one.is_error() && !is_known(one));
        let lines: Vec<String> = new.map(|one| format!("\n  {one}")).collect();
        if lines.is_empty() {
            return Ok(());
        }
        let text = format!("with this package the config is refused:{}", lines.concat());
        Err(Failure::new("config_invalid", 78, text))
    }

    /// Removes what nothing is to run from any more. What was done is done, whatever becomes of that.
    fn tidied(&self, id: &str, busy: &Busy) {
        if let Err(error) = self.packages.tidy(id, busy) {
            say(&format!(
                "old files stay for now, the next upgrade removes them: {error}"
            ));
        }
    }

    /// The instances in the config that run from the package of a plugin.
    fn named(&self, id: &str) -> Result<Vec<String>, Failure> {
        let named = of_package(&self.connect.config.sources()?, &DiskFiles, id);
        named.map_err(|found| {
            let text = format!("{}: {}", found.place(), found.message);
            Failure::new("config_invalid", 78, text)
        })
    }

    /// Starts what the config names of a new package, or says how it can be named.
    fn told_instances(&self, staged: &Staged) -> Result<(), Failure> {
        let id = &staged.id;
        let names = self.named(id)?;
        if names.is_empty() {
            say("nothing runs yet; into the config, then trunkline config reload:");
            return data(&snippet(staged));
        }
        let names = names.join(", ");
        let Some(mut client) = running(self.connect)? else {
            say(&format!(
                "the config has {names}; they start with the daemon"
            ));
            return Ok(());
        };
        let result: ConfigReloadResult = client.call(method::ADMIN_CONFIG_RELOAD, &Empty {})?;
        for change in result.changes {
            data(&change)?;
        }
        Ok(())
    }
}

/// An instance as the config would have it.
fn snippet(staged: &Staged) -> String {
    let mut text = format!("[[plugins.{}]]\ninstance = \"main\"", staged.id);
    let keys = staged
        .manifest
        .iter()
        .flat_map(|manifest| &manifest.config.keys);
    for (name, key) in keys {
        if key.required && key.default.is_none() {
            let name = if key.secret {
                format!("{name}_env = \"…\"")
            } else {
                format!("{name} = …")
            };
            text.push_str(&format!("\n{name}"));
        }
    }
    text
}

/// A link to the daemon, if one runs.
fn running(connect: &ConnectArgs) -> Result<Option<Client>, Failure> {
    match Client::connect(connect) {
        Ok(client) => Ok(Some(client)),
        Err(failure) if failure.is_no_daemon() => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// The instances of the running daemon that run from these files.
fn run_from(client: &mut Client, id: &str, root: &Path) -> Result<Vec<String>, Failure> {
    let listed: PluginsListResult = client.call(method::ADMIN_PLUGINS_LIST, &Empty {})?;
    Ok(those_from(&listed, id, root))
}

fn those_from(listed: &PluginsListResult, id: &str, root: &Path) -> Vec<String> {
    let mut its = Vec::new();
    for plugin in listed.plugins.iter().filter(|one| one.id == *id) {
        for one in &plugin.instances {
            // One may have a directory of its own, and the next the package. Of one whose directory nobody tells, it may
            // be either: files are not taken from under a process.
            let path = one.path.as_deref().or(plugin.path.as_deref());
            if path.is_none_or(|path| Path::new(path).starts_with(root)) {
                its.push(format!("{id}/{}", one.instance));
            }
        }
    }
    its
}

fn told_left_out(left_out: &[String]) {
    if !left_out.is_empty() {
        say(&format!("left out: {}", left_out.join(", ")));
    }
}

impl From<InstallError> for Failure {
    fn from(error: InstallError) -> Self {
        let failure = Failure::new(error.code(), error.exit_code(), error.to_string());
        match error.hint() {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_whose_directory_is_not_told_may_run_from_the_package() {
        let root = Path::new("/data/packages/echo/1.0.0-abc");
        let tree = "/data/packages/echo/1.0.0-abc/tree";
        let those = |plugin: Option<&str>, instance: Option<&str>| {
            let one = |path: Option<&str>| match path {
                Some(path) => serde_json::json!({ "path": path }),
                None => serde_json::json!({}),
            };
            let (mut plugin, mut instance) = (one(plugin), one(instance));
            plugin["id"] = "echo".into();
            for (name, value) in [
                ("plugin", "echo"),
                ("instance", "a"),
                ("state", "ready"),
                ("since", ""),
            ] {
                instance[name] = value.into();
            }
            plugin["instances"] = serde_json::json!([instance]);
            let listed = serde_json::json!({ "plugins": [plugin] });
            those_from(&serde_json::from_value(listed).unwrap(), "echo", root)
        };
        assert_eq!(those(None, Some(tree)), ["echo/a"]);
        assert_eq!(those(Some(tree), None), ["echo/a"]);
        assert_eq!(those(None, None), ["echo/a"]);
        assert!(those(Some(tree), Some("/plugins/echo")).is_empty());
        assert!(those(Some("/plugins/echo"), None).is_empty());
    }
}
