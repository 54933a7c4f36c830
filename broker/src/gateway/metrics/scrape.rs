//! The answer to a scrape: the core's numbers, in the caller's name, and the daemon's own.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use trunkline_contract::error::{Code, Error};
use trunkline_contract::rpc::Empty;
use trunkline_contract::rpc::metrics::AdminMetricsResult;
use trunkline_contract::rpc::{admin::InstanceStatus, method};

use crate::config::Scrape;
use crate::core::metrics::Families;
use crate::gateway::auth::{self, Token};
use crate::gateway::error::Failure;
use crate::gateway::state::Gateway;
use crate::supervisor::Logs;

use super::requests::Requests;
use super::table as t;
use super::{process, text};

/// Processes looked at in one scrape; what the further ones use is not told.
const PROCESSES_MAX: usize = 1024;

/// What the gateway knows of itself and of the daemon around it.
#[derive(Debug)]
pub struct Insight {
    /// Requests, counted.
    pub requests: Requests,
    /// Logs of instances.
    logs: Logs,
    /// In whose name an open scrape asks the core.
    owner: Token,
}

impl Insight {
    /// Begins to count.
    pub fn new(logs: Logs, owner: Token) -> Self {
        Self {
            requests: Requests::default(),
            logs,
            owner,
        }
    }
}

/// Answers `GET /metrics`.
pub(in crate::gateway) async fn scrape(
    State(gateway): State<Arc<Gateway>>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let token = match (gateway.config.metrics, auth::find(&headers)?) {
        (_, Some(token)) => token,
        (Scrape::Open, None) => gateway.insight.owner.clone(),
        (Scrape::Token, None) => auth::need(&headers)?,
    };
    let answer = gateway
        .ports
        .call(&token, method::ADMIN_METRICS, &Empty {})
        .await?;
    let mut core: AdminMetricsResult = serde_json::from_str(answer.get())
        .map_err(|error| Error::new(Code::Internal, format!("the core's answer: {error}")))?;
    let instances = gateway.broker.with(|core| core.instance_statuses()).await?;
    let mut own = Families::default();
    gateway.insight.requests.tell(&mut own);
    for (key, count) in gateway.insight.logs.suppressed() {
        let labels = [("plugin", &*key.plugin), ("instance", &*key.instance)];
        own.add(&t::SUPPRESSED, &labels, count as f64);
    }
    // Reading /proc is no I/O that waits, but many processes are many files.
    let own = tokio::task::spawn_blocking(move || {
        processes(&mut own, &instances);
        own
    })
    .await
    .map_err(|error| Error::new(Code::Internal, error.to_string()))?;
    core.families.extend(own.into_vec());
    let text = text::text(&core.families);
    Ok(([(CONTENT_TYPE, text::MEDIA_TYPE)], text).into_response())
}

fn processes(out: &mut Families, instances: &[InstanceStatus]) {
    for instance in instances.iter().take(PROCESSES_MAX) {
        let Some(usage) = instance.pid.and_then(process::usage) else {
            continue;
        };
        let labels = [
            ("plugin", instance.plugin.as_str()),
            ("instance", instance.instance.as_str()),
        ];
        out.add(&t::RESIDENT, &labels, usage.resident_bytes as f64);
        out.add(&t::CPU, &labels, usage.cpu_seconds);
    }
    if let Some(usage) = process::usage(std::process::id()) {
        out.add(&t::OWN_RESIDENT, &[], usage.resident_bytes as f64);
        out.add(&t::OWN_CPU, &[], usage.cpu_seconds);
    }
    if let Some(open) = process::open_fds() {
        out.add(&t::OWN_FDS, &[], open as f64);
    }
}
