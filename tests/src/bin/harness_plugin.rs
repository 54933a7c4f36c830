//! A plugin for fault tests: takes events over a raw link, writes the shared history, acks, and is killed.
//!
//! Its configuration names the history and the file that holds the number of the broker's life.

use std::os::fd::FromRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use trunkline_tests::history::{Dlv, History, Record, hash};
use trunkline_tests::wire::{Delivery, Incoming, Peer, WireError};

/// Most events in flight.
const CREDIT: u64 = 16;
/// How long to listen before looking around.
const LOOK: Duration = Duration::from_secs(1);

fn main() -> Result<()> {
    let fd = std::env::var("TRUNKLINE_LINK_FD")
        .context("TRUNKLINE_LINK_FD is given")?
        .parse()?;
    // SAFETY: the broker hands this descriptor to this process for good, and nothing else here uses it.
    #[expect(unsafe_code, reason = "an inherited descriptor has no owner yet")]
    let stream = unsafe { UnixStream::from_raw_fd(fd) };
    let mut peer = Peer::over(stream)?;
    let history = initialize(&mut peer)?;
    match serve(&mut peer, &history) {
        Err(error) if error.downcast_ref::<WireError>().is_some() => Ok(()),
        other => other,
    }
}

fn initialize(peer: &mut Peer) -> Result<History> {
    let (id, params) = loop {
        match peer.next(LOOK)? {
            Some(Incoming::Other {
                id: Some(id),
                method,
                params,
            }) if method == "initialize" => {
                break (id, params);
            }
            Some(other) => bail!("expected initialize, found {other:?}"),
            None => {}
        }
    };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (plugin, instance) = (text(&params["plugin"]), text(&params["instance"]));
    let history = History::open(Path::new(&text(&params["config"]["history"])))?;
    let life = std::fs::read_to_string(text(&params["config"]["life"]))?
        .trim()
        .parse()?;
    let pid = std::process::id();
    history.record(Record::Attach {
        sub: format!("instance.{plugin}.{instance}"),
        link: link(),
        life,
        pid,
        credit: CREDIT,
    });
    let manifest = json!({"plugin": {"id": plugin, "version": "0.1.0"}});
    let result = json!({
        "manifest": manifest,
        "server_version": "harness",
        "protocol": "trunkline/1.0",
        "accepts": {"events": CREDIT, "bytes": 8 << 20},
    });
    peer.respond(id, &result)?;
    Ok(history)
}

fn serve(peer: &mut Peer, history: &History) -> Result<()> {
    let mut acks = std::collections::HashMap::new();
    loop {
        match peer.next(LOOK)? {
            Some(Incoming::Delivery(delivery)) => {
                if let Some((sub, id, event)) = received(history, delivery) {
                    let (sent_sub, sent_event) = (sub.clone(), event.clone());
                    history.record(Record::AckSent {
                        sub: sent_sub,
                        delivery: id.clone(),
                        id: sent_event,
                    });
                    acks.insert(peer.ack(&id)?, (sub, id, event));
                }
            }
            Some(Incoming::Reply { id, result }) => {
                let Some((sub, delivery, id)) = acks.remove(&id) else {
                    continue;
                };
                let stale = result.map(|answer| answer["stale"] == json!([delivery]));
                history.record(if stale.unwrap_or(true) {
                    Record::AckStale { sub, delivery, id }
                } else {
                    Record::AckOk { sub, delivery, id }
                });
            }
            Some(Incoming::Other {
                id: Some(id),
                method,
                ..
            }) => {
                let is_end = method == "shutdown";
                peer.respond(
                    id,
                    &if is_end {
                        json!({"ok": true})
                    } else {
                        json!({})
                    },
                )?;
                if method == "instance.activate" || method == "instance.resume" {
                    peer.notify("instance.status", &json!({"state": "ready"}))?;
                }
                peer.flush()?;
                if is_end {
                    return Ok(());
                }
            }
            Some(Incoming::Other { .. }) | None => {}
        }
    }
}

fn received(history: &History, delivery: Delivery) -> Option<(String, String, String)> {
    let handing = delivery.handing?;
    history.record(Record::Dlv(Dlv {
        sub: handing.subscription.clone(),
        link: link(),
        id: delivery.event_id.clone(),
        session: delivery.session,
        hash: hash(delivery.payload.as_bytes()),
        delivery: handing.id.clone(),
        attempt: handing.attempt,
        redelivered: handing.redelivered,
        replay_of: delivery.replay_of,
        seq: None,
        lease_ms: handing.lease_ms,
    }));
    Some((handing.subscription, handing.id, delivery.event_id))
}

/// A number that no link of the drivers has.
fn link() -> u64 {
    (1 << 32) + u64::from(std::process::id())
}
