//! What waits to be written on one link: two lanes, control ahead of data, whole frames only.

use std::collections::VecDeque;

/// A data segment takes frames until it is this large, so that control never waits behind more.
const SEGMENT_BYTES: usize = 64 << 10;
/// Buffers up to this capacity are used again.
const KEEP_BYTES: usize = 128 << 10;

/// The two lanes of a writer.
#[derive(Debug, Default)]
pub struct Outbox {
    /// Being written now; never switched in the middle, so frames stay whole.
    sending: Vec<u8>,
    sent: usize,
    control: Vec<u8>,
    data: VecDeque<Vec<u8>>,
    data_bytes: usize,
    spare: Vec<u8>,
}

impl Outbox {
    /// Bytes that are not written yet.
    pub fn len(&self) -> usize {
        self.sending.len() - self.sent + self.control.len() + self.data_bytes
    }

    /// Bytes of answers and other control frames that are not written yet.
    pub fn control_len(&self) -> usize {
        self.control.len()
    }

    /// Says whether everything is written.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends one frame to the control lane.
    pub fn control(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.control);
    }

    /// Appends one frame to the data lane.
    pub fn data(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        if self
            .data
            .back()
            .is_none_or(|segment| segment.len() >= SEGMENT_BYTES)
        {
            self.data.push_back(std::mem::take(&mut self.spare));
        }
        let segment = self.data.back_mut().expect("pushed above");
        let before = segment.len();
        write(segment);
        self.data_bytes += segment.len() - before;
    }

    /// What to write next; empty when nothing waits.
    pub fn unwritten(&mut self) -> &[u8] {
        if self.sent == self.sending.len() {
            let mut old = std::mem::take(&mut self.sending);
            self.sent = 0;
            old.clear();
            if !self.control.is_empty() {
                if old.capacity() > KEEP_BYTES {
                    old = Vec::new();
                }
                self.sending = std::mem::replace(&mut self.control, old);
            } else if let Some(segment) = self.data.pop_front() {
                self.data_bytes -= segment.len();
                self.sending = segment;
                if old.capacity() <= KEEP_BYTES {
                    self.spare = old;
                }
            } else if old.capacity() <= KEEP_BYTES {
                self.sending = old;
            }
        }
        &self.sending[self.sent..]
    }

    /// `bytes` of [`Outbox::unwritten`] were written.
    pub fn written(&mut self, bytes: usize) {
        self.sent += bytes;
        debug_assert!(self.sent <= self.sending.len(), "more written than offered");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_overtakes_data_but_never_splits_a_frame() {
        let mut outbox = Outbox::default();
        outbox.data(|out| out.extend_from_slice(b"data1\n"));
        assert_eq!(outbox.unwritten(), b"data1\n");
        outbox.written(3);
        outbox.data(|out| out.extend_from_slice(b"data2\n"));
        outbox.control(|out| out.extend_from_slice(b"ping\n"));
        assert_eq!(outbox.len(), 3 + 6 + 5);
        assert_eq!(outbox.unwritten(), b"a1\n");
        outbox.written(3);
        assert_eq!(outbox.unwritten(), b"ping\n");
        outbox.written(5);
        assert_eq!(outbox.unwritten(), b"data2\n");
        outbox.written(6);
        assert!(outbox.is_empty());
        assert_eq!(outbox.unwritten(), b"");
    }
}
