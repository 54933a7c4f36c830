//! The network: one pool of connections for each of the two ways to resolve names.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder};
use rustls_platform_verifier::BuilderVerifierExt;
use tokio::time::Instant;
use tokio_rustls::rustls;
use trunkline_contract::error::{Code, Error};
use trunkline_patterns::address::{self, Refused};
use trunkline_patterns::retry::Reached;

use super::keep::{Keep, too_long};
use super::outside::{Answer, Asked, Later, Missed, Outside};

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(10);
/// How long an unused connection is kept: shorter than most servers do, so that few calls go out on
/// one that is just being closed.
const IDLE: Duration = Duration::from_secs(20);
/// Unused connections that are kept per host.
const IDLE_MAX: usize = 8;

/// Is the real outside.
pub(crate) struct Network {
    open: Client,
    guarded: Client,
    started: Instant,
}

impl Network {
    /// Makes the pools; nothing is connected yet.
    pub(crate) fn new() -> Result<Self, Error> {
        let failed = |error| {
            let text = format!("the HTTP client cannot be set up: {error}");
            Error::new(Code::Internal, text)
        };
        let open = client()?.build().map_err(failed)?;
        let guarded = client()?.dns_resolver(Arc::new(Public)).build();
        Ok(Self {
            open,
            guarded: guarded.map_err(failed)?,
            started: Instant::now(),
        })
    }
}

fn client() -> Result<ClientBuilder, Error> {
    Ok(Client::builder()
        .tls_backend_preconfigured(tls()?)
        .no_proxy()
        .redirect(Policy::none())
        .referer(false)
        .connect_timeout(CONNECT)
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(IDLE_MAX)
        .tcp_nodelay(true))
}

/// TLS with the certificates that this machine trusts; read once for all instances.
fn tls() -> Result<rustls::ClientConfig, Error> {
    static TLS: OnceLock<Result<rustls::ClientConfig, String>> = OnceLock::new();
    let made = TLS.get_or_init(|| {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider);
        let builder = builder
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let verified = builder.clone().with_platform_verifier();
        Ok(match verified {
            Ok(builder) => builder.with_no_client_auth(),
            // A small container has none: servers inside can be called all the same.
            Err(error) => {
                tracing::warn!(%error, "This machine trusts no certificate: no call by TLS will succeed.");
                builder
                    .with_root_certificates(rustls::RootCertStore::empty())
                    .with_no_client_auth()
            }
        })
    });
    made.clone().map_err(|error| {
        let text = format!("TLS cannot be set up: {error}");
        Error::new(Code::Internal, text)
    })
}

impl Outside for Network {
    fn send(&self, asked: Asked) -> Later<'_, Result<Answer, Missed>> {
        let client = if asked.is_guarded {
            &self.guarded
        } else {
            &self.open
        };
        Box::pin(send(client, asked))
    }

    fn wait(&self, wait: Duration) -> Later<'_, ()> {
        Box::pin(tokio::time::sleep(wait))
    }

    fn mono_ms(&self) -> u64 {
        crate::duration::in_ms(self.started.elapsed())
    }

    fn wall_ms(&self) -> u64 {
        crate::clock::now_ms()
    }
}

/// Sends a request once, and reads the answer.
async fn send(client: &Client, asked: Asked) -> Result<Answer, Missed> {
    let timeout = asked.timeout;
    let is_read = Arc::new(AtomicBool::new(asked.body.is_empty()));
    let mut request = client
        .request(asked.method, asked.url)
        .headers(asked.headers)
        .timeout(timeout);
    if !asked.body.is_empty() {
        let body = asked.body.body(is_read.clone());
        request = request.body(reqwest::Body::wrap(body));
    }
    let sent = request.send().await;
    let mut response = sent.map_err(|error| unanswered(&error, &is_read, timeout))?;
    let status = response.status().as_u16();
    let is_saved = asked.save.is_some();
    let from = response.remote_addr().map(|from| from.ip());
    let headers = std::mem::take(response.headers_mut());
    let missed = |reached, reason| Missed {
        reached,
        status: Some(status),
        reason,
        is_final: reached == Reached::Answered,
    };
    let too_long = |most| missed(Reached::Answered, too_long(status, most, is_saved));
    let said = response.content_length();
    let mut keep = Keep::begin(asked.save.as_ref(), status, said).map_err(too_long)?;
    while !keep.is_failed() {
        match response.chunk().await {
            Ok(Some(chunk)) => keep.add(&chunk).await.map_err(too_long)?,
            Ok(None) => break,
            Err(error) => {
                let reason = format!(
                    "was answered with {status}, then the answer broke off: {}",
                    causes(&error)
                );
                return Err(missed(Reached::Ambiguous, reason));
            }
        }
    }
    let (body, kept) = keep.end().await;
    Ok(Answer {
        status,
        headers,
        body,
        kept,
        from,
    })
}

/// Says how far a request came that has no answer.
fn unanswered(error: &reqwest::Error, is_read: &AtomicBool, timeout: Duration) -> Missed {
    let is_refused = source::<NotPublic>(error).is_some();
    let is_unsent = error.is_connect() || error.is_builder() || is_refused;
    // A body that was never asked for means that not even the head was written.
    let is_unsent = is_unsent || !is_read.load(Ordering::Acquire);
    let what = if error.is_timeout() && !error.is_connect() {
        format!("no answer within {timeout:?}")
    } else {
        causes(error)
    };
    let (reached, said) = if is_unsent {
        (Reached::NotSent, "was not sent")
    } else {
        (Reached::Ambiguous, "was sent, but not answered")
    };
    Missed {
        reached,
        status: None,
        reason: format!("{said}: {what}"),
        is_final: is_refused || error.is_builder(),
    }
}

fn source<T: std::error::Error + 'static>(error: &reqwest::Error) -> Option<&T> {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        // An I/O error keeps its own cause to itself.
        let inner = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        if let Some(found) = inner.and_then(|inner| inner.downcast_ref()) {
            return Some(found);
        }
        cause = error.source();
    }
    None
}

/// Writes the innermost cause: the outer ones repeat the URL, which may hold a secret.
fn causes(error: &reqwest::Error) -> String {
    let mut cause = std::error::Error::source(error);
    let mut text = "the request failed".to_owned();
    while let Some(error) = cause {
        text = error.to_string();
        cause = error.source();
    }
    text
}

/// Resolves names to public addresses: to these, and no others, is connected.
struct Public;

/// Says that a name leads to no public address.
#[derive(Debug)]
struct NotPublic(Refused);

impl std::fmt::Display for NotPublic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "expected a name with a public address, found {}", self.0)
    }
}

impl std::error::Error for NotPublic {}

impl Resolve for Public {
    fn resolve(&self, name: Name) -> Resolving {
        let found = async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let addresses = public(found.map(|address| address.ip()))?;
            Ok(Box::new(addresses.into_iter()) as Addrs)
        };
        Box::pin(found) as Pin<Box<dyn Future<Output = _> + Send>>
    }
}

/// Keeps the public ones of a name's addresses; that there are none is an error.
fn public(found: impl Iterator<Item = IpAddr>) -> Result<Vec<SocketAddr>, NotPublic> {
    let (mut kept, mut why) = (Vec::new(), None);
    for address in found {
        match address::refused(address) {
            None => kept.push(SocketAddr::new(address, 0)),
            Some(refused) => why = Some(refused),
        }
    }
    match why {
        Some(why) if kept.is_empty() => Err(NotPublic(why)),
        _ => Ok(kept),
    }
}
