//! The name of a content: its SHA-256.

use std::fmt;

/// Names a content by its SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlobHash([u8; 32]);

impl BlobHash {
    /// Takes the 32 bytes of a digest.
    pub fn new(digest: [u8; 32]) -> Self {
        Self(digest)
    }

    /// Reads 64 lower case hex digits.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.as_bytes();
        if text.len() != 64 {
            return None;
        }
        let mut digest = [0; 32];
        for (byte, pair) in digest.iter_mut().zip(text.chunks_exact(2)) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Some(Self(digest))
    }

    /// Reads `sha256:` and 64 lower case hex digits.
    pub fn parse_id(text: &str) -> Option<Self> {
        Self::parse(text.strip_prefix("sha256:")?)
    }

    /// Gives `sha256:…`.
    pub fn id(&self) -> String {
        format!("sha256:{self}")
    }

    /// Gives the first byte, which chooses the directory of its file.
    pub fn first(&self) -> u8 {
        self.0[0]
    }
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

impl fmt::Display for BlobHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for BlobHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lower_case_hex_of_the_right_length_is_a_name() {
        let text = "00ff".repeat(16);
        let hash = BlobHash::parse(&text).unwrap();
        assert_eq!(hash.to_string(), text);
        assert_eq!(BlobHash::parse_id(&hash.id()), Some(hash));
        for wrong in [&text[1..], &text.to_uppercase(), &"zz".repeat(32), ""] {
            assert_eq!(BlobHash::parse(wrong), None, "{wrong}");
        }
    }
}
