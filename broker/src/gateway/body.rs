//! Reads the body of a request within its bounds.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use trunkline_contract::error::Code;

use super::error::Failure;

/// Reads a whole body.
///
/// # Errors
/// 413 when it is over `limit` bytes, 408 when it takes longer than `timeout`, 400 when it breaks off.
pub async fn read(body: Body, limit: usize, timeout: Duration) -> Result<Bytes, Failure> {
    let too_large = |found: Option<u64>| {
        let found = found.map_or_else(|| "more".to_owned(), |bytes| bytes.to_string());
        let message = format!("expected a body of at most {limit} bytes, found {found}");
        Failure::new(StatusCode::PAYLOAD_TOO_LARGE, Code::FrameTooLarge, message)
    };
    let said = hyper::body::Body::size_hint(&body).lower();
    if said > limit as u64 {
        return Err(too_large(Some(said)));
    }
    let whole = tokio::time::timeout(timeout, Limited::new(body, limit).collect());
    match whole.await {
        Ok(Ok(whole)) => Ok(whole.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large(None)),
        Ok(Err(_)) => Err(Failure::new(
            StatusCode::BAD_REQUEST,
            Code::InvalidFrame,
            "the body broke off before its end",
        )),
        Err(_) => Err(Failure::new(
            StatusCode::REQUEST_TIMEOUT,
            Code::TimedOut,
            format!("expected the whole body within {timeout:?}"),
        )),
    }
}

/// Gives the media type of a body, in lower case and without parameters.
pub fn media_type(headers: &HeaderMap) -> String {
    headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.split(';').next())
        .map(|text| text.trim().to_ascii_lowercase())
        .unwrap_or_default()
}

/// Refuses a body that does not say it is one of `expected`: a form of a web page cannot say so.
///
/// # Errors
/// 415.
pub fn need_type(headers: &HeaderMap, expected: &[&str]) -> Result<String, Failure> {
    let found = media_type(headers);
    if expected.contains(&found.as_str()) {
        return Ok(found);
    }
    let message = format!(
        "expected a Content-Type of {}, found {found:?}",
        expected.join(" or ")
    );
    Err(Failure::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Code::InvalidArguments,
        message,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_body_over_its_limit_is_refused() {
        let limit = Duration::from_secs(5);
        assert_eq!(
            &read(Body::from("abc"), 3, limit).await.unwrap()[..],
            b"abc"
        );
        let failure = read(Body::from("abcd"), 3, limit).await.unwrap_err();
        assert_eq!(failure.status(), 413);
        let parts = futures_util::stream::iter([Ok::<_, std::io::Error>("ab"), Ok("cd")]);
        let failure = read(Body::from_stream(parts), 3, limit).await.unwrap_err();
        assert_eq!(failure.status(), 413);
    }

    #[tokio::test]
    async fn a_body_that_never_ends_is_given_up() {
        let never = futures_util::stream::pending::<Result<Bytes, std::io::Error>>();
        let limit = Duration::from_millis(5);
        let failure = read(Body::from_stream(never), 3, limit).await.unwrap_err();
        assert_eq!(failure.status(), 408);
    }
}
