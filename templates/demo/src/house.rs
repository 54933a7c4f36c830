//! The house of the demo: a directory with a config and three plugins, and a daemon on it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::error::DemoError;
use crate::sdks::Sdks;

/// The channel kinds, one for each language.
pub(crate) const KINDS: [&str; 3] = ["rust", "python", "node"];

/// How long the daemon may take to end: its own drain limit and a little more.
const STOP_LIMIT: Duration = Duration::from_secs(30);

const CONFIG: &str = r#"plugin_dirs = ["plugins"]

[broker]
data_dir = "data"
log_level = "warn"
drain_timeout = "3s"

[http]
listen = "127.0.0.1:0"

[[plugins.echo-rust]]
[[plugins.echo-python]]
[[plugins.echo-node]]
"#;

const ECHO_PYTHON: &str = include_str!("../plugins/python/echo.py");
const ECHO_NODE: &str = include_str!("../plugins/node/echo.mjs");

/// A directory that holds everything.
pub(crate) struct House {
    root: PathBuf,
    /// Removes the directory when it goes.
    temporary: Option<TempDir>,
}

impl House {
    /// Writes config and plugins into `dir`, or into a directory that goes with the house.
    pub(crate) fn build(
        dir: Option<&Path>,
        this_program: &Path,
        sdks: &Sdks,
    ) -> Result<Self, DemoError> {
        let (root, temporary) = match dir {
            Some(dir) => (empty_dir(dir)?, None),
            None => {
                let made = tempfile::Builder::new()
                    .prefix("trunkline-demo-")
                    .tempdir()
                    .map_err(DemoError::io("cannot make a temporary directory"))?;
                (made.path().to_owned(), Some(made))
            }
        };
        write(&root.join("trunkline.toml"), CONFIG)?;
        let path = |path: &Path| path.display().to_string();
        let plugins = root.join("plugins");
        let commands = [
            ("rust", [path(this_program), "plugin".to_owned()]),
            ("python", [path(&sdks.python), "echo.py".to_owned()]),
            ("node", ["node".to_owned(), "echo.mjs".to_owned()]),
        ];
        for (kind, command) in commands {
            // A JSON text is a TOML text too.
            let command = serde_json::Value::from(command.to_vec());
            let manifest = format!(
                "[plugin]\nid = \"echo-{kind}\"\nversion = \"0.1.0\"\ncommand = {command}\n\n\
                 [[channels]]\nkind = \"{kind}\"\n"
            );
            let dir = plugins.join(format!("echo-{kind}"));
            write(&dir.join("plugin.toml"), &manifest)?;
        }
        write(&plugins.join("echo-python/echo.py"), ECHO_PYTHON)?;
        write(&plugins.join("echo-node/echo.mjs"), ECHO_NODE)?;
        let link = plugins.join("echo-node/node_modules");
        std::os::unix::fs::symlink(&sdks.node_modules, &link)
            .map_err(DemoError::io(format!("cannot make {}", link.display())))?;
        Ok(Self { root, temporary })
    }

    /// Where the daemon listens.
    pub(crate) fn socket(&self) -> PathBuf {
        self.root.join("data/trunkline.sock")
    }

    /// Where everything is.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Says whether the directory outlives the demo.
    pub(crate) fn is_kept(&self) -> bool {
        self.temporary.is_none()
    }

    /// Starts the daemon as a process of its own, and waits until it listens.
    #[expect(
        clippy::disallowed_methods,
        reason = "the daemon is no plugin: nothing supervises it but the demo"
    )]
    pub(crate) async fn start(
        &self,
        this_program: &Path,
        limit_ms: u64,
    ) -> Result<Daemon, DemoError> {
        let stderr = self.root.join("daemon.log");
        let log = fs::File::create(&stderr)
            .map_err(DemoError::io(format!("cannot make {}", stderr.display())))?;
        let mut command = std::process::Command::new(this_program);
        command
            .arg("up")
            .arg("--config")
            .arg(self.root.join("trunkline.toml"))
            .current_dir(&self.root)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log);
        // Ctrl-C is for the demo, which then stops the daemon in order.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = Command::from(command)
            .kill_on_drop(true)
            .spawn()
            .map_err(DemoError::io("cannot start the daemon"))?;
        let stdout = child.stdout.take().expect("stdout is piped");
        let mut lines = BufReader::new(stdout).lines();
        let ready = async {
            while let Some(line) = lines.next_line().await? {
                if line == "ready" {
                    return Ok(true);
                }
            }
            Ok(false)
        };
        let is_ready = timeout(Duration::from_millis(limit_ms), ready)
            .await
            .map_err(|_| DemoError::Late {
                what: "expected the daemon to be ready".to_owned(),
                limit_ms,
            })?
            .map_err(DemoError::io("cannot read what the daemon says"))?;
        if is_ready {
            return Ok(Daemon { child });
        }
        let status = child
            .wait()
            .await
            .map_err(DemoError::io("cannot wait for the daemon"))?;
        Err(DemoError::Daemon {
            status: status.to_string(),
            stderr: fs::read_to_string(&stderr).unwrap_or_default(),
        })
    }
}

/// The daemon's process.
pub(crate) struct Daemon {
    child: Child,
}

impl Daemon {
    /// Its process id.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Asks it to end in order and waits for it.
    pub(crate) async fn stop(mut self) -> Result<ExitStatus, DemoError> {
        let pid = self.child.id().and_then(|id| Pid::from_raw(id as i32));
        if let Some(pid) = pid {
            kill_process(pid, Signal::TERM)
                .map_err(|error| DemoError::io("cannot end the daemon")(error.into()))?;
        }
        timeout(STOP_LIMIT, self.child.wait())
            .await
            .map_err(|_| DemoError::Late {
                what: "expected the daemon to end".to_owned(),
                limit_ms: STOP_LIMIT.as_millis() as u64,
            })?
            .map_err(DemoError::io("cannot wait for the daemon"))
    }
}

/// Says which language is not installed, if one is not.
pub(crate) fn find_languages() -> Result<(), DemoError> {
    find_program("python3", "Python")?;
    find_program("node", "JavaScript")
}

fn find_program(program: &'static str, language: &'static str) -> Result<(), DemoError> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_there = std::env::split_paths(&path).any(|dir| {
        fs::metadata(dir.join(program))
            .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    });
    if is_there {
        Ok(())
    } else {
        Err(DemoError::NoProgram { program, language })
    }
}

fn empty_dir(dir: &Path) -> Result<PathBuf, DemoError> {
    let name = || dir.display().to_string();
    fs::create_dir_all(dir).map_err(DemoError::io(format!("cannot make {}", name())))?;
    let mut entries =
        fs::read_dir(dir).map_err(DemoError::io(format!("cannot read {}", name())))?;
    if entries.next().is_some() {
        return Err(DemoError::NotEmpty(name()));
    }
    fs::canonicalize(dir).map_err(DemoError::io(format!("cannot find {}", name())))
}

fn write(path: &Path, text: &str) -> Result<(), DemoError> {
    let name = path.display().to_string();
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(DemoError::io(format!("cannot make {name}")))?;
    }
    fs::write(path, text).map_err(DemoError::io(format!("cannot write {name}")))
}
