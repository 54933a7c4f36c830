//! JSON to Python objects: integers of any size exactly, no NaN.

use jiter::{PythonParse, StringCacheMode};
use pyo3::prelude::*;

/// Reads a JSON text.
pub(crate) fn decode<'py>(py: Python<'py>, text: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    let parse = PythonParse {
        cache_mode: StringCacheMode::All,
        ..PythonParse::default()
    };
    parse
        .python_parse(py, text)
        .map_err(|error| jiter::map_json_error(text, &error))
}

/// Reads a JSON text: integers of any size exactly, no NaN.
#[pyfunction]
pub(crate) fn loads<'py>(py: Python<'py>, text: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    decode(py, text)
}
