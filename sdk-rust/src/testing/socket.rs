//! A server of long-running connections, as a test plays it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use trunkline_contract::error::Error;

use super::broker::TestBroker;
use super::observer::includes;
use super::sockets::{Talk, Told};
use crate::duration::IntoDuration;
use crate::payload::Json;

/// Is a server of connections outside, as a test plays it.
///
/// A plugin that connects to it waits until its connection is accepted.
pub struct SocketFake<'a> {
    broker: &'a TestBroker,
    url: String,
    number: usize,
}

/// Is a connection of the plugin, from the other side.
pub struct SocketConn<'a> {
    broker: &'a TestBroker,
    number: usize,
    talk: Arc<Talk>,
}

impl TestBroker {
    /// Plays a server of connections. Nothing leaves the process: a plugin that connects to where
    /// nobody plays, but on this machine, fails the test as soon as the clock moves.
    ///
    /// # Arguments
    /// * `url` - its address, `wss:`, `https:`, `tls:` or `tcp:`; a path is the start of the paths it
    ///   serves. Where several fit, the one that was added last is connected to.
    ///
    /// # Panics
    /// When the address is none.
    pub fn socket(&self, url: impl Into<String>) -> SocketFake<'_> {
        let url = url.into();
        let number = self.outside().sockets().add(&url);
        SocketFake {
            broker: self,
            number: number.unwrap_or_else(|error| panic!("{error}")),
            url,
        }
    }

    /// Gives a server by its number.
    #[cfg(feature = "host")]
    pub(crate) fn socket_fake(&self, number: usize) -> SocketFake<'_> {
        SocketFake {
            broker: self,
            number,
            url: "this server".to_owned(),
        }
    }

    /// Gives a connection by its number.
    pub(crate) fn socket_conn(&self, number: usize) -> Result<SocketConn<'_>, Error> {
        let talk = self.outside().sockets().talk(number)?;
        Ok(SocketConn {
            broker: self,
            number,
            talk,
        })
    }
}

impl<'a> SocketFake<'a> {
    /// Waits for the plugin's next connection, and accepts it. The clock moves as long as none
    /// comes, at most by `within`.
    ///
    /// # Panics
    /// When none came.
    pub async fn accept(&self, within: impl IntoDuration) -> SocketConn<'a> {
        let within = within.into_duration().expect("a duration");
        let accepted = self.look_for(within).await;
        accepted.unwrap_or_else(|missed| panic!("{missed}"))
    }

    /// Accepts the plugin's next connection, if one comes while the clock moves by `within`.
    ///
    /// # Panics
    /// When the plugin did what fails a test.
    pub async fn try_accept(&self, within: impl IntoDuration) -> Option<SocketConn<'a>> {
        let broker = self.broker;
        let within = within.into_duration().expect("a duration");
        let accept = || broker.outside().sockets().accept(self.number);
        let accepted = broker.wait_until(within, accept).await;
        let (number, _) = accepted.unwrap_or_else(|complaint| panic!("{complaint}"));
        number.map(|number| {
            broker
                .socket_conn(number)
                .expect("it was accepted just now")
        })
    }

    /// The same as `accept`; that none came is an error.
    pub(crate) async fn look_for(&self, within: Duration) -> Result<SocketConn<'a>, String> {
        let broker = self.broker;
        let sockets = broker.outside().sockets();
        let accept = || sockets.accept(self.number);
        match broker.wait_until(within, accept).await?.0 {
            Some(number) => {
                let conn = broker.socket_conn(number);
                conn.map_err(|error| error.to_string())
            }
            None => Err(format!(
                "expected a connection to {} within {within:?}; {}",
                self.url,
                sockets.describe()
            )),
        }
    }
}

impl SocketConn<'_> {
    #[cfg(feature = "host")]
    pub(crate) fn number(&self) -> usize {
        self.number
    }

    /// Gives the address that the plugin asked for.
    pub fn url(&self) -> String {
        self.talk.call.uri.to_string()
    }

    /// Gives the headers of its request, their names in lower case: of an event stream,
    /// `last-event-id` is what it goes on from. Lines have none.
    pub fn headers(&self) -> &BTreeMap<String, String> {
        &self.talk.call.headers
    }

    /// Sends a frame: JSON, a text for frames of text and for lines, base64 for frames of bytes. On an
    /// event stream it is what the handler gets, `{event, id, data}`, with `retry` in milliseconds
    /// besides, or else the data alone.
    ///
    /// # Panics
    /// When the connection is not there any more, or more was sent than is read.
    pub fn send(&self, frame: impl Serialize) {
        let frame = serde_json::to_value(frame).expect("a frame has a JSON form");
        let sent = self.broker.outside().sockets().send(self.number, frame);
        sent.unwrap_or_else(|error| panic!("{error}"));
    }

    /// Waits for a frame of the plugin that has at least these members, and gives it. Each frame is
    /// given once. The clock moves as long as none comes, at most by `within`.
    ///
    /// # Panics
    /// When none came; the message says what came instead.
    pub async fn expect(&self, frame: impl Serialize, within: impl IntoDuration) -> Json {
        let asked = serde_json::to_value(frame).expect("a frame has a JSON form");
        let within = within.into_duration().expect("a duration");
        let found = self.look_for_part(&asked, within).await;
        found.unwrap_or_else(|missed| panic!("{missed}"))
    }

    /// The same; what was missed is an error.
    pub(crate) async fn look_for_part(
        &self,
        asked: &Json,
        within: Duration,
    ) -> Result<Json, String> {
        let fits = |frame: &Json| includes(frame, asked);
        self.look_for(&asked.to_string(), fits, within).await
    }

    /// Waits for a frame of the plugin that a function says yes to, and gives it.
    ///
    /// # Panics
    /// When none came; the message says what came instead.
    pub async fn expect_where(
        &self,
        fits: impl FnMut(&Json) -> bool,
        within: impl IntoDuration,
    ) -> Json {
        let within = within.into_duration().expect("a duration");
        let found = self.look_for("such a frame", fits, within).await;
        found.unwrap_or_else(|missed| panic!("{missed}"))
    }

    /// The same; what was missed is an error.
    async fn look_for(
        &self,
        what: &str,
        mut fits: impl FnMut(&Json) -> bool,
        within: Duration,
    ) -> Result<Json, String> {
        let talk = &self.talk;
        let look = || match talk.take(&mut fits) {
            Some(frame) => Some(Ok(frame)),
            None => talk.end().map(Err),
        };
        match self.broker.wait_until(within, look).await?.0 {
            Some(Ok(frame)) => Ok(frame),
            Some(Err(end)) => Err(format!(
                "expected {what} from the plugin, but the connection was {end}; {}",
                talk.describe()
            )),
            None => Err(format!(
                "expected {what} from the plugin within {within:?}; {}",
                talk.describe()
            )),
        }
    }

    /// Waits for any frame after a number; leaves it there. Gives how much of the time is left.
    #[cfg(feature = "host")]
    pub(crate) async fn look_after(
        &self,
        number: u64,
        within: Duration,
    ) -> Result<(u64, Json, u64), String> {
        let talk = &self.talk;
        let look = || match talk.after(number) {
            Some(found) => Some(Ok(found)),
            None => talk.end().map(Err),
        };
        match self.broker.wait_until(within, look).await? {
            (Some(Ok((number, frame))), left_ms) => Ok((number, frame, left_ms)),
            (Some(Err(end)), _) => Err(format!(
                "expected another frame from the plugin, but the connection was {end}; {}",
                talk.describe()
            )),
            (None, _) => Err(format!(
                "expected another frame from the plugin within {within:?}; {}",
                talk.describe()
            )),
        }
    }

    /// Takes what the plugin sent, by number.
    #[cfg(feature = "host")]
    pub(crate) fn take(&self, number: u64) {
        self.talk.remove(number);
    }

    /// Closes the connection: a WebSocket with this code and reason; a code below 1000 is none.
    ///
    /// # Panics
    /// When it is not there any more.
    pub fn close(&self, code: u16, reason: &str) {
        self.try_close(code, reason)
            .unwrap_or_else(|error| panic!("{error}"));
    }

    /// The same; that it is gone is an error.
    pub(crate) fn try_close(&self, code: u16, reason: &str) -> Result<(), Error> {
        let code = (code >= 1000).then_some(code);
        self.talk.tell(Told::Close(code, reason.to_owned()))
    }

    /// Falls silent: nothing arrives any more, and nothing is answered.
    pub fn stall(&self) {
        self.talk.stall();
    }

    /// Waits for the plugin to close the connection; gives the code, where there is one, and why.
    ///
    /// # Panics
    /// When it did not.
    pub async fn expect_closed(&self, within: impl IntoDuration) -> (Option<u16>, String) {
        let within = within.into_duration().expect("a duration");
        let closed = self.look_for_end(within).await;
        closed.unwrap_or_else(|missed| panic!("{missed}"))
    }

    /// The same; that it did not is an error.
    pub(crate) async fn look_for_end(
        &self,
        within: Duration,
    ) -> Result<(Option<u16>, String), String> {
        let look = || self.talk.ended();
        let ended = self.broker.wait_until(within, look).await?.0;
        ended.ok_or_else(|| format!("expected the connection to be closed within {within:?}"))
    }
}
