//! Cuts a byte stream into newline-delimited frames under a size limit.
//!
//! Not here: what a frame says. Invariants: never more than `frame_bytes_max` + 1 + 64 KiB are
//! buffered; each byte is searched once and moved at most once; the frames do not depend on how
//! the stream was chunked; the memory of a large frame is given back after it.

use std::mem;

/// Most bytes that one read may bring beyond an incomplete frame.
const READ_BYTES_MAX: usize = 64 * 1024;
/// A buffer above this size shrinks as soon as its content allows it.
const KEEP_BYTES: usize = 128 * 1024;
/// First size of the buffer.
const START_BYTES: usize = 8 * 1024;

/// Is one line of the stream.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A whole frame without its newline (and without a carriage return before it), never empty.
    Complete(&'a [u8]),
    /// A frame over the limit. It was discarded while streaming; the next one is unharmed.
    TooLarge {
        /// How long it was, newline excluded (a carriage return before it counts).
        bytes: u64,
        /// What was allowed.
        limit: usize,
    },
}

/// Collects bytes and gives frames.
///
/// Read into [`spare`](Self::spare), report with [`filled`](Self::filled), then take frames with
/// [`next_frame`](Self::next_frame) until it gives `None`; only then read again.
///
/// ```
/// use trunkline_contract::frame::{Decoder, Frame};
/// let mut decoder = Decoder::new(1024);
/// let bytes = b"{\"a\":1}\r\n\n{\"b\"";
/// decoder.spare(bytes.len())[..bytes.len()].copy_from_slice(bytes);
/// decoder.filled(bytes.len());
/// assert_eq!(decoder.next_frame(), Some(Frame::Complete(b"{\"a\":1}")));
/// assert_eq!(decoder.next_frame(), None);
/// assert_eq!(decoder.buffered(), 4);
/// ```
#[derive(Debug)]
pub struct Decoder {
    /// Initialised memory; content is `start..end`.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// No newline before here.
    searched: usize,
    frame_bytes_max: usize,
    /// Bytes of the current, too large frame that are gone already.
    discarded: Option<u64>,
}

impl Decoder {
    /// Makes an empty decoder that refuses frames over `frame_bytes_max` bytes.
    pub fn new(frame_bytes_max: usize) -> Self {
        Self {
            buffer: Vec::new(),
            start: 0,
            end: 0,
            searched: 0,
            frame_bytes_max,
            discarded: None,
        }
    }

    /// Changes the limit for the frames not yet given out.
    pub fn set_frame_bytes_max(&mut self, frame_bytes_max: usize) {
        self.frame_bytes_max = frame_bytes_max;
    }

    /// Says how many bytes wait for the rest of their frame.
    pub fn buffered(&self) -> usize {
        self.end - self.start
    }

    /// Gives initialised memory to read into, of at least `at_least` bytes (at most 64 KiB are
    /// granted). It is empty only if frames were left in the buffer instead of being taken.
    pub fn spare(&mut self, at_least: usize) -> &mut [u8] {
        let at_least = at_least.clamp(1, READ_BYTES_MAX);
        let bytes = self.end - self.start;
        if bytes == 0 {
            self.start = 0;
            self.end = 0;
            self.searched = 0;
        }
        if self.buffer.len() > KEEP_BYTES && bytes + at_least <= KEEP_BYTES / 2 {
            let mut small = vec![0; KEEP_BYTES / 2];
            small[..bytes].copy_from_slice(&self.buffer[self.start..self.end]);
            self.buffer = small;
            self.rebase(bytes);
        }
        if self.buffer.len() - self.end < at_least && self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.rebase(bytes);
        }
        if self.buffer.len() - self.end < at_least {
            let bytes_max = self.frame_bytes_max.saturating_add(1 + READ_BYTES_MAX);
            let wanted = (self.buffer.len() * 2)
                .max(self.end + at_least)
                .max(START_BYTES);
            let wanted = wanted.min(bytes_max).max(self.buffer.len());
            self.buffer.reserve_exact(wanted - self.buffer.len());
            self.buffer.resize(wanted, 0);
        }
        &mut self.buffer[self.end..]
    }

    /// Moves the bookkeeping to content that now begins at 0.
    fn rebase(&mut self, bytes: usize) {
        self.searched -= self.start;
        self.start = 0;
        self.end = bytes;
    }

    /// Takes note that the first `n` bytes of the last [`spare`](Self::spare) were filled.
    ///
    /// # Panics
    /// If `n` is more than that memory holds.
    pub fn filled(&mut self, n: usize) {
        assert!(
            n <= self.buffer.len() - self.end,
            "filled more bytes than were spare"
        );
        self.end += n;
    }

    /// Gives the next frame, or `None` until more bytes come. Empty lines are skipped.
    pub fn next_frame(&mut self) -> Option<Frame<'_>> {
        loop {
            let found = memchr::memchr(b'\n', &self.buffer[self.searched..self.end]);
            let Some(offset) = found else {
                self.discard_if_too_large();
                return None;
            };
            let newline = self.searched + offset;
            let start = mem::replace(&mut self.start, newline + 1);
            self.searched = newline + 1;
            if let Some(gone) = self.discarded.take() {
                let bytes = gone + (newline - start) as u64;
                return Some(Frame::TooLarge {
                    bytes,
                    limit: self.frame_bytes_max,
                });
            }
            let end = self.trimmed(start, newline);
            if end - start > self.frame_bytes_max {
                let bytes = (newline - start) as u64;
                return Some(Frame::TooLarge {
                    bytes,
                    limit: self.frame_bytes_max,
                });
            }
            if end > start {
                return Some(Frame::Complete(&self.buffer[start..end]));
            }
        }
    }

    /// Gives what stands after the last newline, once the stream has ended.
    ///
    /// A frame is an object, so a rest that was cut off cannot be taken for a whole one.
    pub fn finish(&mut self) -> Option<Frame<'_>> {
        let (start, last) = (self.start, self.end);
        self.start = last;
        self.searched = last;
        if let Some(gone) = self.discarded.take() {
            let bytes = gone + (last - start) as u64;
            return Some(Frame::TooLarge {
                bytes,
                limit: self.frame_bytes_max,
            });
        }
        let end = self.trimmed(start, last);
        if end - start > self.frame_bytes_max {
            let bytes = (last - start) as u64;
            return Some(Frame::TooLarge {
                bytes,
                limit: self.frame_bytes_max,
            });
        }
        (end > start).then(|| Frame::Complete(&self.buffer[start..end]))
    }

    fn trimmed(&self, start: usize, end: usize) -> usize {
        if end > start && self.buffer[end - 1] == b'\r' {
            end - 1
        } else {
            end
        }
    }

    /// Forgets the bytes of an unfinished frame that is certainly over the limit.
    fn discard_if_too_large(&mut self) {
        self.searched = self.end;
        let bytes = self.end - self.start;
        // One byte more than the limit may still be the carriage return.
        if let Some(gone) = &mut self.discarded {
            *gone += bytes as u64;
        } else if bytes > self.frame_bytes_max.saturating_add(1) {
            self.discarded = Some(bytes as u64);
        } else {
            return;
        }
        self.start = 0;
        self.end = 0;
        self.searched = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(decoder: &mut Decoder, mut bytes: &[u8]) -> (usize, usize) {
        let (mut frames, mut refused) = (0, 0);
        while !bytes.is_empty() {
            let spare = decoder.spare(READ_BYTES_MAX);
            let n = spare.len().min(bytes.len());
            spare[..n].copy_from_slice(&bytes[..n]);
            decoder.filled(n);
            bytes = &bytes[n..];
            while let Some(frame) = decoder.next_frame() {
                match frame {
                    Frame::Complete(_) => frames += 1,
                    Frame::TooLarge { .. } => refused += 1,
                }
            }
        }
        (frames, refused)
    }

    /// Proves W6, decoder part: an endless line costs no more memory than the limit allows.
    #[test]
    fn a_line_far_over_the_limit_is_never_buffered_whole() {
        let limit = 1 << 20;
        let mut decoder = Decoder::new(limit);
        let chunk = vec![b'x'; 1 << 20];
        for _ in 0..64 {
            assert_eq!(feed(&mut decoder, &chunk), (0, 0));
            assert!(decoder.buffer.capacity() <= limit + 1 + READ_BYTES_MAX);
        }
        assert_eq!(feed(&mut decoder, b"\n{}\n"), (1, 1));
    }

    #[test]
    fn memory_shrinks_back_after_a_large_frame() {
        let mut decoder = Decoder::new(1 << 20);
        let mut large = vec![b'x'; 1 << 20];
        large.push(b'\n');
        assert_eq!(feed(&mut decoder, &large), (1, 0));
        assert!(decoder.buffer.capacity() > KEEP_BYTES);
        decoder.spare(1);
        assert!(decoder.buffer.capacity() <= KEEP_BYTES);
    }

    #[test]
    fn a_changed_limit_counts_for_the_next_frame() {
        let mut decoder = Decoder::new(4);
        decoder.set_frame_bytes_max(8);
        assert_eq!(feed(&mut decoder, b"12345678\n123456789\n"), (1, 1));
        decoder.set_frame_bytes_max(2);
        assert_eq!(feed(&mut decoder, b"123\n12\n"), (1, 1));
    }

    #[test]
    fn many_small_frames_never_grow_the_buffer() {
        let mut decoder = Decoder::new(1 << 20);
        let stream = b"{\"jsonrpc\":\"2.0\"}\n".repeat(20_000);
        assert_eq!(feed(&mut decoder, &stream), (20_000, 0));
        assert!(decoder.buffer.capacity() <= 2 * READ_BYTES_MAX);
    }
}
