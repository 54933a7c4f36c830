//! Errors of the core as exceptions: `trunkline._errors` has one class per code.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use trunkline::{Code, Error};

use crate::read::decode;

/// What cannot be written as JSON, or an exception on the way.
#[derive(Debug)]
pub(crate) enum Refusal {
    Core(Error),
    Python(PyErr),
}

impl From<PyErr> for Refusal {
    fn from(error: PyErr) -> Self {
        Self::Python(error)
    }
}

impl Refusal {
    /// Refuses a payload, in the words of the core.
    pub(crate) fn payload(what: &str) -> Self {
        Self::Core(trunkline::host::payload_error(what))
    }

    pub(crate) fn into_exception(self, py: Python<'_>) -> PyErr {
        match self {
            Self::Core(error) => raised(py, &error),
            Self::Python(error) => error,
        }
    }
}

/// Makes the exception of an error, as an object.
pub(crate) fn exception<'py>(py: Python<'py>, error: &Error) -> PyResult<Bound<'py, PyAny>> {
    static MAKE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let make = MAKE.import(py, "trunkline._errors", "from_core")?;
    let detail = match &error.detail {
        Some(detail) => decode(py, detail.to_string().as_bytes())?,
        None => py.None().into_bound(py),
    };
    make.call1((
        error.code.as_str(),
        &error.message,
        error.retry_after_ms,
        detail,
    ))
}

/// Makes the exception of an error, to be raised.
pub(crate) fn raised(py: Python<'_>, error: &Error) -> PyErr {
    exception(py, error).map_or_else(|error| error, PyErr::from_value)
}

/// Gives the catalogue: code, whether a retry may help, exit status.
#[pyfunction]
pub(crate) fn codes() -> Vec<(&'static str, bool, u8)> {
    let row = |code: &Code| (code.as_str(), code.retryable(), code.exit_code());
    Code::ALL.iter().map(row).collect()
}

/// Checks what is known of a tool when it is registered.
#[pyfunction]
pub(crate) fn check_tool(py: Python<'_>, name: &str, has_input: bool) -> PyResult<()> {
    trunkline::host::check_tool(name, has_input).map_err(|error| raised(py, &error))
}

/// Gives the form of a schema that was made of types; the core says what is wrong with it.
#[pyfunction]
pub(crate) fn tool_schema(
    py: Python<'_>,
    name: &str,
    of_output: bool,
    schema: &str,
) -> PyResult<String> {
    trunkline::host::tool_schema(name, of_output, schema).map_err(|error| raised(py, &error))
}
