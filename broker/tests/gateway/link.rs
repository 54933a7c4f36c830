//! `/v1/link`: a link over WebSocket, and the tokens that open it.

use std::io::{Read, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error as WsError, Message, WebSocket};

use trunkline_contract::envelope::rfc3339;

use crate::operator::{Home, signal};
use crate::web::{Stream, Web};
use crate::{AGENT, daemon};

type Socket<S = std::net::TcpStream> = WebSocket<S>;

fn link(web: &Web, token: Option<&str>) -> Result<Socket, String> {
    let mut request = format!("ws://{}/v1/link", web.address)
        .into_client_request()
        .expect("a request");
    if let Some(token) = token {
        let value = format!("Bearer {token}").parse().expect("a header");
        request.headers_mut().insert("Authorization", value);
    }
    let done = tokio_tungstenite::tungstenite::client::client(request, web.dial());
    done.map(|(socket, _)| socket)
        .map_err(|error| error.to_string())
}

/// Opens a link and says hello.
pub(crate) fn open(web: &Web, token: &str) -> Socket {
    let mut socket = link(web, Some(token)).expect("the token is good");
    ask(&mut socket, 1, "connect", &connect(None));
    let answer = hear(&mut socket);
    assert!(answer["result"].is_object(), "{answer}");
    socket
}

/// Asks over a link.
pub(crate) fn ask<S: Read + Write>(socket: &mut Socket<S>, id: u64, method: &str, params: &Value) {
    let frame = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
    let sent = socket.send(Message::text(frame.to_string()));
    sent.expect("the link is open");
}

/// Hears the next frame.
pub(crate) fn hear<S: Read + Write>(socket: &mut Socket<S>) -> Value {
    loop {
        match socket.read().expect("a message") {
            Message::Text(text) => return serde_json::from_str(&text).expect("a frame"),
            Message::Ping(_) | Message::Pong(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// Waits for the end of a link; gives what the daemon says of it.
pub(crate) fn close_code<S: Read + Write>(socket: &mut Socket<S>) -> Option<CloseCode> {
    loop {
        match socket.read() {
            Ok(Message::Close(frame)) => return frame.map(|frame| frame.code),
            Ok(_) => {}
            Err(WsError::ConnectionClosed | WsError::AlreadyClosed) => return None,
            Err(error) => panic!("{error}"),
        }
    }
}

/// The params of `connect`.
pub(crate) fn connect(token: Option<&str>) -> Value {
    let mut params =
        json!({"role": "client", "protocol": {"name": "trunkline", "min": "1.0", "max": "1.0"}});
    if let Some(token) = token {
        params["token"] = token.into();
    }
    params
}

/// Proves LN6 over WebSocket: a frame that is too large is answered with its code, and the link goes on.
#[test]
fn a_link_over_websocket_is_a_link() {
    let (_home, up, web) = daemon("");
    assert!(link(&web, Some("wrong")).unwrap_err().contains("401"));
    // Token in the header, or in the first frame.
    for (header, first) in [(Some(AGENT), None), (None, Some(AGENT))] {
        let mut socket = link(&web, header).unwrap();
        ask(&mut socket, 1, "connect", &connect(first));
        let answer = hear(&mut socket);
        assert_eq!(answer["result"]["source"], "client:agent", "{answer}");
        let huge = json!({"topic": "agent.done", "event": {"payload": "x".repeat(1 << 20)}});
        ask(&mut socket, 2, "broker.publish", &huge);
        let answer = hear(&mut socket);
        assert_eq!(
            answer["error"]["data"]["code"], "frame_too_large",
            "{answer}"
        );
        // Several frames in one message, the last without its newline.
        let frames = [3, 4].map(|id| {
            let params = json!({"topic": "agent.done", "event": {"payload": id}});
            json!({"jsonrpc": "2.0", "id": id, "method": "broker.publish", "params": params})
                .to_string()
        });
        socket.send(Message::text(frames.join("\n"))).unwrap();
        let mut ids = [0, 0].map(|_: u8| hear(&mut socket)["id"].as_u64().unwrap());
        ids.sort_unstable();
        assert_eq!(ids, [3, 4]);
        socket.send(Message::binary(vec![0])).unwrap();
        assert_eq!(close_code(&mut socket), Some(CloseCode::Unsupported));
    }
    let mut socket = link(&web, None).unwrap();
    ask(&mut socket, 1, "ping", &json!({}));
    assert_eq!(hear(&mut socket)["error"]["data"]["code"], "unauthorized");
    assert_eq!(close_code(&mut socket), Some(CloseCode::Policy));
    let mut socket = link(&web, Some(AGENT)).unwrap();
    ask(&mut socket, 1, "connect", &connect(None));
    hear(&mut socket);
    assert_eq!(up.stop(), 0);
    assert_eq!(close_code(&mut socket), Some(CloseCode::Away));
}

/// Proves S4: a token that is taken back ends what it opened at once; a rotation ends nothing.
#[test]
fn a_token_is_rotated_without_a_break_and_taken_back_at_once() {
    let home = Home::new("");
    let made: Vec<(String, String)> = (0..2)
        .map(|_| {
            let made = home.run(&["token", "--json"]).json();
            let text = |name: &str| made[name].as_str().unwrap().to_owned();
            (text("token"), text("sha256"))
        })
        .collect();
    let with = |hashes: &str| {
        let text = format!(
            "[http]\nlisten = \"127.0.0.1:0\"\n[[clients]]\nname = \"agent\"\ntoken_sha256 = [{hashes}]\n\
             scopes = [\"read:agent.>\", \"publish:agent.>\"]\n"
        );
        home.write("trunkline.toml", &text);
    };
    let (old, new) = (&made[0], &made[1]);
    with(&format!("{:?}", old.1));
    let up = home.up();
    let web = Web::of(&home);
    let bearer = format!("Bearer {}", old.0);
    let headers = [("Authorization", bearer.as_str())];
    let mut stream = web.follow("GET /v1/events", &headers, "");
    let mut socket = link(&web, Some(&old.0)).unwrap();
    ask(&mut socket, 1, "connect", &connect(None));
    hear(&mut socket);
    assert_eq!(web.get(&new.0, "/v1/tools").status, 401);

    with(&format!("{:?}, {:?}", old.1, new.1));
    up.signal(signal::HUP);
    up.wait_for("client agent changed");
    up.wait_for("config   reloaded");
    let event = json!({"topic": "agent.done", "payload": 1});
    for token in [&old.0, &new.0] {
        assert_eq!(web.post(token, "/v1/publish", &event).status, 200);
        assert_eq!(stream.next().unwrap().data["topic"], "agent.done");
    }
    ask(&mut socket, 2, "ping", &json!({}));
    assert!(hear(&mut socket)["result"].is_object());

    with(&format!("{:?}", new.1));
    up.signal(signal::HUP);
    check_ends(&mut stream, &mut socket);
    assert_eq!(web.post(&old.0, "/v1/publish", &event).status, 401);
    assert_eq!(web.post(&new.0, "/v1/publish", &event).status, 200);
    assert_eq!(up.stop(), 0);
}

/// What a token opened says why it ends, and ends.
fn check_ends(stream: &mut Stream, socket: &mut Socket) {
    let last = stream.next().expect("the stream says why it ends");
    assert_eq!(last.name, "error", "{last:?}");
    assert_eq!(last.data["error"]["code"], "unauthorized", "{last:?}");
    assert_eq!(stream.next(), None, "the stream ends");
    let last = hear(socket);
    assert_eq!(
        (&last["id"], &last["error"]["data"]["code"]),
        (&Value::Null, &json!("unauthorized"))
    );
    assert_eq!(close_code(socket), Some(CloseCode::Policy));
}

/// Proves LN60: what a token opened ends with it, in the midst of a quiet stream and a quiet link.
#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "a token ends by the clock on the wall"
)]
fn what_a_token_opened_ends_when_the_token_does() {
    let home = Home::new("[http]\nlisten = \"127.0.0.1:0\"\n");
    let made = home.run(&["token", "--json"]).json();
    let token = made["token"].as_str().unwrap();
    let up = home.up();
    let web = Web::of(&home);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let at = rfc3339(now.as_millis() as i64 + 6_000);
    home.write(
        "trunkline.toml",
        &format!(
            "[http]\nlisten = \"127.0.0.1:0\"\n[[clients]]\nname = \"agent\"\ntoken_sha256 = [{{ hash = {}, \
             expires_at = \"{at}\" }}]\nscopes = [\"read:agent.>\", \"publish:agent.>\"]\n",
            made["sha256"]
        ),
    );
    up.signal(signal::HUP);
    up.wait_for("config   reloaded");
    let bearer = format!("Bearer {token}");
    let headers = [("Authorization", bearer.as_str())];
    let mut stream = web.follow("GET /v1/events", &headers, "");
    let mut socket = link(&web, Some(token)).unwrap();
    ask(&mut socket, 1, "connect", &connect(None));
    assert!(hear(&mut socket)["result"].is_object());
    let event = json!({"topic": "agent.done", "payload": 1});
    assert_eq!(web.post(token, "/v1/publish", &event).status, 200);
    assert_eq!(stream.next().unwrap().data["topic"], "agent.done");

    check_ends(&mut stream, &mut socket);
    assert_eq!(web.post(token, "/v1/publish", &event).status, 401);
    assert!(link(&web, Some(token)).unwrap_err().contains("401"));
    assert_eq!(up.stop(), 0);
}

/// Proves LN60: a token that has an end is good until then.
#[test]
fn a_token_that_has_ended_is_none() {
    let home = Home::new("");
    let made = home.run(&["token", "--json"]).json();
    for (at, status) in [("2020-01-01T00:00:00Z", 401), ("2199-01-01T00:00:00Z", 200)] {
        home.write(
            "trunkline.toml",
            &format!(
                "[http]\nlisten = \"127.0.0.1:0\"\n[[clients]]\nname = \"agent\"\ntoken_sha256 = [{{ hash = {}, \
                 expires_at = \"{at}\" }}]\nscopes = [\"read:agent.>\"]\n",
                made["sha256"]
            ),
        );
        let up = home.up();
        let web = Web::of(&home);
        assert_eq!(
            web.get(made["token"].as_str().unwrap(), "/readyz").status,
            status
        );
        assert_eq!(up.stop(), 0);
    }
}
