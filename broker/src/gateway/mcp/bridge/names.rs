//! Names of an MCP server's tools in our alphabet: `[a-z][a-z0-9_-]{0,31}`, without `__`, no `_` at the end.
//!
//! A name that is one of ours stays. Of any other the letters are kept as far as possible; where two become the same,
//! or something was cut off, a checksum of the original keeps them apart. So a name depends on the original alone
//! and on whether it is taken, never on the order in which a server lists its tools.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};
use trunkline_contract::id::is_tool_name;

/// Longest name of a tool.
const NAME_CHARS_MAX: usize = 32;
/// Characters of a checksum, with what stands before it.
const SUM_CHARS: usize = 9;

/// Gives each original its name.
pub(super) fn map<'a>(originals: impl IntoIterator<Item = &'a str>) -> BTreeMap<String, String> {
    let mut originals: Vec<&str> = originals.into_iter().collect();
    // Those that stay as they are come first: nobody takes their name.
    originals.sort_unstable_by_key(|name| (!is_tool_name(name), *name));
    originals.dedup();
    let mut mapped: BTreeMap<String, String> = BTreeMap::new();
    let plain: Vec<Option<String>> = originals.iter().map(|name| plain(name)).collect();
    for (at, original) in originals.iter().enumerate() {
        let is_alone = |name: &String| {
            !mapped.contains_key(name)
                && (is_tool_name(original)
                    || plain
                        .iter()
                        .filter(|other| other.as_ref() == Some(name))
                        .count()
                        == 1)
        };
        let name = plain[at].clone().filter(is_alone);
        let name = name.unwrap_or_else(|| summed(original));
        mapped.entry(name).or_insert_with(|| (*original).to_owned());
    }
    mapped
}

/// The name in our alphabet, if all of it fits.
fn plain(original: &str) -> Option<String> {
    if is_tool_name(original) {
        return Some(original.to_owned());
    }
    let name = spell(original);
    is_tool_name(&name).then_some(name)
}

/// The beginning of the name, and a checksum of all of it.
fn summed(original: &str) -> String {
    let mut name = spell(original);
    name.truncate(NAME_CHARS_MAX - SUM_CHARS);
    let kept = name.trim_end_matches('_').len();
    name.truncate(kept);
    name.push('-');
    for byte in &Sha256::digest(original.as_bytes())[..4] {
        use std::fmt::Write;
        write!(name, "{byte:02x}").expect("a String takes every write");
    }
    name
}

/// Letters and digits in lower case, `_` for everything else and between words.
fn spell(original: &str) -> String {
    let mut name = String::with_capacity(original.len() + 4);
    let mut was_lower = false;
    for character in original.chars() {
        if character.is_ascii_uppercase() && was_lower {
            name.push('_');
        }
        was_lower = character.is_ascii_lowercase() || character.is_ascii_digit();
        match character.to_ascii_lowercase() {
            letter @ ('a'..='z' | '0'..='9' | '-') => name.push(letter),
            _ if name.is_empty() || name.ends_with('_') => {}
            _ => name.push('_'),
        }
    }
    let name = name.trim_matches(['_', '-']);
    match name.chars().next() {
        Some('a'..='z') => name.to_owned(),
        Some(_) => format!("t_{name}"),
        None => "tool".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(original: &str) -> String {
        let mapped = map([original]);
        mapped.into_keys().next().unwrap()
    }

    #[test]
    fn what_fits_stays_and_what_does_not_is_spelled() {
        assert_eq!(name("get_user"), "get_user");
        assert_eq!(name("getUser"), "get_user");
        assert_eq!(name("files.read"), "files_read");
        assert_eq!(name("__init__"), "init");
        assert_eq!(name("2fa"), "t_2fa");
        assert_eq!(name("a__b"), "a_b");
        assert!(name("reply").starts_with("reply-"));
        assert!(name(&"x".repeat(64)).starts_with("xxxx"));
    }

    #[test]
    fn two_that_would_be_the_same_are_kept_apart() {
        let mapped = map(["getUser", "get_user", "GetUser", "get.user"]);
        assert_eq!(mapped.len(), 4);
        assert_eq!(mapped["get_user"], "get_user");
    }

    proptest! {
        #[test]
        fn every_name_is_ours_and_names_one_tool(originals in prop::collection::btree_set(".{1,40}", 1..20)) {
            let mapped = map(originals.iter().map(String::as_str));
            prop_assert_eq!(mapped.len(), originals.len());
            for name in mapped.keys() {
                prop_assert!(is_tool_name(name), "{}", name);
            }
        }

        #[test]
        fn the_order_of_a_list_does_not_matter(originals in prop::collection::vec("[a-cA-C_.]{1,3}", 1..12)) {
            let backwards = map(originals.iter().rev().map(String::as_str));
            prop_assert_eq!(map(originals.iter().map(String::as_str)), backwards);
        }
    }
}
