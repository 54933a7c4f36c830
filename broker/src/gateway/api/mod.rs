//! `/v1`: what programs ask over HTTP.
//!
//! [`operations()`] is the one table of it: the router and the OpenAPI document are both made from it, so
//! neither can say what the other does not.
//!
//! | file | paths |
//! |---|---|
//! | `publish` | `/v1/publish` |
//! | `events` | `/v1/events` |
//! | `tools` | `/v1/tools` |
//! | `kv` | `/v1/kv` |
//! | `dead_letters` | `/v1/dead-letters` |
//! | `instances` | `/v1/instances`, `/v1/status`, `/v1/config` |
//! | beside this folder, `blob` | `/v1/blobs` |
//! | `table` | all of them |
//! | `openapi` | `/v1/openapi.json` |
//! | `operation` | what one row of the table says |
//! | `bounded` | schemas of texts that are bounded in bytes |
//! | `extract` | the caller, queries, paths and bodies of requests |

mod bounded;
mod dead_letters;
mod events;
mod extract;
mod instances;
mod kv;
pub mod openapi;
mod operation;
mod publish;
mod table;
mod tools;

pub use extract::{Caller, JsonBody, Params, PathOf, RawJson};
pub use operation::{Operation, Place};
pub use table::operations;
