//! The real broker in memory, for tests of plugins and agents.
//!
//! No daemon, no disk, no network. The broker's clock stands still until it is told to move, so a
//! test of a ten-minute backoff takes no time. A plugin runs on a thread of its own, as its process
//! would, and can be killed there.
//!
//! ```
//! use serde_json::json;
//! use trunkline::testing::TestBroker;
//! use trunkline::{Json, Outbound, Plugin, Reply, Result};
//!
//! async fn echo(payload: Json) -> Result<Reply> {
//!     Ok(Reply::new(payload))
//! }
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! let broker = TestBroker::start(Plugin::new("echo").outbound(Outbound::new("echo", echo))).await;
//! let sending = broker.send("echo", "hi").to("me").await.expect("durable");
//! let reply = broker.expect_published("plugin.inbound.echo.*", json!({ "text": "hi" }), "2s").await;
//! assert_eq!(reply.correlation_id.as_deref(), Some(sending.id()));
//! broker.expect_published("plugin.delivery.echo.*", json!({ "state": "sent" }), "2s").await;
//! # });
//! ```

mod broker;
mod ends;
pub(crate) mod http;
mod life;
mod observer;
pub(crate) mod outside;
mod process;
mod scenario;
mod socket;
pub(crate) mod sockets;
mod start;
mod webhook;

pub use crate::faults::{Fault, KillAt};
pub use broker::TestBroker;
pub use http::{HttpFake, HttpRoute, HttpSeen};
pub use socket::{SocketConn, SocketFake};
pub use start::Start;
pub use webhook::{SendWebhook, WebhookAnswer};
