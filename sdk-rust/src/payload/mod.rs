//! What events carry: JSON that is kept as text until somebody asks for a type.
//!
//! Invariants: a [`Bytes`] is one valid JSON text, so writing it into a frame is a copy; a number
//! that is not finite never becomes one (it would turn into `null` on the wire).

mod bytes;
mod finite;
mod members;
mod pointer;

pub use bytes::{Bytes, Json};
pub(crate) use members::Members;
pub(crate) use pointer::misfit;
