//! Whoever calls tools: what generated clients are written against.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::ToolCall;
use crate::client::Client;
use crate::context::{Context, InstanceContext};

/// Calls tools: a client, the context of an instance or of a handler, or a reference to one.
///
/// `trunkline tools client --lang rust` writes clients that take one.
///
/// ```
/// use serde_json::json;
/// use trunkline::{ToolCall, ToolCaller};
///
/// fn refund(caller: &impl ToolCaller, charge: &str) -> ToolCall<bool> {
///     caller.call_tool("stripe.refund", json!({ "charge": charge }))
/// }
/// ```
pub trait ToolCaller {
    /// Calls a tool: set options on what this gives, then await it for the result.
    ///
    /// # Arguments
    /// * `name` - its full name, `<plugin>.<tool>`.
    /// * `arguments` - an object that fits its schema.
    fn call_tool<T: DeserializeOwned>(
        &self,
        name: impl Into<String>,
        arguments: impl Serialize,
    ) -> ToolCall<T>;
}

impl<C: ToolCaller + ?Sized> ToolCaller for &C {
    fn call_tool<T: DeserializeOwned>(
        &self,
        name: impl Into<String>,
        arguments: impl Serialize,
    ) -> ToolCall<T> {
        (**self).call_tool(name, arguments)
    }
}

macro_rules! callers {
    ($($caller:ty),+) => {$(
        impl ToolCaller for $caller {
            fn call_tool<T: DeserializeOwned>(
                &self,
                name: impl Into<String>,
                arguments: impl Serialize,
            ) -> ToolCall<T> {
                // The method of the type itself.
                <$caller>::call_tool(self, name, arguments)
            }
        }
    )+};
}

callers!(Client, Context, InstanceContext);

#[cfg(feature = "testing")]
callers!(crate::testing::TestBroker);
