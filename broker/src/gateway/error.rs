//! Failures as status and JSON: `{"error": {code, message, retryable, …, request_id}}`.
//!
//! A handler answers a [`Failure`]; the guard, which knows the request's id, writes the body.

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{Response, StatusCode};
use axum::response::IntoResponse;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use trunkline_contract::error::{Code, Error};

/// Body of every refusal.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ErrorBody {
    /// What went wrong.
    pub error: ErrorMember,
}

/// What went wrong.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ErrorMember {
    /// Stable name, of the contract's catalogue.
    pub code: String,
    /// For people.
    pub message: String,
    /// Whether the same request may succeed later.
    pub retryable: bool,
    /// When to try again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// Which element of the request is meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<u32>,
    /// More, for programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<Value>,
    /// Names the request in the daemon's log.
    pub request_id: String,
}

/// Is a request that was refused.
#[derive(Debug, Clone)]
pub struct Failure {
    status: StatusCode,
    error: Error,
    /// Boxed, so that a result with it stays small.
    header: Option<Box<(HeaderName, HeaderValue)>>,
}

impl Failure {
    /// Refuses with another status than the code has by itself.
    pub fn new(status: StatusCode, code: Code, message: impl Into<String>) -> Self {
        Self {
            status,
            error: Error::new(code, message),
            header: None,
        }
    }

    /// Answers with another status than the code has by itself.
    pub fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// Adds a header to the answer.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.header = Some(Box::new((name, value)));
        self
    }

    /// Gives the status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Gives what went wrong.
    pub fn error(&self) -> &Error {
        &self.error
    }

    /// Gives the whole body.
    pub fn body(&self, request_id: &str) -> ErrorBody {
        let error = &self.error;
        ErrorBody {
            error: ErrorMember {
                code: error.code.as_str().to_owned(),
                message: error.message.clone(),
                retryable: error.code.retryable(),
                retry_after_ms: error.retry_after_ms,
                index: error.index,
                detail: error.detail.clone(),
                request_id: request_id.to_owned(),
            },
        }
    }

    /// Writes the answer.
    pub(super) fn into_answer(self, request_id: &str) -> Response<Body> {
        let body = serde_json::to_vec(&self.body(request_id))
            .expect("strings and numbers have a JSON form");
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(ms) = self.error.retry_after_ms {
            headers.insert(RETRY_AFTER, HeaderValue::from(ms.div_ceil(1000)));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some((name, value)) = self.header.map(|header| *header) {
            headers.insert(name, value);
        }
        response
    }
}

/// Refuses a caller who is known and may not: 403.
pub(super) fn forbidden(message: impl Into<String>) -> Failure {
    Failure::new(StatusCode::FORBIDDEN, Code::Unauthorized, message)
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let status = StatusCode::from_u16(error.code.http_status())
            .expect("the catalogue has statuses of HTTP");
        Self {
            status,
            error,
            header: None,
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> axum::response::Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.status;
        response.extensions_mut().insert(self);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_status_of_http() {
        for code in Code::ALL {
            let failure = Failure::from(Error::new(*code, "x"));
            assert_eq!(failure.status().as_u16(), code.http_status());
        }
    }

    #[test]
    fn an_answer_says_when_to_try_again() {
        let mut error = Error::new(Code::RateLimited, "too fast");
        error.retry_after_ms = Some(1200);
        let answer = Failure::from(error).into_answer("r-1");
        assert_eq!(answer.status(), 429);
        assert_eq!(answer.headers()[RETRY_AFTER], "2");
    }
}
