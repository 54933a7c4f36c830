//! Plays the broker's side of a conversation with a plugin's process, and writes down what the plugin says.
//!
//! A transcript is one JSON object per line; `contract/vectors/transcripts/sdk/README.md` says what each means.
//! What the plugin sends is compared as text, member order included, after [`normal`] has taken out what differs
//! between two runs of one program: random ids and times, and the names and places of a language's own exceptions.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use trunkline_contract::envelope::rfc3339;

use crate::sdk::Language;

/// How long a frame, or the end of the process, may take on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is played with.
#[derive(Debug, Clone)]
pub enum Subject {
    /// One of our own SDKs.
    Sdk(Language),
    /// Anybody's: a program with its arguments; the last one it is given is the name of the plugin to be.
    Program(Vec<String>),
}

impl Subject {
    /// Its name in texts.
    pub fn name(&self) -> &str {
        match self {
            Self::Sdk(language) => language.name(),
            Self::Program(words) => words.first().map_or("nothing", String::as_str),
        }
    }

    fn command(&self, stem: &str, dir: &Path) -> Command {
        match self {
            Self::Sdk(language) => language.command(stem, dir),
            Self::Program(words) => {
                let (program, arguments) = words.split_first().expect("a program");
                let mut command = Command::new(program);
                command.args(arguments).arg(stem);
                command
            }
        }
    }
}

/// A subject under way.
#[derive(Debug)]
pub struct Player {
    dir: tempfile::TempDir,
    child: Child,
    lines: BufReader<UnixStream>,
    write: Option<UnixStream>,
    last_id: Value,
    place: String,
    pings: u64,
}

/// Plays the transcript at `path` with this subject; gives each step with what the plugin said.
///
/// # Panics
/// When the plugin says less than expected, or the transcript is malformed.
pub fn play(path: &Path, subject: &Subject) -> Vec<String> {
    let text =
        std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    play_steps(&lines, &path.display().to_string(), subject)
}

/// Plays these steps, which are named `name` in failures.
///
/// # Panics
/// When the plugin says less than expected, or a step is malformed.
pub fn play_steps(lines: &[String], name: &str, subject: &Subject) -> Vec<String> {
    let is_stdio = lines
        .first()
        .is_some_and(|line| line == "{\"link\":\"stdio\"}");
    let first: Value = serde_json::from_str(&lines[0]).expect("one JSON object per line");
    let stem = first["subject"].as_str().unwrap_or("golden");
    let mut player = Player::start(stem, subject, is_stdio);
    let mut told = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        player.place = format!("{} {name}:{}", subject.name(), number + 1);
        let step: Value = serde_json::from_str(line).expect("one JSON object per line");
        told.push(player.step(&step).unwrap_or_else(|| line.clone()));
    }
    told
}

impl Player {
    fn start(stem: &str, subject: &Subject, is_stdio: bool) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let (ours, theirs) = UnixStream::pair().expect("a socket pair");
        let theirs: OwnedFd = theirs.into();
        let mut inherited = None;
        let output = std::fs::File::create(dir.path().join("output")).expect("a file");
        let mut command = subject.command(stem, dir.path());
        command.env("GOLDEN_HOOKS", dir.path().join("hooks"));
        if is_stdio {
            command
                .env_remove("TRUNKLINE_LINK_FD")
                .stdin(theirs.try_clone().expect("a socket"))
                .stdout(theirs);
        } else {
            fcntl_setfd(&theirs, FdFlags::empty()).expect("the child may inherit it");
            command
                .env("TRUNKLINE_LINK_FD", theirs.as_raw_fd().to_string())
                .stdin(Stdio::null())
                .stdout(output.try_clone().expect("a file"));
            // Kept until the child has its own.
            inherited = Some(theirs);
        }
        let child = command
            .stderr(output)
            .spawn()
            .expect("the subject can be started; build it with `cargo build -p trunkline-tests`");
        drop((command, inherited.take()));
        ours.set_read_timeout(Some(PATIENCE)).expect("a limit");
        let write = ours.try_clone().expect("a socket");
        Self {
            dir,
            child,
            lines: BufReader::new(ours),
            write: Some(write),
            last_id: Value::Null,
            place: String::new(),
            pings: 0,
        }
    }

    /// Does a step; gives what it was in this run, if that is told by the plugin.
    fn step(&mut self, step: &Value) -> Option<String> {
        let members = step.as_object().expect("an object");
        let (what, value) = members.iter().next().expect("one member");
        match what.as_str() {
            "link" | "subject" => {}
            "printed" => {
                let output = self.output();
                for text in value.as_array().expect("texts") {
                    let text = text.as_str().expect("a text");
                    assert!(output.contains(text), "{}: it printed {output}", self.place);
                }
            }
            "include" => {
                let name = value.as_str().expect("a name");
                let text = std::fs::read_to_string(folder().join(name)).expect("an included file");
                for line in text.lines() {
                    let step: Value = serde_json::from_str(line).expect("one JSON object per line");
                    if let Some(said) = self.step(&step) {
                        assert_eq!(said, line, "{} ({name})", self.place);
                    }
                }
            }
            "broker" => self.send(value.to_string().as_bytes()),
            "deliver" => self.deliver(value),
            "envelope" => {
                let envelope = value.as_str().expect("a text");
                let read: Value = serde_json::from_str(envelope).expect("an envelope");
                let delivery = json!({
                    "id": format!("d-{}", read["id"]), "attempt": 1, "redelivered": false,
                    "lease_ms": 30_000, "subscription": "instance.golden.default.every",
                });
                self.send(format!(
                    "{{\"jsonrpc\":\"2.0\",\"method\":\"broker.event\",\"params\":{{\"topic\":{},\"event\":{envelope},\
                     \"delivery\":{delivery}}}}}",
                    read["topic"]
                ).as_bytes());
            }
            "answer" => {
                let frame = json!({ "jsonrpc": "2.0", "id": self.last_id, "result": value });
                self.send(frame.to_string().as_bytes());
            }
            "refuse" => {
                let frame = json!({ "jsonrpc": "2.0", "id": self.last_id, "error": value });
                self.send(frame.to_string().as_bytes());
            }
            "bytes" => self.send_raw(value.as_str().expect("a text").as_bytes()),
            "hex" => self.send_raw(&hex(value.as_str().expect("a text"))),
            "peer" => return Some(format!("{{\"peer\":{}}}", normal(&self.frame()))),
            "ping" => self.ping(),
            "closed" => self.closed(),
            "eof" => {
                let stream = self.write.take().expect("open until now");
                stream.shutdown(std::net::Shutdown::Both).expect("a socket");
            }
            "signal" => {
                let pid = Pid::from_child(&self.child);
                kill_process(pid, Signal::TERM).expect("it runs");
            }
            "exit" => return Some(format!("{{\"exit\":{}}}", self.exit())),
            "hooks" => return Some(json!({ "hooks": self.hooks() }).to_string()),
            other => panic!("{}: unknown step {other}", self.place),
        }
        None
    }

    fn deliver(&mut self, given: &Value) {
        let text = |name: &str, or: &str| given[name].as_str().unwrap_or(or).to_owned();
        let id = text("id", "q-1");
        let topic = text("topic", "plugin.outbound.golden.default");
        let subscription = text("subscription", "instance.golden.default");
        let mut event = json!({
            "id": id, "timestamp": "2026-01-02T03:04:05Z", "topic": topic, "source": "client:ops",
            "session_id": "a", "payload": given["payload"],
        });
        for (name, value) in given["event"].as_object().into_iter().flatten() {
            event[name] = value.clone();
        }
        let attempt = given["attempt"].as_u64().unwrap_or(1);
        let delivery = json!({
            "id": format!("d-{id}"), "attempt": attempt, "redelivered": attempt > 1,
            "lease_ms": 30_000, "subscription": subscription,
        });
        let params = json!({ "topic": topic, "event": event, "delivery": delivery });
        let frame =
            json!({ "jsonrpc": "2.0", "method": "broker.event", "params": params }).to_string();
        // A number of any size, or text that no `Value` holds, goes in as it is written.
        let frame = match given["raw_payload"].as_str() {
            Some(raw) => frame.replacen("\"payload\":null", &format!("\"payload\":{raw}"), 1),
            None => frame,
        };
        self.send(frame.as_bytes());
    }

    fn send(&mut self, frame: &[u8]) {
        self.send_raw(&[frame, b"\n"].concat());
    }

    fn send_raw(&mut self, bytes: &[u8]) {
        let stream = self.write.as_mut().expect("the link is open");
        stream
            .write_all(bytes)
            .unwrap_or_else(|error| panic!("{}: {error}", self.place));
    }

    /// The next frame that is no log line.
    fn frame(&mut self) -> String {
        loop {
            let mut line = String::new();
            let read = self.lines.read_line(&mut line);
            let is_there = matches!(read, Ok(1..));
            assert!(
                is_there,
                "{}: expected a frame, found {read:?}; it printed\n{}",
                self.place,
                self.output()
            );
            let line = line.trim_end().to_owned();
            let frame: Value = serde_json::from_str(&line)
                .unwrap_or_else(|error| panic!("{}: {error} in {line:?}", self.place));
            if frame["method"] == "log" || frame["method"] == "broker.log" {
                continue;
            }
            if frame.get("id").is_some() && frame.get("method").is_some() {
                self.last_id = frame["id"].clone();
            }
            return line;
        }
    }

    /// Asks for a sign of life, which is answered after everything that was sent before.
    fn ping(&mut self) {
        self.pings += 1;
        let id = format!("ping-{}", self.pings);
        self.send(
            json!({ "jsonrpc": "2.0", "id": id, "method": "ping", "params": {} })
                .to_string()
                .as_bytes(),
        );
        let answer: Value = serde_json::from_str(&self.frame()).expect("JSON");
        assert_eq!(answer["id"], json!(id), "{}: {answer}", self.place);
    }

    fn closed(&mut self) {
        let mut rest = String::new();
        let read = self.lines.read_to_string(&mut rest);
        assert!(read.is_ok(), "{}: {read:?}", self.place);
        let rest: Vec<_> = rest
            .lines()
            .filter(|line| !line.contains("\"method\":\"log\""))
            .collect();
        assert!(
            rest.is_empty(),
            "{}: the link is closed, found {rest:?}",
            self.place
        );
    }

    fn exit(&mut self) -> Value {
        let until = Instant::now() + PATIENCE;
        let mut waits = Patience::until(until);
        loop {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                return status.code().map_or(Value::Null, Value::from);
            }
            assert!(
                waits.wait(),
                "{}: it goes on; it printed\n{}",
                self.place,
                self.output()
            );
        }
    }

    fn hooks(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.dir.path().join("hooks")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn output(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("output")).unwrap_or_default()
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.child.kill().expect("it is our own child");
            self.child.wait().expect("it was killed");
        }
    }
}

/// Waits a little, again and again, for what no event announces.
#[derive(Debug)]
pub struct Patience {
    until: Instant,
}

impl Patience {
    /// Waits until then and no longer.
    pub fn until(until: Instant) -> Self {
        Self { until }
    }

    /// Waits a little; false when the time is over.
    pub fn wait(&mut self) -> bool {
        let left = self.until.saturating_duration_since(Instant::now());
        // Nobody ever sends: a wait with a limit.
        let (_sender, receiver) = std::sync::mpsc::channel::<()>();
        _ = receiver.recv_timeout(left.min(Duration::from_millis(10)));
        !left.is_zero()
    }
}

/// Where the transcripts of plugins are.
pub fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../contract/vectors/transcripts/sdk")
}

fn hex(text: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex");
    (0..text.len()).step_by(2).map(byte).collect()
}

/// Takes out what differs between two runs: random ids, times, and a language's own exceptions.
pub fn normal(frame: &str) -> String {
    let mut text = String::with_capacity(frame.len());
    let mut rest = frame;
    while let Some(at) = rest.find('"') {
        let (before, string) = rest.split_at(at + 1);
        let end = end_of_string(string);
        text.push_str(before);
        text.push_str(&normal_string(&string[..end]));
        text.push('"');
        rest = &string[(end + 1).min(string.len())..];
    }
    text.push_str(rest);
    without_exception(text)
}

/// Where the JSON string that begins here ends.
fn end_of_string(text: &str) -> usize {
    let mut is_escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => return at,
            _ => {}
        }
    }
    text.len()
}

fn normal_string(text: &str) -> String {
    let is_shaped = |shape: &str| {
        text.len() == shape.len()
            && text
                .bytes()
                .zip(shape.bytes())
                .all(|(found, shape)| match shape {
                    b'x' => found.is_ascii_hexdigit(),
                    other => found == other,
                })
    };
    // Version 7 is random; what is made of the event and its content must be the same everywhere.
    if is_shaped("xxxxxxxx-xxxx-7xxx-xxxx-xxxxxxxxxxxx") {
        return "$id".to_owned();
    }
    if is_shaped("xxxx-xx-xxTxx:xx:xx.xxxZ") && is_of_this_run(text) {
        return "$time".to_owned();
    }
    // "src/golden.rs:3:9: boom", "golden.py:3: ValueError: boom": where, which class, and the words.
    if let Some(before) = text.strip_suffix(": boom")
        && let Some(place) = before.split(' ').find(|word| word.contains("golden"))
    {
        let begin = place.as_ptr().addr() - text.as_ptr().addr();
        return format!("{}$place: boom", &text[..begin]);
    }
    text.to_owned()
}

/// Says whether a time is of today, or of a yesterday that has just ended.
fn is_of_this_run(time: &str) -> bool {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now_ms = now.map_or(0, |since| since.as_millis() as i64);
    [now_ms, now_ms - 3_600_000]
        .iter()
        .any(|ms| time[..10] == rfc3339(*ms)[..10])
}

/// Replaces class and place of an exception that no catalogue knows.
fn without_exception(mut text: String) -> String {
    for (member, is_wanted) in [
        ("traceback", true),
        ("type", text.contains("\"message\":\"boom\"")),
    ] {
        let open = format!("\"{member}\":\"");
        let found = text
            .find("\"error\":{")
            .and_then(|from| Some(from + text[from..].find(&open)?));
        if let Some(at) = found.filter(|_| is_wanted) {
            let begin = at + open.len();
            let end = begin + end_of_string(&text[begin..]);
            text.replace_range(begin..end, &format!("${member}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::{SystemTime, UNIX_EPOCH};

    use super::{normal, rfc3339};

    #[test]
    fn only_what_differs_between_two_runs_is_taken_out() {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("after 1970");
        let now = rfc3339(now.as_millis() as i64);
        let frame = r#"{"id":"01890a5d-ac96-774b-bcce-b302099a8057","own":"01890a5d-ac96-574b-bcce-b302099a8057","at":"@","text":"a \"quoted\" word"}"#;
        let frame = &frame.replace('@', &now);
        let expected = r#"{"id":"$id","own":"01890a5d-ac96-574b-bcce-b302099a8057","at":"$time","text":"a \"quoted\" word"}"#;
        assert_eq!(normal(frame), expected);
    }

    #[test]
    fn an_exception_loses_its_class_and_its_place_and_keeps_its_words() {
        let frame =
            r#"{"error":{"type":"ValueError","message":"boom","traceback":"File \"x\"\n"}}"#;
        let expected = r#"{"error":{"type":"$type","message":"boom","traceback":"$traceback"}}"#;
        assert_eq!(normal(frame), expected);
        let texts = [
            "on_stop failed: src/golden.rs:3:9: boom",
            "on_stop failed: golden.py:3: ValueError: boom",
        ];
        for text in texts {
            assert_eq!(
                normal(&format!("\"{text}\"")),
                "\"on_stop failed: $place: boom\""
            );
        }
        let frame = r#"{"error":{"type":"unavailable","message":"away"}}"#;
        assert_eq!(normal(frame), frame);
    }
}
