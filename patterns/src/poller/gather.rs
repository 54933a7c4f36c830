//! Operations in commits of bounded size, an item's together.

use std::collections::VecDeque;

use super::commit::{OPERATION_BYTES_MAX, OPERATIONS_MAX, Op, Operation};

/// Gathers operations until a commit is full.
#[derive(Debug)]
pub(super) struct Gather<E> {
    /// What the commit that is being gathered holds.
    held: Vec<Op<E>>,
    held_bytes: usize,
    held_count: usize,
    /// What waits for the commits behind it; the mark is the item that is complete with it.
    waiting: VecDeque<Group<E>>,
}

#[derive(Debug)]
struct Group<E> {
    ops: Vec<Op<E>>,
    bytes: usize,
    count: usize,
    mark: Option<u64>,
}

impl<E> Group<E> {
    fn new() -> Self {
        Self {
            ops: Vec::new(),
            bytes: 0,
            count: 0,
            mark: None,
        }
    }
}

impl<E: Operation> Gather<E> {
    pub(super) fn new() -> Self {
        Self {
            held: Vec::new(),
            held_bytes: 0,
            held_count: 0,
            waiting: VecDeque::new(),
        }
    }

    /// Takes all that one item caused. More than a commit holds is cut, and then only the last part
    /// marks the item: whoever dies between two parts does the whole again, with the same ids.
    pub(super) fn put(&mut self, ops: Vec<Op<E>>, mark: Option<u64>) {
        let mut group = Group::new();
        for op in ops {
            let (bytes, count) = (op.bytes(), op.count());
            let is_full = !group.ops.is_empty()
                && (group.count + count > OPERATIONS_MAX
                    || group.bytes + bytes > OPERATION_BYTES_MAX);
            if is_full {
                self.waiting
                    .push_back(std::mem::replace(&mut group, Group::new()));
            }
            group.bytes += bytes;
            group.count += count;
            group.ops.push(op);
        }
        group.mark = mark;
        self.waiting.push_back(group);
    }

    /// Moves what fits into the commit; gives the items that are complete with it, and whether the
    /// commit has to go first because more waits.
    pub(super) fn settle(&mut self) -> (Vec<u64>, bool) {
        let mut complete = Vec::new();
        while let Some(group) = self.waiting.front() {
            let fits = self.held_count + group.count <= OPERATIONS_MAX
                && self.held_bytes + group.bytes <= OPERATION_BYTES_MAX;
            if !fits && !self.held.is_empty() {
                return (complete, true);
            }
            if let Some(group) = self.waiting.pop_front() {
                self.held_bytes += group.bytes;
                self.held_count += group.count;
                self.held.extend(group.ops);
                complete.extend(group.mark);
            }
        }
        (complete, false)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Gives what the commit holds.
    pub(super) fn take(&mut self) -> Vec<Op<E>> {
        self.held_bytes = 0;
        self.held_count = 0;
        std::mem::take(&mut self.held)
    }

    /// Forgets what waits, as whoever dies would.
    pub(super) fn drop_waiting(&mut self) {
        self.waiting.clear();
    }
}
