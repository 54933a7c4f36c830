"""Calls a tool one at a time with the `mcp` package's own client.

`mcp_agent.py stdio MODE` starts mcp_server.py and speaks over stdio; `mcp_agent.py http MODE ADDRESS TOKEN_FILE` calls
the tool of tool_plugin.py at the daemon's /mcp. MODE is the client's: `auto`, which is what one gets, or `legacy`, the
handshake of earlier versions, whose calls carry less. Rounds as in tool_rounds.py.
"""

import asyncio
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import httpx2
from mcp import Client, StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client

from tool_rounds import rounds


async def main() -> None:
    way, mode = sys.argv[1:3]
    async with AsyncExitStack() as stack:
        if way == "stdio":
            server = str(Path(__file__).with_name("mcp_server.py"))
            transport = stdio_client(StdioServerParameters(command=sys.executable, args=[server]))
            name = "add"
        else:
            token = Path(sys.argv[4]).read_text().strip()
            http = httpx2.AsyncClient(headers={"Authorization": f"Bearer {token}"})
            await stack.enter_async_context(http)
            transport = streamable_http_client(f"http://{sys.argv[3]}/mcp", http_client=http)
            name = "bench__add"
        client = await stack.enter_async_context(Client(transport, mode=mode))

        async def call(a: int, b: int) -> int:
            answer = await client.call_tool(name, {"a": a, "b": b})
            return answer.structured_content["sum"]

        await rounds(call)


if __name__ == "__main__":
    asyncio.run(main())
