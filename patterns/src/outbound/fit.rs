//! Whether a channel can do what a message asks for, and what it gets where it cannot.
//!
//! Only what is declared counts: a feature that the manifest does not speak of is let through, and so are
//! `partial` and `full`, since what the limits of `partial` are only the handler knows.
//!
//! | what the channel declares it cannot do | with the part's own `alt_text` | with the message's `alt_text` | with neither |
//! |---|---|---|---|
//! | a part | the text, and the part's `alt_text` on a line of its own | `alt_text` in place of `text`, without the part | refused |
//! | an edit, deletion, reaction or thread | - | `alt_text` in place of `text`, as a new message outside of the thread | refused |
//! | typing | - | refused | refused |

use serde_json::{Map, Value};
use trunkline_contract::message::{ChannelFeatures, FileFeatures, Level};

/// What a message becomes on a channel.
#[derive(Clone, Debug, PartialEq)]
pub enum Fit {
    /// It goes out as it came.
    Whole,
    /// It goes out with text in place of what the channel cannot do.
    Degraded {
        /// What goes out.
        message: Value,
        /// What was left out, as the manifest names it; each once.
        features: Vec<&'static str>,
    },
    /// It is not tried.
    Refused(NotSupported),
}

/// Names what a channel cannot do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotSupported {
    /// The feature, as the manifest names it.
    pub feature: &'static str,
}

/// Fits a message to what its channel declares.
///
/// ```
/// use serde_json::json;
/// use trunkline_contract::message::ChannelFeatures;
/// use trunkline_patterns::outbound::{Fit, fit};
/// let features: ChannelFeatures = serde_json::from_value(json!({ "edits": "none" })).unwrap();
/// let edit = json!({ "text": "at 7", "edit_of": "m1", "alt_text": "at 7, not 6" });
/// let Fit::Degraded { message, .. } = fit(&edit, &features) else { panic!() };
/// assert_eq!(message, json!({ "text": "at 7, not 6" }));
/// ```
pub fn fit(message: &Value, features: &ChannelFeatures) -> Fit {
    let Value::Object(fields) = message else {
        return Fit::Whole;
    };
    if features.typing == Some(Level::None) && is_there(fields, "typing") {
        return refused("typing");
    }
    let members = lacking_members(message, features);
    let parts = fields.get("parts").and_then(Value::as_array);
    let lacking_parts: Vec<_> = parts
        .into_iter()
        .flatten()
        .map(|part| {
            lacking_part(part, features).map(|feature| (feature, text_at(part, "alt_text")))
        })
        .collect();
    let has_no_text =
        |(feature, text): &(&'static str, Option<&str>)| text.is_none().then_some(*feature);
    let unspoken = lacking_parts.iter().flatten().find_map(has_no_text);
    let names = members.iter().map(|(feature, _)| *feature);
    let names = names.chain(lacking_parts.iter().flatten().map(|(feature, _)| *feature));
    let mut left_out: Vec<&'static str> = Vec::new();
    for name in names {
        if !left_out.contains(&name) {
            left_out.push(name);
        }
    }
    if left_out.is_empty() {
        return Fit::Whole;
    }
    // Where each part speaks for itself, the text stays.
    let needed = members.first().map(|(feature, _)| *feature).or(unspoken);
    let text = match (needed, text_at(message, "alt_text")) {
        (None, _) => {
            let own = lacking_parts.iter().flatten().filter_map(|(_, text)| *text);
            let lines: Vec<_> = text_at(message, "text").into_iter().chain(own).collect();
            lines.join("\n")
        }
        (Some(_), Some(text)) => text.to_owned(),
        (Some(feature), None) => return refused(feature),
    };
    let mut fields = fields.clone();
    if needed.is_some() {
        fields.remove("alt_text");
    }
    fields.insert("text".to_owned(), Value::String(text));
    for (_, member) in members {
        leave_out(&mut fields, member);
    }
    if let Some(Value::Array(parts)) = fields.get_mut("parts") {
        let mut lacking = lacking_parts.iter();
        parts.retain(|_| lacking.next().is_none_or(Option::is_none));
        if parts.is_empty() {
            fields.remove("parts");
        }
    }
    Fit::Degraded {
        message: Value::Object(fields),
        features: left_out,
    }
}

fn refused(feature: &'static str) -> Fit {
    Fit::Refused(NotSupported { feature })
}

fn is_there(fields: &Map<String, Value>, name: &str) -> bool {
    fields.get(name).is_some_and(|value| !value.is_null())
}

/// Reads a text; one with nothing in it is none.
fn text_at<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    let text = value.get(name).and_then(Value::as_str);
    text.filter(|text| !text.is_empty())
}

/// Finds what is asked of a message as a whole: the feature, and the member that asks for it.
fn lacking_members(
    message: &Value,
    features: &ChannelFeatures,
) -> Vec<(&'static str, &'static str)> {
    let asked = [
        ("edits", "/edit_of", &features.edits),
        ("deletes", "/deleted", &features.deletes),
        ("reactions", "/reaction", &features.reactions),
        ("threads", "/conversation/thread_id", &features.threads),
    ];
    let says = |pointer: &str| {
        message
            .pointer(pointer)
            .is_some_and(|value| !value.is_null())
    };
    let lacking = asked
        .into_iter()
        .filter(|(_, pointer, level)| **level == Some(Level::None) && says(pointer));
    lacking
        .map(|(feature, pointer, _)| (feature, pointer))
        .collect()
}

fn leave_out(fields: &mut Map<String, Value>, pointer: &str) {
    match pointer.strip_prefix("/conversation/") {
        Some(name) => {
            let conversation = fields
                .get_mut("conversation")
                .and_then(Value::as_object_mut);
            conversation.map(|conversation| conversation.remove(name));
        }
        None => drop(fields.remove(&pointer[1..])),
    }
}

fn lacking_part(part: &Value, features: &ChannelFeatures) -> Option<&'static str> {
    let kind = part.get("type").and_then(Value::as_str).unwrap_or_default();
    let (feature, level) = match kind {
        "poll" => ("polls", &features.polls),
        "forward" => ("forwards", &features.forwards),
        "card" => ("cards", &features.cards),
        _ => ("", &None),
    };
    if *level == Some(Level::None) {
        return Some(feature);
    }
    let options = part.pointer("/poll/options").and_then(Value::as_array);
    let most = features.poll_options_max.zip(options);
    if most.is_some_and(|(most, options)| options.len() > most as usize) {
        return Some("poll_options_max");
    }
    if let Some(files) = &features.files
        && let Some(feature) = lacking_file(part, files)
    {
        return Some(feature);
    }
    let known = features.parts.as_ref().filter(|_| kind != "text")?;
    (!known.iter().any(|filter| fits(filter, kind))).then_some("parts")
}

fn lacking_file(part: &Value, files: &FileFeatures) -> Option<&'static str> {
    let has = |name: &str| part.get(name).is_some_and(|value| !value.is_null());
    if !has("blob") && !has("url") {
        return None;
    }
    if files.level == Some(Level::None) {
        return Some("files");
    }
    let bytes = part.get("bytes").and_then(Value::as_u64);
    let too_big = files
        .bytes_max
        .zip(bytes)
        .is_some_and(|(most, bytes)| bytes > most);
    if too_big {
        return Some("files.bytes_max");
    }
    let media_type = part.get("media_type").and_then(Value::as_str);
    let (accepted, media_type) = files.media_types.as_ref().zip(media_type)?;
    // Without its parameters, in any case (RFC 2045).
    let media_type = media_type.split(';').next().unwrap_or_default();
    let media_type = media_type.trim().to_ascii_lowercase();
    let fits = |filter: &String| fits(&filter.to_ascii_lowercase(), &media_type);
    (!accepted.iter().any(fits)).then_some("files.media_types")
}

/// A filter is the whole word, or its beginning before a `*`.
fn fits(filter: &str, word: &str) -> bool {
    match filter.strip_suffix('*') {
        Some(family) => word.starts_with(family),
        None => word == filter,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn features(said: Value) -> ChannelFeatures {
        serde_json::from_value(said).expect("features")
    }

    /// The feature for whose lack a message is refused.
    fn lacks(message: &Value, said: Value) -> Option<&'static str> {
        match fit(message, &features(said)) {
            Fit::Refused(lacking) => Some(lacking.feature),
            Fit::Whole => None,
            Fit::Degraded { .. } => panic!("it asks for no text in its place"),
        }
    }

    fn degraded(message: &Value, said: Value) -> (Value, Vec<&'static str>) {
        match fit(message, &features(said)) {
            Fit::Degraded { message, features } => (message, features),
            other => panic!("{other:?}"),
        }
    }

    fn asks() -> Vec<(&'static str, Value)> {
        let part = |part: Value| json!({ "text": "x", "parts": [part] });
        let poll = json!({ "type": "poll", "poll": { "question": "?", "options": [] } });
        vec![
            ("edits", json!({ "text": "x", "edit_of": "m1" })),
            ("deletes", json!({ "deleted": "m1" })),
            (
                "reactions",
                json!({ "reaction": { "target": "m1", "key": "+", "op": "add" } }),
            ),
            (
                "threads",
                json!({ "text": "x", "conversation": { "id": "c", "thread_id": "t" } }),
            ),
            ("typing", json!({ "typing": true })),
            ("polls", part(poll)),
            (
                "forwards",
                part(json!({ "type": "forward", "message_id": "m1" })),
            ),
            ("cards", part(json!({ "type": "card", "card": {} }))),
        ]
    }

    /// Proves P7e, LN30, core part: what a channel declares it cannot do is named, not tried; `partial`, `full` and
    /// what is not declared are let through.
    #[test]
    fn what_is_declared_as_missing_is_refused() {
        for (feature, message) in asks() {
            assert_eq!(lacks(&message, json!({ feature: "none" })), Some(feature));
            for level in ["partial", "full", "another"] {
                assert_eq!(
                    lacks(&message, json!({ feature: level })),
                    None,
                    "{feature}"
                );
            }
            assert_eq!(
                lacks(&message, json!({ "text_chars_max": 9 })),
                None,
                "{feature}"
            );
        }
        assert_eq!(
            lacks(
                &json!({ "edit_of": null, "text": "x" }),
                json!({ "edits": "none" })
            ),
            None
        );
    }

    #[test]
    fn files_polls_and_parts_have_limits_of_their_own() {
        let said = || {
            json!({
                "poll_options_max": 2, "parts": ["image", "video", "poll", "chat.*"],
                "files": { "bytes_max": 10, "media_types": ["image/*", "text/plain"] },
            })
        };
        let found = |part: Value| {
            let parts = [json!({ "type": "text", "text": "x" }), part];
            lacks(&json!({ "parts": parts }), said())
        };
        let image = |more: (&str, Value)| {
            let mut image = json!({ "type": "image", "url": "u" });
            image[more.0] = more.1;
            image
        };
        assert_eq!(found(image(("bytes", json!(11)))), Some("files.bytes_max"));
        assert_eq!(found(image(("bytes", json!(10)))), None);
        assert_eq!(found(image(("media_type", json!("image/png")))), None);
        assert_eq!(found(image(("media_type", json!("Image/PNG")))), None);
        let plain = json!("text/plain; charset=utf-8");
        assert_eq!(found(image(("media_type", plain))), None);
        let odd = json!({ "type": "video", "blob": "b", "media_type": "video/mp4" });
        assert_eq!(found(odd), Some("files.media_types"));
        let poll = |count: usize| {
            let options = vec![json!({ "text": "x" }); count];
            json!({ "type": "poll", "poll": { "question": "?", "options": options } })
        };
        assert_eq!(found(poll(3)), Some("poll_options_max"));
        assert_eq!(found(poll(2)), None);
        assert_eq!(found(json!({ "type": "hologram" })), Some("parts"));
        assert_eq!(found(json!({ "type": "chat.sticker" })), None);
        let none = json!({ "files": { "level": "none" } });
        let message = json!({ "parts": [image(("bytes", json!(1)))] });
        assert_eq!(lacks(&message, none), Some("files"));
    }

    /// Proves LN30, core part: where the sender says what is shown instead, that goes out, and what was left out is
    /// named; a part that speaks for itself leaves the text as it is.
    #[test]
    fn what_the_channel_cannot_do_becomes_the_text_that_stands_for_it() {
        for (feature, mut message) in asks() {
            message["alt_text"] = json!("instead");
            if feature == "typing" {
                assert_eq!(lacks(&message, json!({ "typing": "none" })), Some("typing"));
                continue;
            }
            let (message, left_out) = degraded(&message, json!({ feature: "none" }));
            let expected = match feature {
                "threads" => json!({ "text": "instead", "conversation": { "id": "c" } }),
                _ => json!({ "text": "instead" }),
            };
            assert_eq!((message, left_out), (expected, vec![feature]));
        }
        let image = json!({ "type": "image", "url": "u" });
        let poll = json!({ "type": "poll", "alt_text": "A or B?" });
        let card = json!({ "type": "card", "alt_text": "yes / no" });
        let said = || json!({ "polls": "none", "cards": "none", "edits": "none" });
        let message = json!({ "text": "hi", "parts": [poll, image, card, poll], "reply_to": "m0" });
        let (message, left_out) = degraded(&message, said());
        let text = "hi\nA or B?\nyes / no\nA or B?";
        assert_eq!(
            message,
            json!({ "text": text, "parts": [image], "reply_to": "m0" })
        );
        assert_eq!(left_out, ["polls", "cards"]);
        // One that does not speak for itself needs the message's own, which speaks for all of it.
        let mute = json!({ "type": "poll" });
        let message =
            json!({ "text": "hi", "parts": [card, mute], "edit_of": "m1", "alt_text": "all" });
        let (message, left_out) = degraded(&message, said());
        assert_eq!(message, json!({ "text": "all" }));
        assert_eq!(left_out, ["edits", "cards", "polls"]);
        let message = json!({ "text": "hi", "parts": [card, mute], "alt_text": "" });
        assert_eq!(lacks(&message, said()), Some("polls"));
    }
}
