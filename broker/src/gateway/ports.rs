//! One port per token, shared by its requests.
//!
//! Kept by the token's SHA-256: the map holds no token. A port that nobody used for a while is closed; one
//! whose link has ended is opened anew by the next request, which the core then judges by what is so now.

use std::collections::HashMap;
use std::sync::Mutex;

use serde::Serialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use trunkline_contract::error::{Code, Error};

use super::auth::Token;
use super::limits::{PORT_IDLE_MS, PORTS_MAX};
use super::port::Port;
use crate::clock::{Clock, SystemClock};
use crate::runtime::Broker;

/// Ports by token.
#[derive(Debug)]
pub struct Ports {
    broker: Broker,
    open: Mutex<HashMap<[u8; 32], Entry>>,
    clock: SystemClock,
}

#[derive(Debug)]
struct Entry {
    port: Port,
    used_ms: u64,
}

impl Ports {
    /// Makes an empty pool.
    pub fn new(broker: Broker) -> Self {
        Self {
            broker,
            open: Mutex::default(),
            clock: SystemClock::new(),
        }
    }

    /// Gives the port of a token.
    ///
    /// # Errors
    /// `unauthorized` when the core does not know the token; `quota_exceeded` when too many tokens are in
    /// use at once.
    pub async fn of(&self, token: &Token) -> Result<Port, Error> {
        let key: [u8; 32] = Sha256::digest(token.expose().as_bytes()).into();
        let now_ms = self.clock.now().mono_ms;
        if let Some(entry) = self.lock().get_mut(&key)
            && !entry.port.is_over()
        {
            entry.used_ms = now_ms;
            return Ok(entry.port.clone());
        }
        let port = Port::open(&self.broker, token).await?;
        let mut open = self.lock();
        if open.len() >= PORTS_MAX && !open.contains_key(&key) {
            let oldest = open
                .iter()
                .filter(|(_, entry)| !entry.port.is_shared())
                .min_by_key(|(_, entry)| entry.used_ms)
                .map(|(key, _)| *key);
            let Some(oldest) = oldest else {
                let message = format!("{PORTS_MAX} tokens are in use at once, another has to wait");
                return Err(Error::new(Code::QuotaExceeded, message));
            };
            open.remove(&oldest);
        }
        let entry = Entry {
            port: port.clone(),
            used_ms: now_ms,
        };
        open.insert(key, entry);
        Ok(port)
    }

    /// Asks in the name of a token; on a link that had ended before, once more on a new one.
    ///
    /// # Errors
    /// As [`Ports::of`] and [`Port::call`].
    pub async fn call<P: Serialize + ?Sized>(
        &self,
        token: &Token,
        method: &str,
        params: &P,
    ) -> Result<Box<RawValue>, Error> {
        let port = self.of(token).await?;
        match port.call(method, params).await {
            Err(error) if error.code == Code::LinkLost && port.is_over() => {
                // A request that was under way is not repeated by itself; a revoked token says why.
                self.of(token).await?;
                Err(error)
            }
            answer => answer,
        }
    }

    /// Closes what nobody used for a while.
    pub fn sweep(&self) {
        let now_ms = self.clock.now().mono_ms;
        self.lock().retain(|_, entry| {
            let is_idle = now_ms.saturating_sub(entry.used_ms) >= PORT_IDLE_MS;
            !entry.port.is_over() && (entry.port.is_shared() || !is_idle)
        });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<[u8; 32], Entry>> {
        self.open.lock().expect("no panic while held")
    }
}
