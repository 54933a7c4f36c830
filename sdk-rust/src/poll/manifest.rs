//! Pollers that a manifest declares: their handler is written here, once.

use serde_json::{Map, Value, json};
use trunkline_contract::error::{Code, Error};
use trunkline_contract::manifest::Poller;
use trunkline_patterns::poller::Options;

use super::declare::{Auth, Poll};
use crate::event::Event;
use crate::outcome::Result;
use crate::payload::Json;

/// What a message says of an item.
struct Form {
    kind: String,
    is_feed: bool,
    text: Option<String>,
    conversation: Option<String>,
}

/// Makes the poller of a declaration.
pub(crate) fn declared(poller: Poller) -> Poll {
    let options = serde_json::from_value::<Options>(Value::Object(poller.options));
    let (options, fault) = match options {
        Ok(options) => (options, None),
        Err(error) => {
            let text = format!("pollers {:?}: {error}", poller.kind);
            let fault = Error::new(Code::ConfigInvalid, text);
            (Options::default(), Some(fault))
        }
    };
    let form = Form {
        kind: poller.kind,
        is_feed: options.feed.is_some(),
        text: poller.text,
        conversation: poller.conversation,
    };
    let form = std::sync::Arc::new(form);
    let handler = move |item: Json| {
        let form = form.clone();
        async move { Result::<Event>::Ok(form.event(&item)) }
    };
    let auth = Auth {
        bearer: poller.auth.bearer,
        basic: poller.auth.basic,
        headers: poller.auth.headers,
        oauth: poller.auth.oauth,
        is_guarded: !poller.private_network,
    };
    Poll::from_parts(options, auth, fault, handler)
}

impl Form {
    fn event(&self, item: &Json) -> Event {
        let mut message = Map::new();
        let text = match &self.text {
            Some(template) => filled(template, item),
            None if self.is_feed => {
                let lines = ["title", "link"].map(|name| shown(&item[name]));
                lines
                    .into_iter()
                    .filter(|line| !line.is_empty())
                    .collect::<Vec<_>>()
                    .join("\n")
            }
            None => String::new(),
        };
        if !text.is_empty() {
            message.insert("text".to_owned(), json!(text));
        }
        let conversation = match &self.conversation {
            Some(template) => filled(template, item),
            None => self.kind.clone(),
        };
        message.insert("conversation".to_owned(), json!({ "id": conversation }));
        if self.is_feed {
            for (name, from) in [("id", "id"), ("sent_at", "published")] {
                if let Some(value) = item.get(from) {
                    message.insert(name.to_owned(), value.clone());
                }
            }
        }
        let origin = if self.is_feed { "feed" } else { "json" };
        message.insert("raw".to_owned(), json!({ origin: item }));
        Event::inbound(Value::Object(message))
    }
}

/// Puts fields of an item in place of `{a.b}`; what is absent leaves nothing.
fn filled(template: &str, item: &Json) -> String {
    let mut made = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        made.push_str(before);
        let Some((path, after)) = after.split_once('}') else {
            made.push('{');
            rest = after;
            continue;
        };
        let mut value = item;
        for name in path.split('.') {
            value = match name.parse::<usize>() {
                Ok(at) if value.is_array() => &value[at],
                _ => &value[name],
            };
        }
        made.push_str(&shown(value));
        rest = after;
    }
    made + rest
}

fn shown(value: &Json) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_made_of_the_fields_of_an_item() {
        let item = json!({ "a": { "b": ["x", 7] }, "t": "T", "n": null });
        assert_eq!(filled("{t}: {a.b.1}{n}{no.such} {", &item), "T: 7 {");
        assert_eq!(filled("plain", &item), "plain");
    }
}
