//! One tool call at a time: agent → daemon → Python tool → back, beside the `mcp` package's client and server over
//! stdio, in both of the modes that its client has; and that client at the daemon's `/mcp`.
//!
//! Every agent is a Python program that is told how many calls a round has and prints its p50 and p99
//! (`tests/bench/python/tool_rounds.py`); both tools are the same function of two numbers, with a schema for what
//! they take and give that both sides check. Nobody is pinned: both sides have every processor; under `taskset -c 0`
//! both have the same one.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, ensure};

use super::rig::{Rig, runtime};
use super::sdk::contestant::Options;
use super::table::{Figure, Target};

/// Version of the package that the comparison is made with.
const PACKAGE: &str = "mcp==2.3.0";

const UNIX: &str = "unix socket";
const HTTP: &str = "HTTP";
const STDIO: &str = "mcp over stdio";
const STDIO_LEGACY: &str = "mcp over stdio, legacy";
const AT_MCP: &str = "mcp's client at /mcp";

/// Measures every way of calling in every round.
///
/// # Errors
/// When a process dies, or an answer is wrong.
pub fn run(rounds: usize, count: usize, options: &Options) -> anyhow::Result<Vec<Figure>> {
    let scripts = std::env::current_dir()?.join("tests/bench/python");
    let python = std::path::absolute(&options.python)?;
    let plugin = [&python, &scripts.join("tool_plugin.py")].map(|path| path.display().to_string());
    let rig = Rig::start_http(&plugin, "", "[[plugins.bench]]\n", &[])?;
    runtime()?.block_on(rig.ready(1))?;
    let token = rig.data().join("token").display().to_string();
    let socket = rig.data().join("trunkline.sock").display().to_string();
    let http = rig.http()?;
    let start = |name, script: &str, arguments: &[&str]| {
        Way::start(name, &python, &scripts.join(script), arguments)
    };
    let mut ways = vec![
        start(UNIX, "tool_agent.py", &[&socket, &token])?,
        start(HTTP, "tool_http_agent.py", &[&http, &token])?,
    ];
    if has_package(&python) {
        let package = "mcp_agent.py";
        ways.push(start(STDIO, package, &["stdio", "auto"])?);
        ways.push(start(STDIO_LEGACY, package, &["stdio", "legacy"])?);
        ways.push(start(AT_MCP, package, &["http", "auto", &http, &token])?);
    } else {
        eprintln!(
            "left out: {PACKAGE} is not installed for {}",
            python.display()
        );
    }
    for way in &mut ways {
        way.round(count / 4 + 1)?;
        way.rounds.clear();
    }
    for _ in 0..rounds {
        for way in &mut ways {
            way.round(count)?;
        }
    }
    Ok(figures(&ways))
}

fn figures(ways: &[Way]) -> Vec<Figure> {
    let mut figures = Vec::new();
    let at = |way: &Way, index: usize| {
        way.rounds
            .iter()
            .map(|round| round[index])
            .collect::<Vec<_>>()
    };
    for way in ways {
        for (index, name) in ["p50", "p99"].into_iter().enumerate() {
            let name = format!("tool call, {}, {name} us", way.name);
            figures.push(Figure::new(name, None, &at(way, index)));
        }
    }
    if let [unix, http, package, legacy, _] = ways {
        // Beside the faster of its two ways, round by round.
        let both = at(package, 0).into_iter().zip(at(legacy, 0));
        let best: Vec<f64> = both.map(|(one, other)| one.min(other)).collect();
        for (way, aim) in [(unix, 1.0 / 3.0), (http, 0.8)] {
            figures.push(Figure::ratio(
                format!("tool call, {} / mcp over stdio at its best, p50", way.name),
                Some(Target::AtMost(aim)),
                &at(way, 0),
                &best,
            ));
        }
    }
    figures
}

fn has_package(python: &Path) -> bool {
    let import = "import importlib.metadata as m; assert m.version('mcp') == '2.3.0'";
    let status = Command::new(python)
        .args(["-c", import])
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}

/// One agent, and what its rounds took.
struct Way {
    name: &'static str,
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    /// p50 and p99 of each round.
    rounds: Vec<[f64; 2]>,
}

impl Way {
    fn start(
        name: &'static str,
        python: &Path,
        script: &Path,
        arguments: &[&str],
    ) -> anyhow::Result<Self> {
        let mut child = Command::new(python)
            .arg(script)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("{} cannot be started", python.display()))?;
        let stdin = child.stdin.take().context("piped above")?;
        let stdout = BufReader::new(child.stdout.take().context("piped above")?);
        Ok(Self {
            name,
            child,
            stdin,
            stdout,
            rounds: Vec::new(),
        })
    }

    fn round(&mut self, count: usize) -> anyhow::Result<()> {
        writeln!(self.stdin, "{count}")?;
        self.stdin.flush()?;
        let mut line = String::new();
        self.stdout.read_line(&mut line)?;
        let found: Vec<f64> = line
            .split_whitespace()
            .map_while(|word| word.parse().ok())
            .collect();
        ensure!(
            found.len() == 2,
            "{}: expected p50 and p99, found {line:?}",
            self.name
        );
        self.rounds.push([found[0], found[1]]);
        Ok(())
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        if self.child.kill().and_then(|()| self.child.wait()).is_err() {
            eprintln!("the agent of {:?} was gone already", self.name);
        }
    }
}
