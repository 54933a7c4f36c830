//! What there may be one worker for: an account, known by a part of the config, and the lock of it.
//!
//! It is a lock of the broker, named by a hash: who has it is the only one of the plugin's instances that works
//! with the credential, and its token fences what a former holder would still commit.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use sha2::{Digest, Sha256};
use trunkline_contract::error::{Code, Error};
use trunkline_contract::rpc::IfLock;
use trunkline_patterns::connection::fill;

use crate::context::InstanceContext;
use crate::lock::Lock;

/// How long the lock outlives a holder that vanished.
pub(crate) const LOCK_TTL: Duration = Duration::from_secs(30);
/// One wait for the lock; then it is asked for again.
pub(crate) const LOCK_WAIT: Duration = Duration::from_secs(30);

/// Gives what there may be one worker for: what the author said, else the values of the manifest's `unique`
/// keys; none where there are none.
pub(crate) fn credential_of(
    ctx: &InstanceContext,
    said: Option<&str>,
) -> Result<Option<String>, Error> {
    if let Some(said) = said {
        return filled(said, ctx).map(Some);
    }
    let core = ctx.instance_core();
    let config = core.config();
    let values = core.unique().iter().filter_map(|key| config.get(key));
    let values: Vec<_> = values.map(ToString::to_string).collect();
    Ok((!values.is_empty()).then(|| values.join(" ")))
}

/// Names the lock of a credential without showing it.
pub(crate) fn lock_name(engine: &str, kind: &str, credential: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(kind.as_bytes());
    hash.update([0]);
    hash.update(credential.as_bytes());
    let hash: [u8; 32] = hash.finalize().into();
    let (first, _) = hash.split_first_chunk().expect("32 bytes hold 16");
    format!("{engine}.{:032x}", u128::from_be_bytes(*first))
}

/// Fills `{config.key}`.
pub(crate) fn filled(text: &str, ctx: &InstanceContext) -> Result<String, Error> {
    let config = ctx.instance_core().config();
    let text = Value::String(text.to_owned());
    match fill(&text, &[("config", &*config)]) {
        Ok(Value::String(text)) => Ok(text),
        Ok(Value::Number(number)) => Ok(number.to_string()),
        Ok(_) => Err(Error::new(
            Code::ConfigInvalid,
            "expected a text in the config",
        )),
        Err(error) => Err(Error::new(Code::ConfigInvalid, error.to_string())),
    }
}

/// Is the right to work with a credential for the time of one event.
#[derive(Debug)]
pub(crate) struct Lease {
    lock: Lock,
    /// What a commit names to be refused once the right is another's.
    pub(crate) if_lock: IfLock,
}

impl Lease {
    /// Takes it, waiting for whoever has it; nothing where it is not given up in time.
    pub(crate) async fn take(
        ctx: &InstanceContext,
        name: String,
    ) -> Result<Option<Arc<Self>>, Error> {
        match ctx.lock(&name).ttl(LOCK_TTL).wait(LOCK_WAIT).await {
            Ok(lock) => {
                let token = lock.token();
                let if_lock = IfLock { name, token };
                Ok(Some(Arc::new(Self { lock, if_lock })))
            }
            Err(error) if error.code == Code::LockHeld => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Waits until somebody else may have it.
    pub(crate) async fn lost(&self) {
        self.lock.lost().await;
    }
}
