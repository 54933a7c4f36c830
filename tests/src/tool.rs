//! Tools that tests need and the machine may lack: fetched from Debian into `target/tools`, never installed.
//!
//! A package and the shared libraries that it names are downloaded with `apt-get download`, checked by apt, and
//! unpacked with `dpkg -x`. Parallel tests take turns by a lock on the folder.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::File;
use std::io::{Error, Result};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::{FlockOperation, flock};

use crate::powercut::run;

/// Where Debian keeps programs and libraries, below the folder of a package.
const PROGRAM_DIRS: [&str; 4] = ["usr/bin", "usr/sbin", "bin", "sbin"];
/// Libraries that every machine has and that must not be taken from elsewhere.
const LIBRARIES_OF_THE_MACHINE: [&str; 6] = [
    "libc6",
    "libgcc-s1",
    "gcc-12-base",
    "libcrypt1",
    "libstdc++6",
    "debconf",
];

/// A program, and where its own shared libraries are.
#[derive(Debug, Clone)]
pub struct Tool {
    /// The program.
    pub program: PathBuf,
    /// For `LD_LIBRARY_PATH`; empty when it needs none.
    pub libraries: OsString,
}

impl Tool {
    /// Begins a command that runs it with its libraries.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        if !self.libraries.is_empty() {
            command.env("LD_LIBRARY_PATH", &self.libraries);
        }
        command
    }
}

/// Finds the program `name` on this machine or in the Debian package of that name, fetching it at need.
///
/// # Errors
/// Neither the machine has it nor can the package be fetched.
pub fn debian_tool(name: &str) -> Result<Tool> {
    if let Some(program) = on_path(name) {
        return Ok(Tool {
            program,
            libraries: OsString::new(),
        });
    }
    fetched_tool(name, name)
}

/// Fetches the program `name` from the Debian package `package` once, and finds it there later.
///
/// # Errors
/// apt cannot fetch the package, or it holds no such program.
pub fn fetched_tool(package: &str, name: &str) -> Result<Tool> {
    let tools = target_dir()?.join("tools");
    std::fs::create_dir_all(&tools)?;
    let lock = File::create(tools.join("lock"))?;
    flock(&lock, FlockOperation::LockExclusive)?;
    let root = tools.join(package);
    if !root.join("complete").exists() {
        fetch(package, &root)?;
    }
    let program = PROGRAM_DIRS
        .iter()
        .map(|dir| root.join(dir).join(name))
        .find(|path| path.exists())
        .ok_or_else(|| Error::other(format!("package {package} holds no program {name}")))?;
    Ok(Tool {
        program,
        libraries: std::env::join_paths(library_dirs(&root)).map_err(Error::other)?,
    })
}

/// The build's target directory, found from the running test.
///
/// # Errors
/// The test does not run from a target directory.
pub fn target_dir() -> Result<PathBuf> {
    Ok(profile_dir()?
        .parent()
        .map(Path::to_owned)
        .unwrap_or_default())
}

/// The directory that holds the binaries of the profile that the running test was built with.
///
/// # Errors
/// The test does not run from a target directory.
pub fn profile_dir() -> Result<PathBuf> {
    let here = std::env::current_exe()?;
    here.ancestors()
        .find(|dir| dir.join("deps").is_dir())
        .map(Path::to_owned)
        .ok_or_else(|| Error::other(format!("{} is in no target directory", here.display())))
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
}

fn fetch(package: &str, root: &Path) -> Result<()> {
    if root.exists() {
        std::fs::remove_dir_all(root)?;
    }
    let archives = root.join("archives");
    std::fs::create_dir_all(&archives)?;
    let packages = needed(package).or_else(|_| {
        run(Command::new("apt-get").args(["update", "-qq"]))?;
        needed(package)
    })?;
    let download = || {
        run(Command::new("apt-get")
            .arg("download")
            .args(&packages)
            .current_dir(&archives))
    };
    download().or_else(|_| {
        // The lists may name versions that the mirror no longer has.
        run(Command::new("apt-get").args(["update", "-qq"]))?;
        download()
    })?;
    for archive in std::fs::read_dir(&archives)? {
        run(Command::new("dpkg")
            .arg("-x")
            .arg(archive?.path())
            .arg(root))?;
    }
    File::create(root.join("complete"))?;
    Ok(())
}

/// The package itself and every library package that it depends on and that is not installed.
fn needed(package: &str) -> Result<Vec<String>> {
    let output = Command::new("apt-cache")
        .args([
            "depends",
            "--recurse",
            "--no-recommends",
            "--no-suggests",
            "--no-conflicts",
        ])
        .args(["--no-breaks", "--no-replaces", "--no-enhances", package])
        .stderr(Stdio::null())
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() || text.trim().is_empty() {
        return Err(Error::other(format!("apt knows no package {package}")));
    }
    let mut packages = BTreeSet::from([package.to_owned()]);
    for line in text
        .lines()
        .filter(|line| !line.starts_with([' ', '|', '<']))
    {
        let name = line.trim().split(':').next().unwrap_or_default();
        let is_ours = name.starts_with("lib") && !LIBRARIES_OF_THE_MACHINE.contains(&name);
        if is_ours && !is_installed(name)? {
            packages.insert(name.to_owned());
        }
    }
    Ok(packages.into_iter().collect())
}

fn is_installed(package: &str) -> Result<bool> {
    let output = Command::new("dpkg-query")
        .args(["-W", "-f", "${db:Status-Status}", package])
        .output()?;
    Ok(output.stdout == b"installed")
}

fn library_dirs(root: &Path) -> Vec<PathBuf> {
    let mut dirs = Vec::new();
    for base in ["usr/lib", "lib"].map(|dir| root.join(dir)) {
        let machine = base.join(format!("{}-linux-gnu", std::env::consts::ARCH));
        dirs.extend([base, machine].into_iter().filter(|dir| dir.is_dir()));
    }
    dirs
}
