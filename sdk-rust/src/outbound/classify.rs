//! What a handler's outcome says about the call that it made.

use trunkline_contract::error::{Code, Error};
use trunkline_patterns::outbound::Failure as Failed;
use trunkline_patterns::retry::Class;

use crate::context::Context;
use crate::duration::in_ms;
use crate::http::class_of;
use crate::outcome::{Failure, Reject, Retry};

/// How long an instance that cannot work now keeps its messages waiting.
const UNABLE_MS: u64 = 5_000;

/// Says what a failure of a handler means for the message.
pub(super) fn classify(ctx: &Context, failure: &Failure, is_late: bool) -> Failed {
    let reason = failure.message();
    if is_late && matches!(failure.code(), Some(Code::TimedOut | Code::Cancelled)) {
        let class = "timed_out".to_owned();
        return Failed::Ambiguous { class, reason };
    }
    if let Some(reject) = failure.is::<Reject>() {
        return Failed::Final {
            code: reject.code.clone().unwrap_or_else(|| "rejected".to_owned()),
            class: reject.reason.clone(),
            reason: reject.reason.clone(),
        };
    }
    if let Some(retry) = failure.is::<Retry>()
        && let Ok(after) = &retry.after
    {
        return Failed::Retry {
            after_ms: in_ms(*after),
            is_counted: retry.is_counted,
            reason: retry.reason.clone(),
        };
    }
    if let Some(report) = crate::report::Report::of(failure) {
        ctx.instance_core().report(&report);
        return Failed::Retry {
            after_ms: UNABLE_MS,
            is_counted: false,
            reason,
        };
    }
    if let Some(class) = class_of(failure) {
        return of_http(class, reason);
    }
    // Another error that says when to come back: the broker's own, most of the time.
    if let Some(after_ms) = failure.is::<Error>().and_then(|error| error.retry_after_ms) {
        return Failed::Wait { after_ms };
    }
    Failed::BackOff {
        at_least_ms: 0,
        code: Code::DeliveryFailed.as_str().to_owned(),
        class: "handler".to_owned(),
        reason,
    }
}

fn of_http(class: Class, reason: String) -> Failed {
    let code = Code::DeliveryFailed.as_str().to_owned();
    match class {
        Class::Wait { after_ms } => Failed::Wait { after_ms },
        Class::BackOff { at_least_ms } => Failed::BackOff {
            at_least_ms,
            code,
            class: "unreachable".to_owned(),
            reason,
        },
        Class::Ambiguous => Failed::Ambiguous {
            class: "unanswered".to_owned(),
            reason,
        },
        Class::Final => Failed::Final {
            code,
            class: "rejected".to_owned(),
            reason,
        },
    }
}
