//! The agent: a client with a durable subscription that answers whatever a person says on any channel.

use serde_json::json;
use trunkline::{Client, InboundMessage, On, Reply, Result};

/// How the agent's answers begin.
pub(crate) const ANSWER: &str = "you said: ";

async fn answer(message: InboundMessage) -> Result<Option<Reply>> {
    // An echo channel also brings back what the agent said: it does not talk to itself.
    if message
        .sender
        .is_some_and(|sender| sender.is_bot == Some(true))
    {
        return Ok(None);
    }
    let text = format!("{ANSWER}{}", message.text.unwrap_or_default());
    let sender = json!({ "id": "agent", "is_bot": true });
    Ok(Some(Reply::new(json!({ "text": text, "sender": sender }))))
}

/// Makes the agent; it serves once it is connected.
pub(crate) fn agent() -> Client {
    Client::new("agent").on(On::new("plugin.inbound.>", answer).name("main"))
}
