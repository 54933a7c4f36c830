//! Progress of a start that takes long, such as a login by QR code, or of a tool's call.

use std::sync::Arc;

use serde::Serialize;
use trunkline_contract::rpc::{ProgressParams, ToolProgressParams, method};

use crate::hub::Hub;
use crate::link::Link;

/// Collects what there is to tell, then tells it.
#[must_use = "nothing is told until `tell` is called"]
pub struct Progress {
    to: To,
    params: ProgressParams,
}

enum To {
    Start(Arc<Hub>),
    Call { link: Arc<Link>, call_id: String },
}

impl Progress {
    pub(crate) fn new(hub: Arc<Hub>) -> Self {
        Self {
            to: To::Start(hub),
            params: ProgressParams::default(),
        }
    }

    pub(crate) fn of_call(link: Arc<Link>, call_id: &str) -> Self {
        let call_id = call_id.to_owned();
        Self {
            to: To::Call { link, call_id },
            params: ProgressParams::default(),
        }
    }

    /// Says how much is done, of how much.
    pub fn done(mut self, done: f64, total: f64) -> Self {
        (self.params.done, self.params.total) = (Some(done), Some(total));
        self
    }

    /// Says what is known of how much is done, and of how much.
    #[cfg(feature = "host")]
    pub(crate) fn known(mut self, done: Option<f64>, total: Option<f64>) -> Self {
        (self.params.done, self.params.total) = (done, total);
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
        let message = message.into();
        match self.to {
            To::Start(hub) => {
                self.params.message = message;
                if let Some(link) = hub.link() {
                    link.notify(method::INSTANCE_PROGRESS, &self.params);
                }
            }
            To::Call { link, call_id } => {
                let params = ToolProgressParams {
                    call_id,
                    done: self.params.done,
                    total: self.params.total,
                    message: (!message.is_empty()).then_some(message),
                    data: self.params.data,
                };
                link.tell_progress(&params.call_id, &params);
            }
        }
    }
}
