//! Bytes to frames, without I/O: where a frame ends, and whether its bytes are acceptable.
//!
//! [`Decoder`] cuts a byte stream into lines under a size limit; [`scan`] gives every reader, in
//! any language that uses this crate, the same verdict on a whole line.

mod decoder;
mod scan;

pub use decoder::{Decoder, Frame};
pub(crate) use scan::scan_text;
pub use scan::{Facts, Fault, FaultKind, scan};
