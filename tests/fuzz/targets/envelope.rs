//! Envelopes: what is accepted is written back as one JSON object that reads the same again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use trunkline_contract::envelope::{Draft, Event, Stamp};
use trunkline_contract::frame::scan;

fuzz_target!(|text: &str| {
    // Line ends cannot stand in a frame; in a raw value they become blanks when it is written.
    if text.contains(['\n', '\r']) || scan(text.as_bytes()).is_err() {
        return;
    }
    let Ok(draft) = Draft::parse(text) else { return };
    let stamp = Stamp {
        id: draft.id.as_deref().unwrap_or("made-up"),
        timestamp: draft.timestamp.as_deref().unwrap_or("2026-01-01T00:00:00Z"),
        topic: "agent.fuzz",
        source: "client:fuzz",
        metadata: &[],
    };
    let envelope = draft.envelope(&stamp);
    let again = std::str::from_utf8(&envelope).expect("an envelope is text");
    let second = Draft::parse(again).expect("what was written can be read");
    assert_eq!(second.payload, draft.payload);
    assert_eq!(second.session_id, draft.session_id);
    assert_eq!(second.body("agent.fuzz"), draft.body("agent.fuzz"));
    Event::from_slice(&envelope).expect("an envelope is an event");
});
