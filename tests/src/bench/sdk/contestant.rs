//! Who is measured, and how each is started.
//!
//! What is not there is left out with a note, never in silence: a foreign SDK, a package that is not installed.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

/// The hidden argument under which this program is a plugin on the Rust SDK; the form follows.
pub const PLUGIN: &str = "__sdk-plugin";
/// The same with handlers that take and give the payload's bytes.
pub const UNDECODED: &str = "__sdk-plugin-undecoded";

/// What a plugin does with an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// The handler returns its answer: one commit with the ack.
    Reply,
    /// The handler publishes and awaits the number, then the event is acked.
    Publish,
    /// The handler waits and answers nothing.
    Slow,
    /// A channel, for the daemon: what is sent to kind "echo" comes back.
    Echo,
}

impl Form {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reply => "reply",
            Self::Publish => "publish",
            Self::Slow => "slow",
            Self::Echo => "echo",
        }
    }

    /// The form of this name.
    ///
    /// # Errors
    /// For any other name.
    pub fn of(name: &str) -> anyhow::Result<Self> {
        [Self::Reply, Self::Publish, Self::Slow, Self::Echo]
            .into_iter()
            .find(|form| form.name() == name)
            .with_context(|| format!("expected a form of plugin, found {name:?}"))
    }
}

/// What the benchmark was told.
#[derive(Debug, Clone)]
pub struct Options {
    /// The Python that has the SDK and orjson.
    pub python: PathBuf,
    /// The Node.
    pub node: PathBuf,
    /// A project with the npm package in its `node_modules`.
    pub node_project: PathBuf,
    /// Where nexo's Python SDK is.
    pub nexo_python: Option<PathBuf>,
    /// Where nexo's TypeScript SDK is, built.
    pub nexo_typescript: Option<PathBuf>,
    /// Only contestants whose name holds this.
    pub only: Option<String>,
    /// Only lines of work whose name holds this, such as `reply 300 B`.
    pub work: Option<String>,
    /// Rounds, if others than usual.
    pub rounds: Option<usize>,
    /// Few events, to see that everything works.
    pub quick: bool,
}

impl Options {
    /// Reads `--name value` pairs.
    ///
    /// # Errors
    /// For an unknown option or one without a value.
    pub fn read(arguments: &[String], quick: bool) -> anyhow::Result<Self> {
        let mut options = Self {
            python: PathBuf::from("target/bench-venv/bin/python"),
            node: PathBuf::from("node"),
            node_project: PathBuf::from("target/bench-node"),
            nexo_python: None,
            nexo_typescript: None,
            only: None,
            work: None,
            rounds: None,
            quick,
        };
        let mut rest = arguments.iter();
        while let Some(name) = rest.next() {
            let value = rest
                .next()
                .with_context(|| format!("{name} needs a value"))?;
            match name.as_str() {
                "--python" => options.python = value.into(),
                "--node" => options.node = value.into(),
                "--node-project" => options.node_project = value.into(),
                "--nexo-python" => options.nexo_python = Some(value.into()),
                "--nexo-typescript" => options.nexo_typescript = Some(value.into()),
                "--only" => options.only = Some(value.clone()),
                "--work" => options.work = Some(value.clone()),
                "--rounds" => options.rounds = Some(value.parse()?),
                other => bail!("unknown option {other}"),
            }
        }
        Ok(options)
    }
}

/// The language of a contestant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// The core itself.
    Rust,
    /// CPython.
    Python,
    /// Node.
    Node,
}

/// One plugin program.
#[derive(Debug, Clone)]
pub struct Contestant {
    /// What it is called in the tables.
    pub name: &'static str,
    /// What it is written in.
    pub language: Language,
    /// It speaks an older contract over standard input and output, and acks nothing.
    pub is_foreign: bool,
    program: PathBuf,
    script: PathBuf,
    environment: Option<(&'static str, PathBuf)>,
}

/// Our SDK for Python.
pub const SDK_PYTHON: &str = "python sdk";
/// Our SDK for Node.
pub const SDK_NODE: &str = "node sdk";
/// Our SDK for Rust.
pub const SDK_RUST: &str = "rust sdk";
/// The same without decoding a payload: what the core alone costs, which no crossing can go below.
pub const CORE: &str = "rust core alone";
/// asyncio streams and `json`.
pub const ORDINARY_PYTHON: &str = "python ordinary loop";
/// `asyncio.Protocol` and orjson.
pub const TUNED_PYTHON: &str = "python tuned loop";
/// readline and `JSON.parse`.
pub const ORDINARY_NODE: &str = "node ordinary loop";
/// Split by hand, one write per turn.
pub const TUNED_NODE: &str = "node tuned loop";
/// nexo's SDK for Python.
pub const NEXO_PYTHON: &str = "python nexo";
/// nexo's SDK for TypeScript.
pub const NEXO_NODE: &str = "node nexo";

impl Contestant {
    /// The command that starts it in this form.
    pub fn command(&self, form: Form) -> Command {
        let mut command = Command::new(&self.program);
        command.arg(&self.script).arg(form.name());
        if let Some((name, value)) = &self.environment {
            command.env(name, value);
        }
        command
    }

    /// The same as words, for a manifest.
    pub fn words(&self, form: Form) -> Vec<String> {
        vec![
            self.program.display().to_string(),
            self.script.display().to_string(),
            form.name().to_owned(),
        ]
    }

    /// Says whether it is one of ours.
    pub fn is_sdk(&self) -> bool {
        [SDK_RUST, SDK_PYTHON, SDK_NODE].contains(&self.name)
    }
}

/// Everybody who is there, in the order of the tables; says on stderr who is not.
///
/// # Errors
/// When a folder cannot be read or written.
pub fn all(options: &Options) -> anyhow::Result<Vec<Contestant>> {
    let mut found = Vec::new();
    let scripts = sources()?;
    let wanted = |name: &str| {
        options
            .only
            .as_deref()
            .is_none_or(|only| name.contains(only))
    };
    let mut add = |name, language, program: &Path, script: PathBuf, foreign: Option<_>| {
        if wanted(name) {
            found.push(Contestant {
                name,
                language,
                is_foreign: foreign.is_some(),
                program: program.to_owned(),
                script,
                environment: foreign,
            });
        }
    };
    let own = std::env::current_exe()?;
    add(SDK_RUST, Language::Rust, &own, PLUGIN.into(), None);
    add(CORE, Language::Rust, &own, UNDECODED.into(), None);

    let python = python(options)?;
    let folder = scripts.join("python");
    let has = |module: &str| works(&python, &["-c", &format!("import {module}")]);
    if has("trunkline") {
        let script = folder.join("sdk_plugin.py");
        add(SDK_PYTHON, Language::Python, &python, script, None);
    } else {
        note(
            SDK_PYTHON,
            "the package trunkline is not installed",
            "tests/bench/setup",
        );
    }
    let script = folder.join("ordinary_loop.py");
    add(ORDINARY_PYTHON, Language::Python, &python, script, None);
    if has("orjson") {
        let script = folder.join("tuned_loop.py");
        add(TUNED_PYTHON, Language::Python, &python, script, None);
    } else {
        note(
            TUNED_PYTHON,
            "the package orjson is not installed",
            "tests/bench/setup",
        );
    }
    match &options.nexo_python {
        Some(sdk) => {
            let script = folder.join("nexo_plugin.py");
            let path = Some(("PYTHONPATH", sdk.canonicalize()?));
            add(NEXO_PYTHON, Language::Python, &python, script, path);
        }
        None => note(NEXO_PYTHON, "it was not given", "--nexo-python DIR"),
    }

    let node = program(&options.node)?;
    let folder = scripts.join("node");
    match node_plugin(options, &folder)? {
        Some(script) => add(SDK_NODE, Language::Node, &node, script, None),
        None => note(
            SDK_NODE,
            "the package trunkline is not installed",
            "tests/bench/setup",
        ),
    }
    let script = folder.join("ordinary_loop.mjs");
    add(ORDINARY_NODE, Language::Node, &node, script, None);
    let script = folder.join("tuned_loop.mjs");
    add(TUNED_NODE, Language::Node, &node, script, None);
    match &options.nexo_typescript {
        Some(sdk) => {
            let script = folder.join("nexo_plugin.mjs");
            let path = Some(("NEXO_TYPESCRIPT", sdk.canonicalize()?));
            add(NEXO_NODE, Language::Node, &node, script, path);
        }
        None => note(NEXO_NODE, "it was not given", "--nexo-typescript DIR"),
    }
    Ok(found)
}

fn note(name: &str, why: &str, hint: &str) {
    eprintln!("left out: {name}: {why}; hint: {hint}");
}

/// Where the plugins of the benchmark are.
fn sources() -> anyhow::Result<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("bench");
    folder
        .canonicalize()
        .with_context(|| format!("{} is missing", folder.display()))
}

/// The Python of the benchmark, else the one on the path.
fn python(options: &Options) -> anyhow::Result<PathBuf> {
    if options.python.exists() {
        // Not resolved: a virtual environment is known by the place of its link.
        return Ok(std::path::absolute(&options.python)?);
    }
    eprintln!("{} is missing; python3 is used", options.python.display());
    let found = Command::new("python3")
        .args(["-c", "import sys; print(sys.executable)"])
        .output()
        .context("python3")?;
    Ok(PathBuf::from(String::from_utf8(found.stdout)?.trim()))
}

/// A program by its path, or found on the path.
fn program(name: &Path) -> anyhow::Result<PathBuf> {
    if name.components().count() > 1 {
        return Ok(std::path::absolute(name)?);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
        .with_context(|| format!("{} is not on the path", name.display()))
}

/// Puts the SDK's plugin where its package is found, as a user's own file would be.
fn node_plugin(options: &Options, folder: &Path) -> anyhow::Result<Option<PathBuf>> {
    if !options.node_project.join("node_modules/trunkline").exists() {
        return Ok(None);
    }
    let project = options.node_project.canonicalize()?;
    let script = project.join("sdk_plugin.mjs");
    std::fs::copy(folder.join("sdk_plugin.mjs"), &script)?;
    Ok(Some(script))
}

fn works(program: &Path, arguments: &[&str]) -> bool {
    Command::new(program)
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
