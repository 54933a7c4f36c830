"""Calls the tool of tool_plugin.py one at a time, with the SDK's client over the Unix socket.

`tool_agent.py SOCKET TOKEN_FILE`; rounds as in tool_rounds.py.
"""

import asyncio
import sys

from trunkline import Client

from tool_rounds import rounds


async def main() -> None:
    async with Client("bench", socket=sys.argv[1], token_file=sys.argv[2]) as client:

        async def call(a: int, b: int) -> int:
            answer = await client.call_tool("bench.add", {"a": a, "b": b})
            return answer["sum"]

        await rounds(call)


if __name__ == "__main__":
    asyncio.run(main())
