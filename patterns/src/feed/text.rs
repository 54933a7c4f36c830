//! Bytes to text: by byte order mark, by the header's charset, by the XML prolog, else UTF-8.

use encoding_rs::{Encoding, UTF_8};

/// How far into a document its prolog is looked for.
const PROLOG_BYTES: usize = 256;

/// Decodes a body and takes off what only says how to decode it. Bytes that mean nothing become U+FFFD.
pub(super) fn decode(body: &[u8], content_type: &str) -> String {
    let encoding = Encoding::for_bom(body)
        .map(|(encoding, _)| encoding)
        .or_else(|| charset(content_type).and_then(by_name))
        .or_else(|| prolog_encoding(body).and_then(|name| by_name(&name)))
        .unwrap_or(UTF_8);
    let (text, _, _) = encoding.decode(body);
    text.into_owned()
}

fn by_name(name: &str) -> Option<&'static Encoding> {
    Encoding::for_label(name.as_bytes())
}

fn charset(content_type: &str) -> Option<&str> {
    content_type.split(';').skip(1).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim()
            .eq_ignore_ascii_case("charset")
            .then(|| value.trim().trim_matches('"'))
    })
}

fn prolog_encoding(body: &[u8]) -> Option<String> {
    let head = String::from_utf8_lossy(&body[..body.len().min(PROLOG_BYTES)]);
    let prolog = head.trim_start().strip_prefix("<?xml")?;
    let prolog = &prolog[..prolog.find("?>")?];
    let value = prolog[prolog.find("encoding")? + "encoding".len()..]
        .trim_start()
        .strip_prefix('=')?
        .trim_start();
    let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    value[1..].split(quote).next().map(str::to_owned)
}

/// Cuts a text to at most `bytes_max` bytes without cutting a character; says whether it did.
pub(super) fn cut(text: &mut String, bytes_max: usize) -> bool {
    if text.len() <= bytes_max {
        return false;
    }
    text.truncate(text.floor_char_boundary(bytes_max));
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_wins_over_the_prolog_and_a_mark_over_both() {
        let latin = b"<?xml version='1.0' encoding='iso-8859-1'?><a>\xe9</a>";
        assert!(decode(latin, "text/xml").ends_with("<a>é</a>"));
        let lies = "<?xml version='1.0' encoding=\"iso-8859-1\"?><a>é</a>";
        let decoded = decode(lies.as_bytes(), "application/rss+xml; charset=\"utf-8\"");
        assert!(decoded.ends_with("<a>é</a>"));
        let marked = b"\xff\xfe<\0a\0/\0>\0";
        assert_eq!(decode(marked, "text/xml; charset=utf-8"), "<a/>");
        assert_eq!(
            decode(b"<a>\xff</a>", "text/xml; charset=nonsense"),
            "<a>\u{fffd}</a>"
        );
    }

    #[test]
    fn a_cut_never_splits_a_character() {
        let mut text = "aéé".to_owned();
        assert!(cut(&mut text, 4));
        assert_eq!(text, "aé");
        assert!(!cut(&mut text, 3));
    }
}
