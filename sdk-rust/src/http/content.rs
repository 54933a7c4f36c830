//! What a request carries: bytes, and files that are read while they are sent.
//!
//! A content can be sent again, by several at a time: files are read by place, and never whole.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use hyper::body::{Body, Bytes, Frame, SizeHint};
use tokio::task::JoinHandle;

/// Bytes of a file in memory at once.
const CHUNK_BYTES: u64 = 256 * 1024;

/// Is what a request carries, piece after piece.
#[derive(Clone, Debug, Default)]
pub(crate) struct Content {
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug)]
enum Piece {
    Bytes(Bytes),
    /// A file, from its beginning, and how many bytes of it.
    File(Arc<File>, u64),
}

impl Piece {
    fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File(_, bytes) => *bytes,
        }
    }
}

impl From<Bytes> for Content {
    fn from(bytes: Bytes) -> Self {
        Self::default().and(Piece::Bytes(bytes))
    }
}

impl Content {
    /// Adds so many bytes of a file.
    pub(crate) fn and_file(self, file: File, bytes: u64) -> Self {
        self.and(Piece::File(Arc::new(file), bytes))
    }

    /// Adds bytes.
    pub(crate) fn and_bytes(self, bytes: impl Into<Bytes>) -> Self {
        self.and(Piece::Bytes(bytes.into()))
    }

    fn and(mut self, piece: Piece) -> Self {
        if piece.len() > 0 {
            self.pieces.push(piece);
        }
        self
    }

    /// Says how many bytes it has.
    pub(crate) fn len(&self) -> u64 {
        self.pieces.iter().map(Piece::len).sum()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Reads it whole, for a test that looks at it.
    #[cfg(feature = "testing")]
    pub(crate) fn read(&self) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        for piece in &self.pieces {
            match piece {
                Piece::Bytes(bytes) => all.extend_from_slice(bytes),
                Piece::File(file, bytes) => {
                    let begin = all.len();
                    all.resize(begin + usize::try_from(*bytes).unwrap_or(usize::MAX), 0);
                    file.read_exact_at(&mut all[begin..], 0)?;
                }
            }
        }
        Ok(all)
    }

    /// Makes it a body, which says when it is asked for the first time.
    pub(super) fn body(self, is_read: Arc<AtomicBool>) -> Sending {
        Sending {
            left: self.len(),
            pieces: self.pieces.into(),
            at: 0,
            reading: None,
            is_read,
        }
    }
}

/// A content on its way.
pub(super) struct Sending {
    pieces: VecDeque<Piece>,
    /// How much of the first piece is sent, if it is a file.
    at: u64,
    left: u64,
    reading: Option<JoinHandle<io::Result<Bytes>>>,
    is_read: Arc<AtomicBool>,
}

impl Sending {
    fn sent(&mut self, bytes: Bytes) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.left = self.left.saturating_sub(bytes.len() as u64);
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }
}

impl Body for Sending {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.is_read.store(true, Ordering::Release);
        loop {
            if let Some(reading) = &mut self.reading {
                let read = ready!(Pin::new(reading).poll(cx));
                self.reading = None;
                let early = |_| io::Error::other("reading ended early");
                match read.map_err(early).and_then(|read| read) {
                    Ok(bytes) => {
                        self.at += bytes.len() as u64;
                        return self.sent(bytes);
                    }
                    Err(error) => return Poll::Ready(Some(Err(error))),
                }
            }
            match self.pieces.front() {
                None => return Poll::Ready(None),
                Some(Piece::Bytes(bytes)) => {
                    let bytes = bytes.clone();
                    self.pieces.pop_front();
                    return self.sent(bytes);
                }
                Some(Piece::File(file, bytes)) if self.at < *bytes => {
                    let (file, at) = (file.clone(), self.at);
                    let most = CHUNK_BYTES.min(*bytes - at);
                    let read = move || read_at(&file, at, most);
                    self.reading = Some(tokio::task::spawn_blocking(read));
                }
                Some(Piece::File(..)) => {
                    self.pieces.pop_front();
                    self.at = 0;
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

fn read_at(file: &File, at: u64, most: u64) -> io::Result<Bytes> {
    let mut chunk = vec![0; usize::try_from(most).unwrap_or(usize::MAX)];
    file.read_exact_at(&mut chunk, at)?;
    Ok(chunk.into())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use http_body_util::BodyExt;

    use super::*;

    fn file(content: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        file
    }

    #[tokio::test]
    async fn pieces_are_sent_in_order_and_can_be_sent_again() {
        let long = vec![b'x'; 600_000];
        let content = Content::from(Bytes::from_static(b"<"))
            .and_file(file(&long), long.len() as u64)
            .and_file(file(b""), 0)
            .and_bytes(&b">"[..]);
        assert_eq!((content.len(), content.is_empty()), (600_002, false));
        for _ in 0..2 {
            let is_read = Arc::new(AtomicBool::new(false));
            let body = content.clone().body(is_read.clone());
            assert!(!is_read.load(Ordering::Acquire) && !body.is_end_stream());
            assert_eq!(body.size_hint().exact(), Some(600_002));
            let sent = body.collect().await.unwrap().to_bytes();
            assert!(is_read.load(Ordering::Acquire));
            assert_eq!((sent[0], sent[600_001], sent.len()), (b'<', b'>', 600_002));
        }
        assert!(Content::default().is_empty());
    }

    #[tokio::test]
    async fn a_file_that_became_shorter_breaks_the_body_off() {
        let content = Content::default().and_file(file(b"abc"), 4);
        let body = content.body(Arc::new(AtomicBool::new(false)));
        assert!(body.collect().await.is_err());
    }
}
