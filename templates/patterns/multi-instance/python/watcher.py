"""Answers what has its account's keyword."""

from trunkline import Context, InstanceContext, Json, OutboundMessage, Plugin, Reply, run

plugin = Plugin("{{name}}")


@plugin.on_start
async def start(ctx: InstanceContext) -> Json:
    return {"keyword": ctx.config["keyword"]}  # ctx.state from here on, of this account


@plugin.outbound("watcher")
async def watch(message: OutboundMessage, ctx: Context) -> Reply | None:
    if ctx.state["keyword"] not in (message.text or ""):
        return None
    seen = await ctx.kv.update("seen", lambda n: (n or 0) + 1)
    return Reply({"text": f"{ctx.instance} saw {seen}"})


if __name__ == "__main__":
    run(plugin)
