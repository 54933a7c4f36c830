//! State kept by the broker: typed values under keys, with revisions.

use std::collections::BTreeMap;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures_util::future::try_join_all;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use trunkline_contract::error::{Code, Error};
use trunkline_contract::limits::KV_VALUE_BYTES_MAX;
use trunkline_contract::rpc::{
    Empty, KvChange, KvDeleteParams, KvGetParams, KvGetResult, KvListParams, KvListResult,
    KvOpKind, KvPutParams, KvRevision, KvScope, KvUnwatchParams, KvWatchParams, KvWatchResult,
    method,
};

use crate::duration::{IntoDuration, in_ms};
use crate::hub::Hub;
use crate::payload::Bytes;

/// How often [`Kv::update`] tries again when others write the same key.
const UPDATE_TRIES: u32 = 32;
/// How many keys one page of a list holds.
const PAGE: u32 = 256;
/// Changes that a watcher may have waiting before its stream ends.
const CHANGES_WAITING_MAX: usize = 1024;

/// Is one store of keys: an instance's, a plugin's, the workspace's, a session's, a client's.
#[derive(Clone)]
pub struct Kv {
    hub: Arc<Hub>,
    scope: KvScope,
    session: Option<String>,
    prefix: String,
}

/// Is a value with the revision it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<T = Bytes> {
    /// The key.
    pub key: String,
    /// The value.
    pub value: T,
    /// The number of its last change; compare, never count.
    pub revision: u64,
}

impl Kv {
    pub(crate) fn new(hub: Arc<Hub>, scope: KvScope, session: Option<String>) -> Self {
        Self {
            hub,
            scope,
            session,
            prefix: String::new(),
        }
    }

    pub(crate) fn prefixed(hub: Arc<Hub>, scope: KvScope, prefix: String) -> Self {
        Self {
            hub,
            scope,
            session: None,
            prefix,
        }
    }

    /// Gives the store that all instances of this plugin share.
    pub fn plugin(&self) -> Self {
        Self::new(self.hub.clone(), KvScope::Plugin, None)
    }

    /// Gives the store that everybody shares.
    pub fn workspace(&self) -> Self {
        Self::new(self.hub.clone(), KvScope::Workspace, None)
    }

    fn key(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    /// Reads a value; none if the key is absent.
    pub async fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, Error> {
        match self.entry(key).await? {
            Some(entry) => entry.value.json().map(Some),
            None => Ok(None),
        }
    }

    /// Reads a value with its revision; none if the key is absent.
    pub async fn entry(&self, key: &str) -> Result<Option<Entry>, Error> {
        match self.found(key).await {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.code == Code::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads a value that must be there.
    ///
    /// # Errors
    /// `not_found` if the key is absent.
    pub async fn require<T: DeserializeOwned>(&self, key: &str) -> Result<T, Error> {
        self.found(key).await?.value.json()
    }

    /// Reads several values, each by itself: not as they were at one moment. Absent keys are left out.
    pub async fn get_many<T: DeserializeOwned>(
        &self,
        keys: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> Result<BTreeMap<String, T>, Error> {
        let entries = self.entries(keys).await?;
        let read = |entry: Entry| Ok((entry.key, entry.value.json()?));
        entries.into_iter().map(read).collect()
    }

    /// Reads the entries of several keys, in their order, without the absent ones.
    pub(crate) async fn entries(
        &self,
        keys: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> Result<Vec<Entry>, Error> {
        let keys: Vec<_> = keys.into_iter().collect();
        let found = try_join_all(keys.iter().map(|key| self.entry(key.as_ref()))).await?;
        Ok(found.into_iter().flatten().collect())
    }

    pub(crate) async fn found(&self, key: &str) -> Result<Entry, Error> {
        let params = KvGetParams {
            scope: self.scope,
            session: self.session.clone(),
            key: self.key(key),
        };
        let found: KvGetResult = self.hub.call(method::KV_GET, &params).await?;
        Ok(Entry {
            key: key.to_owned(),
            value: Bytes::copy(&found.value),
            revision: found.revision,
        })
    }

    /// Writes bytes, as a text in base64: set options, then await it.
    pub fn put_bytes(&self, key: impl Into<String>, bytes: impl AsRef<[u8]>) -> Put {
        self.put(key, BASE64.encode(bytes))
    }

    /// Reads what [`Kv::put_bytes`] wrote; none if the key is absent.
    ///
    /// # Errors
    /// `invalid_payload` for a value that is no bytes.
    pub async fn get_bytes(&self, key: &str) -> Result<Option<Vec<u8>>, Error> {
        let Some(text) = self.get::<String>(key).await? else {
            return Ok(None);
        };
        let refused = |error| {
            let text = format!("expected bytes at {key:?}, as base64: {error}");
            Error::new(Code::InvalidPayload, text)
        };
        BASE64.decode(text).map(Some).map_err(refused)
    }

    /// Writes a value: set options, then await it. Gives the revision.
    pub fn put(&self, key: impl Into<String>, value: impl Serialize) -> Put {
        Put {
            kv: self.clone(),
            key: key.into(),
            value: Bytes::encode(&value),
            if_revision: None,
            ttl_ms: Ok(None),
        }
    }

    /// Deletes a key, whether or not it is there.
    pub async fn delete(&self, key: &str) -> Result<(), Error> {
        self.delete_if(key, None).await
    }

    /// Deletes a key that still has this revision, else `revision_conflict`.
    pub async fn delete_revision(&self, key: &str, revision: u64) -> Result<(), Error> {
        self.delete_if(key, Some(revision)).await
    }

    async fn delete_if(&self, key: &str, if_revision: Option<u64>) -> Result<(), Error> {
        let params = KvDeleteParams {
            scope: self.scope,
            session: self.session.clone(),
            key: self.key(key),
            if_revision,
        };
        self.hub
            .call::<KvRevision>(method::KV_DELETE, &params)
            .await
            .map(drop)
    }

    /// Lists the entries whose keys begin with `prefix`, in byte order.
    pub async fn list(&self, prefix: &str) -> Result<Vec<Entry>, Error> {
        let mut params = KvListParams {
            scope: self.scope,
            session: self.session.clone(),
            prefix: self.key(prefix),
            after: None,
            limit: Some(PAGE),
            values: true,
        };
        let mut entries = Vec::new();
        loop {
            let page: KvListResult = self.hub.call(method::KV_LIST, &params).await?;
            entries.extend(page.entries.into_iter().map(|entry| Entry {
                key: entry.key[self.prefix.len().min(entry.key.len())..].to_owned(),
                value: entry.value.as_deref().map(Bytes::copy).unwrap_or_default(),
                revision: entry.revision,
            }));
            match page.next {
                Some(after) => params.after = Some(after),
                None => return Ok(entries),
            }
        }
    }

    /// Changes a value by a function of what it is, again and again until nobody came between.
    ///
    /// ```
    /// # async fn example(ctx: trunkline::Context) -> trunkline::Result<()> {
    /// let count = ctx.kv().update("count", |n: Option<u64>| n.unwrap_or(0) + 1).ttl("7d").await?;
    /// # Ok(()) }
    /// ```
    pub fn update<T, F>(&self, key: impl Into<String>, change: F) -> Update<T, F>
    where
        T: Serialize + DeserializeOwned,
        F: FnMut(Option<T>) -> T,
    {
        Update {
            kv: self.clone(),
            key: key.into(),
            change,
            ttl_ms: Ok(None),
            value: std::marker::PhantomData,
        }
    }

    /// Changes a value by a function that may take its time; gives the new one.
    pub(crate) async fn change<R>(
        &self,
        key: &str,
        ttl: Option<Duration>,
        mut change: impl FnMut(Option<Bytes>) -> R,
    ) -> Result<Bytes, Error>
    where
        R: Future<Output = Result<Bytes, Error>>,
    {
        for _ in 0..UPDATE_TRIES {
            let found = self.entry(key).await?;
            let revision = found.as_ref().map_or(0, |entry| entry.revision);
            let value = change(found.map(|entry| entry.value)).await?;
            let mut put = self.put(key, value.clone()).if_revision(revision);
            put.ttl_ms = Ok(ttl.map(in_ms));
            match put.await {
                Ok(_) => return Ok(value),
                Err(error) if error.code == Code::RevisionConflict => {}
                Err(error) => return Err(error),
            }
        }
        let text = format!("{key:?} changed during all of {UPDATE_TRIES} tries");
        Err(Error::new(Code::RevisionConflict, text))
    }

    /// Follows the changes of keys that begin with `prefix`, from now on.
    pub async fn watch(&self, prefix: &str) -> Result<Watch, Error> {
        self.watch_from(prefix, None).await
    }

    /// Follows the changes after a revision; `gap` when it is too long ago.
    pub async fn watch_from(
        &self,
        prefix: &str,
        from_revision: Option<u64>,
    ) -> Result<Watch, Error> {
        let params = KvWatchParams {
            scope: self.scope,
            session: self.session.clone(),
            prefix: self.key(prefix),
            from_revision,
        };
        let (sender, changes) = mpsc::channel(CHANGES_WAITING_MAX);
        let hub = self.hub.clone();
        let watch: KvWatchResult = self
            .hub
            .call_seen(
                method::KV_WATCH,
                &params,
                Box::new(move |answer| {
                    if let Ok(watch) = answer.parse::<KvWatchResult>() {
                        hub.watch(watch.watch, sender);
                    }
                }),
            )
            .await?;
        Ok(Watch {
            hub: self.hub.clone(),
            id: watch.watch,
            prefix: self.prefix.len(),
            revision: watch.revision,
            changes,
        })
    }
}

/// Is a write on its way; await it.
#[must_use = "nothing is written until it is awaited"]
pub struct Put {
    kv: Kv,
    key: String,
    value: Result<Bytes, Error>,
    if_revision: Option<u64>,
    ttl_ms: Result<Option<u64>, Error>,
}

impl Put {
    /// Lets the key expire.
    pub fn ttl(mut self, ttl: impl IntoDuration) -> Self {
        self.ttl_ms = ttl.into_duration().map(|ttl| Some(in_ms(ttl)));
        self
    }

    /// Writes only if the key still has this revision, else `revision_conflict`; 0: if it is absent.
    pub fn if_revision(mut self, revision: u64) -> Self {
        self.if_revision = Some(revision);
        self
    }
}

impl IntoFuture for Put {
    type Output = Result<u64, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let value = self.value?;
            if value.as_str().len() > KV_VALUE_BYTES_MAX {
                // Refused as the broker would, which may not even take it as a frame.
                let text = format!(
                    "expected a value of at most {KV_VALUE_BYTES_MAX} bytes, found {}\n\
                     hint: what is large belongs into a blob",
                    value.as_str().len()
                );
                return Err(Error::new(Code::QuotaExceeded, text));
            }
            let params = KvPutParams {
                scope: self.kv.scope,
                session: self.kv.session.clone(),
                key: self.kv.key(&self.key),
                value: value.raw().to_owned(),
                if_revision: self.if_revision,
                ttl_ms: self.ttl_ms?,
            };
            let written: KvRevision = self.kv.hub.call(method::KV_PUT, &params).await?;
            Ok(written.revision)
        })
    }
}

/// Is a change on its way; await it for the new value.
#[must_use = "nothing is changed until it is awaited"]
pub struct Update<T, F> {
    kv: Kv,
    key: String,
    change: F,
    ttl_ms: Result<Option<u64>, Error>,
    value: std::marker::PhantomData<fn() -> T>,
}

impl<T, F> Update<T, F> {
    /// Lets the key expire.
    pub fn ttl(mut self, ttl: impl IntoDuration) -> Self {
        self.ttl_ms = ttl.into_duration().map(|ttl| Some(in_ms(ttl)));
        self
    }
}

impl<T, F> IntoFuture for Update<T, F>
where
    T: Serialize + DeserializeOwned + Send + 'static,
    F: FnMut(Option<T>) -> T + Send + 'static,
{
    type Output = Result<T, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(mut self) -> Self::IntoFuture {
        Box::pin(async move {
            let ttl = self.ttl_ms?.map(Duration::from_millis);
            let change = |found: Option<Bytes>| {
                let found = found.map(|value| value.json()).transpose();
                let changed = found.and_then(|found| Bytes::encode(&(self.change)(found)));
                std::future::ready(changed)
            };
            self.kv.change(&self.key, ttl, change).await?.json()
        })
    }
}

/// Follows changes of keys.
pub struct Watch {
    hub: Arc<Hub>,
    id: u64,
    prefix: usize,
    revision: u64,
    changes: mpsc::Receiver<KvChange>,
}

/// Is one change of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyChange {
    /// The key.
    pub key: String,
    /// Its revision now.
    pub revision: u64,
    /// Its value; none when it was deleted.
    pub value: Option<Bytes>,
}

impl Watch {
    /// Gives the last revision that this watch has seen: where to begin again.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Waits for the next change; none when the link was lost, or the watcher was too slow: begin
    /// again with [`Kv::watch_from`].
    ///
    /// Cancel safety: nothing is lost when it is dropped.
    pub async fn next(&mut self) -> Option<KeyChange> {
        let change = self.changes.recv().await?;
        self.revision = change.revision;
        let value = (change.op == KvOpKind::Put)
            .then(|| change.value.as_deref().map(Bytes::copy).unwrap_or_default());
        let key = change.key[self.prefix.min(change.key.len())..].to_owned();
        Some(KeyChange {
            key,
            revision: change.revision,
            value,
        })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.hub.unwatch(self.id);
        if let Some(link) = self.hub.link() {
            link.notify(method::KV_UNWATCH, &KvUnwatchParams { watch: self.id });
        }
    }
}

/// Keeps the empty parameter type in one place for requests without parameters.
pub(crate) const NOTHING: Empty = Empty {};
