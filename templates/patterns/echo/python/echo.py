"""Sends back what it is sent."""

from trunkline import Context, Json, Plugin, Reply, run

plugin = Plugin("{{name}}")


@plugin.outbound("echo")
async def echo(payload: Json, ctx: Context) -> Reply:
    return Reply(payload)


if __name__ == "__main__":
    run(plugin)
