//! Why a document is no feed.

/// Tells why nothing of a document could be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FeedError {
    /// It is longer than is ever read.
    #[error("expected a feed of at most {max} bytes, found {found}")]
    TooLarge {
        /// Its length in bytes.
        found: usize,
        /// The limit.
        max: usize,
    },
    /// It is something else.
    #[error("expected RSS, Atom or JSON Feed, found {found}")]
    NotAFeed {
        /// What it looks like.
        found: String,
    },
    /// Its XML breaks off or is not well formed.
    #[error("expected well-formed XML, found {found} at byte {at}")]
    BadXml {
        /// What is wrong.
        found: String,
        /// Where, in bytes of the decoded text.
        at: u64,
    },
    /// Its JSON breaks off or does not fit JSON Feed.
    #[error("expected a JSON Feed, found {found}")]
    BadJson {
        /// What is wrong.
        found: String,
    },
}
