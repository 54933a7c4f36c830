//! Telegram's Bot API, as far as a bot that polls and answers needs it.
//!
//! From <https://core.telegram.org/bots/api>: "Authorizing your bot", "Making requests" (`ok`, `result`, `error_code`,
//! `description`, `parameters`), "`ResponseParameters`", "Getting updates" (`getUpdates`: `offset`, `limit`, `timeout`,
//! `allowed_updates`), "`Update`", "`getMe`", "`sendMessage`"; and from <https://core.telegram.org/bots/faq>: an
//! update stays until an offset beyond it is asked for, and there is one poller for a token.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use serde_json::{Value, json};

use super::stage::{Server, Stage, arguments, json_answer, number, text};

/// The most updates of one answer.
const LIMIT_MAX: i64 = 100;
/// The longest text of a message, in UTF-16 units as Telegram counts.
const TEXT_MAX: usize = 4_096;
/// The time of every message.
const DATE: u64 = 1_700_000_000;

/// A refusal that a test asks for.
#[derive(Debug, Clone, Default)]
pub struct Failure {
    /// The status, and the `error_code`.
    pub status: u16,
    /// What it says.
    pub description: String,
    /// Seconds to wait, as `parameters.retry_after`.
    pub retry_after: Option<u64>,
}

impl Failure {
    /// Too many requests: come again after so many seconds.
    pub fn flood(seconds: u64) -> Self {
        Self {
            status: 429,
            description: format!("Too Many Requests: retry after {seconds}"),
            retry_after: Some(seconds),
        }
    }

    fn answer(&self) -> Response {
        let mut body = json!({
            "ok": false, "error_code": self.status, "description": self.description,
        });
        if let Some(seconds) = self.retry_after {
            body["parameters"] = json!({ "retry_after": seconds });
        }
        json_answer(self.status, &body)
    }
}

/// A message that a bot sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// The chat.
    pub chat: String,
    /// Its text.
    pub text: String,
    /// The number it was given.
    pub message_id: u64,
}

#[derive(Debug, Default)]
struct Bot {
    updates: VecDeque<Value>,
    last_update: i64,
    last_message: u64,
    /// Counts polls: who came later takes the place of who waits.
    poll: u64,
    waiting: u64,
    calls: BTreeMap<String, u64>,
    conflicts: u64,
    failures: BTreeMap<String, VecDeque<Failure>>,
    sent: Vec<Sent>,
}

type Bots = BTreeMap<String, Bot>;

/// The servers of Telegram.
#[derive(Debug)]
pub struct Telegram {
    server: Server<Bots>,
    address: String,
}

impl Telegram {
    /// Starts it with bots of these tokens.
    pub fn start(tokens: &[&str]) -> Self {
        let bots = tokens
            .iter()
            .map(|token| ((*token).to_owned(), Bot::default()));
        let server = Server::start(bots.collect::<Bots>());
        let router = Router::new()
            .fallback(answer)
            .with_state(server.stage().clone());
        let address = server.http(router);
        Self { server, address }
    }

    /// The address that takes the place of `https://api.telegram.org`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Somebody writes to a bot; gives the number of the update.
    ///
    /// # Panics
    /// When there is no such bot.
    pub fn write(&self, token: &str, chat: i64, text: &str) -> i64 {
        self.change(token, |bot| {
            bot.last_update += 1;
            bot.last_message += 1;
            let who =
                json!({ "id": chat, "is_bot": false, "first_name": "Ada", "type": "private" });
            bot.updates.push_back(json!({
                "update_id": bot.last_update,
                "message": {
                    "message_id": bot.last_message, "date": DATE, "from": who, "chat": who,
                    "text": text,
                },
            }));
            bot.last_update
        })
    }

    /// The next call of a method by a bot is refused.
    ///
    /// # Panics
    /// When there is no such bot.
    pub fn fail(&self, token: &str, method: &str, failure: Failure) {
        self.change(token, |bot| {
            let failures = bot.failures.entry(method.to_owned()).or_default();
            failures.push_back(failure);
        });
    }

    /// Waits until a bot sent so many messages; gives them all.
    pub fn sent(&self, token: &str, count: usize) -> Vec<Sent> {
        self.wait(token, &format!("{count} messages"), |bot| {
            (bot.sent.len() >= count).then(|| bot.sent.clone())
        })
    }

    /// Waits until a bot asked for what comes after an update.
    pub fn confirmed(&self, token: &str, update: i64) {
        self.wait(token, &format!("update {update} to be confirmed"), |bot| {
            let first = bot.updates.front().map_or(i64::MAX, update_id);
            (bot.last_update >= update && first > update).then_some(())
        });
    }

    /// Waits until somebody polls for a bot and waits for updates.
    pub fn polled(&self, token: &str) {
        self.wait(token, "a poll", |bot| (bot.waiting > 0).then_some(()));
    }

    /// Waits until so many polls of a bot ended because of another one.
    pub fn conflicts(&self, token: &str, count: u64) {
        let what = format!("{count} conflicts");
        self.wait(token, &what, |bot| (bot.conflicts >= count).then_some(()));
    }

    /// How often a method was called for a bot.
    pub fn calls(&self, token: &str, method: &str) -> u64 {
        let look = |bots: &Bots| Some(*bots.get(token)?.calls.get(method)?);
        self.server.stage().look(look).unwrap_or(0)
    }

    fn change<R>(&self, token: &str, change: impl FnOnce(&mut Bot) -> R) -> R {
        let stage = self.server.stage();
        stage.change(|bots| change(bots.get_mut(token).expect("a bot has this token")))
    }

    fn wait<R>(&self, token: &str, what: &str, mut find: impl FnMut(&Bot) -> Option<R>) -> R {
        let what = format!("{what} of {token}");
        self.server.wait(&what, |bots| find(bots.get(token)?))
    }
}

fn update_id(update: &Value) -> i64 {
    update["update_id"].as_i64().unwrap_or_default()
}

fn good(result: &Value) -> Response {
    json_answer(200, &json!({ "ok": true, "result": result }))
}

fn bad(status: u16, description: &str) -> Response {
    let description = description.to_owned();
    let failure = Failure {
        status,
        description,
        retry_after: None,
    };
    failure.answer()
}

async fn answer(
    State(stage): State<Stage<Bots>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let path = uri.path().trim_start_matches('/').to_owned();
    let Some((token, method)) = path
        .strip_prefix("bot")
        .and_then(|rest| rest.split_once('/'))
    else {
        return bad(404, "Not Found");
    };
    let given = arguments(&uri, &headers, &body);
    let failure = stage.change(|bots| {
        let bot = bots.get_mut(token)?;
        *bot.calls.entry(method.to_owned()).or_default() += 1;
        Some(bot.failures.get_mut(method).and_then(VecDeque::pop_front))
    });
    match failure {
        None => return bad(401, "Unauthorized"),
        Some(Some(failure)) => return failure.answer(),
        Some(None) => {}
    }
    match method {
        "getMe" => {
            let id = token.split(':').next().unwrap_or_default();
            let id: u64 = id.parse().unwrap_or(1);
            good(&json!({
                "id": id, "is_bot": true, "first_name": "A bot", "username": format!("bot{id}_bot"),
            }))
        }
        "getUpdates" => updates(&stage, token, &given).await,
        "sendMessage" => stage.change(|bots| send(bots.get_mut(token), &given)),
        _ => bad(404, "Not Found"),
    }
}

/// Says that a poll waits, for as long as it does.
struct Waiting<'a>(&'a Stage<Bots>, &'a str);

impl<'a> Waiting<'a> {
    fn begin(stage: &'a Stage<Bots>, token: &'a str) -> Self {
        stage.change(|bots| {
            if let Some(bot) = bots.get_mut(token) {
                bot.waiting += 1;
            }
        });
        Self(stage, token)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.change(|bots| {
            if let Some(bot) = bots.get_mut(self.1) {
                bot.waiting -= 1;
            }
        });
    }
}

async fn updates(stage: &Stage<Bots>, token: &str, given: &BTreeMap<String, Value>) -> Response {
    let offset = number(given, "offset").unwrap_or(0);
    let limit = number(given, "limit").unwrap_or(LIMIT_MAX);
    let limit = limit.clamp(1, LIMIT_MAX) as usize;
    let timeout = number(given, "timeout").unwrap_or(0).max(0) as u64;
    let kinds: Vec<String> = match given.get("allowed_updates") {
        Some(Value::String(text)) => serde_json::from_str(text).unwrap_or_default(),
        Some(list) => serde_json::from_value(list.clone()).unwrap_or_default(),
        None => Vec::new(),
    };
    let poll = stage.change(|bots| {
        let Some(bot) = bots.get_mut(token) else {
            return 0;
        };
        // A negative one counts from the end, and forgets what is before.
        let first = if offset < 0 {
            bot.last_update + 1 + offset
        } else {
            offset
        };
        bot.updates.retain(|update| update_id(update) >= first);
        bot.updates.retain(|update| {
            kinds.is_empty() || kinds.iter().any(|kind| update.get(kind).is_some())
        });
        bot.poll += 1;
        bot.poll
    });
    let waiting = Waiting::begin(stage, token);
    let waited = stage.until(|bots| {
        let bot = bots.get(token)?;
        if bot.poll != poll {
            return Some(None);
        }
        let found: Vec<_> = bot.updates.iter().take(limit).cloned().collect();
        (!found.is_empty()).then_some(Some(found))
    });
    let waited = tokio::time::timeout(Duration::from_secs(timeout), waited).await;
    drop(waiting);
    match waited {
        Ok(Some(found)) => good(&json!(found)),
        Ok(None) => {
            stage.change(|bots| {
                if let Some(bot) = bots.get_mut(token) {
                    bot.conflicts += 1;
                }
            });
            bad(
                409,
                "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running",
            )
        }
        Err(_) => good(&json!([])),
    }
}

fn send(bot: Option<&mut Bot>, given: &BTreeMap<String, Value>) -> Response {
    let Some(bot) = bot else {
        return bad(401, "Unauthorized");
    };
    let (chat, words) = (text(given, "chat_id"), text(given, "text"));
    if chat.is_empty() {
        return bad(400, "Bad Request: chat_id is empty");
    }
    if words.trim().is_empty() {
        return bad(400, "Bad Request: message text is empty");
    }
    if words.encode_utf16().count() > TEXT_MAX {
        return bad(400, "Bad Request: message is too long");
    }
    bot.last_message += 1;
    let message_id = bot.last_message;
    let id: Value = chat
        .parse::<i64>()
        .map_or_else(|_| json!(chat), Value::from);
    let message = json!({
        "message_id": message_id, "date": DATE, "chat": { "id": id, "type": "private" },
        "text": words,
    });
    bot.sent.push(Sent {
        chat,
        text: words,
        message_id,
    });
    good(&message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{Answer, send};

    fn call(telegram: &Telegram, path: &str, body: &Value) -> (u16, Value) {
        let headers = [("content-type", "application/json")];
        let answer: Answer =
            send(&telegram.address, "POST", path, &headers, &body.to_string()).unwrap();
        (answer.status, serde_json::from_str(&answer.body).unwrap())
    }

    #[test]
    fn an_update_stays_until_an_offset_beyond_it_is_asked_for() {
        let telegram = Telegram::start(&["1:a", "2:b"]);
        let first = telegram.write("1:a", 42, "hi");
        let (status, answer) = call(&telegram, "/bot1:a/getUpdates", &json!({}));
        assert_eq!((status, &answer["ok"]), (200, &json!(true)));
        assert_eq!(answer["result"][0]["message"]["text"], "hi");
        telegram.write("1:a", 42, "there");
        let all = call(&telegram, "/bot1:a/getUpdates", &json!({ "offset": first })).1;
        assert_eq!(all["result"].as_array().unwrap().len(), 2);
        let limited = call(&telegram, "/bot1:a/getUpdates?limit=1", &json!({})).1;
        assert_eq!(limited["result"].as_array().unwrap().len(), 1);
        let later = json!({ "offset": first + 1, "allowed_updates": ["message"] });
        let rest = call(&telegram, "/bot1:a/getUpdates", &later).1;
        assert_eq!(rest["result"][0]["message"]["text"], "there");
        let other = call(&telegram, "/bot2:b/getUpdates", &json!({})).1;
        assert_eq!(other["result"], json!([]));
        telegram.confirmed("1:a", first);
    }

    #[test]
    fn a_second_poller_ends_the_first_with_a_conflict() {
        let telegram = Telegram::start(&["1:a"]);
        let wait = json!({ "timeout": 60 });
        let ended = std::thread::scope(|scope| {
            let first = scope.spawn(|| call(&telegram, "/bot1:a/getUpdates", &wait));
            telegram.polled("1:a");
            let second = call(&telegram, "/bot1:a/getUpdates", &json!({}));
            assert_eq!(second.0, 200);
            first.join().unwrap()
        });
        assert_eq!((ended.0, &ended.1["error_code"]), (409, &json!(409)));
        telegram.conflicts("1:a", 1);
    }

    #[test]
    fn refusals_have_their_code_and_when_to_come_again() {
        let telegram = Telegram::start(&["1:a"]);
        assert_eq!(call(&telegram, "/bot9:z/getMe", &json!({})).0, 401);
        assert_eq!(call(&telegram, "/bot1:a/nothing", &json!({})).0, 404);
        let say = json!({ "chat_id": 42, "text": "hello" });
        telegram.fail("1:a", "sendMessage", Failure::flood(3));
        let (status, flood) = call(&telegram, "/bot1:a/sendMessage", &say);
        assert_eq!(
            (status, &flood["parameters"]["retry_after"]),
            (429, &json!(3))
        );
        let empty = json!({ "chat_id": 42, "text": " " });
        assert_eq!(call(&telegram, "/bot1:a/sendMessage", &empty).0, 400);
        assert_eq!(call(&telegram, "/bot1:a/sendMessage", &say).0, 200);
        assert_eq!(telegram.sent("1:a", 1)[0].text, "hello");
        assert_eq!(telegram.calls("1:a", "sendMessage"), 3);
    }
}
