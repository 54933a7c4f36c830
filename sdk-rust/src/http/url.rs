//! Where a call goes: a base and what follows it, made one URL that stays under the base.

use reqwest::Url;
use trunkline_contract::error::{Code, Error};

fn refused(text: impl Into<String>) -> Error {
    Error::new(Code::InvalidArguments, text)
}

/// Reads an address: `http` or `https`, with a host, without credentials.
pub(crate) fn read(text: &str, shown: &str) -> Result<Url, Error> {
    let url = Url::parse(text)
        .map_err(|error| refused(format!("expected a URL, found {shown:?}: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(refused(format!(
            "expected an address that begins with https:// or http://, found {shown:?}"
        )));
    }
    if !url.username().is_empty() || url.password().is_some() {
        let text = "expected an address without credentials; hint: say them with `basic`";
        return Err(refused(text));
    }
    Ok(url)
}

/// Puts a path behind a base. The result has the base's origin and lies under its path.
pub(crate) fn join(base: &Url, path: &str, shown_base: &str) -> Result<Url, Error> {
    if path.contains("://") && !path.starts_with(['/', '?']) {
        return Err(refused(format!(
            "expected a path under {shown_base}, found an address of its own"
        )));
    }
    let (path, query) = match path.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (path, None),
    };
    let mut url = base.clone();
    url.set_fragment(None);
    let under = base.path().trim_end_matches('/');
    if !path.is_empty() {
        let slash = if path.starts_with('/') { "" } else { "/" };
        url.set_path(&format!("{under}{slash}{path}"));
    }
    let is_under = url
        .path()
        .strip_prefix(under)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if !is_under || has_dots(path) {
        return Err(refused(format!(
            "expected a path under {shown_base}, found {path:?}, which leads out of it"
        )));
    }
    let query = [base.query(), query].into_iter().flatten();
    let query = query.collect::<Vec<_>>().join("&");
    url.set_query((!query.is_empty()).then_some(&query));
    Ok(url)
}

/// Says whether a path has a segment that means "up", in any spelling.
fn has_dots(path: &str) -> bool {
    path.split(['/', '\\'])
        .any(|segment| segment.to_ascii_lowercase().replace("%2e", ".") == "..")
}

/// Adds pairs to a query.
pub(crate) fn add_query(url: &mut Url, pairs: &[(String, String)]) {
    if !pairs.is_empty() {
        url.query_pairs_mut().extend_pairs(pairs);
    }
}

/// Writes an address for people: no query, no fragment, no credentials.
pub(crate) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    // Only a URL that cannot have any refuses this.
    if url.set_username("").is_err() || url.set_password(None).is_err() {
        return url.scheme().to_owned();
    }
    url.into()
}

/// Gives scheme, host and port: what has to be the same for headers to be sent on.
pub(crate) fn origin(url: &Url) -> String {
    url.origin().ascii_serialization()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(base: &str, path: &str) -> Result<String, Code> {
        let base = read(base, base).unwrap();
        join(&base, path, "the base")
            .map(String::from)
            .map_err(|error| error.code)
    }

    #[test]
    fn paths_are_put_behind_the_base() {
        for (base, path, expected) in [
            ("https://a.example/v1", "/x", "https://a.example/v1/x"),
            ("https://a.example/v1/", "x/y", "https://a.example/v1/x/y"),
            ("https://a.example", "", "https://a.example/"),
            ("https://a.example/v1", "", "https://a.example/v1"),
            (
                "https://a.example/v1?k=1",
                "/x?y=2",
                "https://a.example/v1/x?k=1&y=2",
            ),
            (
                "https://a.example",
                "@evil.example/x",
                "https://a.example/@evil.example/x",
            ),
            (
                "https://a.example",
                "//evil.example/x",
                "https://a.example//evil.example/x",
            ),
            ("https://a.example", "/x#frag", "https://a.example/x%23frag"),
        ] {
            assert_eq!(joined(base, path), Ok(expected.to_owned()));
        }
    }

    #[test]
    fn nothing_leads_out_of_the_base() {
        for path in [
            "/../y",
            "/%2e%2e/y",
            "/a/..",
            "https://evil.example/",
            "/a/.%2E/b",
        ] {
            assert_eq!(
                joined("https://a.example/v1", path),
                Err(Code::InvalidArguments),
                "{path}"
            );
        }
    }

    #[test]
    fn addresses_are_of_http_and_carry_no_credentials() {
        for text in [
            "ftp://a.example",
            "file:///etc/passwd",
            "https://u:p@a.example",
            "a.example",
        ] {
            assert!(read(text, "it").is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_shown_has_no_query() {
        let url = read("https://a.example/x?token=secret#f", "it").unwrap();
        assert_eq!(shown(&url), "https://a.example/x");
        assert_eq!(origin(&url), "https://a.example");
    }
}
