//! The Trunkline plugin runtime and client.
//!
//! A plugin connects a channel (a chat network, SMS, mail, …) to the broker; an agent or app is a
//! client of it. Both are plain values with handlers on them. **What a handler returns settles what
//! it was given**: `Ok` is the ack, [`Retry`] asks for it again, [`Reject`] makes it a dead letter,
//! any other error is a failed attempt.
//!
//! ```
//! use trunkline::{Context, Json, Outbound, Plugin, Reply, Result};
//!
//! async fn echo(payload: Json, _ctx: Context) -> Result<Reply> {
//!     Ok(Reply::new(payload))
//! }
//!
//! fn plugin() -> Plugin {
//!     Plugin::new("echo").outbound(Outbound::new("echo", echo))
//! }
//! # plugin();
//! // fn main() -> std::process::ExitCode { trunkline::run(plugin()) }
//! ```
//!
//! An agent answers what comes in from any channel:
//!
//! ```
//! use trunkline::{Client, InboundMessage, On, Reply, Result};
//!
//! async fn answer(message: InboundMessage) -> Result<Reply> {
//!     Ok(Reply::new(format!("you said: {}", message.text.unwrap_or_default())))
//! }
//!
//! fn agent() -> Client {
//!     Client::new("support").on(On::new("plugin.inbound.>", answer).group("support").timeout("2m"))
//! }
//! # agent();
//! ```
//!
//! Sessions run in parallel, the events of one session in order. Handlers are futures on one thread
//! under [`run`]; call [`serve`] on a runtime of your own for several.

mod adapter;
mod assemble;
mod attach;
mod batch;
mod blob;
mod client;
mod clock;
mod connect;
mod context;
mod credential;
mod derived;
mod dispatch;
mod duration;
mod engine;
mod event;
mod faults;
mod handler;
#[cfg(feature = "host")]
pub mod host;
mod http;
mod hub;
mod incoming;
mod instance;
mod kv;
mod link;
mod listener;
mod lock;
mod log;
mod outbound;
mod outcome;
mod pace;
mod panic;
mod payload;
mod plugin;
mod poll;
mod progress;
mod publish;
mod receipt;
mod report;
mod run;
mod sending;
mod settle;
mod shared;
mod subscription;
#[cfg(feature = "testing")]
pub mod testing;
#[cfg(test)]
mod tests;
mod timer;
mod tool;
mod webhook;
mod websocket;

/// The code of the pages about patterns is run as it stands there.
#[cfg(doctest)]
mod pages {
    #[doc = include_str!("../../docs/patterns/assembler.md")]
    pub struct Assembler;
    #[doc = include_str!("../../docs/patterns/multi-instance.md")]
    pub struct MultiInstance;
    #[doc = include_str!("../../docs/patterns/webhook.md")]
    pub struct Webhook;
    #[doc = include_str!("../../docs/patterns/echo.md")]
    pub struct Echo;
    #[doc = include_str!("../../docs/patterns/poller.md")]
    pub struct Poller;
    #[doc = include_str!("../../docs/patterns/tool.md")]
    pub struct Tool;
}

/// The standard payloads, with all that they are made of: parts, polls, cards, reactions.
///
/// ```
/// use trunkline::message::{Choice, Part, Poll};
/// use trunkline::OutboundMessage;
///
/// let choice = |text: &str| Choice { text: text.to_owned(), ..Choice::default() };
/// let poll = Poll {
///     question: "When?".to_owned(),
///     options: vec![choice("at six"), choice("at seven")],
///     ..Poll::default()
/// };
/// let message = OutboundMessage {
///     parts: Some(vec![Part::poll(poll)]),
///     alt_text: Some("When? At six, or at seven?".to_owned()),
///     ..OutboundMessage::default()
/// };
/// # assert_eq!(message.parts.unwrap()[0].kind, "poll");
/// ```
pub mod message {
    pub use trunkline_contract::message::*;
}

pub use adapter::{BrokerSender, PluginAdapter};
pub use assemble::{Assemble, Assembly, Part};
pub use batch::Batch;
pub use blob::{BlobFile, BlobRef, BlobSource, Blobs, PutBlob};
pub use client::Client;
pub use connect::{Conn, Connect, Form};
pub use context::{Context, InstanceContext, Session};
pub use duration::IntoDuration;
pub use event::Event;
pub use handler::{FromEvent, Handled, Handler};
pub use http::{Download, Http, HttpAt, HttpError, HttpRequest, Response, Upload, class_of};
pub use incoming::DeliveryInfo;
pub use kv::{Entry, KeyChange, Kv, Put, Update, Watch};
pub use listener::Listener;
pub use lock::{Acquire, Lock};
pub use log::Log;
pub use outbound::Outbound;
pub use outcome::{
    Failure, Fatal, IntoOutcome, NeedsAuth, Outcome, Reject, Reply, Result, Retry, RetryLater,
};
pub use payload::{Bytes, Json};
pub use plugin::{On, Plugin};
pub use poll::{Enclosure, FeedItem, JsonOptions, Paginate, Poll, PollAlert};
pub use progress::Progress;
pub use publish::{Committed, Publish, Published};
pub use receipt::{PartOf, Receipt, ReceiptError, State};
pub use run::{Runnable, run, serve};
pub use schemars;
pub use sending::{SendMessage, Sending, Until};
pub use subscription::{Delivery, Subscribe, Subscription};
pub use timer::{Schedule, SetTimer, Timer, TimerEvent, TimerSet, Timers};
pub use tool::{Tool, ToolCall, ToolCaller, ToolError, ToolHandler, ToolStep};
pub use trunkline_contract::error::{Code, Error};
pub use trunkline_contract::message::{InboundMessage, OutboundMessage};
pub use trunkline_contract::rpc::{
    Hold, Misfire, OnExpired, RetryPolicy, Start, TimerEntry, TimerSetParams,
};
pub use trunkline_contract::tool::ToolKind;
pub use webhook::{Webhook, WebhookOptions, WebhookRequest};

/// The page's example is compiled with the crate's documentation.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// The page's example is compiled and run with the crate's documentation.
#[cfg(all(doctest, feature = "testing"))]
#[doc = include_str!("../../docs/patterns/connection.md")]
struct ConnectionPage;

/// So are the examples of the documentation.
#[cfg(all(doctest, feature = "testing"))]
#[doc = include_str!("../../docs/http-client.md")]
struct HttpClient;

/// The same for the guide to timers.
#[cfg(doctest)]
#[doc = include_str!("../../docs/timers.md")]
struct TimersGuide;

/// Proves X4 and LN53: a generated client compiles as it was written, from schemas that are hard to write as types.
#[cfg(doctest)]
#[doc = concat!(
    "```\nmod till {\n",
    include_str!("../../contract/vectors/typed/client.rs"),
    "}\nasync fn pay(client: &trunkline::Client) -> trunkline::Result<Vec<i64>> {\n",
    "    Ok(till::Till::new(client).count(till::CountArguments { to: 3 }).await?)\n}\n",
    "fn there_and_back<T>(json: serde_json::Value) -> T\n",
    "where T: Clone + serde::Serialize + serde::de::DeserializeOwned {\n",
    "    let value: T = serde_json::from_value(json.clone()).unwrap();\n",
    "    assert_eq!(serde_json::to_value(value.clone()).unwrap(), json);\n",
    "    value\n}\n",
    "use serde_json::json;\n",
    r#"let by = there_and_back::<till::PayBy>(json!({"kind": "bank-transfer", "iban": "x"}));
    assert!(matches!(by, till::PayBy::BankTransfer(_)));
    let by = there_and_back::<till::PayBy>(json!({"kind": "card", "number": "1"}));
    assert!(matches!(by, till::PayBy::Card(_)));
    let when = there_and_back::<till::PayWhen>(json!({"days": 3}));
    assert!(matches!(when, till::PayWhen::Variant1(till::PayWhen1 { days: 3 })));
    for word in [json!("now"), json!(false)] {
        assert!(matches!(there_and_back::<till::PayWhen>(word), till::PayWhen::Other(_)));
    }
    let note = there_and_back::<till::PayNote>(json!(-7));
    assert!(matches!(note, till::PayNote::Integer(-7)));
    let to = there_and_back::<till::CreateInvoiceShipTo>(json!({"street": "s", "at": [1.5, 2.5]}));
    assert_eq!(to.at, Some((1.5, 2.5)));
    let path = there_and_back::<till::TreePath>(json!(["a", ["b", null]]));
    assert_eq!(path.0.1.unwrap().0.0, "b");
    for said in [json!("one text"), json!([])] {
        there_and_back::<till::SayOutput>(said);
    }
    for tree in [json!({"a": [1.5, null, "x"]}), json!(["x", {"b": true}])] {
        there_and_back::<till::TreeOutputJson>(tree);
    }
"#,
    "```"
)]
struct TypedClient;

/// Proves X4 and LN53: an argument of another type is an error of the compiler.
#[cfg(doctest)]
#[doc = concat!(
    "```compile_fail,E0308\nmod till {\n",
    include_str!("../../contract/vectors/typed/client.rs"),
    "}\nasync fn pay(client: &trunkline::Client) -> trunkline::Result<Vec<i64>> {\n",
    "    Ok(till::Till::new(client).count(till::CountArguments { to: \"3\" }).await?)\n}\n```"
)]
struct WrongArgument;
