//! Makes events of the issues that are opened at GitHub.

use std::process::ExitCode;

use serde_json::{Value, json};
use trunkline::{Event, Plugin, Result, Webhook, WebhookRequest};

async fn hook(request: WebhookRequest) -> Result<Option<Event>> {
    let body: Value = request.json()?;
    if request.header("x-github-event") != Some("issues") || body["action"] != "opened" {
        return Ok(None); // nothing to say of it; the 2xx is long out
    }
    let issue = &body["issue"];
    Ok(Some(Event::inbound(json!({
        "text": issue["title"],
        "sender": { "id": issue["user"]["login"] },
        "conversation": { "id": issue["html_url"] },
    }))))
}

fn plugin() -> Plugin {
    let hook = Webhook::new("github", hook);
    Plugin::new("{{name}}").webhook(hook.verify("github").secret("{config.webhook_secret}"))
}

fn main() -> ExitCode {
    trunkline::run(plugin())
}

#[cfg(test)]
mod tests;
