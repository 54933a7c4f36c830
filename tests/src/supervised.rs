//! The one instance of a plugin that a run's daemon keeps: installed, watched, and what it still has to settle.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::daemon::Setup;
use crate::driver::CLIENT;
use crate::scenario::Scenario;
use crate::wire::{Incoming, WireError};

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(10);

/// Writes the manifest of the plugin `id`, run by `command`; `keys` are the texts of its config. Returns the
/// daemon's configuration that runs its instance `main`.
///
/// # Panics
/// When the files cannot be written.
pub fn install(home: &Path, id: &str, command: &[String], keys: &[(&str, String)]) -> String {
    let dir = home.join("plugins").join(id);
    fs::create_dir_all(&dir).expect("the home can be written");
    let mut manifest = format!(
        "[plugin]\nid = \"{id}\"\nversion = \"0.1.0\"\ncommand = {}\n\n[[channels]]\nkind = \"{id}\"\n",
        json!(command)
    );
    let mut config =
        format!("plugin_dirs = [\"plugins\"]\n[[plugins.{id}]]\ninstance = \"main\"\n");
    for (key, value) in keys {
        manifest.push_str(&format!(
            "\n[config.{key}]\ntype = \"string\"\nrequired = true\n"
        ));
        config.push_str(&format!("{key} = {value:?}\n"));
    }
    fs::write(dir.join("plugin.toml"), manifest).expect("the home can be written");
    config
}

fn status(setup: &Setup) -> Option<Value> {
    let mut peer = setup.connect(CLIENT).ok()?;
    peer.call("admin.status", &json!({}), ANSWER).ok()
}

/// The process of the instance, if it is ready. If the supervisor has had enough of its ends, the operator steps
/// in: such a test is about events, not about backoff.
///
/// # Panics
/// When the operator is refused.
pub fn ready_pid(run: &Scenario, id: &str) -> Option<u32> {
    let status = status(&run.setup)?;
    let instances = status["instances"].as_array()?;
    let instance = instances.iter().find(|instance| instance["plugin"] == id)?;
    match instance["state"].as_str()? {
        "ready" => instance["pid"].as_u64().map(|pid| pid as u32),
        "failed" | "backing_off" => {
            let which = json!({"plugin": id, "instance": "main"});
            let mut peer = run.setup.connect(CLIENT).ok()?;
            peer.call("admin.plugins.restart", &which, ANSWER)
                .expect("an operator may restart");
            None
        }
        _ => None,
    }
}

/// How many events the instance still has to settle.
pub fn unsettled(run: &Scenario, id: &str) -> Option<u64> {
    let status = status(&run.setup)?;
    let subs = status["subscriptions"].as_array()?;
    let sub = subs
        .iter()
        .find(|sub| sub["name"] == format!("instance.{id}.main"))?;
    let count = |name: &str| sub[name].as_u64();
    // What is parked is among the pending.
    Some(count("pending")? + count("in_flight")?)
}

/// Reads the whole log: each event with its topic, in order.
///
/// # Errors
/// The daemon does not answer.
pub fn log(setup: &Setup) -> Result<Vec<Value>, WireError> {
    let mut peer = setup.connect(CLIENT)?;
    let status = peer.call("admin.status", &json!({}), ANSWER)?;
    let head = status["store"]["head"].as_u64().unwrap_or_default();
    peer.call(
        "admin.tail",
        &json!({"filters": [">"], "start": "earliest"}),
        ANSWER,
    )?;
    let (mut seen, mut events) = (0, Vec::new());
    while seen < head {
        match peer.next(ANSWER)? {
            Some(Incoming::Other {
                method, mut params, ..
            }) if method == "admin.event" => {
                seen = params["seq"].as_u64().unwrap_or_default();
                events.push(params["event"].take());
            }
            Some(_) => {}
            None => return Err(WireError::TimedOut),
        }
    }
    Ok(events)
}
