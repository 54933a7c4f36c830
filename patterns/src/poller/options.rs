//! What is declared of a poller, and what follows from it.

use serde::{Deserialize, Serialize};
use trunkline_contract::duration;
use trunkline_contract::limits::{HANDLER_TIMEOUT_MS, LEASE_MS_MAX};

use crate::backoff::Backoff;
use crate::json_items::{ItemsError, JsonOptions};

const SECOND_MS: u64 = 1_000;
const MINUTE_MS: u64 = 60 * SECOND_MS;
const HOUR_MS: u64 = 60 * MINUTE_MS;
/// A feed is asked no more often than this.
const FETCH_EVERY_MS_MIN: u64 = 10 * SECOND_MS;
/// How often a feed or list is asked if nothing is said.
const FETCH_EVERY_DEFAULT: &str = "1h";
const KIND_BYTES_MAX: usize = 64;

/// Declares a poller. Times are texts such as `"30m"`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// What it is called; unique within a plugin.
    pub kind: String,
    /// How long between two ticks; `"0s"`: again as soon as the last batch is durable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<String>,
    /// When, as five or six cron fields.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cron: Option<String>,
    /// The time zone of `cron`; UTC if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tz: Option<String>,
    /// Once, at this time (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// How far a tick may come later, by chance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jitter: Option<String>,
    /// What becomes of ticks that were missed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub misfire: Option<Misfire>,
    /// How long a tick may take; one minute if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<String>,
    /// The address of a feed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub feed: Option<String>,
    /// A list of JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json: Option<JsonOptions>,
    /// What no two instances ask with at once; may hold `{config.…}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
    /// Whom to tell when it stops, is left alone, or goes on again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alert: Option<AlertTo>,
}

/// Says whom to tell of a poller that stops, is left alone, or goes on again: a message is sent there.
///
/// Texts may hold `{config.…}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlertTo {
    /// The channel's kind; the plugin needs a grant to send to it.
    pub kind: String,
    /// The conversation.
    pub to: String,
    /// The channel's instance; else the one that the conversation came in by, or the only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
}

impl AlertTo {
    /// Tells a conversation of a channel.
    pub fn new(kind: impl Into<String>, to: impl Into<String>) -> Self {
        Self {
            kind: kind.into(),
            to: to.into(),
            instance: None,
        }
    }

    /// Says through which account.
    pub fn instance(mut self, instance: impl Into<String>) -> Self {
        self.instance = Some(instance.into());
        self
    }
}

/// Says what becomes of ticks that were missed while nobody could take them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Misfire {
    /// They are left out.
    Skip,
    /// One stands for all.
    #[default]
    Once,
    /// Each comes.
    All,
}

impl Misfire {
    /// Gives its name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Skip => "skip",
            Self::Once => "once",
            Self::All => "all",
        }
    }
}

/// Says why a declaration cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OptionsError {
    /// An option has a value it cannot have.
    #[error("poll {kind:?}: expected {expected} as {option}, found {found:?}")]
    Value {
        /// Which poller.
        kind: String,
        /// Which option.
        option: &'static str,
        /// What it takes.
        expected: &'static str,
        /// What it is.
        found: String,
    },
    /// Options exclude each other.
    #[error("poll {kind:?}: expected one of {options}, found {found}")]
    Several {
        /// Which poller.
        kind: String,
        /// The options that exclude each other.
        options: &'static str,
        /// Those that are given.
        found: String,
    },
    /// The declaration of a list does not hold.
    #[error("poll {kind:?}: {source}")]
    Json {
        /// Which poller.
        kind: String,
        /// What is wrong.
        source: ItemsError,
    },
}

/// Is a declaration that was checked: what the engine goes by.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// What the poller is called.
    pub kind: String,
    /// Between two ticks in milliseconds; nothing if `cron` or `at` say when.
    pub every_ms: Option<u64>,
    /// How far a tick may come later.
    pub jitter_ms: u64,
    /// How long a tick may take.
    pub timeout_ms: u64,
    /// Where items come from.
    pub source: Source,
    /// How the engine names itself to servers.
    pub user_agent: String,
}

/// Says where items come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// RSS, Atom or JSON Feed at this address.
    Feed(String),
    /// A list of JSON.
    Json(JsonOptions),
    /// The handler, which is given the cursor.
    Handler,
}

impl Options {
    /// Checks the declaration. Addresses may still hold `{config.…}`; `cron`, `tz` and `at` are
    /// checked by who owns the timers.
    pub fn check(&self) -> Result<Plan, OptionsError> {
        let kind = &self.kind;
        let value = |option, expected, found: &str| OptionsError::Value {
            kind: kind.clone(),
            option,
            expected,
            found: found.chars().take(200).collect(),
        };
        if !(1..=KIND_BYTES_MAX).contains(&kind.len()) || !kind.bytes().all(is_name) {
            let expected = "1 to 64 of a-z, 0-9, _ and -";
            return Err(value("kind", expected, kind));
        }
        self.one_of(
            "every, cron and at",
            &[
                ("every", self.every.is_some()),
                ("cron", self.cron.is_some()),
                ("at", self.at.is_some()),
            ],
        )?;
        self.one_of(
            "feed and json",
            &[("feed", self.feed.is_some()), ("json", self.json.is_some())],
        )?;
        if let (Some(tz), None) = (&self.tz, &self.cron) {
            return Err(value("tz", "cron beside it", tz));
        }
        if self.credential.as_deref() == Some("") {
            return Err(value("credential", "a text", ""));
        }
        if let Some(alert) = &self.alert {
            if alert.kind.is_empty() || !alert.kind.bytes().all(is_name) {
                let expected = "the kind of a channel";
                return Err(value("alert.kind", expected, &alert.kind));
            }
            if alert.to.is_empty() {
                return Err(value("alert.to", "a conversation", ""));
            }
        }
        let ms = |option, text: &str| {
            duration::parse(text)
                .map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
                .map_err(|_| value(option, "a duration such as \"30m\"", text))
        };
        let source = match (&self.feed, &self.json) {
            (Some(feed), _) => Source::Feed(feed.clone()),
            (None, Some(json)) => {
                json.check().map_err(|source| OptionsError::Json {
                    kind: kind.clone(),
                    source,
                })?;
                Source::Json(json.clone())
            }
            (None, None) => Source::Handler,
        };
        let every = match (&self.every, &self.cron, &self.at) {
            (Some(every), _, _) => Some(every.as_str()),
            (None, None, None) if source == Source::Handler => {
                return Err(value("every", "a duration, or cron, or at", ""));
            }
            (None, None, None) => Some(FETCH_EVERY_DEFAULT),
            (None, _, _) => None,
        };
        let every_ms = every.map(|text| ms("every", text)).transpose()?;
        if source != Source::Handler && every_ms.is_some_and(|every| every < FETCH_EVERY_MS_MIN) {
            let expected = "at least 10s where the engine fetches";
            return Err(value("every", expected, every.unwrap_or_default()));
        }
        if every_ms.is_some_and(|every| (1..SECOND_MS).contains(&every)) {
            let expected = "\"0s\" or at least \"1s\"";
            return Err(value("every", expected, every.unwrap_or_default()));
        }
        let timeout_ms = match &self.timeout {
            None => HANDLER_TIMEOUT_MS,
            Some(text) => {
                let timeout = ms("timeout", text)?;
                if !(SECOND_MS..=LEASE_MS_MAX).contains(&timeout) {
                    return Err(value("timeout", "1s to 1h", text));
                }
                timeout
            }
        };
        Ok(Plan {
            kind: kind.clone(),
            every_ms,
            jitter_ms: self
                .jitter
                .as_deref()
                .map_or(Ok(0), |text| ms("jitter", text))?,
            timeout_ms,
            source,
            user_agent: concat!("trunkline/", env!("CARGO_PKG_VERSION")).to_owned(),
        })
    }

    fn one_of(
        &self,
        options: &'static str,
        given: &[(&'static str, bool)],
    ) -> Result<(), OptionsError> {
        let found: Vec<&str> = given
            .iter()
            .filter(|(_, is)| *is)
            .map(|(name, _)| *name)
            .collect();
        if found.len() < 2 {
            return Ok(());
        }
        Err(OptionsError::Several {
            kind: self.kind.clone(),
            options,
            found: found.join(" and "),
        })
    }
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-')
}

impl Plan {
    /// Gives the address that the operator wrote, if the engine fetches.
    pub fn address(&self) -> Option<&str> {
        match &self.source {
            Source::Feed(url) => Some(url),
            Source::Json(options) => Some(&options.url),
            Source::Handler => None,
        }
    }

    /// Says whether nothing but the engine itself makes the next tick come.
    pub fn is_immediate(&self) -> bool {
        self.every_ms == Some(0)
    }

    /// How long to wait after failures: a poller that ticks seldom is patient.
    pub(super) fn backoff(&self) -> Backoff {
        match self.every_ms {
            Some(every) => Backoff::new(
                (every / 8).clamp(SECOND_MS, MINUTE_MS),
                2.0,
                every.clamp(5 * MINUTE_MS, HOUR_MS),
            ),
            None => Backoff::new(30 * SECOND_MS, 2.0, HOUR_MS),
        }
    }

    /// How much too early a tick may come without being skipped because the answer is still fresh.
    pub(super) fn slack_ms(&self) -> u64 {
        let every = self.every_ms.unwrap_or(4 * MINUTE_MS);
        (every / 4)
            .clamp(SECOND_MS, 5 * MINUTE_MS)
            .max(self.jitter_ms.min(every / 2))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn options() -> Options {
        Options {
            kind: "news".to_owned(),
            every: Some("30m".to_owned()),
            feed: Some("https://a.example/feed".to_owned()),
            ..Options::default()
        }
    }

    #[test]
    fn options_say_what_was_expected_and_found() {
        let error = |change: fn(&mut Options)| {
            let mut options = options();
            change(&mut options);
            options.check().unwrap_err().to_string()
        };
        assert_eq!(
            error(|options| options.every = Some("30".to_owned())),
            r#"poll "news": expected a duration such as "30m" as every, found "30""#
        );
        assert_eq!(
            error(|options| options.every = Some("5s".to_owned())),
            r#"poll "news": expected at least 10s where the engine fetches as every, found "5s""#
        );
        assert_eq!(
            error(|options| options.cron = Some("0 * * * *".to_owned())),
            r#"poll "news": expected one of every, cron and at, found every and cron"#
        );
        assert_eq!(
            error(|options| options.json = Some(JsonOptions::default())),
            r#"poll "news": expected one of feed and json, found feed and json"#
        );
        assert_eq!(
            error(|options| options.tz = Some("Europe/Paris".to_owned())),
            r#"poll "news": expected cron beside it as tz, found "Europe/Paris""#
        );
        assert_eq!(
            error(|options| options.timeout = Some("2h".to_owned())),
            r#"poll "news": expected 1s to 1h as timeout, found "2h""#
        );
        assert_eq!(
            error(|options| options.alert = Some(AlertTo::new("Ops!", "room"))),
            r#"poll "news": expected the kind of a channel as alert.kind, found "Ops!""#
        );
        assert_eq!(
            error(|options| options.alert = Some(AlertTo::new("ops", ""))),
            r#"poll "news": expected a conversation as alert.to, found """#
        );
        assert_eq!(
            error(|options| options.credential = Some(String::new())),
            r#"poll "news": expected a text as credential, found """#
        );
        assert_eq!(
            error(|options| {
                options.feed = None;
                options.every = None;
            }),
            r#"poll "news": expected a duration, or cron, or at as every, found """#
        );
        assert_eq!(
            error(|options| options.kind = "a.b".to_owned()),
            r#"poll "a.b": expected 1 to 64 of a-z, 0-9, _ and - as kind, found "a.b""#
        );
        let written =
            json!({ "kind": "news", "feed": "{config.url}", "jitter": "5m", "misfire": "skip" });
        let read: Options = serde_json::from_value(written.clone()).unwrap();
        let plan = read.check().unwrap();
        assert_eq!(
            (plan.every_ms, plan.jitter_ms, plan.timeout_ms),
            (Some(3_600_000), 300_000, 60_000)
        );
        assert_eq!(serde_json::to_value(read).unwrap(), written);
    }
}
