//! Lines of the protocol, to and from bytes. Nothing here reads or writes.
//!
//! A line that goes out has at most [`LINE_BYTES_MAX`] bytes with its end. One that comes in may
//! be longer, up to [`INPUT_BYTES_MAX`]; the rest of a longer one is left out. Bytes that are no
//! UTF-8 are replaced, and the message says so.

/// Longest line that goes out, with `\r\n`.
pub(crate) const LINE_BYTES_MAX: usize = 512;
/// Longest line that is kept when it comes in.
pub(crate) const INPUT_BYTES_MAX: usize = 8 * 1024;
/// What a relaying server may add in front beside the nickname: `:`, `!user@host` and a space.
const MASK_BYTES: usize = 1 + 1 + 11 + 1 + 64 + 1;

/// Holds a line that came in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Message {
    /// Who says it: a server, or `nick!user@host`.
    pub(crate) prefix: Option<String>,
    /// A word or three digits.
    pub(crate) command: String,
    /// What follows; the last may hold spaces.
    pub(crate) params: Vec<String>,
    /// Bytes had to be replaced.
    pub(crate) is_lossy: bool,
}

impl Message {
    /// Reads a line without its end; `None` when it holds no command.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(bytes);
        let is_lossy = matches!(text, std::borrow::Cow::Owned(_));
        let mut rest = text.trim_start_matches(' ');
        if rest.starts_with('@') {
            rest = rest.split_once(' ')?.1.trim_start_matches(' ');
        }
        let mut prefix = None;
        if let Some(after) = rest.strip_prefix(':') {
            let (found, after) = after.split_once(' ')?;
            prefix = Some(found.to_owned());
            rest = after.trim_start_matches(' ');
        }
        let (command, mut rest) = rest.split_once(' ').unwrap_or((rest, ""));
        let mut params = Vec::new();
        loop {
            rest = rest.trim_start_matches(' ');
            if rest.is_empty() {
                break;
            }
            if let Some(last) = rest.strip_prefix(':') {
                params.push(last.to_owned());
                break;
            }
            let (param, after) = rest.split_once(' ').unwrap_or((rest, ""));
            params.push(param.to_owned());
            rest = after;
        }
        (!command.is_empty()).then(|| Self {
            prefix,
            command: command.to_ascii_uppercase(),
            params,
            is_lossy,
        })
    }

    /// The nickname of who says it; `None` for a server.
    pub(crate) fn nick(&self) -> Option<&str> {
        Some(self.prefix.as_deref()?.split_once('!')?.0)
    }

    /// The user name of who says it.
    pub(crate) fn user(&self) -> Option<&str> {
        let (_, mask) = self.prefix.as_deref()?.split_once('!')?;
        mask.split_once('@').map(|(user, _)| user)
    }

    /// The parameter at `index`, empty where there is none.
    pub(crate) fn param(&self, index: usize) -> &str {
        self.params.get(index).map_or("", String::as_str)
    }

    /// The last parameter, empty where there is none.
    pub(crate) fn last(&self) -> &str {
        self.params.last().map_or("", String::as_str)
    }
}

/// Cuts what comes in into lines.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    unread: Vec<u8>,
    searched: usize,
    is_too_long: bool,
}

impl Lines {
    /// Adds bytes that were read.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.unread.extend_from_slice(bytes);
    }

    /// Takes the next whole line that is a message.
    pub(crate) fn next(&mut self) -> Option<Message> {
        loop {
            let found = self.unread[self.searched..]
                .iter()
                .position(|byte| *byte == b'\n');
            let Some(found) = found else {
                if self.unread.len() > INPUT_BYTES_MAX {
                    // The beginning stays and is the message, what follows until its end goes.
                    self.unread.truncate(INPUT_BYTES_MAX);
                    self.is_too_long = true;
                }
                self.searched = self.unread.len();
                return None;
            };
            let end = self.searched + found;
            let rest = self.unread.split_off(end + 1);
            let mut line = std::mem::replace(&mut self.unread, rest);
            self.searched = 0;
            line.pop();
            if line.last() == Some(&b'\r') {
                line.pop();
            }
            if std::mem::take(&mut self.is_too_long) || line.len() > INPUT_BYTES_MAX {
                line.truncate(INPUT_BYTES_MAX);
            }
            if let Some(message) = Message::parse(&line) {
                return Some(message);
            }
        }
    }
}

/// Makes the lines, without their ends, that say `text` to `target`.
///
/// Each line break begins a new one, empty ones are left out. A longer text is cut so that what
/// the server relays, with the sender's mask in front, still fits.
pub(crate) fn privmsg(nick: &str, target: &str, text: &str) -> Vec<String> {
    let head = format!("PRIVMSG {target} :");
    let taken = 2 + head.len() + nick.len() + MASK_BYTES;
    // A nickname and a target have at most 264 bytes together, so there is room left.
    let budget = LINE_BYTES_MAX.saturating_sub(taken).max(64);
    text.split(['\r', '\n', '\0'])
        .filter(|part| !part.trim().is_empty())
        .flat_map(|part| split(part, budget))
        .map(|part| format!("{head}{part}"))
        .collect()
}

/// Cuts a text into pieces of at most `budget` bytes: between words where one ends in the later
/// half of a piece, otherwise between characters.
pub(crate) fn split(text: &str, budget: usize) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while rest.len() > budget {
        let cut = rest.floor_char_boundary(budget);
        let at = rest[..cut]
            .rfind(' ')
            .filter(|at| *at > budget / 2)
            .unwrap_or(cut);
        pieces.push(&rest[..at]);
        rest = rest[at..].strip_prefix(' ').unwrap_or(&rest[at..]);
    }
    if !rest.is_empty() {
        pieces.push(rest);
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(line: &str) -> Message {
        Message::parse(line.as_bytes()).unwrap()
    }

    #[test]
    fn a_line_is_read_into_its_parts() {
        let found = message("@time=1 :al!u@h.example PRIVMSG  #help :hello  there :)");
        assert_eq!(found.nick(), Some("al"));
        assert_eq!(found.user(), Some("u"));
        assert_eq!(found.command, "PRIVMSG");
        assert_eq!(found.params, ["#help", "hello  there :)"]);
        let found = message("ping :a b");
        assert_eq!((found.command.as_str(), found.last()), ("PING", "a b"));
        assert_eq!(message(":irc.example 001 me").nick(), None);
        assert_eq!(message("PRIVMSG x :").params, ["x", ""]);
        for none in ["", "   ", ":only-a-prefix", "@tag"] {
            assert_eq!(Message::parse(none.as_bytes()), None, "{none:?}");
        }
    }

    #[test]
    fn bytes_that_are_no_utf8_are_replaced_and_said_so() {
        let found = Message::parse(b"PRIVMSG #a :caf\xe9").unwrap();
        assert!(found.is_lossy);
        assert_eq!(found.last(), "caf\u{fffd}");
        assert!(!message("PRIVMSG #a :café").is_lossy);
    }

    #[test]
    fn lines_come_whole_however_they_were_cut() {
        let text = b"PING :1\r\n\r\nPONG x :2\nNOTICE a :3\r\n";
        for size in 1..text.len() {
            let mut lines = Lines::default();
            let mut found = Vec::new();
            for piece in text.chunks(size) {
                lines.push(piece);
                while let Some(message) = lines.next() {
                    found.push(message.last().to_owned());
                }
            }
            assert_eq!(found, ["1", "2", "3"], "in pieces of {size}");
        }
    }

    #[test]
    fn a_line_without_an_end_keeps_no_more_than_the_limit() {
        let mut lines = Lines::default();
        lines.push(b"PRIVMSG #a :");
        for _ in 0..100 {
            lines.push(&[b'x'; 1_000]);
            assert_eq!(lines.next(), None);
            assert!(lines.unread.len() <= INPUT_BYTES_MAX);
        }
        lines.push(b"\r\nPING :1\r\n");
        let cut = lines.next().unwrap();
        assert!(cut.last().len() < INPUT_BYTES_MAX && cut.last().starts_with("xxx"));
        assert_eq!(lines.next().unwrap().command, "PING");
    }

    #[test]
    fn every_piece_fits_and_nothing_but_spaces_between_words_is_lost() {
        for text in [
            "ä".repeat(900),
            "a word 🚃 and more ".repeat(90),
            "x".repeat(512),
        ] {
            for budget in [64, 65, 66, 67, 400] {
                let pieces = split(&text, budget);
                assert!(
                    pieces
                        .iter()
                        .all(|piece| piece.len() <= budget && !piece.is_empty())
                );
                let kept = |text: &str| text.replace(' ', "");
                assert_eq!(kept(&pieces.concat()), kept(&text));
            }
        }
    }

    #[test]
    fn a_message_is_as_many_lines_as_it_needs_and_none_is_too_long() {
        let text = format!("one\r\n\r\ntwo\n{}", "é".repeat(700));
        let lines = privmsg("bot", "#help", &text);
        assert_eq!(lines[..2], ["PRIVMSG #help :one", "PRIVMSG #help :two"]);
        assert!(lines.len() > 4);
        let relayed = |line: &String| ":bot".len() + MASK_BYTES - 1 + line.len() + 2;
        assert!(lines.iter().all(|line| relayed(line) <= LINE_BYTES_MAX));
        assert_eq!(privmsg("bot", "#help", " \n"), Vec::<String>::new());
    }
}
