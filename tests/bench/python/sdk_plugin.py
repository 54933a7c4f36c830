"""The SDK's plugins that are measured; the argument says which.

| argument | what it is |
|---|---|
| `reply` | a tool's topic, the handler returns its answer |
| `publish` | the same topic, the handler awaits its publish and looks at the number |
| `slow` | the same topic, 10 ms of waiting and no answer |
| `echo` | a channel, for the daemon: what agents send to kind "echo" comes back, with a receipt |

The first three are registered for `plugin.tool.>`, not as a channel: there an answer is one event and the ack,
with no receipt and no conversation to copy, so that a loop written by hand does the same work frame by frame.
"""

import asyncio
import sys

from trunkline import Context, Json, Plugin, Reply, run

plugin = Plugin("echo")


async def reply(payload: Json, ctx: Context) -> Reply:
    return Reply(payload)


async def publish(payload: Json, ctx: Context) -> None:
    published = await ctx.publish(ctx.event.topic + ".reply", payload, session=ctx.event.session_id)
    if published.seq is None or published.seq < 1:
        raise ValueError(f"expected a number from 1, found {published.seq}")


async def slow(payload: Json, ctx: Context) -> None:
    await asyncio.sleep(0.01)


if __name__ == "__main__":
    form = sys.argv[1]
    if form == "echo":
        plugin.outbound("echo")(reply)
    else:
        plugin.on("plugin.tool.echo.>", name="work")({"reply": reply, "publish": publish, "slow": slow}[form])
    run(plugin)
