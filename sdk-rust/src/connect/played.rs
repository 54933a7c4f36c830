//! A connection to a server that a test plays: the frames, without a network.

use std::collections::BTreeMap;

use super::declare::Connect;
use super::form::{Received, decode, encode};
use super::socket::{Gone, Heard, Line, Say, Teller};
use super::stream::{Address, Protocol};
use super::{lines, sse, websocket};
use crate::payload::{Bytes, Json};
use crate::testing::outside::Fake;
use crate::testing::sockets::{Accepted, Answered, Call, Talk, Told};

/// What an attempt to connect says to the server.
pub(super) fn call(
    connect: &Connect,
    address: &Address,
    headers: &[(String, String)],
    cursor: Option<&str>,
) -> Call {
    let mut all = BTreeMap::new();
    if address.protocol != Protocol::Lines {
        let lower = |(name, value): &(String, String)| (name.to_ascii_lowercase(), value.clone());
        all.extend(headers.iter().map(lower));
    }
    match address.protocol {
        Protocol::WebSocket => {
            let offered = connect.subprotocols();
            all.extend(offered.map(|names| ("sec-websocket-protocol".to_owned(), names)));
        }
        Protocol::EventStream => {
            let last = cursor.and_then(sse::last_event_id);
            all.extend(last.map(|id| ("last-event-id".to_owned(), id)));
        }
        Protocol::Lines => {}
    }
    Call {
        uri: address.uri.clone(),
        headers: all,
    }
}

/// Carries frames between the plugin and the test; gives the line back where the server is a real one.
pub(super) async fn live(
    fake: &Fake,
    call: Call,
    protocol: Protocol,
    line: Line,
) -> Result<Gone, Line> {
    let Accepted { talk, told } = match fake.sockets().dial(call).await {
        Answered::Played(accepted) => accepted,
        Answered::Real => return Err(line),
        Answered::Over => return Ok(Gone::because("the test is over")),
    };
    let talk = Leaving(talk);
    let teller = line.teller();
    if !teller.tell(Heard::Opened).await {
        return Ok(Gone::because("closed here"));
    }
    let form = line.form;
    let reading = async {
        let mut told = told;
        let mut events = sse::Parser::new(form);
        while let Some(told) = told.recv().await {
            if talk.0.is_stalled() {
                continue;
            }
            match told {
                Told::Close(code, reason) => {
                    talk.0.note_end(code, &reason);
                    return Gone { code, reason };
                }
                Told::Frame(frame, work) => {
                    let work = std::sync::Arc::new(work);
                    for mut heard in read(&frame, protocol, form, &mut events) {
                        if let Heard::Frame(received) = &mut heard {
                            received.work = Some(work.clone());
                            teller.room().await;
                        }
                        if !teller.tell(heard).await {
                            return Gone::because("closed here");
                        }
                    }
                }
            }
        }
        std::future::pending().await
    };
    let writing = write(protocol, &talk.0, teller.clone(), line);
    tokio::pin!(reading, writing);
    Ok(tokio::select! {
        gone = &mut reading => gone,
        gone = &mut writing => gone,
    })
}

/// Notes that the plugin's side is gone.
struct Leaving(std::sync::Arc<Talk>);

impl Drop for Leaving {
    fn drop(&mut self) {
        self.0.note_end(None, "dropped by the plugin");
    }
}

/// Reads a frame of the test as the protocol would.
fn read(
    frame: &Json,
    protocol: Protocol,
    form: super::Form,
    events: &mut sse::Parser,
) -> Vec<Heard> {
    let bytes = |value: &Json| {
        let payload = Bytes::encode(value)?;
        encode(form, &payload)
    };
    if protocol == Protocol::EventStream {
        let members = frame.as_object();
        let is_event = members.is_some_and(|members| {
            let mut names = members.keys();
            members.contains_key("data")
                && names.all(|name| ["event", "id", "data", "retry"].contains(&name.as_str()))
        });
        let data = if is_event { &frame["data"] } else { frame };
        let mut text = Vec::new();
        for name in ["event", "id", "retry"].iter().filter(|_| is_event) {
            match &frame[*name] {
                Json::Null => {}
                Json::String(value) => text.extend(format!("{name}: {value}\n").into_bytes()),
                value => text.extend(format!("{name}: {value}\n").into_bytes()),
            }
        }
        for line in bytes(data).unwrap_or_default().split(|byte| *byte == b'\n') {
            text.extend([b"data: ", line, b"\n"].concat());
        }
        text.push(b'\n');
        return events.take(&text).unwrap_or_default();
    }
    let payload = match bytes(frame) {
        Ok(bytes) => decode(form, &bytes),
        Err(error) => Err((error, Bytes::encode(frame).unwrap_or_default())),
    };
    vec![Heard::Frame(Received::of(payload))]
}

/// Notes what the plugin says.
async fn write(protocol: Protocol, talk: &Talk, teller: Teller, mut line: Line) -> Gone {
    while let Some(say) = line.say.recv().await {
        match say {
            Say::Frame(bytes, done) => {
                let result = match protocol {
                    Protocol::WebSocket => websocket::checked(line.form, &bytes),
                    Protocol::EventStream => Err(sse::no_way_back()),
                    Protocol::Lines => lines::checked(&bytes),
                };
                if result.is_ok() {
                    talk.note(seen(line.form, &bytes));
                }
                if let Some(done) = done {
                    // Who waited may be gone.
                    drop(done.send(result));
                    teller.tell(Heard::Sent).await;
                }
            }
            Say::Ping if protocol == Protocol::WebSocket && !talk.is_stalled() => {
                teller.tell(Heard::Alive).await;
            }
            Say::Ping | Say::Flush => {}
            Say::Close(code, reason) => {
                let code = (protocol == Protocol::WebSocket).then_some(code);
                talk.note_end(code, reason);
                if !talk.is_stalled() {
                    let reason = reason.to_owned();
                    return Gone { code, reason };
                }
            }
        }
    }
    Gone::because("closed here")
}

/// A frame as the test compares it.
fn seen(form: super::Form, bytes: &[u8]) -> Json {
    let payload = match decode(form, bytes) {
        Ok(payload) | Err((_, payload)) => payload,
    };
    payload.json().unwrap_or_default()
}
