//! What waits to be written: a control lane, and behind it a data lane.
//!
//! Frames are appended whole and leave in pieces, so a control frame waits for at most one piece
//! of the data lane.

use std::collections::VecDeque;

/// A piece is closed once it is this long; a longer frame is a piece of its own.
const PIECE_BYTES: usize = 64 * 1024;
/// Buffers kept for reuse, so that a steady stream allocates nothing.
const SPARE_MAX: usize = 4;

#[derive(Default)]
pub(crate) struct Outbox {
    control: Vec<u8>,
    data: VecDeque<Vec<u8>>,
    data_bytes: usize,
    writing: Vec<u8>,
    written: usize,
    spare: Vec<Vec<u8>>,
}

impl Outbox {
    /// Appends frames to the control lane.
    pub(crate) fn control(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.control);
    }

    /// Says whether control frames wait.
    pub(crate) fn has_control(&self) -> bool {
        !self.control.is_empty()
    }

    /// Appends frames to the data lane.
    pub(crate) fn data(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        if self
            .data
            .back()
            .is_none_or(|piece| piece.len() >= PIECE_BYTES)
        {
            let piece = self.spare.pop().unwrap_or_default();
            self.data.push_back(piece);
        }
        let piece = self.data.back_mut().expect("a piece was just made sure of");
        let before = piece.len();
        write(piece);
        self.data_bytes += piece.len() - before;
    }

    /// Bytes that wait in both lanes.
    pub(crate) fn unwritten(&self) -> usize {
        self.control.len() + self.data_bytes + self.writing.len() - self.written
    }

    /// Gives what is to be written next; empty when nothing waits.
    pub(crate) fn next(&mut self) -> &[u8] {
        if self.written == self.writing.len() {
            self.writing.clear();
            self.written = 0;
            if !self.control.is_empty() {
                std::mem::swap(&mut self.writing, &mut self.control);
            }
            // What fits beside the control frames goes with them, in one write.
            if self.writing.len() < PIECE_BYTES
                && let Some(piece) = self.data.pop_front()
            {
                self.data_bytes -= piece.len();
                self.take(piece);
            }
        }
        &self.writing[self.written..]
    }

    fn take(&mut self, piece: Vec<u8>) {
        let used = if self.writing.is_empty() {
            std::mem::replace(&mut self.writing, piece)
        } else {
            self.writing.extend_from_slice(&piece);
            piece
        };
        if self.spare.len() < SPARE_MAX && used.capacity() <= 2 * PIECE_BYTES {
            let mut used = used;
            used.clear();
            self.spare.push(used);
        }
    }

    /// Says that so many bytes of [`Outbox::next`] were written.
    pub(crate) fn wrote(&mut self, bytes: usize) {
        self.written += bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(outbox: &mut Outbox) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            let piece = outbox.next().to_vec();
            if piece.is_empty() {
                return all;
            }
            outbox.wrote(piece.len().min(7));
            all.extend_from_slice(&piece[..piece.len().min(7)]);
        }
    }

    #[test]
    fn control_frames_overtake_data_frames_and_data_keeps_its_order() {
        let mut outbox = Outbox::default();
        outbox.data(|out| out.extend_from_slice(b"one\n"));
        outbox.data(|out| out.extend_from_slice(b"two\n"));
        outbox.control(|out| out.extend_from_slice(b"ping\n"));
        assert_eq!(outbox.unwritten(), 13);
        assert_eq!(written(&mut outbox), b"ping\none\ntwo\n");
        assert_eq!(outbox.unwritten(), 0);
    }

    #[test]
    fn a_control_frame_waits_for_one_piece_at_most() {
        let mut outbox = Outbox::default();
        for _ in 0..8 {
            outbox.data(|out| out.resize(out.len() + PIECE_BYTES, b'd'));
        }
        let first = outbox.next().len();
        outbox.control(|out| out.extend_from_slice(b"ping\n"));
        outbox.wrote(first);
        assert!(outbox.next().starts_with(b"ping\n"));
        assert_eq!(written(&mut outbox).len(), 7 * PIECE_BYTES + 5);
    }
}
