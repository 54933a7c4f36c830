//! Who takes spans: a collector, in a build with the feature `otlp` and where the config names one.

use crate::config::BrokerConfig;
use crate::runtime::Broker;

#[cfg(feature = "otlp")]
pub(super) use super::otlp::Exporter;

/// Nobody takes spans in this build, and the config is refused that names somebody.
#[cfg(not(feature = "otlp"))]
#[derive(Debug)]
pub(super) enum Exporter {}

#[cfg(not(feature = "otlp"))]
impl Exporter {
    pub(super) fn take(&self, _span: crate::core::Span) {
        match *self {}
    }
}

/// Starts what the config asks for.
#[cfg(feature = "otlp")]
pub(super) fn start(config: &BrokerConfig, broker: &Broker) -> Option<Exporter> {
    let endpoint = config.otlp_endpoint.as_deref()?;
    match endpoint.parse() {
        Ok(endpoint) => Some(Exporter::start(&endpoint, broker.clone())),
        Err(error) => {
            tracing::error!(%error, endpoint, "Not an address.");
            None
        }
    }
}

/// Starts what the config asks for.
#[cfg(not(feature = "otlp"))]
pub(super) fn start(config: &BrokerConfig, _broker: &Broker) -> Option<Exporter> {
    debug_assert!(config.otlp_endpoint.is_none(), "refused by the config");
    None
}
