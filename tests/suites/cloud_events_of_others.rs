//! Promise: "CloudEvents 1.0 both ways": what the official packages of Python and Node write in each mode we take, and
//! what we write in each mode they read, with every attribute and every byte as it was.
//!
//! A batch is made of the packages' structured events where they have no way of their own. Over HTTP events leave in
//! structured mode; batched and binary are written by the contract's crate.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use trunkline_contract::cloudevents::{BATCH, CloudEvent, STRUCTURED};
use trunkline_contract::envelope::Event;
use trunkline_tests::daemon::Setup;
use trunkline_tests::http;
use trunkline_tests::webhooks::{Oracle, Provider};

/// What a package is given, and says: events, or a message.
fn event(id: &str, attributes: Value, data: Value) -> Value {
    let mut event = json!({"attributes": {
        "specversion": "1.0", "id": id, "source": "/shop/1", "type": "agent.done",
        "time": "2026-01-02T03:04:05.500Z",
    }});
    let all = event["attributes"].as_object_mut().unwrap();
    all.extend(attributes.as_object().unwrap().clone());
    event
        .as_object_mut()
        .unwrap()
        .extend(data.as_object().unwrap().clone());
    event
}

fn events(prefix: &str) -> Vec<Value> {
    let id = |name: &str| format!("{prefix}-{name}");
    vec![
        event(
            &id("json"),
            json!({"datacontenttype": "application/json", "dataschema": "https://example.com/schema",
                "subject": "order-1", "correlationid": "c-1", "causationid": "/shop|0", "comexample": "mine",
                "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}),
            json!({"data": {"n": 1, "text": "K\u{f6}ln \u{1f600}", "list": [null, true, 1.5], "none": null}}),
        ),
        event(
            &id("more-json"),
            json!({"datacontenttype": "application/vnd.shop+json"}),
            json!({"data": {"a": {"b": []}}}),
        ),
        event(
            &id("text"),
            json!({"datacontenttype": "text/plain"}),
            json!({"data": "two\nlines, \"quoted\""}),
        ),
        event(
            &id("bytes"),
            json!({"datacontenttype": "application/octet-stream"}),
            json!({"data_base64": STANDARD.encode([0, 255, 128, 10, 13, 34])}),
        ),
    ]
}

/// Attributes as text, data as JSON or as bytes; what we add is left out.
fn plain(event: &Value) -> (BTreeMap<String, String>, Value) {
    let attributes = event["attributes"].as_object().unwrap();
    let mut attributes: BTreeMap<String, String> = attributes
        .iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(name, value)| {
            let text = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            (name.clone(), text)
        })
        .collect();
    for ours in ["sequence", "trunklinetopic", "source", "claimedsource"] {
        attributes.remove(ours);
    }
    let is_json = attributes["datacontenttype"].ends_with("json");
    let data = match (&event["data"], &event["data_base64"]) {
        (Value::String(text), _) if !is_json => STANDARD.encode(text).into(),
        (Value::Null, Value::String(bytes)) if is_json => {
            serde_json::from_slice(&STANDARD.decode(bytes).unwrap()).unwrap()
        }
        (Value::Null, bytes) => bytes.clone(),
        // One of the packages reads no media type but `application/json` itself.
        (Value::String(text), _) => serde_json::from_str(text).unwrap(),
        (data, _) => data.clone(),
    };
    (attributes, data)
}

fn check_same(expected: &[Value], found: &[Value], what: &str) {
    let [expected, found] = [expected, found].map(|all| all.iter().map(plain).collect::<Vec<_>>());
    assert_eq!(found, expected, "{what}");
}

/// A daemon with HTTP.
struct Rig {
    setup: Setup,
    address: String,
}

impl Rig {
    fn post(&self, message: &Value) {
        let bearer = format!("Bearer {}", self.setup.token());
        let mut headers = vec![("authorization", bearer.as_str())];
        let given = message["headers"].as_object().unwrap();
        headers.extend(
            given
                .iter()
                .map(|(name, value)| (&**name, value.as_str().unwrap())),
        );
        let body = STANDARD.decode(message["body"].as_str().unwrap()).unwrap();
        let provider = Provider {
            address: self.address.parse().unwrap(),
        };
        let answer = provider
            .send("POST", "/v1/publish", &headers, &body)
            .unwrap();
        let text = String::from_utf8_lossy(&answer.body);
        assert_eq!(answer.status, 200, "{message}: {text}");
    }

    /// The last events, as CloudEvents or as we have them.
    fn follow(&self, format: &str, start: u64, count: usize) -> Vec<String> {
        let path =
            format!("/v1/events?filter=agent.done&format={format}&start={start}&limit={count}");
        let answer = http::get(&self.address, &path, Some(&self.setup.token())).unwrap();
        assert_eq!(answer.status, 200);
        let data = answer
            .body
            .lines()
            .filter_map(|line| line.strip_prefix("data: "));
        data.map(str::to_owned).collect()
    }

    /// The number that the next event is above.
    fn head(&self) -> u64 {
        let mut peer = self.setup.connect("reader").unwrap();
        let status = peer.call(
            "admin.status",
            &json!({}),
            std::time::Duration::from_secs(10),
        );
        status.unwrap()["store"]["head"].as_u64().unwrap()
    }
}

fn message(headers: Value, body: &[u8]) -> Value {
    json!({"do": "read", "headers": headers, "body": STANDARD.encode(body)})
}

fn both_ways(oracle: Oracle) {
    let home = tempfile::tempdir().unwrap();
    let setup = Setup::new(home.path(), &home.path().join("data"), "");
    let _daemon = setup.start().unwrap();
    let address = http::address(&setup.data).unwrap();
    let rig = Rig { setup, address };
    for mode in ["structured", "binary", "batch"] {
        let sent = events(mode);
        let asked: Vec<Value> = if mode == "batch" {
            vec![json!({"do": "write", "mode": mode, "events": sent})]
        } else {
            let each = sent.iter();
            each.map(|one| json!({"do": "write", "mode": mode, "events": [one]}))
                .collect()
        };
        let start = rig.head() + 1;
        for message in oracle.cloud_events(&asked) {
            rig.post(&message);
        }
        let structured = rig.follow("cloudevents", start, sent.len());
        let stored: Vec<CloudEvent> = rig
            .follow("json", start, sent.len())
            .iter()
            .map(|text| {
                let told: Value = serde_json::from_str(text).unwrap();
                let event = Event::from_slice(told["event"].to_string().as_bytes()).unwrap();
                CloudEvent::of(&event, told["seq"].as_u64())
            })
            .collect();
        let batch = format!("[{}]", structured.join(","));
        let mut asked: Vec<Value> = structured
            .iter()
            .map(|one| message(json!({"content-type": STRUCTURED}), one.as_bytes()))
            .collect();
        asked.push(message(json!({"content-type": BATCH}), batch.as_bytes()));
        for event in &stored {
            let (headers, media_type, body) = event.to_binary();
            let mut headers: BTreeMap<String, String> = headers.into_iter().collect();
            headers.insert("content-type".to_owned(), media_type);
            asked.push(message(json!(headers), &body));
        }
        let answers = oracle.cloud_events(&asked);
        let read: Vec<Vec<Value>> = answers
            .iter()
            .map(|answer| answer.as_array().unwrap().clone())
            .collect();
        let count = sent.len();
        check_same(
            &sent,
            &read[..count].concat(),
            &format!("{mode} in, structured out"),
        );
        check_same(&sent, &read[count], &format!("{mode} in, batched out"));
        check_same(
            &sent,
            &read[count + 1..].concat(),
            &format!("{mode} in, binary out"),
        );
    }
}

/// Proves the promise for the package of Python.
#[test]
fn the_package_of_python_writes_what_we_read_and_reads_what_we_write() {
    both_ways(Oracle::Python);
}

/// Proves the promise for the package of Node.
#[test]
fn the_package_of_node_writes_what_we_read_and_reads_what_we_write() {
    both_ways(Oracle::Node);
}
