//! What a failure says about the whole instance.

use trunkline_contract::rpc::{ReportedState, StatusParams};

use crate::duration::in_ms;
use crate::outcome::{Failure, Fatal, NeedsAuth, RetryLater};

/// Says that an instance cannot work, and what would help.
pub(crate) struct Report(pub(crate) StatusParams);

impl Report {
    /// What a failure says about the whole instance, if it does.
    pub(crate) fn of(failure: &Failure) -> Option<Self> {
        let status = |state, reason: &str| StatusParams {
            state,
            reason: Some(reason.to_owned()),
            retry_after_ms: None,
            attempt: None,
            url: None,
        };
        if let Some(later) = failure.is::<RetryLater>() {
            let retry_after_ms = later.after.map(in_ms);
            let status = status(ReportedState::RetryLater, &later.reason);
            return Some(Self(StatusParams {
                retry_after_ms,
                ..status
            }));
        }
        if let Some(auth) = failure.is::<NeedsAuth>() {
            let status = status(ReportedState::NeedsAuth, &auth.reason);
            return Some(Self(StatusParams {
                url: auth.url.clone(),
                ..status
            }));
        }
        let fatal = failure.is::<Fatal>()?;
        Some(Self(status(ReportedState::Fatal, &fatal.reason)))
    }
}

impl Report {
    /// What the failure of a start says: a call that was refused for its credentials asks for a
    /// login, any other that failed is tried again later.
    pub(crate) fn of_start(failure: &Failure) -> Option<Self> {
        let said = Self::of(failure);
        if said.is_some() {
            return said;
        }
        let http = crate::http::http_error_of(failure)?;
        let is_denied = matches!(http.status(), Some(401 | 403));
        let state = if is_denied {
            ReportedState::NeedsAuth
        } else {
            ReportedState::RetryLater
        };
        Some(Self(StatusParams {
            state,
            reason: Some(failure.message()),
            retry_after_ms: http.retry_after().map(in_ms),
            attempt: None,
            url: None,
        }))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use trunkline_contract::error::{Code, Error};

    use super::*;

    #[test]
    fn a_start_that_is_denied_asks_for_a_login() {
        for (status, state) in [
            (json!(401), ReportedState::NeedsAuth),
            (json!(403), ReportedState::NeedsAuth),
            (json!(502), ReportedState::RetryLater),
            (json!(null), ReportedState::RetryLater),
        ] {
            let detail = json!({ "class": "answered", "status": status });
            let error = Error::new(Code::HttpError, "no")
                .detail(detail)
                .retry_after(500);
            let report = Report::of_start(&Failure::from(error)).expect("a report");
            assert_eq!(report.0.state, state, "{status}");
            assert_eq!(report.0.retry_after_ms, Some(500));
        }
        assert!(Report::of_start(&Failure::new("broken")).is_none());
    }
}
