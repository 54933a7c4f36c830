//! Python objects to JSON: what has no JSON form is refused, in the words of the core.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};
use serde::Serialize;
use trunkline::Bytes;

use crate::error::Refusal;

/// Levels of nesting that are written; the core refuses a payload long before.
const LEVELS_MAX: u32 = 120;

/// Writes a value as the arguments of a call.
pub(crate) fn encode(value: &Bound<'_, PyAny>) -> PyResult<Bytes> {
    let mut text = Vec::with_capacity(256);
    write(&mut text, value)
        .and_then(|()| Bytes::from_json(into_text(text)).map_err(Refusal::Core))
        .map_err(|refusal| refusal.into_exception(value.py()))
}

/// Gives what was written as text.
pub(crate) fn into_text(text: Vec<u8>) -> String {
    String::from_utf8(text).expect("only text was written")
}

/// Appends a value to a text.
pub(crate) fn write(out: &mut Vec<u8>, value: &Bound<'_, PyAny>) -> Result<(), Refusal> {
    any(out, value, LEVELS_MAX)
}

/// Appends a plain value, which always has a JSON form.
pub(crate) fn plain(out: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) {
    serde_json::to_writer(out, value).expect("a plain value has a JSON form");
}

fn any(out: &mut Vec<u8>, value: &Bound<'_, PyAny>, levels: u32) -> Result<(), Refusal> {
    // The exact types first: they are nearly all there is.
    if let Ok(text) = value.cast_exact::<PyString>() {
        return string(out, text);
    }
    if let Ok(dict) = value.cast_exact::<PyDict>() {
        return object(out, dict, levels);
    }
    if value.is_none() {
        out.extend_from_slice(b"null");
        return Ok(());
    }
    if let Ok(number) = value.cast_exact::<PyInt>() {
        return integer(out, number);
    }
    if let Ok(truth) = value.cast_exact::<PyBool>() {
        out.extend_from_slice(if truth.is_true() { b"true" } else { b"false" });
        return Ok(());
    }
    if let Ok(list) = value.cast_exact::<PyList>() {
        return array(out, list.iter(), levels);
    }
    if let Ok(number) = value.cast_exact::<PyFloat>() {
        return float(out, number.value());
    }
    if let Ok(tuple) = value.cast::<PyTuple>() {
        return array(out, tuple.iter(), levels);
    }
    subclass(out, value, levels)
}

/// Writes what is one of the types above by inheritance, such as members of an enum; asks the
/// package for what is not.
fn subclass(out: &mut Vec<u8>, value: &Bound<'_, PyAny>, levels: u32) -> Result<(), Refusal> {
    if let Ok(text) = value.cast::<PyString>() {
        return string(out, text);
    }
    if let Ok(number) = value.cast::<PyInt>() {
        return integer(out, number);
    }
    if let Ok(number) = value.cast::<PyFloat>() {
        return float(out, number.value());
    }
    if let Ok(dict) = value.cast::<PyDict>() {
        return object(out, dict, levels);
    }
    if let Ok(list) = value.cast::<PyList>() {
        return array(out, list.iter(), levels);
    }
    static PLAIN: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let py = value.py();
    let found = PLAIN
        .import(py, "trunkline._payload", "plain")?
        .call1((value,))?;
    if found.is(value) {
        let name = value.get_type().name()?;
        return Err(Refusal::payload(&format!(
            "expected a value that JSON has, found {name}"
        )));
    }
    any(out, &found, inner(levels)?)
}

/// Says how many levels are left inside.
fn inner(levels: u32) -> Result<u32, Refusal> {
    levels.checked_sub(1).ok_or_else(|| {
        let what =
            format!("expected at most {LEVELS_MAX} levels, found more, or a value in itself");
        Refusal::payload(&what)
    })
}

fn string(out: &mut Vec<u8>, text: &Bound<'_, PyString>) -> Result<(), Refusal> {
    if let Ok(text) = text.to_str() {
        plain(out, text);
        return Ok(());
    }
    // Half of a surrogate pair is no UTF-8. Escaped, the core refuses it where it stands.
    let py = text.py();
    let escaped = py.import("json")?.call_method1("dumps", (text,))?;
    out.extend_from_slice(escaped.extract::<String>()?.as_bytes());
    Ok(())
}

fn integer(out: &mut Vec<u8>, number: &Bound<'_, PyInt>) -> Result<(), Refusal> {
    if let Ok(small) = number.extract::<i64>() {
        plain(out, &small);
        return Ok(());
    }
    // A member of an enum has a text of its own: the number's is wanted.
    let py = number.py();
    let plain = py
        .get_type::<PyInt>()
        .call_method1("__index__", (number,))?;
    let digits = plain
        .str()
        .map_err(|error| Refusal::payload(&error.value(py).to_string()))?;
    out.extend_from_slice(digits.to_str()?.as_bytes());
    Ok(())
}

fn float(out: &mut Vec<u8>, number: f64) -> Result<(), Refusal> {
    if !number.is_finite() {
        return Err(Refusal::payload(&format!(
            "expected a finite number, found {number}"
        )));
    }
    plain(out, &number);
    Ok(())
}

fn object(out: &mut Vec<u8>, dict: &Bound<'_, PyDict>, levels: u32) -> Result<(), Refusal> {
    let levels = inner(levels)?;
    out.push(b'{');
    for (index, (key, value)) in dict.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        let Ok(key) = key.cast::<PyString>() else {
            let what = format!(
                "expected keys that are text, found {}",
                key.get_type().name()?
            );
            return Err(Refusal::payload(&what));
        };
        string(out, key)?;
        out.push(b':');
        any(out, &value, levels)?;
    }
    out.push(b'}');
    Ok(())
}

fn array<'py>(
    out: &mut Vec<u8>,
    items: impl Iterator<Item = Bound<'py, PyAny>>,
    levels: u32,
) -> Result<(), Refusal> {
    let levels = inner(levels)?;
    out.push(b'[');
    for (index, item) in items.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        any(out, &item, levels)?;
    }
    out.push(b']');
    Ok(())
}

/// Writes a value as a JSON text, as a payload is written.
#[pyfunction]
pub(crate) fn dumps<'py>(value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
    let mut text = Vec::with_capacity(256);
    write(&mut text, value).map_err(|refusal| refusal.into_exception(value.py()))?;
    Ok(PyBytes::new(value.py(), &text))
}
