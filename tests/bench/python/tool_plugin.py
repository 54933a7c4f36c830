"""The plugin of the tool benchmark: the same tool as mcp_server.py has, on the SDK."""

from trunkline import Context, Plugin, run

plugin = Plugin("bench")
number = {"type": "integer"}


@plugin.tool(
    name="add",
    description="Add two numbers.",
    input={"type": "object", "properties": {"a": number, "b": number}, "required": ["a", "b"]},
    output={"type": "object", "properties": {"sum": number}, "required": ["sum"]},
    idempotent=True,
)
async def add(args: dict, ctx: Context) -> dict:
    return {"sum": args["a"] + args["b"]}


if __name__ == "__main__":
    run(plugin)
