//! Identifiers: which texts are names, and how event ids are made.
//!
//! Not here: uniqueness, lookup, or where time and randomness come from (the caller passes both).
//! Names are ASCII, so that they are safe in topics, file names, MCP tool names and shells.

use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::limits::EVENT_ID_BYTES_MAX;

/// Namespace of the UUIDv5 forms that a peer which insists on UUIDs gets.
const LEGACY_NAMESPACE: Uuid = Uuid::from_u128(0x6f1d_3c52_8a3e_5b7c_9b0e_5d2f_41c7_a6d4);

/// Says whether `text` is a plugin id: `[a-z][a-z0-9_-]{0,29}`, no `__`, no final `_`, not `reply`.
///
/// ```
/// use trunkline_contract::id::is_plugin_id;
/// assert!(is_plugin_id("telegram"));
/// assert!(!is_plugin_id("9gag") && !is_plugin_id("a__b") && !is_plugin_id("reply"));
/// ```
pub fn is_plugin_id(text: &str) -> bool {
    is_segment_name(text, 30) && text.as_bytes()[0].is_ascii_lowercase()
}

/// Says whether `text` is a tool name: `[a-z][a-z0-9_-]{0,31}`, no `__`, no final `_`, not `reply`.
///
/// ```
/// assert!(trunkline_contract::id::is_tool_name("send_invoice"));
/// ```
pub fn is_tool_name(text: &str) -> bool {
    is_segment_name(text, 32) && text.as_bytes()[0].is_ascii_lowercase()
}

/// Says whether `text` names an instance or a kind: `[a-z0-9][a-z0-9_-]{0,63}`, no `__`, no final
/// `_`, not `reply`.
///
/// ```
/// assert!(trunkline_contract::id::is_instance_name("support-2"));
/// ```
pub fn is_instance_name(text: &str) -> bool {
    is_segment_name(text, 64)
}

/// Says whether `text` names a client, subscription, group or lock: `[a-z0-9][a-z0-9_.-]{0,63}`.
///
/// ```
/// assert!(trunkline_contract::id::is_client_name("agent.main"));
/// ```
pub fn is_client_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    (1..=64).contains(&bytes.len())
        && (bytes[0].is_ascii_lowercase() || bytes[0].is_ascii_digit())
        && bytes.iter().all(|&b| is_name_byte(b) || b == b'.')
}

/// Says whether `text` may be an event id: 1 to 128 bytes, no control characters.
///
/// ```
/// assert!(trunkline_contract::id::is_event_id("update:917"));
/// ```
pub fn is_event_id(text: &str) -> bool {
    // Without an early end the compiler looks at many bytes at once.
    let controls = text.bytes().fold(0, |found: u8, b| {
        found | u8::from(b < 0x20) | u8::from(b == 0x7f)
    });
    (1..=EVENT_ID_BYTES_MAX).contains(&text.len()) && controls == 0
}

fn is_segment_name(text: &str, bytes_max: usize) -> bool {
    let bytes = text.as_bytes();
    (1..=bytes_max).contains(&bytes.len())
        && (bytes[0].is_ascii_lowercase() || bytes[0].is_ascii_digit())
        && bytes.iter().all(|&b| is_name_byte(b))
        && !bytes.ends_with(b"_")
        && !text.contains("__")
        && text != "reply"
}

fn is_name_byte(b: u8) -> bool {
    b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-'
}

/// Makes a UUIDv7 of the wall clock in ms since the epoch and ten random bytes.
///
/// ```
/// let id = trunkline_contract::id::uuid_v7(0x0192_0000_0000, [7; 10]);
/// assert!(id.starts_with("01920000-0000-7"));
/// ```
pub fn uuid_v7(now_ms: u64, random: [u8; 10]) -> String {
    uuid::Builder::from_unix_timestamp_millis(now_ms, &random)
        .into_uuid()
        .to_string()
}

/// Derives an id from the event being handled, so that handling it again says the same id again.
///
/// # Arguments
/// `parent_id`: id of the event being handled. `content`: what the new event says. `count`: how
/// many equal contents this handling produced before.
///
/// The result is a UUIDv8 that sorts beside its parent: it starts with the parent's 48-bit time
/// where the parent is a UUIDv7 or v8, else with hash bytes.
///
/// ```
/// use trunkline_contract::id::derived;
/// let parent = "01920000-0000-7000-8000-000000000000";
/// assert_eq!(derived(parent, b"x", 0), derived(parent, b"x", 0));
/// assert_ne!(derived(parent, b"x", 0), derived(parent, b"x", 1));
/// assert!(derived(parent, b"x", 0).starts_with("01920000-0000-8"));
/// ```
pub fn derived(parent_id: &str, content: &[u8], count: u32) -> String {
    let mut hash = Sha256::new();
    for part in [parent_id.as_bytes(), content] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.update(count.to_be_bytes());
    let digest = hash.finalize();
    let mut bytes = [0_u8; 16];
    bytes.copy_from_slice(&digest[..16]);
    if let Ok(parent) = Uuid::try_parse(parent_id)
        && matches!(parent.get_version_num(), 7 | 8)
    {
        bytes[..6].copy_from_slice(&parent.as_bytes()[..6]);
    }
    Uuid::new_v8(bytes).to_string()
}

/// Gives the UUID form of an id or session id for a peer that accepts only UUIDs.
///
/// A UUID in its canonical form (hyphens, lower case) is given back as it is; everything else
/// becomes a UUIDv5, the same each time. Other spellings of a UUID count as "everything else",
/// because such a peer would write them back in canonical form.
///
/// ```
/// use trunkline_contract::id::legacy_uuid;
/// let id = "01920000-0000-7000-8000-000000000000";
/// assert_eq!(legacy_uuid(id), id);
/// assert_eq!(legacy_uuid("42"), legacy_uuid("42"));
/// assert_eq!(legacy_uuid("42").len(), 36);
/// ```
pub fn legacy_uuid(text: &str) -> String {
    match Uuid::try_parse(text) {
        Ok(uuid) if uuid.to_string() == text => text.to_owned(),
        _ => Uuid::new_v5(&LEGACY_NAMESPACE, text.as_bytes()).to_string(),
    }
}
