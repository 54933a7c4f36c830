//! The two seats of an instance, of which one counts: its process serves, and its state is the instance's.

use super::{Engine, Entry};
use crate::instance::InstanceKey;
use crate::supervisor::state::State;

impl Engine {
    /// The seat that counts for an instance.
    pub(super) fn seat_of(&self, name: &InstanceKey) -> InstanceKey {
        if self.second.contains(name) {
            name.other_seat()
        } else {
            name.clone()
        }
    }

    /// Returns true for a seat whose process is the instance's, and not only about to be, or no longer.
    pub(super) fn counts(&self, seat: &InstanceKey) -> bool {
        !seat.is_process() && self.seat_of(&seat.of_seat()) == *seat
    }

    /// Makes this the seat that counts, and tells its state as the instance's.
    pub(super) fn make_count(&mut self, seat: &InstanceKey) {
        let name = seat.of_seat();
        if *seat == name {
            self.second.remove(&name);
        } else {
            self.second.insert(name);
        }
        self.tell_state(seat);
    }

    /// Tells the state of a seat as the instance's.
    pub(super) fn tell_state(&self, seat: &InstanceKey) {
        let Some(entry) = self.entries.get(seat) else {
            return;
        };
        let name = seat.of_seat();
        self.tell_server(&name, entry);
        self.links.state(&name, &entry.report);
    }

    /// Notes how the instance is with its HTTP server. Between two processes of a replacement its socket stays open.
    fn tell_server(&self, name: &InstanceKey, entry: &Entry) {
        let server = entry.spec.own_server.as_ref();
        let mut report = entry.report.clone();
        if report.state == State::Stopped && self.switches.contains_key(name) {
            report.state = State::Starting;
        }
        self.servers.report(name, server, &report);
    }

    /// Forgets what belonged to an instance, once neither seat is taken.
    pub(super) fn forget(&mut self, seat: &InstanceKey) {
        if self.entries.contains_key(&seat.other_seat()) {
            return;
        }
        let name = seat.of_seat();
        self.second.remove(&name);
        self.servers.forget(&name);
        self.logs.forget(&name);
    }
}
