//! What of an instance outlives the daemon: its generation, and whether the operator switched it off.
//!
//! | key | value |
//! |---|---|
//! | `g/<plugin>/<instance>` | the last generation, as decimal text |
//! | `x/<plugin>/<instance>` | `disabled`, while it is |

use rustc_hash::FxHashMap;
use serde_json::value::RawValue;
use trunkline_contract::rpc;

use crate::clock::Now;
use crate::instance::InstanceKey;
use crate::router::LinkId;
use crate::store::{Commit, CommitError, Expect, Failed, Reader, Receipt, StateOp};

use super::batch::{Ticket, commit_error};
use super::boot::scan_all;
use super::peer::ReplyTo;
use super::state::Core;

const DISABLED: &[u8] = b"disabled";

/// What is known of one instance, whether it is configured at present or not.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Standing {
    pub(crate) generation: u64,
    pub(crate) is_disabled: bool,
}

/// What is known of all instances there ever were.
pub(crate) type Standings = FxHashMap<InstanceKey, Standing>;

/// Reads what earlier lives wrote.
pub(crate) fn restore(reader: &mut dyn Reader, now: Now) -> Result<Standings, Failed> {
    let mut standings = Standings::default();
    for entry in scan_all(reader, b"g/", now)? {
        let text = String::from_utf8_lossy(&entry.value);
        let generation = text.parse().map_err(|_| Failed {
            reason: format!(
                "expected a number at {}, found {text:?}",
                String::from_utf8_lossy(&entry.key)
            ),
        })?;
        standings.entry(name(&entry.key)).or_default().generation = generation;
    }
    for entry in scan_all(reader, b"x/", now)? {
        standings.entry(name(&entry.key)).or_default().is_disabled = true;
    }
    Ok(standings)
}

fn name(key: &[u8]) -> InstanceKey {
    InstanceKey::parse(&String::from_utf8_lossy(&key[2..]))
}

impl Core {
    /// Says whether the operator switched an instance off.
    pub fn is_disabled(&self, key: &InstanceKey) -> bool {
        self.standings
            .get(key)
            .is_some_and(|standing| standing.is_disabled)
    }

    /// Switches instances off or on again, durably; then the request is answered `{}`. From here on no
    /// delivery reaches one that is off.
    pub fn switch(
        &mut self,
        keys: &[InstanceKey],
        is_disabled: bool,
        link: LinkId,
        id: Option<Box<RawValue>>,
    ) {
        let mut commit = Commit::default();
        for key in keys {
            self.standings.entry(key.clone()).or_default().is_disabled = is_disabled;
            if is_disabled {
                self.stop_serving(key);
            }
            let link = self.link_of(key);
            if let Some(peer) = link.and_then(|link| self.peers.get_mut(&link)) {
                peer.is_switched_off = is_disabled;
            }
            commit.state.push(StateOp {
                key: format!("x/{}/{}", key.plugin, key.instance).into_bytes(),
                value: is_disabled.then(|| DISABLED.to_vec()),
                expect: Expect::Any,
                expires_at_ms: None,
            });
        }
        self.stage(commit, Ticket::Switched(ReplyTo { link, id }));
    }

    pub(crate) fn switched(&mut self, to: &ReplyTo, result: Result<Receipt, CommitError>) {
        match result {
            Ok(_) => self.answer(to, &rpc::Empty {}),
            Err(error) => self.refuse(to, &commit_error(&error)),
        }
    }
}
