//! A real `ngircd`, from Debian, on two ports of this machine: one for the human, one for the bots.
//!
//! A new life of it opens the human's port alone; the bots' port opens by [`Server::admit_bots`]. So the human
//! is there before anything is said, and what a server took is what the human sees.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use trunkline_tests::tool::{Tool, fetched_tool};

/// Where the server is; see the fields.
pub(crate) struct Server {
    tool: Tool,
    dir: PathBuf,
    /// Where the human connects.
    pub(crate) human_port: u16,
    /// Where the bots connect.
    pub(crate) bot_port: u16,
    child: Option<Child>,
}

/// Finds a port that nobody listens on now.
fn free_ports() -> std::io::Result<(u16, u16)> {
    let listen = || TcpListener::bind("127.0.0.1:0");
    let (one, two) = (listen()?, listen()?);
    Ok((one.local_addr()?.port(), two.local_addr()?.port()))
}

impl Server {
    /// Fetches the program and chooses ports; nothing runs yet.
    pub(crate) fn prepare(dir: &Path) -> std::io::Result<Self> {
        let tool = fetched_tool("ngircd", "ngircd")?;
        fs::create_dir_all(dir)?;
        let (human_port, bot_port) = free_ports()?;
        Ok(Self {
            tool,
            dir: dir.to_owned(),
            human_port,
            bot_port,
            child: None,
        })
    }

    fn configure(&self, ports: &[u16]) {
        let ports: Vec<_> = ports.iter().map(u16::to_string).collect();
        let text = format!(
            "[Global]\nName = irc.trunkline.test\nInfo = A server of tests\nListen = 127.0.0.1\nPorts = {}\n\
             MotdPhrase = hello\nAdminInfo1 = tests\n\
             [Limits]\nMaxConnections = 0\nMaxConnectionsIP = 0\nMaxNickLength = 32\nMaxPenaltyTime = 0\n\
             PingTimeout = 120\n[Options]\nPAM = no\nIdent = no\nDNS = no\nSyslogFacility = local1\n",
            ports.join(", ")
        );
        fs::write(self.dir.join("ngircd.conf"), text).expect("the configuration can be written");
    }

    /// Starts it for the human alone.
    pub(crate) fn start(&mut self) {
        self.configure(&[self.human_port]);
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.dir.join("ngircd.log"))
            .expect("the log can be written");
        let child = self
            .tool
            .command()
            .args(["-n", "-f"])
            .arg(self.dir.join("ngircd.conf"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file has more than one handle"))
            .stderr(log)
            .spawn();
        self.child = Some(child.expect("the server can be started"));
    }

    /// Says whether it is still the process that was started.
    pub(crate) fn is_running(&mut self) -> bool {
        let child = self.child.as_mut();
        child.is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// Opens the bots' port too.
    pub(crate) fn admit_bots(&mut self) {
        assert!(self.is_running(), "the server ended\n{}", self.log());
        self.configure(&[self.human_port, self.bot_port]);
        let child = self.child.as_ref().expect("it runs");
        kill_process(Pid::from_child(child), Signal::HUP).expect("our own child can be signalled");
    }

    /// Kills it at once; returns its process id.
    pub(crate) fn kill(&mut self) -> u32 {
        let mut child = self.child.take().expect("the server runs");
        let pid = child.id();
        // It may have ended by itself; waiting tells either way.
        child.kill().ok();
        child.wait().expect("our own child can be waited for");
        pid
    }

    /// What it said last.
    pub(crate) fn log(&self) -> String {
        let text = fs::read_to_string(self.dir.join("ngircd.log")).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.kill();
        }
    }
}
