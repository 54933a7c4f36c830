"""Tools in Python for clients of every kind; the same in `tools.mjs` and `tools_plugin.rs`."""

import asyncio

from trunkline import Context, Json, Plugin, run

plugin = Plugin("tools-python", version="0.1.0")
NONE = {"type": "object"}
VALUE = {"type": "object", "properties": {"value": {"type": "object"}}, "required": ["value"]}
COUNT = {"type": "object", "properties": {"count": {"type": "integer"}}}
cancelled = 0


@plugin.tool(input=VALUE, output=VALUE, idempotent=True)
async def echo(arguments: Json) -> Json:
    """Gives back what it is given."""
    return arguments


@plugin.tool(input=NONE)
async def steps(arguments: Json, ctx: Context) -> Json:
    """Reports progress three times."""
    for done in (1, 2, 3):
        ctx.progress(done=done, total=3, message=f"step {done}")
    return "done"


@plugin.tool(input=NONE)
async def hang(arguments: Json, ctx: Context) -> Json:
    """Never ends by itself."""
    global cancelled
    ctx.progress(done=1)
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        cancelled += 1
        raise


@plugin.tool(input=NONE, output=COUNT)
async def cancels(arguments: Json) -> Json:
    """How many calls were cancelled."""
    return {"count": cancelled}


if __name__ == "__main__":
    run(plugin)
