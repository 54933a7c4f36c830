//! Processes that serve several instances: their process links, and how instances are opened there.
//!
//! A process link carries pings, `instance.open`, `instance.close`, `shutdown` and log records. An instance
//! that was opened has a link of its own, which it got with a token that is taken once; from then on the
//! core does not tell it from an instance with a process of its own.
//!
//! Invariants: a token opens one instance, once; every `instance.close` is answered with
//! [`InstanceSignal::Closed`], also when there is no process any more.

use std::sync::Arc;

use rustc_hash::FxHashMap;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use trunkline_contract::error::{Code, Error};
use trunkline_contract::rpc::{self, method};

use crate::instance::InstanceKey;
use crate::router::LinkId;

use super::client::TokenHash;
use super::instance::InstanceSignal;
use super::peer::{Call, Peer, Phase, ReplyTo, Role};
use super::state::{Core, Timer};

/// What is known of shared processes.
#[derive(Debug, Default)]
pub(crate) struct Processes {
    /// Where instances are opened: the daemon's socket.
    address: Option<String>,
    /// The process link of each plugin that has one.
    links: FxHashMap<Arc<str>, LinkId>,
    /// Instances that were opened and have not connected, by the hash of their token.
    awaited: FxHashMap<TokenHash, InstanceKey>,
}

impl Core {
    /// Says on which unix socket instances of shared processes begin their links.
    pub fn set_link_address(&mut self, address: String) {
        self.processes.address = Some(address);
    }

    /// The supervisor started a shared process; this is its process link.
    pub(crate) fn process_spawned(&mut self, link: LinkId, key: &InstanceKey) {
        let Some(peer) = self.peers.get_mut(&link) else {
            return;
        };
        peer.process = Some(key.clone());
        peer.spawned = true;
        peer.source = key.plugin.clone();
        self.processes.links.insert(key.plugin.clone(), link);
        // Its answer is the first sign of life.
        self.call(link, Call::Ping, method::PING, &rpc::PingParams {});
    }

    /// A process answered a ping; the first answer says that it is up.
    pub(crate) fn process_pong(&mut self, link: LinkId, key: &InstanceKey) {
        let Some(peer) = self.peers.get_mut(&link) else {
            return;
        };
        if peer.phase != Phase::Opening {
            return;
        }
        peer.phase = Phase::Active;
        let interval = self.ping_interval_of(key);
        if interval > 0 {
            self.arm(self.now.mono_ms + interval, Timer::Ping(link));
        }
        self.signal(key, InstanceSignal::Standby);
    }

    /// How often a link is pinged, in ms; 0 for never.
    pub(crate) fn ping_interval_of(&self, key: &InstanceKey) -> u64 {
        let setup = if key.is_process() {
            // They come from one manifest.
            let mut all = self.instances.iter();
            all.find_map(|(other, one)| (other.plugin == key.plugin).then_some(&one.setup))
        } else {
            self.instances.get(key).map(|instance| &instance.setup)
        };
        setup.map_or(0, |setup| setup.ping_interval_ms)
    }

    /// A process link ended. The supervisor hears it; whoever was to be closed is.
    pub(crate) fn process_detached(&mut self, key: &InstanceKey, link: LinkId, peer: &Peer) {
        if self.processes.links.get(&key.plugin) == Some(&link) {
            self.processes.links.remove(&key.plugin);
            let awaited = &mut self.processes.awaited;
            awaited.retain(|_, opened| opened.plugin != key.plugin);
        }
        // The supervisor has to know first why they are gone.
        self.signal(key, InstanceSignal::LinkClosed);
        for call in peer.calls.values() {
            if let Call::Close(closed) = call {
                self.signal(closed, InstanceSignal::Closed(None));
            }
        }
    }

    /// Opens an instance in the process of its plugin.
    pub fn open_instance(&mut self, key: &InstanceKey) {
        let Some(link) = self.processes.links.get(&key.plugin).copied() else {
            // The supervisor hears of the process's end as well.
            return;
        };
        let Some(address) = self.processes.address.clone() else {
            let error = Error::new(Code::Internal, "the daemon has no socket to open links on");
            self.signal(key, InstanceSignal::Refused(error));
            return;
        };
        let token: String = std::iter::repeat_with(|| format!("{:016x}", self.random.bits()))
            .take(4)
            .collect();
        self.processes.awaited.retain(|_, opened| opened != key);
        self.processes.awaited.insert(hash(&token), key.clone());
        let params = rpc::InstanceOpenParams {
            plugin: key.plugin.to_string(),
            instance: key.instance.to_string(),
            address,
            token,
        };
        self.call(
            link,
            Call::Open(key.clone()),
            method::INSTANCE_OPEN,
            &params,
        );
    }

    /// Makes sure that an instance is gone from the process of its plugin.
    pub fn close_instance(&mut self, key: &InstanceKey, timeout_ms: u64, reason: &str) {
        self.processes.awaited.retain(|_, opened| opened != key);
        let Some(link) = self.processes.links.get(&key.plugin).copied() else {
            self.signal(key, InstanceSignal::Closed(None));
            return;
        };
        let params = rpc::InstanceCloseParams {
            plugin: key.plugin.to_string(),
            instance: key.instance.to_string(),
            timeout_ms,
            reason: reason.to_owned(),
        };
        let call = Call::Close(key.clone());
        self.call(link, call, method::INSTANCE_CLOSE, &params);
    }

    pub(crate) fn open_answered(&mut self, key: &InstanceKey, answer: Result<&RawValue, Error>) {
        if let Err(error) = answer {
            self.signal(key, InstanceSignal::Refused(error));
        }
    }

    pub(crate) fn close_answered(&mut self, key: &InstanceKey, answer: Result<&RawValue, Error>) {
        let error = match answer {
            Ok(result) => serde_json::from_str::<rpc::InstanceCloseResult>(result.get())
                .ok()
                .and_then(|result| result.error),
            Err(error) => Some(error.to_string()),
        };
        self.signal(key, InstanceSignal::Closed(error));
    }

    /// Asks a shared process to end, if this names one. False: it does not.
    pub(crate) fn shut_process(&mut self, key: &InstanceKey, timeout_ms: u64, why: &str) -> bool {
        if !key.is_process() {
            return false;
        }
        match self.processes.links.get(&key.plugin).copied() {
            Some(link) => {
                let params = rpc::ShutdownParams {
                    reason: why.to_owned(),
                    timeout_ms,
                };
                self.call(link, Call::Shutdown, method::SHUTDOWN, &params);
            }
            None => self.signal(key, InstanceSignal::Drained),
        }
        true
    }

    /// Takes the token of an instance that was opened, for its one use.
    pub(crate) fn take_opened(&mut self, token: Option<&str>) -> Option<InstanceKey> {
        self.processes.awaited.remove(&hash(token?))
    }

    /// The link of an instance that was opened: from here on like one of a process of its own.
    pub(crate) fn bind_opened(
        &mut self,
        link: LinkId,
        key: &InstanceKey,
        params: &rpc::ConnectParams,
    ) -> Result<(), Error> {
        let expected = Some(&*key.instance);
        if params.role != rpc::Role::Plugin || params.instance.as_deref() != expected {
            return Err(Error::new(
                Code::Unauthorized,
                format!("this token is for {key}, found another name"),
            ));
        }
        if self.instances.get(key).is_none_or(|one| one.link.is_some()) {
            let text = format!("{key} has a link already, or was removed");
            return Err(Error::new(Code::InstanceBusy, text));
        }
        if let Some(peer) = self.peers.get_mut(&link) {
            peer.role = Role::Instance(key.clone());
            peer.spawned = true;
            peer.source = key.to_string().into();
        }
        self.bind(link, key);
        Ok(())
    }

    /// A request on a process link.
    pub(crate) fn process_request(
        &mut self,
        to: &ReplyTo,
        key: &InstanceKey,
        name: &str,
        params: Option<&RawValue>,
    ) {
        match name {
            method::PING => self.answer(to, &rpc::PingResult::default()),
            method::LOG => self.log_of(to, Some(key.clone()), params),
            name => {
                let text = format!("expected ping or log on a process link, found {name}");
                self.refuse(to, &Error::new(Code::InvalidArguments, text));
            }
        }
    }
}

fn hash(token: &str) -> TokenHash {
    Sha256::digest(token.as_bytes()).into()
}
