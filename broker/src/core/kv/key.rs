//! Whose keys, and how they are spelled in the store.
//!
//! | scope | prefix |
//! |---|---|
//! | `instance` | `k/i/<plugin>/<instance>/` |
//! | `plugin` | `k/p/<plugin>/` |
//! | `workspace` | `k/w/` |
//! | `session` | `k/s/<plugin>/<instance>/<first 16 bytes of SHA-256 of the session key>/` |
//! | `client` | `k/c/<client>/` |
//!
//! Then the key as it is: it comes last, so nothing in it can reach another owner. Names before it have no
//! slash (`contract::id`). Tombstones have the same spelling with `kt` in place of `k`.

use std::fmt::Write;

use sha2::{Digest, Sha256};
use trunkline_contract::error::{Code, Error};
use trunkline_contract::limits::{KV_KEY_BYTES_MAX, SESSION_ID_BYTES_MAX};
use trunkline_contract::rpc::KvScope;

use crate::core::peer::{Peer, Role};

/// Longest session key: kind, instance and session id.
const SESSION_KEY_BYTES_MAX: usize = SESSION_ID_BYTES_MAX + 256;

/// Keys of one owner in one scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Space {
    /// Whose quota it counts for.
    pub(crate) owner: Box<str>,
    /// Between `k/` and the key.
    path: String,
    scope: KvScope,
}

impl Space {
    /// The space that this peer means, if it may.
    pub(crate) fn of(peer: &Peer, scope: KvScope, session: Option<&str>) -> Result<Self, Error> {
        if session.is_some() != (scope == KvScope::Session) {
            return Err(Error::new(
                Code::InvalidArguments,
                "expected a session key with scope session and with no other",
            ));
        }
        let mut path = match (&peer.role, scope) {
            (Role::Instance(key), KvScope::Instance) => {
                format!("i/{}/{}/", key.plugin, key.instance)
            }
            (Role::Instance(key), KvScope::Plugin) => format!("p/{}/", key.plugin),
            (Role::Instance(_) | Role::Client { .. }, KvScope::Workspace) => "w/".to_owned(),
            (Role::Instance(key), KvScope::Session) => {
                format!("s/{}/{}/", key.plugin, key.instance)
            }
            (Role::Client { name, .. }, KvScope::Client) => format!("c/{name}/"),
            (Role::Instance(_), _) => {
                return Err(expected("instance, plugin, workspace or session", scope));
            }
            (Role::Client { .. }, _) => return Err(expected("client or workspace", scope)),
            (Role::Unknown, _) => {
                return Err(Error::new(Code::Unauthorized, "expected connect first"));
            }
        };
        let owner = path.as_str().into();
        if let Some(session) = session {
            if session.is_empty() || session.len() > SESSION_KEY_BYTES_MAX {
                return Err(Error::new(
                    Code::InvalidArguments,
                    format!(
                        "expected a session key of 1 to {SESSION_KEY_BYTES_MAX} bytes, found {}",
                        session.len()
                    ),
                ));
            }
            for byte in &Sha256::digest(session.as_bytes())[..16] {
                write!(path, "{byte:02x}").expect("a String takes every write");
            }
            path.push('/');
        }
        Ok(Self { owner, path, scope })
    }

    /// Checks a key, or the prefix of keys (which may be empty), and that this peer may use it.
    pub(crate) fn check(peer: &Peer, key: &str, is_prefix: bool) -> Result<(), Error> {
        if key.len() > KV_KEY_BYTES_MAX || (key.is_empty() && !is_prefix) {
            return Err(Error::new(
                Code::InvalidArguments,
                format!(
                    "expected a key of 1 to {KV_KEY_BYTES_MAX} bytes, found {}",
                    key.len()
                ),
            ));
        }
        if key.chars().any(char::is_control) {
            return Err(Error::new(
                Code::InvalidArguments,
                format!("expected a key without control characters, found {key:?}"),
            ));
        }
        match &peer.role {
            Role::Client { scopes, .. } if !scopes.may_kv(key) => Err(Error::new(
                Code::Unauthorized,
                format!("expected the scope kv: with a prefix of {key:?}, found none"),
            )),
            _ => Ok(()),
        }
    }

    /// The store's key.
    pub(crate) fn entry(&self, key: &str) -> Vec<u8> {
        format!("k/{}{key}", self.path).into_bytes()
    }

    /// The store's key of the tombstone.
    pub(crate) fn tombstone(&self, key: &str) -> Vec<u8> {
        format!("kt/{}{key}", self.path).into_bytes()
    }

    /// The key as its owner knows it.
    pub(crate) fn read<'a>(&self, stored: &'a [u8]) -> Option<&'a str> {
        let text = std::str::from_utf8(stored).ok()?;
        let text = text
            .strip_prefix("kt/")
            .or_else(|| text.strip_prefix("k/"))?;
        text.strip_prefix(self.path.as_str())
    }
}

/// The owner that a stored key counts for.
pub(crate) fn owner_of(stored: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(stored).ok()?;
    let text = text
        .strip_prefix("kt/")
        .or_else(|| text.strip_prefix("k/"))?;
    let names = match text.as_bytes().first()? {
        b'i' | b's' => 3,
        b'p' | b'c' => 2,
        _ => 1,
    };
    let (end, _) = text.match_indices('/').nth(names - 1)?;
    Some(&text[..=end])
}

fn expected(scopes: &str, found: KvScope) -> Error {
    Error::new(
        Code::InvalidArguments,
        format!("expected scope {scopes}, found {found:?}").to_lowercase(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instance::InstanceKey;

    fn plugin(name: &str) -> Peer {
        let mut peer = Peer::new();
        peer.role = Role::Instance(InstanceKey::parse(name));
        peer
    }

    #[test]
    fn a_key_reads_back_and_counts_for_its_owner() {
        let peer = plugin("mail/a");
        for (scope, session, owner) in [
            (KvScope::Instance, None, "i/mail/a/"),
            (KvScope::Plugin, None, "p/mail/"),
            (KvScope::Workspace, None, "w/"),
            (KvScope::Session, Some("mail.a/../b"), "s/mail/a/"),
        ] {
            let space = Space::of(&peer, scope, session).unwrap();
            assert_eq!(&*space.owner, owner);
            for key in ["x", "../../p/other/x", "a/b/c", "%2F"] {
                for stored in [space.entry(key), space.tombstone(key)] {
                    assert_eq!(space.read(&stored), Some(key));
                    assert_eq!(owner_of(&stored), Some(owner));
                    assert!(stored.len() <= 512);
                }
            }
        }
    }

    #[test]
    fn a_longest_key_fits_the_store() {
        let name = format!("{}/{}", "p".repeat(30), "i".repeat(64));
        let space = Space::of(&plugin(&name), KvScope::Session, Some("s")).unwrap();
        assert!(space.tombstone(&"k".repeat(KV_KEY_BYTES_MAX)).len() <= 512);
    }
}
