//! The boundary to other languages, driven from Rust: what a binding does, without a language.
//!
//! The core wakes a loop; the loop takes what waits, runs its handlers, and gives back what they
//! decided in one piece.

use std::sync::mpsc::sync_channel;
use std::time::Duration;

use trunkline::host::{Completion, Decision, Host, HostMsg};
use trunkline::{Bytes, Error};

const SPEC: &str =
    r#"{"id":"echo","on":[{"handler":0,"name":"work","filters":["plugin.tool.echo.>"]}]}"#;

fn main() -> Result<(), Error> {
    let (sender, woken) = sync_channel(1);
    let host = Host::start(Box::new(move || sender.try_send(()).unwrap_or_default()))?;
    let plugin = host.tell(0, "plugin", Bytes::from_json(SPEC)?)?.json()?;
    host.call(1, plugin, "serve", Bytes::default());
    while woken.recv().is_ok() {
        let mut done = Vec::new();
        for message in host.take(256) {
            match message {
                HostMsg::Event(event) => {
                    let payload = Bytes::from_json(event.ctx.payload_text())?;
                    let decision = Decision::reply(payload);
                    done.push(Completion {
                        ticket: event.ticket,
                        decision,
                    });
                }
                HostMsg::Reply { result, .. } => {
                    host.close(Duration::from_secs(1));
                    return result.map(drop);
                }
                _ => {}
            }
        }
        host.complete(done);
    }
    Ok(())
}
