//! Parts that belong together, collected until they are a whole.
//!
//! | concern | file |
//! |---|---|
//! | how long to wait, and how much to hold | `options` |
//! | what is known of one whole, and what the next part or the time does to it | `buffer` |
//! | what the function that gets the whole is told | `whole` |
//!
//! Pure: a buffer is data that a caller keeps, times come in as numbers. The caller keeps the parts
//! themselves; here only their heads are known. Invariants: a part counts once; a whole is made once;
//! whatever arrives, a buffer ends at `max_age` at the latest.
//!
//! ```
//! use trunkline_patterns::assembler::{Buffer, Head, Options, Step};
//!
//! let options = Options::default();
//! let mut buffer = Buffer::new("sender".into(), Some("message".into()), 0);
//! let head = |seq| Head { seq: Some(seq), total: Some(2), is_final: false, bytes: 10 };
//! assert!(matches!(buffer.add(&head(2), &options, 0), Step::Wait { .. }));
//! assert!(matches!(buffer.add(&head(2), &options, 5), Step::Repeat));
//! assert!(matches!(buffer.add(&head(1), &options, 9), Step::Whole(_)));
//! ```

mod buffer;
mod options;
#[cfg(test)]
mod simulation;
mod whole;

pub use buffer::{Buffer, Head, Step};
pub use options::{BadOptions, Options, PARTS_MAX, WHOLES_MAX};
pub use whole::{Reason, Whole};
