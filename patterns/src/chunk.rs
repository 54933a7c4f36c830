//! Cuts a text that is longer than a channel takes into parts that each fit.
//!
//! A cut falls, where it can, between paragraphs, else lines, sentences, words. What a reader sees
//! as one character is never cut, unless it alone is longer than the limit. A fenced block of code
//! that is cut is closed in one part and opened again in the next, with the same words behind the
//! fence. Lengths are counted in characters (Unicode scalar values), as `text_chars_max` is.
//!
//! Invariants: no part is longer than the limit or blank; the parts together hold every character
//! of the text but white space at the cuts; the same text and limit give the same parts.

use unicode_segmentation::UnicodeSegmentation as _;

#[cfg(test)]
mod tests;

/// What goes first where several cuts are possible.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Level {
    Character,
    Word,
    Sentence,
    Line,
    Paragraph,
}

const LEVELS: [Level; 5] = [
    Level::Paragraph,
    Level::Line,
    Level::Sentence,
    Level::Word,
    Level::Character,
];

/// The line that opened a block of code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Fence<'a> {
    line: &'a str,
    mark: &'a str,
}

impl<'a> Fence<'a> {
    /// Reads a line that begins with at least three marks.
    fn of(line: &'a str) -> Option<Self> {
        let line = line.trim();
        let first = line.chars().next().filter(|c| matches!(c, '`' | '~'))?;
        let rest = line.trim_start_matches(first);
        let mark = &line[..line.len() - rest.len()];
        // A run of backticks with more behind its words is code within a line.
        (mark.len() >= 3 && !rest.contains('`')).then_some(Self { line, mark })
    }

    fn is_closed_by(&self, line: &str) -> bool {
        let line = line.trim();
        line.starts_with(self.mark) && line.chars().all(|c| self.mark.starts_with(c))
    }

    /// What it adds to a part that it is closed in.
    fn closing(&self) -> usize {
        1 + self.mark.len()
    }

    /// What it adds to a part that it is opened in again.
    fn opening(&self) -> usize {
        self.line.chars().count() + 1
    }
}

/// The block of code after a line, if one is open before it.
fn after<'a>(open: Option<Fence<'a>>, line: &'a str) -> Option<Fence<'a>> {
    match open {
        Some(fence) if fence.is_closed_by(line) => None,
        Some(fence) => Some(fence),
        None => Fence::of(line),
    }
}

/// A place to cut: the part ends at `end`, the next begins at `next`.
#[derive(Clone, Copy, Debug)]
struct Cut<'a> {
    end: usize,
    next: usize,
    /// Characters before `end`.
    chars: usize,
    open: Option<Fence<'a>>,
}

/// Splits a text into parts of at most `chars_max` characters.
///
/// A text that fits is one part, unchanged; an empty one is none. A limit of 0 counts as 1.
///
/// ```
/// use trunkline_patterns::chunk::split;
/// assert_eq!(split("One two. Three four.", 12), ["One two.", "Three four."]);
/// assert_eq!(split("short", 4096), ["short"]);
/// ```
pub fn split(text: &str, chars_max: usize) -> Vec<String> {
    let chars_max = chars_max.max(1);
    if text.is_empty() {
        return Vec::new();
    }
    if text.chars().nth(chars_max).is_none() {
        return vec![text.to_owned()];
    }
    let mut parts = Vec::new();
    let (mut rest, mut open) = (text.trim_end(), None::<Fence<'_>>);
    loop {
        // A fence that leaves no room for code is a line like any other.
        open = open.filter(|fence| 2 * (fence.opening() + fence.closing()) <= chars_max);
        rest = begin(rest, open, chars_max);
        if rest.is_empty() {
            return parts;
        }
        let head = open.map_or(0, |fence| fence.opening());
        let room = chars_max - head;
        let mut part = String::new();
        if let Some(fence) = open {
            part.push_str(fence.line);
            part.push('\n');
        }
        if rest.chars().nth(room).is_none() {
            part.push_str(rest);
            parts.push(part);
            return parts;
        }
        let cut = match best(rest, open, room) {
            Some(cut) => cut,
            None if rest.starts_with(char::is_whitespace) => {
                rest = rest.trim_start();
                continue;
            }
            None => anywhere(rest, room),
        };
        let body = &rest[..cut.end];
        part.push_str(if cut.open.is_some() {
            body
        } else {
            body.trim_end()
        });
        rest = &rest[cut.next..];
        open = cut.open;
        if let Some(fence) = open {
            part.push('\n');
            part.push_str(fence.mark);
            // What would close the block in the next part has nothing left to close.
            let (line, below) = rest.split_once('\n').unwrap_or((rest, ""));
            if fence.is_closed_by(line) {
                (rest, open) = (below, None);
            }
        }
        parts.push(part);
    }
}

/// Drops what no part begins with: blank lines, and white space longer than a part.
fn begin<'a>(rest: &'a str, open: Option<Fence<'_>>, chars_max: usize) -> &'a str {
    if open.is_some() {
        return rest;
    }
    let mut rest = rest;
    while let Some((line, below)) = rest.split_once('\n') {
        if !line.trim().is_empty() {
            break;
        }
        rest = below;
    }
    if rest.chars().take(chars_max).all(char::is_whitespace) {
        rest = rest.trim_start();
    }
    rest
}

/// The cut that reads best, among those that leave a part within `room`.
fn best<'a>(text: &'a str, open: Option<Fence<'a>>, room: usize) -> Option<Cut<'a>> {
    let mut last: [Option<Cut<'a>>; 5] = [None; 5];
    for (level, cut) in cuts(text, open, room) {
        let closing = cut.open.map_or(0, |fence| fence.closing());
        if cut.chars + closing <= room {
            last[level as usize] = Some(cut);
        }
    }
    let of = |level: &Level| last[*level as usize];
    // A paragraph's end near the beginning would leave parts that are nearly empty.
    let full = |cut: &Cut<'_>| 2 * cut.chars >= room;
    let words = LEVELS[..4].iter().filter_map(of);
    let furthest = words.max_by_key(|cut| cut.chars);
    let cut = LEVELS.iter().find_map(|level| of(level).filter(full));
    cut.or(furthest).or_else(|| of(&Level::Character))
}

/// A cut where nothing fits as it is: within one character of many, or a fence with many words.
fn anywhere(text: &str, room: usize) -> Cut<'_> {
    let end = text
        .char_indices()
        .nth(room)
        .map_or(text.len(), |(at, _)| at);
    Cut {
        end,
        next: end,
        chars: room,
        open: None,
    }
}

/// Every place where the text may be cut, within its first `room` characters.
fn cuts<'a>(text: &'a str, open: Option<Fence<'a>>, room: usize) -> Vec<(Level, Cut<'a>)> {
    let mut found = Vec::new();
    let mut chars = 0;
    let mut line_at = 0;
    let mut open = open;
    let mut line = line_of(text);
    let mut is_fence = marks(open, line);
    let mut before = None::<char>;
    for (at, grapheme) in text.grapheme_indices(true) {
        if chars > room {
            break;
        }
        let cut = |next, open| Cut {
            end: at,
            next,
            chars,
            open,
        };
        let is_content = !text[..at].trim().is_empty() || open.is_some();
        if grapheme.ends_with('\n') {
            let behind = after(open, line);
            let is_opened = behind.is_some() && open.is_none();
            let next = at + grapheme.len();
            if is_content && !is_opened {
                let is_blank = line_of(&text[next..]).trim().is_empty() && next < text.len();
                let level = if is_blank && behind.is_none() {
                    Level::Paragraph
                } else {
                    Level::Line
                };
                found.push((level, cut(next, behind)));
            }
            open = behind;
            line_at = next;
            line = line_of(&text[line_at..]);
            is_fence = marks(open, line);
        } else if is_content && !is_fence && at > 0 {
            let is_indent = text[line_at..at].trim().is_empty();
            if !is_indent && grapheme.chars().all(char::is_whitespace) {
                let run = text[at..].trim_start_matches([' ', '\t']);
                let next = (text.len() - run.len()).max(at + grapheme.len());
                let next = if open.is_some() { at } else { next };
                let is_sentence = before.is_some_and(|c| ".!?…".contains(c));
                let level = if is_sentence {
                    Level::Sentence
                } else {
                    Level::Word
                };
                found.push((level, cut(next, open)));
            } else if before.is_some_and(|c| "。！？".contains(c)) {
                found.push((Level::Sentence, cut(at, open)));
            }
            found.push((Level::Character, cut(at, open)));
        }
        before = grapheme.chars().last();
        chars += grapheme.chars().count();
    }
    found
}

fn line_of(text: &str) -> &str {
    text.split_once('\n').map_or(text, |(line, _)| line)
}

/// Says whether a line opens or closes a block of code.
fn marks(open: Option<Fence<'_>>, line: &str) -> bool {
    match open {
        Some(fence) => fence.is_closed_by(line),
        None => Fence::of(line).is_some(),
    }
}
