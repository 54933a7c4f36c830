//! How a tool fails on purpose.

use std::error::Error as StdError;
use std::fmt;

/// Says that a tool could not do what it was asked to. It is an error value: return it as `Err`.
///
/// ```
/// use trunkline::{Json, Result, ToolError};
///
/// async fn refund(_arguments: Json) -> Result<()> {
///     Err(ToolError::new("the charge is too old").code("charge_too_old").into())
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolError {
    pub(crate) message: String,
    pub(crate) code: Option<String>,
    pub(crate) is_retryable: bool,
}

impl ToolError {
    /// Fails with a message for people and models.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            code: None,
            is_retryable: false,
        }
    }

    /// Names the failure for programs. A code of the catalogue, such as `not_found`, is the code of
    /// the error; any other stands in the detail of a `tool_failed`.
    pub fn code(mut self, code: impl Into<String>) -> Self {
        self.code = Some(code.into());
        self
    }

    /// Says that the same call may succeed later.
    pub fn retryable(mut self) -> Self {
        self.is_retryable = true;
        self
    }
}

impl fmt::Display for ToolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for ToolError {}
