//! JSON to Python objects: integers of any size exactly, no NaN.

use jiter::{PythonParse, StringCacheMode};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyBytes;

/// From this size on, orjson is quicker by more than the copy that it needs.
const LARGE_BYTES: usize = 4096;

/// Reads a JSON text.
#[pyfunction(name = "loads")]
pub(crate) fn decode<'py>(py: Python<'py>, text: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    let parse = PythonParse {
        cache_mode: StringCacheMode::All,
        ..PythonParse::default()
    };
    parse
        .python_parse(py, text)
        .map_err(|error| jiter::map_json_error(text, &error))
}

/// Reads a payload; a large one with orjson, where it is installed. `is_wide`: it holds an integer
/// that orjson would round.
pub(crate) fn payload<'py>(
    py: Python<'py>,
    text: &[u8],
    is_wide: bool,
) -> PyResult<Bound<'py, PyAny>> {
    static LOADS: PyOnceLock<Option<Py<PyAny>>> = PyOnceLock::new();
    if text.len() >= LARGE_BYTES && !is_wide {
        let import = || py.import("orjson")?.getattr("loads").map(Bound::unbind);
        if let Some(loads) = LOADS.get_or_init(py, || import().ok()) {
            return loads.bind(py).call1((PyBytes::new(py, text),));
        }
    }
    decode(py, text)
}
