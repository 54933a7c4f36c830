//! Makes events of what a feed has that is new.

use std::process::ExitCode;

use serde::Deserialize;
use serde_json::json;
use trunkline::{Context, Event, FeedItem, Plugin, Poll, Result};

#[derive(Deserialize)]
struct Config {
    keyword: String,
}

async fn item(item: FeedItem, ctx: Context) -> Result<Option<Event>> {
    let title = item.title.unwrap_or_default();
    if !title.contains(&ctx.config::<Config>()?.keyword) {
        return Ok(None);
    }
    let text = format!("{title} {}", item.link.unwrap_or_default());
    let conversation = json!({ "id": ctx.instance() });
    Ok(Some(Event::inbound(json!({ "text": text.trim(), "conversation": conversation }))))
}

fn plugin() -> Plugin {
    let poll = Poll::feed("news", "{config.url}", item);
    Plugin::new("{{name}}").poll(poll.every("15m").jitter("1m"))
}

fn main() -> ExitCode {
    trunkline::run(plugin())
}

#[cfg(test)]
mod tests;
