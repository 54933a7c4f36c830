//! Plays a scenario's file against a plugin, and holds what is seen to what the file says.

use serde_json::json;
use trunkline_contract::error::{Code, Error};
use trunkline_contract::rpc::{KvListParams, KvListResult, KvScope, method};

use super::file::{Act, Answer, File, Route};
use super::lines::Server;
use crate::event::Event;
use crate::payload::Json;
use crate::testing::http::{HttpRoute, reply_of};
use crate::testing::outside::Reply;
use crate::testing::{Start, TestBroker};

/// Keys of an instance that are looked at in the end.
const KEYS_MAX: u32 = 200;

impl Start {
    /// Plays a scenario against the plugin; gives the transcript, which is what the file says.
    ///
    /// A scenario is a file of JSON: settings, what servers outside answer, steps with what is seen
    /// after each, and what is kept and given up in the end. The same file runs in every language, so
    /// a plugin that was written again is held to what the first one did.
    ///
    /// # Errors
    /// `invalid_arguments` for what is no scenario; `internal` where the first thing differs.
    ///
    /// # Panics
    /// As a test broker does, where a handler did what no plugin may.
    pub async fn play(self, scenario: &str) -> Result<Vec<Json>, Error> {
        let file = File::read(scenario)?;
        let mut config = file.config.clone();
        let server = match &file.lines {
            Some(setting) => {
                let (server, address) = Server::start().await?;
                config.insert(setting.clone(), Json::String(address));
                Some(server)
            }
            None => None,
        };
        let mut starting = self.config(Json::Object(config));
        if let Some(instances) = file.instances.clone() {
            starting = starting.instances(instances);
        }
        starting.features.clone_from(&file.features);
        let prefix = starting.source_prefix();
        let broker = starting.await;
        let routes = file.http.iter().map(|route| play_server(&broker, route));
        let mut player = Player {
            routes: routes.collect::<Result<_, _>>()?,
            heard: Vec::new(),
            prefix,
            server,
            broker,
        };
        player.play(&file).await
    }
}

fn play_server(broker: &TestBroker, route: &Route) -> Result<(HttpRoute, usize), Error> {
    let server = broker.http(&route.server);
    let played = server.on(&route.method, &route.path);
    for answer in &route.answers {
        let reply = match answer {
            Answer::Reply {
                status,
                headers,
                json,
                body,
            } => {
                let body = body.clone().unwrap_or_default().into_bytes();
                reply_of(*status, headers.clone(), json.as_ref(), body)?
            }
            Answer::Lost => Reply::lost(),
            Answer::Refused => Reply::refused(),
        };
        played.answers(reply)?;
    }
    Ok((played, 0))
}

struct Player {
    broker: TestBroker,
    /// The servers' routes, and how many of their requests were seen.
    routes: Vec<(HttpRoute, usize)>,
    server: Option<Server>,
    /// Lines that the server heard, and what tools answered.
    heard: Vec<Json>,
    prefix: String,
}

impl Player {
    async fn play(&mut self, file: &File) -> Result<Vec<Json>, Error> {
        let mut transcript = Vec::new();
        let mut is_killed = false;
        for (at, step) in file.steps.iter().enumerate() {
            self.act(&step.act).await?;
            // What a socket brings comes in its own time: it is looked at when its answer is there.
            // A plugin that was killed is back after a time that is not the clock's.
            is_killed = match step.act {
                Act::Kill(_) => true,
                Act::Advance(_) => false,
                _ => is_killed,
            };
            if is_killed || matches!(step.act, Act::Say(_)) {
                continue;
            }
            self.broker.settle().await;
            if let Some(complaint) = self.broker.complaint() {
                return Err(Error::new(Code::Internal, complaint));
            }
            let sees = self.look()?;
            same(&file.says, &format!("step {at}"), &sees, &step.sees)?;
            transcript.push(json!({ "step": at, "sees": sees }));
        }
        let letters = self.broker.dead_letters().await;
        let letters: Vec<_> = letters
            .iter()
            .map(|letter| {
                let event: Json = serde_json::from_str(letter.event.get()).unwrap_or_default();
                let of = letter
                    .origin
                    .clone()
                    .map_or_else(|| event["topic"].clone(), Json::from);
                json!({ "of": of, "reason": letter.reason, "code": letter.code })
            })
            .collect();
        same(&file.says, "dead letters", &letters, &file.dead_letters)?;
        let mut state = self.state().await?;
        for (key, expected) in &file.state {
            if let Some(found) = state.get_mut(key) {
                blind(found, expected);
            }
        }
        same(&file.says, "state", &state, &json!(file.state))?;
        transcript.push(json!({ "dead_letters": letters, "state": state }));
        Ok(transcript)
    }

    async fn act(&mut self, act: &Act) -> Result<(), Error> {
        match act {
            Act::Publish {
                topic,
                payload,
                session,
                id,
            } => {
                let mut publish = self.broker.publish(topic, payload);
                if let Some(session) = session {
                    publish = publish.session(session);
                }
                if let Some(id) = id {
                    publish = publish.id(id);
                }
                publish.await?;
            }
            Act::Send {
                kind,
                message,
                to,
                instance,
                id,
            } => {
                let mut send = self.broker.send(kind, message).to(to);
                if let Some(instance) = instance {
                    send = send.instance(instance);
                }
                if let Some(id) = id {
                    send = send.id(id);
                }
                send.await?;
            }
            Act::Call { tool, arguments } => {
                let answer = self.broker.call_tool::<Json>(tool, arguments).await;
                self.heard.push(match answer {
                    Ok(result) => json!({ "result": result }),
                    Err(error) => json!({ "error": error.code, "message": error.message }),
                });
            }
            Act::Webhook(request) => {
                self.broker.provider_sends(request.clone()).await;
            }
            Act::Advance(by) => self.broker.advance(by.as_str()).await,
            Act::Restart => self.broker.restart().await,
            Act::Kill(at) => self.broker.kill(*at),
            Act::Accept => self.server()?.accept().await?,
            Act::Say(line) => self.server()?.say(line).await?,
            Act::Hear(line) => {
                let heard = self.server()?.hear(line).await?;
                self.heard
                    .extend(heard.into_iter().map(|line| json!({ "heard": line })));
            }
            Act::Drop => self.server()?.hang_up(),
            Act::Settle => {}
        }
        Ok(())
    }

    fn server(&mut self) -> Result<&mut Server, Error> {
        let missing = "expected \"lines\" in the scenario, which names the server's setting";
        self.server
            .as_mut()
            .ok_or_else(|| Error::new(Code::InvalidArguments, missing))
    }

    /// What was seen since the last look: events, then requests, then lines and results.
    fn look(&mut self) -> Result<Vec<Json>, Error> {
        let mut sees = Vec::new();
        for event in self.broker.take_published() {
            if event.source.starts_with(&self.prefix) && !event.topic.starts_with("plugin.part.") {
                sees.push(said(&event)?);
            }
        }
        for (route, seen) in &mut self.routes {
            let requests = route.requests();
            for request in &requests[*seen..] {
                let body = String::from_utf8_lossy(&request.body).into_owned();
                let body = serde_json::from_str(&body).unwrap_or(Json::String(body));
                let mut line = json!({ "request": format!("{} {}", request.method, request.url) });
                if body != "" {
                    line["body"] = body;
                }
                sees.push(line);
            }
            *seen = requests.len();
        }
        sees.append(&mut self.heard);
        Ok(sees)
    }

    /// What the instance keeps, of its engines too.
    async fn state(&self) -> Result<Json, Error> {
        let params = KvListParams {
            scope: KvScope::Instance,
            session: None,
            prefix: String::new(),
            after: None,
            limit: Some(KEYS_MAX),
            values: true,
        };
        let link = self.broker.first_link();
        let link = link.ok_or_else(|| Error::new(Code::Unavailable, "the plugin is not there"))?;
        let answer = link.call(method::KV_LIST, &params).await?;
        let listed: KvListResult = answer.parse()?;
        let mut state = serde_json::Map::new();
        for entry in listed.entries {
            let value = entry.value.as_ref().map_or("null", |value| value.get());
            let value = serde_json::from_str(value).expect("a kept value is JSON");
            state.insert(entry.key, value);
        }
        Ok(Json::Object(state))
    }
}

/// Makes `*` of all that the file leaves open.
fn blind(found: &mut Json, expected: &Json) {
    match (found, expected) {
        (found, Json::String(any)) if any == "*" => *found = Json::String(any.clone()),
        (Json::Object(found), Json::Object(expected)) => {
            for (key, expected) in expected {
                if let Some(found) = found.get_mut(key) {
                    blind(found, expected);
                }
            }
        }
        _ => {}
    }
}

fn said(event: &Event) -> Result<Json, Error> {
    let payload: Json = event.payload.json()?;
    let mut line = json!({ "event": event.topic, "id": event.id, "payload": payload });
    if let Some(session) = &event.session_id {
        line["session"] = json!(session);
    }
    Ok(line)
}

fn same<T: serde::Serialize>(
    says: &str,
    place: &str,
    found: &T,
    expected: &T,
) -> Result<(), Error> {
    let [found, expected] = [found, expected].map(|side| {
        let side = serde_json::to_value(side).expect("what was seen has a JSON form");
        serde_json::to_string_pretty(&side).expect("what was seen has a JSON form")
    });
    if found == expected {
        return Ok(());
    }
    let text = format!("{says} {place}: expected {expected}\nfound {found}");
    Err(Error::new(Code::Internal, text))
}
