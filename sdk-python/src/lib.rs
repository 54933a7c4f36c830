//! The extension module `trunkline._core`: `trunkline::host` for Python, and nothing else.
//!
//! The loop of the host language pulls: one eventfd wakes it, [`core::Core::drain`] gives what has
//! arrived, [`core::Core::complete`] takes what was decided. What a call means, its defaults and its
//! texts are the core's; how an author writes it is the Python package's.
//!
//! Invariants: no thread of the core holds a Python object or ever attaches to the interpreter, so
//! that nothing of it can meet an interpreter that is going away; whatever may wait releases the
//! GIL; all classes are frozen.

mod core;
mod error;
mod incoming;
mod read;
mod write;

use pyo3::prelude::*;

/// The core of Trunkline, as the package `trunkline` uses it; not meant for plugins.
#[pymodule]
mod _core {
    #[pymodule_export]
    use crate::core::Core;
    #[pymodule_export]
    use crate::error::{check_tool, codes, tool_schema};
    #[pymodule_export]
    use crate::incoming::Incoming;
    #[pymodule_export]
    use crate::read::decode;
    #[pymodule_export]
    use crate::write::dumps;
}
