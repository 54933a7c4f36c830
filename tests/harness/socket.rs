//! The WebSockets of a fake: what is to be said over each is put into the state, and said in order.

use std::collections::{BTreeMap, VecDeque};

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use serde_json::Value;

use super::stage::Stage;

/// Names a socket.
pub type Id = u64;

/// What is to be done with a socket.
#[derive(Debug, Clone, PartialEq)]
pub enum Say {
    /// Says a frame.
    Frame(Value),
    /// Says goodbye with a code, and a reason.
    Close(u16, String),
    /// Cuts it off without a word.
    Cut,
}

/// The open sockets, each with what is still to be said.
#[derive(Debug, Default)]
pub struct Sockets {
    last: Id,
    open: BTreeMap<Id, VecDeque<Say>>,
}

impl Sockets {
    /// Adds one.
    pub fn add(&mut self) -> Id {
        self.last += 1;
        self.open.insert(self.last, VecDeque::new());
        self.last
    }

    /// Says something; false when it is not open any more.
    pub fn say(&mut self, id: Id, say: Say) -> bool {
        let found = self.open.get_mut(&id);
        let is_open = found.is_some();
        if let Some(orders) = found {
            orders.push_back(say);
        }
        is_open
    }

    /// Says whether it is open.
    pub fn is_open(&self, id: Id) -> bool {
        self.open.contains_key(&id)
    }
}

/// A state with sockets.
pub trait HasSockets {
    /// Gives them.
    fn sockets(&self) -> &Sockets;
    /// Gives them to be changed.
    fn sockets_mut(&mut self) -> &mut Sockets;
    /// Hears a frame; none where it is no JSON.
    fn heard(&mut self, id: Id, frame: Option<Value>);
    /// Learns that a socket ended, with the code of the other side's goodbye if there was one.
    fn ended(&mut self, id: Id, code: Option<u16>);
}

/// Speaks over a socket until one of the two sides has enough.
pub async fn speak<S: HasSockets>(stage: Stage<S>, id: Id, mut socket: WebSocket) {
    let code = loop {
        let next = stage.until(|state| {
            let orders = state.sockets().open.get(&id)?;
            orders.front().map(|_| ())
        });
        tokio::select! {
            () = next => {
                let say = stage.change(|state| state.sockets_mut().open.get_mut(&id)?.pop_front());
                match say {
                    Some(Say::Frame(frame)) => {
                        if socket.send(Message::text(frame.to_string())).await.is_err() {
                            break None;
                        }
                    }
                    Some(Say::Close(code, reason)) => {
                        let goodbye = CloseFrame { code, reason: reason.into() };
                        // Who is gone already needs no goodbye.
                        socket.send(Message::Close(Some(goodbye))).await.ok();
                        break None;
                    }
                    Some(Say::Cut) | None => break None,
                }
            }
            message = socket.recv() => match message {
                Some(Ok(Message::Text(text))) => {
                    let frame = serde_json::from_str(&text).ok();
                    stage.change(|state| state.heard(id, frame));
                }
                Some(Ok(Message::Binary(_))) => stage.change(|state| state.heard(id, None)),
                Some(Ok(Message::Close(goodbye))) => break goodbye.map(|goodbye| goodbye.code),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Err(_)) | None => break None,
            },
        }
    };
    stage.change(|state| {
        state.sockets_mut().open.remove(&id);
        state.ended(id, code);
    });
}
