//! Slack with Socket Mode, as far as an app that reads and answers messages needs it.
//!
//! From <https://docs.slack.dev>: "Using Socket Mode" (`hello`, envelopes and their acknowledgement, `disconnect` with
//! `warning` and `refresh_requested`, several connections at once), "The Events API" (three seconds; `retry_attempt`,
//! `retry_reason`), "apps.connections.open", "chat.postMessage", "Rate limits" (`429`, `Retry-After`), "message event".

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{State, WebSocketUpgrade};
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use axum::routing::{get, post};
use serde_json::{Value, json};

use super::socket::{HasSockets, Id, Say, Sockets, speak};
use super::stage::{Server, Stage, arguments, credential, json_answer, pairs, text, with_header};

/// Within this time an envelope is acknowledged, or it is sent again.
const ACK_WITHIN: Duration = Duration::from_secs(3);
/// How many sockets an app may have open.
const SOCKETS_MAX: usize = 10;

/// A message that an app posted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Posted {
    /// The channel.
    pub channel: String,
    /// Its text.
    pub text: String,
    /// The name that it was given.
    pub ts: String,
}

/// What became of an envelope.
#[derive(Debug, Clone)]
struct Envelope {
    payload: Value,
    /// The sockets that it was sent over, latest last.
    sent: Vec<Id>,
    /// The socket that it was acknowledged over.
    acked: Option<Id>,
}

#[derive(Debug, Default)]
struct App {
    bot_token: String,
    tickets: Vec<String>,
    sockets: Vec<Id>,
    opened: u64,
    /// The code of each goodbye that the app said.
    goodbyes: Vec<Option<u16>>,
    envelopes: BTreeMap<String, Envelope>,
    posted: Vec<Posted>,
    floods: VecDeque<u64>,
}

/// Everything that Slack knows.
#[derive(Debug, Default)]
struct Workspace {
    sockets: Sockets,
    /// By app-level token.
    apps: BTreeMap<String, App>,
    last: u64,
}

impl Workspace {
    fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// Sends what was never sent, or went to a socket that is gone without being acknowledged.
    fn hand_out(&mut self) {
        for app in self.apps.values_mut() {
            let Some(socket) = app.sockets.last().copied() else {
                continue;
            };
            for (id, envelope) in &mut app.envelopes {
                let is_away = envelope
                    .sent
                    .last()
                    .is_some_and(|sent| app.sockets.contains(sent));
                if envelope.acked.is_none() && !is_away {
                    send(&mut self.sockets, id, envelope, socket, "network_error");
                }
            }
        }
    }
}

fn send(sockets: &mut Sockets, id: &str, envelope: &mut Envelope, socket: Id, why: &str) {
    let attempt = envelope.sent.len();
    let reason = if attempt == 0 { "" } else { why };
    let frame = json!({
        "type": "events_api", "envelope_id": id, "accepts_response_payload": false,
        "payload": envelope.payload, "retry_attempt": attempt, "retry_reason": reason,
    });
    sockets.say(socket, Say::Frame(frame));
    envelope.sent.push(socket);
}

impl HasSockets for Workspace {
    fn sockets(&self) -> &Sockets {
        &self.sockets
    }

    fn sockets_mut(&mut self) -> &mut Sockets {
        &mut self.sockets
    }

    fn heard(&mut self, id: Id, frame: Option<Value>) {
        let acked = frame.and_then(|frame| frame["envelope_id"].as_str().map(str::to_owned));
        let apps = &mut self.apps;
        let app = apps.values_mut().find(|app| app.sockets.contains(&id));
        if let (Some(app), Some(acked)) = (app, acked)
            && let Some(envelope) = app.envelopes.get_mut(&acked)
        {
            envelope.acked.get_or_insert(id);
        }
    }

    fn ended(&mut self, id: Id, code: Option<u16>) {
        for app in self.apps.values_mut() {
            if app.sockets.contains(&id) {
                app.sockets.retain(|socket| *socket != id);
                app.goodbyes.push(code);
            }
        }
        self.hand_out();
    }
}

/// The servers of Slack.
#[derive(Debug)]
pub struct Slack {
    server: Server<Workspace>,
    address: String,
}

impl Slack {
    /// Starts it with apps of these tokens: the app's, and the bot's.
    pub fn start(apps: &[(&str, &str)]) -> Self {
        let apps = apps.iter().map(|(app_token, bot_token)| {
            let app = App {
                bot_token: (*bot_token).to_owned(),
                ..App::default()
            };
            ((*app_token).to_owned(), app)
        });
        let server = Server::start(Workspace {
            apps: apps.collect(),
            ..Workspace::default()
        });
        let (listener, address) = server.bind();
        let router = Router::new()
            .route("/api/apps.connections.open", post(open))
            .route("/api/chat.postMessage", post(post_message))
            .route("/link/", get(link))
            .with_state((server.stage().clone(), address.clone()));
        server.spawn(async move {
            // It ends with the fake.
            axum::serve(listener, router).await.ok();
        });
        Self { server, address }
    }

    /// The address that takes the place of `https://slack.com/api`.
    pub fn url(&self) -> String {
        format!("http://{}/api", self.address)
    }

    /// Somebody writes into a channel that the app is in; gives the number of the event.
    ///
    /// # Panics
    /// When there is no such app.
    pub fn write(&self, app_token: &str, channel: &str, user: &str, text: &str) -> String {
        let stage = self.server.stage();
        let envelope_id = stage.change(|slack| {
            let number = slack.number();
            let ts = format!("1700000000.{number:06}");
            let event = json!({
                "type": "message", "channel": channel, "user": user, "text": text, "ts": ts,
                "event_ts": ts, "channel_type": "channel",
            });
            let payload = json!({
                "type": "event_callback", "team_id": "T1", "api_app_id": "A1", "event": event,
                "event_id": format!("Ev{number:04}"), "event_time": 1_700_000_000,
            });
            let envelope_id = format!("envelope-{number:04}");
            let app = slack
                .apps
                .get_mut(app_token)
                .expect("an app has this token");
            let envelope = Envelope {
                payload,
                sent: Vec::new(),
                acked: None,
            };
            app.envelopes.insert(envelope_id.clone(), envelope);
            slack.hand_out();
            envelope_id
        });
        let (app, id) = (app_token.to_owned(), envelope_id.clone());
        self.server.spawn(again_until_acked(stage.clone(), app, id));
        envelope_id
    }

    /// Waits until an envelope is acknowledged; gives how often it was sent.
    pub fn acked(&self, app_token: &str, envelope_id: &str) -> usize {
        self.wait(
            app_token,
            &format!("{envelope_id} to be acknowledged"),
            |app| {
                let envelope = app.envelopes.get(envelope_id)?;
                envelope.acked.map(|_| envelope.sent.len())
            },
        )
    }

    /// Waits until an app has opened so many sockets in all, and has one.
    pub fn opened(&self, app_token: &str, count: u64) {
        self.wait(app_token, &format!("{count} sockets"), |app| {
            (app.opened >= count && !app.sockets.is_empty()).then_some(())
        });
    }

    /// Waits until so many sockets of an app have ended; gives the code of each goodbye that it said.
    pub fn ended(&self, app_token: &str, count: usize) -> Vec<Option<u16>> {
        self.wait(app_token, &format!("{count} sockets to end"), |app| {
            (app.goodbyes.len() >= count).then(|| app.goodbyes.clone())
        })
    }

    /// Tells all sockets of an app that they will be closed: `warning` or `refresh_requested`.
    pub fn disconnect(&self, app_token: &str, reason: &str) {
        let frame = json!({
            "type": "disconnect", "reason": reason, "debug_info": { "host": "applink-1" },
        });
        self.say(app_token, &Say::Frame(frame));
    }

    /// Cuts all sockets of an app off.
    pub fn cut(&self, app_token: &str) {
        self.say(app_token, &Say::Cut);
    }

    fn say(&self, app_token: &str, say: &Say) {
        self.server.stage().change(|slack| {
            let sockets = slack.apps.get(app_token).map(|app| app.sockets.clone());
            for socket in sockets.unwrap_or_default() {
                slack.sockets.say(socket, say.clone());
            }
        });
    }

    /// The next post of an app is refused: too many, come again after so many seconds.
    pub fn flood(&self, app_token: &str, seconds: u64) {
        self.server.stage().change(|slack| {
            if let Some(app) = slack.apps.get_mut(app_token) {
                app.floods.push_back(seconds);
            }
        });
    }

    /// Waits until an app posted so many messages; gives them all.
    pub fn posted(&self, app_token: &str, count: usize) -> Vec<Posted> {
        self.wait(app_token, &format!("{count} messages"), |app| {
            (app.posted.len() >= count).then(|| app.posted.clone())
        })
    }

    fn wait<R>(&self, app_token: &str, what: &str, mut find: impl FnMut(&App) -> Option<R>) -> R {
        let what = format!("{what} of {app_token}");
        self.server
            .wait(&what, |slack| find(slack.apps.get(app_token)?))
    }
}

/// Sends an envelope again that was not acknowledged in time.
async fn again_until_acked(stage: Stage<Workspace>, app_token: String, id: String) {
    loop {
        let find = |slack: &Workspace| slack.apps.get(&app_token)?.envelopes.get(&id).cloned();
        let sent = stage.until(|slack| {
            let count = find(slack)?.sent.len();
            (count > 0).then_some(count)
        });
        let sent = sent.await;
        let moved = stage.until(|slack| {
            let envelope = find(slack)?;
            (envelope.acked.is_some() || envelope.sent.len() > sent).then_some(envelope)
        });
        match tokio::time::timeout(ACK_WITHIN, moved).await {
            Ok(envelope) if envelope.acked.is_some() => return,
            Ok(_) => {}
            Err(_) => stage.change(|slack| {
                let Workspace { apps, sockets, .. } = slack;
                let app = apps.get_mut(&app_token);
                let parts =
                    app.map(|app| (app.sockets.last().copied(), app.envelopes.get_mut(&id)));
                if let Some((Some(socket), Some(envelope))) = parts {
                    send(sockets, &id, envelope, socket, "timeout");
                }
            }),
        }
    }
}

type Shared = (Stage<Workspace>, String);

fn refused(error: &str) -> Response {
    json_answer(200, &json!({ "ok": false, "error": error }))
}

async fn open(State((stage, address)): State<Shared>, headers: HeaderMap) -> Response {
    let Some(token) = credential(&headers, "Bearer") else {
        return refused("not_authed");
    };
    stage.change(|slack| {
        let ticket = format!("ticket-{}", slack.number());
        let Some(app) = slack.apps.get_mut(token) else {
            return refused("invalid_auth");
        };
        if app.sockets.len() >= SOCKETS_MAX {
            return refused("too_many_websockets");
        }
        let url = format!("ws://{address}/link/?ticket={ticket}&app_id=A1");
        app.tickets.push(ticket);
        json_answer(200, &json!({ "ok": true, "url": url }))
    })
}

async fn link(State((stage, _)): State<Shared>, uri: Uri, upgrade: WebSocketUpgrade) -> Response {
    let ticket = text(&pairs(&uri), "ticket");
    // An address is for one connection.
    let id = stage.change(|slack| {
        let app = slack.apps.values_mut().find_map(|app| {
            let at = app.tickets.iter().position(|known| *known == ticket)?;
            app.tickets.remove(at);
            Some(app)
        })?;
        let id = slack.sockets.add();
        app.sockets.push(id);
        app.opened += 1;
        let connections = app.sockets.len();
        let hello = json!({
            "type": "hello", "num_connections": connections,
            "connection_info": { "app_id": "A1" },
            "debug_info": { "host": "applink-1", "approximate_connection_time": 3_600 },
        });
        slack.sockets.say(id, Say::Frame(hello));
        slack.hand_out();
        Some(id)
    });
    match id {
        Some(id) => upgrade.on_upgrade(move |socket| speak(stage, id, socket)),
        None => json_answer(403, &json!({ "ok": false, "error": "invalid_ticket" })),
    }
}

async fn post_message(
    State((stage, _)): State<Shared>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let Some(token) = credential(&headers, "Bearer") else {
        return refused("not_authed");
    };
    let given = arguments(&uri, &headers, &body);
    let (channel, words) = (text(&given, "channel"), text(&given, "text"));
    stage.change(|slack| {
        let number = slack.number();
        let Some(app) = slack.apps.values_mut().find(|app| app.bot_token == token) else {
            return refused("invalid_auth");
        };
        if let Some(seconds) = app.floods.pop_front() {
            let answer = json_answer(429, &json!({ "ok": false, "error": "ratelimited" }));
            return with_header(answer, "retry-after", &seconds.to_string());
        }
        if channel.is_empty() {
            return refused("channel_not_found");
        }
        if words.is_empty() {
            return refused("no_text");
        }
        let ts = format!("1700000000.{number:06}");
        let message = json!({ "type": "message", "text": words, "ts": ts, "bot_id": "B1" });
        let answer = json!({ "ok": true, "channel": channel, "ts": ts, "message": message });
        app.posted.push(Posted {
            channel,
            text: words,
            ts,
        });
        json_answer(200, &answer)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::client::WebSocket;
    use crate::http::send;

    const ACME: &str = "xapp-1";

    fn call(slack: &Slack, method: &str, token: &str, body: &Value) -> (u16, Value) {
        let bearer = format!("Bearer {token}");
        let headers = [
            ("content-type", "application/json"),
            ("authorization", bearer.as_str()),
        ];
        let path = format!("/api/{method}");
        let answer = send(&slack.address, "POST", &path, &headers, &body.to_string()).unwrap();
        (answer.status, serde_json::from_str(&answer.body).unwrap())
    }

    fn connect(slack: &Slack) -> WebSocket {
        let (_, answer) = call(slack, "apps.connections.open", ACME, &json!({}));
        let mut socket = WebSocket::connect(answer["url"].as_str().unwrap()).unwrap();
        assert_eq!(socket.frame().unwrap()["type"], "hello");
        socket
    }

    #[test]
    fn an_address_is_given_to_an_app_for_one_connection() {
        let slack = Slack::start(&[(ACME, "xoxb-1")]);
        let (status, refused) = call(&slack, "apps.connections.open", "xapp-9", &json!({}));
        assert_eq!((status, &refused["error"]), (200, &json!("invalid_auth")));
        let (_, answer) = call(&slack, "apps.connections.open", ACME, &json!({}));
        let url = answer["url"].as_str().unwrap();
        let mut socket = WebSocket::connect(url).unwrap();
        assert_eq!(socket.frame().unwrap()["num_connections"], 1);
        assert!(WebSocket::connect(url).is_err());
    }

    #[test]
    fn an_envelope_comes_again_until_it_is_acknowledged() {
        let slack = Slack::start(&[(ACME, "xoxb-1")]);
        let mut socket = connect(&slack);
        let id = slack.write(ACME, "C1", "U1", "hi");
        let first = socket.frame().unwrap();
        assert_eq!(first["payload"]["event"]["text"], "hi");
        assert_eq!(
            (&first["envelope_id"], &first["retry_attempt"]),
            (&json!(id), &json!(0))
        );
        let again = socket.frame().unwrap();
        assert_eq!(again["retry_reason"], "timeout");
        assert_eq!(again["payload"], first["payload"]);
        slack.cut(ACME);
        let mut socket = connect(&slack);
        let again = socket.frame().unwrap();
        assert_eq!(again["retry_attempt"], 2);
        socket.say(&json!({ "envelope_id": id })).unwrap();
        assert_eq!(slack.acked(ACME, &id), 3);
    }

    #[test]
    fn a_socket_is_told_before_it_goes_and_another_one_takes_over() {
        let slack = Slack::start(&[(ACME, "xoxb-1")]);
        let mut old = connect(&slack);
        slack.disconnect(ACME, "refresh_requested");
        let told = old.frame().unwrap();
        assert_eq!(
            (&told["type"], &told["reason"]),
            (&json!("disconnect"), &json!("refresh_requested"))
        );
        let mut new = connect(&slack);
        old.close(1000).unwrap();
        assert_eq!(slack.ended(ACME, 1), [Some(1000)]);
        let id = slack.write(ACME, "C1", "U1", "hi");
        assert_eq!(new.frame().unwrap()["envelope_id"], id.as_str());
    }

    #[test]
    fn a_message_is_posted_or_refused_with_a_reason() {
        let slack = Slack::start(&[(ACME, "xoxb-1")]);
        let say = json!({ "channel": "C1", "text": "hello" });
        slack.flood(ACME, 7);
        assert_eq!(call(&slack, "chat.postMessage", "xoxb-1", &say).0, 429);
        let (_, refused) = call(
            &slack,
            "chat.postMessage",
            "xoxb-1",
            &json!({ "channel": "C1" }),
        );
        assert_eq!(refused["error"], "no_text");
        let (_, posted) = call(&slack, "chat.postMessage", "xoxb-1", &say);
        assert_eq!(slack.posted(ACME, 1)[0].ts, posted["ts"].as_str().unwrap());
    }
}
