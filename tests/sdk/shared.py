"""The plugin whose instances share a process, in Python; the same in `shared.mjs`."""

import asyncio
import os

from trunkline import Context, InstanceContext, Json, Plugin, Reply, run

plugin = Plugin("guest", version="0.1.0")
lives = 0


@plugin.on_start
async def start(ctx: InstanceContext) -> Json:
    global lives
    if ctx.config["mark"] == "broken":
        raise ValueError("this one never starts")
    ctx.log.info("my mark is " + ctx.config["mark"])
    lives += 1
    return {"life": lives - 1}


@plugin.outbound("guest", timeout="2m")
async def handle(order: Json, ctx: Context) -> Reply:
    count = await ctx.kv.update("count", lambda n: (n or 0) + 1)
    match order["do"]:
        case "raise":
            raise ValueError("as it was told")
        case "wait":
            await asyncio.Event().wait()
    return Reply({
        "instance": ctx.instance, "mark": ctx.config["mark"], "life": ctx.state["life"], "count": count,
        "pid": os.getpid(), "number": order.get("number"),
    })


run(plugin)
