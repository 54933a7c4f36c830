//! The servers of connections that a test in the host language plays.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::json;
use trunkline_contract::error::{Code, Error};

use super::calls::unknown;
use super::input::{DurationIn, args};
use super::testing::within;
use crate::duration::IntoDuration;
use crate::payload::{Bytes, Json};
use crate::testing::TestBroker;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ServeArgs {
    url: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AcceptArgs {
    server: usize,
    #[serde(default = "within")]
    within: DurationIn,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NextArgs {
    conn: usize,
    after: u64,
    #[serde(default = "within")]
    within: DurationIn,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpectArgs {
    conn: usize,
    frame: Json,
    #[serde(default = "within")]
    within: DurationIn,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EndArgs {
    conn: usize,
    #[serde(default = "within")]
    within: DurationIn,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SendArgs {
    conn: usize,
    frame: Json,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CloseArgs {
    conn: usize,
    code: u16,
    reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TakeArgs {
    conn: usize,
    number: u64,
}

#[derive(Deserialize)]
struct OfConn {
    conn: usize,
}

/// Performs what waits for the plugin.
pub(super) async fn perform(
    broker: &Arc<TestBroker>,
    name: &str,
    text: &str,
) -> Result<Bytes, Error> {
    let failed = |text| Error::new(Code::Internal, text);
    match name {
        "socket.accept" => {
            let given: AcceptArgs = args(text)?;
            let within = given.within.into_duration()?;
            let conn = broker.socket_fake(given.server).look_for(within).await;
            let conn = conn.map_err(failed)?;
            let (url, headers) = (conn.url(), conn.headers());
            Bytes::encode(&json!({ "conn": conn.number(), "url": url, "headers": headers }))
        }
        "socket.next" => {
            let given: NextArgs = args(text)?;
            let within = given.within.into_duration()?;
            let conn = broker.socket_conn(given.conn)?;
            let found = conn.look_after(given.after, within).await;
            let (number, frame, left_ms) = found.map_err(failed)?;
            Bytes::encode(&json!({ "number": number, "frame": frame, "left_ms": left_ms }))
        }
        "socket.expect" => {
            let given: ExpectArgs = args(text)?;
            let within = given.within.into_duration()?;
            let conn = broker.socket_conn(given.conn)?;
            let found = conn.look_for_part(&given.frame, within).await;
            Bytes::encode(&found.map_err(failed)?)
        }
        "socket.expect_closed" => {
            let given: EndArgs = args(text)?;
            let within = given.within.into_duration()?;
            let conn = broker.socket_conn(given.conn)?;
            let (code, reason) = conn.look_for_end(within).await.map_err(failed)?;
            Bytes::encode(&json!({ "code": code, "reason": reason }))
        }
        other => Err(unknown(other)),
    }
}

/// Performs what does not wait.
pub(super) fn tell(broker: &TestBroker, name: &str, text: &str) -> Result<Bytes, Error> {
    let sockets = broker.outside().sockets();
    match name {
        "socket.serve" => {
            let number = sockets.add(&args::<ServeArgs>(text)?.url)?;
            return Bytes::encode(&number);
        }
        "socket.send" => {
            let given: SendArgs = args(text)?;
            sockets.send(given.conn, given.frame)?;
        }
        "socket.close" => {
            let given: CloseArgs = args(text)?;
            let conn = broker.socket_conn(given.conn)?;
            conn.try_close(given.code, &given.reason)?;
        }
        "socket.stall" => broker.socket_conn(args::<OfConn>(text)?.conn)?.stall(),
        "socket.take" => {
            let given: TakeArgs = args(text)?;
            broker.socket_conn(given.conn)?.take(given.number);
        }
        other => return Err(unknown(other)),
    }
    Ok(Bytes::default())
}
