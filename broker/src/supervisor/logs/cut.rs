//! Cuts a stream of bytes into lines of bounded length.

/// The longest line that is kept whole, in bytes.
pub(crate) const LINE_BYTES_MAX: usize = 16 * 1024;

/// Cuts one stream; holds less than one line.
#[derive(Debug, Default)]
pub(crate) struct Cutter {
    rest: Vec<u8>,
}

impl Cutter {
    /// Takes what the stream said next and hands each whole line on, without its end.
    pub(crate) fn push(&mut self, mut bytes: &[u8], mut line: impl FnMut(&str)) {
        while !bytes.is_empty() {
            let room = LINE_BYTES_MAX - self.rest.len();
            let window = &bytes[..bytes.len().min(room + 1)];
            match memchr::memchr(b'\n', window) {
                Some(end) => {
                    self.rest.extend_from_slice(&bytes[..end]);
                    bytes = &bytes[end + 1..];
                    self.emit(self.rest.len(), &mut line);
                }
                None if window.len() > room => {
                    self.rest.extend_from_slice(&bytes[..room]);
                    bytes = &bytes[room..];
                    self.emit(whole_characters(&self.rest), &mut line);
                }
                None => {
                    self.rest.extend_from_slice(bytes);
                    return;
                }
            }
        }
    }

    /// Hands on what has no line end.
    pub(crate) fn finish(&mut self, mut line: impl FnMut(&str)) {
        if !self.rest.is_empty() {
            self.emit(self.rest.len(), &mut line);
        }
    }

    fn emit(&mut self, bytes: usize, line: &mut impl FnMut(&str)) {
        let text = String::from_utf8_lossy(&self.rest[..bytes]);
        line(text.strip_suffix('\r').unwrap_or(&text));
        self.rest.drain(..bytes);
        if self.rest.capacity() > LINE_BYTES_MAX / 4 && self.rest.is_empty() {
            self.rest = Vec::new();
        }
    }
}

/// Returns the length without a character that is cut at the end.
fn whole_characters(bytes: &[u8]) -> usize {
    let longest = bytes.len().saturating_sub(4);
    for at in (longest..bytes.len()).rev() {
        let byte = bytes[at];
        if byte & 0b1100_0000 != 0b1000_0000 {
            let expected = match byte {
                0xf0.. => 4,
                0xe0.. => 3,
                0xc0.. => 2,
                _ => 1,
            };
            return if at + expected > bytes.len() && at > 0 {
                at
            } else {
                bytes.len()
            };
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(chunks: &[&[u8]]) -> Vec<String> {
        let mut cutter = Cutter::default();
        let mut lines = Vec::new();
        for chunk in chunks {
            cutter.push(chunk, |line| lines.push(line.to_owned()));
            assert!(cutter.rest.len() < LINE_BYTES_MAX);
        }
        cutter.finish(|line| lines.push(line.to_owned()));
        lines
    }

    #[test]
    fn lines_are_the_same_whatever_the_chunks() {
        let text = "eins\nzwei\r\n\ndrei ü €\nvier".as_bytes();
        let expected = ["eins", "zwei", "", "drei ü €", "vier"];
        for size in 1..text.len() {
            let chunks: Vec<&[u8]> = text.chunks(size).collect();
            assert_eq!(lines(&chunks), expected);
        }
    }

    #[test]
    fn an_endless_line_is_cut_between_characters() {
        let text = "€".repeat(40_000);
        let lines = lines(&[text.as_bytes()]);
        assert!(
            lines
                .iter()
                .all(|line| line.len() <= LINE_BYTES_MAX && !line.contains('\u{fffd}'))
        );
        assert_eq!(lines.concat(), text);
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced_not_lost() {
        assert_eq!(lines(&[b"a\xff\xfeb\n"]), ["a\u{fffd}\u{fffd}b"]);
        let noise = vec![0x80_u8; 50_000];
        assert_eq!(lines(&[&noise]).concat().chars().count(), 50_000);
    }

    #[test]
    fn a_line_of_exactly_the_bound_is_one_line() {
        let text = [vec![b'x'; LINE_BYTES_MAX], b"\ny\n".to_vec()].concat();
        assert_eq!(
            lines(&[&text]).iter().map(String::len).collect::<Vec<_>>(),
            [LINE_BYTES_MAX, 1]
        );
    }
}
