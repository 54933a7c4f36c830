//! Text of generated code: lines, and what others wrote, made harmless in each language.
//!
//! Descriptions and names come from plugins. In the generated code they are comments and string
//! literals, and nothing that they hold may end one.

/// Longest description that is written; the rest is left out.
const DOCS_CHARS_MAX: usize = 4_096;

/// Gives the lines of a description: no control characters, none that change the direction of text.
pub(super) fn docs_lines(docs: &str) -> Vec<String> {
    let mut text: String = docs.chars().take(DOCS_CHARS_MAX).collect();
    if text.len() < docs.len() {
        text.push('…');
    }
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines() {
        let clean: String = line
            .chars()
            .map(|c| if is_harmful(c) { ' ' } else { c })
            .collect();
        lines.push(clean.trim_end().to_owned());
    }
    while lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    lines
}

fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// Writes a string literal that Python, TypeScript and JSON read alike.
pub(super) fn quoted(text: &str) -> String {
    literal(text, |code| format!("\\u{code:04x}"))
}

/// Writes a string literal of Rust.
pub(super) fn quoted_rust(text: &str) -> String {
    literal(text, |code| format!("\\u{{{code:x}}}"))
}

fn literal(text: &str, escape: fn(u32) -> String) -> String {
    let mut literal = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => literal.push_str("\\\""),
            '\\' => literal.push_str("\\\\"),
            c if is_harmful(c) => literal.push_str(&escape(u32::from(c))),
            c => literal.push(c),
        }
    }
    literal.push('"');
    literal
}

/// Holds the lines of a file.
#[derive(Debug, Default)]
pub(super) struct Page {
    text: String,
    depth: usize,
    indent: &'static str,
}

impl Page {
    pub(super) fn new(indent: &'static str) -> Self {
        Self {
            text: String::new(),
            depth: 0,
            indent,
        }
    }

    /// Adds a line at the present depth.
    pub(super) fn line(&mut self, line: &str) {
        if !line.is_empty() {
            for _ in 0..self.depth {
                self.text.push_str(self.indent);
            }
        }
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }

    pub(super) fn lines<'a>(&mut self, lines: impl IntoIterator<Item = &'a str>) {
        for line in lines {
            self.line(line);
        }
    }

    /// Gives how wide a line would be at the present depth.
    pub(super) fn width(&self, line: &str) -> usize {
        self.depth * self.indent.len() + line.chars().count()
    }

    /// Adds empty lines.
    pub(super) fn gap(&mut self, count: usize) {
        for _ in 0..count {
            self.line("");
        }
    }

    pub(super) fn deeper(&mut self) {
        self.depth += 1;
    }

    pub(super) fn back(&mut self) {
        self.depth -= 1;
    }

    pub(super) fn into_text(self) -> String {
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_wrote_ends_no_literal() {
        assert_eq!(quoted("a\"\\\n\u{202e}é"), r#""a\"\\\u000a\u202eé""#);
        assert_eq!(quoted_rust("a\"\\\n\u{202e}é"), r#""a\"\\\u{a}\u{202e}é""#);
        assert_eq!(docs_lines("a\u{1b}[2J\r\n  b\n\n"), ["a [2J", "  b"]);
    }
}
