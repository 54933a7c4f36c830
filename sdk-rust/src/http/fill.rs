//! `{config.key}` in what a plugin declares, filled in from its config.

use serde_json::Value as Json;
use trunkline_contract::error::{Code, Error};

/// Shorter values are not looked for: too much would be hidden that is no secret.
const SECRET_BYTES_MIN: usize = 4;

/// How a value is written at the place where it is put in.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Written {
    /// As it is.
    Plain,
    /// As part of a URL: what stands in its path cannot leave its segment.
    Url,
}

/// The values that were put in, to be hidden wherever text goes out.
#[derive(Clone, Default)]
pub(crate) struct Secrets(Vec<String>);

impl Secrets {
    /// Adds a value to hide.
    pub(crate) fn add(&mut self, value: &str) {
        if value.len() >= SECRET_BYTES_MIN && !self.0.iter().any(|known| known == value) {
            self.0.push(value.to_owned());
            // The longest first: one may be part of another.
            self.0.sort_by_key(|value| std::cmp::Reverse(value.len()));
        }
    }

    /// Puts stars in place of each value.
    pub(crate) fn hide(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for value in &self.0 {
            if text.contains(value.as_str()) {
                text = text.replace(value.as_str(), "***");
            }
        }
        text
    }
}

/// Puts the values of config keys in place of `{config.<key>}`.
///
/// # Errors
/// `config_invalid` for a key that the config does not have or that is no single value;
/// `invalid_arguments` for other braces.
pub(crate) fn fill(
    template: &str,
    config: &Json,
    written: Written,
    secrets: &mut Secrets,
) -> Result<String, Error> {
    let mut filled = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(start) = rest.find('{') {
        let (before, inside) = (&rest[..start], &rest[start + 1..]);
        let place = inside.split_once('}');
        let Some((key, after)) = place.and_then(|(inside, after)| {
            let key = inside.strip_prefix("config.")?;
            (!key.is_empty()).then_some((key, after))
        }) else {
            let text = format!("expected {{config.<key>}} in {template:?}, found other braces");
            return Err(Error::new(Code::InvalidArguments, text));
        };
        filled.push_str(before);
        let value = value_of(config, key)?;
        secrets.add(&value);
        // Behind the host a value is content; before, it may be the address itself.
        let is_content = written == Written::Url && is_behind_host(&filled);
        if is_content {
            let encoded = encode_segment(&value);
            secrets.add(&encoded);
            filled.push_str(&encoded);
        } else {
            filled.push_str(&value);
        }
        rest = after;
    }
    filled.push_str(rest);
    Ok(filled)
}

fn is_behind_host(url: &str) -> bool {
    url.split_once("://")
        .is_some_and(|(_, rest)| rest.contains(['/', '?']))
}

/// Finds a value by its key, or by a path of keys with dots.
fn value_of(config: &Json, key: &str) -> Result<String, Error> {
    let found = config
        .get(key)
        .or_else(|| key.split('.').try_fold(config, |value, key| value.get(key)));
    match found {
        Some(Json::String(text)) => Ok(text.clone()),
        Some(value @ (Json::Number(_) | Json::Bool(_))) => Ok(value.to_string()),
        None | Some(Json::Null) => {
            let text = format!("the config has no value for {key:?}, which `http.at` asks for");
            Err(Error::new(Code::ConfigInvalid, text))
        }
        Some(_) => {
            let text = format!("expected a text for the config key {key:?}, found several values");
            Err(Error::new(Code::ConfigInvalid, text))
        }
    }
}

/// Writes a text so that it stays one segment of a path.
pub(crate) fn encode_segment(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:@!$'()*,;=+".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_put_in_and_hidden_afterwards() {
        let config = json!({ "sid": "AC99", "port": 8080, "a": { "b": "nested" } });
        let mut secrets = Secrets::default();
        let mut fill = |text: &str| fill(text, &config, Written::Plain, &mut secrets);
        assert_eq!(fill("Token {config.sid}!").unwrap(), "Token AC99!");
        assert_eq!(fill("{config.port}-{config.a.b}").unwrap(), "8080-nested");
        assert_eq!(secrets.hide("to AC99 at nested"), "to *** at ***");
    }

    #[test]
    fn in_a_url_a_value_is_the_address_or_stays_in_its_segment() {
        let config =
            json!({ "url": "https://a.example/v1?x=1", "sid": "a/../b?c#d", "bot": "1:A-b" });
        let mut secrets = Secrets::default();
        let mut fill = |text: &str| fill(text, &config, Written::Url, &mut secrets).unwrap();
        assert_eq!(fill("{config.url}"), "https://a.example/v1?x=1");
        assert_eq!(
            fill("https://h/{config.sid}/x"),
            "https://h/a%2F..%2Fb%3Fc%23d/x"
        );
        assert_eq!(fill("https://h/bot{config.bot}"), "https://h/bot1:A-b");
        assert_eq!(secrets.hide("a%2F..%2Fb%3Fc%23d"), "***");
    }

    #[test]
    fn what_cannot_be_filled_in_is_refused_without_its_value() {
        let config = json!({ "many": [1, 2] });
        for (text, code) in [
            ("{config.none}", Code::ConfigInvalid),
            ("{config.many}", Code::ConfigInvalid),
            ("{cursor.a}", Code::InvalidArguments),
            ("{config.}", Code::InvalidArguments),
            ("{config.a", Code::InvalidArguments),
        ] {
            let error = fill(text, &config, Written::Plain, &mut Secrets::default()).unwrap_err();
            assert_eq!(error.code, code, "{text}");
        }
    }
}
