//! Who is there for a topic: the instances that the daemon has, and what is subscribed.
//!
//! It only looks. Where it may not, as with a token without `admin`, nothing is said and nothing is held up.

use std::time::Duration;

use trunkline_contract::error::Code;
use trunkline_contract::rpc::admin::{AdminStatusResult, PluginsListResult};
use trunkline_contract::rpc::{Empty, PublishResult, method};
use trunkline_contract::toml::{nearest, one_of};
use trunkline_contract::topic::{Class, Filter, classify};

use super::client::{ANSWER_LIMIT, Client};
use super::failure::Failure;
use super::output::say;

/// How long an answer may take to what is only asked beside the work of a command: 1 s. It counts what waits, which takes a
/// while where that is much, and the command does without it.
const BESIDE_LIMIT: Duration = Duration::from_secs(1);

/// What the daemon has.
#[derive(Debug, Default)]
pub(crate) struct There {
    /// Kind and instance of each channel, as `kind.instance`, in order.
    places: Vec<String>,
    /// What somebody subscribes.
    filters: Vec<Filter>,
}

impl There {
    /// Asks the daemon.
    pub(crate) fn look(client: &mut Client) -> Result<Self, Failure> {
        Self::look_within(ANSWER_LIMIT, client)
    }

    fn look_within(limit: Duration, client: &mut Client) -> Result<Self, Failure> {
        let status = client.call_within(limit, method::ADMIN_STATUS, &Empty {})?;
        Self::of(limit, client, status)
    }

    fn of(
        limit: Duration,
        client: &mut Client,
        status: AdminStatusResult,
    ) -> Result<Self, Failure> {
        let listed: PluginsListResult =
            client.call_within(limit, method::ADMIN_PLUGINS_LIST, &Empty {})?;
        let mut places: Vec<String> = Vec::new();
        for plugin in &listed.plugins {
            for one in &plugin.instances {
                let kinds = plugin.kinds.iter();
                places.extend(kinds.map(|kind| format!("{kind}.{}", one.instance)));
            }
        }
        places.sort_unstable();
        let subscriptions = status.subscriptions.into_iter();
        Ok(Self {
            places,
            filters: subscriptions.flat_map(|sub| sub.filters).collect(),
        })
    }

    /// The place that a name means: `kind.instance`, or `kind` alone where that is one.
    pub(crate) fn place(&self, name: &str) -> Result<(String, String), Failure> {
        let known: Vec<&str> = self.places.iter().map(String::as_str).collect();
        let of_kind = |place: &&str| place.split_once('.').is_some_and(|(kind, _)| kind == name);
        let of_kind: Vec<&str> = known.iter().copied().filter(of_kind).collect();
        let own = format!("{name}.default");
        let found = match of_kind.as_slice() {
            [only] => Some(*only),
            several => known
                .iter()
                .copied()
                .find(|place| *place == name)
                .or_else(|| several.iter().copied().find(|place| *place == own)),
        };
        if let Some((kind, instance)) = found.and_then(|place| place.split_once('.')) {
            return Ok((kind.to_owned(), instance.to_owned()));
        }
        let (text, known) = if of_kind.is_empty() {
            let text = format!("expected kind.instance of a configured channel, found {name:?}");
            (text, known)
        } else {
            let text = format!("expected one instance of {name:?}, found {}", of_kind.len());
            (text, of_kind)
        };
        Err(unrouted(text).hint(one_of(name, &known)))
    }

    /// Refuses what would be for an instance that nobody has, as far as the daemon says so in time.
    ///
    /// # Errors
    /// `unrouted`, with the instances there are.
    pub(crate) fn check(client: &mut Client, topic: &str) -> Result<(), Failure> {
        let is_named = matches!(
            classify(topic),
            Class::Outbound {
                instance: Some(_),
                ..
            } | Class::Inbound {
                instance: Some(_),
                ..
            }
        );
        if !is_named {
            return Ok(());
        }
        let status: Result<AdminStatusResult, Failure> =
            client.call_within(BESIDE_LIMIT, method::ADMIN_STATUS, &Empty {});
        let is_heard = |status: &AdminStatusResult| {
            let mut filters = status.subscriptions.iter().flat_map(|sub| &sub.filters);
            filters.any(|filter| filter.matches(topic))
        };
        let status = match status {
            Ok(status) if !is_heard(&status) => status,
            _ => return Ok(()),
        };
        let there = Self::of(BESIDE_LIMIT, client, status).ok();
        let refusal = there.and_then(|there| there.refusal(topic));
        refusal.map_or(Ok(()), Err)
    }

    /// Adds to a refused topic what there is in its place.
    pub(crate) fn explained(client: &mut Client, topic: &str, failure: Failure) -> Failure {
        let Class::Outbound {
            kind,
            instance: None,
        } = classify(topic)
        else {
            return failure;
        };
        match Self::look_within(BESIDE_LIMIT, client) {
            Ok(there) if failure.is_unrouted() => {
                let kinds = there.kinds();
                if kinds.contains(&kind) {
                    return failure;
                }
                failure.hint(one_of(kind, &kinds))
            }
            _ => failure,
        }
    }

    /// Says so if nobody subscribed to what was published.
    pub(crate) fn warn(client: &mut Client, topic: &str, result: &PublishResult) {
        if result.matched > 0 {
            return;
        }
        let there = Self::look_within(BESIDE_LIMIT, client).unwrap_or_default();
        if let Some(warning) = there.warning(topic, result) {
            say(&warning);
        }
    }

    fn kinds(&self) -> Vec<&str> {
        let places = self.places.iter().filter_map(|place| place.split_once('.'));
        let mut kinds: Vec<&str> = places.map(|(kind, _)| kind).collect();
        kinds.dedup();
        kinds
    }

    /// Why nothing is to be published there: the topic names an instance that nobody has, and nobody listens in its place.
    fn refusal(&self, topic: &str) -> Option<Failure> {
        let (Class::Outbound {
            kind,
            instance: Some(instance),
        }
        | Class::Inbound {
            kind,
            instance: Some(instance),
        }) = classify(topic)
        else {
            return None;
        };
        let place = format!("{kind}.{instance}");
        let is_heard = self.filters.iter().any(|filter| filter.matches(topic));
        if is_heard || self.places.contains(&place) {
            return None;
        }
        let text = format!(
            "expected a configured instance of kind {kind:?}, found {instance:?}; nothing is published"
        );
        let known: Vec<&str> = self.places.iter().map(String::as_str).collect();
        Some(unrouted(text).hint(one_of(&place, &known)))
    }

    /// What to say of an event that nobody subscribed to.
    fn warning(&self, topic: &str, result: &PublishResult) -> Option<String> {
        // A repeat is stored already, and is handed to nobody again.
        if result.matched > 0 || result.duplicate {
            return None;
        }
        let (fate, late) = match result.seq {
            Some(_) => (
                "the event is stored",
                "who subscribes with start \"earliest\" still gets it",
            ),
            None => (
                "an ephemeral event is not stored",
                "without --ephemeral it is kept for who comes later",
            ),
        };
        let filled: Vec<String> = self
            .filters
            .iter()
            .map(|filter| filled(filter.as_str(), topic))
            .filter(|near| near != topic)
            .collect();
        let known: Vec<&str> = filled.iter().map(String::as_str).collect();
        // A complete topic of a channel is what was meant: its likeness with that of the other direction says nothing.
        let is_unknown = matches!(classify(topic), Class::Other);
        let near = nearest(topic, &known).filter(|_| is_unknown);
        let near = near.map_or_else(String::new, |near| format!("did you mean {near}? "));
        Some(format!(
            "warning: events_unmatched: nobody subscribes to {topic}, {fate}\n\nhint: {near}{late}"
        ))
    }
}

fn unrouted(text: String) -> Failure {
    Failure::new(Code::Unrouted.as_str(), Code::Unrouted.exit_code(), text)
}

/// A filter with what a topic has in the place of `*` and `>`: that which the topic would be if it were meant.
fn filled(filter: &str, topic: &str) -> String {
    let mut words = topic.split('.');
    let mut full: Vec<&str> = Vec::new();
    for token in filter.split('.') {
        let word = words.next();
        match token {
            ">" => {
                full.extend(word);
                full.extend(words);
                break;
            }
            "*" => full.extend(word),
            own => full.push(own),
        }
    }
    full.join(".")
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn there(places: &[&str], filters: &[&str]) -> There {
        There {
            places: places.iter().map(|&place| place.to_owned()).collect(),
            filters: filters
                .iter()
                .map(|text| Filter::parse(text).unwrap())
                .collect(),
        }
    }

    #[test]
    fn an_instance_that_nobody_has_is_refused_with_those_there_are() {
        let there = there(&["echo.one", "echo.two"], &["plugin.inbound.test.>"]);
        let refused = there.refusal("plugin.outbound.echo.tow").unwrap();
        expect![[r#"
            error: unrouted: expected a configured instance of kind "echo", found "tow"; nothing is published

            hint: did you mean echo.two? there are echo.one, echo.two"#]]
        .assert_eq(&refused.to_string());
        for topic in [
            "plugin.outbound.echo.one",
            "plugin.inbound.test.heard",
            "plugin.outbound.echo",
            "order.created",
        ] {
            assert_eq!(there.refusal(topic), None, "{topic}");
        }
    }

    #[test]
    fn a_topic_that_nobody_subscribes_to_is_told_with_what_is_near() {
        let there = there(&[], &["order.*", "plugin.outbound.echo.one"]);
        let result = |value| serde_json::from_value::<PublishResult>(value).unwrap();
        let stored = result(serde_json::json!({ "seq": 5, "matched": 0 }));
        expect![[r#"
            warning: events_unmatched: nobody subscribes to oder.created, the event is stored

            hint: did you mean order.created? who subscribes with start "earliest" still gets it"#]]
        .assert_eq(&there.warning("oder.created", &stored).unwrap());
        let near = there.warning("plugin.outbond.echo.one", &stored).unwrap();
        assert!(near.contains("did you mean plugin.outbound.echo.one?"));
        let inbound = there.warning("plugin.inbound.echo.one", &stored).unwrap();
        assert!(!inbound.contains("did you mean"), "{inbound}");
        let gone = result(serde_json::json!({ "matched": 0 }));
        let said = there.warning("weather", &gone).unwrap();
        assert!(said.contains("is not stored") && !said.contains("did you mean"));
        let heard = result(serde_json::json!({ "seq": 5, "matched": 1 }));
        assert_eq!(there.warning("order.created", &heard), None);
    }

    #[test]
    fn a_place_is_named_whole_or_by_its_kind_where_that_is_enough() {
        let there = there(
            &["echo.one", "echo.two", "mail.default", "mail.x", "sms.a"],
            &[],
        );
        let found = |name: &str| there.place(name).map(|(kind, of)| format!("{kind}.{of}"));
        assert_eq!(found("echo.two").unwrap(), "echo.two");
        assert_eq!(found("mail").unwrap(), "mail.default");
        assert_eq!(found("sms").unwrap(), "sms.a");
        expect![[r#"
            error: unrouted: expected one instance of "echo", found 2

            hint: there are echo.one, echo.two"#]]
        .assert_eq(&found("echo").unwrap_err().to_string());
        expect![[r#"
            error: unrouted: expected kind.instance of a configured channel, found "sms.b"

            hint: did you mean sms.a? there are echo.one, echo.two, mail.default, mail.x, sms.a"#]]
        .assert_eq(&found("sms.b").unwrap_err().to_string());
    }
}
