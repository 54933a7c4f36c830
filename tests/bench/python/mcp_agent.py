"""Calls the tool of mcp_server.py one at a time, with the `mcp` package's own client over stdio.

It is told on stdin how many calls a round has, and answers each round with one line: p50 and p99 in microseconds.
"""

import asyncio
import sys
from pathlib import Path

from mcp import Client, StdioServerParameters, stdio_client

from tool_rounds import rounds


async def main() -> None:
    server = StdioServerParameters(command=sys.executable, args=[str(Path(__file__).with_name("mcp_server.py"))])
    async with Client(stdio_client(server)) as client:

        async def call(a: int, b: int) -> int:
            answer = await client.call_tool("add", {"a": a, "b": b})
            return answer.structured_content["sum"]

        await rounds(call)


if __name__ == "__main__":
    asyncio.run(main())
