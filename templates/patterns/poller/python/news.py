"""Makes events of what a feed has that is new."""

from trunkline import Context, Event, FeedItem, Plugin, run

plugin = Plugin("{{name}}")


@plugin.poll("news", feed="{config.url}", every="15m", jitter="1m")
async def item(item: FeedItem, ctx: Context) -> Event | None:
    title = item.title or ""
    if ctx.config["keyword"] not in title:
        return None
    text = f"{title} {item.link or ''}".strip()
    return Event.inbound({"text": text, "conversation": {"id": ctx.instance}})


if __name__ == "__main__":
    run(plugin)
