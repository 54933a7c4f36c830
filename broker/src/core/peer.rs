//! One link as the core sees it.

use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};
use serde_json::value::RawValue;
use trunkline_contract::grant::Scopes;

use crate::instance::InstanceKey;
use crate::router::{DeliveryId, LinkId};

use super::outbox::Outbox;

/// How a link came to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkKind {
    /// The supervisor started a process for this instance and holds the other end.
    Spawned(InstanceKey),
    /// The supervisor started the process that the instances of a plugin share; this is its process link.
    Process(InstanceKey),
    /// Somebody dialled in and must say `connect` first.
    Attached,
    /// The same from over the network: it shares no files with the broker.
    Remote,
}

/// Who is on the other side.
#[derive(Debug, Clone)]
pub(crate) enum Role {
    /// Has not said `connect` yet.
    Unknown,
    /// A plugin instance.
    Instance(InstanceKey),
    /// An agent, an app, the CLI.
    Client { name: Arc<str>, scopes: Arc<Scopes> },
}

/// How far the handshake is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Waiting for `connect` or for the answer to `initialize`.
    Opening,
    /// Config accepted, nothing opened outside.
    Standby,
    /// Activated: may publish.
    Active,
    /// Told to shut down, or being closed.
    Closing,
}

/// A request of ours that has not been answered.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Call {
    Initialize,
    Activate,
    Deactivate,
    Pause,
    Resume,
    Ping,
    Shutdown,
    /// `instance.open` in a shared process.
    Open(InstanceKey),
    /// `instance.close` in a shared process.
    Close(InstanceKey),
    ConfigUpdate(Box<super::config::Offer>),
    /// `tool.call`, by its number.
    Tool(u64),
}

/// One link.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) role: Role,
    pub(crate) phase: Phase,
    /// The shared process whose process link this is.
    pub(crate) process: Option<InstanceKey>,
    /// Hash of the token that let it in.
    pub(crate) token: Option<super::TokenHash>,
    pub(crate) spawned: bool,
    /// A plugin that was started by hand, and that the operator switched off since.
    pub(crate) is_switched_off: bool,
    /// It shares no files with the broker.
    pub(crate) is_remote: bool,
    /// A nexo contract 1.x peer.
    pub(crate) legacy: bool,
    /// Stamped on everything it publishes.
    pub(crate) source: Arc<str>,
    pub(crate) out: Outbox,
    /// Where what it does is counted, once it was asked for.
    pub(crate) meter: Option<crate::router::MeterId>,
    /// Listed for flushing.
    pub(crate) flush: bool,
    pub(crate) bad_frames: u32,
    pub(crate) next_call: u64,
    pub(crate) calls: FxHashMap<u64, Call>,
    pub(crate) pulse: super::pulse::Pulse,
    /// Topics it was found to be allowed to publish.
    pub(crate) may_publish: FxHashSet<Arc<str>>,
    /// A frame that waits for a read (a route): no later frame is applied before it.
    pub(crate) parked: Option<Box<[u8]>>,
    /// What a foreign peer was handed and has not been written to it yet; bounded by its window of one.
    pub(crate) unwritten_deliveries: Vec<DeliveryId>,
    /// UUIDs given to a legacy peer in place of ids that are none, newest last.
    pub(crate) aliases: super::legacy::Aliases,
}

impl Peer {
    pub(crate) fn new() -> Self {
        Self {
            role: Role::Unknown,
            phase: Phase::Opening,
            process: None,
            token: None,
            spawned: false,
            is_switched_off: false,
            is_remote: false,
            legacy: false,
            source: "".into(),
            out: Outbox::default(),
            meter: None,
            flush: false,
            bad_frames: 0,
            next_call: 1,
            calls: FxHashMap::default(),
            pulse: super::pulse::Pulse::default(),
            may_publish: FxHashSet::default(),
            parked: None,
            unwritten_deliveries: Vec::new(),
            aliases: super::legacy::Aliases::default(),
        }
    }

    pub(crate) fn instance(&self) -> Option<&InstanceKey> {
        match &self.role {
            Role::Instance(key) => Some(key),
            _ => None,
        }
    }
}

/// Where an answer goes.
#[derive(Debug, Clone)]
pub(crate) struct ReplyTo {
    pub(crate) link: LinkId,
    /// `None` for a notification: nobody waits.
    pub(crate) id: Option<Box<RawValue>>,
}
