//! `blob.put`, `blob.finish`, `blob.get`, `blob.stat`.

use std::path::PathBuf;

use serde_json::value::RawValue;
use trunkline_contract::envelope::rfc3339;
use trunkline_contract::error::{Code, Error};
use trunkline_contract::rpc::{
    self, BlobFinishParams, BlobFinishResult, BlobGetParams, BlobGetResult, BlobPutParams,
    BlobPutResult, BlobStatResult, method,
};

use crate::core::batch::{Ticket, commit_error};
use crate::core::limits::{
    BLOB_ACCESS_MS, BLOB_PUTTERS_MAX, FINISH_WAITERS_MAX, GIVEN_MAX, MEDIA_TYPE_BYTES_MAX,
    UPLOAD_MS,
};
use crate::core::peer::{Peer, ReplyTo, Role};
use crate::core::state::{Core, Output};
use crate::router::LinkId;
use crate::store::{Commit, CommitError, Expect, StateOp};

use super::hash::BlobHash;
use super::index::{Blob, BlobRow};
use super::upload::{Finished, Upload, UploadPhase, no_blob, no_upload};
use super::work::{Answer, BlobAnswer, BlobFault, BlobRequest, Work};

/// A commit of blobs under way.
#[derive(Debug)]
pub(crate) enum BlobTicket {
    /// The content of an upload is durable; its record is on its way.
    Put { upload: Box<str>, hash: BlobHash },
    /// These records go.
    Collect(Vec<BlobHash>),
}

impl Core {
    pub(crate) fn blob(&mut self, to: &ReplyTo, name: &str, params: Option<&RawValue>) {
        let result = match name {
            method::BLOB_PUT => rpc::params(params).and_then(|p| self.blob_put(to, p)),
            method::BLOB_FINISH => rpc::params(params).and_then(|p| self.blob_finish(to, &p)),
            method::BLOB_GET => rpc::params(params).and_then(|p| self.blob_get(to, &p)),
            method::BLOB_STAT => rpc::params(params).and_then(|p| self.blob_stat(to, &p)),
            name => Err(Error::new(
                Code::NotImplemented,
                format!("expected a method of blob, found {name}"),
            )),
        };
        if let Err(error) = result {
            self.refuse(to, &error);
        }
    }

    /// The peer behind a link, if blobs are open to it.
    fn blob_peer(&self, link: LinkId) -> Result<&Peer, Error> {
        let peer = self.kv_peer(link)?;
        match &peer.role {
            Role::Instance(_) => Ok(peer),
            Role::Client { scopes, .. } if scopes.may_blob() || scopes.is_admin() => Ok(peer),
            Role::Client { .. } => Err(Error::new(
                Code::Unauthorized,
                "expected the scope blob, found none",
            )),
            Role::Unknown => Err(Error::new(Code::Unauthorized, "expected connect first")),
        }
    }

    pub(super) fn work(&mut self, work: Work) {
        self.outputs.push(Output::Blob(BlobRequest(work)));
    }

    fn blob_put(&mut self, to: &ReplyTo, params: BlobPutParams) -> Result<(), Error> {
        let peer = self.blob_peer(to.link)?;
        let (source, is_remote, dir) = (peer.source.clone(), peer.is_remote, dir_of(&peer.role));
        let hash = params.sha256.as_deref().map(sha256).transpose()?;
        if let Some(media_type) = &params.media_type {
            check_media_type(media_type)?;
        }
        self.check_room()?;
        self.blobs
            .check(&source, params.bytes, &self.options.retention)?;
        let upload: Box<str> = format!("u{}", self.random_hex(2)).into();
        let token = is_remote.then(|| self.blob_token());
        self.blobs.add_upload(
            upload.clone(),
            Upload {
                source,
                dir: dir.clone(),
                bytes: params.bytes,
                hash,
                media_type: params.media_type.map(Into::into),
                token: token.as_ref().map(|(_, hash)| *hash),
                told: token.map(|(token, _)| token),
                deadline_ms: self.now.mono_ms + UPLOAD_MS,
                expires_at_ms: self.now.wall_ms + UPLOAD_MS as i64,
                phase: UploadPhase::Opening,
            },
        );
        let to = to.clone();
        self.work(Work::Open { dir, upload, to });
        Ok(())
    }

    fn opened(&mut self, name: &str, to: &ReplyTo, result: Result<PathBuf, BlobFault>) {
        let Some(upload) = self.blobs.uploads.get_mut(name) else {
            return self.refuse(to, &no_upload(name));
        };
        match result {
            Ok(path) => {
                upload.phase = UploadPhase::Open;
                let token = upload.told.take();
                let answer = BlobPutResult {
                    upload: name.to_owned(),
                    path: token.is_none().then(|| path.to_string_lossy().into_owned()),
                    url: token.is_some().then(|| format!("/v1/blobs/uploads/{name}")),
                    token,
                    expires_at: Some(rfc3339(upload.expires_at_ms)),
                };
                self.answer(to, &answer);
            }
            Err(fault) => {
                self.blobs.take_upload(name);
                self.refuse(to, &fault_error(&fault));
            }
        }
    }

    fn blob_finish(&mut self, to: &ReplyTo, params: &BlobFinishParams) -> Result<(), Error> {
        let source = self.blob_peer(to.link)?.source.clone();
        let hash = sha256(&params.sha256)?;
        let name = params.upload.as_str();
        if let Some(done) = self.blobs.finished.get(name) {
            // Asked again: the answer was lost with a link.
            if done.source == source && done.result.id == hash.id() {
                let result = done.result.clone();
                self.answer(to, &result);
                return Ok(());
            }
        }
        let upload = self.blobs.uploads.get_mut(name);
        let upload = upload.filter(|upload| upload.source == source);
        let upload = upload.ok_or_else(|| no_upload(name))?;
        match &mut upload.phase {
            UploadPhase::Finishing {
                hash: asked,
                waiters,
            } if *asked == hash && waiters.len() < FINISH_WAITERS_MAX => {
                waiters.push(to.clone());
                return Ok(());
            }
            UploadPhase::Open => {}
            UploadPhase::Opening | UploadPhase::Writing | UploadPhase::Finishing { .. } => {
                return Err(Error::new(
                    Code::Unavailable,
                    "expected an upload that is filled, found it being filled or checked",
                )
                .retry_after(100));
            }
        }
        if let Some(said) = upload.hash.filter(|said| *said != hash) {
            return Err(Error::new(
                Code::InvalidArguments,
                format!("expected {said:?} as blob.put said, found {hash:?}"),
            ));
        }
        upload.phase = UploadPhase::Finishing {
            hash,
            waiters: vec![to.clone()],
        };
        self.blobs.pin(hash);
        match self.blobs.leaving.get_mut(&hash) {
            Some(leaving) => leaving.deferred.push(name.into()),
            None => self.verify(name),
        }
        Ok(())
    }

    /// Has the content of an upload checked and moved to where it is kept.
    pub(super) fn verify(&mut self, name: &str) {
        let Some(upload) = self.blobs.uploads.get(name) else {
            return;
        };
        let UploadPhase::Finishing { hash, .. } = upload.phase else {
            return;
        };
        let (dir, bytes) = (upload.dir.clone(), upload.bytes);
        self.work(Work::Finish {
            dir,
            upload: name.into(),
            bytes,
            hash,
        });
    }

    fn verified(&mut self, name: &str, hash: BlobHash, result: Result<(), BlobFault>) {
        let error = match result {
            Ok(()) => match self.record(name, hash) {
                Ok(()) => return,
                Err(error) => error,
            },
            Err(fault @ BlobFault::WrongSize { .. }) => {
                // It may be that not everything is written yet: the peer goes on.
                self.blobs.unpin(hash);
                let Some(upload) = self.blobs.uploads.get_mut(name) else {
                    return;
                };
                let phase = std::mem::replace(&mut upload.phase, UploadPhase::Open);
                self.refuse_waiters(phase, &fault_error(&fault));
                return;
            }
            Err(fault) => fault_error(&fault),
        };
        self.not_kept(name, hash, &error);
    }

    /// Stages the record of a content that is durable.
    fn record(&mut self, name: &str, hash: BlobHash) -> Result<(), Error> {
        let upload = self.blobs.uploads.get(name);
        let upload = upload.ok_or_else(|| no_upload(name))?;
        let kept = self.blobs.kept.get(&hash);
        let is_putter = kept.is_some_and(|blob| blob.putters.contains(&upload.source));
        if !is_putter && kept.is_some_and(|blob| blob.putters.len() >= BLOB_PUTTERS_MAX) {
            return Err(Error::new(
                Code::QuotaExceeded,
                format!("expected at most {BLOB_PUTTERS_MAX} sources that put the same content"),
            ));
        }
        let media_type = match kept {
            Some(blob) => blob.media_type.clone(),
            None => upload.media_type.clone(),
        };
        let row = BlobRow {
            bytes: upload.bytes,
            media_type,
            put_ms: self.now.wall_ms,
        };
        let putter = StateOp {
            key: format!("bp/{hash}/{}", upload.source).into_bytes(),
            value: Some(Vec::new()),
            expect: Expect::Any,
            expires_at_ms: None,
        };
        let commit = Commit {
            state: vec![
                crate::router::put_record(format!("b/{hash}").into_bytes(), &row),
                putter,
            ],
            ..Commit::default()
        };
        let upload = name.into();
        self.stage(commit, Ticket::Blob(BlobTicket::Put { upload, hash }));
        Ok(())
    }

    /// The content of an upload is not kept after all; its file, if nothing else needs it, goes.
    fn not_kept(&mut self, name: &str, hash: BlobHash, error: &Error) {
        self.blobs.unpin(hash);
        if let Some(upload) = self.blobs.take_upload(name) {
            self.work(Work::Drop {
                dir: upload.dir.clone(),
                upload: name.into(),
            });
            self.refuse_waiters(upload.phase, error);
        }
        self.remove_orphan(hash);
    }

    fn refuse_waiters(&mut self, phase: UploadPhase, error: &Error) {
        if let UploadPhase::Finishing { waiters, .. } = phase {
            for to in waiters {
                self.refuse(&to, error);
            }
        }
    }

    pub(crate) fn blob_committed(&mut self, ticket: BlobTicket, result: Result<(), CommitError>) {
        match (ticket, result) {
            (BlobTicket::Put { upload, hash }, Ok(())) => self.put_done(&upload, hash),
            (BlobTicket::Put { upload, hash }, Err(error)) => {
                let mut error = commit_error(&error);
                error.index = None;
                self.not_kept(&upload, hash, &error);
            }
            (BlobTicket::Collect(hashes), result) => self.collected(&hashes, result.is_ok()),
        }
    }

    fn put_done(&mut self, name: &str, hash: BlobHash) {
        self.blobs.unpin(hash);
        let Some(upload) = self.blobs.take_upload(name) else {
            return;
        };
        let put_ms = self.now.wall_ms;
        if !self.blobs.kept.contains_key(&hash) {
            self.blobs.bytes += upload.bytes;
        }
        let blob = self
            .blobs
            .kept
            .entry(hash)
            .or_insert_with(|| Blob::new(upload.bytes, upload.media_type.clone(), put_ms));
        blob.put_ms = put_ms;
        let result = BlobFinishResult {
            id: hash.id(),
            bytes: blob.bytes,
            media_type: blob.media_type.as_deref().map(ToOwned::to_owned),
        };
        let is_new_putter = !blob.putters.contains(&upload.source);
        if is_new_putter {
            blob.putters.push(upload.source.clone());
        }
        if blob.last_named == 0 {
            let due_ms = self.options.retention.blob_due_ms(put_ms);
            self.blobs.set_due(hash, Some(due_ms));
        }
        if is_new_putter {
            self.blobs.use_bytes(&upload.source, upload.bytes);
        }
        self.counters.add("blobs_put", 1);
        let finished = Finished {
            source: upload.source,
            result: result.clone(),
            deadline_ms: upload.deadline_ms,
        };
        self.blobs.add_finished(name.into(), finished);
        if let UploadPhase::Finishing { waiters, .. } = upload.phase {
            for to in waiters {
                self.answer(&to, &result);
            }
        }
    }

    fn blob_get(&mut self, to: &ReplyTo, params: &BlobGetParams) -> Result<(), Error> {
        let hash = self.readable(to.link, &params.id)?;
        let peer = self.blob_peer(to.link)?;
        let (is_remote, dir) = (peer.is_remote, dir_of(&peer.role));
        if !is_remote {
            let to = to.clone();
            self.work(Work::Give { dir, hash, to });
            return Ok(());
        }
        let token = self.grant_read(hash);
        let blob = self.blobs.kept.get(&hash);
        let blob = blob.ok_or_else(|| no_blob(&params.id))?;
        let answer = BlobGetResult {
            bytes: blob.bytes,
            media_type: blob.media_type.as_deref().map(ToOwned::to_owned),
            path: None,
            url: Some(format!("/v1/blobs/{}", hash.id())),
            token: Some(token),
            expires_at: Some(rfc3339(self.now.wall_ms + BLOB_ACCESS_MS as i64)),
        };
        self.answer(to, &answer);
        Ok(())
    }

    fn given(
        &mut self,
        dir: Box<str>,
        hash: BlobHash,
        to: &ReplyTo,
        result: Result<PathBuf, BlobFault>,
    ) {
        let path = match result {
            Ok(path) => path,
            Err(fault) => return self.refuse(to, &fault_error(&fault)),
        };
        self.will_take_back(dir.clone(), hash);
        let Some(blob) = self.blobs.kept.get(&hash) else {
            return self.refuse(to, &no_blob(&hash.id()));
        };
        let answer = BlobGetResult {
            bytes: blob.bytes,
            media_type: blob.media_type.as_deref().map(ToOwned::to_owned),
            path: Some(path.to_string_lossy().into_owned()),
            url: None,
            token: None,
            expires_at: Some(rfc3339(self.now.wall_ms + BLOB_ACCESS_MS as i64)),
        };
        self.answer(to, &answer);
    }

    /// A file was given; it is taken back after a while, or earlier when there are too many.
    fn will_take_back(&mut self, dir: Box<str>, hash: BlobHash) {
        let deadline_ms = self.now.mono_ms + BLOB_ACCESS_MS;
        let key = (dir.clone(), hash);
        if let Some(before) = self.blobs.given_due.insert(key, deadline_ms) {
            self.blobs.given.remove(&(before, dir.clone(), hash));
        }
        self.blobs.given.insert((deadline_ms, dir, hash));
        if self.blobs.given.len() > GIVEN_MAX {
            self.take_back_oldest();
        }
    }

    pub(super) fn take_back_oldest(&mut self) {
        if let Some((_, dir, hash)) = self.blobs.given.pop_first() {
            self.blobs.given_due.remove(&(dir.clone(), hash));
            self.work(Work::TakeBack { dir, hash });
        }
    }

    fn blob_stat(&mut self, to: &ReplyTo, params: &BlobGetParams) -> Result<(), Error> {
        let hash = self.readable(to.link, &params.id)?;
        let retention = self.options.retention;
        let blob = self.blobs.kept.get(&hash);
        let blob = blob.ok_or_else(|| no_blob(&params.id))?;
        let named = blob.last_named > 0;
        let answer = BlobStatResult {
            id: hash.id(),
            bytes: blob.bytes,
            media_type: blob.media_type.as_deref().map(ToOwned::to_owned),
            created_at: rfc3339(blob.put_ms),
            named,
            expires_at: (!named).then(|| rfc3339(retention.blob_due_ms(blob.put_ms))),
        };
        self.answer(to, &answer);
        Ok(())
    }

    /// The blob of this name, if it is there and this peer may read it.
    pub(super) fn readable(&self, link: LinkId, id: &str) -> Result<BlobHash, Error> {
        let peer = self.blob_peer(link)?;
        let hash = BlobHash::parse_id(id).ok_or_else(|| {
            Error::new(
                Code::InvalidArguments,
                format!("expected `sha256:` and 64 lower case hex digits, found {id:?}"),
            )
        })?;
        let blob = self.blobs.kept.get(&hash);
        blob.filter(|blob| self.may_read_blob(peer, blob))
            .map(|_| hash)
            .ok_or_else(|| no_blob(id))
    }

    /// Its putter may read it, and whoever may receive an event that names it.
    fn may_read_blob(&self, peer: &Peer, blob: &Blob) -> bool {
        if blob.putters.contains(&peer.source) {
            return true;
        }
        let mut topics = blob.topics.iter();
        match &peer.role {
            Role::Client { scopes, .. } => {
                scopes.is_admin() || topics.any(|topic| scopes.may_receive(topic))
            }
            Role::Instance(key) => self.instances.get(key).is_some_and(|instance| {
                let filters = &instance.setup.grants.receive;
                topics.any(|topic| filters.iter().any(|filter| filter.matches(topic)))
            }),
            Role::Unknown => false,
        }
    }

    /// The answer to a piece of work on files.
    pub fn blob_done(&mut self, answer: BlobAnswer) {
        match answer.0 {
            Answer::Opened { upload, to, result } => self.opened(&upload, &to, result),
            Answer::Finished {
                upload,
                hash,
                result,
            } => self.verified(&upload, hash, result),
            Answer::Given {
                dir,
                hash,
                to,
                result,
            } => self.given(dir, hash, &to, result),
            Answer::Removed { hash, result } => self.removed(hash, result),
            Answer::Listed { first, result } => self.swept(first, result),
            Answer::Tidied(result) => {
                if result.is_err() {
                    self.counters.add("blob_faults", 1);
                }
            }
        }
    }
}

/// The directory of a peer's files. Neither a plugin nor an instance has a dot in its name.
fn dir_of(role: &Role) -> Box<str> {
    match role {
        Role::Instance(key) => format!("i.{}.{}", key.plugin, key.instance).into(),
        Role::Client { name, .. } => format!("c.{name}").into(),
        Role::Unknown => "x".into(),
    }
}

fn sha256(text: &str) -> Result<BlobHash, Error> {
    BlobHash::parse(text).ok_or_else(|| {
        Error::new(
            Code::InvalidArguments,
            format!("expected sha256 as 64 lower case hex digits, found {text:?}"),
        )
    })
}

fn check_media_type(text: &str) -> Result<(), Error> {
    let is_plain = text.bytes().all(|byte| (0x20..0x7f).contains(&byte));
    if !text.is_empty() && text.len() <= MEDIA_TYPE_BYTES_MAX && is_plain {
        return Ok(());
    }
    Err(Error::new(
        Code::InvalidArguments,
        format!(
            "expected a media type of 1 to {MEDIA_TYPE_BYTES_MAX} printable ASCII characters, \
             found {text:?}"
        ),
    ))
}

fn fault_error(fault: &BlobFault) -> Error {
    let code = match fault {
        BlobFault::Missing => Code::NotFound,
        BlobFault::WrongSize { .. } | BlobFault::WrongHash { .. } => Code::InvalidArguments,
        BlobFault::NoRoom => Code::StorageFull,
        BlobFault::Failed(_) => Code::Internal,
    };
    let error = Error::new(code, fault.to_string());
    match fault {
        BlobFault::WrongSize { expected, found } => {
            error.detail(serde_json::json!({ "expected": expected, "found": found }))
        }
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::instance::InstanceKey;

    #[test]
    fn no_two_peers_share_a_directory_and_none_leaves_it() {
        let client = |name: &str| {
            dir_of(&Role::Client {
                name: Arc::from(name),
                scopes: Arc::default(),
            })
        };
        let dirs = [
            dir_of(&Role::Instance(InstanceKey::new("mail", "a"))),
            client("mail.a"),
            client("i.mail.a"),
            client(".."),
        ];
        for (index, dir) in dirs.iter().enumerate() {
            assert!(!dir.starts_with('.') && !dir.contains('/'), "{dir}");
            assert!(!dirs[..index].contains(dir), "{dir}");
        }
    }

    #[test]
    fn a_media_type_is_short_printable_text() {
        assert!(check_media_type("image/png; q=1").is_ok());
        for wrong in ["", "a\nb", "é", &"x".repeat(256)] {
            assert!(check_media_type(wrong).is_err(), "{wrong:?}");
        }
    }
}
