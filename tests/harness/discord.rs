//! Discord's gateway and REST, as far as a bot that reads and answers messages needs them.
//!
//! From <https://discord.com/developers/docs>, version 10: "Gateway" (connection lifecycle, heartbeats, identifying,
//! `resume_gateway_url`, resuming, intents), "Gateway Events" (`Hello`, `Ready`, `Resumed`, `Reconnect`, `Invalid
//! Session`, `Message Create`), "Opcodes and Status Codes", "Create Message" (`nonce`, `enforce_nonce`), "Rate Limits".

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State, WebSocketUpgrade};
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use axum::routing::{get, post};
use serde_json::{Value, json};

use super::socket::{HasSockets, Id, Say, Sockets, speak};
use super::stage::{Server, Stage, arguments, credential, json_answer, pairs, text, with_header};

/// How often a client beats, in ms.
const HEARTBEAT_MS: u64 = 1_000;
/// The longest text of a message.
const TEXT_MAX: usize = 2_000;
const GUILD_MESSAGES: u64 = 1 << 9;
const MESSAGE_CONTENT: u64 = 1 << 15;

/// Where a socket came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// The address that everybody begins with.
    Gateway,
    /// The address that `READY` gave.
    Resume,
}

/// A message that a bot made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// The channel.
    pub channel: String,
    /// Its text.
    pub content: String,
    /// The id that it was given.
    pub id: String,
}

#[derive(Debug)]
struct Session {
    intents: u64,
    /// The dispatches, of which the first has number 1.
    events: Vec<Value>,
    socket: Option<Id>,
    is_over: bool,
}

#[derive(Debug, Default)]
struct Bot {
    sessions: BTreeMap<String, Session>,
    /// How each session was begun or gone on with, in order.
    logins: Vec<(Door, &'static str)>,
    made: Vec<(String, Made)>,
    floods: VecDeque<f64>,
    beats: u64,
}

#[derive(Debug)]
struct Peer {
    door: Door,
    token: Option<String>,
    beats: u64,
}

/// Everything that Discord knows.
#[derive(Debug, Default)]
struct World {
    sockets: Sockets,
    peers: BTreeMap<Id, Peer>,
    bots: BTreeMap<String, Bot>,
    resume_url: String,
    last: u64,
}

impl World {
    fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    fn close(&mut self, id: Id, code: u16, reason: &str) {
        self.sockets.say(id, Say::Close(code, reason.to_owned()));
    }

    /// Appends an event to a session, and says it where the session has a socket.
    fn dispatch(&mut self, token: &str, session_id: &str, kind: &str, d: &Value) {
        let bot = self.bots.get_mut(token);
        let Some(session) = bot.and_then(|bot| bot.sessions.get_mut(session_id)) else {
            return;
        };
        let s = session.events.len() + 1;
        let event = json!({ "op": 0, "s": s, "t": kind, "d": d });
        session.events.push(event.clone());
        if let Some(socket) = session.socket {
            self.sockets.say(socket, Say::Frame(event));
        }
    }

    fn identify(&mut self, id: Id, d: &Value) {
        let token = d["token"].as_str().unwrap_or_default().to_owned();
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        if peer.token.is_some() {
            return self.close(id, 4005, "Already authenticated.");
        }
        let (Some(bot), door) = (self.bots.get_mut(&token), peer.door) else {
            return self.close(id, 4004, "Authentication failed.");
        };
        let Some(intents) = d["intents"].as_u64() else {
            return self.close(id, 4013, "Invalid intent(s).");
        };
        peer.token = Some(token.clone());
        bot.logins.push((door, "identify"));
        let session_id = format!("session-{}", self.number());
        let session = Session {
            intents,
            events: Vec::new(),
            socket: Some(id),
            is_over: false,
        };
        let bot = self.bots.get_mut(&token).expect("it was there just now");
        bot.sessions.insert(session_id.clone(), session);
        let ready = json!({
            "v": 10, "user": { "id": "1", "username": "a bot", "bot": true }, "guilds": [],
            "session_id": session_id, "resume_gateway_url": self.resume_url,
            "application": { "id": "1", "flags": 0 },
        });
        self.dispatch(&token, &session_id, "READY", &ready);
    }

    fn resume(&mut self, id: Id, d: &Value) {
        let token = d["token"].as_str().unwrap_or_default().to_owned();
        let session_id = d["session_id"].as_str().unwrap_or_default().to_owned();
        let seq = d["seq"].as_u64().unwrap_or(u64::MAX) as usize;
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        if peer.token.is_some() {
            return self.close(id, 4005, "Already authenticated.");
        }
        let (Some(bot), door) = (self.bots.get_mut(&token), peer.door) else {
            return self.close(id, 4004, "Authentication failed.");
        };
        bot.logins.push((door, "resume"));
        let session = bot.sessions.get_mut(&session_id);
        let Some(session) = session.filter(|session| !session.is_over) else {
            let invalid = json!({ "op": 9, "d": false, "s": null, "t": null });
            self.sockets.say(id, Say::Frame(invalid));
            return;
        };
        let Some(missed) = session.events.get(seq..) else {
            return self.close(id, 4007, "Invalid seq.");
        };
        peer.token = Some(token.clone());
        for event in missed {
            self.sockets.say(id, Say::Frame(event.clone()));
        }
        if let Some(old) = session.socket.replace(id) {
            let reason = "Session is resumed elsewhere.".to_owned();
            self.sockets.say(old, Say::Close(4000, reason));
        }
        self.dispatch(&token, &session_id, "RESUMED", &json!({}));
    }

    /// The sessions of a bot that go on, and their sockets.
    fn sessions(&mut self, token: &str) -> Vec<(String, Option<Id>)> {
        let bot = self.bots.get(token).expect("a bot has this token");
        let live = bot.sessions.iter().filter(|(_, session)| !session.is_over);
        live.map(|(id, session)| (id.clone(), session.socket))
            .collect()
    }
}

impl HasSockets for World {
    fn sockets(&self) -> &Sockets {
        &self.sockets
    }

    fn sockets_mut(&mut self) -> &mut Sockets {
        &mut self.sockets
    }

    fn heard(&mut self, id: Id, frame: Option<Value>) {
        let Some(frame) = frame else {
            return self.close(id, 4002, "Decode error.");
        };
        let is_known = self.peers.get(&id).is_some_and(|peer| peer.token.is_some());
        match frame["op"].as_u64() {
            Some(1) => {
                let peer = self.peers.get_mut(&id).expect("it is open");
                peer.beats += 1;
                if let Some(bot) = peer
                    .token
                    .as_ref()
                    .and_then(|token| self.bots.get_mut(token))
                {
                    bot.beats += 1;
                }
                let ack = json!({ "op": 11, "d": null, "s": null, "t": null });
                self.sockets.say(id, Say::Frame(ack));
            }
            Some(2) => self.identify(id, &frame["d"]),
            Some(6) => self.resume(id, &frame["d"]),
            Some(3 | 4 | 8) if is_known => {}
            Some(3 | 4 | 8) => self.close(id, 4003, "Not authenticated."),
            _ => self.close(id, 4001, "Unknown opcode."),
        }
    }

    fn ended(&mut self, id: Id, code: Option<u16>) {
        self.peers.remove(&id);
        let sessions = self
            .bots
            .values_mut()
            .flat_map(|bot| bot.sessions.values_mut());
        for session in sessions.filter(|session| session.socket == Some(id)) {
            session.socket = None;
            // These two codes end the session as well.
            session.is_over |= matches!(code, Some(1000 | 1001));
        }
    }
}

/// The servers of Discord.
#[derive(Debug)]
pub struct Discord {
    server: Server<World>,
    address: String,
}

type Shared = (Stage<World>, Door);

impl Discord {
    /// Starts it with bots of these tokens.
    pub fn start(tokens: &[&str]) -> Self {
        let bots = tokens
            .iter()
            .map(|token| ((*token).to_owned(), Bot::default()));
        let server = Server::start(World {
            bots: bots.collect(),
            ..World::default()
        });
        let router = |door| {
            Router::new()
                .route("/", get(gateway))
                .route("/api/v10/channels/{channel}/messages", post(create))
                .with_state((server.stage().clone(), door))
        };
        let resume = server.http(router(Door::Resume));
        server
            .stage()
            .change(|discord| discord.resume_url = format!("ws://{resume}"));
        let address = server.http(router(Door::Gateway));
        Self { server, address }
    }

    /// The address that takes the place of `https://discord.com/api/v10`.
    pub fn api(&self) -> String {
        format!("http://{}/api/v10", self.address)
    }

    /// The address that takes the place of `wss://gateway.discord.gg`.
    pub fn gateway(&self) -> String {
        format!("ws://{}", self.address)
    }

    /// Somebody writes into a channel of a server that the bot is in.
    ///
    /// # Panics
    /// When there is no such bot.
    pub fn write(&self, token: &str, channel: &str, author: &str, content: &str) {
        self.server.stage().change(|discord| {
            let id = discord.number().to_string();
            for (session, _) in discord.sessions(token) {
                let intents = discord.bots[token].sessions[&session].intents;
                if intents & GUILD_MESSAGES == 0 {
                    continue;
                }
                let shown = if intents & MESSAGE_CONTENT == 0 {
                    ""
                } else {
                    content
                };
                let message = json!({
                    "id": id, "channel_id": channel, "guild_id": "5", "content": shown, "type": 0,
                    "author": { "id": author, "username": format!("user {author}") },
                });
                discord.dispatch(token, &session, "MESSAGE_CREATE", &message);
            }
        });
    }

    /// Asks a bot to connect again.
    pub fn reconnect(&self, token: &str) {
        let frame = json!({ "op": 7, "d": null, "s": null, "t": null });
        self.say(token, &Say::Frame(frame));
    }

    /// Tells a bot that its session is invalid; where it cannot be resumed it is over.
    pub fn invalidate(&self, token: &str, can_resume: bool) {
        let frame = json!({ "op": 9, "d": can_resume, "s": null, "t": null });
        self.say(token, &Say::Frame(frame));
        if !can_resume {
            self.forget(token);
        }
    }

    /// Forgets the sessions of a bot, as Discord does when it was away for long.
    pub fn forget(&self, token: &str) {
        self.server.stage().change(|discord| {
            let bot = discord.bots.get_mut(token).expect("a bot has this token");
            for session in bot.sessions.values_mut() {
                session.is_over = true;
            }
        });
    }

    /// Asks a bot for a heartbeat at once.
    pub fn ask_for_beat(&self, token: &str) {
        let frame = json!({ "op": 1, "d": null, "s": null, "t": null });
        self.say(token, &Say::Frame(frame));
    }

    /// Closes the sockets of a bot.
    pub fn close(&self, token: &str, code: u16) {
        self.say(token, &Say::Close(code, String::new()));
    }

    /// Cuts the sockets of a bot off.
    pub fn cut(&self, token: &str) {
        self.say(token, &Say::Cut);
    }

    fn say(&self, token: &str, say: &Say) {
        self.server.stage().change(|discord| {
            for (_, socket) in discord.sessions(token) {
                if let Some(socket) = socket {
                    discord.sockets.say(socket, say.clone());
                }
            }
        });
    }

    /// The next message of a bot is refused: too many, come again after so many seconds.
    pub fn flood(&self, token: &str, seconds: f64) {
        self.server.stage().change(|discord| {
            let bot = discord.bots.get_mut(token).expect("a bot has this token");
            bot.floods.push_back(seconds);
        });
    }

    /// Waits until a bot has logged in so many times; gives how, and where.
    pub fn logins(&self, token: &str, count: usize) -> Vec<(Door, &'static str)> {
        self.wait(token, &format!("{count} logins"), |bot| {
            (bot.logins.len() >= count).then(|| bot.logins.clone())
        })
    }

    /// Waits until a bot has a session with a socket.
    pub fn connected(&self, token: &str) {
        self.wait(token, "a session", |bot| {
            let mut sessions = bot.sessions.values();
            let is_there = sessions.any(|session| !session.is_over && session.socket.is_some());
            is_there.then_some(())
        });
    }

    /// Waits until a bot has no socket.
    pub fn gone(&self, token: &str) {
        self.wait(token, "no socket", |bot| {
            let mut sessions = bot.sessions.values();
            sessions
                .all(|session| session.socket.is_none())
                .then_some(())
        });
    }

    /// Waits for so many heartbeats in all.
    pub fn beats(&self, token: &str, count: u64) {
        let what = format!("{count} heartbeats");
        self.wait(token, &what, |bot| (bot.beats >= count).then_some(()));
    }

    /// How many heartbeats there were.
    pub fn beats_so_far(&self, token: &str) -> u64 {
        self.server
            .stage()
            .look(|discord| discord.bots[token].beats)
    }

    /// Waits until a bot made so many messages; gives them all.
    pub fn made(&self, token: &str, count: usize) -> Vec<Made> {
        self.wait(token, &format!("{count} messages"), |bot| {
            let made = bot.made.iter().map(|(_, made)| made.clone());
            (bot.made.len() >= count).then(|| made.collect())
        })
    }

    fn wait<R>(&self, token: &str, what: &str, mut find: impl FnMut(&Bot) -> Option<R>) -> R {
        let what = format!("{what} of {token}");
        self.server
            .wait(&what, |discord| find(discord.bots.get(token)?))
    }
}

async fn gateway(
    State((stage, door)): State<Shared>,
    uri: Uri,
    upgrade: WebSocketUpgrade,
) -> Response {
    let given = pairs(&uri);
    let is_ours = text(&given, "v") == "10" && text(&given, "encoding") == "json";
    upgrade.on_upgrade(move |socket| async move {
        let id = stage.change(|discord| {
            let id = discord.sockets.add();
            let peer = Peer {
                door,
                token: None,
                beats: 0,
            };
            discord.peers.insert(id, peer);
            if is_ours {
                let hello = json!({
                    "op": 10, "d": { "heartbeat_interval": HEARTBEAT_MS }, "s": null, "t": null,
                });
                discord.sockets.say(id, Say::Frame(hello));
            } else {
                discord.close(id, 4012, "Invalid API version.");
            }
            id
        });
        tokio::spawn(watch_beats(stage.clone(), id));
        speak(stage, id, socket).await;
    })
}

/// Ends a socket whose client does not beat.
async fn watch_beats(stage: Stage<World>, id: Id) {
    let mut beats = 0;
    loop {
        let beaten = stage.until(|discord| match discord.peers.get(&id) {
            Some(peer) if peer.beats > beats => Some(Some(peer.beats)),
            Some(_) => None,
            None => Some(None),
        });
        match tokio::time::timeout(Duration::from_millis(HEARTBEAT_MS * 3), beaten).await {
            Ok(Some(now)) => beats = now,
            Ok(None) => return,
            Err(_) => {
                stage.change(|discord| discord.close(id, 4009, "Session timed out."));
                return;
            }
        }
    }
}

async fn create(
    State((stage, _)): State<Shared>,
    Path(channel): Path<String>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let given = arguments(&uri, &headers, &body);
    let (content, nonce) = (text(&given, "content"), text(&given, "nonce"));
    let is_enforced = given.get("enforce_nonce") == Some(&json!(true)) && !nonce.is_empty();
    let token = credential(&headers, "Bot").unwrap_or_default();
    stage.change(|discord| {
        let id = discord.number().to_string();
        let Some(bot) = discord.bots.get_mut(token) else {
            return json_answer(401, &json!({ "message": "401: Unauthorized", "code": 0 }));
        };
        if let Some(seconds) = bot.floods.pop_front() {
            let answer = json_answer(
                429,
                &json!({
                    "message": "You are being rate limited.", "retry_after": seconds, "global": false,
                }),
            );
            let answer = with_header(answer, "retry-after", &seconds.ceil().to_string());
            return with_header(answer, "x-ratelimit-scope", "user");
        }
        if content.is_empty() {
            let text = "Cannot send an empty message";
            return json_answer(400, &json!({ "message": text, "code": 50_006 }));
        }
        if content.chars().count() > TEXT_MAX {
            return json_answer(400, &json!({ "message": "Invalid Form Body", "code": 50_035 }));
        }
        let known = bot.made.iter().find(|(known, _)| is_enforced && *known == nonce);
        let made = known.map(|(_, made)| made.clone());
        let made = made.unwrap_or_else(|| {
            let made = Made {
                channel,
                content,
                id,
            };
            bot.made.push((nonce.clone(), made.clone()));
            made
        });
        let answer = json!({
            "id": made.id, "channel_id": made.channel, "content": made.content, "nonce": nonce,
            "author": { "id": "1", "username": "a bot", "bot": true },
        });
        json_answer(200, &answer)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::client::WebSocket;
    use crate::http::send;

    const TOKEN: &str = "t0ken";

    /// Connects, and hears the hello.
    fn connect(url: &str) -> WebSocket {
        let mut socket = WebSocket::connect(&format!("{url}/?v=10&encoding=json")).unwrap();
        let hello = socket.frame().unwrap();
        assert_eq!(hello["op"], 10);
        assert!(hello["d"]["heartbeat_interval"].as_u64() > Some(0));
        socket
    }

    /// Identifies; gives the session and the address to resume at.
    fn identify(discord: &Discord) -> (WebSocket, Value) {
        let mut socket = connect(&discord.gateway());
        let intents = GUILD_MESSAGES | MESSAGE_CONTENT;
        let identify = json!({ "op": 2, "d": { "token": TOKEN, "intents": intents } });
        socket.say(&identify).unwrap();
        let ready = socket.frame().unwrap();
        assert_eq!((&ready["t"], &ready["s"]), (&json!("READY"), &json!(1)));
        (socket, ready["d"].clone())
    }

    fn resume(ready: &Value, seq: u64) -> WebSocket {
        let mut socket = connect(ready["resume_gateway_url"].as_str().unwrap());
        let d = json!({ "token": TOKEN, "session_id": ready["session_id"], "seq": seq });
        socket.say(&json!({ "op": 6, "d": d })).unwrap();
        socket
    }

    #[test]
    fn a_session_is_resumed_with_what_was_missed() {
        let discord = Discord::start(&[TOKEN]);
        let (mut socket, ready) = identify(&discord);
        discord.write(TOKEN, "7", "2", "one");
        assert_eq!(socket.frame().unwrap()["d"]["content"], "one");
        discord.cut(TOKEN);
        discord.gone(TOKEN);
        discord.write(TOKEN, "7", "2", "two");
        let mut socket = resume(&ready, 2);
        let missed = socket.frame().unwrap();
        assert_eq!(
            (&missed["s"], &missed["d"]["content"]),
            (&json!(3), &json!("two"))
        );
        assert_eq!(socket.frame().unwrap()["t"], "RESUMED");
        let logins = [(Door::Gateway, "identify"), (Door::Resume, "resume")];
        assert_eq!(discord.logins(TOKEN, 2), logins);
        let refused = resume(&ready, 99).frame().unwrap_err();
        assert!(refused.to_string().contains("4007"), "{refused}");
    }

    #[test]
    fn a_session_that_was_left_for_good_is_invalid() {
        let discord = Discord::start(&[TOKEN]);
        let (mut socket, ready) = identify(&discord);
        socket.close(1000).unwrap();
        discord.gone(TOKEN);
        let invalid = resume(&ready, 1).frame().unwrap();
        assert_eq!((&invalid["op"], &invalid["d"]), (&json!(9), &json!(false)));
    }

    #[test]
    fn what_is_wrong_has_its_code() {
        let discord = Discord::start(&[TOKEN]);
        let check = |frame: Value, code: &str| {
            let mut socket = connect(&discord.gateway());
            socket.say(&frame).unwrap();
            let closed = socket.frame().unwrap_err();
            assert!(closed.to_string().contains(code), "{closed}");
        };
        check(
            json!({ "op": 2, "d": { "token": "x", "intents": 0 } }),
            "4004",
        );
        check(json!({ "op": 2, "d": { "token": TOKEN } }), "4013");
        check(json!({ "op": 3, "d": {} }), "4003");
        check(json!({ "op": 99 }), "4001");
        let mut old = WebSocket::connect(&format!("{}/?v=6", discord.gateway())).unwrap();
        assert!(old.frame().unwrap_err().to_string().contains("4012"));
        // Who does not beat is closed.
        let silent = connect(&discord.gateway()).frame().unwrap_err();
        assert!(silent.to_string().contains("4009"), "{silent}");
    }

    #[test]
    fn a_beat_is_acknowledged_and_orders_are_given() {
        let discord = Discord::start(&[TOKEN]);
        let (mut socket, _) = identify(&discord);
        socket.say(&json!({ "op": 1, "d": 1 })).unwrap();
        assert_eq!(socket.frame().unwrap()["op"], 11);
        discord.reconnect(TOKEN);
        assert_eq!(socket.frame().unwrap()["op"], 7);
        discord.ask_for_beat(TOKEN);
        assert_eq!(socket.frame().unwrap()["op"], 1);
        discord.invalidate(TOKEN, true);
        assert_eq!(socket.frame().unwrap()["d"], true);
        discord.beats(TOKEN, 1);
    }

    #[test]
    fn a_message_is_made_once_for_a_nonce() {
        let discord = Discord::start(&[TOKEN]);
        let make = |token: &str, content: &str| {
            let bot = format!("Bot {token}");
            let headers = [
                ("content-type", "application/json"),
                ("authorization", bot.as_str()),
            ];
            let body = json!({ "content": content, "nonce": "n1", "enforce_nonce": true });
            let path = "/api/v10/channels/7/messages";
            let answer = send(&discord.address, "POST", path, &headers, &body.to_string()).unwrap();
            let retry = answer.header("retry-after").map(str::to_owned);
            (answer.status, retry, answer.body)
        };
        assert_eq!(make("other", "hello").0, 401);
        assert_eq!(make(TOKEN, "").0, 400);
        discord.flood(TOKEN, 0.3);
        let (status, retry, body) = make(TOKEN, "hello");
        assert_eq!((status, retry.as_deref()), (429, Some("1")));
        assert!(body.contains("0.3"), "{body}");
        let first = make(TOKEN, "hello");
        assert_eq!(first, make(TOKEN, "hello"));
        assert_eq!(discord.made(TOKEN, 1).len(), 1);
    }
}
