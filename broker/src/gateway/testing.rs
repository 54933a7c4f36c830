//! The tree of paths without a socket, for tests that make requests themselves.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use tokio::sync::{mpsc, watch};
use trunkline_contract::limits::FRAME_BYTES_MAX;

use super::auth::Token;
use super::metrics::Insight;
use super::routes;
use super::server::Bound;
use super::state::{Gateway, Life};
use crate::clock::SystemClock;
use crate::config::{HttpConfig, Listen, McpNames, Scrape};
use crate::runtime::Broker;
use crate::supervisor::{LogLimits, Logs, OwnServers};

/// The tree, as long as it is held.
#[derive(Debug)]
pub struct TestHttp {
    router: Router,
    _life: watch::Sender<Life>,
    _names: watch::Sender<Arc<McpNames>>,
    _ended: mpsc::Receiver<()>,
}

/// Gives the settings as they are by default, for small bodies that come at once.
pub fn config() -> HttpConfig {
    HttpConfig {
        listen: Listen::Tcp(([127, 0, 0, 1], 7711).into()),
        tls: None,
        behind_proxy: true,
        trusted_proxies: Vec::new(),
        public_url: Some("https://bot.example.com".to_owned()),
        hosts: vec!["daemon.example.com".to_owned()],
        origins: vec!["https://console.example.com".to_owned()],
        connections_max: 16,
        connections_per_source_max: 16,
        header_timeout: Duration::from_secs(1),
        body_timeout: Duration::from_secs(1),
        header_bytes_max: 16 << 10,
        body_bytes_max: 4 << 10,
        metrics: Scrape::Token,
        required: Vec::new(),
        hooks_per_source_per_second: u32::MAX,
        hooks_per_second: None,
    }
}

impl TestHttp {
    /// Builds the tree around a broker. Needs a tokio runtime; `dir` is for the sockets and logs of plugins.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn start(broker: &Broker, owner: &str, config: HttpConfig, dir: &Path) -> io::Result<Self> {
        let (life, life_is) = watch::channel(Life::Serving);
        let (names, names_are) = watch::channel(Arc::default());
        let (alive, ended) = mpsc::channel(1);
        let logs = Logs::start(
            dir.join("logs"),
            LogLimits::default(),
            Arc::new(|text| text.into()),
            Arc::new(SystemClock::new()),
        )?;
        let Listen::Tcp(address) = config.listen else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        let gateway = Gateway::new(
            broker.clone(),
            Arc::new(OwnServers::new(dir)),
            config,
            names_are,
            FRAME_BYTES_MAX,
            Bound::Tcp {
                address,
                is_tls: false,
            },
            Insight::new(logs, Token::new(owner)),
            life_is,
            alive,
            1,
        );
        Ok(Self {
            router: routes::router(Arc::new(gateway)),
            _life: life,
            _names: names,
            _ended: ended,
        })
    }

    /// Answers a request as the daemon does; its address is one of an unknown peer.
    pub async fn answer(&self, request: Request<Body>) -> Response {
        let service = TowerToHyperService::new(self.router.clone());
        match service.call(request).await {
            Ok(answer) => answer,
            Err(never) => match never {},
        }
    }
}
