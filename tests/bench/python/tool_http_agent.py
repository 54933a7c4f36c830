"""Calls the tool of tool_plugin.py one at a time over HTTP, on one connection that stays open for a round.

`tool_http_agent.py ADDRESS TOKEN_FILE`; rounds as in tool_rounds.py. The client is asyncio's streams and `json`: what
an agent without any package would write.
"""

import asyncio
import json
import sys
from pathlib import Path

from tool_rounds import rounds


async def main() -> None:
    host, _, port = sys.argv[1].removeprefix("http://").rpartition(":")
    token = Path(sys.argv[2]).read_text().strip()
    reader = writer = None
    head = (
        f"POST /v1/tools/bench.add HTTP/1.1\r\nHost: {host}:{port}\r\nAuthorization: Bearer {token}\r\n"
        "Content-Type: application/json\r\nAccept: application/json\r\nContent-Length: "
    )

    async def call(a: int, b: int) -> int:
        nonlocal reader, writer
        if a == 0:
            # A connection for each round: the daemon may have closed one that was idle while others had theirs.
            if writer is not None:
                writer.close()
            reader, writer = await asyncio.open_connection(host, int(port))
        body = json.dumps({"arguments": {"a": a, "b": b}})
        writer.write(f"{head}{len(body)}\r\n\r\n{body}".encode())
        answer = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        status = answer.split(" ", 2)[1]
        length = int(answer.split("content-length:", 1)[1].split("\r\n", 1)[0])
        text = await reader.readexactly(length)
        if status != "200":
            sys.exit(f"expected 200, found {status}: {text!r}")
        return json.loads(text)["output"]["sum"]

    await rounds(call)


if __name__ == "__main__":
    asyncio.run(main())
