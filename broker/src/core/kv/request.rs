//! `kv.get`, `put`, `delete`, `list`, and changes inside a commit.

use serde_json::value::RawValue;
use trunkline_contract::envelope::rfc3339;
use trunkline_contract::error::{Code, Error};
use trunkline_contract::rpc::{self, KvOp, KvOpKind, KvRevision, method};

use crate::core::batch::{Ticket, commit_error};
use crate::core::limits::{KV_VALUE_BYTES_MAX, LIST_MAX, TOMBSTONE_MS};
use crate::core::peer::{Peer, ReplyTo, Role};
use crate::core::read::{GetThen, ReadRequest, ScanThen};
use crate::core::state::{Core, Output};
use crate::router::LinkId;
use crate::store::{Commit, CommitError, Expect, Receipt, Seq, StateEntry, StateOp};

use super::key::Space;
use super::watch::WatchRead;

/// Entries of one page when values are asked for: they may be large.
const PAGE_WITH_VALUES: usize = 64;
/// A tombstone outlives what a watch may ask for by this much, so that no clock makes it a little short.
const TOMBSTONE_MARGIN_MS: i64 = 3_600_000;

/// A kv read under way.
#[derive(Debug)]
pub struct KvRead(pub(super) Reading);

#[derive(Debug)]
pub(super) enum Reading {
    Get {
        to: ReplyTo,
    },
    List {
        to: ReplyTo,
        space: Space,
        limit: usize,
        values: bool,
        revision: Seq,
    },
    Watch(Box<WatchRead>),
}

/// A kv write under way.
#[derive(Debug)]
pub(crate) struct KvTicket {
    pub(super) space: Space,
    pub(super) key: Box<str>,
    /// What was written; `None` for a deletion.
    pub(super) value: Option<Box<RawValue>>,
    expires_at_ms: Option<i64>,
    /// Position of its first state operation in its commit.
    first: usize,
}

impl KvTicket {
    /// Position of its first state operation among those of its commit.
    pub(crate) fn index(&self) -> usize {
        self.first
    }

    /// The key's revision after the commit.
    pub(crate) fn revision(&self, receipt: &Receipt) -> Seq {
        // A deletion's revision is its tombstone's, so that a watch resumes after it.
        receipt.revisions[self.first + usize::from(self.value.is_none())]
    }
}

impl Core {
    pub(crate) fn kv(&mut self, to: &ReplyTo, name: &str, params: Option<&RawValue>) {
        let result = match name {
            method::KV_GET => self.kv_get(to, params),
            method::KV_PUT => self.kv_put(to, params),
            method::KV_DELETE => self.kv_delete(to, params),
            method::KV_LIST => self.kv_list(to, params),
            method::KV_WATCH => self.kv_watch(to, params),
            method::KV_UNWATCH => self.kv_unwatch(to, params),
            name => Err(Error::new(
                Code::NotImplemented,
                format!("expected a method of kv, found {name}"),
            )),
        };
        if let Err(error) = result {
            self.refuse(to, &error);
        }
    }

    /// The peer behind a link, if its keyed state is open to it.
    pub(crate) fn kv_peer(&self, link: LinkId) -> Result<&Peer, Error> {
        let peer = self.peers.get(&link).expect("frames come from known links");
        if let Role::Instance(key) = &peer.role {
            self.check_current(link, key)?;
        }
        Ok(peer)
    }

    fn kv_get(&mut self, to: &ReplyTo, params: Option<&RawValue>) -> Result<(), Error> {
        let params: rpc::KvGetParams = rpc::params(params)?;
        let peer = self.kv_peer(to.link)?;
        let space = Space::of(peer, params.scope, params.session.as_deref())?;
        Space::check(peer, &params.key, false)?;
        self.outputs.push(Output::Read(ReadRequest::Get {
            key: space.entry(&params.key),
            then: GetThen::Kv(KvRead(Reading::Get { to: to.clone() })),
        }));
        Ok(())
    }

    fn kv_list(&mut self, to: &ReplyTo, params: Option<&RawValue>) -> Result<(), Error> {
        let params: rpc::KvListParams = rpc::params(params)?;
        let peer = self.kv_peer(to.link)?;
        let space = Space::of(peer, params.scope, params.session.as_deref())?;
        Space::check(peer, &params.prefix, true)?;
        let most = if params.values {
            PAGE_WITH_VALUES
        } else {
            LIST_MAX
        };
        let limit = params.limit.map_or(most, |limit| limit as usize);
        let limit = limit.clamp(1, most);
        self.outputs.push(Output::Read(ReadRequest::Scan {
            prefix: space.entry(&params.prefix),
            after: params.after.map(|after| space.entry(&after)),
            limit: limit + 1,
            then: ScanThen::Kv(KvRead(Reading::List {
                to: to.clone(),
                space,
                limit,
                values: params.values,
                revision: self.last_seq,
            })),
        }));
        Ok(())
    }

    fn kv_put(&mut self, to: &ReplyTo, params: Option<&RawValue>) -> Result<(), Error> {
        let params: rpc::KvPutParams = rpc::params(params)?;
        let op = KvOp {
            op: KvOpKind::Put,
            scope: params.scope,
            session: params.session,
            key: params.key,
            value: Some(params.value),
            if_revision: params.if_revision,
            ttl_ms: params.ttl_ms,
        };
        self.kv_write(to, &op)
    }

    fn kv_delete(&mut self, to: &ReplyTo, params: Option<&RawValue>) -> Result<(), Error> {
        let params: rpc::KvDeleteParams = rpc::params(params)?;
        let op = KvOp {
            op: KvOpKind::Delete,
            scope: params.scope,
            session: params.session,
            key: params.key,
            value: None,
            if_revision: params.if_revision,
            ttl_ms: None,
        };
        self.kv_write(to, &op)
    }

    fn kv_write(&mut self, to: &ReplyTo, op: &KvOp) -> Result<(), Error> {
        let mut state = Vec::with_capacity(2);
        let kv = self.kv_op(to.link, op, &mut state)?;
        self.kv_staged(&kv);
        let commit = Commit {
            state,
            ..Commit::default()
        };
        self.stage(commit, Ticket::Kv { to: to.clone(), kv });
        Ok(())
    }

    /// Turns a change into operations of a commit, appended to `state`.
    pub(crate) fn kv_op(
        &mut self,
        link: LinkId,
        op: &KvOp,
        state: &mut Vec<StateOp>,
    ) -> Result<KvTicket, Error> {
        let peer = self.kv_peer(link)?;
        let space = Space::of(peer, op.scope, op.session.as_deref())?;
        Space::check(peer, &op.key, false)?;
        let expect = match op.if_revision {
            None => Expect::Any,
            Some(0) => Expect::Absent,
            Some(revision) => Expect::Revision(revision),
        };
        let first = state.len();
        let now_ms = self.now.wall_ms;
        let expires_at_ms = op
            .ttl_ms
            .map(|ttl| now_ms.saturating_add(i64::try_from(ttl).unwrap_or(i64::MAX)));
        let value = match op.op {
            KvOpKind::Put => Some(self.kv_value(op)?),
            KvOpKind::Delete => None,
        };
        let entry = StateOp {
            key: space.entry(&op.key),
            value: value.as_ref().map(|value| value.get().as_bytes().to_vec()),
            expect,
            expires_at_ms,
        };
        self.kv_state.check(&space.owner, &entry, self.now)?;
        state.push(entry);
        if value.is_none() {
            state.push(StateOp {
                key: space.tombstone(&op.key),
                value: Some(Vec::new()),
                expect: Expect::Any,
                expires_at_ms: Some(now_ms + TOMBSTONE_MS + TOMBSTONE_MARGIN_MS),
            });
        }
        Ok(KvTicket {
            space,
            key: op.key.as_str().into(),
            value,
            expires_at_ms,
            first,
        })
    }

    fn kv_value(&self, op: &KvOp) -> Result<Box<RawValue>, Error> {
        self.check_room()?;
        let value = op.value.clone().ok_or_else(|| {
            Error::new(
                Code::InvalidArguments,
                "expected a value to put, found none",
            )
        })?;
        let bytes = value.get().len();
        if bytes > KV_VALUE_BYTES_MAX {
            return Err(Error::new(
                Code::QuotaExceeded,
                format!("expected a value of at most {KV_VALUE_BYTES_MAX} bytes, found {bytes}"),
            ));
        }
        Ok(value)
    }

    /// A change goes to the disk with its commit.
    pub(crate) fn kv_staged(&mut self, kv: &KvTicket) {
        let bytes = kv.value.as_ref().map_or(0, |value| value.get().len());
        self.staged_bytes += bytes;
        self.kv_state.reserve(&kv.space.owner, bytes as u64);
    }

    /// The commit of a change was refused.
    pub(crate) fn kv_refused(&mut self, kv: &KvTicket) {
        let bytes = kv.value.as_ref().map_or(0, |value| value.get().len());
        self.kv_state.settle(&kv.space.owner, bytes as u64);
    }

    pub(crate) fn kv_done(
        &mut self,
        to: &ReplyTo,
        kv: KvTicket,
        result: Result<Receipt, CommitError>,
    ) {
        match result {
            Ok(receipt) => {
                let revision = kv.revision(&receipt);
                self.kv_changed(kv, revision);
                self.answer(to, &KvRevision { revision });
            }
            Err(error) => {
                self.kv_refused(&kv);
                let mut error = commit_error(&error);
                error.index = None;
                self.refuse(to, &error);
            }
        }
    }

    /// A change is durable: it counts, and watches hear of it.
    pub(crate) fn kv_changed(&mut self, kv: KvTicket, revision: Seq) {
        self.kv_refused(&kv);
        self.mark_kv(revision);
        let entry = kv.space.entry(&kv.key);
        let value = kv.value.as_ref().map(|value| value.get().as_bytes());
        let stored = value.map(|value| (value, kv.expires_at_ms));
        self.kv_state.stored(&kv.space.owner, &entry, stored);
        if value.is_none() {
            let expires_at_ms = self.now.wall_ms + TOMBSTONE_MS + TOMBSTONE_MARGIN_MS;
            let tombstone = kv.space.tombstone(&kv.key);
            let stored = Some((&[][..], Some(expires_at_ms)));
            self.kv_state.stored(&kv.space.owner, &tombstone, stored);
        }
        self.tell_watches(&kv, revision);
    }

    pub(crate) fn kv_got(&mut self, entry: Option<StateEntry>, read: KvRead) {
        let Reading::Get { to } = read.0 else {
            return;
        };
        let result = entry
            .ok_or_else(|| Error::new(Code::NotFound, "expected a key that is there, found none"))
            .and_then(|entry| {
                Ok(rpc::KvGetResult {
                    value: raw_value(entry.value)?,
                    revision: entry.revision,
                    expires_at: entry.expires_at_ms.map(rfc3339),
                })
            });
        self.reply(&to, result);
    }

    pub(crate) fn kv_scanned(&mut self, entries: Vec<StateEntry>, read: KvRead) {
        match read.0 {
            Reading::Get { .. } => {}
            Reading::List {
                to,
                space,
                limit,
                values,
                revision,
            } => {
                let bytes_max = self.options.frame_bytes_max / 2;
                let result = page(entries, &space, limit, values, bytes_max).map(|mut result| {
                    result.revision = revision;
                    result
                });
                self.reply(&to, result);
            }
            Reading::Watch(read) => self.watch_scanned(entries, *read),
        }
    }
}

/// One page of a list that fits a frame; `entries` holds one more than `limit` if there are more.
fn page(
    entries: Vec<StateEntry>,
    space: &Space,
    limit: usize,
    values: bool,
    bytes_max: usize,
) -> Result<rpc::KvListResult, Error> {
    let mut result = rpc::KvListResult::default();
    let mut bytes = 0;
    for entry in entries {
        let key = space.read(&entry.key).unwrap_or_default().to_owned();
        // Escapes make a key at most six times as long.
        bytes += key.len() * 6 + 128 + if values { entry.value.len() } else { 0 };
        if result.entries.len() == limit || (bytes > bytes_max && !result.entries.is_empty()) {
            result.next = result
                .entries
                .last()
                .map(|last: &rpc::KvEntry| last.key.clone());
            break;
        }
        result.entries.push(rpc::KvEntry {
            key,
            revision: entry.revision,
            value: if values {
                Some(raw_value(entry.value)?)
            } else {
                None
            },
            expires_at: entry.expires_at_ms.map(rfc3339),
        });
    }
    Ok(result)
}

/// A stored value as JSON text.
pub(super) fn raw_value(bytes: Vec<u8>) -> Result<Box<RawValue>, Error> {
    String::from_utf8(bytes)
        .ok()
        .and_then(|text| RawValue::from_string(text).ok())
        .ok_or_else(|| {
            Error::new(
                Code::Internal,
                "expected JSON in the store, found something else",
            )
        })
}
