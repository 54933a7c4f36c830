use proptest::prelude::*;
use unicode_segmentation::UnicodeSegmentation as _;

use super::split;

fn chars(text: &str) -> usize {
    text.chars().count()
}

#[test]
fn paragraphs_go_before_lines_before_sentences_before_words() {
    let text = "First paragraph. It has two.\nAnd a line.\n\nSecond paragraph here.";
    assert_eq!(
        split(text, 50),
        [
            "First paragraph. It has two.\nAnd a line.",
            "Second paragraph here."
        ]
    );
    assert_eq!(
        split("First paragraph. It has two.\nAnd a line is here.", 40),
        ["First paragraph. It has two.", "And a line is here."]
    );
    assert_eq!(
        split("Say this. Then that one", 15),
        ["Say this.", "Then that one"]
    );
    assert_eq!(split("only words in here", 10), ["only words", "in here"]);
    assert_eq!(split("abcdefghij", 4), ["abcd", "efgh", "ij"]);
    assert_eq!(split("你好。世界很大。", 5), ["你好。", "世界很大。"]);
}

#[test]
fn a_text_that_fits_is_left_as_it_is() {
    assert_eq!(split(" kept \n", 7), [" kept \n"]);
    assert_eq!(split("", 7), Vec::<String>::new());
    assert_eq!(split("ab", 0), ["a", "b"]);
}

#[test]
fn what_reads_as_one_character_is_not_cut() {
    let family = "👨‍👩‍👧‍👦";
    let text = family.repeat(3);
    assert_eq!(split(&text, 10), [family, family, family]);
    // Longer than the limit by itself: nothing else can be done.
    assert_eq!(split(family, 4).concat(), family);
}

#[test]
fn a_block_of_code_is_closed_and_opened_again() {
    let text = "See:\n```rust\nlet a = 1;\nlet b = 2;\nlet c = 3;\n```\nDone.";
    let parts = split(text, 40);
    assert_eq!(
        parts,
        [
            "See:\n```rust\nlet a = 1;\nlet b = 2;\n```",
            "```rust\nlet c = 3;\n```\nDone."
        ]
    );
}

#[test]
fn a_fence_that_is_cut_right_before_its_end_leaves_no_empty_block() {
    let text = "```\naaaaaaaaaa\nbbbbbbbbbb\n```\nand then more of it";
    let parts = split(text, 30);
    assert_eq!(
        parts,
        ["```\naaaaaaaaaa\nbbbbbbbbbb\n```", "and then more of it"]
    );
}

#[test]
fn indentation_in_code_is_kept() {
    let text = "```\nif a:\n    first()\n    second()\n    third()\n```";
    for part in split(text, 32) {
        let inside: Vec<&str> = part.lines().filter(|line| line.contains("()")).collect();
        assert!(inside.iter().all(|line| line.starts_with("    ")), "{part}");
    }
}

fn bare(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_whitespace() && !"`~".contains(*c))
        .collect()
}

fn texts() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => "[a-z]{1,9}",
        2 => Just(" ".to_owned()),
        1 => Just(". ".to_owned()),
        1 => Just("\n".to_owned()),
        1 => Just("\n\n".to_owned()),
        1 => Just("\r\n".to_owned()),
        1 => Just("👩🏽‍🚀".to_owned()),
        1 => Just("e\u{301}".to_owned()),
        1 => Just("\n```\n".to_owned()),
        1 => Just("\n~~~~\n".to_owned()),
        1 => Just(" ".repeat(70)),
        1 => "\\PC{0,6}",
    ];
    proptest::collection::vec(piece, 0..120).prop_map(|pieces| pieces.concat())
}

proptest! {
    /// Proves P7e, text: no part is over the channel's limit or blank, and nothing is lost.
    #[test]
    fn parts_are_bounded_and_hold_everything(text in texts(), max in 1_usize..200) {
        let parts = split(&text, max);
        for part in &parts {
            prop_assert!(chars(part) <= max, "{} > {max}: {part:?}", chars(part));
            prop_assert!(parts.len() == 1 || !part.trim().is_empty());
        }
        prop_assert_eq!(bare(&parts.concat()), bare(&text));
        prop_assert_eq!(&parts, &split(&text, max));
        prop_assert!(parts.len() <= 3 * chars(&text) / max.min(24) + chars(&text) / max + 2);
    }

    /// Proves P7e, text: what a reader sees as one character stays whole.
    #[test]
    fn graphemes_stay_whole(text in texts(), max in 16_usize..200) {
        // White space that a mark combines with may be dropped at a cut.
        let whole: std::collections::HashSet<&str> = text
            .graphemes(true)
            .flat_map(|grapheme| [grapheme, grapheme.trim_start()])
            .collect();
        for part in split(&text, max) {
            for grapheme in part.graphemes(true) {
                let is_ours = grapheme == "\n" || "`~".contains(grapheme);
                prop_assert!(is_ours || whole.contains(grapheme) || chars(grapheme) == 1,
                    "{grapheme:?} in {part:?}");
            }
        }
    }

    /// Proves P7e, text: every block of code that a part opens, it closes.
    #[test]
    fn blocks_of_code_are_closed(lines in proptest::collection::vec("[a-z ]{1,20}", 1..40), max in 24_usize..120) {
        let text = format!("before\n```rust\n{}\n```\nafter", lines.join("\n"));
        for part in split(&text, max) {
            let fences = part.lines().filter(|line| line.trim().starts_with("```")).count();
            prop_assert_eq!(fences % 2, 0, "{}", part);
        }
    }
}
