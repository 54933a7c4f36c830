//! The bearer token of a request.
//!
//! Taken from the header `Authorization` alone: an address is written to logs, histories and referrers, so
//! a token in a query string is refused and has to be made anew.

use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, Uri};
use trunkline_contract::error::{Code, Error};

use super::error::Failure;

/// Names under which people put tokens into addresses.
const QUERY_NAMES: [&str; 6] = [
    "token",
    "access_token",
    "auth_token",
    "api_key",
    "apikey",
    "authorization",
];

/// Is a token as it came, not yet judged.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// Takes a token in.
    pub fn new(token: impl Into<String>) -> Self {
        Self(token.into())
    }

    /// Gives the text, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// Reads the token of a request; none is none.
///
/// # Errors
/// `unauthorized` when the header is there and is no bearer token.
pub fn find(headers: &HeaderMap) -> Result<Option<Token>, Failure> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let malformed = || {
        Error::new(
            Code::Unauthorized,
            "expected the header Authorization to be \"Bearer <token>\", found something else",
        )
    };
    if values.next().is_some() {
        return Err(malformed().into());
    }
    let text = value.to_str().map_err(|_| malformed())?;
    let (scheme, token) = text.split_once(' ').ok_or_else(malformed)?;
    let token = token.trim();
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() {
        return Err(malformed().into());
    }
    Ok(Some(Token::new(token)))
}

/// Reads the token of a request that needs one.
///
/// # Errors
/// `unauthorized` when there is none.
pub fn need(headers: &HeaderMap) -> Result<Token, Failure> {
    find(headers)?.ok_or_else(|| {
        Error::new(
            Code::Unauthorized,
            "expected the header Authorization with \"Bearer <token>\", found none",
        )
        .into()
    })
}

/// Refuses an address that holds a token.
///
/// # Errors
/// `invalid_arguments` that says where a token belongs.
pub fn refuse_in_query(uri: &Uri) -> Result<(), Failure> {
    let query = uri.query().unwrap_or_default();
    let names = query
        .split('&')
        .map(|pair| pair.split('=').next().unwrap_or_default());
    for name in names {
        if QUERY_NAMES
            .iter()
            .any(|known| name.eq_ignore_ascii_case(known))
        {
            let message = format!(
                "a token belongs in the header Authorization, found {name:?} in the query string; \
                 addresses are logged, so replace that token"
            );
            return Err(Error::new(Code::InvalidArguments, message).into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn of(value: &str) -> Result<Option<Token>, Failure> {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        find(&headers)
    }

    #[test]
    fn a_token_is_a_bearer_token() {
        assert_eq!(of("Bearer abc").unwrap(), Some(Token::new("abc")));
        assert_eq!(of("bearer abc").unwrap(), Some(Token::new("abc")));
        assert_eq!(find(&HeaderMap::new()).unwrap(), None);
        for wrong in ["abc", "Basic abc", "Bearer ", ""] {
            assert_eq!(of(wrong).unwrap_err().status(), 401, "{wrong:?}");
        }
        assert_eq!(format!("{:?}", Token::new("abc")), "***");
    }

    #[test]
    fn two_tokens_are_none() {
        let mut headers = HeaderMap::new();
        headers.append(AUTHORIZATION, HeaderValue::from_static("Bearer a"));
        headers.append(AUTHORIZATION, HeaderValue::from_static("Bearer b"));
        assert_eq!(find(&headers).unwrap_err().status(), 401);
    }

    #[test]
    fn a_token_in_the_address_is_refused() {
        for address in [
            "/v1/events?token=x",
            "/v1/events?a=b&Access_Token=x",
            "/?api_key",
        ] {
            let uri: Uri = address.parse().unwrap();
            assert_eq!(
                refuse_in_query(&uri).unwrap_err().status(),
                400,
                "{address}"
            );
        }
        for address in ["/v1/events", "/v1/kv/client/token?prefix=token"] {
            let uri: Uri = address.parse().unwrap();
            assert!(refuse_in_query(&uri).is_ok(), "{address}");
        }
    }
}
