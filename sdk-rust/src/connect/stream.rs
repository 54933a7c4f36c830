//! Addresses, and the streams to them: TCP, with TLS where the address asks for it.

use std::sync::{Arc, OnceLock};

use hyper::Uri;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, Error as TlsError};
use trunkline_contract::error::{Code, Error};

/// A stream of bytes both ways.
pub(super) trait Both: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Both for T {}
pub(super) type Stream = Box<dyn Both>;

/// What is spoken at an address.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    WebSocket,
    EventStream,
    Lines,
}

/// Where to connect to, and what is spoken there.
#[derive(Clone, Debug)]
pub(super) struct Address {
    pub(super) uri: Uri,
    pub(super) protocol: Protocol,
    host: String,
    port: u16,
    is_tls: bool,
}

impl Address {
    /// Reads a URL: `ws:`, `wss:`, `http:`, `https:`, `tcp:`, `tls:`.
    pub(super) fn parse(url: &str) -> Result<Self, Error> {
        let refused = || {
            let text = format!(
                "expected a url like \"wss://gateway.example.com/v1\", \"https://…\", \
                 \"tls://host:6697\" or \"tcp://host:port\", found {url:?}"
            );
            Error::new(Code::InvalidArguments, text)
        };
        let uri: Uri = url.parse().map_err(|_| refused())?;
        let (protocol, is_tls, port) = match uri.scheme_str() {
            Some("ws") => (Protocol::WebSocket, false, Some(80)),
            Some("wss") => (Protocol::WebSocket, true, Some(443)),
            Some("http") => (Protocol::EventStream, false, Some(80)),
            Some("https") => (Protocol::EventStream, true, Some(443)),
            Some("tcp") => (Protocol::Lines, false, None),
            Some("tls") => (Protocol::Lines, true, None),
            _ => return Err(refused()),
        };
        let host = uri.host().ok_or_else(refused)?;
        let host = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        let port = uri.port_u16().or(port).ok_or_else(refused)?;
        Ok(Self {
            uri,
            protocol,
            host,
            port,
            is_tls,
        })
    }

    /// Connects.
    pub(super) async fn open(&self) -> Result<Stream, Error> {
        let (host, port) = (&self.host, self.port);
        let broken = |what: &str| {
            let text = format!("{host}:{port} cannot be reached: {what}");
            Error::new(Code::Unavailable, text)
        };
        let tcp = TcpStream::connect((host.as_str(), port))
            .await
            .map_err(|error| broken(&error.to_string()))?;
        tcp.set_nodelay(true)
            .map_err(|error| broken(&error.to_string()))?;
        if !self.is_tls {
            return Ok(Box::new(tcp));
        }
        let name = ServerName::try_from(host.clone()).map_err(|_| broken("it is no host name"))?;
        let tls = connector()?.connect(name, tcp).await;
        Ok(Box::new(tls.map_err(|error| broken(&error.to_string()))?))
    }

    /// What the `Host` header says.
    pub(super) fn authority(&self) -> &str {
        let authority = self
            .uri
            .authority()
            .map_or("", |authority| authority.as_str());
        authority.rsplit('@').next().unwrap_or(authority)
    }
}

/// TLS as the system trusts it; `SSL_CERT_FILE` names other roots.
fn connector() -> Result<TlsConnector, Error> {
    static CONFIG: OnceLock<Result<Arc<ClientConfig>, TlsError>> = OnceLock::new();
    let config = CONFIG.get_or_init(|| {
        let provider = Arc::new(ring::default_provider());
        let verifier = rustls_platform_verifier::Verifier::new(provider.clone())?;
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        Ok(Arc::new(config))
    });
    match config {
        Ok(config) => Ok(TlsConnector::from(config.clone())),
        Err(error) => {
            let text = format!("TLS cannot be used: {error}");
            Err(Error::new(Code::Internal, text))
        }
    }
}
