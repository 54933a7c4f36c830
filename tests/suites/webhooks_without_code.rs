//! "A webhook that the manifest says everything about needs no code": its requests are parts of a message, or late
//! receipts, under a real daemon. And what the plugin sent is known as its own when it comes back, whoever died in
//! between.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use trunkline::{Client, Context, Json, On, Start};
use trunkline_tests::daemon::{Daemon, Setup};
use trunkline_tests::driver::CLIENT;
use trunkline_tests::http;
use trunkline_tests::supervised::install;
use trunkline_tests::tool::profile_dir;
use trunkline_tests::webhooks::{SECRET, signed};

const PATIENCE: Duration = Duration::from_secs(30);
/// How often is looked whether there is a dead letter.
const LOOKS_MAX: u32 = 5_000;
const INBOUND: &str = "plugin.inbound.metered.main";
const DELIVERY: &str = "plugin.delivery.metered.main";

fn start(home: &Path) -> (Setup, Daemon) {
    let program = profile_dir().unwrap().join("metered_plugin");
    let command = [program.display().to_string(), "--sources".to_owned()];
    let config = install(home, "metered", &command, &[]);
    let manifest = home.join("plugins/metered/plugin.toml");
    let text = std::fs::read_to_string(&manifest).unwrap();
    let hook = |more: &str| {
        format!(
            "[[webhooks]]\nkind = \"metered\"\nverify = \"github\"\nsecret = \"{{config.key}}\"\n{more}\n"
        )
    };
    let hooks = [
        hook(
            "part = { session = \"/from\", group = \"/ref\", seq = \"/n\", total = \"/of\", data = \"/text\" }",
        ),
        hook(
            "name = \"status\"\nreceipt = { provider_id = \"/Sid\", state = \"/Status\", states = { undelivered = \"failed\" } }",
        ),
        hook("name = \"inbox\"\nsession = \"/conversation/id\""),
        "[config.key]\ntype = \"string\"\nsecret = true\n".to_owned(),
    ];
    std::fs::write(&manifest, format!("{text}\n{}", hooks.concat())).unwrap();
    let config = config + "key_env = \"WEBHOOK_KEY\"\n";
    let mut setup = Setup::new(home, &home.join("data"), &config);
    setup.variables.push(("WEBHOOK_KEY".into(), SECRET.into()));
    let daemon = setup.start().unwrap_or_else(|error| panic!("{error}"));
    (setup, daemon)
}

/// Posts what the provider says, signed; a text is a form.
fn post(setup: &Setup, path: &str, id: &str, body: &Value) {
    let (media, body) = match body {
        Value::String(form) => ("application/x-www-form-urlencoded", form.clone()),
        body => ("application/json", body.to_string()),
    };
    let signed = signed(id, body.as_bytes());
    let mut headers = vec![("content-type", media)];
    headers.extend(signed.iter().map(|(name, value)| (&**name, &**value)));
    let address = http::address(&setup.data).unwrap();
    let answer = http::send(&address, "POST", path, &headers, &body).unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
}

type Seen = mpsc::Receiver<(String, Option<String>, Value)>;

/// Sees every event of the plugin, from the first on.
async fn watcher(setup: &Setup, name: &str) -> (Client, Seen) {
    let (tell, seen) = mpsc::channel(64);
    let record = move |payload: Json, ctx: Context| {
        let tell = tell.clone();
        async move {
            let event = ctx.event()?;
            let entry = (event.topic.clone(), event.correlation_id.clone(), payload);
            tell.send(entry).await.ok();
            Ok::<_, trunkline::Failure>(())
        }
    };
    let on = On::new("plugin.>", record)
        .name("watch")
        .start(Start::Earliest);
    let client = Client::new(name)
        .socket(setup.socket())
        .token(setup.token());
    (client.on(on).connect().await.unwrap(), seen)
}

/// The next event on a topic.
async fn next(seen: &mut Seen, wanted: &str) -> (Option<String>, Value) {
    loop {
        let found = tokio::time::timeout(PATIENCE, seen.recv()).await;
        let found = found.unwrap_or_else(|_| panic!("nothing comes on {wanted}"));
        let (topic, correlation, payload) = found.unwrap();
        if topic == wanted {
            return (correlation, payload);
        }
    }
}

/// The process of the instance.
fn pid(setup: &Setup) -> Pid {
    let mut peer = setup.connect(CLIENT).unwrap();
    let status = peer.call("admin.status", &json!({}), PATIENCE).unwrap();
    let pid = status["instances"][0]["pid"].as_i64().unwrap();
    Pid::from_raw(i32::try_from(pid).unwrap()).unwrap()
}

/// Proves P6a and P7a, declared: requests become one message, and a receipt of a message that was sent, without a
/// handler; what does not fit is a dead letter that says why.
#[tokio::test(flavor = "multi_thread")]
async fn requests_are_parts_and_receipts_without_a_handler() {
    let home = tempfile::tempdir().unwrap();
    let (setup, _daemon) = start(home.path());
    let (client, mut seen) = watcher(&setup, "watcher").await;
    for (id, n, text) in [("1", 2, "lo"), ("2", 1, "hel"), ("2", 1, "hel")] {
        let sms = json!({ "from": "+49", "ref": "r", "n": n, "of": 2, "text": text });
        post(&setup, "/hooks/metered/main", id, &sms);
    }
    let (_, message) = next(&mut seen, INBOUND).await;
    assert_eq!(message["text"], "hello");
    assert_eq!(message["conversation"]["id"], "+49");

    let sending = client
        .send("metered", json!({ "do": "nothing" }))
        .to("+49")
        .await
        .unwrap();
    assert_eq!(next(&mut seen, DELIVERY).await.1["state"], "sent");
    for (id, form) in [
        ("3", "Sid=P1&Status=sending"),
        ("4", "Sid=P1&Status=delivered"),
        ("5", "Sid=P1&Status=undelivered"),
    ] {
        post(&setup, "/hooks/metered/main/status", id, &json!(form));
    }
    for state in ["delivered", "failed"] {
        let (correlation, receipt) = next(&mut seen, DELIVERY).await;
        assert_eq!(receipt, json!({ "state": state, "provider_id": "P1" }));
        assert_eq!(correlation.as_deref(), Some(sending.id()));
    }

    post(
        &setup,
        "/hooks/metered/main/status",
        "6",
        &json!("Status=read"),
    );
    let mut peer = setup.connect(CLIENT).unwrap();
    let mut looks = (0..LOOKS_MAX).map(|_| {
        let listed = peer.call("admin.dlq.list", &json!({}), PATIENCE).unwrap();
        listed["letters"].to_string()
    });
    let letters = looks.find(|letters| letters.len() > 2).unwrap();
    assert!(letters.contains("at /Sid, found nothing"), "{letters}");

    // Proves O1, delivery by state, under the daemon.
    let address = http::address(&setup.data).unwrap();
    let metrics = http::get(&address, "/metrics", Some(&setup.token())).unwrap();
    let expected = BTreeMap::from([("sent", 1), ("delivered", 1), ("failed", 1), ("read", 0)]);
    for (state, count) in expected {
        let sample = format!(
            "trunkline_receipts_total{{instance=\"main\",kind=\"metered\",plugin=\"metered\",state=\"{state}\"}} {count}\n"
        );
        assert!(metrics.body.contains(&sample), "no {sample}");
    }
    client.close().await;
}

/// Proves H5: what was sent is known as its own when it comes back, although plugin and daemon were killed in between.
#[tokio::test(flavor = "multi_thread")]
async fn an_echo_is_known_whoever_was_killed() {
    let home = tempfile::tempdir().unwrap();
    let (setup, daemon) = start(home.path());
    let (client, mut seen) = watcher(&setup, "watcher").await;
    client
        .send("metered", json!({ "do": "nothing" }))
        .to("+49")
        .await
        .unwrap();
    assert_eq!(next(&mut seen, DELIVERY).await.1["state"], "sent");
    let inbox = "/hooks/metered/main/inbox";
    let message = |id: &str| json!({ "id": id, "text": "x", "conversation": { "id": "+49" } });

    kill_process(pid(&setup), Signal::KILL).unwrap();
    post(&setup, inbox, "1", &message("P1"));
    post(&setup, inbox, "2", &message("IN1"));
    assert_eq!(next(&mut seen, INBOUND).await.1["id"], "IN1");

    client.close().await;
    daemon.kill();
    let _daemon = setup.start().unwrap_or_else(|error| panic!("{error}"));
    let (client, mut seen) = watcher(&setup, "later").await;
    post(&setup, inbox, "3", &message("P1"));
    post(&setup, inbox, "4", &message("IN2"));
    for id in ["IN1", "IN2"] {
        assert_eq!(next(&mut seen, INBOUND).await.1["id"], id);
    }
    client.close().await;
}
