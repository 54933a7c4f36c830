//! Sends SMS by Twilio.

use std::process::ExitCode;

use serde::Deserialize;
use serde_json::json;
use trunkline::{Context, Outbound, OutboundMessage, Plugin, Result};

const API: &str = "{config.api}/2010-04-01/Accounts/{config.sid}";

#[derive(Deserialize)]
struct Config {
    from: String,
}

#[derive(Deserialize)]
struct Sent {
    sid: String,
}

async fn send(message: OutboundMessage, ctx: Context) -> Result<String> {
    let twilio = ctx.http().at(API).basic("{config.sid}", "{config.auth_token}");
    let from = ctx.config::<Config>()?.from;
    let to = message.conversation.map(|to| to.id);
    let form = json!({ "To": to, "From": from, "Body": message.text });
    let sent = twilio.post("/Messages.json").form(form).await?;
    Ok(sent.json::<Sent>()?.sid) // the receipt: sent, with this id
}

fn plugin() -> Plugin {
    let send = Outbound::new("sms", send).rate("100/s").rate_per_target("1/s");
    Plugin::new("{{name}}").outbound(send.timeout("15s"))
}

fn main() -> ExitCode {
    trunkline::run(plugin())
}
#[cfg(test)]
mod tests;
