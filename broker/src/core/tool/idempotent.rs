//! Repeats under one idempotency key: they join the call that runs, or get the answer of the one that ran.

use std::collections::VecDeque;
use std::sync::Arc;

use rustc_hash::FxHashMap;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use trunkline_contract::error::{Code, Error};
use trunkline_contract::limits::{
    IDEMPOTENT_RESULT_BYTES_MAX, IDEMPOTENT_RESULT_MS, IDEMPOTENT_RESULTS_MAX,
};

/// Names what a caller does.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) caller: Arc<str>,
    pub(super) tool: Arc<str>,
    pub(super) instance: Box<str>,
    pub(super) text: Box<str>,
}

/// Arguments in few bytes.
pub(super) type Fingerprint = [u8; 16];

pub(super) fn fingerprint(arguments: &RawValue) -> Fingerprint {
    let hash = Sha256::digest(arguments.get().as_bytes());
    hash[..16].try_into().expect("a hash has 32 bytes")
}

/// The answer of a call that ran.
pub(super) type Outcome = Result<Arc<RawValue>, Error>;

/// Answers of calls that ran, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Results {
    by_key: FxHashMap<Key, Kept>,
    order: VecDeque<(u64, Key)>,
    bytes: usize,
}

#[derive(Debug)]
struct Kept {
    at_ms: u64,
    fingerprint: Fingerprint,
    outcome: Outcome,
    bytes: usize,
}

impl Results {
    pub(super) fn find(
        &mut self,
        key: &Key,
        fingerprint: Fingerprint,
        now_ms: u64,
    ) -> Result<Option<Outcome>, Error> {
        self.expire(now_ms);
        match self.by_key.get(key) {
            None => Ok(None),
            Some(kept) if kept.fingerprint == fingerprint => Ok(Some(kept.outcome.clone())),
            Some(_) => Err(other_arguments(key)),
        }
    }

    pub(super) fn keep(
        &mut self,
        key: Key,
        fingerprint: Fingerprint,
        outcome: Outcome,
        now_ms: u64,
    ) {
        let bytes = match &outcome {
            Ok(result) => result.get().len(),
            Err(error) => error.message.len(),
        };
        if bytes > IDEMPOTENT_RESULT_BYTES_MAX {
            return;
        }
        self.forget(&key);
        self.bytes += bytes;
        self.order.push_back((now_ms, key.clone()));
        let kept = Kept {
            at_ms: now_ms,
            fingerprint,
            outcome,
            bytes,
        };
        self.by_key.insert(key, kept);
        while self.by_key.len() > IDEMPOTENT_RESULTS_MAX || self.bytes > IDEMPOTENT_RESULT_BYTES_MAX
        {
            self.drop_first();
        }
        self.expire(now_ms);
    }

    fn expire(&mut self, now_ms: u64) {
        while self
            .order
            .front()
            .is_some_and(|(at_ms, _)| now_ms.saturating_sub(*at_ms) >= IDEMPOTENT_RESULT_MS)
        {
            self.drop_first();
        }
    }

    fn drop_first(&mut self) {
        if let Some((at_ms, key)) = self.order.pop_front()
            && self
                .by_key
                .get(&key)
                .is_some_and(|kept| kept.at_ms == at_ms)
        {
            self.forget(&key);
        }
    }

    fn forget(&mut self, key: &Key) {
        if let Some(kept) = self.by_key.remove(key) {
            self.bytes -= kept.bytes;
            self.order
                .retain(|(at_ms, other)| *at_ms != kept.at_ms || other != key);
        }
    }
}

pub(super) fn other_arguments(key: &Key) -> Error {
    Error::new(
        Code::IdConflict,
        format!(
            "expected the arguments of the first call under idempotency key {:?}, found others",
            key.text
        ),
    )
}
