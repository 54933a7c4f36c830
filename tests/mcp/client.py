"""FastMCP's client uses the tools of a plugin: `client.py <plugin> <url> <token file> <command>…`.

The plugin has the tools echo, steps, hang and cancels. It is used in both eras, over HTTP and over stdio; says
`ok <era> <transport>` for each."""
import asyncio, sys

from fastmcp import Client
from fastmcp.client.transports import StdioTransport, StreamableHttpTransport
from fastmcp.exceptions import ToolError

plugin, url, token_file, *command = sys.argv[1:]


def transports():
    with open(token_file) as file:
        token = file.read().strip()
    yield "http", StreamableHttpTransport(url, headers={"Authorization": f"Bearer {token}"})
    yield "stdio", StdioTransport(command[0], command[1:])


def same(found, expected):
    assert found == expected, f"expected {expected!r}, found {found!r}"


async def use(client):
    listed = {tool.name: tool for tool in await client.list_tools()}
    for name in ("echo", "steps", "hang", "cancels"):
        assert f"{plugin}__{name}" in listed, f"{plugin}__{name} is not among {sorted(listed)}"
    value = {"text": "héllo", "list": [1, {"a": None}], "none": {}}
    result = await client.call_tool(f"{plugin}__echo", {"value": value})
    same(result.structured_content, {"value": value})

    reports = []

    async def hear(done, total, message):
        reports.append((done, total, message))

    await client.call_tool(f"{plugin}__steps", {}, progress_handler=hear)
    numbers = [done for done, _, _ in reports]
    assert numbers and numbers == sorted(set(numbers)), f"progress does not grow: {reports}"
    same(reports[-1], (3.0, 3.0, "step 3"))

    before = (await client.call_tool(f"{plugin}__cancels", {})).structured_content["count"]
    begun = asyncio.Event()

    async def begin(done, total, message):
        begun.set()

    hanging = asyncio.create_task(client.call_tool(f"{plugin}__hang", {}, progress_handler=begin))
    await asyncio.wait_for(begun.wait(), 10)
    hanging.cancel()
    try:
        await hanging
    except asyncio.CancelledError:
        pass
    async with asyncio.timeout(10):
        while (await client.call_tool(f"{plugin}__cancels", {})).structured_content["count"] == before:
            pass

    try:
        await client.call_tool(f"{plugin}__nothing", {})
        raise AssertionError("a tool that is not there was called")
    except ToolError:
        raise AssertionError("expected an error of the protocol")
    except AssertionError:
        raise
    except Exception as error:
        assert "unknown tool" in str(error), error
    try:
        await client.call_tool(f"{plugin}__echo", {"value": "no object"})
        raise AssertionError("arguments that do not fit were taken")
    except ToolError as error:
        assert "invalid_arguments" in str(error), error


async def main():
    # With `auto` it asks which eras there are, and takes the stateless one.
    for era in ("auto", "legacy"):
        for name, transport in transports():
            async with Client(transport, mode=era) as client:
                await use(client)
            print("ok", era, name, flush=True)


asyncio.run(main())
