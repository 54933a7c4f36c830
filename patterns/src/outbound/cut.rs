//! How a message is cut to the longest text that its channel takes.

use serde_json::{Map, Value};

use crate::chunk::split;

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
}
