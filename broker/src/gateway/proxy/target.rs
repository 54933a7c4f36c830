//! Which server a path means, and what is left of the path for it.
//!
//! Paths are taken as they came: nothing is decoded, so an encoded slash stays one. A path with a segment
//! `.` or `..`, encoded or not, is refused: whoever asks has to resolve it, and a server that resolves it
//! again would answer for another path than the one that was judged on the way.

use axum::http::uri::PathAndQuery;
use axum::http::{StatusCode, Uri};
use trunkline_contract::error::{Code, Error};
use trunkline_contract::id;

use crate::gateway::error::Failure;
use crate::instance::InstanceKey;

/// Where paths of plugins' own servers begin.
pub(in crate::gateway) const PREFIX: &str = "/plugins/";

/// What a path means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// A path of a server.
    Path {
        /// Whose.
        key: InstanceKey,
        /// What was in front of it.
        prefix: String,
        /// What is left, query included.
        rest: PathAndQuery,
    },
    /// The server's root without its slash: relative links there would lead astray.
    Root {
        /// The same with a slash, relative to what was asked for.
        location: String,
    },
}

impl Target {
    /// Reads the address of a request.
    ///
    /// # Errors
    /// 404 when it cannot be an instance's, 400 when it leaves its own prefix.
    pub(super) fn of(uri: &Uri) -> Result<Self, Failure> {
        let path = uri.path();
        let unknown = || {
            let message = format!("there is nothing at {path}");
            Failure::from(Error::new(Code::NotFound, message))
        };
        let inner = path.strip_prefix(PREFIX).ok_or_else(unknown)?;
        let (plugin, inner) = inner.split_once('/').ok_or_else(unknown)?;
        let (instance, inner) = match inner.split_once('/') {
            Some((instance, inner)) => (instance, Some(inner)),
            None => (inner, None),
        };
        if !id::is_plugin_id(plugin) || !id::is_instance_name(instance) {
            return Err(unknown());
        }
        let query = uri.query().map(|query| format!("?{query}"));
        let query = query.unwrap_or_default();
        let Some(inner) = inner else {
            return Ok(Self::Root {
                location: format!("{instance}/{query}"),
            });
        };
        if inner.split('/').any(is_dots) {
            return Err(Failure::new(
                StatusCode::BAD_REQUEST,
                Code::InvalidArguments,
                "expected a path without the segments . and .., found one",
            ));
        }
        let rest = format!("/{inner}{query}").parse().map_err(|_| unknown())?;
        Ok(Self::Path {
            key: InstanceKey::new(plugin, instance),
            prefix: format!("{PREFIX}{plugin}/{instance}"),
            rest,
        })
    }
}

/// Says whether a segment is `.` or `..`, whatever of it is encoded, and whatever parameters follow.
fn is_dots(segment: &str) -> bool {
    let name = segment.split(';').next().unwrap_or_default();
    let plain = name.replace("%2e", ".").replace("%2E", ".");
    plain == "." || plain == ".."
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(address: &str) -> Result<Target, u16> {
        let uri: Uri = address.parse().unwrap();
        Target::of(&uri).map_err(|failure| failure.status().as_u16())
    }

    fn rest(address: &str) -> String {
        match of(address) {
            Ok(Target::Path { key, prefix, rest }) => {
                assert_eq!(key, InstanceKey::new("board", "main"));
                assert_eq!(prefix, "/plugins/board/main");
                rest.to_string()
            }
            other => panic!("expected a path, found {other:?}"),
        }
    }

    #[test]
    fn what_follows_the_instance_is_left_as_it_is() {
        for (address, expected) in [
            ("/plugins/board/main/", "/"),
            ("/plugins/board/main/a/b", "/a/b"),
            ("/plugins/board/main//a//", "//a//"),
            ("/plugins/board/main/a%2Fb%2f..%2fc", "/a%2Fb%2f..%2fc"),
            (
                "/plugins/board/main/...?../x=%2e&token=1",
                "/...?../x=%2e&token=1",
            ),
            ("/plugins/board/main/?", "/?"),
        ] {
            assert_eq!(rest(address), expected, "{address}");
        }
    }

    #[test]
    fn nothing_leads_out_of_a_prefix() {
        for address in [
            "/plugins/board/main/..",
            "/plugins/board/main/../../v1/tools",
            "/plugins/board/main/a/%2e%2E/b",
            "/plugins/board/main/.%2e/",
            "/plugins/board/main/..;x=1/b",
            "/plugins/board/main/./a",
        ] {
            assert_eq!(of(address), Err(400), "{address}");
        }
        for address in [
            "/plugins/board",
            "/plugins/../main/x",
            "/plugins/board/../x",
            "/plugins/Board/main/x",
            "/plugins/board%2Fmain/x",
            "/plugins//main/x",
        ] {
            assert_eq!(of(address), Err(404), "{address}");
        }
    }

    #[test]
    fn a_root_without_its_slash_is_redirected_where_it_is() {
        let location = |text: &str| {
            Ok(Target::Root {
                location: text.to_owned(),
            })
        };
        assert_eq!(of("/plugins/board/main"), location("main/"));
        assert_eq!(of("/plugins/board/main?a=b"), location("main/?a=b"));
    }
}
