//! HTTPS and links over it, as somebody on an open network has them.
//!
//! The files in `tls/` were made once with openssl, for `trunkline.test`, `localhost` and 127.0.0.1, and are good
//! until 2126: an authority whose key was thrown away, a certificate of its own with its key, and a key that does
//! not fit. They guard nothing.

use std::io::{BufReader, Write};
use std::net::TcpStream;
use std::sync::Arc;

use serde_json::json;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tokio_tungstenite::tungstenite::client::{IntoClientRequest, client};

use crate::link::{ask, close_code, connect, hear};
use crate::operator::Home;
use crate::web::{Answer, Web, read_answer, until_closed};
use crate::{AGENT, CLIENT};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

const AUTHORITY: &str = include_str!("tls/authority.pem");
const FILES: [(&str, &str); 3] = [
    ("cert.pem", include_str!("tls/cert.pem")),
    ("key.pem", include_str!("tls/key.pem")),
    ("other-key.pem", include_str!("tls/other-key.pem")),
];

type Secured = StreamOwned<ClientConnection, TcpStream>;

fn home(key: &str) -> Home {
    let home = Home::new(&format!(
        "[http]\nlisten = \"0.0.0.0:0\"\ntls_cert = \"cert.pem\"\ntls_key = \"{key}\"\n\
         hosts = [\"trunkline.test\"]\n{CLIENT}"
    ));
    home.write("agent", AGENT);
    for (name, text) in FILES {
        home.write(name, text);
    }
    home
}

/// Shakes hands with whoever the authority vouches for as `name`.
fn secured(web: &Web, name: &'static str) -> std::io::Result<Secured> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(AUTHORITY.as_bytes()).expect("a certificate"))
        .expect("an authority");
    let config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(name).expect("a name");
    let mut session = ClientConnection::new(Arc::new(config), name).expect("a session");
    let mut stream = web.dial();
    while session.is_handshaking() {
        session.complete_io(&mut stream)?;
    }
    Ok(StreamOwned::new(session, stream))
}

fn send(web: &Web, line: &str, headers: &str, body: &str) -> Answer {
    let mut stream = secured(web, "trunkline.test").expect("the daemon is who it says");
    let length = body.len();
    let request = format!(
        "{line} HTTP/1.1\r\nHost: trunkline.test\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).expect("it reads");
    read_answer(&mut BufReader::new(stream))
}

/// Proves LN60: another address than loopback is served with TLS, and still to tokens alone.
#[test]
fn an_open_network_is_served_over_tls() {
    let home = home("key.pem");
    assert_eq!(home.run(&["config", "check"]).status, 0);
    let up = home.up();
    let address = std::fs::read_to_string(home.path().join(".trunkline/http.addr")).unwrap();
    assert!(address.starts_with("https://0.0.0.0:"), "{address}");
    let web = on_loopback(&home);

    assert_eq!(send(&web, "GET /healthz", "", "").status, 200);
    let event = json!({"topic": "agent.done", "payload": 1}).to_string();
    let json_type = "Content-Type: application/json\r\n";
    let refused = send(&web, "POST /v1/publish", json_type, &event);
    assert_eq!((refused.status, &*refused.code()), (401, "unauthorized"));
    let headers = format!("Authorization: Bearer {AGENT}\r\n{json_type}");
    let taken = send(&web, "POST /v1/publish", &headers, &event);
    assert_eq!(taken.status, 200, "{taken:?}");

    // Without TLS nothing is answered, and a name that the certificate does not have is not believed.
    let mut plain = web.dial();
    plain
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: trunkline.test\r\n\r\n")
        .unwrap();
    assert!(!until_closed(&mut plain).contains("HTTP/1.1"));
    assert!(secured(&web, "elsewhere.test").is_err());
    assert_eq!(up.stop(), 0);
}

/// Proves LN60: `/v1/link` over wss is the link that it is over ws.
#[test]
fn a_link_goes_over_tls() {
    let home = home("key.pem");
    let up = home.up();
    let web = on_loopback(&home);
    let mut request = "wss://trunkline.test/v1/link"
        .into_client_request()
        .unwrap();
    let bearer = format!("Bearer {AGENT}").parse().unwrap();
    request.headers_mut().insert("Authorization", bearer);
    let stream = secured(&web, "trunkline.test").unwrap();
    let (mut socket, _) = client(request, stream).unwrap();
    ask(&mut socket, 1, "connect", &connect(None));
    assert_eq!(hear(&mut socket)["result"]["source"], "client:agent");
    // Larger than a record of TLS, and than what a socket takes at once.
    let event = json!({"topic": "agent.done", "event": {"payload": "x".repeat(700_000)}});
    for id in 2..6 {
        ask(&mut socket, id, "broker.publish", &event);
    }
    for id in 2..6 {
        let answer = hear(&mut socket);
        assert_eq!(answer["id"], id, "{answer}");
        assert!(answer["result"]["seq"].is_u64(), "{answer}");
    }
    assert_eq!(up.stop(), 0);
    assert_eq!(close_code(&mut socket), Some(CloseCode::Away));
}

#[test]
fn a_certificate_that_cannot_be_used_is_refused_with_its_path() {
    for (key, named, problem) in [
        ("other-key.pem", "cert.pem", "does not fit its key"),
        ("cert.pem", "cert.pem", "no private key"),
    ] {
        let ran = home(key).run(&["up"]);
        assert_eq!(ran.status, 78, "{ran:?}");
        assert!(
            ran.stderr.contains(named) && ran.stderr.contains(problem),
            "{ran:?}"
        );
    }
}

fn on_loopback(home: &Home) -> Web {
    let mut web = Web::of(home);
    web.address = web.address.replace("0.0.0.0", "127.0.0.1");
    web
}
