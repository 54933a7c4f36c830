//! `/v1/tools`: calls, streams and cancelling over HTTP.

use std::io::Write;

use serde_json::{Value, json};

use crate::operator::{self, Home};
use crate::web::Web;
use crate::{AGENT, JSON, config};

const TOOLS: &str = r#"
[[tools]]
name = "add"
description = "Adds."
input_schema = { type = "object", required = ["a", "b"], properties = { a = { type = "integer" }, b = { type = "integer" } } }

[[tools]]
name = "count"
description = "Counts."
streaming = true
output_schema = { type = "integer" }

[[tools]]
name = "hang"
description = "Never answers."
"#;

const TOOL_CALLS: &str = "    elif method == 'tool.call':
        tool, call = params['tool'].split('.')[-1], params['call_id']
        if tool == 'add':
            a = params['arguments']
            send(id=frame['id'], result={'output': a['a'] + a['b']})
        elif tool == 'count':
            send(method='tool.progress', params={'call_id': call, 'message': 'counting'})
            for n in range(3):
                send(method='tool.chunk', params={'call_id': call, 'seq': n, 'data': n})
            send(id=frame['id'], result={'chunks': 3})
        else:
            print('hangs', flush=True)
    elif method == 'tool.cancel':
        print('cancelled', flush=True)
";

#[test]
fn tools_are_called_streamed_and_cancelled() {
    let home = Home::new(&format!("{}\n[[plugins.pay]]\n", config("")));
    home.write("agent", AGENT);
    let program = operator::plugin("pay", "", "");
    let program = program.replace(
        "    elif method == 'broker.event':",
        &format!("{TOOL_CALLS}    elif method == 'broker.event':"),
    );
    home.plugin("pay", &program);
    let manifest = home.path().join("plugins/pay/plugin.toml");
    let text = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(&manifest, format!("{text}\n{TOOLS}")).unwrap();
    let up = home.up();
    let web = Web::of(&home);
    up.wait_for("pay/default   ready");
    let list = web.get(AGENT, "/v1/tools").json();
    let names: Vec<&Value> = list["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| &tool["name"])
        .collect();
    assert_eq!(names, ["pay.add", "pay.count", "pay.hang"]);
    let added = web.post(
        AGENT,
        "/v1/tools/pay.add",
        &json!({"arguments": {"a": 1, "b": 2}}),
    );
    assert_eq!(
        (added.status, &added.json()["output"]),
        (200, &json!(3)),
        "{added:?}"
    );
    let wrong = web.post(
        AGENT,
        "/v1/tools/pay.add",
        &json!({"arguments": {"a": "x"}}),
    );
    assert_eq!(
        (wrong.status, wrong.code().as_str()),
        (400, "invalid_arguments")
    );
    let none = web.post(AGENT, "/v1/tools/pay.none", &json!({}));
    assert_eq!((none.status, none.code().as_str()), (404, "tool_not_found"));
    let whole = web.post(AGENT, "/v1/tools/pay.count", &json!({}));
    assert_eq!(whole.json()["output"], json!([0, 1, 2]), "{whole:?}");
    let bearer = format!("Bearer {AGENT}");
    let headers = [
        ("Authorization", bearer.as_str()),
        ("Content-Type", JSON),
        ("Accept", "text/event-stream"),
    ];
    let mut stream = web.follow("POST /v1/tools/pay.count", &headers, "{}");
    let mut chunks = Vec::new();
    let last = loop {
        let event = stream.next().unwrap();
        match event.name.as_str() {
            "chunk" => chunks.push(event.data["data"].clone()),
            "progress" => assert_eq!(event.data["message"], "counting"),
            _ => break event,
        }
    };
    assert_eq!(
        (chunks, last.name.as_str()),
        (vec![json!(0), json!(1), json!(2)], "result")
    );
    assert_eq!(last.data["chunks"], 3);
    let logs = || home.run(&["logs", "pay"]).stdout;
    // Whoever closes the connection cancels, with or without a stream.
    for accept in ["application/json", "text/event-stream"] {
        let before = (
            logs().matches("hangs").count(),
            logs().matches("cancelled").count(),
        );
        let mut connection = web.dial();
        let head = format!(
            "POST /v1/tools/pay.hang HTTP/1.1\r\nHost: localhost\r\nAuthorization: {bearer}\r\nContent-Type: \
             {JSON}\r\nAccept: {accept}\r\nContent-Length: 2\r\n\r\n{{}}"
        );
        connection.write_all(head.as_bytes()).unwrap();
        home.until(&["logs", "pay"], |ran| {
            ran.stdout.matches("hangs").count() > before.0
        });
        drop(connection);
        home.until(&["logs", "pay"], |ran| {
            ran.stdout.matches("cancelled").count() > before.1
        });
    }
    assert_eq!(up.stop(), 0);
}
