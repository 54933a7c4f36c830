//! Traffic in a file, and back out of it: one event per line, as `trunkline tail --json` writes it.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use serde_json::Value;
use trunkline_contract::rpc::admin::AdminEventParams;

use crate::cli::failure::Failure;

/// A file that traffic is recorded to.
#[derive(Debug)]
pub(super) struct Tape(File);

impl Tape {
    /// Begins a file anew.
    pub(super) fn begin(path: &Path) -> Result<Self, Failure> {
        let file = File::create(path);
        let file = file.map_err(|error| unusable(path, &error.to_string()))?;
        Ok(Self(file))
    }

    /// Appends one event.
    pub(super) fn record(&mut self, event: &AdminEventParams) -> std::io::Result<()> {
        let mut line = serde_json::to_vec(event)?;
        line.push(b'\n');
        self.0.write_all(&line)
    }
}

/// One event to be published again.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Recorded {
    pub(super) topic: String,
    pub(super) event: Value,
}

/// Reads what came from clients, in order: what a plugin said it says again by itself. Ids are left out, so
/// that each is a new event.
pub(super) fn read(path: &Path) -> Result<Vec<Recorded>, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| unusable(path, &error.to_string()))?;
    let mut all = Vec::new();
    for (number, line) in text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
    {
        let bad = |why: &str| unusable(path, &format!("line {}: {why}", number + 1));
        let said: Value = serde_json::from_str(line).map_err(|error| bad(&error.to_string()))?;
        let (Some(topic), Some(event)) = (said["topic"].as_str(), said.get("event")) else {
            return Err(bad(
                "expected topic and event, as trunkline tail --json writes them",
            ));
        };
        let source = event["source"].as_str().unwrap_or("client:");
        let is_theirs =
            topic.starts_with("plugin.outbound.") || topic.starts_with("plugin.inbound.");
        if source.starts_with("client:") && is_theirs {
            let mut again = serde_json::Map::new();
            for name in ["session_id", "payload", "metadata"] {
                if let Some(value) = event.get(name).filter(|value| !value.is_null()) {
                    again.insert(name.to_owned(), value.clone());
                }
            }
            all.push(Recorded {
                topic: topic.to_owned(),
                event: again.into(),
            });
        }
    }
    Ok(all)
}

fn unusable(path: &Path, why: &str) -> Failure {
    Failure::new("io", 74, format!("{}: {why}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clients_said_is_read_back_and_what_plugins_said_is_not() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let lines = [
            r#"{"seq":1,"topic":"plugin.outbound.echo.default","event":{"id":"a","source":"client:dev","session_id":"dev:1","payload":{"text":"hi"}}}"#,
            r#"{"seq":2,"topic":"plugin.inbound.echo.default","event":{"id":"b","source":"echo/default","payload":{"text":"hi"}}}"#,
            r#"{"seq":3,"topic":"plugin.delivery.echo.default","event":{"id":"c","source":"echo/default","payload":{"state":"sent"}}}"#,
        ];
        std::fs::write(file.path(), lines.join("\n")).unwrap();
        let read_back = read(file.path()).unwrap();
        let event = serde_json::json!({ "session_id": "dev:1", "payload": { "text": "hi" } });
        let topic = "plugin.outbound.echo.default".to_owned();
        assert_eq!(read_back, [Recorded { topic, event }]);
        std::fs::write(file.path(), "{}").unwrap();
        assert!(read(file.path()).unwrap_err().text().contains("line 1"));
    }
}
