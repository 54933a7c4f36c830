//! "One trace id from the webhook to the delivery receipt": a provider posts, a plugin makes a message of it, an agent
//! asks a tool and answers, and the plugin sends the answer. Every hop is under a real daemon.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc;
use trunkline::{Client, Context, InboundMessage, Json, On, Reply, Result, Start};
use trunkline_tests::daemon::{Daemon, Setup};
use trunkline_tests::http;
use trunkline_tests::supervised::install;
use trunkline_tests::tool::profile_dir;

const PATIENCE: Duration = Duration::from_secs(30);
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
/// How many events one webhook leads to: hook, inbound, outbound, receipt.
const HOPS: [&str; 4] = [
    "plugin.hook.metered.main",
    "plugin.inbound.metered.main",
    "plugin.outbound.metered.main",
    "plugin.delivery.metered.main",
];

fn start(home: &Path) -> (Setup, Daemon) {
    let program = profile_dir().unwrap().join("metered_plugin");
    let command = [program.display().to_string(), "--hooks".to_owned()];
    let config = install(home, "metered", &command, &[]);
    let manifest = home.join("plugins/metered/plugin.toml");
    let text = std::fs::read_to_string(&manifest).unwrap();
    let hook = "\n[config.hook_secret]\ntype = \"string\"\nsecret = true\nrequired = true\n\
                [[webhooks]]\nkind = \"metered\"\nverify = \"telegram\"\nsecret = \"{config.hook_secret}\"\n";
    std::fs::write(&manifest, text + hook).unwrap();
    std::fs::write(home.join("hook-secret"), "a-secret-of-the-provider").unwrap();
    let config = config + "hook_secret = { file = \"hook-secret\" }\n";
    let setup = Setup::new(home, &home.join("data"), &config);
    let daemon = setup.start().unwrap_or_else(|error| panic!("{error}"));
    (setup, daemon)
}

/// Asks the tool which trace it sees, and answers with it.
async fn answer(_message: InboundMessage, ctx: Context) -> Result<Reply> {
    let seen: Json = ctx.call_tool("metered.lookup", json!({})).await?;
    Ok(Reply::new(
        json!({ "do": "nothing", "text": seen["traceparent"] }),
    ))
}

async fn client(setup: &Setup, name: &str, on: On) -> Client {
    let client = Client::new(name)
        .socket(setup.socket())
        .token(setup.token());
    client.on(on).connect().await.unwrap()
}

/// Posts as the provider does, until the instance is there to take it.
fn post(setup: &Setup, trace: Option<&str>, number: u32) {
    let address = http::address(&setup.data).unwrap();
    let mut headers = vec![
        ("content-type", "application/json"),
        (
            "x-telegram-bot-api-secret-token",
            "a-secret-of-the-provider",
        ),
    ];
    headers.extend(trace.map(|trace| ("traceparent", trace)));
    let body = json!({ "update_id": number }).to_string();
    let answer = http::send(&address, "POST", "/hooks/metered", &headers, &body).unwrap();
    assert!((200..300).contains(&answer.status), "{answer:?}");
}

/// The traceparent of each hop of one webhook, and what the tool saw.
async fn hops(
    seen: &mut mpsc::Receiver<(String, Option<String>, Value)>,
) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    while found.len() < HOPS.len() + 1 {
        let next = tokio::time::timeout(PATIENCE, seen.recv()).await;
        let next = next.unwrap_or_else(|_| panic!("a hop is missing, found {found:?}"));
        let (topic, trace, payload) = next.unwrap();
        if topic == HOPS[2] {
            found.insert(
                "tool".to_owned(),
                payload["text"].as_str().unwrap().to_owned(),
            );
        }
        // A receipt comes for each state.
        if HOPS.contains(&topic.as_str()) {
            found.entry(topic).or_insert_with(|| trace.unwrap());
        }
    }
    found
}

/// Proves O4: the trace of a webhook's request goes with its event, what handlers make of it, the tool they call, and
/// the receipt; each event is a span of its own. A request without one begins a trace.
#[tokio::test(flavor = "multi_thread")]
async fn one_trace_leads_from_the_webhook_to_the_receipt() {
    let home = tempfile::tempdir().unwrap();
    let (setup, _daemon) = start(home.path());
    let (tell, mut seen) = mpsc::channel(64);
    let record = move |payload: Json, ctx: Context| {
        let tell = tell.clone();
        async move {
            let event = ctx.event()?;
            let entry = (event.topic.clone(), event.traceparent.clone(), payload);
            tell.send(entry).await.ok();
            Ok::<_, trunkline::Failure>(())
        }
    };
    let watch = On::new("plugin.>", record)
        .name("watch")
        .start(Start::Earliest);
    let watcher = client(&setup, "watcher", watch).await;
    let on = On::new("plugin.inbound.>", answer)
        .name("answer")
        .start(Start::Earliest);
    let agent = client(&setup, "agent", on).await;

    let sent = format!("00-{TRACE}-00f067aa0ba902b7-01");
    post(&setup, Some(&sent), 1);
    let found = hops(&mut seen).await;
    assert_eq!(found[HOPS[0]], sent);
    for (hop, trace) in &found {
        assert!(
            trace.starts_with(&format!("00-{TRACE}-")) && trace.ends_with("-01"),
            "{hop}: {trace}"
        );
    }
    let mut spans: Vec<&String> = HOPS.iter().map(|hop| &found[*hop]).collect();
    spans.sort();
    spans.dedup();
    assert_eq!(
        spans.len(),
        HOPS.len(),
        "each event is a span of its own: {found:?}"
    );

    post(&setup, None, 2);
    let found = hops(&mut seen).await;
    let trace = &found[HOPS[0]][3..35];
    assert_ne!(trace, TRACE);
    assert!(
        found.values().all(|other| &other[3..35] == trace),
        "{found:?}"
    );

    // Who was called how often is counted as well.
    let address = http::address(&setup.data).unwrap();
    let metrics = http::get(&address, "/metrics", Some(&setup.token())).unwrap();
    for sample in [
        "trunkline_tool_calls_total{plugin=\"metered\",result=\"ok\",tool=\"lookup\"} 2\n",
        "trunkline_webhooks_total{instance=\"main\",plugin=\"metered\",status=\"200\"} 2\n",
    ] {
        assert!(
            metrics.body.contains(sample),
            "no {sample} in {}",
            metrics.body
        );
    }
    agent.close().await;
    watcher.close().await;
}
