//! Names in the generated code: made of any text, legal in the language, and each given once.

use std::collections::BTreeMap;

/// Longest name before a number is added; what is longer is cut.
const NAME_BYTES_MAX: usize = 96;

/// Names that the generated code uses for itself in one of the languages, or that are no names there.
pub(super) const RESERVED_TYPES: &[&str] = &[
    "Any",
    "Array",
    "BTreeMap",
    "Box",
    "C",
    "CallOptions",
    "Clone",
    "Debug",
    "Default",
    "Deserialize",
    "Duration",
    "Err",
    "False",
    "Json",
    "Literal",
    "None",
    "Ok",
    "Option",
    "PartialEq",
    "Promise",
    "Record",
    "Self",
    "Serialize",
    "Some",
    "String",
    "ToolCall",
    "ToolCaller",
    "True",
    "TypeAlias",
    "TypedDict",
    "Union",
    "Unpack",
    "Value",
    "Vec",
];

/// Words that no Python identifier may be.
pub(super) const PYTHON_WORDS: &[&str] = &[
    "False", "None", "True", "and", "as", "assert", "async", "await", "break", "class", "continue",
    "def", "del", "elif", "else", "except", "finally", "for", "from", "global", "if", "import",
    "in", "is", "lambda", "nonlocal", "not", "or", "pass", "raise", "return", "try", "while",
    "with", "yield",
];

/// Words that no Rust identifier may be.
pub(super) const RUST_WORDS: &[&str] = &[
    "Self", "abstract", "as", "async", "await", "become", "box", "break", "const", "continue",
    "crate", "do", "dyn", "else", "enum", "extern", "false", "final", "fn", "for", "gen", "if",
    "impl", "in", "let", "loop", "macro", "match", "mod", "move", "mut", "override", "priv", "pub",
    "ref", "return", "self", "static", "struct", "super", "trait", "true", "try", "type", "typeof",
    "unsafe", "unsized", "use", "virtual", "where", "while", "yield",
];

/// Splits a text into words: at whatever is no ASCII letter or digit, and where a capital begins one.
fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut is_new = true;
    let mut before: Option<char> = None;
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        if !c.is_ascii_alphanumeric() {
            is_new = true;
            before = None;
            continue;
        }
        let is_capital = c.is_ascii_uppercase();
        let after_small = before.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let before_small = rest.peek().is_some_and(char::is_ascii_lowercase)
            && before.is_some_and(|b| b.is_ascii_uppercase());
        if is_new || (is_capital && (after_small || before_small)) {
            words.push(String::new());
            is_new = false;
        }
        if let Some(word) = words.last_mut() {
            word.push(c.to_ascii_lowercase());
        }
        before = Some(c);
    }
    words
}

/// Writes a text as the name of a type: `days_until-due` is `DaysUntilDue`.
pub(super) fn pascal(text: &str) -> String {
    let mut name = String::new();
    for word in words(text) {
        let mut letters = word.chars();
        name.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        name.extend(letters);
    }
    name.truncate(NAME_BYTES_MAX);
    name
}

/// Writes a text as an identifier with underscores: `daysUntil-due` is `days_until_due`.
pub(super) fn snake(text: &str) -> String {
    let mut name = words(text).join("_");
    name.truncate(NAME_BYTES_MAX);
    name
}

/// Writes a text as an identifier in camel case: `days_until_due` is `daysUntilDue`.
pub(super) fn camel(text: &str) -> String {
    let mut name = pascal(text);
    if let Some(first) = name.get_mut(..1) {
        first.make_ascii_lowercase();
    }
    name
}

/// Says whether a text is an identifier of ASCII letters, digits and underscores.
pub(super) fn is_identifier(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes
        .next()
        .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Gives each name once.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// With the number that comes next for each.
    taken: BTreeMap<String, u64>,
}

impl Names {
    /// Begins with names that nobody gets.
    pub(super) fn without(reserved: &[&str]) -> Self {
        Self {
            taken: reserved.iter().map(|&name| (name.to_owned(), 2)).collect(),
        }
    }

    /// Gives the name of a type: as wanted, else with a number.
    pub(super) fn type_name(&mut self, wanted: &str) -> String {
        let wanted = match wanted.as_bytes().first() {
            None => "Type".to_owned(),
            Some(first) if first.is_ascii_digit() => format!("Type{wanted}"),
            Some(_) => wanted.to_owned(),
        };
        self.numbered(&wanted, "")
    }

    /// Gives an identifier that is none of `words`: those, and what is taken, get an underscore or a
    /// number.
    pub(super) fn identifier(&mut self, wanted: &str, words: &[&str]) -> String {
        let wanted = match wanted.as_bytes().first() {
            None => "member".to_owned(),
            Some(first) if first.is_ascii_digit() => format!("member_{wanted}"),
            Some(_) if words.contains(&wanted) => format!("{wanted}_"),
            Some(_) => wanted.to_owned(),
        };
        self.numbered(&wanted, "_")
    }

    fn numbered(&mut self, wanted: &str, between: &str) -> String {
        let wanted = &wanted[..wanted.len().min(NAME_BYTES_MAX)];
        let Some(next) = self.taken.get(wanted).copied() else {
            self.taken.insert(wanted.to_owned(), 2);
            return wanted.to_owned();
        };
        let mut number = next;
        let mut name = format!("{wanted}{between}{number}");
        while self.taken.contains_key(&name) {
            number += 1;
            name = format!("{wanted}{between}{number}");
        }
        self.taken.insert(wanted.to_owned(), number + 1);
        self.taken.insert(name.clone(), 2);
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_a_name_of_each_form() {
        for (text, type_name, identifier) in [
            ("days_until-due", "DaysUntilDue", "days_until_due"),
            ("daysUntilDue", "DaysUntilDue", "days_until_due"),
            ("HTTPServer2", "HttpServer2", "http_server2"),
            ("größe", "GrE", "gr_e"),
            ("", "", ""),
            ("日本", "", ""),
        ] {
            assert_eq!((&*pascal(text), &*snake(text)), (type_name, identifier));
        }
        assert_eq!(camel("create_invoice"), "createInvoice");
    }

    #[test]
    fn a_name_is_given_once_and_never_a_word_of_the_language() {
        let mut names = Names::without(&["Any"]);
        assert_eq!(names.type_name("Any"), "Any2");
        assert_eq!(names.type_name("Any"), "Any3");
        assert_eq!(names.type_name("2nd"), "Type2nd");
        assert_eq!(names.identifier("type", RUST_WORDS), "type_");
        assert_eq!(names.identifier("type", RUST_WORDS), "type__2");
        assert_eq!(names.identifier("", RUST_WORDS), "member");
        assert_eq!(names.type_name("A2"), "A2");
        assert_eq!(names.type_name("A"), "A");
        assert_eq!(names.type_name("A"), "A3");
        let long = "Long".repeat(NAME_BYTES_MAX);
        assert_eq!(names.type_name(&long).len(), NAME_BYTES_MAX);
        assert_eq!(names.type_name(&long).len(), NAME_BYTES_MAX + 1);
    }
}
