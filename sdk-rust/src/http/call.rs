//! One call: what was declared and what was asked made a request, sent, and tried again.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use reqwest::Method;
use reqwest::header::{
    AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT,
};
use tokio::time::Instant;
use trunkline_contract::error::{Code, Error};
use trunkline_patterns::address;
use trunkline_patterns::retry::{Class, Failed, Limits, Reached, Tries};

use super::at::Auth;
use super::error::HttpError;
use super::fill::{Secrets, Written, fill};
use super::outside::{Answer, Asked, Missed, Outside};
use super::redirect::{Next, literal, next};
use super::request::HttpRequest;
use super::response::Response;
use super::{BUDGET, REDIRECTS_MAX, url};

/// How much of an answer's body an error keeps, in bytes.
const EXCERPT_BYTES: usize = 2_048;
/// What is sent whose kind cannot be said in a header.
const UNKNOWN: HeaderValue = HeaderValue::from_static("application/octet-stream");
/// Time of a handler that is kept for saying how the call went.
const KEPT: Duration = Duration::from_millis(200);

/// A call, ready to be sent as often as it takes.
struct Ready {
    asked: Asked,
    /// Where it goes, for people.
    shown: String,
    own_headers: Vec<String>,
    secrets: Secrets,
    is_repeatable: bool,
}

/// Makes a call.
pub(super) async fn perform(request: HttpRequest) -> Result<Response, HttpError> {
    let core = request.at.core.clone();
    let outside = core.hub().outside()?;
    let budget = match request.at.deadline {
        Some(deadline) => {
            let left = deadline.saturating_duration_since(Instant::now());
            left.saturating_sub(KEPT.min(left / 10))
        }
        None => BUDGET.max(request.timeout),
    };
    let ready = ready(request)?;
    let started = (Instant::now(), outside.mono_ms());
    let mut tries = Tries::default();
    loop {
        // Where the clock is a test's, waits pass on it and calls do not: the longer one counts.
        let waited = Duration::from_millis(outside.mono_ms().saturating_sub(started.1));
        let left = budget.saturating_sub(started.0.elapsed().max(waited));
        let error = match once(&*outside, &ready, left).await {
            Ok(response) => return Ok(response),
            Err(error) => error,
        };
        let left = budget.saturating_sub(started.0.elapsed().max(waited));
        let left_ms = crate::duration::in_ms(left);
        let class = error.retry_class().unwrap_or(Class::Final);
        let wait_ms = tries.next(class, ready.is_repeatable, left_ms, crate::clock::unit());
        let Some(wait_ms) = wait_ms else {
            return Err(error);
        };
        let method = ready.asked.method.as_str();
        tracing::debug!(method, url = ready.shown, wait_ms, %error, "A call is tried again.");
        outside.wait(Duration::from_millis(wait_ms)).await;
    }
}

/// Makes a call once and gives the answer as it is: of any status, a redirect too.
///
/// # Errors
/// What is wrong with the call, or why there was no answer and whether another try could help.
pub(crate) async fn answer_of(request: HttpRequest) -> Result<Answer, (String, bool)> {
    let core = request.at.core.clone();
    let refused = |error: Error| (error.message, true);
    let outside = core.hub().outside().map_err(refused)?;
    let ready = ready(request).map_err(refused)?;
    if let Some(reason) = blocked(&ready.asked) {
        return Err((ready.secrets.hide(&reason), true));
    }
    let answer = outside.send(ready.asked.clone()).await;
    answer.map_err(|missed| (ready.secrets.hide(&missed.reason), missed.is_final))
}

/// Puts together what was declared and what was asked.
fn ready(request: HttpRequest) -> Result<Ready, Error> {
    if let Some(fault) = request.fault {
        return Err(fault);
    }
    let config = request.at.core.config();
    let mut secrets = Secrets::default();
    let (mut url, shown) = match &request.at.base {
        Some(template) => {
            let filled = fill(template, &config, Written::Url, &mut secrets)?;
            let base = url::read(&filled, template)?;
            let joined = url::join(&base, &request.path, template)?;
            let path = request.path.split(['?', '#']).next().unwrap_or_default();
            let slash = if path.is_empty() || path.starts_with('/') {
                ""
            } else {
                "/"
            };
            let template = template.split('?').next().unwrap_or_default();
            (
                joined,
                format!("{}{slash}{path}", template.trim_end_matches('/')),
            )
        }
        None => {
            let path = request.path.split(['?', '#']).next().unwrap_or_default();
            let read = url::read(&request.path, path)?;
            let shown = url::shown(&read);
            (read, shown)
        }
    };
    url::add_query(&mut url, &request.query);
    let mut headers = HeaderMap::new();
    let agent = concat!("trunkline/", env!("CARGO_PKG_VERSION"));
    headers.insert(USER_AGENT, HeaderValue::from_static(agent));
    let mut own_headers = Vec::new();
    match &request.at.auth {
        Some(Auth::Bearer(token)) => {
            let token = fill(token, &config, Written::Plain, &mut secrets)?;
            secrets.add(&token);
            set(
                &mut headers,
                AUTHORIZATION,
                &format!("Bearer {token}"),
                true,
            )?;
        }
        Some(Auth::Basic(user, password)) => {
            let user = fill(user, &config, Written::Plain, &mut secrets)?;
            let password = fill(password, &config, Written::Plain, &mut secrets)?;
            if user.contains(':') {
                let text = "expected a user without a colon for `basic`";
                return Err(Error::new(Code::ConfigInvalid, text));
            }
            let encoded = BASE64.encode(format!("{user}:{password}"));
            secrets.add(&password);
            secrets.add(&encoded);
            set(
                &mut headers,
                AUTHORIZATION,
                &format!("Basic {encoded}"),
                true,
            )?;
        }
        None => {}
    }
    for (name, value) in &request.at.headers {
        let value = fill(value, &config, Written::Plain, &mut secrets)?;
        let name = header_name(name)?;
        own_headers.push(name.as_str().to_owned());
        set(&mut headers, name, &value, true)?;
    }
    if let Some(media_type) = &request.body.media_type {
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_str(media_type).unwrap_or(UNKNOWN),
        );
    }
    let is_safe = matches!(request.method, Method::GET | Method::HEAD | Method::OPTIONS);
    let is_repeatable = is_safe || request.idempotency_key.is_some();
    if let Some(key) = &request.idempotency_key {
        set(
            &mut headers,
            HeaderName::from_static("idempotency-key"),
            key,
            false,
        )?;
    }
    for (name, value) in &request.headers {
        set(&mut headers, header_name(name)?, value, false)?;
    }
    let shown = secrets.hide(&shown);
    Ok(Ready {
        asked: Asked {
            method: request.method,
            url,
            headers,
            body: request.body.content,
            save: request.save,
            timeout: request.timeout,
            is_guarded: request.at.is_guarded,
        },
        shown,
        own_headers,
        secrets,
        is_repeatable,
    })
}

fn header_name(name: &str) -> Result<HeaderName, Error> {
    HeaderName::from_bytes(name.as_bytes()).map_err(|_| {
        let text = format!("expected the name of a header, found {name:?}");
        Error::new(Code::InvalidArguments, text)
    })
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &str, is_own: bool) -> Result<(), Error> {
    let Ok(mut value) = HeaderValue::from_str(value) else {
        // The value may be a secret: it is not said.
        let code = if is_own {
            Code::ConfigInvalid
        } else {
            Code::InvalidArguments
        };
        let text = format!("expected one line of plain characters for the header {name}");
        return Err(Error::new(code, text));
    };
    value.set_sensitive(is_own);
    headers.insert(name, value);
    Ok(())
}

/// Tries once, following redirects.
async fn once(outside: &dyn Outside, ready: &Ready, left: Duration) -> Result<Response, HttpError> {
    let limit = ready.asked.timeout.min(left);
    let begun = Instant::now();
    let mut asked = ready.asked.clone();
    let (mut redirects, mut is_moved) = (0, true);
    loop {
        let method = asked.method.as_str().to_owned();
        let place = if redirects == 0 {
            ready.shown.clone()
        } else {
            ready.secrets.hide(&url::shown(&asked.url))
        };
        let failed = |missed: Missed, body: Option<String>, limits: Option<&Limits>| {
            let failed = Failed {
                reached: missed.reached,
                status: missed.status,
                retry_after_ms: limits.and_then(Limits::wait_ms),
            };
            let reason = ready.secrets.hide(&missed.reason);
            let error = HttpError::failed(&failed, missed.is_final, &method, &place, &reason);
            let error = match limits.and_then(|limits| limits.bucket.as_deref()) {
                Some(bucket) => error.with("bucket", bucket),
                None => error,
            };
            match body {
                Some(body) => error.with("body", body),
                None => error,
            }
        };
        asked.timeout = limit.saturating_sub(begun.elapsed());
        if asked.timeout.is_zero() {
            let reached = if redirects == 0 {
                Reached::NotSent
            } else {
                Reached::Ambiguous
            };
            let reason = "was not sent: the time for it is over";
            return Err(failed(missed(reached, None, reason, false), None, None));
        }
        if let Some(why) = blocked(&asked) {
            return Err(failed(
                missed(Reached::NotSent, None, why, true),
                None,
                None,
            ));
        }
        let answer = match outside.send(asked.clone()).await {
            Ok(answer) => answer,
            Err(missed) => return Err(failed(missed, None, None)),
        };
        let status = answer.status;
        match next(&asked, &answer, &ready.own_headers) {
            Next::Follow(following, is_permanent) if redirects < REDIRECTS_MAX => {
                redirects += 1;
                is_moved &= is_permanent;
                asked = *following;
                continue;
            }
            Next::Follow(..) => {
                let reason = format!("was redirected more than {REDIRECTS_MAX} times");
                return Err(failed(
                    missed(Reached::Answered, Some(status), reason, true),
                    None,
                    None,
                ));
            }
            Next::Refuse(why) => {
                let reason = format!("was {why}");
                return Err(failed(
                    missed(Reached::Answered, Some(status), reason, true),
                    None,
                    None,
                ));
            }
            Next::Stay => {}
        }
        if status >= 400 {
            let limits = limits(&answer, outside.wall_ms());
            let reason = format!("was answered with {status}");
            let limits = match status {
                429 => limits.or_of_body(&answer.body),
                _ => limits,
            };
            let body = ready.secrets.hide(&excerpt(&answer.body));
            let missed = missed(Reached::Answered, Some(status), reason, false);
            return Err(failed(missed, Some(body), Some(&limits)));
        }
        let kept = match (answer.kept, &asked.save) {
            (Some(kept), _) => Some(kept?),
            (None, None) => None,
            (None, Some(_)) => {
                let reason = format!("was answered with {status}, and nothing to keep");
                let missed = missed(Reached::Answered, Some(status), reason, true);
                return Err(failed(missed, None, None));
            }
        };
        return Ok(Response {
            status,
            headers: answer.headers,
            body: answer.body,
            kept,
            url: asked.url,
            is_moved: is_moved && redirects > 0,
        });
    }
}

fn missed(
    reached: Reached,
    status: Option<u16>,
    reason: impl Into<String>,
    is_final: bool,
) -> Missed {
    Missed {
        reached,
        status,
        reason: reason.into(),
        is_final,
    }
}

/// Says why an address that a URL names by itself may not be called. Names are judged when they are
/// resolved.
fn blocked(asked: &Asked) -> Option<String> {
    let refused = address::refused(literal(&asked.url)?)?;
    asked
        .is_guarded
        .then(|| format!("was not sent: expected a public address, found {refused}"))
}

fn limits(answer: &Answer, now_ms: u64) -> Limits {
    Limits::read(|name| answer.headers.get(name)?.to_str().ok(), now_ms)
}

/// Gives the beginning of a body as text.
fn excerpt(body: &[u8]) -> String {
    let is_cut = body.len() > EXCERPT_BYTES;
    let mut text = String::from_utf8_lossy(&body[..body.len().min(EXCERPT_BYTES)]).into_owned();
    if is_cut {
        // A character that was cut through is not shown.
        while text.ends_with('\u{fffd}') {
            text.pop();
        }
        text.push('…');
    }
    text
}

/// Gives where a request goes, for messages of a test.
#[cfg(feature = "testing")]
pub(crate) fn described(asked: &Asked) -> String {
    format!("{} {}", asked.method, url::shown(&asked.url))
}

#[cfg(test)]
mod tests {
    use reqwest::Url;

    use super::super::content::Content;
    use super::*;

    #[test]
    fn an_excerpt_is_bounded_and_cuts_no_character() {
        assert_eq!(excerpt(b"short"), "short");
        let long = "ä".repeat(EXCERPT_BYTES);
        let text = excerpt(&long.as_bytes()[1..]);
        assert!(
            text.len() <= EXCERPT_BYTES + 8 && text.ends_with("ä…"),
            "{}",
            text.len()
        );
    }

    #[test]
    fn only_guarded_calls_are_blocked() {
        let mut asked = Asked {
            method: Method::GET,
            url: Url::parse("http://0x7f.1/").unwrap(),
            headers: HeaderMap::new(),
            body: Content::default(),
            save: None,
            timeout: BUDGET,
            is_guarded: false,
        };
        assert_eq!(blocked(&asked), None);
        asked.is_guarded = true;
        for url in [
            "http://0x7f.1/",
            "http://2130706433/",
            "http://[::ffff:10.0.0.1]/",
        ] {
            asked.url = Url::parse(url).unwrap();
            assert!(blocked(&asked).is_some(), "{url}");
        }
        asked.url = Url::parse("https://1.1.1.1/").unwrap();
        assert_eq!(blocked(&asked), None);
    }
}
