//! A request as it arrived.

use serde_json::{Map, Value};

use super::refusal::Refusal;
use super::twilio::form;

/// Holds a request as it arrived, nothing decoded.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The method, in capitals.
    pub method: &'a str,
    /// The whole address that the sender used, query included.
    pub url: &'a str,
    /// The headers; names in any case.
    pub headers: &'a [(&'a str, &'a str)],
    /// The body, byte for byte.
    pub body: &'a [u8],
}

impl<'a> Request<'a> {
    /// Finds a header, whatever the case of its name.
    ///
    /// # Errors
    /// It is there twice: which one counts would be a guess.
    pub(super) fn header(&self, name: &str) -> Result<Option<&'a str>, Refusal> {
        let named = |(found, _): &&(&str, &str)| found.eq_ignore_ascii_case(name);
        let mut all = self.headers.iter().filter(named);
        match (all.next(), all.next()) {
            (Some(_), Some(_)) => Err(Refusal::malformed(name, "one value")),
            (first, _) => Ok(first.map(|(_, value)| value.trim())),
        }
    }

    /// Says whether the body is a form.
    pub fn is_form(&self) -> bool {
        let content_type = self
            .header("content-type")
            .ok()
            .flatten()
            .unwrap_or_default();
        let media = content_type.split(';').next().unwrap_or_default().trim();
        media.eq_ignore_ascii_case("application/x-www-form-urlencoded")
    }

    /// Reads the body as the values that JSON pointers point into: JSON, or the fields of a form.
    pub fn fields(&self) -> Option<Value> {
        if !self.is_form() {
            return serde_json::from_slice(self.body).ok();
        }
        let mut fields = Map::new();
        for (name, value) in form(self.body) {
            let text = |bytes: Vec<u8>| String::from_utf8(bytes).ok();
            let (Some(name), Some(value)) = (text(name), text(value)) else {
                continue;
            };
            fields.entry(name).or_insert(Value::String(value));
        }
        Some(Value::Object(fields))
    }

    /// Finds the text or number at a JSON pointer into the body.
    pub fn pointed(&self, pointer: &str) -> Option<String> {
        match self.fields()?.pointer(pointer)? {
            Value::String(text) if !text.is_empty() => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        }
    }

    /// Finds a parameter of the query.
    pub(super) fn query(&self, name: &str) -> Option<String> {
        let (_, query) = self.url.split_once('?')?;
        let query = query.split('#').next().unwrap_or_default();
        let found = form(query.as_bytes()).find(|(key, _)| key == name.as_bytes());
        found.and_then(|(_, value)| String::from_utf8(value).ok())
    }
}
