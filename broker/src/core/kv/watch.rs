//! `kv.watch`: changes of keys as they become durable, in the order of their revisions.
//!
//! A watch that resumes, or whose link did not read for a while, catches up by reading: what changed after
//! the last revision it was told of, up to what was durable when the reading began. Of a key that changed
//! more than once in between only the last change is told. Memory is bounded: what does not fit one
//! piece, or the link, is read again later.

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use trunkline_contract::error::{Code, Error};
use trunkline_contract::limits::LINK_UNWRITTEN_BYTES_MAX;
use trunkline_contract::rpc::{self, KvChange, KvOpKind, method};

use crate::core::limits::WATCHES_MAX;
use crate::core::peer::ReplyTo;
use crate::core::read::{ReadRequest, ScanThen};
use crate::core::state::{Core, Output};
use crate::router::LinkId;
use crate::store::{Seq, StateEntry};

use super::key::Space;
use super::request::{KvRead, KvTicket, Reading, raw_value};

/// Entries looked at in one read.
const SCAN_ENTRIES: usize = 64;
/// Bytes of changes collected before they are told.
const COLLECT_BYTES: usize = LINK_UNWRITTEN_BYTES_MAX / 2;

/// A watch of one link.
#[derive(Debug)]
pub(crate) struct Watch {
    id: u64,
    space: Space,
    prefix: Box<str>,
    /// Everything up to here was told.
    told: Seq,
    state: State,
    /// A change came while it was not live.
    missed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Told of changes as they come.
    Live,
    /// Something after `told` was not told and is to be read.
    Behind,
    /// Being read.
    Reading,
}

/// A watch that is catching up.
#[derive(Debug)]
pub(crate) struct WatchRead {
    link: LinkId,
    watch: u64,
    prefix: Vec<u8>,
    tombstones: Vec<u8>,
    in_tombstones: bool,
    after: Seq,
    upto: Seq,
    /// Changes by revision: key, and value unless it was deleted.
    found: BTreeMap<Seq, (Box<str>, Option<Vec<u8>>)>,
    bytes: usize,
    /// What was left out begins after the last of `found`.
    is_cut: bool,
}

impl Core {
    pub(super) fn kv_watch(
        &mut self,
        to: &ReplyTo,
        params: Option<&RawValue>,
    ) -> Result<(), Error> {
        let params: rpc::KvWatchParams = rpc::params(params)?;
        let peer = self.kv_peer(to.link)?;
        let space = Space::of(peer, params.scope, params.session.as_deref())?;
        Space::check(peer, &params.prefix, true)?;
        let last_seq = self.last_seq;
        let oldest = self.kv_state.oldest_revision(self.now, last_seq);
        let told = params.from_revision.unwrap_or(last_seq);
        if told < oldest && params.from_revision.is_some() {
            return Err(Error::new(
                Code::Gap,
                format!(
                    "expected a revision of at least {oldest}, found {told}; list the keys again"
                ),
            ));
        }
        let watches = self.kv_state.watches.entry(to.link).or_default();
        if watches.len() >= WATCHES_MAX {
            return Err(Error::new(
                Code::QuotaExceeded,
                format!("expected at most {WATCHES_MAX} watches of one link"),
            ));
        }
        self.kv_state.next_watch += 1;
        let id = self.kv_state.next_watch;
        watches.push(Watch {
            id,
            space,
            prefix: params.prefix.into(),
            told,
            state: match params.from_revision {
                Some(_) => State::Behind,
                None => State::Live,
            },
            missed: false,
        });
        let result = rpc::KvWatchResult {
            watch: id,
            revision: told,
        };
        self.answer(to, &result);
        self.resume_watches(to.link);
        Ok(())
    }

    pub(super) fn kv_unwatch(
        &mut self,
        to: &ReplyTo,
        params: Option<&RawValue>,
    ) -> Result<(), Error> {
        let params: rpc::KvUnwatchParams = rpc::params(params)?;
        let watches = self.kv_state.watches.entry(to.link).or_default();
        let before = watches.len();
        watches.retain(|watch| watch.id != params.watch);
        if watches.len() == before {
            return Err(Error::new(
                Code::NotFound,
                format!("expected a watch of this link, found {}", params.watch),
            ));
        }
        self.answer(to, &rpc::Empty {});
        Ok(())
    }

    /// A link is gone.
    pub(crate) fn drop_watches(&mut self, link: LinkId) {
        self.kv_state.watches.remove(&link);
    }

    /// A change became durable.
    pub(super) fn tell_watches(&mut self, kv: &KvTicket, revision: Seq) {
        if self.kv_state.watches.is_empty() {
            return;
        }
        let mut told = Vec::new();
        for (link, watches) in &mut self.kv_state.watches {
            let full = self
                .peers
                .get(link)
                .is_none_or(|peer| peer.out.len() >= LINK_UNWRITTEN_BYTES_MAX);
            for watch in watches {
                if watch.space != kv.space || !kv.key.starts_with(&*watch.prefix) {
                    continue;
                }
                match watch.state {
                    State::Live if full => watch.state = State::Behind,
                    State::Live => {
                        watch.told = revision;
                        told.push((*link, watch.id));
                    }
                    State::Behind | State::Reading => watch.missed = true,
                }
            }
        }
        for (link, watch) in told {
            self.tell(link, watch, revision, &kv.key, kv.value.clone());
        }
    }

    fn tell(
        &mut self,
        link: LinkId,
        watch: u64,
        revision: Seq,
        key: &str,
        value: Option<Box<RawValue>>,
    ) {
        let change = KvChange {
            watch,
            op: match value {
                Some(_) => KvOpKind::Put,
                None => KvOpKind::Delete,
            },
            key: key.to_owned(),
            revision,
            value,
        };
        self.notify(link, method::KV_CHANGE, &change);
    }

    /// There is room on this link: what is behind reads on.
    pub(crate) fn resume_watches(&mut self, link: LinkId) {
        let Some(watches) = self.kv_state.watches.get_mut(&link) else {
            return;
        };
        let has_room = self
            .peers
            .get(&link)
            .is_some_and(|peer| peer.out.len() < LINK_UNWRITTEN_BYTES_MAX);
        if !has_room {
            return;
        }
        for watch in watches.iter_mut().filter(|w| w.state == State::Behind) {
            watch.state = State::Reading;
            watch.missed = false;
            let read = WatchRead {
                link,
                watch: watch.id,
                prefix: watch.space.entry(&watch.prefix),
                tombstones: watch.space.tombstone(&watch.prefix),
                in_tombstones: false,
                after: watch.told,
                upto: self.last_seq,
                found: BTreeMap::new(),
                bytes: 0,
                is_cut: false,
            };
            self.outputs.push(Output::Read(read.request(None)));
        }
    }

    pub(super) fn watch_scanned(&mut self, entries: Vec<StateEntry>, mut read: WatchRead) {
        let Some(watch) = self
            .kv_state
            .watches
            .get_mut(&read.link)
            .and_then(|watches| watches.iter_mut().find(|watch| watch.id == read.watch))
        else {
            return;
        };
        let is_end = entries.len() < SCAN_ENTRIES;
        let last = entries.last().map(|entry| entry.key.clone());
        for entry in entries {
            read.collect(entry, &watch.space);
        }
        if !is_end {
            self.outputs.push(Output::Read(read.request(last)));
            return;
        }
        if !read.in_tombstones {
            read.in_tombstones = true;
            self.outputs.push(Output::Read(read.request(None)));
            return;
        }
        let cut_at = read
            .found
            .last_key_value()
            .map_or(read.upto, |(seq, _)| *seq);
        watch.told = if read.is_cut { cut_at } else { read.upto };
        watch.state = if read.is_cut || watch.missed {
            State::Behind
        } else {
            State::Live
        };
        for (revision, (key, value)) in read.found {
            let value = value.and_then(|value| raw_value(value).ok());
            self.tell(read.link, read.watch, revision, &key, value);
        }
        self.resume_watches(read.link);
    }
}

impl WatchRead {
    fn request(self, after: Option<Vec<u8>>) -> ReadRequest {
        let prefix = if self.in_tombstones {
            self.tombstones.clone()
        } else {
            self.prefix.clone()
        };
        ReadRequest::Scan {
            prefix,
            after,
            limit: SCAN_ENTRIES,
            then: ScanThen::Kv(KvRead(Reading::Watch(Box::new(self)))),
        }
    }

    /// Keeps a change, the oldest first; what does not fit is left for the next reading.
    fn collect(&mut self, entry: StateEntry, space: &Space) {
        if entry.revision <= self.after || entry.revision > self.upto {
            return;
        }
        let Some(key) = space.read(&entry.key) else {
            return;
        };
        let value = (!self.in_tombstones).then_some(entry.value);
        self.bytes += cost(key, value.as_deref());
        self.found.insert(entry.revision, (key.into(), value));
        while self.bytes > COLLECT_BYTES && self.found.len() > 1 {
            if let Some((revision, (key, value))) = self.found.pop_last() {
                self.bytes -= cost(&key, value.as_deref());
                self.is_cut = true;
                self.upto = revision - 1;
            }
        }
    }
}

fn cost(key: &str, value: Option<&[u8]>) -> usize {
    key.len() + value.map_or(0, <[u8]>::len) + 128
}
