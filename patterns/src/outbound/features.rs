//! What the channel can do, and how a message is cut to it.
//!
//! Only what is declared counts: a feature that the manifest does not speak of is let through.

use serde_json::{Map, Value};
use trunkline_contract::message::{ChannelFeatures, FileFeatures, Level};

use crate::chunk::split;

/// Names what a channel cannot do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotSupported {
    /// The feature, as the manifest names it.
    pub feature: &'static str,
}

/// Cuts a message into the messages that are sent one after the other.
///
/// The text goes over all of them. What is answered or replaced stands in the first, other content in the last;
/// everything else is in each. Without a limit, or where the text fits, it stays as it is.
pub fn parts(message: &Value, chars_max: Option<u32>) -> Vec<Value> {
    let (Some(most), Value::Object(fields)) = (chars_max, message) else {
        return vec![message.clone()];
    };
    let texts = fields
        .get("text")
        .and_then(Value::as_str)
        .map(|text| split(text, most as usize));
    let Some(texts) = texts.filter(|texts| texts.len() > 1) else {
        return vec![message.clone()];
    };
    let last = texts.len() - 1;
    let piece = |(index, text): (usize, String)| {
        let mut piece: Map<String, Value> = fields.clone();
        piece.insert("text".to_owned(), Value::String(text));
        if index > 0 {
            piece.remove("reply_to");
            piece.remove("edit_of");
        }
        if index < last {
            piece.remove("parts");
        }
        Value::Object(piece)
    };
    texts.into_iter().enumerate().map(piece).collect()
}

/// Finds what a message asks for that the channel declares it cannot do.
pub fn unsupported(message: &Value, features: &ChannelFeatures) -> Option<NotSupported> {
    let says = |pointer: &str| {
        message
            .pointer(pointer)
            .is_some_and(|value| !value.is_null())
    };
    let asked = [
        ("edits", "/edit_of", &features.edits),
        ("deletes", "/deleted", &features.deletes),
        ("reactions", "/reaction", &features.reactions),
        ("threads", "/conversation/thread_id", &features.threads),
    ];
    for (feature, pointer, level) in asked {
        if *level == Some(Level::None) && says(pointer) {
            return Some(NotSupported { feature });
        }
    }
    let files = features.files.as_ref()?;
    let parts = message.get("parts").and_then(Value::as_array)?;
    parts.iter().find_map(|part| unsupported_file(part, files))
}

fn unsupported_file(part: &Value, files: &FileFeatures) -> Option<NotSupported> {
    let has = |name: &str| part.get(name).is_some_and(|value| !value.is_null());
    if !has("blob") && !has("url") {
        return None;
    }
    let bytes = part.get("bytes").and_then(Value::as_u64);
    if files
        .bytes_max
        .zip(bytes)
        .is_some_and(|(most, bytes)| bytes > most)
    {
        return Some(NotSupported {
            feature: "files.bytes_max",
        });
    }
    let media_type = part.get("media_type").and_then(Value::as_str);
    let (accepted, media_type) = files.media_types.as_ref().zip(media_type)?;
    let fits = |filter: &String| match filter.strip_suffix('*') {
        Some(family) => media_type.starts_with(family),
        None => media_type == filter,
    };
    (!accepted.iter().any(fits)).then_some(NotSupported {
        feature: "files.media_types",
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_long_text_is_cut_and_the_rest_stands_where_it_belongs() {
        let message = json!({
            "text": "one two three", "reply_to": "m1", "parts": [{ "type": "image", "url": "u" }],
            "conversation": { "id": "c" },
        });
        let cut = parts(&message, Some(8));
        let conversation = json!({ "id": "c" });
        assert_eq!(
            cut,
            [
                json!({ "text": "one two", "reply_to": "m1", "conversation": conversation }),
                json!({ "text": "three", "parts": message["parts"], "conversation": conversation }),
            ]
        );
        let whole = std::slice::from_ref(&message);
        assert_eq!(parts(&message, None), whole);
        assert_eq!(parts(&message, Some(100)), whole);
        assert_eq!(parts(&json!("a text"), Some(2)), [json!("a text")]);
    }

    /// Proves LN30, core part: what a channel declares it cannot do is named, not tried.
    #[test]
    fn what_is_declared_as_missing_is_found() {
        let features: ChannelFeatures = serde_json::from_value(json!({
            "edits": "none", "reactions": "partial",
            "files": { "bytes_max": 10, "media_types": ["image/*", "text/plain"] },
        }))
        .unwrap();
        let found = |message: Value| unsupported(&message, &features).map(|found| found.feature);
        let file = |part: Value| json!({ "parts": [{ "type": "text", "text": "x" }, part] });
        assert_eq!(found(json!({ "edit_of": "m1" })), Some("edits"));
        assert_eq!(found(json!({ "edit_of": null, "text": "x" })), None);
        assert_eq!(
            found(json!({ "reaction": { "target": "m", "key": "+" } })),
            None
        );
        // Nothing is said of deleting.
        assert_eq!(found(json!({ "deleted": "m1" })), None);
        let too_big = json!({ "type": "image", "url": "u", "bytes": 11 });
        assert_eq!(found(file(too_big)), Some("files.bytes_max"));
        let odd = json!({ "type": "video", "blob": "b", "media_type": "video/mp4" });
        assert_eq!(found(file(odd)), Some("files.media_types"));
        let fine = json!({ "type": "image", "url": "u", "bytes": 9, "media_type": "image/png" });
        assert_eq!(found(file(fine)), None);
    }
}
