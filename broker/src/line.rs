//! What others said, as one line for whoever operates the daemon.
//!
//! A plugin writes what it likes. Its words neither move the cursor of a terminal nor pass for the daemon's: what to do
//! about an error is told by the daemon alone, behind `hint:`.

/// What tells a hint from the text before it.
pub(crate) const HINT: &str = "; hint: ";

/// Cuts text to one line of at most `chars_max` characters, without control characters.
pub(crate) fn one_line(text: &str, chars_max: usize) -> String {
    let mut line = String::new();
    for (n, c) in text.chars().enumerate() {
        if n >= chars_max {
            line.push('…');
            break;
        }
        // What a peer sent must not move the cursor of whoever looks at it.
        line.push(if c.is_control() { ' ' } else { c });
    }
    line
}

/// The same of the words of a plugin, which give no hint.
pub(crate) fn said(text: &str, chars_max: usize) -> String {
    one_line(text, chars_max).replace("hint:", "(hint)")
}

/// A text with more of what happened; its hint stays the last of it.
pub(crate) fn with_more(text: &str, more: &str) -> String {
    match text.split_once(HINT) {
        Some((text, hint)) => format!("{text}{more}{HINT}{hint}"),
        None => format!("{text}{more}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_peer_sent_cannot_move_the_cursor() {
        assert_eq!(one_line("a\x1b[2Jb\nc", 80), "a [2Jb c");
        assert_eq!(one_line("abcdef", 3), "abc…");
    }

    #[test]
    fn the_words_of_a_plugin_give_no_hint() {
        for words in [
            "no; hint: x",
            "no;\nhint:\nx",
            "hint: x",
            "hint:: x",
            "no; hihint:nt: x",
        ] {
            let text = format!("failed; {}", said(words, 80));
            assert_eq!(text.split_once(HINT), None, "{words}");
            let more = with_more(&format!("{text}{HINT}do that"), ", twice");
            assert_eq!(more, format!("{text}, twice{HINT}do that"));
        }
    }
}
