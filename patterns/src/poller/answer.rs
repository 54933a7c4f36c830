//! What a server answers, and what it asks for by it.

use jiff::fmt::rfc2822::DateTimeParser;

/// No wish of a server holds longer than this: a day.
const WISH_MS_MAX: u64 = 24 * 3600 * 1000;

/// Is an answer of a server, its body whole and unpacked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// Says that there was no answer, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkError {
    /// What happened.
    pub text: String,
    /// Whether no other try can help: an address that may not be reached, a bad certificate name.
    pub is_final: bool,
}

impl Answer {
    /// Gives the first header of a name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
    }

    /// Gives all headers of a name as one list.
    pub(super) fn list(&self, name: &str) -> Option<String> {
        let values: Vec<&str> = self
            .headers
            .iter()
            .filter(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
            .collect();
        (!values.is_empty()).then(|| values.join(", "))
    }

    /// Gives how long the server asks to be left alone: `Retry-After` in seconds or as a date, else
    /// when a limit that is used up begins anew; at most a day.
    pub fn retry_after_ms(&self, now_ms: u64) -> Option<u64> {
        let own = self.header("retry-after").and_then(|value| {
            seconds(value).or_else(|| Some(date_ms(value)?.saturating_sub(now_ms)))
        });
        own.or_else(|| self.limit_ms(now_ms))
            .map(|wait| wait.min(WISH_MS_MAX))
    }

    fn limit_ms(&self, now_ms: u64) -> Option<u64> {
        let header = |name: &str| {
            self.header(&format!("x-ratelimit-{name}"))
                .or_else(|| self.header(&format!("ratelimit-{name}")))
        };
        if header("remaining")?.parse::<f64>().ok()? >= 1.0 {
            return None;
        }
        let reset: u64 = header("reset")?.parse().ok()?;
        // Some say when, in seconds since the epoch; some how long.
        let reset_ms = reset.checked_mul(1_000)?;
        Some(if reset > 1_000_000_000 {
            reset_ms.saturating_sub(now_ms)
        } else {
            reset_ms
        })
    }

    /// Gives how long the answer is fresh by `Cache-Control: max-age`, less the time it lay in caches;
    /// at most a day.
    pub fn fresh_ms(&self) -> Option<u64> {
        let control = self.list("cache-control")?.to_ascii_lowercase();
        let mut age = None;
        for directive in control.split(',').map(str::trim) {
            match directive.split_once('=') {
                Some(("max-age", value)) => age = seconds(value.trim().trim_matches('"')),
                None if matches!(directive, "no-cache" | "no-store") => return None,
                _ => {}
            }
        }
        let lain = self.header("age").and_then(seconds).unwrap_or(0);
        age.map(|age| age.saturating_sub(lain).min(WISH_MS_MAX))
            .filter(|age| *age > 0)
    }
}

fn seconds(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    // More digits than fit are still a very long time.
    digits.then(|| {
        text.parse::<u64>()
            .unwrap_or(u64::MAX)
            .saturating_mul(1_000)
    })
}

fn date_ms(text: &str) -> Option<u64> {
    static PARSER: DateTimeParser = DateTimeParser::new().relaxed_weekday(true);
    let time = PARSER.parse_timestamp(text).ok()?;
    u64::try_from(time.as_millisecond()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: u64 = 1_748_943_561_000;

    fn answer(headers: &[(&str, &str)]) -> Answer {
        Answer {
            status: 200,
            headers: headers
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            body: Vec::new(),
        }
    }

    #[test]
    fn retry_after_is_read_as_seconds_and_as_a_date() {
        let wait = |value: &str| answer(&[("Retry-After", value)]).retry_after_ms(NOW_MS);
        assert_eq!(wait("120"), Some(120_000));
        assert_eq!(wait("Tue, 03 Jun 2025 09:40:21 GMT"), Some(60_000));
        assert_eq!(wait("Tue, 03 Jun 2025 09:00:00 GMT"), Some(0));
        assert_eq!(wait("99999999999999999999999"), Some(WISH_MS_MAX));
        for nonsense in ["", "-1", "1.5", "soon"] {
            assert_eq!(wait(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn a_limit_that_is_used_up_says_when_it_begins_anew() {
        let wait = |remaining: &str, reset: &str| {
            answer(&[
                ("X-RateLimit-Remaining", remaining),
                ("x-ratelimit-reset", reset),
            ])
            .retry_after_ms(NOW_MS)
        };
        assert_eq!(wait("0", "1748943571"), Some(10_000));
        assert_eq!(wait("0", "30"), Some(30_000));
        assert_eq!(wait("7", "30"), None);
    }

    #[test]
    fn max_age_counts_from_when_the_answer_was_made() {
        assert_eq!(
            answer(&[("Cache-Control", "public, max-age=600")]).fresh_ms(),
            Some(600_000)
        );
        let lain = answer(&[("cache-control", "Max-Age=\"600\""), ("Age", "100")]);
        assert_eq!(lain.fresh_ms(), Some(500_000));
        for none in [
            "no-cache, max-age=600",
            "max-age=0",
            "s-maxage=60",
            "max-age=x",
            "",
        ] {
            assert_eq!(
                answer(&[("cache-control", none)]).fresh_ms(),
                None,
                "{none}"
            );
        }
    }
}
