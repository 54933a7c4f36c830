//! The terminal of `trunkline dev`: a line that is typed is published, what passes by is shown.
//!
//! | line | what it does |
//! |---|---|
//! | `text` | `plugin.outbound.<kind>.<instance>` with that text: what an agent says |
//! | `/in text` | the same as `plugin.inbound.…`: what somebody outside says |
//! | `/to kind[.instance]` | says whom the next lines are for |
//! | `//text` | a text that begins with a slash |
//! | `/help` | says what can be typed |
//! | `/quit` | waits for the answers that are missing, for at most 10 s, and ends |

use std::collections::BTreeMap;
use std::io::BufRead;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json, value::to_raw_value};
use trunkline_contract::envelope::parse_rfc3339;
use trunkline_contract::rpc::admin::{
    AdminEventParams, AdminLogParams, AdminTailParams, LogsParams,
};
use trunkline_contract::rpc::{Empty, OnConflict, PublishParams, PublishResult, Start, method};
use trunkline_contract::topic::Filter;

use super::project::has_manifest;
use super::tape::{self, Tape};
use crate::cli::addressee::There;
use crate::cli::client::{Client, ConnectArgs, Wait};
use crate::cli::failure::Failure;
use crate::cli::input::input;
use crate::cli::output::{data, one_line};
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::instance::InstanceKey;

/// What the terminal is called on the broker.
pub(super) const NAME: &str = "dev";
/// The conversation that typed lines belong to.
const SESSION: &str = "dev:1";
/// How long `/quit` waits for answers.
const LAST_ANSWERS: Duration = Duration::from_secs(10);
/// How often one looks for plugins that came with a reload.
const LOOK: Duration = Duration::from_millis(500);
/// How many lines are shown of one that wrote before that.
const FIRST_LINES: u32 = 100;
/// What can be typed.
const HELP: &str = "  text                 what an agent says to the channel: an event on plugin.outbound.…
  /in text             what somebody outside says: an event on plugin.inbound.…
  /to kind[.instance]  whom the next lines are for
  //text               a text that begins with a slash
  /help                this list
  /quit                waits for missing answers, for at most 10 s, and ends; an interrupt ends at once";
/// Events whose answers are waited for.
const OPEN_MAX: usize = 1_000;
/// What passes by.
const SHOWN: [&str; 4] = [
    "plugin.outbound.>",
    "plugin.inbound.>",
    "plugin.delivery.>",
    "plugin.dead.>",
];

/// Shows a line; a terminal that is gone hears nothing.
pub(super) fn show(line: &str) {
    let _best_effort = data(line);
}

/// What was published and is not answered: its id, and when that was.
#[derive(Debug)]
pub(super) struct Open {
    clock: SystemClock,
    ids: Mutex<BTreeMap<String, u64>>,
    fewer: Condvar,
}

impl Open {
    /// Waits for nothing yet.
    pub(super) fn new() -> Self {
        Self {
            clock: SystemClock::new(),
            ids: Mutex::default(),
            fewer: Condvar::new(),
        }
    }

    fn now_ms(&self) -> u64 {
        self.clock.now().mono_ms
    }

    fn ids(&self) -> MutexGuard<'_, BTreeMap<String, u64>> {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn asked(&self, id: String, now_ms: u64) {
        let mut ids = self.ids();
        if ids.len() < OPEN_MAX {
            ids.insert(id, now_ms);
        }
    }

    fn answered(&self, id: &str) -> Option<u64> {
        let at_ms = self.ids().remove(id);
        self.fewer.notify_all();
        at_ms
    }

    /// Waits for what is not answered, and says so.
    fn wait(&self, limit: Duration) {
        let ids = self.ids();
        if ids.is_empty() {
            return;
        }
        show(&format!(
            "broker   waiting   for answers ({} missing), at most {} s; an interrupt ends at once",
            ids.len(),
            limit.as_secs()
        ));
        let waited = self
            .fewer
            .wait_timeout_while(ids, limit, |ids| !ids.is_empty());
        let left = waited.map_or(0, |(ids, _)| ids.len());
        if left > 0 {
            show(&format!(
                "broker   waited    no answer came ({left} missing)"
            ));
        }
    }
}

/// Whose lines are shown.
#[derive(Default)]
struct Speakers {
    /// The plugins whose lines were asked for.
    asked: Vec<String>,
    /// Those with one instance: their lines need no more than the plugin's name.
    alone: Vec<String>,
}

impl Speakers {
    /// Asks for the lines of the plugins in a config whose lines were not asked for.
    fn ask(&mut self, client: &mut Client, config: &Config, lines: u32) -> Result<(), Failure> {
        self.alone.clear();
        for spec in &config.instances {
            let mut of_it = config
                .instances
                .iter()
                .filter(|one| one.plugin == spec.plugin);
            if of_it.nth(1).is_none() {
                self.alone.push(spec.plugin.clone());
            }
            if self.asked.contains(&spec.plugin) || !has_manifest(&spec.dir) {
                continue;
            }
            let params = LogsParams {
                plugin: spec.plugin.clone(),
                instance: None,
                lines,
                follow: true,
            };
            let started: Result<Empty, Failure> = client.call(method::ADMIN_LOGS, &params);
            match started {
                Ok(_) => self.asked.push(spec.plugin.clone()),
                Err(failure) if failure.is_answer() => {
                    tracing::debug!(%failure, "The lines of a plugin cannot be had yet.");
                }
                Err(failure) => return Err(failure),
            }
        }
        Ok(())
    }
}

/// Shows what passes by until the daemon ends, and the lines of plugins, also of those that a reload adds.
pub(super) fn listen(
    connect: &ConnectArgs,
    in_force: impl Fn() -> Config,
    tape: Option<Tape>,
    open: &Open,
    ready: impl FnOnce(),
) -> Result<(), Failure> {
    let mut client = Client::connect_as(connect, NAME)?;
    let mut tape = tape;
    let filters = SHOWN.iter().filter_map(|text| Filter::parse(text).ok());
    let params = AdminTailParams {
        filters: filters.collect(),
        start: Start::New,
        limit: None,
    };
    let _started: Empty = client.call(method::ADMIN_TAIL, &params)?;
    let began_ms = open.clock.now().wall_ms;
    let mut speakers = Speakers::default();
    speakers.ask(&mut client, &in_force(), 0)?;
    ready();
    let mut looked_ms = open.now_ms();
    loop {
        let heard = client.hear(&Wait::Until(LOOK))?;
        if open.now_ms().saturating_sub(looked_ms) >= LOOK.as_millis() as u64 {
            speakers.ask(&mut client, &in_force(), FIRST_LINES)?;
            looked_ms = open.now_ms();
        }
        let Some(heard) = heard else { continue };
        if heard.method == method::ADMIN_LOG {
            let line: AdminLogParams = heard.params()?;
            // One that was away for a while has old ones too.
            if parse_rfc3339(&line.at).is_some_and(|at_ms| at_ms < began_ms) {
                continue;
            }
            let who = speaker(&line, &speakers.alone);
            show(&format!("{who} | {}", one_line(&line.line, 2_000)));
        }
        if heard.method != method::ADMIN_EVENT {
            continue;
        }
        let event: AdminEventParams = heard.params()?;
        if let Some(tape) = &mut tape
            && let Err(error) = tape.record(&event)
        {
            show(&format!("record  failed   {error}"));
        }
        for line in render(&event, open, open.now_ms()) {
            show(&line);
        }
    }
}

/// Whose line it is.
fn speaker(line: &AdminLogParams, alone: &[String]) -> String {
    let key = InstanceKey::new(&line.plugin, &line.instance).of_seat();
    if key.is_process() || alone.contains(&line.plugin) {
        line.plugin.clone()
    } else {
        key.to_string()
    }
}

/// One event as lines.
fn render(shown: &AdminEventParams, open: &Open, now_ms: u64) -> Vec<String> {
    let event: Value = serde_json::from_str(shown.event.get()).unwrap_or_default();
    let source = one_line(event["source"].as_str().unwrap_or("?"), 100);
    let parts: Vec<&str> = shown.topic.split('.').collect();
    let other = parts.get(2..).unwrap_or_default().join("/");
    let payload = &event["payload"];
    let text = ["text", "alt_text"]
        .iter()
        .find_map(|name| payload[name].as_str());
    let text = text.map_or_else(|| payload.to_string(), str::to_owned);
    let answered = event["correlation_id"].as_str();
    let after_ms = answered.and_then(|id| open.answered(id));
    let head = format!("  {} {}", shown.seq, shown.topic);
    match parts.get(1).copied() {
        Some("outbound") => vec![format!("{head}  {source} → {other}")],
        Some("inbound") => {
            let took = after_ms.map(|at_ms| format!("  {} ms", now_ms.saturating_sub(at_ms)));
            vec![
                format!("{head}  {source}{}", took.unwrap_or_default()),
                format!("< {}", one_line(&text, 2_000)),
            ]
        }
        Some("delivery") => {
            let state = payload["state"].as_str().unwrap_or("?");
            let error = payload["error"]["message"].as_str();
            let error = error.map(|error| format!(": {}", one_line(error, 300)));
            vec![format!("{head}  {state}{}", error.unwrap_or_default())]
        }
        _ => vec![format!("{head}  {}", one_line(&payload.to_string(), 300))],
    }
}

/// Whom lines are for, by kind: the instances that serve it.
pub(super) type Places = Vec<(String, String)>;

/// Publishes what is typed until the input ends. True: whoever typed wants to end.
pub(super) fn type_in(
    connect: &ConnectArgs,
    places: &Places,
    replay: Option<&Path>,
    open: &Arc<Open>,
) -> Result<bool, Failure> {
    let mut client = Client::connect_as(connect, NAME)?;
    if let Some(path) = replay {
        for recorded in tape::read(path)? {
            publish(&mut client, &recorded.topic, recorded.event, open)?;
        }
    }
    let mut place = places.first().cloned();
    for line in input().lines() {
        let line = line.map_err(|error| Failure::new("io", 74, format!("stdin: {error}")))?;
        let said = Said::read(&line);
        let (direction, text) = match said {
            Said::Nothing => continue,
            Said::Quit => {
                open.wait(LAST_ANSWERS);
                return Ok(true);
            }
            Said::To(name) => {
                // Asked each time: the config may have changed since.
                match There::look(&mut client).and_then(|there| there.place(name)) {
                    Ok((kind, instance)) => {
                        show(&format!("  lines are for {kind}.{instance}"));
                        place = Some((kind, instance));
                    }
                    Err(failure) => show(&failure.to_string()),
                }
                continue;
            }
            Said::Help => {
                show(HELP);
                continue;
            }
            Said::Unknown(word) => {
                show(&unknown(word, line.trim()).to_string());
                continue;
            }
            Said::Outbound(text) => ("outbound", text),
            Said::Inbound(text) => ("inbound", text),
        };
        let Some((kind, instance)) = &place else {
            show("no plugin here serves a channel: say /to kind.instance first");
            continue;
        };
        let topic = format!("plugin.{direction}.{kind}.{instance}");
        let event = json!({ "session_id": SESSION, "payload": { "text": text } });
        if let Err(failure) = publish(&mut client, &topic, event, open) {
            show(&failure.to_string());
        }
    }
    Ok(false)
}

fn publish(client: &mut Client, topic: &str, event: Value, open: &Open) -> Result<(), Failure> {
    let mut event = event;
    let mut random = [0_u8; 8];
    getrandom::fill(&mut random)
        .map_err(|error| Failure::new("internal", 70, format!("no randomness: {error}")))?;
    let id = format!("dev-{:016x}", u64::from_le_bytes(random));
    event["id"] = id.clone().into();
    // What comes from outside is not answered by an id.
    if topic.starts_with("plugin.outbound.") {
        open.asked(id.clone(), open.now_ms());
    }
    let params = PublishParams {
        topic: topic.to_owned(),
        event: to_raw_value(&event)
            .map_err(|error| Failure::usage(format!("the event is no JSON: {error}")))?,
        on_conflict: OnConflict::default(),
        ephemeral: false,
    };
    let result: Result<PublishResult, Failure> = client.call(method::BROKER_PUBLISH, &params);
    result.map(|_| ()).inspect_err(|_| {
        open.answered(&id);
    })
}

#[derive(Debug, PartialEq, Eq)]
enum Said<'a> {
    Nothing,
    Quit,
    Help,
    To(&'a str),
    /// What begins with a slash and is no word of ours.
    Unknown(&'a str),
    Outbound(&'a str),
    Inbound(&'a str),
}

impl<'a> Said<'a> {
    fn read(line: &'a str) -> Self {
        let line = line.trim();
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match (word, rest.trim()) {
            ("", _) => Self::Nothing,
            ("/quit", "") => Self::Quit,
            ("/help", "") => Self::Help,
            ("/to", name) => Self::To(name),
            ("/in", text) if !text.is_empty() => Self::Inbound(text),
            (word, _) if word.starts_with("//") => Self::Outbound(&line[1..]),
            (word, _) if word.starts_with('/') => Self::Unknown(word),
            _ => Self::Outbound(line),
        }
    }
}

/// Refuses a word; nothing of the line was sent.
fn unknown(word: &str, line: &str) -> Failure {
    let text = format!("expected text, /in text, /to kind.instance, /help or /quit, found {word}");
    Failure::usage(text).hint(format!("to send it as a text: /{line}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_text_or_a_word_with_a_slash() {
        assert_eq!(Said::read(" hi there "), Said::Outbound("hi there"));
        assert_eq!(Said::read("/in hello"), Said::Inbound("hello"));
        assert_eq!(Said::read("/to echo.two"), Said::To("echo.two"));
        assert_eq!(Said::read("/quit"), Said::Quit);
        assert_eq!(Said::read(""), Said::Nothing);
        assert_eq!(Said::read("/help"), Said::Help);
        assert_eq!(Said::read("/to"), Said::To(""));
        assert_eq!(Said::read("//start now"), Said::Outbound("/start now"));
        for word in ["/start", "/in", "/help", "/quit"] {
            let line = format!("{word} me");
            let is_known = word == "/in";
            let said = Said::read(&line);
            assert_eq!(said != Said::Unknown(word), is_known, "{said:?}");
        }
        assert_eq!(Said::read("/in"), Said::Unknown("/in"));
        let refused = unknown("/start", "/start me").to_string();
        assert!(
            refused.ends_with("found /start\n\nhint: to send it as a text: //start me"),
            "{refused}"
        );
    }

    #[test]
    fn a_line_names_the_instance_where_there_are_several() {
        let line: AdminLogParams = serde_json::from_str(
            r#"{"plugin":"hello","instance":"one","stream":"broker","at":"","line":"exited with code 0"}"#,
        )
        .unwrap();
        assert_eq!(speaker(&line, &[]), "hello/one");
        assert_eq!(speaker(&line, &["hello".to_owned()]), "hello");
    }

    #[test]
    fn a_reply_is_shown_with_its_text_and_how_long_it_took() {
        let open = Open::new();
        open.asked("q".to_owned(), 100);
        let shown: AdminEventParams = serde_json::from_str(
            r#"{"seq":2,"topic":"plugin.inbound.echo.default","event":{"source":"echo/default","correlation_id":"q","payload":{"text":"hi\u001bthere"}}}"#,
        )
        .unwrap();
        assert_eq!(
            render(&shown, &open, 104),
            [
                "  2 plugin.inbound.echo.default  echo/default  4 ms",
                "< hi there"
            ]
        );
        assert!(open.ids().is_empty());
    }
}
