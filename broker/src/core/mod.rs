//! The broker's core: frames in, frames and commits out, as one sans-io state machine.
//!
//! Whoever drives it (the daemon's core thread, the in-memory test broker, a simulation) feeds it frames,
//! store results, read results and the time, and carries out its [`Output`]s. It reads no clock, opens no
//! file and starts no thread.
//!
//! | concern | file |
//! |---|---|
//! | peers and what they may do | `peer`, `handshake`, `client` |
//! | frames to methods | `frame` |
//! | publish, commit, routing of outbound events | `publish`, `commit`, `route` |
//! | group commit and its answers | `batch` |
//! | subscriptions, settlements, deliveries | `subscribe`, `settle`, `deliver` |
//! | instances: handshake, states, drain | `instance`, `standing`, `status`, `pulse`, `lifecycle`, `progress` |
//! | services | `kv`, `lock`, `blob`, `timer`, `log` |
//! | tools and calls | `tool` |
//! | webhooks | `hook` |
//! | what went wrong | `failure` (attempts), `doctor` |
//! | numbers for monitoring, and traces | `metrics`, `span` |
//! | operators | `admin`, `dead_letters`, `tail`, `retention`, `hold` |
//!
//! Invariants:
//!
//! - An answer to a publish is written only after the batch that holds it is durable.
//! - The frames of one link are applied in order; a link that must wait is paused, never skipped.
//! - It never blocks: what needs the disk is asked for and continues with the answer.

pub mod limits;

mod admin;
mod audit;
mod batch;
mod blob;
mod boot;
mod client;
mod commit;
mod config;
mod dead_letters;
mod deliver;
mod doctor;
mod drain;
mod failure;
mod frame;
mod handshake;
mod hold;
mod hook;
mod instance;
mod kv;
mod legacy;
mod lifecycle;
mod lock;
pub mod metrics;
mod outbox;
mod peer;
mod poller;
mod process;
mod progress;
mod publish;
mod pulse;
mod read;
mod retention;
mod ring;
mod route;
mod settle;
mod span;
mod standing;
mod state;
mod status;
mod subscribe;
mod switch;
mod tail;
#[cfg(test)]
pub(crate) mod tests;
mod timer;
mod tool;
mod undelivered;

pub use audit::AuditRecord;
pub use batch::BatchToken;
pub use blob::{BlobAccess, BlobAnswer, BlobFault, BlobFiles, BlobHash, BlobRequest, UploadAccess};
pub use client::{ClientGrant, TokenHash, Tokens};
pub use config::ConfigAnswer;
pub use frame::Flow;
pub use hook::{Endpoint, HookAnswer, HookReply, HookRequest};
pub use instance::{ExitSummary, InstanceReport, InstanceSetup, InstanceSignal};
pub use outbox::Outbox;
pub use peer::LinkKind;
pub use read::{ReadAnswer, ReadRequest};
pub use retention::Retention;
pub use span::{Span, SpanKind};
pub use state::{ControlRequest, Core, CoreOptions, LogLine, Output};
pub use tool::{LATENCY_BOUNDS_MS, ToolStats, check_tools};
