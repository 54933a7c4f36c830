//! How much may still be made of a schema. A small one can say something very large: each part of it
//! may name the next one several times.

use std::cell::Cell;

/// Most parts that the types of one file have.
pub(super) const FILE_PARTS_MAX: usize = 1 << 18;
/// Most parts that the types of one document have, and most that are copied to join its schemas.
pub(super) const DOCUMENT_PARTS_MAX: usize = 1 << 16;
/// So many bytes of a text weigh as much as a part.
const PIECE_BYTES: usize = 64;

/// What is left; beyond is any value.
#[derive(Debug)]
pub(super) struct Budget {
    most: usize,
    left: Cell<usize>,
}

impl Budget {
    pub(super) fn of(most: usize) -> Self {
        Self {
            most,
            left: Cell::new(most),
        }
    }

    /// Takes so many parts; once there are not enough there is nothing left.
    pub(super) fn take(&self, parts: usize) -> bool {
        let left = self.left.get().checked_sub(parts);
        self.left.set(left.unwrap_or(0));
        left.is_some()
    }

    pub(super) fn is_spent(&self) -> bool {
        self.left.get() == 0
    }

    pub(super) fn left(&self) -> usize {
        self.left.get()
    }

    pub(super) fn used(&self) -> usize {
        self.most - self.left.get()
    }
}

/// Gives the weight of a text in parts.
pub(super) fn weight_of(text: &str) -> usize {
    text.len() / PIECE_BYTES
}
