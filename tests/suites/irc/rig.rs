//! Everything that plays together: the daemon with two accounts, the server, the agent, the human; and the
//! kills between them.
//!
//! A kill comes after a random number of answers, not after a time. Nothing sleeps: whoever waits reads what
//! the human sees.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use trunkline_tests::daemon::{Daemon, Setup, built_from};
use trunkline_tests::history::{History, Record};
use trunkline_tests::random::Random;

use super::human::{self, Fact, Human};
use super::server::Server;
use super::verdict::{self, Verdict};

/// The accounts: instance and nickname are the same.
pub(crate) const BOTS: [&str; 2] = ["alpha", "beta"];
/// Where the human says lines: each bot's own channel, the common one, and to each bot alone.
pub(crate) const PLACES: [&str; 5] = ["#alpha", "#beta", "#lobby", "alpha", "beta"];
/// How long anything may take until a run is given up.
const STALL_LIMIT: Duration = Duration::from_secs(90);
/// How long to wait for a fact before looking at something else.
const LOOK: Duration = Duration::from_millis(50);
/// Lines that are said ahead of their answers.
const AHEAD_MAX: usize = 6;
/// Exits of an instance within a minute that are no crash loop.
const EXITS_MAX: usize = 3;
/// The window of that.
const EXIT_WINDOW: Duration = Duration::from_secs(61);

/// Who is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Victim {
    Plugin(usize),
    Agent,
    Daemon,
    Server,
}

impl Victim {
    /// Everybody.
    pub(crate) const ALL: [Self; 5] = [
        Self::Plugin(0),
        Self::Plugin(1),
        Self::Agent,
        Self::Daemon,
        Self::Server,
    ];
}

/// The parts; they end with it.
pub(crate) struct Rig {
    home: PathBuf,
    setup: Setup,
    history: History,
    daemon: Option<Daemon>,
    agent: Option<Child>,
    human: Human,
    server: Server,
    life: u64,
    /// When each account's process was killed, latest last.
    exits: [VecDeque<Instant>; 2],
    /// How often the human saw which text of which account.
    seen: BTreeMap<(String, String), u64>,
    said: u64,
    /// Lines said, less answers seen: how far ahead the human is.
    ahead: usize,
    kills: BTreeMap<Victim, u64>,
}

/// What the plugin is built by.
const BUILD: &str = "cargo channels";
/// What it is made of.
const SOURCES: [&str; 1] = ["templates/channels/irc/src"];

/// Writes the plugin's manifest to where the daemon looks for it.
pub(crate) fn install_manifest(home: &Path) {
    let dir = home.join("plugins/irc");
    fs::create_dir_all(&dir).expect("the home can be written");
    let manifest = include_str!("../../../templates/channels/irc/plugin.toml");
    let command = built_from("trunkline-irc", BUILD, &SOURCES)
        .display()
        .to_string();
    let manifest = manifest.replace("./trunkline-irc", &command);
    fs::write(dir.join("plugin.toml"), manifest).expect("the home can be written");
}

fn install(home: &Path, port: u16) -> String {
    install_manifest(home);
    let journal = home.join("journal.jsonl").display().to_string();
    let mut config = "plugin_dirs = [\"plugins\"]\n".to_owned();
    for (bot, other) in [(BOTS[0], BOTS[1]), (BOTS[1], BOTS[0])] {
        config += &format!(
            "[[plugins.irc]]\ninstance = \"{bot}\"\nserver = \"127.0.0.1\"\nport = {port}\nnick = \"{bot}\"\n\
             channels = [\"#{bot}\", \"#lobby\"]\nignore = [\"{other}\"]\nline_interval = \"0s\"\n\
             journal = {journal:?}\n"
        );
    }
    config
}

impl Rig {
    /// Starts everything; an error is what this machine cannot do.
    ///
    /// # Errors
    /// The server or the human's library cannot be fetched.
    pub(crate) fn start(home: &Path) -> std::io::Result<Self> {
        let python = human::python()?;
        // The server gives up the rights of root, and reads its configuration after that.
        fs::set_permissions(home, fs::Permissions::from_mode(0o755))?;
        let mut server = Server::prepare(&home.join("ngircd"))?;
        let setup = Setup::new(home, &home.join("data"), &install(home, server.bot_port));
        fs::write(home.join("journal.jsonl"), "")?;
        server.start();
        let human = Human::start(&python, server.human_port, &["#alpha", "#beta", "#lobby"]);
        let mut rig = Self {
            home: home.to_owned(),
            history: History::open(&home.join("history.jsonl"))?,
            daemon: None,
            agent: None,
            setup,
            human,
            server,
            life: 0,
            exits: Default::default(),
            seen: BTreeMap::new(),
            said: 0,
            ahead: 0,
            kills: BTreeMap::new(),
        };
        rig.wait_for_human();
        rig.server.admit_bots();
        rig.start_daemon();
        rig.start_agent();
        Ok(rig)
    }

    fn wait_for_human(&mut self) {
        let until = Instant::now() + STALL_LIMIT;
        while !matches!(self.next(), Some(Fact::Joined)) {
            let is_on_the_way = self.server.is_running() && Instant::now() < until;
            assert!(
                is_on_the_way,
                "the human does not get in\n{}",
                self.server.log()
            );
        }
    }

    fn start_daemon(&mut self) {
        self.life += 1;
        fs::write(self.home.join("life"), self.life.to_string()).expect("the home can be written");
        let daemon = self.setup.start();
        self.daemon = Some(daemon.unwrap_or_else(|error| panic!("life {}: {error}", self.life)));
        self.history.record(Record::Restart { life: self.life });
        self.exits = Default::default();
    }

    fn start_agent(&mut self) {
        let agent = Command::new(env!("CARGO_BIN_EXE_irc_agent"))
            .arg(self.setup.socket())
            .arg(self.setup.token())
            .arg(self.home.join("history.jsonl"))
            .arg(self.home.join("life"))
            .stdin(Stdio::null())
            .spawn();
        self.agent = Some(agent.expect("the agent can be started"));
    }

    /// Takes what the human sees next.
    fn next(&mut self) -> Option<Fact> {
        let fact = self.human.next(LOOK);
        if let Some(Fact::Seen { nick, text }) = &fact {
            let nick = nick.trim_end_matches('_').to_owned();
            *self.seen.entry((nick, text.clone())).or_default() += 1;
            self.ahead = self.ahead.saturating_sub(1);
        }
        fact
    }

    /// Lets the human say a line somewhere.
    pub(crate) fn say(&mut self, place: &str) -> String {
        self.said += 1;
        self.ahead += 1;
        let text = format!("line {}", self.said);
        self.human.say(place, &text);
        text
    }

    /// Waits until the human sees `text` of `bot`.
    pub(crate) fn wait_seen(&mut self, bot: &str, text: &str) {
        let key = (bot.to_owned(), text.to_owned());
        let until = Instant::now() + STALL_LIMIT;
        while !self.seen.contains_key(&key) {
            self.next();
            self.give_up_after(until, &format!("{text:?} of {bot} is not seen"));
        }
    }

    /// Lets the human say lines at `place` until `bot` answers one: it may not be there yet.
    pub(crate) fn wait_answered(&mut self, bot: &str, place: &str) {
        let until = Instant::now() + STALL_LIMIT;
        let mut own: Vec<String> = Vec::new();
        while !own.iter().any(|text| self.has_seen(bot, text)) {
            own.push(format!("echo: {}", self.say(place)));
            self.next();
            self.give_up_after(until, &format!("{bot} does not answer at {place}"));
        }
    }

    /// Lets the human say lines until it saw `count` more answers.
    pub(crate) fn progress(&mut self, count: u64, random: &mut Random) {
        let until = Instant::now() + STALL_LIMIT;
        let mut left = count;
        while left > 0 {
            if self.ahead < AHEAD_MAX {
                self.say(PLACES[random.below(PLACES.len() as u64) as usize]);
            }
            match self.next() {
                Some(Fact::Seen { .. }) => left -= 1,
                // What was said to somebody who was killed is never answered.
                None => self.ahead = 0,
                Some(_) => {}
            }
            self.give_up_after(until, "nothing is answered");
        }
    }

    /// Says a few lines at once and reads a few answers, so that a kill finds something under way.
    pub(crate) fn burst(&mut self, random: &mut Random) {
        for _ in 0..random.below(8) {
            self.say(PLACES[random.below(PLACES.len() as u64) as usize]);
        }
        for _ in 0..random.below(5) {
            self.next();
        }
    }

    fn give_up_after(&mut self, until: Instant, why: &str) {
        if Instant::now() < until {
            return;
        }
        let status = self.call("admin.status", &json!({}));
        let daemon = self.daemon.as_ref().map(Daemon::stderr).unwrap_or_default();
        let server = self.server.log();
        panic!("{why}\nstatus: {status:#}\nserver:\n{server}\ndaemon:\n{daemon}");
    }

    fn call(&self, method: &str, params: &Value) -> Value {
        let mut peer = self.setup.connect("harness").expect("the daemon listens");
        peer.call(method, params, STALL_LIMIT)
            .unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    /// The process of an account, if it runs.
    fn plugin_pid(&self, bot: &str) -> Option<u32> {
        let status = self.call("admin.status", &json!({}));
        let instances = status["instances"].as_array()?;
        let instance = instances.iter().find(|i| i["instance"] == bot)?;
        instance["pid"].as_u64().map(|pid| pid as u32)
    }

    /// Chooses who is killed; an account that was killed often of late is left alone, because the daemon would
    /// call it a crash loop and wait for minutes.
    pub(crate) fn choose(&mut self, random: &mut Random) -> Victim {
        let bot = random.below(2) as usize;
        self.exits[bot].retain(|at| at.elapsed() < EXIT_WINDOW);
        match random.below(5) {
            0 | 1 if self.exits[bot].len() < EXITS_MAX => Victim::Plugin(bot),
            0 | 2 => Victim::Agent,
            1 | 3 => Victim::Daemon,
            _ => Victim::Server,
        }
    }

    /// Kills a part at once, and starts again what nobody else does.
    pub(crate) fn kill(&mut self, victim: Victim) {
        match victim {
            // It is not there yet since an earlier kill.
            Victim::Plugin(bot) if !self.kill_plugin(bot) => return,
            Victim::Plugin(_) => {}
            Victim::Agent => {
                self.kill_agent();
                self.start_agent();
            }
            Victim::Daemon => {
                self.history.record(Record::Crash { life: self.life });
                self.daemon.take().expect("the daemon runs").kill();
                self.end_agent();
                self.start_daemon();
                self.start_agent();
            }
            Victim::Server => {
                self.server.kill();
                self.server.start();
                self.wait_for_human();
                self.server.admit_bots();
            }
        }
        *self.kills.entry(victim).or_default() += 1;
    }

    /// Kills the process of an account; says whether there was one.
    fn kill_plugin(&mut self, bot: usize) -> bool {
        let Some(pid) = self.plugin_pid(BOTS[bot]) else {
            return false;
        };
        self.exits[bot].push_back(Instant::now());
        self.history.record(Record::Note {
            text: format!("{} is killed", BOTS[bot]),
        });
        // It may have ended by itself a moment ago.
        let pid = Pid::from_raw(pid as i32).expect("a process has a number");
        kill_process(pid, Signal::KILL).is_ok()
    }

    fn kill_agent(&mut self) {
        let mut agent = self.agent.take().expect("the agent runs");
        self.history.record(Record::Kill { pid: agent.id() });
        agent.kill().ok();
        agent.wait().expect("our own child can be waited for");
    }

    /// Waits for the end of an agent whose daemon is gone.
    fn end_agent(&mut self) {
        let mut agent = self.agent.take().expect("the agent runs");
        let status = agent.wait().expect("our own child can be waited for");
        assert!(status.success(), "the agent failed: {status}");
    }

    /// How much the agent and the accounts still have to settle.
    fn unsettled(&self) -> u64 {
        let status = self.call("admin.status", &json!({}));
        let subscriptions = status["subscriptions"].as_array().into_iter().flatten();
        subscriptions
            .flat_map(|sub| ["pending", "in_flight", "parked"].map(|name| sub[name].as_u64()))
            .map(Option::unwrap_or_default)
            .sum()
    }

    /// Lets everything recover, waits until all is settled and seen, and judges.
    pub(crate) fn finish(mut self) -> Outcome {
        for bot in BOTS {
            self.wait_answered(bot, &format!("#{bot}"));
        }
        self.history.record(Record::FaultEnd);
        let until = Instant::now() + STALL_LIMIT;
        let mut is_quiet = false;
        loop {
            let unsettled = self.unsettled();
            if unsettled == 0 && is_quiet {
                break;
            }
            // What is on its way to the plugin is in no count: all is settled when nothing comes for a while.
            is_quiet = self.next().is_none() && unsettled == 0;
            self.give_up_after(until, &format!("{unsettled} are not settled"));
        }
        self.history.record(Record::DrainEnd { unsettled: 0 });
        let store = {
            let mut peer = self.setup.connect("harness").expect("the daemon listens");
            verdict::read_store(&mut peer).expect("the store can be read")
        };
        let owed = verdict::owed(&store.0);
        let until = Instant::now() + Duration::from_secs(5);
        while owed.iter().any(|key| !self.seen.contains_key(key)) && Instant::now() < until {
            self.next();
        }
        self.kill_agent();
        let verdict = verdict::judge(&self.home, &store, &self.seen);
        Outcome {
            verdict,
            said: self.said,
            kills: std::mem::take(&mut self.kills),
        }
    }

    fn has_seen(&self, bot: &str, text: &str) -> bool {
        self.seen.contains_key(&(bot.to_owned(), text.to_owned()))
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            // It may have ended by itself; waiting tells either way.
            agent.kill().ok();
            agent.wait().ok();
        }
    }
}

/// What a run was.
pub(crate) struct Outcome {
    verdict: Verdict,
    said: u64,
    kills: BTreeMap<Victim, u64>,
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Verdict {
            counted,
            stored,
            seen,
            repeats,
            redeliveries,
            report,
            broken,
        } = &self.verdict;
        for line in broken.iter().take(20) {
            writeln!(out, "broken: {line}")?;
        }
        writeln!(out, "the agent's history: {report}")?;
        let kills: u64 = self.kills.values().sum();
        write!(
            out,
            "irc: {kills} kills {:?}; {} lines said, {counted} counted of {stored} stored, {seen} answers seen, \
             {repeats} of them again, {redeliveries} marked redeliveries, {} promises broken",
            self.kills,
            self.said,
            broken.len() + report.violations.len()
        )
    }
}

impl Outcome {
    /// Panics with everything unless every promise held.
    pub(crate) fn assert_clean(&self) {
        let verdict = &self.verdict;
        assert!(
            verdict.broken.is_empty() && verdict.report.is_clean(),
            "{self}"
        );
        assert!(
            verdict.counted > 0 && verdict.seen == verdict.stored,
            "{self}"
        );
    }
}
