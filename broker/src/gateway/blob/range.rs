//! `Range` and `Content-Range`.

/// What a request wants of a content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// All of it.
    All,
    /// From the first to the last byte, both included.
    Part(u64, u64),
    /// Something that is not there.
    Nothing,
}

/// Reads a `Range`; several ranges, and what cannot be read, mean all of it.
pub(super) fn wanted(range: Option<&str>, bytes: u64) -> Wanted {
    let Some((first, last)) = range
        .and_then(|text| text.strip_prefix("bytes="))
        .and_then(|text| text.split_once('-'))
    else {
        return Wanted::All;
    };
    let number = |text: &str| text.trim().parse::<u64>().ok();
    match (number(first), number(last)) {
        (Some(first), _) if first >= bytes => Wanted::Nothing,
        (Some(first), Some(last)) if last >= first => Wanted::Part(first, last.min(bytes - 1)),
        (Some(first), None) if last.trim().is_empty() => Wanted::Part(first, bytes - 1),
        (None, Some(count)) if first.trim().is_empty() => match count.min(bytes) {
            0 => Wanted::Nothing,
            count => Wanted::Part(bytes - count, bytes - 1),
        },
        _ => Wanted::All,
    }
}

/// Reads a `Content-Range` of an upload: where it begins and how much there is in all.
pub(super) fn brought(text: &str) -> Option<(u64, u64)> {
    let (range, all) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last, all) = (
        first.parse::<u64>().ok()?,
        last.parse::<u64>().ok()?,
        all.parse::<u64>().ok()?,
    );
    (first <= last && last < all).then_some((first, all))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_range_is_understood_and_more_are_all() {
        for (text, found) in [
            ("bytes=0-4", Wanted::Part(0, 4)),
            ("bytes=5-", Wanted::Part(5, 9)),
            ("bytes=8-99", Wanted::Part(8, 9)),
            ("bytes=-3", Wanted::Part(7, 9)),
            ("bytes=-99", Wanted::Part(0, 9)),
            ("bytes=10-", Wanted::Nothing),
            ("bytes=-0", Wanted::Nothing),
            ("bytes=4-2", Wanted::All),
            ("bytes=0-1,3-4", Wanted::All),
            ("lines=1-2", Wanted::All),
            ("bytes=x-", Wanted::All),
        ] {
            assert_eq!(wanted(Some(text), 10), found, "{text}");
        }
        assert_eq!(wanted(None, 10), Wanted::All);
        assert_eq!(wanted(Some("bytes=0-"), 0), Wanted::Nothing);
    }

    #[test]
    fn a_content_range_names_a_piece_of_a_whole() {
        assert_eq!(brought("bytes 5-9/10"), Some((5, 10)));
        for wrong in ["bytes 5-10/10", "bytes 6-5/10", "bytes */10", "5-9/10", ""] {
            assert_eq!(brought(wrong), None, "{wrong}");
        }
    }
}
