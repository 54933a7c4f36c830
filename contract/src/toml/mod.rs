//! Text that people write, read with positions.
//!
//! One small tree for `plugin.toml`, `nexo-plugin.toml` and `trunkline.toml`: every key and value
//! knows its [`Place`], so that each problem is reported with file, line and column, and all
//! problems at once. Not a general TOML library: the grammar is `toml_edit`'s, nothing is written
//! back.
//!
//! Invariants: lines and columns count from 1, columns in characters; a place with line 0 stands
//! outside a text (a default, an environment variable, a flag).

mod diagnostic;
mod node;
mod reader;
mod suggest;

pub use diagnostic::{Diagnostic, Place, Severity, Sink, has_errors};
pub use node::{Entry, Kind, Node, Table, parse, parse_value};
pub use reader::TableReader;
pub use suggest::{meant, nearest, one_of};

#[cfg(test)]
mod tests;
