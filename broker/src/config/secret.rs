//! Secrets: values that are referred to, never written, never shown.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use trunkline_contract::toml::{Kind, Node, Place, TableReader};

use super::load::Files;

/// What stands in the place of a secret.
pub(super) const MASK: &str = "***";

/// Secret values shorter than this are not looked for in texts: they would blank out everything.
const REDACTED_BYTES_MIN: usize = 4;

/// Lines of a secret shorter than this are not looked for on their own.
const REDACTED_LINE_BYTES_MIN: usize = 12;

/// Holds a secret value; `Debug` shows `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes a value in.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// Gives the value, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

/// Says where a secret comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reference {
    /// A variable of the daemon's environment.
    Env(String),
    /// A file, relative to the operator's file.
    File(String),
}

/// Tells whether a text can name an environment variable.
pub(super) fn is_variable_name(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with(|first: char| first.is_ascii_digit())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// A name in another form than `A_NAME` may be a secret that was written in the wrong place.
fn is_shown(name: &str) -> bool {
    name.len() <= 64 && is_variable_name(name) && !name.contains(|c: char| c.is_ascii_lowercase())
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) if is_shown(name) => write!(f, "env {name}"),
            Self::Env(_) => write!(f, "env {MASK}"),
            Self::File(path) => write!(f, "file {path}"),
        }
    }
}

impl Reference {
    /// Reads `{ env = "X" }` or `{ file = "…" }`; `None` for anything else.
    pub(super) fn of(node: &Node) -> Option<Self> {
        let table = node.as_table()?;
        let [entry] = table.entries.as_slice() else {
            return None;
        };
        let text = entry.node.as_str()?.to_owned();
        match entry.key.as_str() {
            "env" => Some(Self::Env(text)),
            "file" => Some(Self::File(text)),
            _ => None,
        }
    }

    /// Gets the value.
    ///
    /// # Errors
    /// A message that names the variable or file, never a value.
    pub(super) fn resolve(
        &self,
        env: &BTreeMap<String, String>,
        base: &Path,
        files: &dyn Files,
    ) -> Result<String, String> {
        match self {
            Self::Env(name) => env.get(name).cloned().ok_or_else(|| {
                if is_shown(name) {
                    format!("environment variable {name} is not set")
                } else {
                    "the environment variable that it names is not set".to_owned()
                }
            }),
            Self::File(path) => match files.read(&base.join(path)) {
                Ok(text) => {
                    let text = text.strip_suffix('\n').unwrap_or(&text);
                    Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
                }
                Err(error) => Err(format!("file {path} cannot be read: {error}")),
            },
        }
    }
}

/// Reads a key that has to be a reference.
pub(super) fn read_reference<'a>(
    table: &TableReader<'a>,
    key: &'static str,
) -> Option<(Reference, &'a Place)> {
    let node = table.get(key)?;
    let reference = Reference::of(node);
    if reference.is_none() {
        let path = table.path_of(key);
        let hint = format!("write {key} = {{ env = \"NAME\" }} or {{ file = \"secrets/{key}\" }}");
        let (code, message) = match node.kind {
            Kind::String(_) => (
                "secret_literal",
                format!("{path} is secret and stands in the file"),
            ),
            _ => (
                "wrong_type",
                format!("{path} has to be a reference to a secret"),
            ),
        };
        table.sink().error_hint(code, &node.place, message, hint);
    }
    reference.map(|reference| (reference, &node.place))
}

/// Knows secret values and blanks them out of texts.
#[derive(Clone, Default)]
pub struct SecretRedactor {
    /// Longest first, so that a secret inside another does not uncover the rest of it.
    needles: Vec<String>,
}

impl fmt::Debug for SecretRedactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretRedactor")
            .field("needles", &self.needles.len())
            .finish()
    }
}

impl SecretRedactor {
    /// Learns the values; those under 4 bytes are left out, they would blank out everything.
    pub fn new<'s>(secrets: impl IntoIterator<Item = &'s Secret>) -> Self {
        let mut needles = BTreeSet::new();
        for secret in secrets {
            let value = secret.expose();
            if value.len() < REDACTED_BYTES_MIN {
                continue;
            }
            needles.insert(value.to_owned());
            let quoted = serde_json::Value::String(value.to_owned()).to_string();
            needles.insert(quoted[1..quoted.len() - 1].to_owned());
            let lines = value.lines().map(str::trim);
            needles.extend(
                lines
                    .filter(|line| line.len() >= REDACTED_LINE_BYTES_MIN)
                    .map(str::to_owned),
            );
        }
        let mut needles: Vec<String> = needles.into_iter().collect();
        needles.sort_by_key(|needle| std::cmp::Reverse(needle.len()));
        Self { needles }
    }

    /// Tells whether there is nothing to look for.
    pub fn is_empty(&self) -> bool {
        self.needles.is_empty()
    }

    /// Replaces every secret value, also in its JSON form, by `***`.
    pub fn redact<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let mut text = Cow::Borrowed(text);
        for needle in &self.needles {
            if text.contains(needle.as_str()) {
                text = Cow::Owned(text.replace(needle.as_str(), MASK));
            }
        }
        text
    }

    /// Replaces like [`SecretRedactor::redact`], also in bytes that are not UTF-8.
    pub fn redact_bytes<'t>(&self, bytes: &'t [u8]) -> Cow<'t, [u8]> {
        let mut bytes = Cow::Borrowed(bytes);
        for needle in &self.needles {
            let finder = memchr::memmem::Finder::new(needle.as_bytes());
            if finder.find(&bytes).is_none() {
                continue;
            }
            let mut redacted = Vec::with_capacity(bytes.len());
            let mut from = 0;
            for at in finder.find_iter(&bytes) {
                redacted.extend_from_slice(&bytes[from..at]);
                redacted.extend_from_slice(MASK.as_bytes());
                from = at + needle.len();
            }
            redacted.extend_from_slice(&bytes[from..]);
            bytes = Cow::Owned(redacted);
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redactor_blanks_every_form_of_a_secret() {
        let secrets = [
            Secret::new("hunter2"),
            Secret::new("hunter2-long"),
            Secret::new("a\"b\\c"),
            Secret::new("-----BEGIN KEY-----\nMIIEvQIBADANBg\n-----END KEY-----"),
            Secret::new("abc"),
        ];
        let redactor = SecretRedactor::new(&secrets);
        for (text, expected) in [
            ("token hunter2, hunter2-long.", "token ***, ***."),
            (r#"{"t":"a\"b\\c"}"#, r#"{"t":"***"}"#),
            ("key line MIIEvQIBADANBg", "key line ***"),
            ("abc is too short", "abc is too short"),
            ("nothing", "nothing"),
        ] {
            assert_eq!(redactor.redact(text), expected);
            assert_eq!(redactor.redact_bytes(text.as_bytes()), expected.as_bytes());
        }
        assert_eq!(&*redactor.redact_bytes(b"\xffhunter2\xff"), b"\xff***\xff");
        assert!(matches!(redactor.redact("nothing"), Cow::Borrowed(_)));
        assert!(SecretRedactor::new(&[]).is_empty());
    }

    #[test]
    fn no_debug_form_shows_a_secret() {
        let secret = Secret::new("hunter2");
        let redactor = SecretRedactor::new([&secret]);
        assert!(!format!("{secret:?} {redactor:?}").contains("hunter2"));
    }
}
