//! Who may attach by hand, and as whom.

use std::sync::Arc;

use rustc_hash::FxHashMap;
use sha2::{Digest, Sha256};
use trunkline_contract::grant::Scopes;

use super::peer::Role;
use super::state::Core;
use crate::router::LinkId;

/// What one token allows.
#[derive(Debug, Clone)]
pub struct ClientGrant {
    /// The client's name; `None` lets the peer choose one (the owner's token).
    pub name: Option<Arc<str>>,
    /// What it may do.
    pub scopes: Arc<Scopes>,
}

/// Tokens by their SHA-256, so that neither a dump nor a timing tells one.
#[derive(Debug, Clone, Default)]
pub struct Tokens {
    by_hash: FxHashMap<[u8; 32], ClientGrant>,
}

impl Tokens {
    /// Lets the holder of `token` in.
    pub fn add(&mut self, token: &str, grant: ClientGrant) {
        self.by_hash
            .insert(Sha256::digest(token.as_bytes()).into(), grant);
    }

    /// What this token allows, if anything.
    pub fn find(&self, token: &str) -> Option<&ClientGrant> {
        let hash: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        self.by_hash.get(&hash)
    }
}

impl Core {
    /// Says whether somebody could attach with this token.
    pub fn is_token(&self, token: &str) -> bool {
        self.options.tokens.find(token).is_some()
    }

    /// Takes another set of tokens. Links of the clients named are closed: when they come again, they are
    /// judged by it.
    pub fn change_clients(&mut self, tokens: Tokens, changed: &[String]) {
        self.options.tokens = tokens;
        let is_meant = |role: &Role| match role {
            Role::Client { name, .. } => changed.iter().any(|other| **other == **name),
            Role::Instance(_) | Role::Unknown => false,
        };
        let links: Vec<LinkId> = self
            .peers
            .iter()
            .filter(|(_, peer)| is_meant(&peer.role))
            .map(|(link, _)| *link)
            .collect();
        for link in links {
            self.close(link);
        }
    }
}
