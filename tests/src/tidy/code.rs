//! Rust text with everything blanked that is no code. Lengths and lines stay, so places stay true.

/// Blanks comments and the contents of strings and characters.
pub(super) fn code_only(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = match bytes[at] {
            b'/' if bytes[at..].starts_with(b"//") => line_end(bytes, at),
            b'/' if bytes[at..].starts_with(b"/*") => comment_end(bytes, at),
            b'"' => string_end(bytes, at),
            b'r' if !is_word_before(bytes, at) && raw_hashes(bytes, at).is_some() => {
                raw_end(bytes, at)
            }
            b'\'' => character_end(bytes, at),
            _ => {
                at += 1;
                continue;
            }
        };
        blank(&mut out[at..end]);
        at = end;
    }
    String::from_utf8(out).expect("only whole characters are blanked")
}

/// Blanks the bodies of modules under `#[cfg(test)]`, from the attribute to the closing brace.
pub(super) fn without_tests(code: &str) -> String {
    let mut out = code.as_bytes().to_vec();
    let mut from = 0;
    while let Some(found) = code[from..].find("#[cfg(test)]") {
        let begin = from + found;
        let end = match code[begin..].find(['{', ';']) {
            Some(sign) if code.as_bytes()[begin + sign] == b'{' => block_end(code, begin + sign),
            Some(sign) => begin + sign + 1,
            None => code.len(),
        };
        blank(&mut out[begin..end]);
        from = end;
    }
    String::from_utf8(out).expect("only whole characters are blanked")
}

/// Finds the end of the block that opens at `open`.
pub(super) fn block_end(code: &str, open: usize) -> usize {
    let mut depth = 0_usize;
    for (offset, byte) in code.as_bytes()[open..].iter().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return open + offset + 1;
                }
            }
            _ => {}
        }
    }
    code.len()
}

/// Finds each `word` in `code` that is not part of a longer name.
pub(super) fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    code.match_indices(word)
        .map(|(at, _)| at)
        .filter(move |at| {
            let after = code.as_bytes().get(at + word.len());
            !is_word_before(code.as_bytes(), *at)
                && !after.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
        })
}

fn blank(bytes: &mut [u8]) {
    for byte in bytes {
        if *byte != b'\n' {
            *byte = b' ';
        }
    }
}

fn is_word_before(bytes: &[u8], at: usize) -> bool {
    at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_')
}

fn line_end(bytes: &[u8], at: usize) -> usize {
    bytes[at..]
        .iter()
        .position(|byte| *byte == b'\n')
        .map_or(bytes.len(), |found| at + found)
}

fn comment_end(bytes: &[u8], begin: usize) -> usize {
    let (mut at, mut depth) = (begin, 0_usize);
    while at < bytes.len() {
        if bytes[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if bytes[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    bytes.len()
}

fn string_end(bytes: &[u8], begin: usize) -> usize {
    let mut at = begin + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// How many `#` a raw string at `at` begins with; `None` when there is none.
fn raw_hashes(bytes: &[u8], at: usize) -> Option<usize> {
    let hashes = bytes[at + 1..]
        .iter()
        .take_while(|byte| **byte == b'#')
        .count();
    (bytes.get(at + 1 + hashes) == Some(&b'"')).then_some(hashes)
}

fn raw_end(bytes: &[u8], at: usize) -> usize {
    let hashes = raw_hashes(bytes, at).unwrap_or_default();
    let mut closing = vec![b'"'];
    closing.resize(1 + hashes, b'#');
    let content = at + 2 + hashes;
    bytes[content..]
        .windows(closing.len())
        .position(|window| window == closing)
        .map_or(bytes.len(), |found| content + found + closing.len())
}

/// Finds the end of a character, or steps over the tick of a lifetime.
fn character_end(bytes: &[u8], at: usize) -> usize {
    if bytes.get(at + 1) == Some(&b'\\') {
        let escaped = bytes.get(at + 3..).unwrap_or_default();
        return escaped
            .iter()
            .position(|b| *b == b'\'')
            .map_or(bytes.len(), |f| at + 3 + f + 1);
    }
    // One character is at most four bytes; a lifetime has no closing tick behind its first.
    let first = bytes.get(at + 1).copied().unwrap_or_default();
    let length = match first {
        0xf0.. => 4,
        0xe0.. => 3,
        0xc0.. => 2,
        _ => 1,
    };
    if bytes.get(at + 1 + length) == Some(&b'\'') {
        at + 2 + length
    } else {
        at + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_is_left() {
        let text =
            "let a = \"x // y\"; // z\nlet b = r#\"q\"u\"#; /* a /* b */ c */ let c = '\\'';\n";
        let code = code_only(text);
        assert_eq!(code.len(), text.len());
        for gone in ['x', 'y', 'z', 'q', 'u', '*', '\''] {
            assert!(!code.contains(gone), "{gone} in {code}");
        }
        assert!(code.contains("let c"), "{code}");
    }

    #[test]
    fn lifetimes_are_no_characters() {
        let code = code_only("fn f<'a>(x: &'a str, y: char) -> &'a str { if y == 'é' { x } }");
        assert!(
            code.contains("str { if y ==") && !code.contains('é'),
            "{code}"
        );
    }

    #[test]
    fn unit_tests_are_left_out_and_what_follows_stays() {
        let shipped = without_tests("a\n#[cfg(test)]\nmod tests { fn f() { {} } }\nb\n");
        assert!(!shipped.contains("fn f"), "{shipped}");
        assert!(shipped.contains('b'), "{shipped}");
    }
}
