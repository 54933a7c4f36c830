//! Fills a scaffold in.

use std::collections::BTreeMap;

use crate::catalogue::Template;
use crate::lang::Lang;

/// Tells which version of the scaffolds this is; it is that of the SDKs they name.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Every file, by its path below this crate.
const FILES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/files.rs"));

/// The script that checks a scaffold.
const SCRIPT: &str = "check";

/// Is one file of a scaffold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// What it holds.
    pub bytes: Vec<u8>,
    /// Whether it is a program.
    pub is_executable: bool,
}

/// Tells why a scaffold cannot be filled in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// There is no such scaffold in this language.
    #[error("expected one of the languages of {template}, found {lang}")]
    Lang {
        /// The template.
        template: &'static str,
        /// The language.
        lang: &'static str,
    },
    /// A file asks for what is not there.
    #[error("{path}: expected a key that is known, found {key}")]
    Key {
        /// The file.
        path: String,
        /// The key.
        key: String,
    },
}

/// Gives the files of a scaffold by their paths, with `/`; `name` is the plugin's id.
///
/// ```
/// use trunkline_templates::{Group, Lang, find, render};
/// let echo = find(Group::Pattern, "echo").unwrap();
/// let files = render(echo, Lang::Python, "hello").unwrap();
/// assert!(files["echo.py"].bytes.starts_with(b"\"\"\"Sends back"));
/// assert!(files["check"].is_executable);
/// ```
pub fn render(
    template: &Template,
    lang: Lang,
    name: &str,
) -> Result<BTreeMap<String, File>, RenderError> {
    if !template.langs.contains(&lang) {
        let (template, lang) = (template.name, lang.as_str());
        return Err(RenderError::Lang { template, lang });
    }
    let here = format!("{}/{}/", template.group.folder(), template.name);
    let layers = [
        format!("common/{}/", lang.as_str()),
        here.clone(),
        format!("{here}{}/", lang.as_str()),
    ];
    let values = values(template, lang, name);
    let mut files = BTreeMap::new();
    for layer in &layers {
        for (path, text) in FILES {
            let Some(below) = path.strip_prefix(layer.as_str()) else {
                continue;
            };
            // What lies deeper in a template's own folder belongs to one of its languages.
            if *layer == here && below.contains('/') {
                continue;
            }
            let bytes = fill(path, text, &values)?.into_bytes();
            let path = written(below);
            let is_executable = path == SCRIPT;
            files.insert(
                path,
                File {
                    bytes,
                    is_executable,
                },
            );
        }
    }
    Ok(files)
}

fn values(template: &Template, lang: Lang, name: &str) -> BTreeMap<&'static str, String> {
    let sdk = VERSION.rsplit_once('.').map_or(VERSION, |(sdk, _)| sdk);
    let page = format!("common/fragments/{}.md", lang.as_str());
    let page = FILES.iter().find(|(path, _)| *path == page);
    BTreeMap::from([
        ("name", name.to_owned()),
        ("stem", template.stem.to_owned()),
        ("command", lang.command(name, template.stem)),
        ("sdk", sdk.to_owned()),
        (
            "use",
            page.map_or("", |(_, text)| text.trim_end()).to_owned(),
        ),
    ])
}

/// Names the file as it is written.
fn written(path: &str) -> String {
    let path = path.strip_suffix(".tmpl").unwrap_or(path);
    let (dir, name) = path
        .rsplit_once('/')
        .map_or(("", path), |(dir, name)| (dir, name));
    let name = match name.strip_prefix("dot_") {
        Some(name) => format!(".{name}"),
        None => name.to_owned(),
    };
    if dir.is_empty() {
        name
    } else {
        format!("{dir}/{name}")
    }
}

/// Puts values in place of `{{key}}`, also in what a value brings.
fn fill(
    path: &str,
    text: &str,
    values: &BTreeMap<&'static str, String>,
) -> Result<String, RenderError> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, key, after)) = next_hole(rest) {
        let value = values.get(key).ok_or_else(|| RenderError::Key {
            path: path.to_owned(),
            key: key.to_owned(),
        })?;
        out.push_str(before);
        // No value holds its own key, so this ends.
        out.push_str(&fill(path, value, values)?);
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

/// Finds the first `{{key}}`: small letters and `_` alone, so that braces of code are none.
fn next_hole(text: &str) -> Option<(&str, &str, &str)> {
    for (at, _) in text.match_indices("{{") {
        let inside = &text[at + 2..];
        let end = inside.find("}}")?;
        let key = &inside[..end];
        if !key.is_empty() && key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') {
            return Some((&text[..at], key, &inside[end + 2..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hole_is_two_braces_and_a_word() {
        let values = BTreeMap::from([
            ("name", "hello".to_owned()),
            ("use", "a {{name}}".to_owned()),
        ]);
        let fill = |text| fill("x", text, &values);
        assert_eq!(fill("{{name}}, {{use}}!"), Ok("hello, a hello!".to_owned()));
        for kept in [
            "{config.key}",
            "{ {name} }",
            "{{ name }}",
            "{{config.key}}",
            "{{",
            "{{name",
        ] {
            assert_eq!(fill(kept), Ok(kept.to_owned()));
        }
        let unknown = fill("{{other}}").unwrap_err();
        assert_eq!(
            unknown.to_string(),
            "x: expected a key that is known, found other"
        );
    }

    #[test]
    fn names_lose_what_keeps_them_apart_from_ours() {
        assert_eq!(written("Cargo.toml.tmpl"), "Cargo.toml");
        assert_eq!(written("a/dot_gitignore"), "a/.gitignore");
        assert_eq!(written("src/main.rs"), "src/main.rs");
    }
}
