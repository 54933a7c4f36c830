//! Progress of a start that takes long, such as a login by QR code.

use std::sync::Arc;

use serde::Serialize;
use trunkline_contract::rpc::{ProgressParams, method};

use crate::hub::Hub;

/// Collects what there is to tell, then tells it.
#[must_use = "nothing is told until `tell` is called"]
pub struct Progress {
    hub: Arc<Hub>,
    params: ProgressParams,
}

impl Progress {
    pub(crate) fn new(hub: Arc<Hub>) -> Self {
        Self {
            hub,
            params: ProgressParams::default(),
        }
    }

    /// Says how much is done, of how much.
    pub fn done(mut self, done: f64, total: f64) -> Self {
        (self.params.done, self.params.total) = (Some(done), Some(total));
        self
    }

    /// Adds data for a user interface, such as `{"qr": …}`.
    pub fn data(mut self, data: impl Serialize) -> Self {
        match serde_json::to_value(data) {
            Ok(data) => self.params.data = Some(data),
            Err(error) => tracing::warn!(%error, "The data of a progress has no JSON form."),
        }
        self
    }

    /// Tells the broker.
    pub fn tell(mut self, message: impl Into<String>) {
        self.params.message = message.into();
        if let Some(link) = self.hub.link() {
            link.notify(method::INSTANCE_PROGRESS, &self.params);
        }
    }
}
