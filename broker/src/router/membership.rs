//! Links that serve subscriptions, and how much each may hold.

use super::limits::{CREDIT_BYTES, CREDIT_EVENTS, CREDIT_EVENTS_MAX};
use super::subscription::SubId;

/// Names one link for as long as the daemon lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkId(pub u32);

impl LinkId {
    /// No link: holds a lease that is being settled after its link stopped serving the subscription.
    pub(crate) const NONE: Self = Self(0);
}

/// Credit: how many events and bytes may be in flight at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Events.
    pub events: usize,
    /// Bytes of envelopes. One event may always be in flight, however large.
    pub bytes: usize,
}

impl Default for Window {
    fn default() -> Self {
        Self {
            events: CREDIT_EVENTS,
            bytes: CREDIT_BYTES,
        }
    }
}

impl Window {
    /// No limit of its own (a client link: its subscriptions have the credit).
    pub const UNLIMITED: Self = Self {
        events: usize::MAX,
        bytes: usize::MAX,
    };

    /// Cuts an asked-for window to what one member may hold.
    pub fn bounded(self) -> Self {
        Self {
            events: self.events.min(CREDIT_EVENTS_MAX),
            bytes: self.bytes.min(64 << 20),
        }
    }
}

/// Why a link's leases came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// The link ended and nothing says that the peer died of an event.
    Link,
    /// The peer was told to stop, or the broker drains.
    Drain,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct InFlight {
    pub(crate) events: usize,
    pub(crate) bytes: usize,
}

impl InFlight {
    pub(crate) fn add(&mut self, bytes: usize) {
        self.events += 1;
        self.bytes += bytes;
    }

    pub(crate) fn sub(&mut self, bytes: usize) {
        debug_assert!(self.events > 0, "more settled than leased");
        self.events = self.events.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    pub(crate) fn fits(&self, window: Window, bytes: usize) -> bool {
        self.events < window.events
            && (self.events == 0 || self.bytes.saturating_add(bytes) <= window.bytes)
    }
}

/// A consumer of a subscription.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Member {
    pub(crate) link: LinkId,
    pub(crate) window: Window,
    pub(crate) in_flight: InFlight,
}

/// A link as the router sees it.
#[derive(Debug, Clone)]
pub(crate) struct LinkState {
    pub(crate) window: Window,
    pub(crate) in_flight: InFlight,
    /// Deliveries are wanted: ready, not paused, not draining.
    pub(crate) serving: bool,
    /// Less than the limit is unwritten.
    pub(crate) writable: bool,
    pub(crate) subs: Vec<SubId>,
    /// Suspects of all its subscriptions: while there are any, only they are leased, one at a time.
    pub(crate) suspects: usize,
    /// A subscription found no room in this link's window (or had to wait until it held nothing).
    pub(crate) starved: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_event_larger_than_the_byte_window_still_fits_alone() {
        let window = Window {
            events: 2,
            bytes: 10,
        };
        let mut held = InFlight::default();
        assert!(held.fits(window, 100));
        held.add(100);
        assert!(!held.fits(window, 1));
        held.sub(100);
        held.add(4);
        assert!(held.fits(window, 6));
        assert!(!held.fits(window, 7));
    }
}
