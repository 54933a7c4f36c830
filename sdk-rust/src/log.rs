//! The log of an instance, kept by the broker.

use std::sync::Arc;

use serde_json::Map;
use trunkline_contract::rpc::{LogLevel, LogParams, method};

use crate::hub::Hub;
use crate::payload::Json;

/// Writes lines with fields to the instance's log; lines are lost while there is no link.
///
/// `tracing` and prints work too: what a plugin writes to stdout and stderr is its log.
#[derive(Clone)]
pub struct Log {
    hub: Arc<Hub>,
    fields: Map<String, Json>,
}

impl Log {
    pub(crate) fn new(hub: Arc<Hub>) -> Self {
        Self {
            hub,
            fields: Map::new(),
        }
    }

    /// Adds a field to the line.
    pub fn field(mut self, key: impl Into<String>, value: impl Into<Json>) -> Self {
        self.fields.insert(key.into(), value.into());
        self
    }

    /// Writes a line for finding mistakes.
    pub fn debug(self, message: impl Into<String>) {
        self.write(LogLevel::Debug, message.into());
    }

    /// Writes a line that is worth knowing.
    pub fn info(self, message: impl Into<String>) {
        self.write(LogLevel::Info, message.into());
    }

    /// Writes a line about something that was recovered from.
    pub fn warning(self, message: impl Into<String>) {
        self.write(LogLevel::Warn, message.into());
    }

    /// Writes a line that an operator must see.
    pub fn error(self, message: impl Into<String>) {
        self.write(LogLevel::Error, message.into());
    }

    #[cfg(feature = "host")]
    pub(crate) fn fields(mut self, fields: Map<String, Json>) -> Self {
        self.fields.extend(fields);
        self
    }

    pub(crate) fn write(self, level: LogLevel, message: String) {
        if let Some(link) = self.hub.link() {
            link.notify(
                method::LOG,
                &LogParams {
                    level,
                    message,
                    fields: self.fields,
                },
            );
        }
    }
}
