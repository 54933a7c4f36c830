//! Who may attach by hand, and as whom.

use std::sync::Arc;

use rustc_hash::FxHashMap;
use sha2::{Digest, Sha256};
use trunkline_contract::error::{Code, Error};
use trunkline_contract::grant::Scopes;
use trunkline_contract::rpc;

use super::state::{Core, Timer};
use crate::router::LinkId;

/// What one token allows.
#[derive(Debug, Clone, PartialEq)]
pub struct ClientGrant {
    /// The client's name; `None` lets the peer choose one (the owner's token).
    pub name: Option<Arc<str>>,
    /// What it may do.
    pub scopes: Arc<Scopes>,
}

/// SHA-256 of a token.
pub type TokenHash = [u8; 32];

/// Tokens by their SHA-256, so that neither a dump nor a timing tells one.
#[derive(Debug, Clone, Default)]
pub struct Tokens {
    by_hash: FxHashMap<TokenHash, Known>,
}

#[derive(Debug, Clone, PartialEq)]
struct Known {
    grant: ClientGrant,
    expires_at_ms: Option<i64>,
}

/// A token that was found.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) hash: TokenHash,
    pub(crate) grant: ClientGrant,
    pub(crate) expires_at_ms: Option<i64>,
}

impl Tokens {
    /// Lets the holder of `token` in.
    pub fn add(&mut self, token: &str, grant: ClientGrant) {
        self.add_hash(Sha256::digest(token.as_bytes()).into(), grant, None);
    }

    /// Lets the holder of a token in that is known by its hash, until an instant.
    pub fn add_hash(&mut self, hash: TokenHash, grant: ClientGrant, expires_at_ms: Option<i64>) {
        let known = Known {
            grant,
            expires_at_ms,
        };
        self.by_hash.insert(hash, known);
    }

    /// What this token allows, if anything; `now_ms` is the wall clock.
    pub fn find(&self, token: &str, now_ms: i64) -> Option<&ClientGrant> {
        let hash: TokenHash = Sha256::digest(token.as_bytes()).into();
        self.known(&hash, now_ms).map(|known| &known.grant)
    }

    pub(crate) fn found(&self, token: &str, now_ms: i64) -> Option<Found> {
        let hash: TokenHash = Sha256::digest(token.as_bytes()).into();
        self.known(&hash, now_ms).map(|known| Found {
            hash,
            grant: known.grant.clone(),
            expires_at_ms: known.expires_at_ms,
        })
    }

    fn known(&self, hash: &TokenHash, now_ms: i64) -> Option<&Known> {
        let known = self.by_hash.get(hash)?;
        known
            .expires_at_ms
            .is_none_or(|at_ms| now_ms < at_ms)
            .then_some(known)
    }
}

impl Core {
    /// Says whether somebody could attach with this token.
    pub fn is_token(&self, token: &str) -> bool {
        self.options.tokens.find(token, self.now.wall_ms).is_some()
    }

    /// Takes another set of tokens. Links that came in by a token which is gone, or allows something else
    /// now, are closed; the others go on.
    pub fn change_clients(&mut self, tokens: Tokens) {
        let old = std::mem::replace(&mut self.options.tokens, tokens);
        let links: Vec<LinkId> = self
            .peers
            .iter()
            .filter(|(_, peer)| {
                peer.token.is_some_and(|hash| {
                    old.by_hash.get(&hash) != self.options.tokens.by_hash.get(&hash)
                })
            })
            .map(|(link, _)| *link)
            .collect();
        for link in links {
            self.end_token(link, "the token of this link was taken back or changed");
        }
    }

    /// Says why, and closes a link.
    fn end_token(&mut self, link: LinkId, why: &str) {
        let error = Error::new(Code::Unauthorized, why);
        self.write_control(link, |out| rpc::write_error(out, None, &error));
        self.close(link);
    }

    /// Notes by which token a link came in, and closes it when that expires.
    pub(crate) fn came_in_by(&mut self, link: LinkId, found: &Found) {
        if let Some(peer) = self.peers.get_mut(&link) {
            peer.token = Some(found.hash);
        }
        if let Some(at_ms) = found.expires_at_ms {
            let left_ms = at_ms.saturating_sub(self.now.wall_ms).max(0) as u64;
            self.arm(self.now.mono_ms + left_ms, Timer::TokenEnd(link));
        }
    }

    /// A link's token expires, unless the wall clock was set back meanwhile.
    pub(crate) fn token_ended(&mut self, link: LinkId) {
        let Some(hash) = self.peers.get(&link).and_then(|peer| peer.token) else {
            return;
        };
        match self.options.tokens.known(&hash, self.now.wall_ms) {
            None => self.end_token(link, "the token of this link has ended"),
            Some(known) => {
                if let Some(at_ms) = known.expires_at_ms {
                    let left_ms = at_ms.saturating_sub(self.now.wall_ms).max(1) as u64;
                    self.arm(self.now.mono_ms + left_ms, Timer::TokenEnd(link));
                }
            }
        }
    }
}
