//! Puts together the parts of a long SMS.

use std::process::ExitCode;

use serde_json::{Value, json};
use trunkline::{Assemble, Context, Event, Part, Plugin, Result, Webhook, WebhookRequest};

async fn part(request: WebhookRequest) -> Result<Part> {
    let sms: Value = request.json()?;
    let text = |name: &str| sms[name].as_str().unwrap_or_default().to_owned();
    let number = |name: &str| sms[name].as_u64().unwrap_or(1);
    let part = Part::of(text("from"), &sms["text"])?.group(text("ref"));
    Ok(part.seq(number("part")).total(number("parts")))
}

async fn whole(parts: Vec<Part<String>>, ctx: Context) -> Result<Event> {
    let is_whole = ctx.assembly().is_none_or(|assembly| assembly.missing.is_empty());
    let texts: Vec<_> = parts.iter().map(|part| part.data.as_str()).collect();
    Ok(Event::inbound(json!({
        "text": texts.join(if is_whole { "" } else { "…" }),
        "conversation": { "id": parts[0].session, "kind": "sms" },
    })))
}

fn plugin() -> Plugin {
    let hook = Webhook::new("sms", part).verify("standard").secret("{config.webhook_secret}");
    let whole = Assemble::new("sms", whole).silence("30s").max_age("10m").max_parts(64);
    Plugin::new("{{name}}").webhook(hook).assemble(whole)
}

fn main() -> ExitCode {
    trunkline::run(plugin())
}

#[cfg(test)]
mod tests;
