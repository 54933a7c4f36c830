//! Frames as cheap as they can be: events that are encoded once and patched, and a look at a frame that reads no
//! further than it must.
//!
//! Not a JSON reader: it takes what well-behaved plugins write, `jsonrpc`, `id` and `method` before the
//! parameters. What it reads is compared with a real parse now and then, see [`super::drive`].

use memchr::memmem;

/// The topic of the events that a plugin on our contract is handed.
pub const TOPIC: &str = "plugin.tool.echo.say";
/// The topic for a plugin on a foreign SDK.
pub const FOREIGN_TOPIC: &str = "plugin.outbound.echo.default";

/// Digits of a delivery id: slot and number, `0012.0000000345`.
const ID_LEN: usize = 15;

/// One event that waits to be handed over again and again; only its ids change.
pub struct Template {
    line: Vec<u8>,
    event_id_at: usize,
    delivery_at: Option<usize>,
    payload: serde_json::Value,
}

impl Template {
    /// Encodes an event for a slot, as the broker frames it.
    pub fn new(slot: usize, bytes: usize, subscription: Option<&str>) -> Self {
        let payload = payload(slot, bytes);
        let topic = if subscription.is_some() {
            TOPIC
        } else {
            FOREIGN_TOPIC
        };
        let mut line = format!(
            "{{\"jsonrpc\":\"2.0\",\"method\":\"broker.event\",\"params\":{{\"topic\":\"{topic}\",\"event\":\
             {{\"id\":\"01920000-0000-7000-"
        );
        let event_id_at = line.len();
        line.push_str(&format!(
            "8000-000000000000\",\"timestamp\":\"2026-01-01T00:00:00.000Z\",\"topic\":\"{topic}\",\
             \"source\":\"client:bench\",\"session_id\":\"conversation-{slot:04}\",\"payload\":{payload}}}"
        ));
        let mut delivery_at = None;
        if let Some(subscription) = subscription {
            line.push_str(",\"delivery\":{\"id\":\"");
            delivery_at = Some(line.len());
            line.push_str(&format!(
                "{slot:04}.0000000000\",\"attempt\":1,\"redelivered\":false,\"lease_ms\":30000,\
                 \"subscription\":\"{subscription}\"}}"
            ));
        }
        line.push_str("}}\n");
        Self {
            line: line.into_bytes(),
            event_id_at,
            delivery_at,
            payload,
        }
    }

    /// Appends the event's frame with the ids of its `number`.
    pub fn write(&mut self, number: u64, out: &mut Vec<u8>) {
        // `8000-` and the first two digits stay, the last ten count.
        digits(&mut self.line[self.event_id_at + 7..], number);
        if let Some(at) = self.delivery_at {
            digits(&mut self.line[at + 5..], number);
        }
        out.extend_from_slice(&self.line);
    }

    /// Bytes of its frame.
    pub fn bytes(&self) -> usize {
        self.line.len()
    }

    /// Says that its handling ends with the answer: there is no delivery to settle.
    pub fn is_unsettled(&self) -> bool {
        self.delivery_at.is_none()
    }

    /// What must come back.
    pub fn payload(&self) -> &serde_json::Value {
        &self.payload
    }
}

/// Writes ten decimal digits.
fn digits(into: &mut [u8], mut number: u64) {
    for place in into[..10].iter_mut().rev() {
        *place = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// A message as chat platforms send it, grown by parts until it is about `bytes` long.
fn payload(slot: usize, bytes: usize) -> serde_json::Value {
    let text = "the quick brown fox jumps over the lazy dog";
    let mut payload = serde_json::json!({
        "text": text,
        "conversation": { "id": format!("conversation-{slot:04}"), "kind": "group", "thread_id": null },
        "sender": { "id": format!("u{slot}"), "name": "Ada Lovelace", "is_bot": false },
        "sent_at": 1_767_225_600_123_u64,
        "parts": [],
    });
    let mut length = payload.to_string().len();
    for number in 0.. {
        let part = serde_json::json!({ "kind": "text", "n": number, "at": 0.5 + f64::from(number), "text": text });
        length += part.to_string().len() + 1;
        if length > bytes {
            break;
        }
        let parts = payload["parts"].as_array_mut().expect("made above");
        parts.push(part);
    }
    payload
}

/// What a frame is, before its parameters.
#[derive(Debug, PartialEq, Eq)]
pub struct Head<'a> {
    /// The text of its id.
    pub id: Option<&'a [u8]>,
    /// The method, without quotes; empty for a response.
    pub method: &'a [u8],
}

/// Looks at the members before the parameters. None if this is no frame that we can read.
pub fn head(line: &[u8]) -> Option<Head<'_>> {
    let mut found = Head {
        id: None,
        method: b"",
    };
    let mut at = skip(line, line.iter().position(|byte| *byte == b'{')? + 1);
    while line.get(at) == Some(&b'"') {
        let key_end = at + 1 + memchr::memchr(b'"', &line[at + 1..])?;
        let key = &line[at + 1..key_end];
        let value_at = skip(line, key_end + 1);
        let value_end = match line.get(value_at)? {
            b'"' => value_at + 2 + memchr::memchr(b'"', &line[value_at + 1..])?,
            b'{' | b'[' => return Some(found),
            _ => value_at + memchr::memchr2(b',', b'}', &line[value_at..])?,
        };
        let value = &line[value_at..value_end];
        match key {
            b"id" => found.id = Some(value.trim_ascii_end()),
            b"method" => found.method = value.get(1..value.len() - 1)?,
            _ => {}
        }
        at = skip(line, value_end);
    }
    Some(found)
}

/// Skips what stands between members.
fn skip(line: &[u8], mut at: usize) -> usize {
    while matches!(line.get(at), Some(b' ' | b',' | b':' | b'\t')) {
        at += 1;
    }
    at
}

/// A delivery as its id names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeliveryId {
    /// Which template it was.
    pub slot: usize,
    /// Its number.
    pub number: u64,
}

/// Gives the deliveries in the list of this member to `each`, looking from the frame's end.
/// Gives how many there were.
pub fn deliveries(line: &[u8], member: &str, mut each: impl FnMut(DeliveryId)) -> Option<usize> {
    let at = memmem::rfind(line, member.as_bytes())? + member.len();
    let open = at + memchr::memchr(b'[', &line[at..])? + 1;
    let close = open + memchr::memchr(b']', &line[open..])?;
    let mut rest = &line[open..close];
    let mut count = 0;
    while let Some(quote) = memchr::memchr(b'"', rest) {
        let id = rest.get(quote + 1..quote + 1 + ID_LEN)?;
        each(DeliveryId {
            slot: number(&id[..4])? as usize,
            number: number(&id[5..])?,
        });
        count += 1;
        rest = rest.get(quote + 2 + ID_LEN..)?;
    }
    Some(count)
}

fn number(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_of_a_frame_is_found_with_and_without_blanks() {
        let frames = [
            "{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"broker.commit\",\"params\":{\"id\":1}}",
            "{\"jsonrpc\": \"2.0\", \"id\": 7, \"method\": \"broker.commit\", \"params\": {\"id\": 1}}",
        ];
        for frame in frames {
            let head = head(frame.as_bytes()).expect("a frame");
            assert_eq!(head.id, Some(&b"7"[..]));
            assert_eq!(head.method, b"broker.commit");
        }
        let response = head(b"{\"jsonrpc\":\"2.0\",\"id\":\"a\",\"result\":{}}").expect("a frame");
        assert_eq!(
            (response.id, response.method),
            (Some(&b"\"a\""[..]), &b""[..])
        );
    }

    #[test]
    fn an_event_is_legal_json_and_its_delivery_is_read_back() {
        let mut template = Template::new(12, 300, Some("instance.echo.default.work"));
        let mut line = Vec::new();
        template.write(345, &mut line);
        let frame: serde_json::Value = serde_json::from_slice(&line).expect("JSON");
        let id = frame["params"]["delivery"]["id"].as_str().expect("an id");
        assert_eq!(
            frame["params"]["event"]["id"].as_str().map(str::len),
            Some(36)
        );
        assert_eq!(frame["params"]["event"]["payload"], *template.payload());
        let ack = format!("{{\"params\":{{\"deliveries\": [\"{id}\", \"{id}\"]}}}}");
        let mut found = Vec::new();
        let count = deliveries(ack.as_bytes(), "\"deliveries\"", |id| found.push(id));
        let expected = DeliveryId {
            slot: 12,
            number: 345,
        };
        assert_eq!((count, found), (Some(2), vec![expected, expected]));
    }
}
