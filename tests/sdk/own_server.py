"""A plugin with an HTTP server of its own in Python; the same in ``own_server.mjs``."""

import asyncio

from trunkline import Json, Plugin, TrunklineError, run

plugin = Plugin("board", version="0.1.0")
BODY = b'{"language":"python"}'
HEAD = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(BODY)


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(HEAD + BODY)
    await writer.drain()
    writer.close()


@plugin.on_start
async def start(ctx) -> None:
    try:
        server = await asyncio.start_unix_server(answer, sock=ctx.listener())
    except TrunklineError as error:
        ctx.status("degraded", f"{error.code}: {error}")
        return
    plugin.server = server


@plugin.outbound("board")
async def nothing(payload: Json) -> None:
    return None


run(plugin)
