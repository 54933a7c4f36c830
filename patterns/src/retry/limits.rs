//! What a server says about how much it still takes: `Retry-After`, the `X-RateLimit-…` family, and
//! the `RateLimit` fields of the IETF's draft in its older and newer form.

use super::date::http_date_ms;

/// Is what an answer says about limits; all of it may be missing.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Limits {
    /// When to come back, in milliseconds from now.
    pub retry_after_ms: Option<u64>,
    /// How many calls the window takes.
    pub limit: Option<u64>,
    /// How many of them are left.
    pub remaining: Option<u64>,
    /// When the window begins anew, in milliseconds from now.
    pub reset_ms: Option<u64>,
    /// Which calls share the window.
    pub bucket: Option<String>,
}

impl Limits {
    /// Reads the header fields of an answer, by their names in lower case.
    ///
    /// # Arguments
    /// * `now_ms` - milliseconds since the epoch: some servers name a point in time.
    ///
    /// ```
    /// use trunkline_patterns::retry::Limits;
    /// let limits = Limits::read(|name| (name == "retry-after").then_some("3"), 0);
    /// assert_eq!(limits.wait_ms(), Some(3_000));
    /// ```
    pub fn read<'a>(header: impl Fn(&str) -> Option<&'a str>, now_ms: u64) -> Self {
        let after = header("retry-after").map(str::trim);
        let retry_after_ms = after.and_then(|text| {
            let at = || http_date_ms(text).map(|at_ms| at_ms.saturating_sub(now_ms));
            seconds(text).or_else(at)
        });
        let number = |name: &str| header(name)?.trim().parse().ok();
        let mut limits = Self {
            retry_after_ms,
            limit: number("x-ratelimit-limit").or_else(|| number("ratelimit-limit")),
            remaining: number("x-ratelimit-remaining").or_else(|| number("ratelimit-remaining")),
            reset_ms: header("x-ratelimit-reset-after")
                .and_then(seconds)
                .or_else(|| point(header("x-ratelimit-reset")?, now_ms))
                .or_else(|| point(header("ratelimit-reset")?, now_ms)),
            bucket: header("x-ratelimit-bucket").map(|text| text.chars().take(128).collect()),
        };
        if let Some(text) = header("ratelimit") {
            limits.combined(text);
        }
        limits
    }

    /// Takes when to come back from an answer's body, where no header says it: seconds in `retry_after`, of the whole
    /// or of `parameters`, as the APIs of chats have it.
    ///
    /// ```
    /// use trunkline_patterns::retry::Limits;
    /// let body = br#"{"ok": false, "parameters": {"retry_after": 3}}"#;
    /// assert_eq!(Limits::default().or_of_body(body).wait_ms(), Some(3_000));
    /// ```
    pub fn or_of_body(mut self, body: &[u8]) -> Self {
        if self.wait_ms().is_none()
            && let Ok(body) = serde_json::from_slice::<serde_json::Value>(body)
        {
            let seconds_at = |place: &str| body.pointer(place)?.as_f64();
            let told = seconds_at("/retry_after").or_else(|| seconds_at("/parameters/retry_after"));
            let told = told.filter(|seconds| *seconds >= 0.0);
            self.retry_after_ms = told.map(|seconds| (seconds * 1_000.0).ceil() as u64);
        }
        self
    }

    /// Says how long to wait before the next call: as told, else until the used-up window ends.
    pub fn wait_ms(&self) -> Option<u64> {
        let used_up = || self.remaining.is_some_and(|left| left == 0);
        self.retry_after_ms
            .or_else(|| used_up().then_some(self.reset_ms).flatten())
    }

    /// Reads `limit=100, remaining=0, reset=5`, or `"name";r=0;t=5`.
    fn combined(&mut self, text: &str) {
        for part in text.split([',', ';']) {
            let Some((name, value)) = part.split_once('=') else {
                let name = part.trim().trim_matches('"');
                if !name.is_empty() && self.bucket.is_none() {
                    self.bucket = Some(name.chars().take(128).collect());
                }
                continue;
            };
            let value = value.trim();
            match name.trim() {
                "limit" => self.limit = self.limit.or(value.parse().ok()),
                "remaining" | "r" => self.remaining = self.remaining.or(value.parse().ok()),
                "reset" | "t" => self.reset_ms = self.reset_ms.or(seconds(value)),
                _ => {}
            }
        }
    }
}

/// Reads seconds, which some servers give with decimals, as milliseconds, rounded up.
fn seconds(text: &str) -> Option<u64> {
    let text = text.trim();
    let is_number = text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.');
    let value: f64 = is_number.then(|| text.parse().ok())??;
    // A float that is too large becomes the largest number.
    Some((value * 1_000.0).ceil() as u64)
}

/// Reads a point in time: seconds or milliseconds since the epoch, or seconds from now.
fn point(text: &str, now_ms: u64) -> Option<u64> {
    let ms = seconds(text)?;
    Some(match ms {
        1_000_000_000_000_000.. => (ms / 1_000).saturating_sub(now_ms),
        1_000_000_000_000.. => ms.saturating_sub(now_ms),
        _ => ms,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW_MS: u64 = 1_700_000_000_000;

    fn read(headers: &[(&str, &'static str)]) -> Limits {
        let find = |name: &str| headers.iter().find(|(key, _)| *key == name);
        Limits::read(|name| find(name).map(|(_, value)| *value), NOW_MS)
    }

    #[test]
    fn the_time_to_come_back_is_seconds_or_a_date() {
        for (text, expected) in [
            ("3", Some(3_000)),
            (" 120 ", Some(120_000)),
            ("0.25", Some(250)),
            ("Tue, 14 Nov 2023 22:13:50 GMT", Some(30_000)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(0)),
            ("-1", None),
            ("later", None),
            ("", None),
            ("1e9", None),
        ] {
            let limits = read(&[("retry-after", text)]);
            assert_eq!(limits.retry_after_ms, expected, "{text:?}");
        }
    }

    #[test]
    fn a_window_that_is_used_up_says_when_it_begins_anew() {
        let github = read(&[
            ("x-ratelimit-limit", "60"),
            ("x-ratelimit-remaining", "0"),
            ("x-ratelimit-reset", "1700000090"),
        ]);
        assert_eq!((github.limit, github.wait_ms()), (Some(60), Some(90_000)));
        let discord = read(&[
            ("x-ratelimit-remaining", "0"),
            ("x-ratelimit-reset", "1700000001.5"),
            ("x-ratelimit-reset-after", "1.5"),
            ("x-ratelimit-bucket", "abcd1234"),
        ]);
        assert_eq!(discord.wait_ms(), Some(1_500));
        assert_eq!(discord.bucket.as_deref(), Some("abcd1234"));
        let in_ms = read(&[
            ("x-ratelimit-remaining", "0"),
            ("x-ratelimit-reset", "1700000002000"),
        ]);
        assert_eq!(in_ms.wait_ms(), Some(2_000));
        let left = read(&[("x-ratelimit-remaining", "5"), ("x-ratelimit-reset", "30")]);
        assert_eq!((left.reset_ms, left.wait_ms()), (Some(30_000), None));
    }

    #[test]
    fn the_fields_of_the_draft_are_read_in_each_of_their_forms() {
        let apart = read(&[
            ("ratelimit-limit", "10"),
            ("ratelimit-remaining", "0"),
            ("ratelimit-reset", "7"),
        ]);
        let together = read(&[("ratelimit", "limit=10, remaining=0, reset=7")]);
        assert_eq!(apart, together);
        assert_eq!(together.wait_ms(), Some(7_000));
        let structured = read(&[("ratelimit", "\"default\";r=0;t=7")]);
        assert_eq!(structured.wait_ms(), Some(7_000));
        assert_eq!(structured.bucket.as_deref(), Some("default"));
    }

    #[test]
    fn a_body_says_when_to_come_back_where_no_header_does() {
        let check = |body: &str, expected| {
            let limits = Limits::default().or_of_body(body.as_bytes());
            assert_eq!(limits.wait_ms(), expected, "{body}");
        };
        check(r#"{"retry_after": 0.3, "global": false}"#, Some(300));
        check(
            r#"{"ok": false, "parameters": {"retry_after": 7}}"#,
            Some(7_000),
        );
        check(r#"{"retry_after": 1e99}"#, Some(u64::MAX));
        for body in [
            r#"{"retry_after": "soon"}"#,
            r#"{"retry_after": -1}"#,
            "[1]",
            "no JSON",
        ] {
            check(body, None);
        }
        let header = read(&[("retry-after", "2")]);
        let of_body = header.clone().or_of_body(br#"{"retry_after": 9}"#);
        assert_eq!(of_body, header);
    }

    proptest! {
        #[test]
        fn no_header_makes_it_panic(text in "[ -~]{0,40}") {
            for name in ["retry-after", "x-ratelimit-reset", "ratelimit", "x-ratelimit-bucket"] {
                Limits::read(|asked| (asked == name).then_some(text.as_str()), NOW_MS).wait_ms();
            }
        }
    }
}
