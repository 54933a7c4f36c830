//! Topics, topic filters and what the reserved topics mean.
//!
//! A topic is dotted segments of `[A-Za-z0-9_-]+`, at most 255 bytes and 16 segments. In a filter
//! `*` stands for exactly one segment and a final `>` for one or more. Not here: grants, and the
//! choice of an instance for an incomplete topic.

use std::fmt;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Code, Error};
use crate::limits::{TOPIC_BYTES_MAX, TOPIC_SEGMENTS_MAX};

/// Checks that `text` is a topic.
///
/// # Errors
/// [`Code::InvalidTopic`], saying what was found and where.
///
/// ```
/// use trunkline_contract::topic::check_topic;
/// assert!(check_topic("plugin.inbound.telegram.support").is_ok());
/// assert!(check_topic("plugin..x").is_err());
/// ```
pub fn check_topic(text: &str) -> Result<(), Error> {
    check_sizes(text, "topic")?;
    let mut segments = 0;
    for segment in text.split('.') {
        segments += 1;
        check_segment(text, segment, segments)?;
    }
    check_count(text, segments)
}

fn check_sizes(text: &str, what: &str) -> Result<(), Error> {
    if text.is_empty() {
        return Err(invalid(format!("expected a {what}, found an empty text")));
    }
    if text.len() > TOPIC_BYTES_MAX {
        return Err(invalid(format!(
            "expected at most {TOPIC_BYTES_MAX} bytes, found {} in {what} \"{}…\"",
            text.len(),
            text.chars().take(48).collect::<String>()
        )));
    }
    Ok(())
}

fn check_count(text: &str, segments: usize) -> Result<(), Error> {
    if segments > TOPIC_SEGMENTS_MAX {
        return Err(invalid(format!(
            "expected at most {TOPIC_SEGMENTS_MAX} segments, found {segments} in {text:?}"
        )));
    }
    Ok(())
}

fn check_segment(text: &str, segment: &str, number: usize) -> Result<(), Error> {
    if segment.is_empty() {
        return Err(invalid(format!(
            "expected letters, digits, `_` or `-` in segment {number} of {text:?}, found nothing"
        )));
    }
    match segment
        .chars()
        .find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-')))
    {
        Some(found) => Err(invalid(format!(
            "expected letters, digits, `_` or `-` in segment {number} of {text:?}, found {found:?}"
        ))),
        None => Ok(()),
    }
}

fn invalid(message: String) -> Error {
    Error::new(Code::InvalidTopic, message)
}

/// Selects topics. Cheap to clone.
///
/// ```
/// use trunkline_contract::topic::Filter;
/// let filter = Filter::parse("plugin.inbound.*.>").unwrap();
/// assert!(filter.matches("plugin.inbound.telegram.support"));
/// assert!(!filter.matches("plugin.inbound.telegram"));
/// ```
#[derive(Clone, PartialEq, Eq, Hash, JsonSchema)]
#[schemars(with = "String")]
pub struct Filter {
    text: Arc<str>,
    /// No wildcard of it reaches what is private to operators.
    is_public: bool,
}

impl Filter {
    /// Reads a filter.
    ///
    /// # Errors
    /// [`Code::InvalidTopic`], saying what was found and where.
    pub fn parse(text: &str) -> Result<Filter, Error> {
        check_sizes(text, "topic filter")?;
        let mut segments = 0;
        let mut closed = false;
        for segment in text.split('.') {
            segments += 1;
            if closed {
                return Err(invalid(format!(
                    "expected `>` only as the last segment, found it as segment {} of {text:?}",
                    segments - 1
                )));
            }
            match segment {
                "*" => {}
                ">" => closed = true,
                _ => check_segment(text, segment, segments)?,
            }
        }
        check_count(text, segments)?;
        Ok(Filter {
            text: Arc::from(text),
            is_public: false,
        })
    }

    /// Makes a filter whose wildcards do not reach what [`is_private`]; one that names it stays as it is.
    ///
    /// ```
    /// use trunkline_contract::topic::Filter;
    /// let all = Filter::parse(">").unwrap().public();
    /// assert!(all.matches("agent.done") && !all.matches("plugin.lifecycle.mail.a"));
    /// let named = Filter::parse("plugin.lifecycle.>").unwrap().public();
    /// assert!(named.matches("plugin.lifecycle.mail.a"));
    /// ```
    #[must_use]
    pub fn public(mut self) -> Filter {
        self.is_public = !is_private(&self.text);
        self
    }

    /// Says whether its wildcards leave out what [`is_private`].
    pub fn is_public(&self) -> bool {
        self.is_public
    }

    /// Gives the text form.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Says whether a topic is selected.
    pub fn matches(&self, topic: &str) -> bool {
        if self.is_public && is_private(topic) {
            return false;
        }
        let mut topic = topic.split('.');
        for segment in self.text.split('.') {
            match (segment, topic.next()) {
                (_, None) => return false,
                (">", Some(_)) => return true,
                ("*", Some(_)) => {}
                (literal, Some(found)) if literal == found => {}
                _ => return false,
            }
        }
        topic.next().is_none()
    }

    /// Says whether every topic that `other` selects is selected by this one too.
    ///
    /// ```
    /// use trunkline_contract::topic::Filter;
    /// let wide = Filter::parse("agent.>").unwrap();
    /// let narrow = Filter::parse("agent.*.done").unwrap();
    /// assert!(wide.covers(&narrow) && !narrow.covers(&wide));
    /// ```
    pub fn covers(&self, other: &Filter) -> bool {
        let mut theirs = other.text.split('.');
        for (index, ours) in self.text.split('.').enumerate() {
            match (ours, theirs.next()) {
                (_, None) => return false,
                (">", Some(_)) => return true,
                // In the last possible position `>` can only stand for one segment.
                ("*", Some(">")) if index + 1 == TOPIC_SEGMENTS_MAX => {}
                (_, Some(">")) => return false,
                ("*", Some(_)) => {}
                (literal, Some(found)) if literal == found => {}
                _ => return false,
            }
        }
        theirs.next().is_none()
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Filter({:?})", &*self.text)
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::str::FromStr for Filter {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Filter::parse(text)
    }
}

impl<'de> Deserialize<'de> for Filter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Filter::parse(&text).map_err(|error| serde::de::Error::custom(error.message))
    }
}

impl Serialize for Filter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

/// What the topics of the operators' acts begin with.
pub const AUDIT: &str = "broker.audit";

/// Says whether a topic is one of the operators' acts, which the broker alone publishes.
pub fn is_audit(topic: &str) -> bool {
    topic
        .strip_prefix(AUDIT)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Says whether a topic (or the text of a filter) is among those for operators alone: lifecycle events,
/// dead-letter advisories, the timers and parts of instances and the acts of operators.
pub fn is_private(topic: &str) -> bool {
    [
        "plugin.lifecycle",
        "plugin.dead",
        "plugin.timer",
        "plugin.part",
        AUDIT,
    ]
    .iter()
    .any(|own| {
        topic
            .strip_prefix(own)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    })
}

/// Says what a topic is for, by its form alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class<'a> {
    /// `plugin.inbound.<kind>[.<instance>]`: something came in from outside.
    Inbound {
        /// The channel kind.
        kind: &'a str,
        /// The instance; absent only in input.
        instance: Option<&'a str>,
    },
    /// `plugin.outbound.<kind>[.<instance>]`: send this outside.
    Outbound {
        /// The channel kind.
        kind: &'a str,
        /// The instance; absent only in input.
        instance: Option<&'a str>,
    },
    /// `plugin.delivery.<kind>[.<instance>]`: what became of an outbound event.
    Delivery {
        /// The channel kind.
        kind: &'a str,
        /// The instance; absent only in input.
        instance: Option<&'a str>,
    },
    /// `plugin.hook.<kind>[.<instance>]`: a verified webhook request.
    Hook {
        /// The channel kind.
        kind: &'a str,
        /// The instance; absent only in input.
        instance: Option<&'a str>,
    },
    /// `plugin.tool.<plugin>.<tool>[.reply]`: the topic form of a tool call.
    Tool {
        /// The plugin.
        plugin: &'a str,
        /// The tool.
        tool: &'a str,
        /// True for the answer.
        reply: bool,
    },
    /// `plugin.lifecycle.<plugin>.<instance>`: states and crashes.
    Lifecycle {
        /// The plugin.
        plugin: &'a str,
        /// The instance.
        instance: &'a str,
    },
    /// `plugin.dead.<subscription>`: something was dead-lettered. Subscription names have dots.
    Dead {
        /// The subscription.
        subscription: &'a str,
    },
    /// `plugin.timer.<plugin>.<instance>`: a timer of that instance is due.
    Timer {
        /// The plugin.
        plugin: &'a str,
        /// The instance.
        instance: &'a str,
    },
    /// `plugin.part.<plugin>.<instance>`: a part that the instance puts together with others.
    Part {
        /// The plugin.
        plugin: &'a str,
        /// The instance.
        instance: &'a str,
    },
    /// Everything else.
    Other,
}

/// Classifies a topic by its form.
///
/// ```
/// use trunkline_contract::topic::{Class, classify};
/// assert_eq!(
///     classify("plugin.inbound.telegram.support"),
///     Class::Inbound { kind: "telegram", instance: Some("support") }
/// );
/// assert_eq!(classify("agent.done"), Class::Other);
/// ```
pub fn classify(topic: &str) -> Class<'_> {
    let Some((class, rest)) = topic
        .strip_prefix("plugin.")
        .and_then(|r| r.split_once('.'))
    else {
        return Class::Other;
    };
    if class == "dead" {
        return Class::Dead { subscription: rest };
    }
    let mut parts = rest.split('.');
    let (first, second, third) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
    if parts.next().is_some() {
        return Class::Other;
    }
    match (class, second, third) {
        ("inbound", instance, None) => Class::Inbound {
            kind: first,
            instance,
        },
        ("outbound", instance, None) => Class::Outbound {
            kind: first,
            instance,
        },
        ("delivery", instance, None) => Class::Delivery {
            kind: first,
            instance,
        },
        ("hook", instance, None) => Class::Hook {
            kind: first,
            instance,
        },
        ("tool", Some(tool), None) => Class::Tool {
            plugin: first,
            tool,
            reply: false,
        },
        ("tool", Some(tool), Some("reply")) => Class::Tool {
            plugin: first,
            tool,
            reply: true,
        },
        ("lifecycle", Some(instance), None) => Class::Lifecycle {
            plugin: first,
            instance,
        },
        ("part", Some(instance), None) => Class::Part {
            plugin: first,
            instance,
        },
        ("timer", Some(instance), None) => Class::Timer {
            plugin: first,
            instance,
        },
        _ => Class::Other,
    }
}

/// Gives the ordering key: events with one key reach a subscription one after the other.
///
/// It is `<kind>.<instance>/<session>` on inbound, outbound and delivery topics and `/<session>`
/// elsewhere; `None`, without or with an empty session, asks for no order.
///
/// ```
/// use trunkline_contract::topic::session_key;
/// assert_eq!(
///     session_key("plugin.inbound.telegram.support", Some("42")).as_deref(),
///     Some("telegram.support/42")
/// );
/// assert_eq!(session_key("agent.done", Some("42")).as_deref(), Some("/42"));
/// assert_eq!(session_key("agent.done", None), None);
/// ```
pub fn session_key(topic: &str, session_id: Option<&str>) -> Option<String> {
    let session = session_id.filter(|session| !session.is_empty())?;
    let (kind, instance) = match classify(topic) {
        Class::Inbound { kind, instance }
        | Class::Outbound { kind, instance }
        | Class::Delivery { kind, instance } => (kind, instance),
        _ => ("", None),
    };
    let mut key = String::with_capacity(kind.len() + 66 + session.len());
    key.push_str(kind);
    if let Some(instance) = instance {
        key.push('.');
        key.push_str(instance);
    }
    key.push('/');
    key.push_str(session);
    Some(key)
}
